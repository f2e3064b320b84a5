"""The table of activations: the project's own, one in each file of this folder, and those that users register."""

from __future__ import annotations

from ...contract.step import BackendError
from ..discovery import declared
from .base import Activation, Arithmetic, Jit, Scalars

#: name -> activation
ACTIVATIONS: dict[str, Activation] = {}


def add(activation: Activation) -> None:
    """Put an activation into the table; raises ValueError where its name is taken."""
    if activation.name in ACTIVATIONS:
        raise ValueError(f"activation {activation.name!r} is there already")
    ACTIVATIONS[activation.name] = activation


def find(name: str) -> Activation:
    """The activation of this name; raises BackendError where this process has none."""
    if name not in ACTIVATIONS:
        raise BackendError(f"activation {name!r} is not registered in this process")
    return ACTIVATIONS[name]


def scalars(name: str, jit: Jit, real: type, arithmetic: Arithmetic | None = None) -> Scalars:
    """The scalar functions of a named activation for compiled kernels: see `base.Activation.scalars`."""
    return find(name).scalars(jit, real, arithmetic)


for _activation in declared(__package__, "activation"):
    add(_activation)
