"""Streaming statistics over members (Welford), compiled: one pass, no temporaries.

Every entry follows its own recursion over the members in their order, so that the results have the same
bits for any block size and any number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

#: columns whose recursions run side by side: one tile of means and sums stays in the first-level cache
TILE = 512
#: numbers below which starting threads costs more than they save, many times so on a busy machine
SMALL = 1 << 18


def accumulate(count, mean, m2, values, alive):
    """Add the rows of `values` (B, K) where `alive` (B,) to running moments, in place.

    count (1,) int64; mean (K,) float64; m2 (K,) float64, the sum of squared deviations, or (0,) to leave
    it out.
    """
    add = _accumulate_small if values.size < SMALL else _accumulate_large
    add(count, mean, m2, values, alive)


@numba.njit(cache=True, error_model="numpy")
def _accumulate_small(count, mean, m2, values, alive):
    for first in range(0, mean.size, TILE):
        _accumulate_tile(count, mean, m2, values, alive, first)
    count[0] += alive.sum()


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _accumulate_large(count, mean, m2, values, alive):
    for tile in numba.prange((mean.size + TILE - 1) // TILE):
        _accumulate_tile(count, mean, m2, values, alive, tile * TILE)
    count[0] += alive.sum()


@numba.njit(cache=True, error_model="numpy")
def _accumulate_tile(count, mean, m2, values, alive, first):
    """The recursions of columns first, ..., first + TILE - 1."""
    last = min(first + TILE, mean.size)
    squares = m2.size > 0
    seen = count[0]
    for row in range(values.shape[0]):
        if not alive[row]:
            continue
        seen += 1
        weight = 1.0 / seen
        if squares:
            for k in range(first, last):
                value = np.float64(values[row, k])
                before = value - mean[k]
                mean[k] += before * weight
                m2[k] += before * (value - mean[k])
        else:
            for k in range(first, last):
                mean[k] += (np.float64(values[row, k]) - mean[k]) * weight


@numba.njit(cache=True, parallel=True, error_model="numpy")
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
