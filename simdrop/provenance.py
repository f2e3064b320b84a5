"""Where a result comes from: settings, versions, machine; as flat attributes that every file format takes."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import Noise

from .problem import Problem
from .version import __version__

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
    """The processor's name, where the system gives one."""
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
    activation = problem.sigma.identity
    return {
        "width": problem.width,
        "keep_prob": problem.keep_prob,
        "activation": problem.activation,
        **({"activation_sha256": activation} if activation else {}),
        "mask": problem.mask,
        "bias": int(problem.bias),
        "output_scale": problem.scale,
        "train": problem.train,
        "loss": problem.loss,
        "weight_decay": problem.weight_decay,
        "n_samples": problem.n_samples,
        "n_outputs": problem.n_outputs,
        "data_sha256": fingerprint(problem.x, problem.y),
    }


def of_noise(noise: Noise, problem: Problem) -> dict[str, Any]:
    """The noise of a step, with the number of samples where a batch is all of them."""
    found = asdict(noise)
    found["batches"] = found.pop("order")  # the order of an equation is another one
    return found | {"replace": int(noise.replace), "batch_size": noise.batch_size or problem.n_samples}
