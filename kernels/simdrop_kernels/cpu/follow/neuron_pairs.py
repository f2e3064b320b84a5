"""The sum over pairs of neurons, T_ρj += Σ ξ_jk u_ρk, for pairs a given distance apart: vectors written out.

Four rows ρ at a time share the loads of ξ. Compilers find many arrays here that may overlap, and make no vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import raw_memcpy
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from ..compile import inner, leaf

BYTES = 64  # of one vector; narrower machines split it
VECTOR = 16  # numbers to multiples of which rows are padded, whole vectors in both precisions
ROWS = 4
BATCH = 8  # distances that are worked on together
#: zeros before and after the numbers of a row, where a batch that is not full reads
FRONT, BACK = BATCH, 2 * VECTOR


@leaf
def padded(width):
    """`width` rounded up to whole vectors."""
    return (width + VECTOR - 1) // VECTOR * VECTOR


@intrinsic
def _add_vectors(typing, t, u, xi, at):
    """One vector of four rows of T, BATCH distances.

    at: places in flat arrays of T and its pitch; of u at j + d, at j - d, its pitch; of ξ at j, at j - d, its pitch.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        size = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(element, BYTES // size)
        bases = [make_array(signature.args[k])(context, builder, args[k]).data for k in range(3)]
        place_t, pitch_t, after, before, pitch_u, here, behind, pitch_x = (
            builder.extract_value(args[3], k) for k in range(8)
        )

        def pointer(base: Any, index: Any, distance: int = 0) -> Any:
            found = builder.gep(builder.gep(base, [index]), [ir.Constant(ir.IntType(64), distance)])
            return builder.bitcast(found, vector.as_pointer())

        def read(base: Any, index: Any, distance: int = 0) -> Any:
            return builder.load(pointer(base, index, distance), align=size, typ=vector)

        def multiply_add(x: Any, y: Any, z: Any) -> Any:
            return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

        places, rows = [place_t], [(after, before)]
        for _ in range(ROWS - 1):
            places.append(builder.add(places[-1], pitch_t))
            rows.append(tuple(builder.add(place, pitch_u) for place in rows[-1]))
        totals = [read(bases[0], place) for place in places]
        for k in range(BATCH):
            x, y = read(bases[2], here), read(bases[2], behind, -k)
            for r in range(ROWS):
                totals[r] = multiply_add(x, read(bases[1], rows[r][0], k), totals[r])
                totals[r] = multiply_add(y, read(bases[1], rows[r][1], -k), totals[r])
            here, behind = builder.add(here, pitch_x), builder.add(behind, pitch_x)
        for place, total in zip(places, totals, strict=True):
            builder.store(total, pointer(bases[0], place), align=size)
        return context.get_dummy_value()

    return types.void(t, u, xi, at), emit


@intrinsic
def copy(typing, target, at, source, start, count):
    """Copy `count` numbers from source[start:] to target[at:], arrays of one axis that do not overlap."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [
            builder.gep(make_array(signature.args[k])(context, builder, args[k]).data, [args[k + 1]]) for k in (0, 2)
        ]
        raw_memcpy(builder, *places, args[4], signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), emit


@inner
def add_pairs(t, u, xi, width, apart):
    """Add to T (R, pitch) what pairs `apart` to apart + BATCH - 1 neurons apart bring: ξ_j,j+d u_j+d + ξ_j-d,j u_j-d.

    u (R, ...) and xi (BATCH, ...) hold FRONT zeros and their `width` numbers twice; xi is zero for distances beyond
    width / 2. R is a multiple of ROWS; what falls beyond the width in T means nothing.
    """
    flat_t, flat_u, flat_xi = t.ravel(), u.ravel(), xi.ravel()
    pitch_t, pitch_u, pitch_x = np.int64(t.shape[1]), np.int64(u.shape[1]), np.int64(xi.shape[1])
    step = BYTES // t.itemsize
    for r in range(0, t.shape[0], ROWS):
        row = FRONT + r * pitch_u
        for j in range(0, width, step):
            back = width - apart + j
            at = (r * pitch_t + j, pitch_t, row + apart + j, row + back, pitch_u, FRONT + j, FRONT + back, pitch_x)
            _add_vectors(flat_t, flat_u, flat_xi, at)
