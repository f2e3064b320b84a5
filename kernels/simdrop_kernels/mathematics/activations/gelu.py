"""z Φ(z), with Φ the normal distribution function."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalar, Scalars


def _chain(z: Array) -> Iterator[Array]:
    from scipy.special import ndtr

    cdf = ndtr(z)
    yield z * cdf
    pdf = z.dtype.type(1 / np.sqrt(2 * np.pi)) * np.exp(-z * z / 2)
    yield cdf + z * pdf
    yield (2 - z * z) * pdf
    yield z * (z * z - 4) * pdf


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    half, two = real(0.5), real(2)
    root, density = real(math.sqrt(0.5)), real(1 / math.sqrt(2 * math.pi))

    def cdf(z: Scalar) -> Scalar:
        return half * math.erfc(-root * z)

    def slope(z: Scalar, h: Scalar) -> Scalar:
        return cdf(z) + z * density * math.exp(-half * z * z)

    def curvature(z: Scalar, h: Scalar, h1: Scalar) -> Scalar:
        return (two - z * z) * density * math.exp(-half * z * z)

    cdf = jit(cdf)
    return Scalars(lambda z: z * cdf(z), slope, curvature)


activation = Activation("gelu", _chain, _build)
