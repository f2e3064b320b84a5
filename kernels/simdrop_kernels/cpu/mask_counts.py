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


@kernel("counting masks")
def _count(counts: Any, stream: Any, threshold: Any, first: Any, last: Any, key: Any) -> None:
    """Add to the upper triangles of counts (T, G, m, m)."""
    steps, groups, width = counts.shape[:3]
    for t in numba.prange(steps):
        kept = np.empty(width + 4, np.int64)
        for member in range(first, last):
            for i in range(groups):
                count = 0
                for block in range((width + 3) // 4):
                    drawn = _philox(
                        np.uint64(block) | stream, np.uint64(i), np.uint64(t), np.uint64(member), key[0], key[1]
                    )
                    for k in range(4):
                        kept[count] = 4 * block + k
                        count += drawn[k] <= threshold and 4 * block + k < width
                own = counts[t, i]
                for a in range(count):
                    row = own[kept[a]]
                    for b in range(a, count):
                        row[kept[b]] += 1
