"""What a loss ℓ(f, y) of one sample is: a value and derivatives by its outputs f, as arrays and as compiled loops.

The risk is the mean of ℓ over the samples, R_S = (1/n) Σ_i ℓ(f(x_i), y_i), and its gradient (1/n) Σ_i r_i·∂f(x_i)/∂θ
with the residual r = ∂ℓ/∂f: a loss enters a training step by its residual alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: a backend's own decorator, as in `activations.base`
Jit = Callable[[Callable[..., Any]], Callable[..., Any]]

#: what targets are: real numbers, 0 or 1 for one output, or one of c classes, 1 in its column and 0 in the others
Targets = Literal["numbers", "binary", "classes"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Loss:
    """A loss of one sample with outputs f (..., c) and targets y (..., c), in the dtype of f.

    name : what problems and commands call it
    formula : ℓ in symbols
    targets : what y holds
    value : (f, y) -> ℓ (...)
    residual : (f, y) -> ∂ℓ/∂f (..., c)
    curvature : (f, y) -> ∂²ℓ/∂f² (..., c, c)
    bend : (f, y, V) -> ∂ (½ Σ_oq ∂²ℓ/∂f_o∂f_q V_oq) / ∂f (..., c), for symmetric V (..., c, c)
    build : `build(jit, real)` makes `residual(f, y, e)` of rows (c,) for compiled kernels, which fills e; e may be f.
        All constants are of type `real`.
    probabilities : f -> the probabilities of the classes (..., c), of class 1 for one output; None without classes
    """

    name: str
    formula: str
    targets: Targets
    value: Callable[[Array, Array], Array]
    residual: Callable[[Array, Array], Array]
    curvature: Callable[[Array, Array], Array]
    bend: Callable[[Array, Array, Array], Array]
    build: Callable[[Jit, type], Callable[[Any, Any, Any], None]]
    probabilities: Callable[[Array], Array] | None = None

    def right(self, f: Array, y: Array) -> NDArray[np.bool_]:
        """Whether the outputs f (..., c) put samples into their classes y (..., c): (...).

        A class is the one with the largest output, or 1 where the only output is above 0.
        """
        if self.targets == "binary":
            return np.asarray((f[..., 0] > 0) == (y[..., 0] > 0.5))
        return np.asarray(f.argmax(axis=-1) == y.argmax(axis=-1))


def softmax(f: Array) -> Array:
    """exp f_o / Σ_q exp f_q along the last axis, without overflow."""
    e = np.exp(f - f.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def build_softmax(jit: Jit, real: type) -> Callable[[Any, Any], None]:
    """`fill(f, e)` for compiled kernels: e (c,) becomes the softmax of f (c,); e may be f."""
    zero = real(0)

    def fill(f: Any, e: Any) -> None:
        top = f[0]
        for o in range(1, f.size):
            top = max(top, f[o])
        total = zero
        for o in range(f.size):
            e[o] = math.exp(f[o] - top)
            total += e[o]
        for o in range(f.size):
            e[o] = e[o] / total

    return jit(fill)


def diagonal(v: Array) -> Array:
    """Matrices (..., c, c) with v (..., c) on their diagonals."""
    return np.asarray(v[..., None] * np.eye(v.shape[-1], dtype=v.dtype))
