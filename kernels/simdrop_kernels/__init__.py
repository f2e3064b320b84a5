"""Kernels of simdrop: arrays in, arrays out.

Trains ensembles of two-layer networks with dropout, one backend per module, all with the same masks.
Nothing here validates its input or knows of `simdrop`.
"""

from .contract.network import MASKS, Network
from .contract.noise import Noise
from .contract.objectives import OBJECTIVES
from .contract.optimizer import SGD
from .contract.step import BackendError, Ensemble, Step
from .mathematics.optimizers.adam import Adam
from .mathematics.optimizers.momentum import Momentum
from .mathematics.optimizers.table import OPTIMIZERS
from .mathematics.rng import masks

__all__ = [
    "MASKS", "OBJECTIVES", "OPTIMIZERS", "SGD", "Adam", "BackendError", "Ensemble", "Momentum", "Network", "Noise",
    "Step", "masks",
]  # fmt: skip
