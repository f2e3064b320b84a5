"""The flows that descend a loss: R_S, R_S + R_1 or R_S + R_1 + R_2."""

from __future__ import annotations

from functools import partial

from simdrop_kernels.mathematics.network import expected

from ...problem import Problem
from .._input import Array, network
from .integration import Path, Slope, choose, integrate
from .table import Flow


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    objective: str,
    lr: float,
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
        square=lr / (2 * problem.keep_prob) if objective == "risk+r1+r2" else 0.0,
        duration=times[-1],
    )
    theta, work = integrate(
        descent(problem, objective, lr), theta0, times, rtol=rtol, atol=atol, limit=max_evaluations, **options
    )
    return Path(theta, {"method": name, "method_reason": reason} | work)


def descent(problem: Problem, objective: str, lr: float) -> Slope:
    """Minus the gradient of a loss, as a right-hand side."""
    x, y, mask, train, known = problem.inputs, problem.y, problem.mask, problem.train, network(problem)

    def slope(_: float, theta: Array) -> Array:
        return -problem.freeze(expected.gradient(objective, x, y, theta, mask=mask, lr=lr, train=train, **known))

    return slope


FLOWS = {
    "gradient": Flow(partial(follow, objective="risk"), ("max_evaluations",)),
    "averaged": Flow(partial(follow, objective="risk+r1"), ("max_evaluations",)),
    "modified": Flow(partial(follow, objective="risk+r1+r2"), ("max_evaluations",)),
}
