"""Integration of flows by SciPy: choice of the method, watch over what it does, economy of memory and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

from ...checks.numbers import check_number
from ...checks.words import check_choice, counted, shown
from ...errors import FlowFailed, InvalidInput
from ...problem import Problem
from .._input import Array
from ..curvature import hessian_product

#: what the argument `method` of `flow` may be
Method = Literal["auto", "DOP853", "RK45", "LSODA", "BDF"]
METHODS: tuple[Method, ...] = ("auto", "DOP853", "RK45", "LSODA", "BDF")
Slope = Callable[[float, Array], Array]

#: largest eigenvalue times duration beyond which "auto" takes BDF: there DOP853 needs as many evaluations
STIFF = 2000.0
#: neurons times samples from which the BLAS's threads are used
_SHARED_WORK = 200_000
#: non-finite derivatives in a row after which a flow is given up; fewer are trial steps that went too far
_LOST = 1000
#: evaluations between two looks at how a flow gets on, see `Outlook`
_LOOK = 100


class Path(NamedTuple):
    """The solution of a flow: theta (time, P), further variables of the dataset, and attributes."""

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
    """Context of an integration: without warnings of overflow, which `watched` judges, and economical.

    One BLAS thread where the matrices are too small to share: a second one would only wait.
    """
    from threadpoolctl import threadpool_limits

    small = problem.n_samples * problem.width < _SHARED_WORK
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # BDF divides by errors that underflow
    with threadpool_limits(1 if small else None, user_api="blas"), quiet:
        yield


class Outlook:
    """Whether a flow can still come to its end; `look` raises FlowFailed where it is to be given up.

    The pace is the number of evaluations that a time takes. At the present pace the time left may take more than

    - `HOPELESS` evaluations, or
    - `ahead` evaluations, while the state grows towards infinity at a time that is near, as (t* - t)**-k does

    The rate g of such growth, that of log |y|, rises with |y| itself, as |y|**p with p = 1/k, and t* is 1 / (p g)
    away. Exponential growth has p = 0, and growth that comes to an end p < 0. A state grows towards infinity where it
    is `grown` times as large as at the start, p was at least `POWER` over the last factor of `WINDOW`, and t* lies
    within the share `NEAR` of the time that is left. Growth that comes to an end after all is faster than exponential
    at first, but takes no more than hundreds of evaluations: nothing is given up before `SPENT` of them.
    """

    WINDOW, POWER, NEAR, SPENT, PATIENCE, HOPELESS = 2.0, 0.5, 0.02, 1500, 1000, 1e9

    def __init__(self, begin: float, end: float, size: float, *, grown: float = 4.0, ahead: float = 1e6) -> None:
        self.duration, self.end, self.grown, self.ahead = end - begin, end, grown, ahead
        self.start = size or np.inf  # from 0 every size is larger
        self.seen: list[tuple[float, float]] = []  # sizes and rates
        self.reached, self.spent = begin, 0  # at the last look
        self.marked, self.counted = -np.inf, 0  # `PATIENCE` evaluations ago, or more

    def look(self, reached: float, spent: int, size: float, rate: float) -> None:
        """Judge a state of this size, that grows at this rate, after `spent` evaluations."""
        if spent - self.counted >= self.PATIENCE:
            gained = reached - self.marked
            if gained * self.HOPELESS < self.duration * (spent - self.counted):
                raise gave_up(reached, self.end, f"{spent - self.counted} evaluations advanced it by {gained:.2g}")
            self.marked, self.counted = reached, spent
        if reached > self.reached and np.isfinite(size):
            pace = (spent - self.spent) / (reached - self.reached)
            self.reached, self.spent = reached, spent
            self._judge_growth(size, rate, self.end - reached, pace)

    def _judge_growth(self, size: float, rate: float, left: float, pace: float) -> None:
        if not 0 < rate < np.inf:
            self.seen.clear()
            return
        before = [one for one in self.seen if one[0] <= size / self.WINDOW]
        self.seen.append((size, rate))
        small = size < self.grown * self.start or not before
        if small or self.spent < self.SPENT or left * pace < self.ahead:
            return
        power = float(np.log(rate / before[-1][1]) / np.log(size / before[-1][0]))
        if power < self.POWER or 1 / (power * rate) > self.NEAR * left:
            return
        raise FlowFailed(
            f"the flow becomes infinite at about time {self.reached + 1 / (power * rate):.3g} of {self.end:g}: it grows"
            f" ever faster, and is {size / self.start:.1f} times as large as at the start"
        )


def watched(slope: Slope, start: Array, begin: float, end: float, limit: int | None = None) -> Slope:
    """`slope`, giving up with FlowFailed where it stays non-finite, is so at the start, or `Outlook` sees no end.

    `limit` bounds the number of evaluations.

    A flow that becomes infinite at some time draws an integrator towards that time in ever smaller steps: `Outlook`
    sees it long before they are too small.
    """
    if not np.isfinite(slope(begin, start)).all():
        why = "it became infinite" if begin else "theta0, lr or the data are too large"
        raise FlowFailed(f"the flow has no finite derivative at time {begin:g} of {end:g}: {why}")
    count, lost, reached = 0, 0, np.inf
    outlook = Outlook(begin, end, float(np.linalg.norm(start)))

    def checked(time: float, state: Array) -> Array:
        nonlocal count, lost, reached
        found = slope(time, state)
        lost = 0 if np.isfinite(found).all() else lost + 1
        if lost > _LOST:
            raise FlowFailed(f"the flow has no finite derivative at time {time:g} of {end:g}: it became infinite")
        # trial steps that fail go far ahead, to the end perhaps, but none begins before what has been reached
        count, reached = count + 1, min(reached, time)
        if limit is not None and count > limit:
            raise gave_up(time, end, f"{counted(limit, 'evaluation')} {'was' if limit == 1 else 'were'} allowed")
        if count % _LOOK == 0:
            size = np.nan if lost else float(np.linalg.norm(state))
            rate = np.nan if lost else float(state @ found) / max(size * size, np.finfo(float).tiny)
            outlook.look(reached, count, size, rate)
            reached = np.inf
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
