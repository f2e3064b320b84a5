"""A device that is not there: kernels are compiled for it, and the PTX is interpreted (`ptx`).

What Numba's simulator cannot show shows here: wrong types, what the compiler makes of the arithmetic, missing barriers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import ptx

TARGET = (9, 0)


@contextmanager
def target() -> Iterator[Any]:
    """Numba's module of CUDA, told that it compiles for compute capability TARGET; skips where it cannot compile."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        pytest.skip("the simulator compiles nothing")
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from numba import cuda

    device = SimpleNamespace(compute_capability=TARGET)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        try:
            compile_ptx(cuda, lambda x: None, (cuda.types.float32[::1],))
        except Exception as error:  # a missing library shows in many ways
            pytest.skip(f"the CUDA toolkit is not complete: {str(error).strip().splitlines()[0]}")
        yield cuda


def compile_ptx(cuda: Any, function: Any, signature: tuple[Any, ...]) -> str:
    """The PTX of a kernel."""
    return cuda.compile(function, signature, cc=TARGET, device=False, abi="numba")[0]


@contextmanager
def device() -> Iterator[Any]:
    """The function (job, *arguments) -> what job returns where this device is the only one."""
    with target() as cuda, ExitStack() as stack:
        from simdrop_kernels.cuda import devices, machine
        from simdrop_kernels.cuda.train import program, session

        def replace(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        replace(cuda, "to_device", _Array.of)
        replace(cuda, "device_array", lambda size, dtype: _Array.of(np.full(size, 99, dtype)))
        replace(cuda, "synchronize", lambda: None)
        replace(machine, "launch", lambda *launch: _Launch(cuda, *launch))
        replace(program, "processors", lambda: 1)
        replace(session, "memory_free", lambda: float("inf"))
        replace(devices, "capabilities", lambda: [TARGET])
        replace(devices, "on", lambda number: nullcontext())
        yield lambda job, *arguments, **options: job(*arguments, **options)


class _Array(np.ndarray):
    """An array on the device."""

    @classmethod
    def of(cls, values: NDArray) -> _Array:
        return np.array(values).view(cls)

    def copy_to_host(self, target: NDArray | None = None) -> NDArray:
        if target is None:
            return np.array(self)
        target[:] = self
        return target

    def copy_to_device(self, source: NDArray) -> None:
        self[:] = source


class _Launch:
    """A kernel with its grid, compiled when called for the types of its arguments."""

    ready: dict[Any, str] = {}  # noqa: RUF012

    def __init__(self, cuda: Any, kernel: Any, blocks: int, lanes: int, shared: int = 0) -> None:
        self._cuda, self._kernel, self._grid = cuda, kernel, (blocks, lanes, shared)

    def __call__(self, *arguments: Any) -> None:
        types = tuple(self._type(np.asarray(a) if isinstance(a, np.ndarray) else a) for a in arguments)
        key = self._kernel, types
        if key not in self.ready:
            self.ready[key] = compile_ptx(self._cuda, self._kernel.py_func, types)
        try:
            ptx.run(self.ready[key], list(arguments), *self._grid)
        except NotImplementedError as error:
            pytest.skip(f"the interpreter does not know {error}")

    def _type(self, value: Any) -> Any:
        types = self._cuda.types
        if isinstance(value, tuple):
            parts = tuple(self._type(part) for part in value)
            return types.NamedTuple(parts, type(value)) if hasattr(value, "_fields") else types.Tuple(parts)
        if isinstance(value, np.ndarray):
            return types.Array(getattr(types, str(value.dtype)), value.ndim, "C")
        return getattr(types, str(np.asarray(value).dtype))
