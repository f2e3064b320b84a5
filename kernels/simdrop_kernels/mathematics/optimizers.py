"""The scalar mathematics of a training step, written once as plain Python.

`optimizer(name, jit, real)`, as `activations.table.scalars`, hands its functions to a decorator: `jit` is
`numba.extending.register_jitable` on the CPU, `cuda.jit(device=True)` on a device, the identity in the
CUDA simulator. `real` is np.float32 or np.float64: every constant is cast to it, so that nothing is
promoted silently. No function here branches in a way that a vectoriser cannot turn into a select.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.optimizers import Adam, Momentum, Nesterov, Optimizer
from .activations.base import Jit, Scalar


def optimizer(
    name: str, jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar] | None = None
) -> Callable[..., tuple[Scalar, Scalar, Scalar]]:
    """The update (θ, u, v) -> (θ, u, v) of one parameter; arguments after those: gradient, lr, constants.

    The constants are those of `optimizer_constants`; `contract.optimizers` has the formulas. `over_root`, of (u, v, ε),
    is u / (√v + ε) where a processor has better instructions than what a compiler makes of it.
    """
    if name == "adam":
        return jit(_make_adam(jit(_over_root) if over_root is None else over_root))
    return jit({"sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov}[name])


def _over_root(u: Scalar, v: Scalar, epsilon: Scalar) -> Scalar:
    return u / (math.sqrt(v) + epsilon)


def _sgd(theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any) -> tuple[Scalar, Scalar, Scalar]:
    return theta - lr * g, u, v


def _momentum(
    theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any
) -> tuple[Scalar, Scalar, Scalar]:
    u = constants[0] * u + g
    return theta - lr * u, u, v


def _nesterov(
    theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any
) -> tuple[Scalar, Scalar, Scalar]:
    u = constants[0] * u + g
    return theta - lr * (g + constants[0] * u), u, v


def _make_adam(over_root: Any) -> Callable[..., tuple[Scalar, Scalar, Scalar]]:
    def adam(
        theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any
    ) -> tuple[Scalar, Scalar, Scalar]:
        u = constants[0] * u + constants[1] * g
        v = constants[2] * v + constants[3] * g * g
        return theta - over_root(lr * (u * constants[4]), v * constants[5], constants[6]), u, v

    return adam


def optimizer_constants(kind: Optimizer, first_step: int, steps: int, real: type) -> NDArray[np.floating]:
    """What the updates of `steps` steps need besides lr, one row a step, in precision `real`: (steps, 7).

    momentum, nesterov: the factor. adam: beta1, 1 - beta1, beta2, 1 - beta2, the two bias corrections of the step,
    epsilon. Computed in double precision and rounded once.
    """
    table = np.zeros((steps, 7))
    if isinstance(kind, (Momentum, Nesterov)):
        table[:, 0] = kind.momentum
    elif isinstance(kind, Adam):
        number = np.arange(first_step + 1, first_step + steps + 1, dtype=np.float64)
        table[:, :4] = kind.beta1, 1 - kind.beta1, kind.beta2, 1 - kind.beta2
        table[:, 4] = 1 / (1 - kind.beta1**number)
        table[:, 5] = 1 / (1 - kind.beta2**number)
        table[:, 6] = kind.epsilon
    return table.astype(real)
