"""The noise of a step with all knobs of `simdrop.Noise`: mean, second moment and covariance of its gradient G.

A step draws one DropConnect mask κ, a minibatch of B samples, noise ξ on its targets, and k dropout masks, alone or for
each sample. With φ_i the gradient of sample i under κ and a dropout mask, ψ_i = E[φ_i | κ] its mean over the latter,
μ_i = E φ_i, and bars for means over all n samples, the laws of total covariance give for step masks

    Cov G = (1 - r) Cov ψ̄ + r ((1/n) Σ_i Cov ψ_i + M) + (1/k) E_κ[(1 - r) Cov φ̄ + (r/n) Σ_i Cov φ_i] + L + τ_p² 1
    r = f/B,   f = (n - B)/(n - 1) without replacement, 1 with it,   M = (1/n) Σ_i μ_i μ_iᵀ - μ̄ μ̄ᵀ

(the inner covariances over dropout masks alone, given κ) and for sample masks 1/(k B n) Σ_i E_κ Cov φ_i in the place of
(1/k) E_κ[...]. By E_κ Cov(φ | κ) = Cov φ - Cov ψ only covariances over independent states of the neurons are left: with
operators T for φ, P for ψ over one mask for all samples, T', P' = n⁻² Σ_i over one for each,

    step     (1 - r)/k T + r n/k T' + (1 - r)(1 - 1/k) P + r n (1 - 1/k) P' + r M
    sample            n/(k B) T'    + (1 - r) P          + (r n - n/(k B)) P'  + r M

P and P' vanish without DropConnect, where T and T' are `operator.NoiseOperator`; with it all four are matrices by
`states`. Noise on the targets meets the factors of the neurons,

    L = τ_l²/(B n) Σ_ρ E[g_ρ g_ρᵀ],   blocks j ≠ l: g_ρj g_ρlᵀ,   block j: (1 + v/k) g_ρj g_ρjᵀ

with means over κ of g_ρj, and of g_ρj g_ρjᵀ, in their places. `placed` has T and T' where dropout's factors do not
act in the whole step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.network import dropconnect, expected

from ...checks.words import check_choice, shown
from ...errors import InvalidInput
from ...problem import Problem, check_problem
from ...problem.noise import Noise, check_connect, refuse_epochs
from .. import any_loss
from .._input import Array, add_decay, check_kept_point, check_matrix, check_thetas, each, keep_probs, network
from ..curvature import features
from ..labels import PARAM, labelled
from . import placed, states
from .operator import NoiseOperator
from .parts import Identity, Matrix, Part, Rows, scatter


@labelled("mean_gradient", PARAM, words="mean of the gradient of a step")
def mean_gradient(
    problem: Problem,
    theta: ArrayLike,
    *,
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
    how: any_loss.How = "exact",
) -> Array:
    """Mean E G of the gradient of a step: ∇(R_S + R_1) under dropout.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    noise : Noise, optional
        Noise of a step. Of the noises other than dropout, DropConnect alone changes the mean; where dropout's factors
        do not act in the whole step (`place`) it is ∇R_S.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.
    how : {"exact", "second-order"}
        As in `mean_risk`, for losses other than the squared one.

    Returns
    -------
    ndarray, shape (..., P)
        E G.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> mean = simdrop.theory.mean_gradient(problem, theta)
    >>> bool(np.allclose(mean, simdrop.theory.gradient(problem, theta, objective="risk+r1")))
    True
    """
    check_choice("how", how, any_loss.HOW)
    points, noise = check_thetas(problem, theta, any_loss=True), checked(problem, noise, any_place=True)

    def one(problem: Problem, theta: Array, _: float) -> Array:
        if noise.part == "noise":
            return np.zeros_like(theta)
        if noise.place == "update" or (noise.place != "both" and problem.loss == "squared"):
            return any_loss.risk_gradient(problem, theta)
        if problem.loss != "squared":
            return any_loss.mean_gradient(problem, theta, noise, how)
        x, y, known = problem.inputs, problem.y, network(problem)
        if noise.connect < 1:
            check_connect(problem, noise, "the mean gradient under DropConnect is")
            found = dropconnect.mean_gradient(x, y, theta, connect=noise.connect, **known)
        else:
            found = expected.gradient("risk+r1", x, y, theta, mask=problem.mask, lr=0.0, **known)
        return add_decay(problem, problem.freeze(found), theta)

    return each(one, problem, points, keep_prob=keep_probs(problem, theta, keep_prob))


@labelled("second_moment", words="second moment of the gradient of a step")
def second_moment(
    problem: Problem, theta: ArrayLike, *, noise: Noise | None = None, keep_prob: ArrayLike | None = None
) -> Array:
    """Second moment E|G|² of the gradient of a step, exactly.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    noise : Noise, optional
        Noise of a step.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        E|G|² = |E G|² + tr Cov G.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Notes
    -----
    Under one mask for all samples E|G|² = (1/p) (|ḡ|² + v Σ_{j≠k} |β_jk|²), an expansion in products of the dropout
    factors: equation :eq:`second` of the derivations on the site. `simdrop.theory.noise.operator` explains the symbols.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> mean, covariance = (f(problem, theta) for f in (simdrop.theory.mean_gradient, simdrop.theory.noise_covariance))
    >>> bool(np.isclose(simdrop.theory.second_moment(problem, theta), mean @ mean + np.trace(covariance)))
    True
    """
    points, noise = check_thetas(problem, theta), checked(problem, noise, any_place=True)

    def one(problem: Problem, theta: Array, _: float) -> Array:
        if noise == Noise():
            known: dict[str, Any] = {"mask": problem.mask, "train": problem.train, **network(problem)}
            known["decay"] = problem.weight_decay
            return expected.second_moment(problem.inputs, problem.y, theta, **known)
        square = np.square(mean_gradient(problem, theta, noise=noise)).sum(axis=-1)
        traces = [StepNoise.at(problem, row, noise).trace() for row in theta.reshape(-1, problem.n_params)]
        found: Array = square + np.reshape(traces, theta.shape[:-1])
        return found

    return each(one, problem, points, keep_prob=keep_probs(problem, theta, keep_prob))


@labelled("noise_covariance", "param_i", "param_j", words="covariance of the gradient of a step")
def noise_covariance(
    problem: Problem, theta: ArrayLike, *, noise: Noise | None = None, keep_prob: float | None = None
) -> Array:
    """Covariance Σ = Cov G of the gradient of a step, exactly, as a matrix.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    noise : Noise, optional
        Noise of a step.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (P, P)
        Σ, symmetric; zero for parameters that are not trained.

    Raises
    ------
    InvalidInput
        As in `loss`, or the matrix does not fit into memory.

    See Also
    --------
    covariance_product : Σ times vectors without the matrix.

    Notes
    -----
    Σ of arXiv:2305.15850, here without approximation: its trace is the last term of equation :eq:`second` of the
    derivations on the site, and the module's docstring derives the rest.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> simdrop.theory.noise_covariance(problem, problem.init(seed=0)).shape
    (9, 9)
    """
    problem, point = check_kept_point(problem, theta, keep_prob)
    check_matrix(problem)
    return StepNoise.at(problem, point, noise).covariance()


@labelled("covariance_product", PARAM, words="covariance of the gradient times the direction", by="direction")
def covariance_product(
    problem: Problem,
    theta: ArrayLike,
    direction: ArrayLike,
    *,
    noise: Noise | None = None,
    keep_prob: float | None = None,
) -> Array:
    """Covariance Σ = Cov G of the gradient of a step times vectors, without the matrix except with DropConnect.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters.
    direction : array_like, shape (..., P)
        Vectors.
    noise : Noise, optional
        Noise of a step.
    keep_prob : float, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (..., P)
        Σ times each vector, at a cost of O(n² c² m).

    Raises
    ------
    InvalidInput
        As in `loss`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> covariance = simdrop.theory.noise_covariance(problem, theta)
    >>> bool(np.allclose(simdrop.theory.covariance_product(problem, theta, np.eye(9)), covariance))
    True
    """
    problem, point = check_kept_point(problem, theta, keep_prob)
    return StepNoise.at(problem, point, noise).product(problem.check_theta(direction, "direction"))


def checked(problem: Problem, noise: Noise | None, *, any_place: bool = False) -> Noise:
    """`noise`, the default where it is None, checked for `problem`; raises InvalidInput.

    Also where its factors act elsewhere than in the whole step, unless `any_place`: what asks must be right for that.
    """
    check_problem(problem)
    if noise is not None and not isinstance(noise, Noise):
        raise InvalidInput(f"noise must be a simdrop.Noise or None, got {shown(noise)}")
    if noise is None:
        return Noise()
    if noise.place != "both" and not any_place:
        raise InvalidInput(f"this is known for dropout in the whole step, noise with place 'both', got {noise.place!r}")
    refuse_epochs(noise)
    return noise.check(problem)


class Weights(NamedTuple):
    """Weights of T, T', P, P' and M in the covariance, and 1/(B n), the weight of L."""

    shared: float
    single: float
    shared_mean: float
    single_mean: float
    means: float
    label: float

    @classmethod
    def of(cls, problem: Problem, noise: Noise) -> Weights:
        """The factors of the formulas above."""
        n, k = problem.n_samples, noise.masks
        batch = noise.batch_size or n
        left = 1.0 if noise.replace else (n - batch) / max(n - 1, 1)
        r = left / batch
        if problem.mask == "step":
            masks = (1 - r) / k, r * n / k, (1 - r) * (1 - 1 / k), r * n * (1 - 1 / k)
        else:
            masks = 0.0, n / (k * batch), 1 - r, r * n - n / (k * batch)
        return cls(*masks, r, 1 / (batch * n))


@dataclass(frozen=True, slots=True)
class StepNoise:
    """The noise of a step at one theta: a sum of independent parts with their weights.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    parts : tuple of (float, Part)
        Weights and parts; `at` makes them.
    """

    problem: Problem
    parts: tuple[tuple[float, Part], ...]

    @classmethod
    def at(cls, problem: Problem, theta: Array, noise: Noise | None = None) -> StepNoise:
        """The noise at one theta; none for part "drift".

        Parameters
        ----------
        problem : Problem
            Data, network and dropout.
        theta : ndarray, shape (P,)
            Parameters.
        noise : Noise, optional
            Noise of a step.

        Returns
        -------
        StepNoise
            The noise.

        Raises
        ------
        InvalidInput
            The noise does not fit the problem.
        """
        noise = checked(problem, noise, any_place=True)
        if noise.part == "drift":
            return cls(problem, ())
        weights = Weights.of(problem, noise)
        build = _with_connect if noise.connect < 1 else _plain
        parts = build(problem, theta, noise, weights)
        if noise.isotropic:
            parts.append((noise.isotropic**2, Identity(problem)))
        return cls(problem, tuple((weight, part) for weight, part in parts if weight))

    def product(self, direction: Array) -> Array:
        """Covariance times vectors.

        Parameters
        ----------
        direction : ndarray, shape (..., P)
            Vectors.

        Returns
        -------
        ndarray, shape (..., P)
            The products.
        """
        total = np.zeros_like(direction)
        for weight, part in self.parts:
            total += weight * part.product(direction)
        return total

    def covariance(self) -> Array:
        """The covariance as a matrix.

        Returns
        -------
        ndarray, shape (P, P)
            The covariance.
        """
        total = np.zeros((self.problem.n_params,) * 2)
        for weight, part in self.parts:
            total += weight * part.covariance()
        return total

    def trace(self) -> float:
        """Trace of the covariance.

        Returns
        -------
        float
            The trace.
        """
        return sum(weight * part.trace() for weight, part in self.parts)

    def draw(self, random: np.random.Generator, count: int) -> Array:
        """Draw normal vectors of mean 0 with exactly this covariance, without the matrix except with DropConnect.

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
        total = np.zeros((count, self.problem.n_params))
        for weight, part in self.parts:
            total += np.sqrt(weight) * part.sample(random, count)
        return total


