"""Kernels that show what the device draws; loaded where there is a device or its simulator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from simdrop_kernels.cuda import draws, machine
from simdrop_kernels.mathematics import rng

MEMBER, SAMPLE = 9, 3


def masks(sample_masks: bool, neurons: int, width: int, steps: NDArray, keep_prob: float, seed: int) -> NDArray:
    """Factors (steps, width) of one member, 2 where kept, as the lanes of a team draw them."""
    fill = draws.make_fill(neurons, sample_masks, np.float64)
    sample = SAMPLE if sample_masks else 0

    def show(out: Any, steps: Any, words: Any, width: Any) -> None:
        factors = cuda.local.array(16, np.float64)
        lane = cuda.threadIdx.x
        for t in range(steps.size):
            fill(factors, lane, width, words[0], 2.0, sample, steps[t], words[1], words[2], words[3])
            for k in range(neurons):
                if lane * neurons + k < width:
                    out[t, lane * neurons + k] = factors[k]

    out = cuda.to_device(np.full((len(steps), width), -1.0))
    words = np.array([rng.keep_threshold(keep_prob), MEMBER, *rng.split_seed(seed)], np.uint64)
    launch = machine.launch(machine.kernel(show), 1, -(-width // neurons))
    launch(out, cuda.to_device(steps), cuda.to_device(words), width)
    return out.copy_to_host()


def batches(lanes: int, samples: int, size: int, replace: bool, steps: NDArray, seed: int) -> NDArray:
    """Minibatches (steps, size) of one member as a team of lanes draws them."""
    draw = draws.make_draw_batch(lanes)

    def show(out: Any, steps: Any, words: Any, store: Any, samples: Any, replace: Any) -> None:
        lane, size = cuda.threadIdx.x, out.shape[1]
        for t in range(steps.size):
            draw(store, 0, size, size, samples, replace, lane, steps[t], words[0], words[1], words[2])
            for b in range(lane, size, lanes):
                out[t, b] = store[size + b]

    out = cuda.to_device(np.full((len(steps), size), -1))
    words = np.array([MEMBER, *rng.split_seed(seed)], np.uint64)
    launch = machine.launch(machine.kernel(show), 1, lanes)
    store = cuda.to_device(np.zeros(2 * size, np.int32))
    launch(out, cuda.to_device(steps), cuda.to_device(words), store, samples, int(replace))
    return out.copy_to_host()
