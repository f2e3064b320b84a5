"""Which devices work: those that the environment's SIMDROP_CUDA_DEVICES names, or else all that are new enough.

Numbers are those that CUDA gives to the devices it sees (CUDA_VISIBLE_DEVICES). Members are split over the devices; no
bit of a result depends on how.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

VARIABLE = "SIMDROP_CUDA_DEVICES"
#: compute capability that the kernels need
NEEDED = (8, 0)


def simulated() -> bool:
    """Whether Numba's simulator stands in for devices, found out without loading Numba."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def lack() -> str | None:
    """Why no device can be used, or None."""
    try:
        chosen()
    except LookupError as error:
        return str(error.args[0])
    return None


def chosen() -> list[int]:
    """Numbers of the devices that are used. Raises LookupError, which says why, where there are none."""
    try:
        there = capabilities()
    except Exception as error:  # drivers fail in many ways
        raise LookupError(f"the NVIDIA driver does not answer ({str(error).strip().splitlines()[-1]})") from error
    if not there:
        raise LookupError("no NVIDIA device was found")
    given = os.environ.get(VARIABLE, "").strip()
    numbers = _named(given, len(there)) if given else range(len(there))
    found = [number for number in numbers if there[number] >= NEEDED]
    if not found or (given and len(found) < len(numbers)):
        worst = min(there[number] for number in numbers)
        have, need = ("{}.{}".format(*capability) for capability in (worst, NEEDED))
        raise LookupError(f"the device has compute capability {have}, {need} is needed")
    return found


def capabilities() -> list[tuple[int, int]]:
    """Compute capability of each device that CUDA sees; the simulator has one."""
    if simulated():
        return [NEEDED]
    from numba import cuda

    return [tuple(device.compute_capability) for device in cuda.gpus]


def on(device: int) -> AbstractContextManager[Any]:
    """Make a device the current one."""
    if simulated():
        return nullcontext()
    from numba import cuda

    return cuda.gpus[device]


def _named(given: str, count: int) -> list[int]:
    """The numbers in the variable's text, each of a device that is there, and none twice."""
    parts = [part.strip() for part in given.split(",")]
    numbers = [int(part) if part.isdecimal() else count for part in parts]
    if max(numbers) >= count or len(set(numbers)) < len(numbers):
        there = "0" if count == 1 else f"0 to {count - 1}"
        raise LookupError(f"{VARIABLE} must hold numbers of devices ({there}) with commas between, got {given!r}")
    return numbers
