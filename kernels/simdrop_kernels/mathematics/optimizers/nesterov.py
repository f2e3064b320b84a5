"""Nesterov's momentum, as `torch.optim.SGD(nesterov=True)` has it (Sutskever et al., ICML 2013)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...contract.optimizer import Array, Jit, Optimizer, Scalar, Update, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesterov(Optimizer):
    """u = momentum u + g;  theta -= lr (g + momentum u)"""

    name = "nesterov"
    moments = 1

    momentum: float = option(0.9, below=1)

    def update(self, theta: Array, moments: Array, g: Array, lr: Array, number: int) -> tuple[Array, Array]:
        """See `Optimizer`."""
        momentum = theta.dtype.type(self.momentum)
        u = momentum * moments[:, 0] + g
        return theta - lr * (g + momentum * u), u[:, None]

    @staticmethod
    def build(jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar]) -> Update:
        """See `Optimizer`."""

        def nesterov(theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any) -> tuple[Scalar, ...]:
            u = constants[0] * u + g
            return theta - lr * (g + constants[0] * u), u, v

        return nesterov

    def constants(self, count: Any) -> tuple[Any, ...]:
        """See `Optimizer`."""
        return (self.momentum,)


optimizer = Nesterov
