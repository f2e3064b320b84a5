"""log Σ_o exp f_o - f_y: the cross-entropy of c classes, with probabilities s_o = exp f_o / Σ_q exp f_q."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Array, Jit, Loss, build_softmax, diagonal
from .base import softmax as probabilities


def _value(f: Array, y: Array) -> Array:
    above = f - f.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(above).sum(axis=-1)) - (y * above).sum(axis=-1))


def _curvature(f: Array, y: Array) -> Array:
    s = probabilities(f)
    return np.asarray(diagonal(s) - s[..., :, None] * s[..., None, :])


def _bend(f: Array, y: Array, v: Array) -> Array:
    """With T = ½ (Σ_o s_o V_oo - sᵀ V s) and q = ∂T/∂s = ½ diag V - V s: ∂T/∂f_o = s_o (q_o - s·q)."""
    s = probabilities(f)
    q = np.diagonal(v, axis1=-2, axis2=-1) / 2 - (v @ s[..., None])[..., 0]
    return np.asarray(s * (q - (s * q).sum(axis=-1, keepdims=True)))


def _build(jit: Jit, real: type) -> Any:
    fill = build_softmax(jit, real)

    def residual(f: Any, y: Any, e: Any) -> None:
        fill(f, e)
        for o in range(f.size):
            e[o] -= y[o]

    return jit(residual)


loss = Loss(
    name="softmax",
    formula="log Σ_o exp f_o - f_y",
    targets="classes",
    value=_value,
    residual=lambda f, y: probabilities(f) - y,
    curvature=_curvature,
    bend=_bend,
    build=_build,
    probabilities=probabilities,
)
