"""Integration of flows by SciPy: choice of the method, watch over what it does, economy of memory and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ...checks.numbers import check_number
from ...checks.words import check_choice, counted, shown
from ...errors import FlowFailed, InvalidInput
from ...problem import Problem
from .._input import Array
from ..curvature import hessian_product

METHODS = ("auto", "DOP853", "RK45", "LSODA", "BDF")
Slope = Callable[[float, Array], Array]

#: largest eigenvalue times duration beyond which "auto" takes BDF: there DOP853 needs as many evaluations
STIFF = 2000.0
#: neurons times samples from which the BLAS's threads are used
_SHARED_WORK = 200_000
#: non-finite derivatives in a row after which a flow is given up; fewer are trial steps that went too far
_LOST = 1000
#: evaluations, and the share of the duration that they must advance by at least: less is no progress
_STALL = 1000, 1e-6
#: evaluations between two looks at how fast a state grows, see `Growth`
_LOOK = 100


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
    """
    from threadpoolctl import threadpool_limits

    small = problem.n_samples * problem.width < _SHARED_WORK
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # BDF divides by errors that underflow
    with threadpool_limits(1 if small else None, user_api="blas"), quiet:
        yield


class Growth:
    """Whether a state grows towards infinity at a time that is near, as (t* - t)**-k does.

    The rate g of such growth, that of log |y|, rises with |y| itself, as |y|**p with p = 1/k, and t* is 1 / (p g)
    away. Exponential growth has p = 0, and growth that comes to an end p < 0. A state is given up where all of this
    holds:

    - it is `GROWN` times as large as at the start, and over the last factor of `WINDOW` p was at least `POWER`
    - t* lies within the share `NEAR` of the time that is left
    - more than `SPENT` evaluations are behind it, and at the present pace that time would take more than `AHEAD`

    Growth that comes to an end after all is faster than exponential at first, but takes no more than hundreds of them.
    """

    GROWN, WINDOW, POWER, NEAR, SPENT, AHEAD = 4.0, 2.0, 0.5, 0.02, 1500, 1_000_000

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start or np.inf, end  # from 0 every size is larger
        self.seen: list[tuple[float, float]] = []  # sizes and rates

    def check(self, time: float, size: float, rate: float, pace: float, spent: int) -> None:
        """Raise FlowFailed for what is to be given up; rate is that of the size, and pace evaluations per time."""
        if not (0 < rate < np.inf and size < np.inf):
            self.seen.clear()
            return
        before = [one for one in self.seen if one[0] <= size / self.WINDOW]
        self.seen.append((size, rate))
        left = self.end - time
        if size < self.GROWN * self.start or not before or spent < self.SPENT or left * pace < self.AHEAD:
            return
        power = float(np.log(rate / before[-1][1]) / np.log(size / before[-1][0]))
        if power < self.POWER or 1 / (power * rate) > self.NEAR * left:
            return
        raise FlowFailed(
            f"the flow becomes infinite at about time {time + 1 / (power * rate):.3g} of {self.end:g}: it grows ever"
            f" faster, and is {size / self.start:.1f} times as large as at the start"
        )


def watched(slope: Slope, start: Array, begin: float, end: float, limit: int | None = None) -> Slope:
    """`slope`, giving up with FlowFailed where it stays non-finite, is so at the start, or stops the integrator.

    `limit` bounds the number of evaluations.

    A flow that becomes infinite at some time draws an integrator towards that time in ever smaller steps: `Growth`
    sees it long before they are too small.
    """
    if not np.isfinite(slope(begin, start)).all():
        why = "it became infinite" if begin else "theta0, lr or the data are too large"
        raise FlowFailed(f"the flow has no finite derivative at time {begin:g} of {end:g}: {why}")
    lost = 0
    every, share = _STALL
    count, seen, furthest, looked = 0, -np.inf, -np.inf, begin
    growth = Growth(float(np.linalg.norm(start)), end)

    def checked(time: float, state: Array) -> Array:
        nonlocal lost, count, seen, furthest, looked
        found = slope(time, state)
        lost = 0 if np.isfinite(found).all() else lost + 1
        if lost > _LOST:
            raise FlowFailed(f"the flow has no finite derivative at time {time:g} of {end:g}: it became infinite")
        count, furthest = count + 1, max(furthest, time)
        if limit is not None and count > limit:
            raise gave_up(time, end, f"{counted(limit, 'evaluation')} {'was' if limit == 1 else 'were'} allowed")
        if count % every == 0:
            gained = furthest - seen
            if gained < share * (end - begin):
                raise gave_up(time, end, f"{every} evaluations advanced it by {gained:.2g}")
            seen = furthest
        if count % _LOOK == 0 and not lost and furthest > looked:
            size = float(np.linalg.norm(state))
            rate = float(state @ found) / max(size * size, np.finfo(float).tiny)
            growth.check(time, size, rate, _LOOK / (furthest - looked), count)
            looked = furthest
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
