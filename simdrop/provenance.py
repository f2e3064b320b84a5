"""Where a result comes from: settings, versions, machine; as flat attributes that every file format takes."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .objective import describe
from .problem import Problem

if TYPE_CHECKING:
    from .ensemble import Run
    from .simulation import Settings, _Training

#: how attributes of results begin where the members of a run differ; the numbers themselves are coordinates
PER_MEMBER = "per member"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of simdrop and of what its numbers depend on."""
    found = {f"{name}_version": _version(name) for name in ("numpy", "scipy", "numba")}
    return {"simdrop_version": __version__} | found | {"python_version": platform.python_version()}


@lru_cache
def _version(name: str) -> str:
    return version(name)


def machine() -> dict[str, str | int]:
    """This machine."""
    return {"platform": platform.platform(), "processor": processor(), "cores": cores()}


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def fingerprint(*arrays: NDArray[Any]) -> str:
    """SHA-256 of shapes, types and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def of_problem(problem: Problem) -> dict[str, Any]:
    """The settings of a problem, with a fingerprint of its data."""
    return {
        "width": problem.width,
        "keep_prob": problem.keep_prob,
        "activation": problem.activation,
        "mask": problem.mask,
        "bias": int(problem.bias),
        "output_scale": problem.scale,
        "train": problem.train,
        "n_samples": problem.n_samples,
        "n_outputs": problem.n_outputs,
        "data_sha256": fingerprint(problem.x, problem.y),
    }


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
        "optimizer": step.optimizer,
        "momentum": step.momentum,
        "beta1": step.beta1,
        "beta2": step.beta2,
        "epsilon": step.epsilon,
        "batch_size": step.batch_size or problem.n_samples,
        "replace": int(step.replace),
        "law": step.law,
        "masks": step.masks,
        "label_noise": step.label_noise,
        "parameter_noise": step.parameter_noise,
        "connect": step.connect,
        "part": step.part,
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
