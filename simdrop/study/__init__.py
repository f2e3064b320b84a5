"""Studies: an ensemble and the theory, side by side."""

from .compare import Comparison, compare

__all__ = ["Comparison", "compare"]
