"""The problem of a study: data, network, dropout, and the noise of its steps.

Loaded when first used: commands read the defaults before they need NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .noise import Noise
    from .problem import Problem, check_problem

_HOMES = {"Noise": "noise", "Problem": "problem", "check_problem": "problem"}

__all__ = ["Noise", "Problem", "check_problem"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
