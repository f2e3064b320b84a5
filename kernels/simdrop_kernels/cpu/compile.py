"""How the CPU kernels are compiled, decided in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import event
from numba.extending import register_jitable

from .. import compiling

# Sums may be reordered, which vectors need; NaN and infinities keep their meaning, since divergence is
# found by them.
_LOOSE = {"reassoc", "contract", "nsz", "arcp"}


def _words(data: Any) -> str:
    """The message while a function is compiled: see `kernel`; of a user's function the purpose is not known."""
    function = data["dispatcher"].py_func
    purpose = getattr(function, "purpose", None)
    if purpose is None:
        return f"compiling {function.__name__}"
    return f"compiling for {purpose}, once (kept on disk for the next time)"


compiling.follow(event, "numba:compile", _words)  # loading from the cache on disk raises no such event


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


def kernel(purpose: str) -> Callable[[Any], Any]:
    """A kernel, parallel and cached on disk; messages say what it is for while it is compiled."""
    return _compiled(purpose, parallel=True, fastmath=_LOOSE)


def exact(purpose: str, *, parallel: bool = False) -> Callable[[Any], Any]:
    """As `kernel`, for sums in the order in which they are written."""
    return _compiled(purpose, parallel=parallel)


def _compiled(purpose: str, **options: Any) -> Callable[[Any], Any]:
    def compiled(function: Any) -> Any:
        function.purpose = purpose
        return numba.njit(cache=True, error_model="numpy", **options)(function)

    return compiled
