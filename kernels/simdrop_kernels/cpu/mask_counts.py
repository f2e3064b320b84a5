"""How often neurons, and pairs of them, are kept by the masks of a group of members: compiled, parallel over steps.

All that a sum over members of gradients at one point needs to know of their masks.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..mathematics import rng
from ..threads import one_thread_each
from .compile import kernel, scalar

_philox = scalar(rng.philox)
_LANES = 64  # members at a time
_PAIRS, _FOURS, _EIGHTS, _BYTES = (
    np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
)
_STEP, _SAMPLE = np.uint64(rng.STREAM_STEP_MASK << 28), np.uint64(rng.STREAM_SAMPLE_MASK << 28)


def count_pairs(
    *, seed: int, first: int, last: int, steps: int, width: int, keep_prob: float, samples: int | None, threads: int = 1
) -> NDArray[np.int64]:
    """In how many members first, ..., last - 1 a mask keeps both neurons j and k, at steps 0, ..., steps - 1.

    Shape (steps, G, m, m), the diagonal counting single neurons; G = 1 for step masks (`samples=None`), else samples.
    The masks are those of `rng.masks`.
    """
    counts = np.zeros((steps, samples or 1, width, width), dtype=np.int64)
    stream = _STEP if samples is None else _SAMPLE
    with one_thread_each(threads):
        _count(counts, stream, rng.keep_threshold(keep_prob)[()], first, last, np.array(rng.split_seed(seed)))
    upper = np.triu(counts, 1)
    return counts + upper.swapaxes(-1, -2)


@scalar
def _ones(word: Any) -> Any:
    """How many bits of a 64-bit word are set, by sums of ever larger groups of bits."""
    word = word - ((word >> np.uint64(1)) & _PAIRS)
    word = (word & _FOURS) + ((word >> np.uint64(2)) & _FOURS)
    word = (word + (word >> np.uint64(4))) & _EIGHTS
    return (word * _BYTES) >> np.uint64(56)


@scalar
def _draw(drawn: Any, words: Any, key: Any) -> None:
    """Fill drawn (4, 64) with the words of 64 members from the fourth of `words` on, in a loop that becomes vectors."""
    for lane in range(_LANES):
        member = words[3] + np.uint64(lane)
        w0, w1, w2, w3 = _philox(words[0], words[1], words[2], member, key[0], key[1])
        drawn[0, lane], drawn[1, lane], drawn[2, lane], drawn[3, lane] = w0, w1, w2, w3


@kernel("counting masks")
def _count(counts: Any, stream: Any, threshold: Any, first: Any, last: Any, key: Any) -> None:
    """Add to the upper triangles of counts (T, G, m, m). A word has a neuron's bits of 64 members."""
    steps, groups, width = counts.shape[:3]
    for t in numba.prange(steps):
        kept = np.empty(width + 4, np.uint64)
        drawn = np.empty((4, _LANES), np.uint64)
        for begin in range(first, last, _LANES):
            for i in range(groups):
                for block in range((width + 3) // 4):
                    at = np.uint64(block) | stream, np.uint64(i), np.uint64(t), np.uint64(begin)
                    _draw(drawn, at, key)
                    for k in range(4):
                        bits = np.uint64(0)
                        for lane in range(min(_LANES, last - begin)):
                            bits |= np.uint64(drawn[k, lane] <= threshold) << np.uint64(lane)
                        kept[4 * block + k] = bits
                for a in range(width):
                    for b in range(a, width):
                        counts[t, i, a, b] += np.int64(_ones(kept[a] & kept[b]))
