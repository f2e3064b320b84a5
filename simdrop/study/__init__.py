"""Studies: an ensemble and the theory, side by side."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison.compare import Comparison, compare
    from .convergence.heatmap import HeatMap, heat_map
    from .convergence.ladder import Order, order
    from .landscape import alignment, condensation, flatness
    from .predictions import PREDICTIONS, Prediction, PredictionKind
    from .result import Result
    from .throughput.measure import Benchmark, benchmark

#: public name -> module that holds it; loaded when first used, so that the help of a command stays fast
_HOMES = {
    "Benchmark": "throughput.measure",
    "Comparison": "comparison.compare",
    "HeatMap": "convergence.heatmap",
    "Order": "convergence.ladder",
    "PREDICTIONS": "predictions",
    "Prediction": "predictions",
    "PredictionKind": "predictions",
    "Result": "result",
    "benchmark": "throughput.measure",
    "compare": "comparison.compare",
    "heat_map": "convergence.heatmap",
    "order": "convergence.ladder",
}
_MODULES = ("alignment", "condensation", "flatness")
_ROOMS = ("comparison", "convergence", "landscape", "predictions", "throughput")

__all__ = [
    "PREDICTIONS",
    "Benchmark",
    "Comparison",
    "HeatMap",
    "Order",
    "Prediction",
    "PredictionKind",
    "Result",
    "alignment",
    "benchmark",
    "compare",
    "condensation",
    "flatness",
    "heat_map",
    "order",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".landscape.{name}", __name__)
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
