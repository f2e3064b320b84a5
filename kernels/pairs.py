"""The sum over pairs of neurons in R_2, pair by pair: cheaper than Gram matrices of samples where neurons are few.

With the legend of `closed_form`, and K = hᵀ h, B = bᵀ b, M^d = (h1 ∘ x_d)ᵀ h, all (m, m),

    n² Σ_jk |β_jk|² = s² Σ_jk bb_k K_jk² + Σ_jk B_jk² Σ_d (M^d_jk)²

takes O(n m² D) operations, against O(n² m c²) by the Gram matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .closed_form import _Groups

Array = NDArray[np.floating]

#: numbers in the largest temporary array of one network
CHUNK = 1 << 20


def cheaper(net: _Groups) -> bool:
    """Whether this form takes fewer operations than the Gram matrices of the samples in each group."""
    samples, width = net.h.shape[-2:]
    outputs = net.b.shape[-2]
    return 2 * net.x.shape[-1] * width < samples * outputs * (outputs + 1)


def square(net: _Groups, weight: Array) -> Array:
    """n² Σ_G Σ_jk |β^G_jk|², k = j included, (...); `weight` times its partial derivatives go to net.bar."""
    h, h1, b, bar = net.h, net.h1, net.b, net.bar
    width = h.shape[-1]
    bb = net.bb * net.scale**2  # (..., 1, 1, m)
    k = h.swapaxes(-1, -2) @ h  # (..., G, m, m)
    products = b.swapaxes(-1, -2) @ b  # B: (..., 1, m, m)
    squares = np.square(products)
    turns = np.zeros_like(k)  # Σ_d (M^d)²
    if bar is not None:
        by_k = (2 * weight) * bb * k
        bar.h += h @ (by_k + by_k.swapaxes(-1, -2))
    for x in _columns(net.x, width):
        sloped = (x[..., :, None] * h1[..., None, :]).reshape(*h.shape[:-1], -1)  # (..., G, n/G, d m)
        m = (sloped.swapaxes(-1, -2) @ h).reshape(*h.shape[:-2], -1, width, width)  # (..., G, d, m, m)
        turns += np.square(m).sum(axis=-3)
        if bar is not None:
            by_m = ((2 * weight * squares)[..., None, :, :] * m).reshape(*h.shape[:-2], -1, width)  # (..., G, d m, m)
            bar.h += sloped @ by_m
            by_sloped = (h @ by_m.swapaxes(-1, -2)).reshape(*h.shape[:-1], -1, width)
            bar.h1 += np.einsum("...d,...dm->...m", x, by_sloped)
    if bar is not None:
        by_products = (2 * weight) * products * turns
        by_b = 2 * net.scale**2 * b * (weight * np.square(k)).sum(axis=-2, keepdims=True)
        bar.b += (by_b + b @ (by_products + by_products.swapaxes(-1, -2))).sum(axis=-3)
    value: Array = (bb * np.square(k) + squares * turns).sum(axis=(-1, -2, -3))
    return value


def _columns(x: Array, width: int) -> Iterator[Array]:
    """The columns of x (..., n, D), so many at a time that products with `width` neurons stay in the cache."""
    count = max(1, CHUNK // (x.shape[-2] * width))
    for first in range(0, x.shape[-1], count):
        yield x[..., first : first + count]
