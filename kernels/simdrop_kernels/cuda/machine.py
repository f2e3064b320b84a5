"""What the kernels need of the machine, on a device and in Numba's simulator.

The simulator (NUMBA_ENABLE_CUDASIM=1) runs every thread of a block as a thread of Python. It has no
exchange between the lanes of a warp; a block-wide store and two barriers stand in for it. That is the
only place, with the two instructions below, where device and simulator run different code.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda import types

from .. import compiling
from ..mathematics.activations.base import Arithmetic, clamp

SIMULATED = not hasattr(cuda, "shfl_xor_sync")

if not SIMULATED:
    # the lock of the compiler, as CUDA's has no event of its own
    compiling.follow(
        importlib.import_module("numba.cuda.core.event"),
        "numba-cuda:compiler_lock",
        lambda _: "compiling for the GPU, once in this process",
    )

#: lanes that run in step; few in the simulator, so that small blocks have several warps
WARP = 2 if SIMULATED else 32
MAX_BLOCK = 1024
#: alignment in bytes of shared memory from which several numbers are read at a time; the simulator knows none
ALIGNED = None if SIMULATED else 16
TYPES: dict[Any, Any] = {np.float32: types.float32, np.float64: types.float64, np.int32: types.int32}
_ALL = 0xFFFFFFFF


def scalar(function: Any) -> Any:
    """A function of numbers, or of arrays that it is given; plain Python in the simulator."""
    return function if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def device(function: Any) -> Any:
    """A function that uses `cuda`."""
    return cuda.jit(device=True)(function) if SIMULATED else cuda.jit(device=True, forceinline=True)(function)


def kernel(function: Any, max_registers: int | None = None) -> Any:
    """A kernel."""
    return cuda.jit(function) if SIMULATED else cuda.jit(max_registers=max_registers)(function)


def launch(kernel: Any, blocks: int, lanes: int, shared: int = 0) -> Any:
    """A kernel ready to be called; Numba's warning of small grids says nothing new to us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Grid size")  # colours of the terminal may come before
        return kernel[blocks, lanes, 0, shared]


def exchange(real: type) -> Any:
    """The device function (x, distance) -> the x of the lane whose number differs by `distance` (xor).

    All lanes of the block call it equally often.
    """
    if not SIMULATED:
        return device(lambda x, distance: cuda.shfl_xor_sync(_ALL, x, distance))

    cells: Any = np.empty(MAX_BLOCK, real)  # blocks are simulated one at a time; the simulator's own stores have a race

    def exchange(x, distance):
        here = cuda.threadIdx.x
        cells[here] = x
        cuda.syncthreads()
        other = cells[here ^ distance]
        cuda.syncthreads()
        return other

    return device(exchange)


def barrier(lanes: int) -> Any:
    """The device function () that waits for all lanes of a team of `lanes`; all of the block call it."""
    if SIMULATED or lanes > WARP:
        return device(lambda: cuda.syncthreads())  # noqa: PLW0108
    return device(lambda: cuda.syncwarp())  # noqa: PLW0108


def opaque() -> Any:
    """The device function n -> n of which a compiler knows nothing: what follows from it is not computed ahead."""
    return (lambda n: n) if SIMULATED else _instruction("mov.b64 $0, $1;", 1, types.int64, "l")


def arithmetic(real: type) -> Arithmetic | None:
    """Instructions that the compiler does not choose by itself; the divisors are those of tanh, normal numbers."""
    if SIMULATED:
        return None
    if real is np.float64:
        return Arithmetic(divide=scalar(_division()), clamp=scalar(clamp))
    reciprocal = _instruction("rcp.approx.ftz.f32 $0, $1;", 1)  # flushing denormals changes no such divisor
    least = _instruction("min.NaN.f32 $0, $1, $2;", 2)
    most = _instruction("max.NaN.f32 $0, $1, $2;", 2)
    return Arithmetic(
        divide=scalar(lambda p, q: p * reciprocal(q)), clamp=scalar(lambda x, limit: least(most(x, -limit), limit))
    )


def _division() -> Any:
    """p / q in double precision, where q, 1 / q and the quotient are normal numbers.

    The compiler's own division calls a function that covers all others too, at three times the instructions.
    """
    reciprocal, one = _instruction("rcp.approx.ftz.f64 $0, $1;", 1, types.float64, "d"), np.float64(1)
    fused = _instruction("fma.rn.f64 $0, $1, $2, $3;", 3, types.float64, "d")

    def divide(p, q):
        r = reciprocal(q)  # 20 bits
        error = fused(-q, r, one)
        r += r * (error + error * error)  # 60
        quotient = p * r
        return fused(r, fused(-q, quotient, p), quotient)

    return divide


def over_root(real: type) -> Any:
    """The device function (u, v, ε) -> u / (√v + ε) of Adam in single precision, some units in the last place off.

    The compiler rounds root and quotient correctly, with branches. None where that is to stay.
    """
    if SIMULATED or real is not np.float32:
        return None
    root, reciprocal = _instruction("sqrt.approx.f32 $0, $1;", 1), _instruction("rcp.approx.ftz.f32 $0, $1;", 1)
    return scalar(lambda u, v, epsilon: u * reciprocal(root(v) + epsilon))


def rounded_product() -> Any:
    """The device function x y of float64 numbers, rounded by itself: compilers fuse no sum into it."""
    return (lambda x, y: x * y) if SIMULATED else _instruction("mul.rn.f64 $0, $1, $2;", 2, types.float64, "d")


def rounded_sum() -> Any:
    """The device function x + y of float64 numbers, rounded by itself."""
    return (lambda x, y: x + y) if SIMULATED else _instruction("add.rn.f64 $0, $1, $2;", 2, types.float64, "d")


def product() -> Any:
    """The device function x y, np.uint64, of two words, np.uint32, in one instruction.

    The compiler multiplies words that it keeps in 64 bits by several.
    """
    return _instruction("mul.wide.u32 $0, $1, $2;", 2, types.uint32, "r", gives=(types.uint64, "l", 64))


def _instruction(
    text: str, operands: int, kind: Any = types.float32, letter: str = "f", gives: tuple[Any, str, int] | None = None
) -> Any:
    """One PTX instruction as a function of device code; `gives` is type, letter and bits of an integer result."""
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    result, result_letter = (kind, letter) if gives is None else gives[:2]

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        returned = args[0].type if gives is None else ir.IntType(gives[2])
        signature = ir.FunctionType(returned, [arg.type for arg in args])
        constraints = f"={result_letter}" + f",{letter}" * operands
        return builder.call(ir.InlineAsm(signature, text, constraints, side_effect=kind is types.int64), args)

    if operands == 1:
        return intrinsic(lambda typing, x: (result(kind), emit))
    if operands == 3:
        return intrinsic(lambda typing, x, y, z: (result(kind, kind, kind), emit))
    return intrinsic(lambda typing, x, y: (result(kind, kind), emit))
