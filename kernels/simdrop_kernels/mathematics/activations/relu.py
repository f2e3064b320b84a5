"""max(z, 0), with slope 0 at 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalars


def _chain(z: Array) -> Iterator[Array]:
    yield np.maximum(z, 0)
    yield (z > 0).astype(z.dtype)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    zero, one = real(0), real(1)
    return Scalars(
        lambda z: zero if z < zero else z,  # written so that NaN is kept
        lambda z, h: one if h > zero else zero,
        lambda z, h, h1: zero,
        from_value=True,
    )


activation = Activation("relu", _chain, _build)
