"""How a run is described: attributes of its result, and the identity that its checkpoint must match."""

from __future__ import annotations

import copy
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks.words import shown
from ..errors import InvalidInput
from ..output.variables import described, with_parameters
from ..problem import Problem
from ..provenance import PER_MEMBER, fingerprint, machine, of_noise, of_problem, versions
from .continuation import FORMAT, PreviousRun, of_step, shifted, with_state
from .objective import describe
from .places import distinct, numbered
from .plan import TrainingPlan
from .recording import Wanted
from .run import Run
from .settings import Settings

if TYPE_CHECKING:
    import xarray as xr


def of_work(run: Run) -> dict[str, Any]:
    """What a run took."""
    return {
        "block_size": run.block,
        "seconds": run.seconds,
        "kernel_seconds": run.kernel_seconds,
        "compile_seconds": run.compile_seconds,
        "updates": run.updates,
    }


def result(plan: TrainingPlan, run: Run, *, interrupted: bool) -> xr.Dataset:
    """What a run recorded, with its coordinates and attributes."""
    wanted, attrs = run.recorder.wanted, of_run(plan, run, interrupted=interrupted)
    data = run.dataset(_times(plan, wanted.steps), grid=wanted.grid_of(plan.problem), attrs=attrs)
    data = _with_coordinates(plan.settings, plan.previous, data)
    if run.state is not None and not interrupted:
        data = with_state(data, run.state, state(plan, wanted.steps[-1]))
    return in_words(data, plan.problem, wanted)


def in_words(data: xr.Dataset, problem: Problem, wanted: Wanted) -> xr.Dataset:
    """The results with what their variables and parameters are; the user's own observations speak for themselves."""
    return described(with_parameters(data, problem), skip=[one.name for one in wanted.observers])


def _times(plan: TrainingPlan, steps: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """The times of steps; None where they differ between members."""
    settings, previous, svag = plan.settings, plan.previous, plan.step.svag or 1
    times = settings.times(steps)
    at_start = settings.times(np.array([0 if previous is None else previous.step]))
    if times is None or at_start is None:
        return None
    return shifted(times / svag, previous, float(at_start[0] / svag))


def state(plan: TrainingPlan, step: int) -> dict[str, Any]:
    """The settings of the state after a step, as plain values."""
    time, settings = _times(plan, np.array([step])), plan.settings
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": int(step),
        "time": None if time is None else float(time[0]),
        "problem": of_problem(plan.problem),
        **of_step(settings, plan.step),
        "objective": {str(phase.first): phase.step.objective for phase in plan.phases},
        "penalty": plan.step.penalty,
        "schedule": None if settings.schedule is None else str(settings.schedule),
        "seed": settings.seed,
        "per_member": list(settings.per_member),
        "theta0_sha256": _start(plan),
    }


def _start(plan: TrainingPlan) -> str:
    """The fingerprint of theta0, where the members were at step 0."""
    return plan.settings.theta0_sha256 if plan.previous is None else str(plan.previous.settings["theta0_sha256"])


def stops(plan: TrainingPlan, run: Run, number: int) -> bool:
    """Whether the user's `stop`, called with record `number` as a dataset without the dimension time, ends the run.

    Raises InvalidInput for what is neither True nor False, and what the function raises.
    """
    assert plan.stop is not None
    now = copy.copy(run)
    now.state = None  # which is there at the end
    now.recorder = run.recorder.part(slice(number, number + 1))
    returned = plan.stop(result(plan, now, interrupted=False).isel(time=0))
    answer = np.asarray(returned)
    if answer.dtype != np.bool_ or answer.ndim:
        raise InvalidInput(f"stop must return True or False, got {shown(returned)}")
    return bool(answer)


def of_run(plan: TrainingPlan, run: Run, *, interrupted: bool) -> dict[str, Any]:
    """All of a simulation: what reproduces its numbers and how long they took."""
    problem, settings, step = plan.problem, plan.settings, plan.step
    per_member = {
        name: float(value[0]) if (value == value[0]).all() else f"{PER_MEMBER}: {value.min():g} ... {value.max():g}"
        for name, value in (("lr", settings.lr), ("keep_prob", settings.keep_prob))
    }
    return {
        "kind": "simulation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **of_problem(problem),
        **per_member,
        **({} if settings.schedule is None else {"lr": str(settings.schedule)}),
        "steps": settings.steps,
        "members": settings.members,
        "seed": _seed(settings.seeds),
        "dtype": str(settings.dtype),
        "theta0_sha256": _start(plan),
        **({} if plan.previous is None else plan.previous.provenance()),
        "objective": describe({phase.first: phase.step.objective for phase in plan.phases}),
        "penalty": step.penalty,
        "optimizer": step.optimizer.name,
        **{name: int(value) if isinstance(value, bool) else value for name, value in asdict(step.optimizer).items()},
        **of_noise(step.noise, problem),
        **({} if settings.place is None else {"place": f"{PER_MEMBER}: {', '.join(distinct(settings.place))}"}),
        "svag": step.svag,
        "risk_limit": plan.wanted.risk_limit_told,
        "backend": ", ".join(dict.fromkeys(phase.backend.name for phase in plan.phases)),
        "backend_reason": "; ".join(dict.fromkeys(phase.reason for phase in plan.phases)),
        "threads": plan.threads,
        "interrupted": int(interrupted),
        **({} if run.stopped_at is None else {"stopped_at": run.stopped_at}),
        **of_work(run),
        **versions(),
        **machine(),
    }


