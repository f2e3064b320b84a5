"""Sine and cosine of a full turn for normal numbers, as scalars that become vectors on every processor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# sin x = x (1 + y S(y)), cos x = 1 - y/2 + y² C(y), y = x² <= (π/4)²: errors 3e-17 and 2e-18 in S and C
_S = (
    -0.16666666666666666,
    0.008333333333330948,
    -0.00019841269836758574,
    2.755731610255244e-06,
    -2.5051131845003624e-08,
    1.5918129294866608e-10,
)
_C = (
    0.041666666666666664,
    -0.0013888888888887398,
    2.480158729876569e-05,
    -2.7557317271729793e-07,
    2.08761462684032e-09,
    -1.1382632425521717e-11,
)
_S0, _S1, _S2, _S3, _S4, _S5 = _S
_C0, _C1, _C2, _C3, _C4, _C5 = _C

_30 = np.uint64(30)
_EIGHTH = np.uint64(1 << 29)  # of a turn
_ONE, _TWO = np.uint64(1), np.uint64(2)
_TURN = 2 * math.pi * 2.0**-32


def make_circle(jit: Any) -> Any:
    """The function w -> cos φ, sin φ with φ = 2π w 2^-32 of a word w, where words become numbers by themselves.

    The arithmetic is that of `normal_pair`, which a processor makes vectors of only as it stands there.
    """

    def circle(w):
        quadrant = (w + _EIGHTH) >> _30
        angle = (np.float64(w) - np.float64(quadrant << _30)) * _TURN
        y = angle * angle
        sine = angle * (1 + y * (_S0 + y * (_S1 + y * (_S2 + y * (_S3 + y * (_S4 + y * _S5))))))
        cosine = 1 - 0.5 * y + y * y * (_C0 + y * (_C1 + y * (_C2 + y * (_C3 + y * (_C4 + y * _C5)))))
        odd = (quadrant & _ONE) != 0
        first, second = (sine, cosine) if odd else (cosine, sine)
        return (-first if ((quadrant + _ONE) & _TWO) != 0 else first), (-second if (quadrant & _TWO) != 0 else second)

    return jit(circle)
