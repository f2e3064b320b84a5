"""Hessians of R_S and R_S + R_1: as a product with vectors for any P, as a matrix for small P, and ∇ tr(H C).

For losses other than the squared one that of R_S alone, by `any_loss`; what follows is for the squared loss.

Symbols as in `simdrop_kernels.mathematics.network.expected`; v = 0 leaves R_S. With the features g_ρ = ∂f_o(x_i)/∂θ
of ρ = (i, o),

    H = (1/n) Σ_ρ g_ρ g_ρᵀ + blockdiag(N_1, ..., N_m)
    N_j by (a_oj, a_qj):   [o = q] (v s²/n) Σ_i h_ij²
        by (a_oj, w_j):    (s/n) Σ_i (e_io + 2 v b_oj h_ij) h1_ij x_i
        by (w_j, w_j):     (1/n) Σ_i (c_ij h2_ij + v bb_j h1_ij²) x_i x_iᵀ,    c_ij = Σ_o e_io b_oj + v bb_j h_ij

Weight decay λ adds λ to the diagonal. R_S couples neurons only through its outputs, R_1 not at all. For relu, h2 = 0
almost everywhere. Rows and columns of parameters that are not trained are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.contract.layout import join
from simdrop_kernels.mathematics.network.forward import Adjoint, ForwardPass

from ..checks.words import check_choice
from ..problem import Problem, check_problem
from . import any_loss
from ._input import Array, add_decay, check_kept_point, check_matrix, check_point, check_thetas, each, keep_probs
from .labels import PARAM, labelled

#: the losses whose Hessian is known
OBJECTIVES = ("risk", "risk+r1")
#: numbers of the arrays over (theta, sample, neuron) that are worked on at once
_ROWS = 1 << 20


@labelled("hessian", "param_i", "param_j", words="Hessian of the loss")
def hessian(problem: Problem, theta: ArrayLike, *, objective: str = "risk+r1", keep_prob: float | None = None) -> Array:
    """Hessian of R_S or R_S + R_1 as a matrix.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    objective : {"risk+r1", "risk"}
        The loss; "risk" alone where the loss of the problem is not the squared one.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (P, P)
        The Hessian, symmetric to the last bit; zero for parameters that are not trained. For relu, σ'' is 0.

    Raises
    ------
    InvalidInput
        As in `loss`, or the matrix does not fit into memory.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> simdrop.theory.hessian(problem, problem.init(seed=0)).shape
    (9, 9)
    """
    problem, point = _checked(problem, theta, objective, keep_prob)
    check_matrix(problem)
    if problem.loss != "squared":
        found = any_loss.hessian_along(problem, point, np.eye(problem.n_params))
        return np.asarray((found + found.T) / 2)
    return Curvature.at(problem, point, objective=objective).matrix()


@labelled("hessian_product", PARAM, words="Hessian times the direction", by="direction")
def hessian_product(
    problem: Problem,
    theta: ArrayLike,
    direction: ArrayLike,
    *,
    objective: str = "risk+r1",
    keep_prob: float | None = None,
) -> Array:
    """Hessian of R_S or R_S + R_1 times vectors, for any number of parameters.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    direction : array_like, shape (..., P)
        Vectors.
    objective : {"risk+r1", "risk"}
        The loss; "risk" alone where the loss of the problem is not the squared one.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (..., P)
        The derivative of the gradient along each vector, at a cost of O(n m (c + D)).

    Raises
    ------
    InvalidInput
        As in `loss`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta, direction = problem.init(seed=0, members=2)
    >>> product = simdrop.theory.hessian_product(problem, theta, direction)
    >>> bool(np.allclose(product, simdrop.theory.hessian(problem, theta) @ direction))
    True
    """
    product = hessian_operator(problem, theta, objective=objective, keep_prob=keep_prob)
    return product(problem.check_theta(direction, "direction"))


def hessian_operator(
    problem: Problem, theta: ArrayLike, *, objective: str = "risk+r1", keep_prob: float | None = None
) -> Callable[[Array], Array]:
    """`hessian_product` as a function of the vectors alone, for many products at one theta.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    objective : {"risk+r1", "risk"}
        The loss; "risk" alone where the loss of the problem is not the squared one.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    callable
        Maps an ndarray (..., P) to its products, of the same shape.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> times_hessian = simdrop.theory.hessian_operator(problem, theta)
    >>> bool(np.allclose(times_hessian(np.eye(9)), simdrop.theory.hessian(problem, theta)))
    True
    """
    problem, point = _checked(problem, theta, objective, keep_prob)
    if problem.loss != "squared":
        return lambda direction: any_loss.hessian_along(problem, point, direction)
    net, v = _network(problem, point, order=2), _variance(problem, objective)
    return lambda direction: add_decay(
        problem, problem.freeze(net.mean_gradient_along(problem.freeze(direction), v)), direction
    )


def _checked(problem: Problem, theta: ArrayLike, objective: str, keep_prob: float | None) -> tuple[Problem, Array]:
    """The problem at one theta (P,), and that, checked."""
    check_choice("objective", objective, OBJECTIVES)
    any_loss.check_objective(check_problem(problem), objective)
    if objective == "risk":
        keep_probs(problem, theta, keep_prob, needed=False)
        return problem, check_point(problem, theta, any_loss=True)
    return check_kept_point(problem, theta, keep_prob)


@labelled("hessian_trace", words="trace of the Hessian")
def hessian_trace(
    problem: Problem, theta: ArrayLike, *, objective: str = "risk+r1", keep_prob: ArrayLike | None = None
) -> Array:
    """Trace of the Hessian of R_S or R_S + R_1, exactly and for any number of parameters.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    objective : {"risk+r1", "risk"}
        The loss; "risk" alone where the loss of the problem is not the squared one.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        The trace, at a cost of O(n m c) each.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Notes
    -----
    With the symbols of the module's docstring, and v = 0 for "risk":

        Tr H = (1/n) Σ_ij [c (1 + v) s² h_ij² + |x_i|² ((1 + v) bb_j h1_ij² + c_ij h2_ij)]

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> trace = simdrop.theory.hessian_trace(problem, theta)
    >>> bool(np.isclose(trace, np.trace(simdrop.theory.hessian(problem, theta))))
    True
    """
    check_choice("objective", objective, OBJECTIVES)
    any_loss.check_objective(check_problem(problem), objective)
    points = check_thetas(problem, theta, any_loss=True)

    def one(problem: Problem, theta: Array, _: float) -> Array:
        v, flat = _variance(problem, objective), theta.reshape(-1, problem.n_params)
        rows = max(1, _ROWS // (problem.n_samples * problem.width))
        parts = [_trace(problem, flat[k : k + rows], v) for k in range(0, len(flat), rows)]
        return np.concatenate(parts).reshape(theta.shape[:-1]) if parts else np.zeros(theta.shape[:-1])

    return each(one, problem, points, keep_prob=keep_probs(problem, theta, keep_prob, needed=objective != "risk"))


def _trace(problem: Problem, theta: Array, v: float) -> Array:
    """`hessian_trace` (K,) of a few theta (K, P)."""
    if problem.loss != "squared":
        return any_loss.hessian_trace(problem, theta)
    net = _network(problem, theta, order=2)
    size = np.square(net.x).sum(axis=-1)[:, None]  # (n, 1)
    by_a = problem.n_outputs * (1 + v) * net.scale**2 * np.square(net.h)
    by_w = size * ((1 + v) * net.bb * np.square(net.h1) + net.by_h(net.e, v) * net.h2)
    total = (problem.train != "input") * by_a + (problem.train != "output") * by_w
    trained = np.arange(problem.n_params)[problem.trained].size
    return np.asarray(total.sum(axis=(-1, -2)) / problem.n_samples + problem.weight_decay * trained)


@dataclass(frozen=True, slots=True)
class Curvature:
    """The Hessian at one theta by its factors: memory n c P + m (c + D)², for repeated products at small P.

    features (n c, P): g_ρ; aa (m,), aw (m, c, D), ww (m, D, D): the parts of N_j, aa being a multiple of 1
    """

    problem: Problem
    net: ForwardPass
    v: float
    features: Array
    aa: Array
    aw: Array
    ww: Array

    @classmethod
    def at(cls, problem: Problem, theta: Array, *, objective: str = "risk+r1", order: int = 2) -> Curvature:
        """The Hessian at theta (P,); `order` 3 also allows `trace_gradient`."""
        check_choice("objective", objective, OBJECTIVES)
        net, v = _network(problem, theta, order=order), _variance(problem, objective)
        n = problem.n_samples
        aa = v * net.scale**2 / n * np.square(net.h).sum(axis=0)
        weight = (net.e[:, :, None] + 2 * v * net.h[:, None, :] * net.b) * net.h1[:, None, :]  # (n, c, m)
        aw = net.scale / n * np.einsum("ioj,id->jod", weight, net.x, optimize=True)
        bend = net.by_h(net.e, v) * net.h2 + v * net.bb * net.h1**2  # (n, m)
        ww = np.einsum("ij,id,iq->jdq", bend, net.x, net.x, optimize=True) / n
        by_a, by_w = problem.train != "input", problem.train != "output"
        if problem.weight_decay:
            aa = aa + problem.weight_decay
            ww = ww + problem.weight_decay * np.eye(problem.n_inputs)
        return cls(problem, net, v, problem.freeze(features(net)), by_a * aa, by_a * by_w * aw, by_w * ww)

    def product(self, direction: Array) -> Array:
        """Hessian times direction (..., P)."""
        a, w = self.problem.split(direction)
        by_a = self.aa * a + np.einsum("jod,...jd->...oj", self.aw, w)
        by_w = np.einsum("jod,...oj->...jd", self.aw, a) + (self.ww @ w[..., None])[..., 0]
        found: Array = self.problem.join(by_a, by_w)
        found += (direction @ self.features.T / self.problem.n_samples) @ self.features
        return found

    def blocks(self) -> Array:
        """N (m, c + D, c + D), each block by (a_1j, ..., a_cj, w_j)."""
        width, c, inputs = self.aw.shape
        found = np.zeros((width, c + inputs, c + inputs))
        found[:, range(c), range(c)] = self.aa[:, None]
        found[:, :c, c:] = self.aw
        found[:, c:, :c] = self.aw.swapaxes(-1, -2)
        found[:, c:, c:] = self.ww
        return found

    def trace(self, applied: Array, blocks: Array) -> float:
        """The trace of H C, with C as in `trace_gradient`."""
        return float((applied * self.features).sum() / self.problem.n_samples + (self.blocks() * blocks).sum())

    def trace_gradient(self, applied: Array, blocks: Array) -> Array:
        """∇ tr(H C) (P,) for a fixed symmetric C, of which H sees the features and the blocks of the neurons.

        C is zero for parameters that are not trained.

        applied (n c, P): g_ρ C; blocks (m, c + D, c + D): C of each neuron's (a_1j, ..., a_cj, w_j). Needs order 3.

        By the chain rule backwards through n tr(H C) = Σ_ρ g_ρᵀ C g_ρ + n Σ_j ⟨N_j, C_j⟩, with g_ρ, N_j as above.
        """
        net, v, s = self.net, self.v, self.net.scale
        n, c = net.e.shape
        a, w = self.problem.split(applied.reshape(n, c, -1))  # (n, c, c, m), (n, c, m, D)
        own = np.einsum("iooj->ij", a)
        along = np.einsum("iojd,id->ioj", w, net.x)
        aa = np.trace(blocks[:, :c, :c], axis1=1, axis2=2)  # (m,)
        aw = np.einsum("jod,id->ioj", blocks[:, :c, c:], net.x)  # (n, c, m)
        ww = np.einsum("jdq,id,iq->ij", blocks[:, c:, c:], net.x, net.x, optimize=True)  # (n, m)
        h, h1, b, bb = net.h, net.h1, net.b, net.bb
        by_c = net.h2 * ww
        by_bb = v * (h * by_c + h1 * h1 * ww).sum(axis=0)
        tilt = net.e[:, :, None] + 2 * v * h[:, None, :] * b
        adjoint = Adjoint(
            h=2 * s * own + 2 * v * s * s * h * aa + 4 * s * v * h1 * (b * aw).sum(axis=1) + v * bb * by_c,
            h1=2 * (b * along).sum(axis=1) + 2 * s * (tilt * aw).sum(axis=1) + 2 * v * bb * h1 * ww,
            e=2 * s * np.einsum("ij,ioj->io", h1, aw) + by_c @ b.T,
            b=2 * np.einsum("ij,ioj->oj", h1, along + 2 * s * v * h[:, None, :] * aw) + net.e.T @ by_c + 2 * b * by_bb,
            h2=net.by_h(net.e, v) * ww,
        )
        return self.problem.freeze(net.pull_back(adjoint) / n)

    def matrix(self) -> Array:
        """The Hessian (P, P), symmetric to the last bit."""
        matrix = self.features.T @ (self.features / self.problem.n_samples)
        matrix = (matrix + matrix.T) / 2
        a, w = self.problem.split(np.arange(self.problem.n_params))  # where each parameter stands
        matrix[a, a] += self.aa
        matrix[a.T[:, :, None], w[:, None, :]] += self.aw
        matrix[w[:, :, None], a.T[:, None, :]] += self.aw.swapaxes(-1, -2)
        matrix[w[:, :, None], w[:, None, :]] += self.ww
        return matrix


def features(net: ForwardPass) -> Array:
    """The features g_ρ = ∂f_o(x_i)/∂θ, shape (n c, P)."""
    n, c = net.e.shape
    by_a = net.scale * np.einsum("ij,oq->ioqj", net.h, np.eye(c))  # (n, c, c, m)
    by_w = np.einsum("oj,ij,id->iojd", net.b, net.h1, net.x, optimize=True)  # (n, c, m, D)
    return join(by_a, by_w).reshape(n * c, -1)


def _network(problem: Problem, theta: Array, order: int) -> ForwardPass:
    return ForwardPass.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=order)


def _variance(problem: Problem, objective: str) -> float:
    return problem.variance if objective == "risk+r1" else 0.0
