"""The project's activations in mpmath, to all digits that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath

Function = Callable[[Any], Any]


class Exact(NamedTuple):
    """σ and σ'; `steep`: σ' is no difference of larger numbers, so that compiled code has it to its own last places."""

    value: Function
    slope: Function
    steep: bool


def sigmoid(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z)) if z > 0 else mpmath.exp(z) / (1 + mpmath.exp(z))


def softplus(z: Any) -> Any:
    return mpmath.log1p(mpmath.exp(-abs(z))) + max(z, mpmath.mpf(0))


def density(z: Any) -> Any:
    return mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)


def below(z: Any) -> Any:
    """Φ(z) with all digits in its lower tail."""
    return mpmath.mpf(z > 0) if abs(z) > 1000 else mpmath.erfc(-z / mpmath.sqrt(2)) / 2


EXACT = {
    "tanh": Exact(mpmath.tanh, lambda z: mpmath.sech(z) ** 2, False),
    "relu": Exact(lambda z: max(z, mpmath.mpf(0)), lambda z: mpmath.mpf(z > 0), True),
    "sigmoid": Exact(sigmoid, lambda z: sigmoid(z) * sigmoid(-z), False),
    "softplus": Exact(softplus, sigmoid, True),
    "gelu": Exact(lambda z: z * below(z), lambda z: below(z) + z * density(z), False),
    "erf": Exact(mpmath.erf, lambda z: 2 * mpmath.exp(-z * z) / mpmath.sqrt(mpmath.pi), True),
    "sin": Exact(mpmath.sin, mpmath.cos, True),
    "linear": Exact(lambda z: z, lambda z: mpmath.mpf(1), True),
    "quadratic": Exact(lambda z: z * z / 2, lambda z: z, True),
}
