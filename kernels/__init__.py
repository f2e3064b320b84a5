"""Kernels of simdrop: arrays in, arrays out.

Trains ensembles of two-layer networks with dropout, one backend per module, all with the same masks.
Nothing here validates its input or knows of `simdrop`.
"""

from .registry import BackendError
from .rng import masks
from .spec import MASKS, OBJECTIVES, OPTIMIZERS, Ensemble, Step

__all__ = ["MASKS", "OBJECTIVES", "OPTIMIZERS", "BackendError", "Ensemble", "Step", "masks"]
