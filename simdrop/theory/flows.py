"""Gradient flows of the losses that dropout minimises on average, integrated by SciPy.

kind "gradient"   θ' = -∇R_S                    training without dropout
     "averaged"   θ' = -∇(R_S + R_1)            dropout's mean gradient
     "modified"   θ' = -∇(R_S + R_1 + R_2)      with the lr/4 E|∇R_drop|² of a finite learning rate (arXiv:2207.05952)

Time is t = lr · step. Wide networks are stiff: "auto" takes the explicit DOP853, unless its steps would be limited by
the largest eigenvalue of the Hessian more than by accuracy, and then BDF with structured linear algebra (`stiff`).
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from simdrop_kernels import closed_form

from .. import provenance
from ..errors import FlowFailed, InvalidInput, check_choice
from ..problem import Problem, check_finite
from ._input import Array, check_lr, check_point, network
from .curvature import hessian_product
from .losses import r1, r2, risk

if TYPE_CHECKING:
    import xarray as xr

#: kind -> the loss that it descends
KINDS = {"gradient": "risk", "averaged": "risk+r1", "modified": "risk+r1+r2"}
METHODS = ("auto", "DOP853", "RK45", "LSODA", "BDF")

#: largest eigenvalue times duration beyond which "auto" takes BDF: there DOP853 needs as many evaluations
STIFF = 2000.0
#: bytes allocated once before integrating, see `_keep_memory`
_ARENA = 24 << 20
#: neurons times samples from which the BLAS's threads are used
_SHARED_WORK = 200_000
#: non-finite derivatives in a row after which a flow is given up; fewer are trial steps that went too far
_LOST = 1000


def flow(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float,
    times: ArrayLike,
    kind: str = "gradient",
    method: str = "auto",
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xr.Dataset:
    """Follow a flow that starts from theta0 at time 0, and report it at `times`.

    Parameters
    ----------
    theta0 : start, shape (P,)
    lr : learning rate ε of the dropout run that the flow stands for; R_2 is proportional to it
    times : increasing, 0 or more; compare with a simulation at lr · step
    kind : "gradient", "averaged" or "modified"
    method : integrator, "auto", "DOP853", "RK45", "LSODA" or "BDF" (stiff; exact Jacobian but for R_2's)
    rtol, atol : tolerances of the integrator, per step

    Returns
    -------
    xarray.Dataset with theta(time, param) and risk, r1, r2 (time); attrs tell method, tolerance and work.

    Raises
    ------
    InvalidInput : an argument is wrong
    FlowFailed : the integrator gave up, or the flow became infinite
    """
    theta0, lr, times = check_point(problem, theta0, "theta0"), check_lr(lr), check_times(times)
    check_choice("kind", kind, KINDS)
    check_tolerances(rtol, atol)
    started = clock.perf_counter()
    with few_threads(problem), np.errstate(over="ignore", invalid="ignore"):
        method, reason, options = _choose(problem, theta0, kind, method, lr=lr, duration=times[-1])
        descent = _descent(problem, KINDS[kind], lr)
        path, work = integrate(descent, theta0, times, rtol=rtol, atol=atol, **options)
    attrs = {"kind": kind, "lr": lr, "method": method, "method_reason": reason, "rtol": rtol, "atol": atol}
    return dataset(problem, times, path, lr=lr, attrs=attrs | work | {"seconds": clock.perf_counter() - started})


def check_times(times: ArrayLike) -> Array:
    """`times` as increasing numbers, 0 or more, at least one; raises InvalidInput."""
    array = np.atleast_1d(check_finite("times", times))
    if array.ndim != 1 or array.size == 0:
        raise InvalidInput(f"times must be a number or a list of numbers, got shape {array.shape}")
    if array[0] < 0:
        raise InvalidInput(f"times must be 0 or more (theta0 is at time 0), got {array[0]:g}")
    falls = np.flatnonzero(np.diff(array) <= 0)
    if falls.size:
        k = falls[0]
        raise InvalidInput(f"times must increase, got {array[k]:g} and then {array[k + 1]:g} at index {k + 1}")
    return array


def check_tolerances(rtol: float, atol: float) -> None:
    """Raise InvalidInput unless the tolerances suit SciPy's integrators."""
    if not 1e-13 <= rtol < 1:
        raise InvalidInput(f"rtol must lie in [1e-13, 1), got {rtol!r}")
    if not 0 <= atol < np.inf:
        raise InvalidInput(f"atol must be a finite number, 0 or more, got {atol!r}")


def integrate(
    descent: Callable[[float, Array], Array],
    start: Array,
    times: Array,
    *,
    rtol: float,
    atol: float,
    method: Any,
    **options: Any,
) -> tuple[Array, dict[str, Any]]:
    """The state (time, ...) at `times`, from `start` at time 0, and the work done. Raises FlowFailed.

    `method` is SciPy's name or class; `options` are the class's.
    """
    from scipy.integrate import solve_ivp

    if times[-1] == 0:
        return start[None].copy(), {"nfev": 0, "njev": 0, "success": 1}
    _keep_memory()
    lost = 0 if np.isfinite(descent(0.0, start)).all() else _LOST

    def watched(time: float, state: Array) -> Array:
        nonlocal lost
        slope = descent(time, state)
        lost = 0 if np.isfinite(slope).all() else lost + 1
        if lost > _LOST:
            raise FlowFailed(f"the flow has no finite derivative at time {time:g} of {times[-1]:g}: it became infinite")
        return slope

    found = solve_ivp(watched, (0.0, times[-1]), start, t_eval=times, method=method, rtol=rtol, atol=atol, **options)
    path = found.y.T
    if not found.success or not np.isfinite(path).all():
        reached = found.t[-1] if found.t.size else 0.0
        raise FlowFailed(
            f"the flow could not be followed beyond time {reached:g} of {times[-1]:g} ({found.message});"
            " it may become infinite, or need a looser rtol or another method"
        )
    return np.ascontiguousarray(path), {"nfev": found.nfev, "njev": found.njev, "success": int(found.success)}


def dataset(problem: Problem, times: Array, theta: Array, *, lr: float, attrs: dict[str, Any]) -> xr.Dataset:
    """The result of a flow: theta (time, param), the losses along it, and where it comes from."""
    import xarray as xr

    data = {
        "theta": (("time", "param"), theta),
        "risk": ("time", risk(problem, theta)),
        "r1": ("time", r1(problem, theta)),
        "r2": ("time", r2(problem, theta, lr=lr)),
    }
    attrs = attrs | provenance.of_problem(problem) | provenance.versions()
    return xr.Dataset(data, coords={"time": times}, attrs=attrs)


def _descent(problem: Problem, objective: str, lr: float) -> Callable[[float, Array], Array]:
    x, y, mask, known = problem.inputs, problem.y, problem.mask, network(problem)

    def descent(_: float, theta: Array) -> Array:
        return -closed_form.gradient(objective, x, y, theta, mask=mask, lr=lr, **known)

    return descent


def _choose(
    problem: Problem, theta0: Array, kind: str, method: str, *, lr: float, duration: float
) -> tuple[str, str, dict[str, Any]]:
    """The integrator's name, why it was taken, and the options of `integrate` that make it."""
    from . import stiff

    check_choice("method", method, METHODS)
    refusal = stiff.refuses(problem)
    objective = "risk" if kind == "gradient" else "risk+r1"
    square = lr / (2 * problem.keep_prob) if kind == "modified" else 0.0
    bdf = {"method": stiff.StructuredBDF, "problem": problem, "objective": objective, "square": square}
    if method == "BDF":
        if refusal:
            raise InvalidInput(f"method 'BDF' does not suit this problem: {refusal}")
        return method, "asked for", bdf
    if method != "auto":
        return method, "asked for", {"method": method}
    if refusal:
        return "DOP853", f"BDF is no choice: {refusal}", {"method": "DOP853"}
    top = _largest_eigenvalue(problem, theta0, objective)
    stiffness = top * (1 + square * top) * duration
    said = f"largest eigenvalue times duration is about {stiffness:.2g}"
    if stiffness > STIFF:
        return "BDF", f"stiff: {said}", bdf
    return "DOP853", f"not stiff: {said}", {"method": "DOP853"}


def _largest_eigenvalue(problem: Problem, theta: Array, objective: str, iterations: int = 30) -> float:
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


def few_threads(problem: Problem) -> AbstractContextManager[Any]:
    """One BLAS thread where the matrices are too small to share: there a second one only waits."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    small = problem.n_samples * problem.width < _SHARED_WORK
    return threadpool_limits(1, user_api="blas") if small else nullcontext()


def _keep_memory() -> None:
    """Free one large block, so that the C library keeps freed memory for reuse.

    glibc returns freed memory above a threshold to the system at once, and faults it in again for the next temporary
    array, at twice to three times the cost of a gradient at width 1000. Freeing a large block once raises that
    threshold for good.
    """
    np.empty(_ARENA, dtype=np.uint8)
