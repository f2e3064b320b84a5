"""Kernels of simdrop: arrays in, arrays out.

Trains ensembles of two-layer networks with dropout, one backend per module, all with the same masks.
Nothing here validates its input or knows of `simdrop`.
"""

from .contract.step import MASKS, OBJECTIVES, OPTIMIZERS, BackendError, Ensemble, Step
from .mathematics.rng import masks

__all__ = ["MASKS", "OBJECTIVES", "OPTIMIZERS", "BackendError", "Ensemble", "Step", "masks"]
