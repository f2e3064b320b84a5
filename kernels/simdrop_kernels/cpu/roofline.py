"""The most fused multiply-adds per second that this processor does: the roof that kernels are held against."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .compile import kernel

BYTES = 64  # of one vector; narrower machines split it
CHAINS = 12  # independent sums: enough to hide the latency of each multiply-add
ROUNDS = 64


@intrinsic
def _chains(typing, array):
    """ROUNDS multiply-adds on CHAINS vectors, loaded from a flat array and stored back."""

    def emit(context, builder, signature, args):
        element = context.get_value_type(signature.args[0].dtype)
        vector = ir.VectorType(element, BYTES // (signature.args[0].dtype.bitwidth // 8))
        data = builder.bitcast(make_array(signature.args[0])(context, builder, args[0]).data, vector.as_pointer())
        places = [builder.gep(data, [ir.Constant(ir.IntType(32), k)]) for k in range(CHAINS + 2)]
        values = [builder.load(place, align=8, typ=vector) for place in places]
        factor, term = values.pop(), values.pop()
        letter = {32: "f32", 64: "f64"}[signature.args[0].dtype.bitwidth]
        fma_type = ir.FunctionType(vector, [vector] * 3)
        fma = get_or_insert_function(builder.module, fma_type, f"llvm.fma.v{vector.count}{letter}")
        for _ in range(ROUNDS):
            values = [builder.call(fma, [value, factor, term]) for value in values]
        for value, place in zip(values, places, strict=False):
            builder.store(value, place, align=8)
        return context.get_dummy_value()

    return types.void(array), emit


@cache
def _build(real: type) -> Any:
    lanes = BYTES // np.dtype(real).itemsize

    @kernel("the roofline")
    def multiply_add(threads, repeats, out):
        for k in numba.prange(threads):
            values = np.full((CHAINS + 2) * lanes, real(0.5), real)  # type: ignore[var-annotated]
            for _ in range(repeats):
                _chains(values)
            out[k] = values[0]

    return multiply_add


def peak_multiply_adds(dtype: np.dtype, threads: int, *, seconds: float = 0.2) -> float:
    """Fused multiply-adds (each of one number) per second in `dtype` on `threads` threads; best of several runs."""
    real: Any = np.dtype(dtype).type
    run = _build(real)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        out = np.empty(threads, real)
        run(threads, 1, out)
        repeats, best, spent, runs = 1000, 0.0, 0.0, 0
        while spent < seconds or runs < 3:
            started = time.perf_counter()
            run(threads, repeats, out)
            taken = time.perf_counter() - started
            if taken < seconds / 5:
                repeats *= 2  # too short compared with the start of the threads
                continue
            best = max(best, threads * repeats * ROUNDS * CHAINS * (BYTES // out.itemsize) / taken)
            spent, runs = spent + taken, runs + 1
    finally:
        numba.set_num_threads(before)
    return best
