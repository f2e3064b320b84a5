"""The activations: value, first, second derivative, in NumPy, for arrays of any shape.

The compiled backends write the same functions as scalars (`formulas`); the tests hold the two together.
Where a function is not smooth (relu at 0), derivatives are those that hold almost everywhere, with 0 at
the kink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Activation(NamedTuple):
    """An activation function with its derivatives; each maps an array to an array of its shape and dtype."""

    name: str
    value: Callable[[Array], Array]
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]


def _tanh_first(z: Array) -> Array:
    return 1 - np.tanh(z) ** 2


def _tanh_second(z: Array) -> Array:
    h = np.tanh(z)
    return -2 * h * (1 - h * h)


def _expit(z: Array) -> Array:
    from scipy.special import expit

    return expit(z)


def _sigmoid_first(z: Array) -> Array:
    return _expit(z) * _expit(-z)


def _sigmoid_second(z: Array) -> Array:
    h, g = _expit(z), _expit(-z)
    return h * g * (g - h)


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _erf(z: Array) -> Array:
    from scipy.special import erf

    return erf(z)


def _erf_first(z: Array) -> Array:
    return z.dtype.type(2 / np.sqrt(np.pi)) * np.exp(-z * z)


def _normal_cdf(z: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(z)


def _normal_pdf(z: Array) -> Array:
    return z.dtype.type(1 / np.sqrt(2 * np.pi)) * np.exp(-z * z / 2)


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("tanh", np.tanh, _tanh_first, _tanh_second),
        Activation("relu", lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype), np.zeros_like),
        Activation("sigmoid", _expit, _sigmoid_first, _sigmoid_second),
        Activation("softplus", _softplus, _expit, _sigmoid_first),
        Activation(
            "gelu",
            lambda z: z * _normal_cdf(z),
            lambda z: _normal_cdf(z) + z * _normal_pdf(z),
            lambda z: (2 - z * z) * _normal_pdf(z),
        ),
        Activation("erf", _erf, _erf_first, lambda z: -2 * z * _erf_first(z)),
        Activation("sin", np.sin, np.cos, lambda z: -np.sin(z)),
        Activation("linear", lambda z: +z, np.ones_like, np.zeros_like),
        Activation("quadratic", lambda z: z * z / 2, lambda z: +z, np.ones_like),
    )
}
