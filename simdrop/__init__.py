"""simdrop: ensembles of two-layer networks under dropout, at the speed of the hardware, held against theory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import theory
    from .dropout import masks
    from .noise import Noise
    from .problem import Problem
    from .simulation import simulate
    from .study import compare
    from .theory import flow
    from .theory.sme import sme

__version__ = "0.1.0"

#: public name -> module that holds it; loaded when first used, so that `import simdrop` stays fast
_HOMES = {
    "compare": "simdrop.study",
    "flow": "simdrop.theory",
    "Noise": "simdrop.noise",
    "Problem": "simdrop.problem",
    "masks": "simdrop.dropout",
    "simulate": "simdrop.simulation",
    "sme": "simdrop.theory",
}
_MODULES = ("data", "errors", "noise", "plots", "reproduce", "scale", "study", "theory")

__all__ = ["Noise", "Problem", "compare", "flow", "masks", "simulate", "sme", "theory"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"simdrop.{name}")
    raise AttributeError(f"module 'simdrop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
