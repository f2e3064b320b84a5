"""The flow along one realised sequence of masks: backward error analysis path by path.

During step t of a simulated member, for a time lr, with the mask η_t that the member drew,

    θ' = -∇R_drop(θ, η_t)                                                plain
    θ' = -∇(R_drop(θ, η_t) + (lr/4) |∇R_drop(θ, η_t)|²)                  corrected

The step of SGD differs from the plain flow by lr²/2 H ∇R_drop + O(lr³), from the corrected one by O(lr³): after a time
of order 1 the iterate lies O(lr) from the plain flow and O(lr²) from the corrected one, with the same masks.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.network.forward import ForwardPass

from ...checks.numbers import check_count, check_seed
from ...checks.words import check_choice
from ...errors import InvalidInput
from ...problem import Problem
from ...schedule.base import Schedule
from .._input import Array, add_decay
from .integration import Path, Slope, gave_up, watched
from .rates import Clock
from .table import Flow

METHODS = ("DOP853", "RK45")

#: steps that a flow may go through: some hours' work
MOST_STEPS = 10**8
#: masks drawn at a time
_STEPS = 256
#: hidden values, samples times neurons, of the members that are followed together: what fills the nearest caches
_TOGETHER = 4096
#: the smallest relative tolerance that SciPy takes
_LEAST = 2.3e-14
#: of a step: how near a time must be to a step's end to count as it
_NEAR = 1e-9


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    lr: float | Schedule,
    method: str,
    rtol: float,
    atol: float,
    seed: int = 0,
    member: int = 0,
    corrected: bool = True,
) -> Path:
    """The path at `times` under the masks of (seed, member). Raises InvalidInput and FlowFailed."""
    from scipy import integrate

    check_choice("method of a pathwise flow", method, ("auto", *METHODS))
    method = "DOP853" if method == "auto" else method
    seed, member = check_seed(seed), check_count("member", member, least=0, most=(1 << 32) - 1)
    solver_class = getattr(integrate, method)
    clock = Clock.constant(lr) if isinstance(lr, float) else Clock.of(lr, times[-1])
    where = times / lr if isinstance(lr, float) else clock.steps_at(times)  # in steps
    if where[-1] > MOST_STEPS:
        raise InvalidInput(
            f"a pathwise flow goes step by step: lr={lr} makes {where[-1]:.3g} steps of time {times[-1]:g}, more than"
            f" {MOST_STEPS:.0e}"
        )
    path, theta, nfev, ahead = np.empty((len(times), theta0.size)), theta0, 0, np.inf
    done = np.searchsorted(where, _NEAR, side="right")
    path[:done] = theta0
    drawn: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
    for step in range(int(np.ceil(where[-1] - _NEAR))):
        if step % _STEPS == 0:
            drawn = _masks(problem, seed=seed, member=member, first=step)
        begin, end, rate = clock.interval(step)
        right = watched(slope(problem, drawn[step % _STEPS], lr=rate, corrected=corrected), theta, begin, times[-1])
        solver = solver_class(right, begin, theta, end, rtol=rtol, atol=atol, first_step=min(ahead, end - begin))
        ahead = 0.0
        while solver.status == "running":
            message = solver.step()
            if solver.status == "failed":
                raise gave_up(solver.t, times[-1], message)
            ahead = max(ahead, solver.step_size)
            reached = solver.t / lr if isinstance(lr, float) else step + (solver.t - begin) / rate
            due = np.searchsorted(where, reached + _NEAR, side="right")
            if due > done:
                path[done:due] = solver.dense_output()(np.minimum(times[done:due], solver.t)).T
                done = due
        theta, nfev = solver.y, nfev + solver.nfev + 1  # one by `watched`
    attrs = {"method": method, "method_reason": "explicit, restarted with the mask of each step"}
    whose = {"seed": seed, "member": member, "corrected": int(corrected)}
    return Path(path, attrs | whose | {"nfev": nfev, "njev": 0, "success": 1})


def members_at_end(
    problem: Problem, theta0: Array, *, lr: float | Schedule, steps: int, seed: int, members: int, corrected: bool,
    rtol: float, atol: float,
) -> Array:  # fmt: skip
    """Where the flows under the masks of members 0, 1, ... are after `steps` steps of training: (members, P).

    Members are followed together, as many as `_TOGETHER` says, each within the tolerances. Raises FlowFailed.
    """
    at_once = max(_TOGETHER // (problem.n_samples * problem.width), 1)
    clock = Clock.constant(lr) if isinstance(lr, float) else Clock.of(lr, float(lr.times(np.array([steps]))[0]))
    found = np.tile(theta0, (members, 1))
    for first in range(0, members, at_once):
        theta = found[first : first + at_once]
        numbers, within = first + np.arange(len(theta)), np.sqrt(len(theta))
        # SciPy bounds the root mean square of the errors of all members, beyond which one can be √M times
        options = {"rtol": max(rtol / within, _LEAST), "atol": atol / within}
        state, ahead = theta.ravel(), np.inf
        for step in range(steps):
            if step % _STEPS == 0:
                drawn = _masks(problem, seed=seed, member=numbers[:, None], first=step)  # (M, steps, [n,] m)
                drawn = drawn if problem.mask == "sample" else drawn[:, :, None]
            begin, end, rate = clock.interval(step)
            right = slope(problem, drawn[:, step % _STEPS], lr=rate, corrected=corrected)
            state, ahead = _step_together(right, state, theta.shape, begin, end, ahead, options)
        found[first : first + at_once] = state.reshape(theta.shape)
    return found


def _step_together(
    right: Slope, state: Array, shape: tuple[int, ...], begin: float, end: float, ahead: float,
    options: dict[str, float],
) -> tuple[Array, float]:  # fmt: skip
    """Members' flows, flat, through the step from `begin` to `end`, and the longest step taken; `ahead`: the first."""
    from scipy.integrate import DOP853

    flat = watched(lambda time, theta: right(time, theta.reshape(shape)).ravel(), state, begin, end)
    solver = DOP853(flat, begin, state, end, first_step=min(ahead, end - begin), **options)
    longest = 0.0
    while solver.status == "running":
        message = solver.step()
        if solver.status == "failed":
            raise gave_up(solver.t, end, message)
        longest = max(longest, solver.step_size)
    return solver.y, longest


