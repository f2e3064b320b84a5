"""The table of optimizers: SGD, and one in each file of this folder that declares an `optimizer`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...contract.optimizer import CONSTANTS, SGD, Jit, Optimizer, Scalar, Update
from ..discovery import declared

#: name -> optimizer, those with the fewest moments first
OPTIMIZERS: dict[str, type[Optimizer]] = {
    one.name: one for one in sorted([SGD, *declared(__package__, "optimizer")], key=lambda one: (one.moments, one.name))
}


def update(name: str, jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar] | None = None) -> Update:
    """The update of one parameter for compiled kernels: see `Optimizer.build`.

    `jit` is `numba.extending.register_jitable` on the CPU, `cuda.jit(device=True)` on a device, the identity in the
    CUDA simulator. `over_root` is u / (√v + ε) where a processor has better instructions than what a compiler makes
    of it.
    """
    return jit(OPTIMIZERS[name].build(jit, jit(_over_root) if over_root is None else over_root))


def _over_root(u: Scalar, v: Scalar, epsilon: Scalar) -> Scalar:
    return u / (math.sqrt(v) + epsilon)


def constants(kind: Optimizer, first_step: int, steps: int, real: type) -> NDArray[np.floating]:
    """The constants of the updates of `steps` steps, one row a step, in precision `real`: (steps, CONSTANTS).

    Computed in double precision and rounded once.
    """
    table = np.zeros((steps, CONSTANTS))
    count = np.arange(first_step + 1, first_step + steps + 1, dtype=np.float64)
    for k, column in enumerate(kind.constants(count)):
        table[:, k] = column
    return table.astype(real)
