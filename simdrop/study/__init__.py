"""Studies: an ensemble and the theory, side by side."""

from . import alignment, condensation, flatness
from .comparison import Comparison, compare
from .heatmap import HeatMap, heat_map
from .order import Order, order

__all__ = ["Comparison", "HeatMap", "Order", "alignment", "compare", "condensation", "flatness", "heat_map", "order"]
