"""Data to train on: the papers' one-dimensional targets, tables and NPZ files, scikit-learn's real data sets."""

from .load import NAMES, load
from .samples import Data
from .targets import TARGETS

__all__ = ["NAMES", "TARGETS", "Data", "load"]
