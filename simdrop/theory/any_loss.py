"""How the mean over dropout of a loss other than the squared one can be had, and where it cannot.

Exactly by a sum over all masks of a few neurons, or with Gaussian factors and one output by quadrature; "second-order"
is an approximation whose error does not vanish with the learning rate. The formulas:
`simdrop_kernels.mathematics.network.any_loss`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from simdrop_kernels.mathematics.network import any_loss
from simdrop_kernels.mathematics.network.any_loss import MOST_NEURONS

from ..checks.words import check_choice
from ..errors import InvalidInput
from ..problem import Noise, Problem
from ._input import Array, add_decay

How = Literal["exact", "second-order"]
HOW: tuple[How, ...] = ("exact", "second-order")


def unknown(problem: Problem, noise: Noise | None = None) -> str | None:
    """Why the mean over dropout is not known exactly for a loss other than the squared one, or None."""
    gaussian = noise is not None and noise.gaussian
    if gaussian and problem.n_outputs > 1:
        return f"under Gaussian dropout it is an integral over the {problem.n_outputs} outputs, written for one"
    if not gaussian and problem.width > MOST_NEURONS:
        return f"it is a sum over the 2^{problem.width} masks, for at most {MOST_NEURONS} neurons"
    return None


def way(problem: Problem, noise: Noise, how: How) -> str:
    """By what `mathematics.network.any_loss` has the mean under `noise`; raises InvalidInput where it has none."""
    check_choice("how", how, HOW)
    others = [name for name in ("label", "connect", "part", "place") if getattr(noise, name) != getattr(Noise(), name)]
    if others:
        raise InvalidInput(f"the mean over noise with {others[0]} is known for loss 'squared', got {problem.loss!r}")
    if how == "second-order":
        return how
    if why := unknown(problem, noise):
        raise InvalidInput(
            f"the mean of loss {problem.loss!r} over dropout is not known here: {why}; how='second-order' and"
            " kind='second-order' approximate it"
        )
    return "quadrature" if noise.gaussian else "enumeration"


def mean_risk(problem: Problem, theta: Array, noise: Noise, how: How) -> Array:
    """E R_drop (...) of theta (..., P); raises InvalidInput where it is not known."""
    known = {"keep_prob": problem.keep_prob, "how": way(problem, noise, how)}
    return any_loss.mean_risk(problem.network, problem.inputs, problem.y, theta, **known)  # type: ignore[arg-type]


def mean_gradient(problem: Problem, theta: Array, noise: Noise, how: How) -> Array:
    """Its gradient (..., P) and that of weight decay, which is the mean gradient of a step.

    Zero for parameters that are not trained.
    """
    known = {"keep_prob": problem.keep_prob, "how": way(problem, noise, how)}
    found = any_loss.mean_gradient(problem.network, problem.inputs, problem.y, theta, **known)  # type: ignore[arg-type]
    return add_decay(problem, problem.freeze(found), theta)


def hessian_along(problem: Problem, theta: Array, direction: Array) -> Array:
    """The Hessian at theta (P,) of what `risk_gradient` is the gradient of, times direction (..., P)."""
    own = problem.freeze(direction)
    found = any_loss.gradient_along(problem.network, problem.inputs, problem.y, theta, own)
    return add_decay(problem, problem.freeze(found), direction)


def hessian_trace(problem: Problem, theta: Array) -> Array:
    """Its trace (...) at theta (..., P)."""
    trained = {"by_a": problem.train != "input", "by_w": problem.train != "output"}
    found = any_loss.hessian_trace(problem.network, problem.inputs, problem.y, theta, **trained)
    return np.asarray(found + problem.weight_decay * problem.freeze(np.ones(problem.n_params)).sum())


def check_objective(problem: Problem, objective: str) -> None:
    """Raise InvalidInput where the Hessian of this objective is not known for the loss of the problem."""
    if problem.loss != "squared" and objective != "risk":
        raise InvalidInput(
            f"the Hessian of R_S + R_1 is known for loss 'squared', where R_1 has a closed form; for {problem.loss!r}"
            " objective='risk' is"
        )


def risk_gradient(problem: Problem, theta: Array) -> Array:
    """∇(R_S + (λ/2) |θ|²) (..., P) of any loss, λ of weight decay; zero for parameters that are not trained."""
    found = any_loss.gradient(problem.network, problem.inputs, problem.y, theta)
    return add_decay(problem, problem.freeze(found), theta)
