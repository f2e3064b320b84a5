"""tanh z, for the compiled kernels by arithmetic alone, which becomes vector instructions on every processor."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalar, Scalars, clamp

# tanh x = x P(x²) / Q(x²), minimax in relative error. float32: |x| <= 9.02 with error 2.1e-8 before
# rounding, and ±1 beyond. float64: |x| <= 2.4 with error 3.2e-18, reached by halving three times.
_P32 = (0.999999979656, 0.133796618758, 0.00349396232066, 2.05820979059e-5, 1.33168461422e-8)
_Q32 = (1.0, 0.467129774077, 0.0258708126179, 0.000328296590485, 7.76117095169e-7)
_P64 = (
    0.99999999999999999688,
    0.13898589333529556178,
    0.0041482860829191151724,
    0.000034123567162686767919,
    4.8286530487682286328e-8,
    -3.0735144843928080427e-11,
)
_Q64 = (1.0, 0.47231922666862875343, 0.028254694972463082296, 0.00044471230375078223364, 1.7485009104248023889e-6)


def tanh(jit: Jit, real: type, arithmetic: Arithmetic | None = None) -> Callable[[Scalar], Scalar]:
    """tanh as a scalar function, at most 6 units in the last place off in either precision."""
    if arithmetic is None:
        arithmetic = Arithmetic(operator.truediv, jit(clamp))
    return jit((_tanh32 if real is np.float32 else _tanh64)(real, *arithmetic))


def _tanh32(real: type, divide: Any, clamp: Any) -> Callable[[Scalar], Scalar]:
    p0, p1, p2, p3, p4 = (real(p) for p in _P32)
    q0, q1, q2, q3, q4 = (real(q) for q in _Q32)
    limit = real(9.02)

    def tanh32(x: Scalar) -> Scalar:
        x = clamp(x, limit)
        y = x * x
        p = (((p4 * y + p3) * y + p2) * y + p1) * y + p0
        q = (((q4 * y + q3) * y + q2) * y + q1) * y + q0
        return divide(x * p, q)

    return tanh32


def _tanh64(real: type, divide: Any, clamp: Any) -> Callable[[Scalar], Scalar]:
    p0, p1, p2, p3, p4, p5 = (real(p) for p in _P64)
    q0, q1, q2, q3, q4 = (real(q) for q in _Q64)
    limit, eighth, two = real(19.2), real(0.125), real(2)

    def tanh64(x: Scalar) -> Scalar:
        x = clamp(x, limit) * eighth
        y = x * x
        p = x * (((((p5 * y + p4) * y + p3) * y + p2) * y + p1) * y + p0)
        q = (((q4 * y + q3) * y + q2) * y + q1) * y + q0
        # tanh 2x = 2t / (1 + t²), in homogeneous coordinates t = p / q: one division in all
        p, q = two * p * q, p * p + q * q
        p, q = two * p * q, p * p + q * q
        p, q = two * p * q, p * p + q * q
        return divide(p, q)

    return tanh64


def _chain(z: Array) -> Iterator[Array]:
    h = np.tanh(z)
    yield h
    slope = 1 - h * h
    yield slope
    yield -2 * h * slope
    yield slope * (6 * h * h - 2)


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    one, two = real(1), real(2)
    value = tanh(jit, real, arithmetic)
    return Scalars(value, lambda z, h: one - h * h, lambda z, h, h1: -two * h * h1, from_value=True)


activation = Activation("tanh", _chain, _build)
