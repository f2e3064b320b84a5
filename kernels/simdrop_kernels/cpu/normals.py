"""Compiled normal numbers: those of `rng.normals` up to rounding, whole vectors of them at a time.

The logarithm, sine and cosine of `rng.box_muller` by arithmetic alone, in double precision whatever the kernel's. Words
become numbers, and numbers their exponents, by what the bits of a double mean: 2^52 + w has the bits 0x433... | w.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..mathematics.normals import _C0, _C1, _C2, _C3, _C4, _C5, _S0, _S1, _S2, _S3, _S4, _S5, _TURN
from ..mathematics.rng import STREAM_SDE
from .compile import leaf, scalar
from .draws import LANES, draw_lanes

_SDE = np.uint64(STREAM_SDE << 28)

# 2 atanh s = s (2 + y P(y)), y = s² <= (√2 - 1)⁴: error 3e-16 in P, 5e-18 in the whole
_P = (
    0.666666666666667,
    0.39999999999899505,
    0.28571428625975487,
    0.2222221113479508,
    0.18182889125261723,
    0.15331721600556042,
    0.14616449685043406,
)
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = _P

_MAGIC = np.uint64(0x4330000000000000)  # the bits of 2^52
_ROOT_HALF = np.uint64(0x3FE6A09E667F3BCD)  # of √½
_SHIFT = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_MANTISSA = np.uint64((1 << 52) - 1)
_52, _30 = np.uint64(52), np.uint64(30)
_EIGHTH = np.uint64(1 << 29)  # of a turn
_ONE, _TWO = np.uint64(1), np.uint64(2)
_LN2 = math.log(2)


@intrinsic
def _bits(typing, number):
    """The 64 bits of a double."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), emit


@intrinsic
def _double(typing, bits):
    """The double of 64 bits."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.uint64), emit


@scalar
def normal_pair(w0, w1):
    """`rng.box_muller` of two words."""
    x = (_double(w0 | _MAGIC) - 2.0**52) + 0.5  # 2^32 u
    shifted = _bits(x) + _SHIFT
    exponent = _double((shifted >> _52) | _MAGIC) - (2.0**52 + 1055)  # u = f 2^exponent, √½ <= f < √2
    f = _double((shifted & _MANTISSA) + _ROOT_HALF)
    s = (f - 1) / (f + 1)
    y = s * s
    log_f = s * (2 + y * (_P0 + y * (_P1 + y * (_P2 + y * (_P3 + y * (_P4 + y * (_P5 + y * _P6)))))))
    r = math.sqrt(-2 * (exponent * _LN2 + log_f))
    quadrant = (w1 + _EIGHTH) >> _30
    angle = (_double(w1 | _MAGIC) - _double((quadrant << _30) | _MAGIC)) * _TURN
    y = angle * angle
    sine = r * angle * (1 + y * (_S0 + y * (_S1 + y * (_S2 + y * (_S3 + y * (_S4 + y * _S5))))))
    cosine = r * (1 - 0.5 * y + y * y * (_C0 + y * (_C1 + y * (_C2 + y * (_C3 + y * (_C4 + y * _C5))))))
    odd = (quadrant & _ONE) != 0
    first = sine if odd else cosine
    second = cosine if odd else sine
    return (-first if ((quadrant + _ONE) & _TWO) != 0 else first), (-second if (quadrant & _TWO) != 0 else second)


@leaf
def draw_normals(z, words, lanes, count, first, row, step, member, key):
    """Put the normal numbers of the first `count` of LANES blocks into z (4 · LANES,), for whole vectors of blocks.

    The other arguments are those of `draws.draw_words`.
    """
    draw_lanes(words, lanes, count, _SDE, first, row, step, member, key)
    for lane in range((count + 7) // 8 * 8):
        z0, z1 = normal_pair(words[lane], words[LANES + lane])
        z2, z3 = normal_pair(words[2 * LANES + lane], words[3 * LANES + lane])
        z[4 * lane] = z0
        z[4 * lane + 1] = z1
        z[4 * lane + 2] = z2
        z[4 * lane + 3] = z3
