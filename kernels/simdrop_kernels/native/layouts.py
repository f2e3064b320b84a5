"""Which of the two layouts of "native" trains a step: what lies side by side in the lanes of a vector.

neurons  those of one member: fill the vectors of large networks, and those that are dropped are not computed
members  for networks too small for that: no sum over lanes, no gathering, masks of all members at once

The choice goes by what is the same for all members of all runs of a step, never by how many there are or by their
keep_prob, so that neither blocks nor other members change a bit of one. A vector that few members fill takes the time
of a full one: a single member trains slower than it would by neurons (about twice as long at five neurons on four
samples, up to ten times where networks are as large as they may be here). SIMDROP_LAYOUT names a layout.
"""

from __future__ import annotations

import os

import numpy as np

from ..contract.step import Sizes, Step

#: what "members" has besides dropout and minibatches: names of `Step.further`
_FURTHER = ("weight_decay", "schedule of lr")
#: instruction set -> bytes of its vectors
_VECTOR_BYTES = {"avx512_intel": 64, "avx512": 64, "avx2": 32, "baseline": 16}
#: (instruction set, bytes of a number) -> the width up to which members in lanes are faster where samples are many
_WIDTH = {
    ("avx512_intel", 4): 13, ("avx512_intel", 8): 7, ("avx512", 4): 13, ("avx512", 8): 7,
    ("avx2", 4): 13, ("avx2", 8): 8, ("baseline", 4): 8, ("baseline", 8): 5,
}  # fmt: skip
#: samples of a step that take as long as what a step by neurons does whatever their number: masks, gathering, sums
_SAMPLES_OF_A_STEP = 20
#: samples of a minibatch without replacement up to which its drawing, whose time grows with their square, is short
_LARGEST_BATCH = 128
#: bytes of h of all members in the lanes, up to which many samples of few neurons are trained by members
_LARGEST_BYTES = 1 << 24


def lanes(isa: str, dtype: np.dtype) -> int:
    """Numbers of a vector."""
    return _VECTOR_BYTES[isa] // dtype.itemsize


def chosen(step: Step, sizes: Sizes, isa: str, dtype: np.dtype) -> str:
    """The layout for a step on `sizes`: SIMDROP_LAYOUT, or the one that was measured to be faster.

    Measured as processor time on one core of an Intel Xeon (Sapphire Rapids), both layouts in turns, 256 members,
    keep_prob 0.9, 0.5 and 0.2, both masks, all optimizers, minibatches, 17 sizes of 1 to 128 samples and 5 to 128
    neurons. Where "members" is taken it is 1.1 to 11 times as fast, mostly 1.4 times and more.

    Masks in another place than the whole step and epochs are written for "neurons".
    """
    if any(name not in _FURTHER for name in step.further):
        return "neurons"
    if forced := os.environ.get("SIMDROP_LAYOUT"):
        return forced
    noise = step.noise
    if noise.batch_size is not None and not noise.replace and noise.batch_size > _LARGEST_BATCH:
        return "neurons"
    if sizes.samples * sizes.width * _VECTOR_BYTES[isa] > _LARGEST_BYTES:
        return "neurons"
    width = _WIDTH[isa, dtype.itemsize] * (1 + _SAMPLES_OF_A_STEP / sizes.samples)
    if step.network.activation != "tanh" or sizes.outputs > 1 or sizes.inputs > 3:
        width /= 2  # more of the time is spent on what both layouts do alike
    return "members" if sizes.width <= width else "neurons"


def operations(step: Step, sizes: Sizes, isa: str, dtype: np.dtype, of_update: int) -> float | None:
    """Arithmetic vector instructions of a neuron·sample update by members, or None where they are not so trained.

    `of_update` are those of the update itself. Beside them each neuron has, once a step, its part of a block of Philox,
    the comparison, products of the input weights' gradients with a, the change of each parameter and its square.
    Neurons that are dropped take as many. For one or two vectors of 64-bit lanes Philox has a product and three sums
    of two words in three rounds, which members share mostly, then two products and two sums of three words in each
    round; the sums of the last round are of joined vectors.
    """
    if chosen(step, sizes, isa, dtype) != "members":
        return None
    vectors, sums = 8 // dtype.itemsize, 1 if isa.startswith("avx512") else 2
    block = vectors * (1 + 3 + 7 * 2 + 6 * 2 * sums) + 2 * sums
    drawn = -(-sizes.width // 4) * block / sizes.width + 1
    changed = 3 * sizes.inputs + 2
    draws = sizes.samples if step.network.mask == "sample" else 1
    return of_update + (draws * drawn + changed) / sizes.samples
