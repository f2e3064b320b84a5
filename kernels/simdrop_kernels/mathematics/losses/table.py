"""The table of losses: one in each file of this folder that declares a `loss`."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from .base import Jit, Loss


def _found() -> dict[str, Loss]:
    package = __name__.rpartition(".")[0]
    names = sorted(file.name for file in pkgutil.iter_modules([str(Path(__file__).parent)]) if file.name != "table")
    modules = [importlib.import_module(f"{package}.{name}") for name in names]
    found = [module.loss for module in modules if hasattr(module, "loss")]
    return {one.name: one for one in sorted(found, key=lambda one: (one.targets != "numbers", one.name))}


#: name -> loss, the squared one first
LOSSES: dict[str, Loss] = _found()


def find(name: str) -> Loss:
    """The loss of this name."""
    return LOSSES[name]


def residual(name: str, jit: Jit, real: type) -> Any:
    """The residual of one sample of a named loss for compiled kernels: see `base.Loss`."""
    return find(name).build(jit, real)
