"""simdrop: ensembles of two-layer networks under dropout, at the speed of the hardware, held against theory."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import activations, data, errors, plots, reproduce, scale, schedule, study, theory
    from .problem import Noise, Problem
    from .problem.masks import masks
    from .simulation.simulate import simulate
    from .simulation.sme import sme
    from .study import compare
    from .theory import flow

#: public name -> module that holds it; loaded when first used, so that `import simdrop` stays fast
_HOMES = {
    "compare": "simdrop.study",
    "flow": "simdrop.theory",
    "Noise": "simdrop.problem.noise",
    "Problem": "simdrop.problem.problem",
    "masks": "simdrop.problem.masks",
    "simulate": "simdrop.simulation.simulate",
    "sme": "simdrop.simulation.sme",
}
_MODULES = ("activations", "data", "errors", "plots", "reproduce", "scale", "schedule", "study", "theory")

#: modules that had another name while this version was made -> where what they held is now
_FORMERLY = {
    "noise": "simdrop.problem.noise",
    "storage": "simdrop.output.storage",
}

__all__ = [
    "Noise", "Problem", "__version__", "activations", "compare", "data", "errors", "flow", "masks", "plots",
    "reproduce", "scale", "schedule", "simulate", "sme", "study", "theory",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"simdrop.{name}")
    if name in _FORMERLY:
        from .errors import RenamedWarning

        warnings.warn(f"simdrop.{name} is now {_FORMERLY[name]}", RenamedWarning, stacklevel=2)
        return importlib.import_module(_FORMERLY[name])
    raise AttributeError(f"module 'simdrop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
