"""What an optimizer is: its options, and the update of the parameters for arrays and for compiled kernels.

The others than SGD, which is the default of a `Step`, are in `mathematics.optimizers`, one in each file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

OptimizerName = Literal["sgd", "momentum", "nesterov", "adam"]

Array = NDArray[np.floating]
Scalar = Any
#: makes a function of scalars callable by compiled kernels: a backend's own decorator
Jit = Callable[[Callable[..., Any]], Callable[..., Any]]
#: (theta, u, v, gradient, lr, constants) -> (theta, u, v) of one parameter
Update = Callable[..., tuple[Scalar, Scalar, Scalar]]


def option(default: float, *, below: float | None = None) -> Any:
    """An option of at least 0, below `below` where that is given."""
    return field(default=default, metadata={"below": below})


def flag(default: bool) -> Any:
    """An option that is True or False."""
    return field(default=default, metadata={"flag": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """What all optimizers have. With gradient g at step t = 0, 1, ..., an update changes theta and its moments u, v.

    name : what `simulate` and commands call it
    moments : vectors that it carries from step to step, each of the size of theta: none, u, or u and v
    """

    name: ClassVar[OptimizerName]
    moments: ClassVar[int]

    def update(self, theta: Array, moments: Array, g: Array, lr: Array, number: int) -> tuple[Array, Array]:
        """theta (M, P) and moments (M, k, P) after step `number`, from the gradients g (M, P) and lr (M, 1)."""
        raise NotImplementedError

    @staticmethod
    def build(jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar]) -> Update:
        """The same for one parameter, as compiled kernels call it; moments that it has not are passed through.

        over_root : (u, v, ε) -> u / (√v + ε), by the best instructions that a processor has
        """
        raise NotImplementedError

    def constants(self, count: NDArray[np.float64]) -> tuple[Any, ...]:
        """What `build`'s update needs besides lr: at most `CONSTANTS` numbers or arrays over steps.

        count : (steps,) of the steps up to each, itself included
        """
        return ()


#: numbers for each step that kernels have room for
CONSTANTS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Optimizer):
    """theta -= lr g"""

    name = "sgd"
    moments = 0

    def update(self, theta: Array, moments: Array, g: Array, lr: Array, number: int) -> tuple[Array, Array]:
        """See `Optimizer`."""
        return theta - lr * g, moments

    @staticmethod
    def build(jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar]) -> Update:
        """See `Optimizer`."""

        def sgd(theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any) -> tuple[Scalar, ...]:
            return theta - lr * g, u, v

        return sgd
