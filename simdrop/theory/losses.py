"""R_S, R_1, R_2 and their sums, with gradients: what dropout minimises on average.

`simdrop_kernels.mathematics.network.expected` holds the formulas and their derivation. theta may have leading axes:
(..., P). Gradients are zero for parameters that are not trained, and R_2 is that of the trained ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.network import any_loss as expectation
from simdrop_kernels.mathematics.network import dropconnect, expected

from ..checks.words import check_choice
from ..errors import InvalidInput
from ..problem import Problem, check_problem
from ..problem.noise import Noise, check_connect
from . import any_loss
from ._input import Array, add_decay, check_thetas, each, keep_probs, network, rates
from .labels import PARAM, labelled
from .noise.moment import moment_gradient
from .noise.step import checked, mean_gradient, second_moment

#: what `loss`, `gradient` and, but for R_2, the Hessians know; sums of R_S, R_1 and R_2
OBJECTIVES = ("risk", "r1", "r2", "risk+r1", "risk+r1+r2")


@labelled("risk")
def risk(problem: Problem, theta: ArrayLike) -> Array:
    """R_S = (1/n) Σ_i ℓ(f(x_i), y_i), the loss without dropout: (1/2n) Σ_i |f(x_i) - y_i|² with loss "squared".

    Weight decay is not in it.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.

    Returns
    -------
    ndarray, shape (...)
        R_S.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
    >>> float(simdrop.theory.risk(problem, np.zeros(problem.n_params)))
    0.25
    """
    return loss(_undecayed(check_problem(problem)), theta, objective="risk")


@labelled("r1")
def r1(problem: Problem, theta: ArrayLike, *, keep_prob: ArrayLike | None = None) -> Array:
    """R_1 = E R_drop - R_S, what dropout adds to the loss on average; the same for both mask modes.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        R_1 = (1-p)/(2pn) Σ_ij |a_j|² s² σ(w_j·x_i)².

    Raises
    ------
    InvalidInput
        As in `loss`.

    Notes
    -----
    arXiv:2207.05952, lemma 1; equation :eq:`r1` of the derivations on the site.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=1, keep_prob=0.5, activation="linear", bias=False)
    >>> float(simdrop.theory.r1(problem, [2.0, 3.0]))
    9.0
    """
    return loss(problem, theta, objective="r1", keep_prob=keep_prob)


@labelled("r2")
def r2(problem: Problem, theta: ArrayLike, *, lr: ArrayLike, keep_prob: ArrayLike | None = None) -> Array:
    """R_2 = (lr/4) E|∇R_drop|², what finite steps add to the loss.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    lr : float or array_like
        Learning rate ε, as in `loss`.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        R_2, of the gradient of the trained parameters.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Notes
    -----
    arXiv:2207.05952, lemma 2; equation :eq:`r2` of the derivations on the site. The mean over masks is exact, see
    `second_moment`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> square = simdrop.theory.second_moment(problem, theta)
    >>> bool(np.isclose(simdrop.theory.r2(problem, theta, lr=0.1), 0.1 / 4 * square))
    True
    """
    return loss(problem, theta, objective="r2", lr=lr, keep_prob=keep_prob)


@labelled("modified_loss")
def modified_loss(problem: Problem, theta: ArrayLike, *, lr: ArrayLike, keep_prob: ArrayLike | None = None) -> Array:
    """R_S + R_1 + R_2, the loss whose gradient flow approximates training with dropout.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    lr : float or array_like
        Learning rate ε, as in `loss`.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        The modified loss.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Notes
    -----
    arXiv:2207.05952, lemma 2.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> terms = simdrop.theory.risk(problem, theta) + simdrop.theory.r1(problem, theta)
    >>> whole = simdrop.theory.modified_loss(problem, theta, lr=0.1)
    >>> bool(np.isclose(whole, terms + simdrop.theory.r2(problem, theta, lr=0.1)))
    True
    """
    return loss(problem, theta, objective="risk+r1+r2", lr=lr, keep_prob=keep_prob)


@labelled("loss")
def loss(
    problem: Problem,
    theta: ArrayLike,
    *,
    objective: str,
    lr: ArrayLike | None = None,
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
) -> Array:
    """A sum of R_S, R_1 and R_2, with the weight decay (λ/2) |θ|² of the problem where R_S is in it.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    objective : {"risk", "r1", "r2", "risk+r1", "risk+r1+r2"}
        The sum.
    lr : float or array_like, optional
        Learning rate ε, needed for R_2: a number, or an array that broadcasts against the leading axes of theta, such
        as one number for each member.
    noise : Noise, optional
        Noise of a step. R_1 is then the excess of the mean loss over R_S under that noise, and R_2 is (lr/4) E|G|² for
        the gradient G of a step. Where dropout's factors do not act in the whole step (`place`), the mean gradient is
        ∇R_S, and R_1 is 0.
    keep_prob : float or array_like, optional
        Probability to keep a neuron in place of the problem's, shaped as lr.

    Returns
    -------
    ndarray, shape (...)
        The sum.

    Raises
    ------
    InvalidInput
        An argument is wrong, or theta comes from a run with another keep_prob than the problem's and `keep_prob` does
        not say which is meant.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0, members=4)
    >>> simdrop.theory.loss(problem, theta, objective="risk+r1", keep_prob=[0.5, 0.6, 0.7, 0.8]).shape
    (4,)
    """
    terms = _terms(objective, lr)
    points = check_thetas(problem, theta, any_loss="r2" not in terms)
    noise = checked(problem, noise, any_place=True)
    kept = keep_probs(problem, theta, keep_prob, needed=terms != {"risk"})
    lrs = rates(theta, lr) if "r2" in terms and lr is not None else np.asarray(0.0)

    def one(problem: Problem, theta: Array, lr: float) -> Array:
        if problem.loss != "squared":
            alone = expectation.risk(problem.network, problem.inputs, problem.y, theta)
            if "r1" not in terms:
                return np.asarray(alone + _penalty(problem, theta))
            mean = alone if noise.place == "update" else any_loss.mean_risk(problem, theta, noise, "exact")
            return mean + _penalty(problem, theta) if "risk" in terms else mean - alone
        total = theta[..., 0] * 0.0
        if terms & {"risk", "r1"}:
            parts = expected.losses(problem.inputs, problem.y, theta, **network(problem))
            if "r1" in terms:
                parts = parts[0], _excess(problem, theta, noise, parts)
            total = total + sum(part for name, part in zip(("risk", "r1"), parts, strict=True) if name in terms)
        if "r2" in terms:
            total = total + lr / 4 * second_moment(problem, theta, noise=noise)
        return total + _penalty(problem, theta) if "risk" in terms else total

    return each(one, problem, points, keep_prob=kept, lr=lrs)


def _penalty(problem: Problem, theta: Array) -> Array | float:
    """(λ/2) |θ|² (...) of weight decay, of the trained parameters."""
    if not problem.weight_decay:
        return 0.0
    return np.asarray(problem.weight_decay / 2 * np.square(problem.freeze(theta)).sum(axis=-1))


def _undecayed(problem: Problem) -> Problem:
    """The problem without weight decay."""
    return replace(problem, weight_decay=0.0) if problem.weight_decay else problem


@labelled("mean_risk")
def mean_risk(
    problem: Problem,
    theta: ArrayLike,
    *,
    how: any_loss.How = "exact",
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
) -> Array:
    """Mean E R_drop of the loss under dropout, for any loss, without weight decay.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    how : {"exact", "second-order"}
        "exact" is R_S + R_1 for the squared loss; for others a sum over all masks of at most 12 neurons, or
        Gauss-Hermite quadrature with Gaussian dropout and one output. "second-order" replaces ℓ by its second-order
        expansion in the outputs: R_S + (v/2n) Σ_ij u_ijᵀ ℓ'' u_ij with u_ij = a_j σ(w_j·x_i).
    noise : Noise, optional
        Law of the dropout factors.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (...)
        E R_drop, or its approximation.

    Raises
    ------
    InvalidInput
        An argument is wrong, or the mean is not known exactly.

    Notes
    -----
    "second-order" (Wager, Wang & Liang, NIPS 2013; Wei, Kakade & Ma, arXiv:2002.12915) has an error that neither
    learning rate nor number of members makes smaller, but for the squared loss, whose expansion ends there. The
    quadrature has 64 points: its error is below 1e-9 for outputs that dropout spreads by at most 3.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0, 1], width=3, keep_prob=0.5, loss="logistic")
    >>> theta = problem.init(seed=0)
    >>> exact, close = (simdrop.theory.mean_risk(problem, theta, how=how) for how in ("exact", "second-order"))
    >>> bool(exact > simdrop.theory.risk(problem, theta)), bool(abs(close - exact) < 0.3 * exact)
    (True, True)
    """
    check_choice("how", how, any_loss.HOW)
    points, noise = check_thetas(problem, theta, any_loss=True), checked(problem, noise)
    if problem.loss == "squared":
        return loss(_undecayed(problem), theta, objective="risk+r1", noise=noise, keep_prob=keep_prob)

    def one(problem: Problem, theta: Array, _: float) -> Array:
        return any_loss.mean_risk(problem, theta, noise, how)

    return each(one, problem, points, keep_prob=keep_probs(problem, theta, keep_prob))


def _excess(problem: Problem, theta: Array, noise: Noise, parts: tuple[Array, Array]) -> Array:
    """E R - R_S (...) under `noise`, given R_S and R_1 of dropout alone."""
    if noise.part == "noise":
        raise InvalidInput("part 'noise' has no R_1: the mean of its gradients is 0")
    excess = parts[1] if noise.place == "both" else np.zeros_like(parts[1])
    if noise.connect < 1:
        check_connect(problem, noise, "the mean loss under DropConnect is")
        known = network(problem)
        excess = dropconnect.mean_loss(problem.inputs, problem.y, theta, connect=noise.connect, **known) - parts[0]
    return excess + problem.n_outputs * noise.label**2 / 2


@labelled("gradient", PARAM, words="gradient of the loss")
def gradient(
    problem: Problem,
    theta: ArrayLike,
    *,
    objective: str,
    lr: ArrayLike | None = None,
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
) -> Array:
    """Gradient of a sum of R_S, R_1 and R_2, zero for parameters that are not trained.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters.
    objective : {"risk", "r1", "r2", "risk+r1", "risk+r1+r2"}
        The sum.
    lr : float or array_like, optional
        Learning rate ε, needed for R_2, as in `loss`.
    noise : Noise, optional
        Noise of a step, as in `loss`; without DropConnect for R_2.
    keep_prob : float or array_like, optional
        In place of the problem's, as in `loss`.

    Returns
    -------
    ndarray, shape (..., P)
        The gradient.

    Raises
    ------
    InvalidInput
        As in `loss`.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> simdrop.theory.gradient(problem, theta, objective="risk+r1+r2", lr=0.1).shape
    (9,)
    """
    terms = _terms(objective, lr)
    points = check_thetas(problem, theta, any_loss="r2" not in terms)
    noise = checked(problem, noise, any_place=True)
    kept = keep_probs(problem, theta, keep_prob, needed=terms != {"risk"})
    lrs = rates(theta, lr) if "r2" in terms and lr is not None else np.asarray(0.0)
    if noise.connect < 1 and "r2" in terms:
        raise InvalidInput("the gradient of R_2 is not known under DropConnect: leave out connect, or r2")

    def one(problem: Problem, theta: Array, lr: float) -> Array:
        if problem.loss != "squared":
            alone = any_loss.risk_gradient(problem, theta)
            if terms == {"risk"}:
                return alone
            placed = noise.place == "update"  # outputs have no mask then
            mean = alone if placed else any_loss.mean_gradient(problem, theta, noise, "exact")
            return mean if "risk" in terms else mean - alone
        known: dict[str, Any] = {"mask": problem.mask, "lr": lr, "train": problem.train, **network(problem)}
        if noise == Noise():
            known["decay"] = problem.weight_decay
            found = problem.freeze(expected.gradient(objective, problem.inputs, problem.y, theta, **known))
        else:
            found = _noisy_gradient(replace(problem, weight_decay=0.0), theta, terms - {"r2"}, noise, known)
            if "r2" in terms:
                found = found + lr / 4 * moment_gradient(problem, theta, noise)
        return add_decay(problem, found, theta) if "risk" in terms else found

    return each(one, problem, points, keep_prob=kept, lr=lrs)


def _noisy_gradient(problem: Problem, theta: Array, terms: set[str], noise: Noise, known: dict[str, Any]) -> Array:
    """The gradient (..., P) of a sum without R_2 under `noise`."""
    total = np.zeros_like(theta)
    if not terms:
        return total
    if "r1" in terms:
        total = mean_gradient(problem, theta, noise=replace(noise, part="both"))
        if noise.part == "noise":
            raise InvalidInput("part 'noise' has no R_1: the mean of its gradients is 0")
    if terms != {"risk", "r1"}:
        sign = 1.0 if "risk" in terms else -1.0
        risk_alone = expected.gradient("risk", problem.inputs, problem.y, theta, **known)
        total = total + sign * problem.freeze(risk_alone)
    return total


def _terms(objective: str, lr: ArrayLike | None) -> set[str]:
    check_choice("objective", objective, OBJECTIVES)
    terms = set(objective.split("+"))
    if "r2" in terms and lr is None:
        raise InvalidInput(f"objective {objective!r} needs lr: R_2 = (lr/4) E|∇R_drop|²")
    return terms
