"""Studies: an ensemble and the theory, side by side."""

from .comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
