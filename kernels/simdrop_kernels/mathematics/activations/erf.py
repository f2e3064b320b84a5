"""The error function."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalars


def _chain(z: Array) -> Iterator[Array]:
    from scipy.special import erf

    yield erf(z)
    slope = z.dtype.type(2 / np.sqrt(np.pi)) * np.exp(-z * z)
    yield slope
    yield -2 * z * slope
    yield (4 * z * z - 2) * slope


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    two, factor = real(2), real(2 / math.sqrt(math.pi))
    return Scalars(lambda z: math.erf(z), lambda z, h: factor * math.exp(-z * z), lambda z, h, h1: -two * z * h1)


activation = Activation("erf", _chain, _build)
