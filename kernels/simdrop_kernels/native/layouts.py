"""Which of the two layouts of "native" trains a step: what lies side by side in the lanes of a vector.

neurons  those of one member: fill the vectors of large networks, and those that are dropped are not computed
members  for networks too small for that: no sum over lanes, no gathering, masks of all members at once

The choice goes by what is the same for all members of all runs of a step, never by how many there are, so that neither
blocks nor other members change a bit of one. SIMDROP_LAYOUT names a layout; tests take both.
"""

from __future__ import annotations

import os

import numpy as np

from ..contract.step import Sizes, Step

#: instruction set -> bytes of its vectors
_VECTOR_BYTES = {"avx512": 64, "avx2": 32, "baseline": 16}
#: neuron·sample updates of a step, each weighted by its inputs and outputs, up to which members in lanes are faster
_SMALL = 3 * 400


def lanes(isa: str, dtype: np.dtype) -> int:
    """Numbers of a vector."""
    return _VECTOR_BYTES[isa] // dtype.itemsize


def chosen(step: Step, sizes: Sizes) -> str:
    """The layout for a step on `sizes`: SIMDROP_LAYOUT, or the one that was measured to be faster.

    Other losses than the squared one, and masks on the update alone, are written for "neurons".
    """
    if step.network.loss != "squared" or step.noise.place != "both":
        return "neurons"
    if forced := os.environ.get("SIMDROP_LAYOUT"):
        return forced
    small = sizes.samples * sizes.width * (sizes.inputs + sizes.outputs) <= _SMALL
    return "members" if small else "neurons"
