"""The activations with their first three derivatives, in NumPy, for arrays of any shape.

The compiled backends write the same functions as scalars (`scalars`); the tests hold the two together.
Where a function is not smooth (relu at 0), derivatives are those that hold almost everywhere, with 0 at
the kink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Activation(NamedTuple):
    """An activation function with its derivatives; each maps an array to an array of its shape and dtype.

    `chain(z)` yields σ(z), σ'(z), σ''(z), σ'''(z), each computed only when it is asked for and from what the ones
    before it have computed.
    """

    name: str
    chain: Callable[[Array], Iterator[Array]]

    def derivatives(self, z: Array, order: int) -> tuple[Array, ...]:
        """σ(z) and its derivatives up to `order`, at most 3: order + 1 arrays of z's shape."""
        return tuple(islice(self.chain(z), order + 1))

    def value(self, z: Array) -> Array:
        """σ(z)."""
        return next(self.chain(z))

    def first(self, z: Array) -> Array:
        """σ'(z)."""
        return self.derivatives(z, 1)[1]

    def second(self, z: Array) -> Array:
        """σ''(z)."""
        return self.derivatives(z, 2)[2]


def _tanh(z: Array) -> Iterator[Array]:
    h = np.tanh(z)
    yield h
    slope = 1 - h * h
    yield slope
    yield -2 * h * slope
    yield slope * (6 * h * h - 2)


def _relu(z: Array) -> Iterator[Array]:
    yield np.maximum(z, 0)
    yield (z > 0).astype(z.dtype)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _sigmoid(z: Array) -> Iterator[Array]:
    from scipy.special import expit

    h = expit(z)
    yield h
    g = expit(-z)  # 1 - h without its cancellation
    slope = h * g
    yield slope
    yield slope * (g - h)
    yield slope * (1 - 6 * slope)


def _softplus(z: Array) -> Iterator[Array]:
    yield np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    yield from _sigmoid(z)


def _gelu(z: Array) -> Iterator[Array]:
    from scipy.special import ndtr

    cdf = ndtr(z)
    yield z * cdf
    pdf = z.dtype.type(1 / np.sqrt(2 * np.pi)) * np.exp(-z * z / 2)
    yield cdf + z * pdf
    yield (2 - z * z) * pdf
    yield z * (z * z - 4) * pdf


def _erf(z: Array) -> Iterator[Array]:
    from scipy.special import erf

    yield erf(z)
    slope = z.dtype.type(2 / np.sqrt(np.pi)) * np.exp(-z * z)
    yield slope
    yield -2 * z * slope
    yield (4 * z * z - 2) * slope


def _sin(z: Array) -> Iterator[Array]:
    h = np.sin(z)
    yield h
    slope = np.cos(z)
    yield slope
    yield -h
    yield -slope


def _linear(z: Array) -> Iterator[Array]:
    yield +z
    yield np.ones_like(z)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _quadratic(z: Array) -> Iterator[Array]:
    yield z * z / 2
    yield +z
    yield np.ones_like(z)
    yield np.zeros_like(z)


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("tanh", _tanh),
        Activation("relu", _relu),
        Activation("sigmoid", _sigmoid),
        Activation("softplus", _softplus),
        Activation("gelu", _gelu),
        Activation("erf", _erf),
        Activation("sin", _sin),
        Activation("linear", _linear),
        Activation("quadratic", _quadratic),
    )
}
