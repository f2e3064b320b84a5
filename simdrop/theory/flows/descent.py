"""The flows that descend a loss: R_S, R_S + R_1, its approximation of second order, or R_S + R_1 + R_2."""

from __future__ import annotations

from functools import partial
from typing import Any

from simdrop_kernels.mathematics.network import expected

from ...problem import Noise, Problem
from .. import any_loss
from .._input import Array, add_decay, network
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
) -> Path:
    """The gradient flow of `objective` at `times` (T,) from theta0 (P,). Raises InvalidInput and FlowFailed."""
    name, reason, options = choose(
        problem,
        theta0,
        method,
        objective="risk" if objective == "risk" else "risk+r1",
        square=value(lr, times[-1] / 2) / (2 * problem.keep_prob) if objective == "risk+r1+r2" else 0.0,
        duration=times[-1],
    )
    theta, work = integrate(
        descent(problem, objective, lr), theta0, times, rtol=rtol, atol=atol, limit=max_evaluations, **options
    )
    return Path(theta, {"method": name, "method_reason": reason} | work)


def descent(problem: Problem, objective: str, lr: Rate) -> Slope:
    """Minus the gradient of a loss, as a right-hand side."""
    if problem.loss != "squared":
        return _descent_of_any(problem, objective)
    x, y, mask, train, known = problem.inputs, problem.y, problem.mask, problem.train, network(problem)
    decay = problem.weight_decay

    def slope(time: float, theta: Array) -> Array:
        rate = value(lr, time)
        gradient = expected.gradient(objective, x, y, theta, mask=mask, lr=rate, train=train, decay=decay, **known)
        return -add_decay(problem, problem.freeze(gradient), theta)

    return slope


def _descent_of_any(problem: Problem, objective: str) -> Slope:
    """The same for losses other than the squared one."""
    if objective == "risk":
        return lambda _, theta: -any_loss.risk_gradient(problem, theta)
    how: any_loss.How = "second-order" if objective == "second-order" else "exact"
    any_loss.way(problem, Noise(), how)  # refused before any work
    return lambda _, theta: -any_loss.mean_gradient(problem, theta, Noise(), how)


def _follow_second_order(problem: Problem, theta0: Array, times: Array, **options: Any) -> Path:
    """R_1 to second order in the outputs' deviations: exact for the squared loss, an approximation for others."""
    objective = "risk+r1" if problem.loss == "squared" else "second-order"
    return follow(problem, theta0, times, objective=objective, **options)


FLOWS = {
    "gradient": Flow(partial(follow, objective="risk"), ("max_evaluations",), any_loss=True, lr="none"),
    "second-order": Flow(_follow_second_order, ("max_evaluations",), any_loss=True, lr="none"),
    "averaged": Flow(partial(follow, objective="risk+r1"), ("max_evaluations",), any_loss=True, lr="none"),
    "modified": Flow(partial(follow, objective="risk+r1+r2"), ("max_evaluations",), lr="pieces"),
}
