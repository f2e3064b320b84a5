"""Products of matrices in compiled kernels: in loops where they are small, by BLAS where they are not.

A call of BLAS costs half a microsecond before the first multiplication; a network of five neurons takes five calls a
step, each of a few dozen.
"""

from __future__ import annotations

import numpy as np

from .compile import inner, leaf

#: Multiplications up to which loops run. Measured on a Xeon with AVX-512, float64, OpenBLAS: at 256 loops take half the
#: time, from 512 to 1600 0.9 to 1.2 times that of BLAS, at 2048 3.6 times where the inner sums are of two numbers.
SMALL = 512


@inner
def _large(left, right, out):
    np.dot(left, right, out)


@leaf
def by_rows(left, right, out):
    """out (n, k) = left (n, l) rightᵀ (l, k): products of rows."""
    if left.size * right.shape[0] > SMALL:
        _large(left, right.T, out)
        return
    for i in range(left.shape[0]):
        for j in range(right.shape[0]):
            total = 0 * left[i, 0]
            for d in range(left.shape[1]):
                total += left[i, d] * right[j, d]
            out[i, j] = total


@leaf
def by_columns(left, right, out):
    """out (l, k) = leftᵀ (l, n) right (n, k): sums of rows of `right`, weighted by the columns of `left`."""
    if left.size * right.shape[1] > SMALL:
        _large(left.T, right, out)
        return
    out[:, :] = 0
    for i in range(left.shape[0]):
        for o in range(left.shape[1]):
            weight = left[i, o]
            for j in range(right.shape[1]):
                out[o, j] += weight * right[i, j]


@leaf
def multiply(left, right, out):
    """out (n, k) = left (n, l) right (l, k)."""
    if left.size * right.shape[1] > SMALL:
        _large(left, right, out)
        return
    out[:, :] = 0
    for i in range(left.shape[0]):
        for o in range(left.shape[1]):
            weight = left[i, o]
            for j in range(right.shape[1]):
                out[i, j] += weight * right[o, j]
