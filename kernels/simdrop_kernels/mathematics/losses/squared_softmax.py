"""½ |s(f) - y|² with s_o = exp f_o / Σ_q exp f_q: the squared error of the probabilities of c classes.

It is what the code of arXiv:2207.05952 trains on classes. With d = s - y, J = diag(s) - s sᵀ = ∂s/∂f and t = s·d

    residual    r = J d,   r_o = s_o (d_o - t)
    curvature   ∂r_o/∂f_q = J_oq (d_o - t) + s_o (J_oq - (J d)_q - (J s)_q)
    bend        with D = diag V, w = V s, p = s ∘ d and z = D - 2 w + (2 s·w - s·D) 1, T = ½ ⟨V, ∂r/∂f⟩ is
                ½ (tr(V J²) + p·z), where tr(V J²) = s²·D - 2 s²·w + |s|² s·w; its gradient by s, pulled back by J
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Array, Jit, Loss, build_softmax, diagonal
from .base import softmax as probabilities


def _residual(f: Array, y: Array) -> Array:
    s = probabilities(f)
    d = s - y
    return np.asarray(s * (d - (s * d).sum(axis=-1, keepdims=True)))


def _curvature(f: Array, y: Array) -> Array:
    s = probabilities(f)
    d = s - y
    t = (s * d).sum(axis=-1, keepdims=True)
    j = diagonal(s) - s[..., :, None] * s[..., None, :]
    dt = (j @ (d + s)[..., None])[..., 0]  # ∂t/∂f
    return np.asarray(j * (d - t)[..., :, None] + s[..., :, None] * (j - dt[..., None, :]))


def _bend(f: Array, y: Array, v: Array) -> Array:
    s = probabilities(f)
    square, on = s * s, np.diagonal(v, axis1=-2, axis2=-1)
    w, q = _times(v, s), _dot(s, _times(v, s))
    p = square - y * s
    z = on - 2 * w + 2 * q - _dot(s, on)
    by_s = s * on - 2 * s * w - _times(v, square) + s * q + _dot(s, s) * w
    by_s = by_s + (2 * s - y) * z / 2 - _times(v, p) + p.sum(axis=-1, keepdims=True) * (2 * w - on / 2)
    return np.asarray(s * (by_s - _dot(s, by_s)))


def _dot(u: Array, v: Array) -> Array:
    return np.asarray((u * v).sum(axis=-1, keepdims=True))


def _times(v: Array, u: Array) -> Array:
    return np.asarray((v @ u[..., None])[..., 0])


def _build(jit: Jit, real: type) -> Any:
    fill, zero = build_softmax(jit, real), real(0)

    def residual(f: Any, y: Any, e: Any) -> None:
        fill(f, e)
        t = zero
        for o in range(f.size):
            t += e[o] * (e[o] - y[o])
        for o in range(f.size):
            e[o] = e[o] * (e[o] - y[o] - t)

    return jit(residual)


loss = Loss(
    name="squared-softmax",
    formula="½ |softmax(f) - y|²",
    targets="classes",
    value=lambda f, y: np.square(probabilities(f) - y).sum(axis=-1) / 2,
    residual=_residual,
    curvature=_curvature,
    bend=_bend,
    build=_build,
    probabilities=probabilities,
)