#: what may differ between two runs that give the same bits
_INCIDENTAL = (
    "created",
    "seconds",
    "kernel_seconds",
    "compile_seconds",
    "updates",
    "threads",
    "interrupted",
    "backend_reason",
)


def _seed(seeds: NDArray[np.uint64]) -> str:
    """The seed as text: 2**64 - 1 is more than a signed integer holds."""
    return str(seeds[0]) if (seeds == seeds[0]).all() else f"{PER_MEMBER}: {seeds.min()} ... {seeds.max()}"


def identity(plan: TrainingPlan, run: Run) -> dict[str, Any]:
    """What two runs must share so that one can go on from the state of the other."""
    settings, everything = plan.settings, of_run(plan, run, interrupted=False)
    for name in (*_INCIDENTAL, *machine(), "python_version"):
        del everything[name]
    wanted = plan.wanted
    points = np.zeros(0) if wanted.points is None else wanted.points
    recorded: tuple[NDArray[Any], ...]
    recorded = (wanted.steps, wanted.trajectories, points, wanted.covariance, np.array((wanted.groups, wanted.norms)))
    recorded += () if wanted.test is None else wanted.test
    for one in wanted.observers:
        recorded += (np.array(one.name), np.zeros((0, *one.shape), dtype=one.dtype))
    numbers = "0, 1, ..." if settings.numbers is None else "sha256 " + fingerprint(settings.numbers)
    placed = () if settings.place is None else (numbered(settings.place),)
    members = "sha256 " + fingerprint(settings.lr, settings.keep_prob, settings.seeds, *placed)
    if plan.previous is not None:
        members += ", from sha256 " + fingerprint(plan.previous.theta, plan.previous.moments)
    found = everything | {"recorded": "sha256 " + fingerprint(*recorded), "numbers": numbers, "of_members": members}
    return found if settings.schedule is None else found | {"schedule": settings.schedule.fingerprint()}


def _with_coordinates(settings: Settings, previous: PreviousRun | None, data: xr.Dataset) -> xr.Dataset:
    """The results with lr, keep_prob and seeds as coordinates.

    They are numbers, or, where they were given for each member, on `member`, and as kept_lr, kept_keep_prob, kept_seed,
    kept_place on `kept`. A learning rate that changes, on the way or where the run went on, is one of every time, so
    that it stays true where results are joined.
    """
    numbers: dict[str, NDArray[Any]] = {"lr": settings.lr, "keep_prob": settings.keep_prob, "seed": settings.seeds}
    numbers |= {} if settings.place is None else {"place": settings.place}
    if settings.schedule is not None or (previous is not None and not previous.has_rates(settings.lr)):
        data = _with_rates(settings, data)
        del numbers["lr"]
    for name, values in numbers.items():
        if name in settings.per_member:
            data = data.assign_coords({name: ("member", np.array(values))})
            if "kept" in data.coords:
                data = data.assign_coords({f"kept_{name}": ("kept", values[data["kept"].values])})
        elif name != "seed":
            data = data.assign_coords({name: float(values[0])})
    if (settings.keep_prob != settings.keep_prob[0]).any():
        for name in ("theta_mean", "group_theta_mean"):
            if name in data:
                data[name].attrs["keep_prob"] = PER_MEMBER
    return data


def _with_rates(settings: Settings, data: xr.Dataset) -> xr.Dataset:
    """The results with lr as a coordinate over time: the rate of the step at each record time, at the end the last."""
    steps, schedule = np.minimum(data["step"].values, settings.steps - 1), settings.schedule
    each = "lr" in settings.per_member
    if schedule is None:
        rates = np.repeat(settings.lr[: None if each else 1, None], len(steps), axis=1)
    else:
        rates = np.concatenate([schedule.rates(int(step), int(step) + 1) for step in steps], axis=1)  # (1 or M, T)
    if not each:
        return data.assign_coords(lr=("time", rates[0]))
    data = data.assign_coords(lr=(("time", "member"), rates.T))
    if "kept" in data.coords:
        data = data.assign_coords(kept_lr=(("time", "kept"), rates.T[:, data["kept"].values]))
    return data
