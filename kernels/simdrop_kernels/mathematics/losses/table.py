"""The table of losses: one in each file of this folder that declares a `loss`."""

from __future__ import annotations

from typing import Any

from ..discovery import declared
from .base import Jit, Loss

#: name -> loss, those for numbers before those for classes
LOSSES: dict[str, Loss] = {
    one.name: one for one in sorted(declared(__package__, "loss"), key=lambda one: (one.targets != "numbers", one.name))
}


def find(name: str) -> Loss:
    """The loss of this name."""
    return LOSSES[name]


def residual(name: str, jit: Jit, real: type) -> Any:
    """The residual of one sample of a named loss for compiled kernels: see `base.Loss`."""
    return find(name).build(jit, real)
