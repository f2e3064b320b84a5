"""R_S, R_1, R_2 and their sums, with gradients: what dropout minimises on average.

`simdrop_kernels.mathematics.network.expected` holds the formulas and their derivation. theta may have leading axes:
(..., P). Gradients are zero for parameters that are not trained, and R_2 is that of the trained ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.network import dropconnect, expected

from ..checks.words import check_choice
from ..errors import InvalidInput
from ..problem import Problem
from ..problem.noise import Noise, check_connect
from ._input import Array, check_thetas, each, keep_probs, network, rates
from .noise.step import checked, mean_gradient, second_moment

#: what `loss`, `gradient` and, but for R_2, the Hessians know; sums of R_S, R_1 and R_2
OBJECTIVES = ("risk", "r1", "r2", "risk+r1", "risk+r1+r2")


def risk(problem: Problem, theta: ArrayLike) -> Array:
    """R_S = (1/2n) Σ_i |f(x_i) - y_i|², shape (...)."""
    return loss(problem, theta, objective="risk")


def r1(problem: Problem, theta: ArrayLike, *, keep_prob: ArrayLike | None = None) -> Array:
    """R_1 = E R_drop - R_S, shape (...); the same for both mask modes. `keep_prob` as in `loss`."""
    return loss(problem, theta, objective="r1", keep_prob=keep_prob)


def r2(problem: Problem, theta: ArrayLike, *, lr: ArrayLike, keep_prob: ArrayLike | None = None) -> Array:
    """R_2 = (lr/4) E|∇R_drop|², shape (...). `lr` and `keep_prob` as in `loss`."""
    return loss(problem, theta, objective="r2", lr=lr, keep_prob=keep_prob)


def modified_loss(problem: Problem, theta: ArrayLike, *, lr: ArrayLike, keep_prob: ArrayLike | None = None) -> Array:
    """R_S + R_1 + R_2, shape (...): the loss whose gradient flow approximates dropout (arXiv:2207.05952, lemma 2).

    `lr` and `keep_prob` as in `loss`.
    """
    return loss(problem, theta, objective="risk+r1+r2", lr=lr, keep_prob=keep_prob)


def loss(
    problem: Problem,
    theta: ArrayLike,
    *,
    objective: str,
    lr: ArrayLike | None = None,
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
) -> Array:
    """The sum (...) that `objective` names; one with "r2" needs `lr`.

    With `noise`, R_1 is the excess of the mean loss over R_S under that noise, R_2 is (lr/4) E|G|². `keep_prob`, in
    place of the problem's, and `lr` are numbers or fit the leading axes of theta, such as one for each member.

    Raises
    ------
    InvalidInput : an argument is wrong, or theta comes from a run with another keep_prob than the problem's and
        `keep_prob` does not say which is meant
    """
    points, terms = check_thetas(problem, theta), _terms(objective, lr)
    noise = checked(problem, noise)
    kept = keep_probs(problem, theta, keep_prob, needed=terms != {"risk"})
    lrs = rates(theta, lr) if "r2" in terms and lr is not None else np.asarray(0.0)

    def one(problem: Problem, theta: Array, lr: float) -> Array:
        total = theta[..., 0] * 0.0
        if terms & {"risk", "r1"}:
            parts = expected.losses(problem.inputs, problem.y, theta, **network(problem))
            if "r1" in terms:
                parts = parts[0], _excess(problem, theta, noise, parts)
            total = total + sum(part for name, part in zip(("risk", "r1"), parts, strict=True) if name in terms)
        if "r2" in terms:
            total = total + lr / 4 * second_moment(problem, theta, noise=noise)
        return total

    return each(one, problem, points, keep_prob=kept, lr=lrs)


def _excess(problem: Problem, theta: Array, noise: Noise, parts: tuple[Array, Array]) -> Array:
    """E R - R_S (...) under `noise`, given R_S and R_1 of dropout alone."""
    if noise.part == "noise":
        raise InvalidInput("part 'noise' has no R_1: the mean of its gradients is 0")
    excess = parts[1]
    if noise.connect < 1:
        check_connect(problem, noise, "the mean loss under DropConnect is")
        known = network(problem)
        excess = dropconnect.mean_loss(problem.inputs, problem.y, theta, connect=noise.connect, **known) - parts[0]
    return excess + problem.n_outputs * noise.label**2 / 2


def gradient(
    problem: Problem,
    theta: ArrayLike,
    *,
    objective: str,
    lr: ArrayLike | None = None,
    noise: Noise | None = None,
    keep_prob: ArrayLike | None = None,
) -> Array:
    """Gradient (..., P) of the sum that `objective` names; one with "r2" needs `lr`. Other arguments as in `loss`."""
    points, terms = check_thetas(problem, theta), _terms(objective, lr)
    noise = checked(problem, noise)
    kept = keep_probs(problem, theta, keep_prob, needed=terms != {"risk"})
    lrs = rates(theta, lr) if "r2" in terms and lr is not None else np.asarray(0.0)
    if noise != Noise() and "r2" in terms:
        raise InvalidInput("the gradient of R_2 is known for dropout alone: leave out noise, or r2")

    def one(problem: Problem, theta: Array, lr: float) -> Array:
        known = {"mask": problem.mask, "lr": lr, "train": problem.train, **network(problem)}
        if noise == Noise():
            return problem.freeze(expected.gradient(objective, problem.inputs, problem.y, theta, **known))
        return _noisy_gradient(problem, theta, terms, noise, known)

    return each(one, problem, points, keep_prob=kept, lr=lrs)


def _noisy_gradient(problem: Problem, theta: Array, terms: set[str], noise: Noise, known: dict[str, Any]) -> Array:
    """The gradient (..., P) of a sum without R_2 under `noise`."""
    total = np.zeros_like(theta)
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
