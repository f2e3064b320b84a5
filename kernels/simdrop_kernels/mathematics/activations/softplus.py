"""log(1 + exp(z)), whose slope is the sigmoid."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalar, Scalars
from .sigmoid import logistic
from .tanh import tanh as make_tanh


def _chain(z: Array) -> Iterator[Array]:
    yield np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    yield from logistic(z)


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    zero, half, one = real(0), real(0.5), real(1)
    tanh = make_tanh(jit, real, arithmetic)

    def value(z: Scalar) -> Scalar:
        return (z if z > zero else zero) + math.log1p(math.exp(-abs(z)))

    return Scalars(value, lambda z, h: half + half * tanh(half * z), lambda z, h, h1: h1 * (one - h1))


activation = Activation("softplus", _chain, _build)
