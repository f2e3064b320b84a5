"""R_S, R_1, R_2 and their sums, with gradients: what dropout minimises on average.

`simdrop_kernels.closed_form` holds the formulas and their derivation. theta may have leading axes: (..., P).
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from simdrop_kernels import closed_form

from ..errors import InvalidInput, check_choice
from ..problem import Problem
from ._input import Array, check_lr, network

#: what `loss`, `gradient` and, but for R_2, the Hessians know; sums of R_S, R_1 and R_2
OBJECTIVES = ("risk", "r1", "r2", "risk+r1", "risk+r1+r2")


def risk(problem: Problem, theta: ArrayLike) -> Array:
    """R_S = (1/2n) Σ_i |f(x_i) - y_i|², shape (...)."""
    return loss(problem, theta, objective="risk")


def r1(problem: Problem, theta: ArrayLike) -> Array:
    """R_1 = E R_drop - R_S, shape (...); the same for both mask modes."""
    return loss(problem, theta, objective="r1")


def r2(problem: Problem, theta: ArrayLike, *, lr: float) -> Array:
    """R_2 = (lr/4) E|∇R_drop|², shape (...)."""
    return loss(problem, theta, objective="r2", lr=lr)


def modified_loss(problem: Problem, theta: ArrayLike, *, lr: float) -> Array:
    """R_S + R_1 + R_2, shape (...): the loss whose gradient flow approximates dropout (arXiv:2207.05952, lemma 2)."""
    return loss(problem, theta, objective="risk+r1+r2", lr=lr)


def loss(problem: Problem, theta: ArrayLike, *, objective: str, lr: float | None = None) -> Array:
    """The sum (...) that `objective` names; one with "r2" needs `lr`."""
    theta = problem.check_theta(theta)
    terms = _terms(objective, lr)
    total = theta[..., 0] * 0.0
    if terms & {"risk", "r1"}:
        parts = closed_form.losses(problem.inputs, problem.y, theta, **network(problem))
        total = total + sum(part for name, part in zip(("risk", "r1"), parts, strict=True) if name in terms)
    if "r2" in terms:
        moment = closed_form.second_moment(problem.inputs, problem.y, theta, mask=problem.mask, **network(problem))
        total = total + check_lr(lr) / 4 * moment
    return total


def gradient(problem: Problem, theta: ArrayLike, *, objective: str, lr: float | None = None) -> Array:
    """Gradient (..., P) of the sum that `objective` names; one with "r2" needs `lr`."""
    theta = problem.check_theta(theta)
    lr = check_lr(lr) if "r2" in _terms(objective, lr) else 0.0
    return closed_form.gradient(
        objective, problem.inputs, problem.y, theta, mask=problem.mask, lr=lr, **network(problem)
    )


def _terms(objective: str, lr: float | None) -> set[str]:
    check_choice("objective", objective, OBJECTIVES)
    terms = set(objective.split("+"))
    if "r2" in terms and lr is None:
        raise InvalidInput(f"objective {objective!r} needs lr: R_2 = (lr/4) E|∇R_drop|²")
    return terms
