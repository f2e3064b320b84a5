"""Studies: an ensemble and the theory, side by side."""

from .comparison.compare import Comparison, compare
from .convergence.heatmap import HeatMap, heat_map
from .convergence.ladder import Order, order
from .landscape import alignment, condensation, flatness
from .predictions import PREDICTIONS, Prediction
from .result import Result
from .throughput.measure import Benchmark, benchmark

__all__ = [
    "PREDICTIONS",
    "Benchmark",
    "Comparison",
    "HeatMap",
    "Order",
    "Prediction",
    "Result",
    "alignment",
    "benchmark",
    "compare",
    "condensation",
    "flatness",
    "heat_map",
    "order",
]
