"""log(1 + exp f) - y f: the cross-entropy of one output, whose target y is 0 or 1, with P(1) = s = 1 / (1 + exp -f)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import Array, Jit, Loss


def _probability(f: Array) -> Array:
    small = np.exp(-np.abs(f))  # of the two exponentials the one that does not overflow
    return np.asarray(np.where(f >= 0, 1, small) / (1 + small))


def _value(f: Array, y: Array) -> Array:
    return np.asarray((np.maximum(f, 0) + np.log1p(np.exp(-np.abs(f))) - y * f).sum(axis=-1))


def _curvature(f: Array, y: Array) -> Array:
    s = _probability(f)
    return np.asarray((s * (1 - s))[..., None])


def _bend(f: Array, y: Array, v: Array) -> Array:
    s = _probability(f)
    return np.asarray(s * (1 - s) * (1 - 2 * s) * v[..., 0] / 2)


def _build(jit: Jit, real: type) -> Any:
    zero, one = real(0), real(1)

    def residual(f: Any, y: Any, e: Any) -> None:
        for o in range(f.size):
            small = math.exp(-abs(f[o]))
            top = one if f[o] >= zero else small
            e[o] = top / (one + small) - y[o]

    return jit(residual)


loss = Loss(
    name="logistic",
    formula="log(1 + exp f) - y f",
    targets="binary",
    value=_value,
    residual=lambda f, y: _probability(f) - y,
    curvature=_curvature,
    bend=_bend,
    build=_build,
    probabilities=_probability,
)
