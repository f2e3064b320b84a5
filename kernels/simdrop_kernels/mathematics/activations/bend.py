"""The scalar mathematics of a step of a path that `simdrop_kernels.mathematics.optimizers` has not: see there."""

from __future__ import annotations

import math
from typing import Any

from .scalars import Jit


def bend(name: str, jit: Jit, real: type) -> Any:
    """σ''(z) of a named activation as a scalar function of z, h = σ(z) and h1 = σ'(z)."""
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    density = real(1 / math.sqrt(2 * math.pi))
    return jit(
        {
            "tanh": lambda z, h, h1: -two * h * h1,
            "relu": lambda z, h, h1: zero,
            "sigmoid": lambda z, h, h1: h1 * (one - two * h),
            "softplus": lambda z, h, h1: h1 * (one - h1),
            "gelu": lambda z, h, h1: (two - z * z) * density * math.exp(-half * z * z),
            "erf": lambda z, h, h1: -two * z * h1,
            "sin": lambda z, h, h1: -h,
            "linear": lambda z, h, h1: zero,
            "quadratic": lambda z, h, h1: one,
        }[name]
    )
