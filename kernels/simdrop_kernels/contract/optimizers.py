"""The optimizers: their options, and how many vectors each carries from step to step.

`mathematics.optimizers` has the update of one parameter as compiled kernels take it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

OptimizerName = Literal["sgd", "momentum", "nesterov", "adam"]


def _option(default: float, *, below: float | None = None) -> Any:
    """An option of at least 0, below `below` where that is given."""
    return field(default=default, metadata={"below": below})


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """What all optimizers have. With gradient g at step t = 0, 1, ..., an update changes theta and its moments u, v."""

    name: ClassVar[OptimizerName]
    moments: ClassVar[int]  # vectors, each of the size of theta


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Optimizer):
    """theta -= lr g"""

    name = "sgd"
    moments = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum(Optimizer):
    """u = momentum u + g;  theta -= lr u"""

    name = "momentum"
    moments = 1

    momentum: float = _option(0.9, below=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesterov(Optimizer):
    """u = momentum u + g;  theta -= lr (g + momentum u), as `torch.optim.SGD(nesterov=True)` does"""

    name = "nesterov"
    moments = 1

    momentum: float = _option(0.9, below=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Optimizer):
    """theta -= lr û / (sqrt(v̂) + epsilon),  û = u / (1 - beta1^(t+1)),  v̂ = v / (1 - beta2^(t+1))

    with u = beta1 u + (1 - beta1) g  and  v = beta2 v + (1 - beta2) g². Weight decay λ adds λ theta to g, or where it
    is `decoupled` (AdamW: Loshchilov & Hutter, arXiv:1711.05101) multiplies theta by 1 - lr λ before the update.
    """

    name = "adam"
    moments = 2

    beta1: float = _option(0.9, below=1)
    beta2: float = _option(0.999, below=1)
    epsilon: float = _option(1e-8)
    decoupled: bool = field(default=False, metadata={"flag": True})


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Momentum, Nesterov, Adam)}
