"""Adam (Kingma & Ba, arXiv:1412.6980) and AdamW (Loshchilov & Hutter, arXiv:1711.05101)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.optimizer import Array, Jit, Optimizer, Scalar, Update, flag, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Optimizer):
    """theta -= lr û / (sqrt(v̂) + epsilon),  û = u / (1 - beta1^(t+1)),  v̂ = v / (1 - beta2^(t+1))

    with u = beta1 u + (1 - beta1) g  and  v = beta2 v + (1 - beta2) g². Weight decay λ adds λ theta to g, or where it
    is `decoupled` (AdamW) multiplies theta by 1 - lr λ before the update.
    """

    name = "adam"
    moments = 2

    beta1: float = option(0.9, below=1)
    beta2: float = option(0.999, below=1)
    epsilon: float = option(1e-8)
    decoupled: bool = flag(False)

    def update(self, theta: Array, moments: Array, g: Array, lr: Array, number: int) -> tuple[Array, Array]:
        """See `Optimizer`."""
        real = theta.dtype.type
        u = real(self.beta1) * moments[:, 0] + real(1 - self.beta1) * g
        v = real(self.beta2) * moments[:, 1] + real(1 - self.beta2) * g * g
        # The corrections are numbers of the step alone: computed in double, then rounded once.
        unbias_u, unbias_v = (real(1 / (1 - beta ** (number + 1))) for beta in (self.beta1, self.beta2))
        size = np.sqrt(v * unbias_v) + real(self.epsilon)
        return theta - lr * (u * unbias_u) / size, np.stack([u, v], axis=1)

    @staticmethod
    def build(jit: Jit, over_root: Callable[[Scalar, Scalar, Scalar], Scalar]) -> Update:
        """See `Optimizer`."""

        def adam(theta: Scalar, u: Scalar, v: Scalar, g: Scalar, lr: Scalar, constants: Any) -> tuple[Scalar, ...]:
            u = constants[0] * u + constants[1] * g
            v = constants[2] * v + constants[3] * g * g
            return theta - over_root(lr * (u * constants[4]), v * constants[5], constants[6]), u, v

        return adam

    def constants(self, count: NDArray[np.float64]) -> tuple[Any, ...]:
        """See `Optimizer`: the factors of both running means, their corrections, epsilon."""
        unbias = (1 / (1 - beta**count) for beta in (self.beta1, self.beta2))
        return self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, *unbias, self.epsilon


optimizer = Adam
