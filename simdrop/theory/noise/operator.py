"""The noise of dropout: the gradient under a mask, and the covariance of its gradients as a linear map, exactly.

The other knobs of `simdrop.Noise` are put together with it in `step`. Symbols as in
`simdrop_kernels.mathematics.network.expected`: the gradient block of neuron j under one mask of a group of samples is

    G_j = (1 + η_j) (ḡ_j + Σ_{k≠j} η_k β_jk) = ḡ_j + η_j ḡ_j + Σ_{k≠j} η_k β_jk + Σ_{k≠j} η_j η_k β_jk

The products η_k and η_k η_l (k < l) have mean 0, variances v and v², and no correlation. Hence

    Cov G = v Σ_k A_k A_kᵀ + v² Σ_{k<l} B_kl B_klᵀ
    A_k: block k is ḡ_k, block j ≠ k is β_jk          B_kl: block k is β_kl, block l is β_lk, the others 0

and √v Σ_k ξ_k A_k + v Σ_{k<l} ξ_kl B_kl with independent standard normal ξ has this covariance: a Gaussian draw without
a P × P matrix or a factorisation. Groups of samples with a mask each (sample masks: every sample) are independent.

Gaussian factors differ in η_j² alone, which is not affine in η_j: G_j has the further part (η_j² - v) β_jj, of variance
2v² and no correlation with the others, and η_j multiplies ḡ_j + (1 - v) β_jj in the place of ḡ_j, so that d = pull(e).

Neither A nor B is ever formed. With g_ρj = ∂u_ρj/∂(neuron j) for ρ = (sample, output), all products reduce to

    push  (P,) -> (ρ, j):  γ_ρj = g_ρj·V_j              pull  (ρ, j) -> (P,):  (1/n) Σ_ρ g_ρj Y_ρj
    A ξ = pull(u ξ 1ᵀ) + d ξ,   Aᵀ V = d·V + (1/n) uᵀ γ 1,   d_j = ḡ_j - β_jj = pull(e + (v - 1) u)_j
    Σ_{k<l} B_kl B_klᵀ V = (1/n) pull(u uᵀ γ + u γᵀ u) - 2 β_jj (β_jj·V_j)

at a cost of O(n² c² m) for a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.layout import join
from simdrop_kernels.contract.network import Mask
from simdrop_kernels.contract.noise import Law
from simdrop_kernels.mathematics.network import forward
from simdrop_kernels.mathematics.network.forward import ForwardPass
from simdrop_kernels.mathematics.network.pair_sums import grouped

from ...errors import InvalidInput
from ...problem import Problem
from .._input import Array, add_decay, check_kept_point
from ..curvature import features
from ..labels import PARAM, labelled

#: numbers of the arrays over (vector, sample, output, neuron) that a product works on: they should stay in cache
_CACHE = 1 << 16


@labelled("dropout_gradient", PARAM, words="gradient of the loss under the mask")
def dropout_gradient(problem: Problem, theta: ArrayLike, mask: ArrayLike, *, keep_prob: float | None = None) -> Array:
    """∇R_drop under a given mask, with the λ θ of weight decay.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    mask : array_like of bool, shape (m,) or (n, m)
        True where a neuron is kept: one mask for all samples, or a row for each sample.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (P,)
        The gradient; zero for parameters that are not trained.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> simdrop.theory.dropout_gradient(problem, problem.init(seed=0), [True, False, True]).shape
    (9,)
    """
    problem, theta = check_kept_point(problem, theta, keep_prob)
    try:
        kept = np.asarray(mask)
    except Exception as error:  # ragged lists
        raise InvalidInput(f"mask must be an array: {' '.join(str(error).split())}") from None
    if kept.dtype != np.bool_ or kept.shape not in ((problem.width,), (problem.n_samples, problem.width)):
        raise InvalidInput(
            f"mask must be boolean of shape ({problem.width},) or ({problem.n_samples}, {problem.width}),"
            f" got {kept.dtype} of shape {kept.shape}"
        )
    factor = np.atleast_2d(kept)[None] / problem.keep_prob
    found = forward.dropout_gradient(problem.network, problem.inputs, problem.y, theta[None], factor)
    return add_decay(problem, problem.freeze(np.asarray(found[0])), theta)


@dataclass(frozen=True, slots=True)
class NoiseOperator:
    """The noise of dropout at one theta as linear maps, without a P × P matrix. `at` makes it.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    law : {"bernoulli", "gaussian"}
        Law of the dropout factors.
    net : Network
        The network at theta.
    u : ndarray, shape (G, k c, m)
        Outputs u_ρj of the neurons. G groups of k samples share a mask: G = 1 or G = n.
    d, beta : ndarray, shape (G, P)
        Blocks ḡ_j - β_jj and β_jj of each group; zero for parameters that are not trained.

    Notes
    -----
    Noise other than dropout is in `StepNoise`. The module's docstring derives the maps.
    """

    problem: Problem
    law: Law
    net: ForwardPass
    u: Array
    d: Array
    beta: Array

    @classmethod
    def at(cls, problem: Problem, theta: Array, *, law: Law = "bernoulli", mask: Mask | None = None) -> NoiseOperator:
        """The noise at one theta.

        Parameters
        ----------
        problem : Problem
            Data, network and dropout.
        theta : ndarray, shape (P,)
            Parameters.
        law : {"bernoulli", "gaussian"}
            Law of the dropout factors.
        mask : {"step", "sample"}, optional
            Mask mode in place of the problem's.

        Returns
        -------
        NoiseOperator
            The noise.
        """
        net = ForwardPass.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=1)
        groups = 1 if (mask or problem.mask) == "step" else problem.n_samples
        u = net.h[:, None, :] * net.b  # (n, c, m)
        own = 0.0 if law == "gaussian" else problem.variance - 1
        noise = cls(problem, law, net, u.reshape(groups, -1, problem.width), u[:0], u[:0])
        d = noise.pull(net.e[:, :, None] + own * u, groups)
        return cls(problem, law, net, noise.u, d, noise.pull(u, groups))

    def product(self, direction: Array) -> Array:
        """Covariance times vectors.

        Parameters
        ----------
        direction : ndarray, shape (..., P)
            Vectors.

        Returns
        -------
        ndarray, shape (..., P)
            The products, at a cost of O(n² c² m) each.
        """
        flat = direction.reshape(-1, direction.shape[-1])
        rows = max(1, _CACHE // self.u.size)
        parts = [self._product(flat[k : k + rows]) for k in range(0, len(flat), rows)]
        return np.concatenate(parts).reshape(direction.shape)

    def _product(self, direction: Array) -> Array:
        """`product` for a few vectors (k, P)."""
        v, n = self.problem.variance, self.problem.n_samples
        gamma = self._push(direction).reshape(*direction.shape[:-1], *self.u.shape)  # (..., G, k c, m)
        ut = self.u.swapaxes(-1, -2)
        total = gamma.sum(axis=-1, keepdims=True)  # (..., G, k c, 1)
        linear = self._dots(self.d, direction) + (ut @ total)[..., 0] / n  # Aᵀ V: (..., G, m)
        pairs = _chain(self.u, ut, gamma) + _chain(self.u, gamma.swapaxes(-1, -2), self.u)
        mixed = v * (self.u @ linear[..., None]) + v * v / n * pairs
        found: Array = self.pull(mixed.reshape(*direction.shape[:-1], n, -1, self.problem.width))
        found += v * self._scaled(self.d, linear)
        if self.law == "bernoulli":  # else (η² - v) β_jj makes up for it
            found -= 2 * v * v * self._scaled(self.beta, self._dots(self.beta, direction))
        return found

    def covariance(self) -> Array:
        """The covariance as a matrix.

        Returns
        -------
        ndarray, shape (P, P)
            The covariance.

        Notes
        -----
        With β^G (P, m) of the blocks β_jk of a group, R_pq = β^G_{p, neuron of q}, and "own" for entries of one neuron:

            Σ_k A_k A_kᵀ = β βᵀ + R dᵀ + d Rᵀ + own(d dᵀ)         (R dᵀ: column q times d_q)
            Σ_{k<l} B_kl B_klᵀ = R ∘ Rᵀ + own(β βᵀ - 2 R ∘ Rᵀ)
        """
        v, n = self.problem.variance, self.problem.n_samples
        neuron = np.concatenate(
            [
                np.tile(np.arange(self.problem.width), self.problem.n_outputs),
                np.repeat(np.arange(self.problem.width), self.problem.n_inputs),
            ]
        )
        own = neuron[:, None] == neuron
        total = np.zeros((neuron.size, neuron.size))
        rows = self.problem.freeze(features(self.net)).reshape(*self.u.shape[:2], -1)  # (G, k c, P)
        for g, u, d in zip(rows, self.u, self.d, strict=True):
            r = (g.T @ u / n)[:, neuron]
            square = g.T @ (u @ u.T / n**2) @ g
            crossed = r * r.T
            total += v * (square + r * d + (r * d).T) + v * v * crossed
            total += own * (v * np.outer(d, d) + v * v * (square - self._doubled * crossed))
        return np.asarray((total + total.T) / 2)

    def trace(self) -> float:
        """Trace of the covariance, at a cost of O(n² c² P).

        Returns
        -------
        float
            The trace.
        """
        v, n = self.problem.variance, self.problem.n_samples
        rows = self.problem.freeze(features(self.net)).reshape(*self.u.shape[:2], -1)  # (G, k c, P)
        pairs = ((self.u @ self.u.swapaxes(-1, -2)) * (rows @ rows.swapaxes(-1, -2))).sum() / n**2
        linear = pairs + 2 * (self.d * self.beta).sum() + np.square(self.d).sum()
        return float(v * linear + v * v * (pairs - (self._doubled - 1) * np.square(self.beta).sum()))

    @property
    def _doubled(self) -> int:
        """How often the products of β_jj with itself are taken off the pairs."""
        return 2 if self.law == "bernoulli" else 0

    def draw(self, first: Array, second: Array) -> Array:
        """Noise √v Σ_k ξ_k A_k + v Σ_{k<l} ξ_kl B_kl of given standard normal numbers ξ.

        Parameters
        ----------
        first : ndarray, shape (..., G, m)
            ξ_k.
        second : ndarray, shape (..., G, m, m)
            ξ_kl above the diagonal. The diagonal holds ξ_kk of √2 v Σ_k ξ_kk β_kk for Gaussian factors and is ignored
            for others; what is below it is always ignored.

        Returns
        -------
        ndarray, shape (..., P)
            The noise.
        """
        v = self.problem.variance
        upper = np.triu(second, 1)
        weights = v * (upper + upper.swapaxes(-1, -2)) + np.sqrt(v) * first[..., :, None]  # (k, j)
        found: Array = self.pull((self.u @ weights).reshape(*first.shape[:-2], -1, *self.net.b.shape))
        found += np.sqrt(v) * self._scaled(self.d, first)
        if self.law == "gaussian":
            found += np.sqrt(2) * v * self._scaled(self.beta, np.diagonal(second, axis1=-2, axis2=-1))
        return found

    def sample(self, random: np.random.Generator, count: int) -> Array:
        """Draw normal vectors of mean 0 with exactly this covariance.

        Parameters
        ----------
        random : numpy.random.Generator
            Source of normal numbers.
        count : int
            Number of vectors.

        Returns
        -------
        ndarray, shape (count, P)
            The vectors.
        """
        groups, width = len(self.u), self.problem.width
        rows = max(1, _CACHE // (groups * width * width))
        sizes = [min(rows, count - k) for k in range(0, count, rows)]
        drawn = [
            (random.standard_normal((k, groups, width)), random.standard_normal((k, groups, width, width)))
            for k in sizes
        ]
        return np.concatenate([self.draw(*pair) for pair in drawn])

    def _push(self, direction: Array) -> Array:
        """γ (..., n, c, m) of direction (..., P)."""
        direction = self.problem.freeze(direction)
        a, w = self.problem.split(direction)
        through_w = self.net.h1 * (self.problem.inputs @ w.swapaxes(-1, -2))  # (..., n, m)
        through_a = self.problem.scale * self.net.h[:, None, :] * a[..., None, :, :]
        gamma: Array = through_a + self.net.b * through_w[..., None, :]
        return gamma

    def pull(self, y: Array, groups: int | None = None) -> Array:
        """The gradient (1/n) Σ_ρ g_ρj Y_ρj that numbers Y at the neurons' outputs pull back to.

        Parameters
        ----------
        y : ndarray, shape (..., n, c, m)
            Numbers for each sample, output and neuron.
        groups : int, optional
            Number of groups of samples within which to sum; all samples by default.

        Returns
        -------
        ndarray, shape (..., P) or (..., G, P)
            The gradient, or that of each group.
        """
        n = self.problem.n_samples
        through_h = self.problem.scale / n * self.net.h[:, None, :] * y  # (..., n, c, m)
        by_z = self.net.h1 / n * (self.net.b * y).sum(axis=-2)  # (..., n, m)
        x = self.problem.inputs
        if groups is None:
            return self.problem.freeze(join(through_h.sum(axis=-3), by_z.swapaxes(-1, -2) @ x))
        parts = through_h.reshape(*y.shape[:-3], groups, -1, *y.shape[-2:])
        by_w = grouped(by_z, groups).swapaxes(-1, -2) @ grouped(x, groups)
        return self.problem.freeze(join(parts.sum(axis=-3), by_w))

    def _dots(self, blocks: Array, direction: Array) -> Array:
        """Inner products of the blocks (G, P) with those of direction (..., P), neuron by neuron: (..., G, m)."""
        a, w = self.problem.split(blocks * direction[..., None, :])
        dots: Array = a.sum(axis=-2) + w.sum(axis=-1)
        return dots

    def _scaled(self, blocks: Array, factor: Array) -> Array:
        """Σ_G of the blocks (G, P), that of neuron j times factor (..., G, m): (..., P)."""
        a, w = self.problem.split(blocks)
        return self.problem.join((a * factor[..., None, :]).sum(axis=-3), (w * factor[..., None]).sum(axis=-3))


def _chain(left: Array, middle: Array, right: Array) -> NDArray[np.float64]:
    """The product left @ middle @ right, in the cheaper order."""
    i, j = left.shape[-2:]
    k, r = right.shape[-2:]
    if i * k * (j + r) <= j * r * (i + k):
        return (left @ middle) @ right
    return left @ (middle @ right)
