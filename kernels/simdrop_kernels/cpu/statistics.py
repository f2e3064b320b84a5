"""Streaming statistics over members (Welford), compiled: one pass, no temporaries.

Every entry follows its own recursion over the members in their order, so that the results have the same
bits for any block size and any number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from .compile import exact

#: columns whose recursions run side by side: one tile of means and sums stays in the first-level cache
TILE = 512


@exact("means over members")
def accumulate(count, mean, m2, values, alive):
    """Add the rows of `values` (B, K) where `alive` (B,) to running moments, in place.

    count (1,) int64; mean (K,) float64; m2 (K,) float64, the sum of squared deviations, or (0,) to leave
    it out. Threads would not pay: reading the values takes half of the time.
    """
    for first in range(0, mean.size, TILE):
        _accumulate_tile(count[0], mean[first : first + TILE], m2[first : first + TILE], values, alive, first)
    count[0] += alive.sum()


@exact("means over members")
def _accumulate_tile(seen, mean, m2, values, alive, first):
    """The recursions of the columns that begin with number `first`; counted from 0, loops become vectors."""
    for row in range(values.shape[0]):
        if not alive[row]:
            continue
        seen += 1
        weight = 1.0 / seen
        here = values[row, first : first + mean.size]
        if m2.size:
            for k in range(mean.size):
                value = np.float64(here[k])
                before = value - mean[k]
                mean[k] += before * weight
                m2[k] += before * (value - mean[k])
        else:
            for k in range(mean.size):
                mean[k] += (np.float64(here[k]) - mean[k]) * weight


@exact("covariances over members", parallel=True)
def accumulate_products(count, mean, products, values, alive):
    """As `accumulate`, with `products` (K, K): the sums of products of deviations of all pairs of columns."""
    columns = mean.size
    for i in numba.prange(columns):
        seen = count[0]
        centre = mean.copy()
        for row in range(values.shape[0]):
            if not alive[row]:
                continue
            seen += 1
            weight = 1.0 / seen
            deviation = np.float64(values[row, i]) - centre[i]
            for j in range(columns):
                value = np.float64(values[row, j])
                centre[j] += (value - centre[j]) * weight
                products[i, j] += deviation * (value - centre[j])
    seen = count[0]
    for row in range(values.shape[0]):
        if alive[row]:
            seen += 1
            for j in range(columns):
                mean[j] += (np.float64(values[row, j]) - mean[j]) / seen
    count[0] = seen
