"""The flows that descend a loss: R_S, R_S + R_1, its approximation of second order, or R_S + R_1 + R_2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from simdrop_kernels.mathematics.network import expected

from ...errors import InvalidInput
from ...problem import Noise, Problem
from .. import any_loss
from .._input import Array, add_decay, network
from ..noise.moment import moment_gradient
from ..noise.step import checked, mean_gradient
from .integration import Path, Slope, choose, integrate
from .rates import Rate, value
from .table import Flow


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    objective: str,
    lr: Rate,
    method: str,
    rtol: float,
    atol: float,
    max_evaluations: int | None = None,
    noise: Noise | None = None,
) -> Path:
    """The gradient flow of `objective` at `times` (T,) from theta0 (P,). Raises InvalidInput and FlowFailed."""
    noise = check_noise(problem, noise, objective)
    objective = placed(objective, noise)
    method = "DOP853" if noise.connect < 1 and method == "auto" else method  # the Hessian is that without DropConnect
    name, reason, options = choose(
        problem,
        theta0,
        method,
        objective="risk+r1" if "r1" in objective else "risk",
        square=value(lr, times[-1] / 2) / (2 * problem.keep_prob) if objective.endswith("r2") else 0.0,
        duration=times[-1],
    )
    theta, work = integrate(
        descent(problem, objective, lr, noise), theta0, times, rtol=rtol, atol=atol, limit=max_evaluations, **options
    )
    return Path(theta, {"method": name, "method_reason": reason} | work)


def check_noise(problem: Problem, noise: Noise | None, objective: str) -> Noise:
    """`noise`, of which steps are that a flow stands for, the default where it is None; raises InvalidInput."""
    noise = checked(problem, noise, any_place=True)
    if objective == "risk" or noise == Noise():
        return noise
    if noise.part == "noise":
        raise InvalidInput("part 'noise' has mean 0: no flow follows it")
    if problem.loss != "squared" and noise.place != "update":
        any_loss.way(problem, noise, "second-order")  # refused for what no formula has
    if noise.connect < 1 and objective.endswith("r2"):
        raise InvalidInput(
            "the gradient of R_2 is not known under DropConnect: kind 'averaged' follows its mean gradient"
        )
    return noise


def placed(objective: str, noise: Noise) -> str:
    """The loss that the mean step descends: without R_1 where dropout's factors do not act in the whole step."""
    if noise.place == "both" or objective == "risk":
        return objective
    return "risk+r2" if objective.endswith("r2") else "risk"


def descent(problem: Problem, objective: str, lr: Rate, noise: Noise | None = None) -> Slope:
    """Minus the gradient of a loss, as a right-hand side."""
    if problem.loss != "squared":
        return _descent_of_any(problem, objective, noise or Noise())
    if noise is not None and noise != Noise() and objective != "risk":
        return _descent_under(problem, objective, lr, noise)
    x, y, mask, train, known = problem.inputs, problem.y, problem.mask, problem.train, network(problem)
    decay = problem.weight_decay

    def slope(time: float, theta: Array) -> Array:
        rate = value(lr, time)
        gradient = expected.gradient(objective, x, y, theta, mask=mask, lr=rate, train=train, decay=decay, **known)
        return -add_decay(problem, problem.freeze(gradient), theta)

    return slope


def _descent_under(problem: Problem, objective: str, lr: Rate, noise: Noise) -> Slope:
    """The same under further noise: minus its mean gradient, and that of its R_2 where the objective has it."""
    if noise.connect < 1:
        return lambda _, theta: -mean_gradient(problem, theta, noise=noise)
    mean = descent(problem, objective.removesuffix("+r2"), 0.0)
    if not objective.endswith("r2"):
        return mean
    return lambda time, theta: mean(time, theta) - value(lr, time) / 4 * moment_gradient(problem, theta, noise)


def _descent_of_any(problem: Problem, objective: str, noise: Noise) -> Slope:
    """The same for losses other than the squared one."""
    if objective == "risk":
        return lambda _, theta: -any_loss.risk_gradient(problem, theta)
    how: any_loss.How = "second-order" if objective == "second-order" else "exact"
    any_loss.way(problem, noise, how)  # refused before any work
    return lambda _, theta: -any_loss.mean_gradient(problem, theta, noise, how)


def _follow_second_order(problem: Problem, theta0: Array, times: Array, **options: Any) -> Path:
    """R_1 to second order in the outputs' deviations: exact for the squared loss, an approximation for others."""
    objective = "risk+r1" if problem.loss == "squared" else "second-order"
    return follow(problem, theta0, times, objective=objective, **options)


def _declared(objective: str, followed: Callable[..., Path] | None = None, **known: Any) -> Flow:
    one = partial(follow, objective=objective) if followed is None else followed
    check = partial(check_noise, objective=objective)
    return Flow(one, ("noise", "max_evaluations"), check_noise=check, **known)


FLOWS = {
    "gradient": _declared("risk", any_loss=True, lr="none"),
    "second-order": _declared("second-order", _follow_second_order, any_loss=True, lr="none"),
    "averaged": _declared("risk+r1", any_loss=True, lr="none"),
    "modified": _declared("risk+r1+r2", lr="pieces"),
}
