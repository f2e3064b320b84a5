"""z itself: a linear network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalars


def _chain(z: Array) -> Iterator[Array]:
    yield +z
    yield np.ones_like(z)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    zero, one = real(0), real(1)
    return Scalars(lambda z: z, lambda z, h: one, lambda z, h, h1: zero, from_value=True)


activation = Activation("linear", _chain, _build)
