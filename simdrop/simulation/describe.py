"""How a run is described: attributes of its result, and the identity that its checkpoint must match."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem
from ..provenance import PER_MEMBER, fingerprint, machine, of_noise, of_problem, versions
from .objective import describe

if TYPE_CHECKING:
    from .run import Run
    from .settings import Settings
    from .training import _Training


def of_work(run: Run) -> dict[str, Any]:
    """What a run took."""
    return {
        "block_size": run.block,
        "seconds": run.seconds,
        "kernel_seconds": run.kernel_seconds,
        "compile_seconds": run.compile_seconds,
        "updates": run.updates,
    }


def of_run(problem: Problem, settings: Settings, *, training: _Training, run: Run, interrupted: bool) -> dict[str, Any]:
    """All of a simulation: what reproduces its numbers and how long they took."""
    step = training.phases[0].step
    per_member = {
        name: float(value[0]) if (value == value[0]).all() else f"{PER_MEMBER}: {value.min():g} ... {value.max():g}"
        for name, value in (("lr", settings.lr), ("keep_prob", settings.keep_prob))
    }
    return {
        "kind": "simulation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **of_problem(problem),
        **per_member,
        "steps": settings.steps,
        "members": settings.members,
        "seed": _seed(settings.seeds),
        "dtype": str(settings.dtype),
        "theta0_sha256": settings.theta0_sha256,
        "objective": describe({phase.first: phase.step.objective for phase in training.phases}),
        "penalty": step.penalty,
        "optimizer": step.optimizer.name,
        **asdict(step.optimizer),
        **of_noise(step.noise, problem),
        "svag": step.svag,
        "risk_limit": run.wanted.risk_limit_told,
        "backend": ", ".join(dict.fromkeys(phase.backend.name for phase in training.phases)),
        "backend_reason": "; ".join(dict.fromkeys(phase.reason for phase in training.phases)),
        "threads": training.threads,
        "interrupted": int(interrupted),
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
    """As text, as 2**64 - 1 is more than a signed integer holds."""
    return str(seeds[0]) if (seeds == seeds[0]).all() else f"{PER_MEMBER}: {seeds.min()} ... {seeds.max()}"


def identity(problem: Problem, settings: Settings, *, training: _Training, run: Run) -> dict[str, Any]:
    """What two runs must share so that one can go on from the state of the other."""
    everything = of_run(problem, settings, training=training, run=run, interrupted=False)
    for name in (*_INCIDENTAL, *machine(), "python_version"):
        del everything[name]
    wanted = run.wanted
    points = np.zeros(0) if wanted.points is None else wanted.points
    recorded = (wanted.steps, wanted.trajectories, points, wanted.covariance, np.array((wanted.groups, wanted.norms)))
    numbers = "0, 1, ..." if training.numbers is None else "sha256 " + fingerprint(training.numbers)
    members = "sha256 " + fingerprint(settings.lr, settings.keep_prob, settings.seeds)
    return everything | {"recorded": "sha256 " + fingerprint(*recorded), "numbers": numbers, "of_members": members}
