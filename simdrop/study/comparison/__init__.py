"""compare(): an ensemble against the flows that predict its mean."""

from .compare import Comparison

__all__ = ["Comparison"]
