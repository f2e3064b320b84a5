"""Integration of flows by SciPy: choice of the method, watch over what it does, economy of memory and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_number
from ..errors import FlowFailed, InvalidInput
from ..problem import Problem
from ..words import check_choice, shown
from ._input import Array
from .curvature import hessian_product

METHODS = ("auto", "DOP853", "RK45", "LSODA", "BDF")
Slope = Callable[[float, Array], Array]

#: largest eigenvalue times duration beyond which "auto" takes BDF: there DOP853 needs as many evaluations
STIFF = 2000.0
#: bytes allocated once before integrating, see `workplace`
_ARENA = 24 << 20
#: neurons times samples from which the BLAS's threads are used
_SHARED_WORK = 200_000
#: non-finite derivatives in a row after which a flow is given up; fewer are trial steps that went too far
_LOST = 1000
#: evaluations, and the share of the duration that they must advance by at least: less is no progress
_STALL = 1000, 1e-6
#: the share of what is left below which so many advances, each that factor shorter than the one before, are no progress
#: either: those towards a time at which the flow becomes infinite shrink without end
_SHRINKING = 1e-4, 5, 0.98


class Path(NamedTuple):
    """What a flow was found to be: theta (time, P), further variables of the dataset, and attributes."""

    theta: Array
    attrs: dict[str, Any]
    variables: dict[str, Any] = {}  # noqa: RUF012  # never changed


def check_tolerances(rtol: float, atol: float) -> None:
    """Raise InvalidInput unless the tolerances suit SciPy's integrators."""
    if not 1e-13 <= check_number("rtol", rtol) < 1:
        raise InvalidInput(f"rtol must lie in [1e-13, 1), got {shown(rtol)}")
    if check_number("atol", atol) < 0:
        raise InvalidInput(f"atol must be a finite number, 0 or more, got {shown(atol)}")


@contextmanager
def workplace(problem: Problem) -> Iterator[None]:
    """What integrations run in: quiet about overflow, which `watched` judges, and economical.

    One BLAS thread where the matrices are too small to share: a second one would only wait.

    glibc returns freed memory above a threshold to the system at once, and faults it in again for the next temporary
    array, at twice to three times the cost of a gradient at width 1000. Freeing a large block once raises that
    threshold for good.
    """
    from threadpoolctl import threadpool_limits

    np.empty(_ARENA, dtype=np.uint8)
    small = problem.n_samples * problem.width < _SHARED_WORK
    with threadpool_limits(1 if small else None, user_api="blas"), np.errstate(over="ignore", invalid="ignore"):
        yield


def watched(slope: Slope, start: Array, begin: float, end: float, limit: int | None = None) -> Slope:
    """`slope`, giving up with FlowFailed where it stays non-finite, is so at the start, or stops the integrator.

    `limit` bounds the number of evaluations.

    A flow that becomes infinite at some time draws an integrator towards that time in ever smaller steps.
    """
    lost = 0 if np.isfinite(slope(begin, start)).all() else _LOST
    every, share = _STALL
    little, most, factor = _SHRINKING
    count, seen, furthest = 0, -np.inf, -np.inf
    last, shrunk = np.inf, 0

    def checked(time: float, state: Array) -> Array:
        nonlocal lost, count, seen, furthest, last, shrunk
        found = slope(time, state)
        lost = 0 if np.isfinite(found).all() else lost + 1
        if lost > _LOST:
            raise FlowFailed(f"the flow has no finite derivative at time {time:g} of {end:g}: it became infinite")
        count, furthest = count + 1, max(furthest, time)
        if limit is not None and count > limit:
            raise gave_up(time, end, f"{limit} evaluations were allowed")
        if count % every == 0:
            gained = furthest - seen
            shrunk = shrunk + 1 if gained < factor * last else 0
            if gained < share * (end - begin) or (shrunk >= most and gained < little * (end - furthest)):
                raise gave_up(time, end, f"{every} evaluations advanced it by {gained:.2g}")
            seen, last = furthest, gained
        return found

    return checked


def integrate(
    slope: Slope,
    start: Array,
    times: Array,
    *,
    rtol: float,
    atol: float,
    method: Any,
    limit: int | None = None,
    **options: Any,
) -> tuple[Array, dict[str, Any]]:
    """The state (time, ...) at `times`, from `start` at time 0, and the work done. Raises FlowFailed.

    `method` is SciPy's name or class; `options` are the class's; `limit` bounds the evaluations.
    """
    from scipy.integrate import solve_ivp

    if times[-1] == 0:
        return start[None].copy(), {"nfev": 0, "njev": 0, "success": 1}
    right, reached = watched(slope, start, 0.0, times[-1], limit), 0.0

    def noted(time: float, state: Array) -> Array:
        nonlocal reached
        reached = max(reached, time)
        return right(time, state)

    found = solve_ivp(noted, (0.0, times[-1]), start, t_eval=times, method=method, rtol=rtol, atol=atol, **options)
    path = np.asarray(found.y).T  # a list where it did not reach the first of the times
    if not found.success or not np.isfinite(path).all():
        raise gave_up(reached, times[-1], " ".join(found.message.split()).rstrip("."))
    path = np.ascontiguousarray(path)
    path[times == 0] = start  # what LSODA interpolates there has its own last bits
    return path, {"nfev": found.nfev, "njev": found.njev, "success": 1}


def gave_up(reached: float, end: float, message: str) -> FlowFailed:
    """The error of an integrator that stopped early."""
    return FlowFailed(
        f"the flow could not be followed beyond time {reached:g} of {end:g} ({message});"
        " it may become infinite, or need a looser rtol or another method"
    )


def choose(
    problem: Problem,
    theta0: Array,
    method: str,
    *,
    objective: str,
    square: float,
    duration: float,
    stiff_from: float = STIFF,
) -> tuple[str, str, dict[str, Any]]:
    """The integrator's name, why it was taken, and the options of `integrate` that make it.

    The flow's Jacobian is near -(H + square H²), with H the Hessian of `objective`. "auto" calls it stiff where the
    largest eigenvalue times the duration exceeds `stiff_from`.
    """
    from . import stiff

    check_choice("method", method, METHODS)
    refusal = stiff.refuses(problem)
    bdf = {"method": stiff.StructuredBDF, "problem": problem, "objective": objective, "square": square}
    if method == "BDF":
        if refusal:
            raise InvalidInput(f"method 'BDF' does not suit this problem: {refusal}")
        return method, "asked for", bdf
    if method != "auto":
        return method, "asked for", {"method": method}
    if refusal:
        return "DOP853", f"BDF is no choice: {refusal}", {"method": "DOP853"}
    top = largest_eigenvalue(problem, theta0, objective)
    stiffness = top * (1 + square * top) * duration
    said = f"largest eigenvalue times duration is about {stiffness:.2g}"
    if stiffness > stiff_from:
        return "BDF", f"stiff: {said}", bdf
    return "DOP853", f"not stiff: {said}", {"method": "DOP853"}


def largest_eigenvalue(problem: Problem, theta: Array, objective: str, iterations: int = 30) -> float:
    """The Hessian's spectral radius at theta, by power iteration: near enough to judge stiffness."""
    vector = np.random.default_rng(0).standard_normal(problem.n_params)
    size = 0.0
    for _ in range(iterations):
        vector /= np.linalg.norm(vector)
        vector = hessian_product(problem, theta, vector, objective=objective)
        size = float(np.linalg.norm(vector))
        if not 0 < size < np.inf:
            break
    return size
