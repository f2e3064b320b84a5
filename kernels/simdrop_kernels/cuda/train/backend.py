"""Backend "cuda": on NVIDIA devices, or in Numba's simulator (NUMBA_ENABLE_CUDASIM=1).

Two kernels share the scalar formulas: `in_registers` for networks whose neurons fit in registers, `in_memory`
for all others. `open` keeps the state of an ensemble on the devices; `advance` copies it there and back.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...contract.network import Network
from ...contract.objectives import COMPILED
from ...contract.step import Ensemble, Step
from ...mathematics.activations.table import find
from .. import devices

if TYPE_CHECKING:
    from .session import Session

Array = NDArray[np.floating]

name = "cuda"

#: how many times as fast as a processor a device is, about: blocks of members may be so much larger
SPEED = 64
#: what the kernels have besides dropout and minibatches: names of `Step.further`
FURTHER = ("weight_decay", "schedule of lr")


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed (pip install 'simdrop[cuda]')"
    return devices.lack() if devices.simulated() or _driver_found() else "no NVIDIA driver was found"


def only_by_name() -> str | None:
    """Why "auto" never takes this backend although it can run, or None."""
    return "it is the simulator of CUDA, which is slow" if devices.simulated() else None


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    unknown = [name for name in step.further if name not in FURTHER]
    if unknown:
        return f"{', '.join(unknown)} other than the default is not written for it"
    if step.objective not in COMPILED:
        what = "R_S + R_1 + R_2" if step.objective == "risk+r1+r2" else step.objective
        return f"it trains R_drop, R_S and R_S + R_1, not {what}"
    return find(step.network.activation).uncompiled()


def open(step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int) -> Session:
    """A training whose state stays on the devices until it is fetched."""
    from .program import Program
    from .session import Session

    return Session(Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=seed), ensemble)


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1; see `reference.train.advance`."""
    session = open(step, x, y, ensemble, seed=seed)
    session.advance(first_step=first_step, steps=steps)
    session.fetch()


def evaluate(network: Network, x: Array, theta: Array, outputs: int, *, threads: int = 1) -> Array:
    """Outputs (M, n, c) of the whole networks (no dropout) theta (M, P) at x (n, D)."""
    from .program import evaluate

    with devices.on(devices.chosen()[0]):
        return evaluate(network, x, theta, outputs)


def _driver_found() -> bool:
    """Whether the driver's library loads, found out without loading Numba."""
    if os.environ.get("NUMBA_CUDA_DRIVER"):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
