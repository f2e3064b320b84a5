"""The sum over pairs of neurons, T_ρj += Σ ξ_jk u_ρk, for pairs a given distance apart: vectors written out.

Four rows ρ at a time share the loads of ξ. Compilers find many arrays here that may overlap, and make no vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from ..accelerate import inner

BYTES = 64  # of one vector; narrower machines split it
VECTOR = 16  # numbers to multiples of which rows are padded, whole vectors in both precisions
ROWS = 4


@inner
def padded(width):
    """`width` rounded up to whole vectors."""
    return (width + VECTOR - 1) // VECTOR * VECTOR


@intrinsic
def _add_vector(typing, t, u, xi, at):
    """T of four rows. at: places in flat arrays: of T, its pitch, u at j + d and j - d, its pitch, ξ at j and j - d."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        size = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(element, BYTES // size)
        bases = [make_array(signature.args[k])(context, builder, args[k]).data for k in range(3)]
        place_t, pitch_t, after, before, pitch_u, here, behind = (builder.extract_value(args[3], k) for k in range(7))

        def pointer(base: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

        def read(base: Any, index: Any) -> Any:
            return builder.load(pointer(base, index), align=size, typ=vector)

        def multiply_add(x: Any, y: Any, z: Any) -> Any:
            return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

        x, y = read(bases[2], here), read(bases[2], behind)
        for _ in range(ROWS):
            total = multiply_add(x, read(bases[1], after), read(bases[0], place_t))
            total = multiply_add(y, read(bases[1], before), total)
            builder.store(total, pointer(bases[0], place_t), align=size)
            place_t = builder.add(place_t, pitch_t)
            after, before = builder.add(after, pitch_u), builder.add(before, pitch_u)
        return context.get_dummy_value()

    return types.void(t, u, xi, at), emit


@inner
def add_pairs(t, u, xi, width, apart):
    """Add to T (R, pitch) what the pairs `apart` neurons apart bring: ξ_j,j+d u_j+d + ξ_j-d,j u_j-d.

    u (R, ...) and xi hold their `width` numbers twice, one after the other. R is a multiple of ROWS; what falls beyond
    the width in T means nothing.
    """
    flat_t, flat_u = t.ravel(), u.ravel()
    pitch_t, pitch_u = t.shape[1], u.shape[1]
    step = 64 // t.itemsize
    for r in range(0, t.shape[0], ROWS):
        for j in range(0, width, step):
            before = width - apart + j
            at = (
                np.int64(r * pitch_t + j),
                np.int64(pitch_t),
                np.int64(r * pitch_u + apart + j),
                np.int64(r * pitch_u + before),
                np.int64(pitch_u),
                np.int64(j),
                np.int64(before),
            )
            _add_vector(flat_t, flat_u, xi, at)