def _plain(problem: Problem, theta: Array, noise: Noise, weights: Weights) -> list[tuple[float, Part]]:
    """The parts without DropConnect."""
    if noise.place != "both":
        return placed.parts(problem, theta, noise, weights)
    single = NoiseOperator.at(problem, theta, law=noise.law, mask="sample")
    parts: list[tuple[float, Part]] = []
    if problem.keep_prob < 1:
        if weights.shared:
            parts.append((weights.shared, NoiseOperator.at(problem, theta, law=noise.law, mask="step")))
        parts.append((weights.single, single))
    if weights.means:
        residuals = single.net.e[:, :, None] + problem.variance * single.net.h[:, None, :] * single.net.b
        means = single.pull(residuals, problem.n_samples) * problem.n_samples
        parts.append((weights.means, Rows(problem, scatter(means), 0.0)))
    if noise.label:
        rows = problem.freeze(features(single.net))
        parts.append((noise.label**2 * weights.label, Rows(problem, rows, problem.variance / noise.masks)))
    return parts


def _with_connect(problem: Problem, theta: Array, noise: Noise, weights: Weights) -> list[tuple[float, Part]]:
    """The sum of the parts with DropConnect, as one matrix."""
    check_connect(problem, noise, "the noise of DropConnect is")
    full, given = states.Neurons.at(problem, theta, noise), states.Neurons.at(problem, theta, noise, dropout=False)
    total = np.zeros((problem.n_params,) * 2)
    for weight, neurons, mask in (
        (weights.shared, full, "step"),
        (weights.single, full, "sample"),
        (weights.shared_mean, given, "step"),
        (weights.single_mean, given, "sample"),
    ):
        if weight:
            total += weight * neurons.covariance(mask)
    if weights.means:
        rows = scatter(given.sample_means())
        total += weights.means * rows.T @ rows
    if noise.label:
        total += noise.label**2 * weights.label * given.feature_moment(1 + problem.variance / noise.masks)
    return [(1.0, Matrix(problem.freeze(problem.freeze(total).T)))]
