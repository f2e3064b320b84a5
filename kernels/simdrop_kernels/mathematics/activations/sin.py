"""sin z."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalars


def _chain(z: Array) -> Iterator[Array]:
    h = np.sin(z)
    yield h
    slope = np.cos(z)
    yield slope
    yield -h
    yield -slope


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    return Scalars(lambda z: math.sin(z), lambda z, h: math.cos(z), lambda z, h, h1: -h)


activation = Activation("sin", _chain, _build)
