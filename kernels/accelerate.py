"""How the CPU kernels are compiled, decided in one place."""

from __future__ import annotations

from typing import Any

import numba
from numba.extending import register_jitable

from . import compiling  # noqa: F401  # counts what these functions take to compile

# Sums may be reordered, which vectors need; NaN and infinities keep their meaning, since divergence is
# found by them.
_LOOSE = {"reassoc", "contract", "nsz", "arcp"}


def scalar(function: Any) -> Any:
    """A scalar function of compiled kernels: products and sums may fuse, nothing is reordered."""
    return register_jitable(fastmath={"contract"}, error_model="numpy")(function)


def inner(function: Any) -> Any:
    """A part of a kernel: loops over arrays whose sums may be reordered."""
    return register_jitable(fastmath=_LOOSE, error_model="numpy", _nrt=True)(function)


def leaf(function: Any) -> Any:
    """As `inner`, for a part that makes no arrays: it counts no references to those it is handed.

    Each count is an atomic addition, two for every array of a room at every call.
    """
    return register_jitable(fastmath=_LOOSE, error_model="numpy", _nrt=False)(function)


def inlined(function: Any) -> Any:
    """A `leaf` that becomes part of its caller: handing on a room of twenty arrays copies two hundred words."""
    return register_jitable(fastmath=_LOOSE, error_model="numpy", _nrt=False, forceinline=True)(function)


def kernel(function: Any) -> Any:
    """A kernel: parallel, cached on disk."""
    return numba.njit(parallel=True, cache=True, fastmath=_LOOSE, error_model="numpy")(function)
