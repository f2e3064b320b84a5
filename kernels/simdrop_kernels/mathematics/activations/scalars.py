"""The activations as scalar functions, written once as plain Python and compiled by Numba for CPUs and for CUDA."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Scalar = Any


Jit = Callable[[Callable[..., Any]], Callable[..., Any]]


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


class Activation(NamedTuple):
    """An activation as scalars: h = `value(z)`, and σ'(z) = `slope(z, h)`.

    Where `from_value` holds the slope follows from h alone, and z need not be kept.
    """

    value: Callable[[Scalar], Scalar]
    slope: Callable[[Scalar, Scalar], Scalar]
    from_value: bool


class Arithmetic(NamedTuple):
    """Operations for which a processor may have an instruction better than what a compiler finds.

    `divide(p, q)` may err by 2 units in the last place; `clamp(x, limit)` bounds x by ±limit and keeps NaN.
    """

    divide: Callable[[Scalar, Scalar], Scalar]
    clamp: Callable[[Scalar, Scalar], Scalar]


def clamp(x: Scalar, limit: Scalar) -> Scalar:
    """x bounded by ±limit."""
    return limit if x > limit else (-limit if x < -limit else x)  # NaN passes through


def tanh(jit: Jit, real: type, arithmetic: Arithmetic | None = None) -> Callable[[Scalar], Scalar]:
    """tanh by arithmetic alone, at most 6 units in the last place off in either precision."""
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


def activation(name: str, jit: Jit, real: type, arithmetic: Arithmetic | None = None) -> Activation:
    """The scalar functions of a named activation."""
    value, slope, from_value = _BUILDERS[name](tanh(jit, real, arithmetic), jit, real)
    return Activation(jit(value), jit(slope), from_value)


def _build_tanh(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    one = real(1)
    return tanh, lambda z, h: one - h * h, True


def _build_relu(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    zero, one = real(0), real(1)
    # written so that NaN is kept
    return lambda z: zero if z < zero else z, lambda z, h: one if h > zero else zero, True


def _build_sigmoid(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    one, half = real(1), real(0.5)
    return lambda z: half + half * tanh(half * z), lambda z, h: h * (one - h), True


def _build_softplus(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    zero, half = real(0), real(0.5)

    def value(z: Scalar) -> Scalar:
        return (z if z > zero else zero) + math.log1p(math.exp(-abs(z)))

    return value, lambda z, h: half + half * tanh(half * z), False


def _build_gelu(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    half, root, density = real(0.5), real(math.sqrt(0.5)), real(1 / math.sqrt(2 * math.pi))

    def cdf(z: Scalar) -> Scalar:
        return half * math.erfc(-root * z)

    def slope(z: Scalar, h: Scalar) -> Scalar:
        return cdf(z) + z * density * math.exp(-half * z * z)

    cdf = jit(cdf)
    return lambda z: z * cdf(z), slope, False


def _build_erf(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    factor = real(2 / math.sqrt(math.pi))
    return lambda z: math.erf(z), lambda z, h: factor * math.exp(-z * z), False


def _build_sin(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    return lambda z: math.sin(z), lambda z, h: math.cos(z), False


def _build_linear(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    one = real(1)
    return lambda z: z, lambda z, h: one, True


def _build_quadratic(tanh: Any, jit: Jit, real: type) -> tuple[Any, Any, bool]:
    half = real(0.5)
    return lambda z: half * z * z, lambda z, h: z, False


_BUILDERS: dict[str, Callable[[Any, Jit, type], tuple[Any, Any, bool]]] = {
    "tanh": _build_tanh,
    "relu": _build_relu,
    "sigmoid": _build_sigmoid,
    "softplus": _build_softplus,
    "gelu": _build_gelu,
    "erf": _build_erf,
    "sin": _build_sin,
    "linear": _build_linear,
    "quadratic": _build_quadratic,
}
