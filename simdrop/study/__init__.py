"""Studies: an ensemble and the theory, side by side."""

from .comparison.compare import Comparison, compare
from .convergence.heatmap import HeatMap, heat_map
from .convergence.ladder import Order, order
from .landscape import alignment, condensation, flatness

__all__ = ["Comparison", "HeatMap", "Order", "alignment", "compare", "condensation", "flatness", "heat_map", "order"]
