"""What both kernels of training do alike: the residuals of a loss, learning rates, and the update of one parameter.

`kind` is what a kernel is compiled for: `in_registers.Kind` or `in_memory.Kind`.
"""

from __future__ import annotations

from typing import Any

from ...mathematics.losses import table as losses
from ...mathematics.optimizers import table as optimizers
from .. import machine


def make_update(kind: Any) -> Any:
    """The device function (θ, u, v, g, lr, constants, λ) -> (θ, u, v): weight decay, then the optimizer."""
    step = optimizers.update(kind.optimizer, machine.scalar, machine.over_root(kind.real))
    coupled = kind.decays == "coupled"

    def plain(theta, u, v, g, lr, constants, decay):
        return step(theta, u, v, g, lr, constants)

    def decaying(theta, u, v, g, lr, constants, decay):
        if coupled:
            g += decay * theta
        else:
            theta -= lr * decay * theta
        return step(theta, u, v, g, lr, constants)

    return machine.scalar(decaying if kind.decays else plain)


def make_rate(kind: Any) -> Any:
    """The device function (lrs, place, lr) -> the learning rate of a step: lrs[place] where they change, else lr."""
    return machine.scalar((lambda lrs, place, lr: lrs[place]) if kind.scheduled else lambda lrs, place, lr: lr)


def make_residual(kind: Any) -> Any:
    """The device function (f, y, e) that fills e (c,) with the residuals of one sample; e may be f."""
    return losses.residual(kind.loss, machine.scalar, kind.real)
