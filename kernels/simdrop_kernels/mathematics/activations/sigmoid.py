"""1 / (1 + exp(-z))."""

from __future__ import annotations

from collections.abc import Iterator

from .base import Activation, Arithmetic, Array, Jit, Scalars
from .tanh import tanh as make_tanh


def logistic(z: Array) -> Iterator[Array]:
    """The sigmoid and its derivatives."""
    from scipy.special import expit

    h = expit(z)
    yield h
    g = expit(-z)  # 1 - h without its cancellation
    slope = h * g
    yield slope
    yield slope * (g - h)
    yield slope * (1 - 6 * slope)


def _build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
    half, one, two = real(0.5), real(1), real(2)
    tanh = make_tanh(jit, real, arithmetic)
    return Scalars(
        lambda z: half + half * tanh(half * z),
        lambda z, h: h * (one - h),
        lambda z, h, h1: h1 * (one - two * h),
        from_value=True,
    )


activation = Activation("sigmoid", logistic, _build)
