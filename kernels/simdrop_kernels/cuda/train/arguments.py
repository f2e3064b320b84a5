"""What the kernels of training read besides arrays, by name."""

from __future__ import annotations

from typing import Any, NamedTuple


class Run(NamedTuple):
    """One launch: its steps, the sizes of the network and its data, the seed; the same for all members.

    first_step, steps: steps first_step, ..., first_step + steps - 1 are trained
    batch, samples: samples of a step, and samples that there are
    replace: 1 where minibatches are drawn with replacement
    pitch: from one member's learning rates to the next's where they change; 0 where all members share them
    held: samples of a pass of `in_memory`
    key0, key1: low and high half of the seed
    scale: factor of the output, in the dtype of the kernel
    decay: λ of weight decay, in that dtype
    """

    first_step: int
    steps: int
    width: int
    inputs: int
    outputs: int
    batch: int
    samples: int
    replace: int
    pitch: int
    held: int
    key0: Any  # unsigned: the keys of Philox
    key1: Any
    scale: Any
    decay: Any
