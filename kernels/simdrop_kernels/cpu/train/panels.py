"""The part of kernel `tiled` where most neurons are kept: BLAS on panels of neurons that follow each other.

A panel multiplies its rows of the weights where they lie, dropped neurons among them, whose values and slopes are then
set to 0; and BLAS adds the gradient to the weights, or to the whole gradient, itself. So weights are neither gathered
nor is their gradient a matrix of its own, at the price of the products of dropped neurons: `taken` says where that
pays.

Legend of one panel of T neurons, B samples: w (T, D), a (c, T) views of the weights; h, s, back (T, B), a row for each
neuron; otherwise that of `tiled`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...mathematics.activations.base import Scalars
from ..blas import gemm
from ..compile import inner, leaf
from ..draws import TILE, draw_tile

#: neurons of a panel: BLAS brings the inputs in order once for each, and threads share panels out
PANEL = 4 * TILE
#: What gathering a neuron's weights and changing them takes, in samples of which the products take as long: an eighth
#: of the inputs, at most 48. Small networks' weights stay in the cache. See "Wide inputs" in bench/README.md.
_PART, _MOST = 1 / 8, 48.0


@leaf
def taken(threshold, samples, inputs):
    """Whether a member with step masks trains by panels: where tiles of the kept neurons would compute and move more.

    `threshold` is that of the kept words, so that p is known; samples: those of a step.
    """
    keep_prob = (np.float64(threshold) + 1) / 2.0**32
    return keep_prob * (samples + min(_PART * inputs, _MOST)) >= samples


@leaf
def mark(dropped, kept, count):
    """Set dropped (m,) to whether a neuron is not among the first `count` of `kept`."""
    dropped[:] = True
    for k in range(count):
        dropped[kept[k]] = False


@leaf
def multiply_factors(h, s, factors):
    """Multiply h and s (T', B) by the factors (B, 4 · blocks) that `draw_tile` fills; T' may end within a block."""
    blocks = factors.shape[1] // 4
    for j in range(h.shape[0]):
        hj, sj, column = h[j], s[j], j % 4 * blocks + j // 4
        for i in range(hj.size):
            factor = factors[i, column]
            hj[i] *= factor
            sj[i] *= factor


@leaf
def add_penalty(back, h, a, into, alpha, penalty):
    """Add to ∂R/∂z and to `into` (c, T), times alpha, what R_1 does: v u_ij to the residual that neuron j sees."""
    for j in range(h.shape[0]):
        hj, bj = h[j], back[j]
        size, squares = 0 * penalty, 0 * penalty
        for o in range(a.shape[0]):
            size += a[o, j] * a[o, j]
        for i in range(hj.size):
            bj[i] += penalty * size * hj[i]
            squares += hj[i] * hj[i]
        for o in range(a.shape[0]):
            into[o, j] += alpha * penalty * a[o, j] * squares


@inner
def rows(flat, first, last, samples):
    """The rows (T, B) of the neurons from `first` to before `last`, of a room (tiles, B · TILE) for all of them."""
    return flat.reshape(-1)[first * samples : last * samples].reshape(last - first, samples)


def make_activate(act: Scalars) -> Any:
    """`activate(h, s)`: turn h into values and s into slopes, matrices of any one shape."""
    value, slope = act.value, act.slope

    @leaf
    def activate(h, s):
        values, slopes = h.reshape(-1), s.reshape(-1)
        for k in range(values.size):
            z = values[k]
            values[k] = value(z)
            slopes[k] = slope(z, values[k])

    return activate


@leaf
def draw(h, s, factors, words, lanes, first, width, mask):
    """Multiply h and s of the panel that starts at `first` by the factors of sample masks."""
    size, samples = h.shape
    if not mask.drawn:
        if mask.factor != 1:  # p so near to 1 that none is dropped
            h *= mask.factor
            s *= mask.factor
        return
    for start in range(0, size, TILE):
        tile, padded = (first + start) // TILE, (min(TILE, size - start) + 3) // 4 * 4
        drawn = factors[tile][: samples * padded].reshape(samples, padded)
        draw_tile(drawn, words[tile], lanes, first + start, width, mask)
        multiply_factors(h[start : start + TILE], s[start : start + TILE], drawn)


@leaf
def drop(matrix, dropped):
    """Set the rows of the dropped neurons to 0. Not a product: what is infinite goes as well."""
    for j in range(dropped.size):
        if dropped[j]:
            matrix[j, :] = 0


@leaf
def backward(h, s, back, x, e, a, into_a, into_w, dropped, alpha, penalty):
    """Add alpha times the gradient of one panel to its parts into_a (c, T) and into_w (T, D)."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    gemm(back, one, a, True, e, True, zero)
    if penalty != 0:
        add_penalty(back, h, a, into_a, alpha, penalty)
    products, slopes = back.reshape(-1), s.reshape(-1)
    for k in range(products.size):
        products[k] *= slopes[k]
    drop(back, dropped)
    gemm(into_a, alpha, e, True, h, True, one)
    gemm(into_w, alpha, back, False, x, False, one)