def slope(problem: Problem, mask: NDArray[np.bool_], *, lr: float, corrected: bool) -> Slope:
    """The right-hand side during a step under `mask`, (m,) or (n, m), or (M, 1 or n, m) of as many members."""
    x, y, factor = problem.inputs, problem.y, mask / problem.keep_prob

    def descent(_: float, theta: Array) -> Array:
        net = ForwardPass.at(x, y, theta, problem.activation, problem.scale, order=1 + corrected, factor=factor)
        gradient = add_decay(problem, problem.freeze(net.mean_gradient(net.e, 0.0)), theta)
        if corrected:
            bent = problem.freeze(net.mean_gradient_along(gradient, 0.0))
            gradient = gradient + lr / 2 * add_decay(problem, bent, gradient)
        return -gradient

    return descent


def _masks(problem: Problem, *, seed: int, member: int | NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    """The masks of steps first, first + 1, ...: (steps, m), or (steps, n, m) for sample masks."""
    return rng.masks(
        seed=seed,
        member=member,
        step=np.arange(first, first + _STEPS),
        width=problem.width,
        keep_prob=problem.keep_prob,
        samples=problem.n_samples if problem.mask == "sample" else None,
    )


FLOWS = {
    "pathwise": Flow(follow, ("seed", "member", "corrected"), lr="steps"),
    "pathwise-plain": Flow(partial(follow, corrected=False), ("seed", "member"), lr="steps"),
}
