"""The sum over pairs of neurons in R_2, pair by pair: cheaper than Gram matrices of samples where neurons are few.

With the legend of `network.expected`, and K = hᵀ h, B = bᵀ b, M^d = (h1 ∘ x_d)ᵀ h, all (m, m),

    n² Σ_jk |β_jk|² = s² Σ_jk bb_k K_jk² + Σ_jk B_jk² Σ_d (M^d_jk)²

takes O(n m² D) operations, against O(n² m c²) by the Gram matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .forward import Adjoint, Array, ForwardPass

#: numbers in the largest temporary array of one network
CHUNK = 1 << 20


def cheaper(net: Groups) -> bool:
    """Whether this form takes fewer operations than the Gram matrices of the samples in each group."""
    samples, width = net.h.shape[-2:]
    outputs = net.b.shape[-2]
    return 2 * net.x.shape[-1] * width < samples * outputs * (outputs + 1)


def square_by_pairs(net: Groups, weight: Array) -> Array:
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
    """The columns of x (..., n, D), as many at a time as keep products with `width` neurons in the cache."""
    count = max(1, CHUNK // (x.shape[-2] * width))
    for first in range(0, x.shape[-1], count):
        yield x[..., first : first + count]


@dataclass(slots=True)
class Groups:
    """A network and its adjoint (views of the same memory) with the samples in groups of one mask each.

    x (..., G, n/G, D); h, h1 (..., G, n/G, m); e (..., G, n/G, c); x_gram (..., G, n/G, n/G); b (..., 1, c, m);
    bb (..., 1, 1, m).
    """

    x: Array
    h: Array
    h1: Array
    e: Array
    x_gram: Array
    b: Array
    bb: Array
    scale: np.floating
    bar: Adjoint | None

    @classmethod
    def of(cls, net: ForwardPass, groups: int, bar: Adjoint | None, train: str) -> Groups:
        """The samples of `net` in that number of groups, with `bar` in the same shapes."""
        # The inputs stand here for gradients by w alone, the scale for those by a: 0 leaves either out.
        x = grouped(net.x if train != "output" else np.zeros_like(net.x), groups)
        scale = net.scale if train != "input" else net.scale * 0
        if bar is not None:
            # b's adjoint keeps its own shape: groups are summed into it.
            bar = Adjoint(grouped(bar.h, groups), grouped(bar.h1, groups), grouped(bar.e, groups), bar.b)
        return cls(
            x,
            grouped(net.h, groups),
            grouped(net.h1, groups),
            grouped(net.e, groups),
            _gram(x, x),
            net.b[..., None, :, :],
            net.bb[..., None, :, :],
            scale,
            bar,
        )


def grouped(array: Array, groups: int) -> Array:
    """(..., n, k) as a view (..., groups, n / groups, k)."""
    view: Array = array.reshape(*array.shape[:-2], groups, -1, array.shape[-1])
    return view


def _gram(left: Array, right: Array) -> Array:
    """The products left rightᵀ within each group: (..., G, i, k), (..., G, i, k) -> (..., G, i, i)."""
    # For groups of one sample matmul would call BLAS once for each number.
    single = left.shape[-2] == 1
    gram: Array = (left * right).sum(axis=-1, keepdims=True) if single else left @ right.swapaxes(-1, -2)
    return gram


def _mix(matrix: Array, array: Array) -> Array:
    """The products matrix @ array within each group: (..., G, i, i), (..., G, i, k) -> (..., G, i, k)."""
    return matrix * array if matrix.shape[-1] == 1 else matrix @ array


def _total(array: Array) -> Array:
    """Sum over groups, samples and neurons: (..., G, i, j) -> (...)."""
    total: Array = array.sum(axis=(-1, -2, -3))
    return total


def mean_square(net: Groups, v: Array, weight: Array) -> Array:
    """n² Σ_G |ḡ^G|² (...); `weight` times its partial derivatives go to net.bar."""
    h, h1, e, b, s, bar = net.h, net.h1, net.e, net.b, net.scale, net.bar
    size = np.square(h).sum(axis=-2, keepdims=True)  # (..., G, 1, m)
    through_a = s * (e.swapaxes(-1, -2) @ h + v * b * size)  # (..., G, c, m)
    c = e @ b + v * net.bb * h  # (..., G, n/G, m)
    by_z = c * h1
    x_by_z = _mix(net.x_gram, by_z)
    value = _total(np.square(through_a)) + _total(by_z * x_by_z)
    if bar is not None:
        p = (2 * weight * s) * through_a
        x_by_z *= 2 * weight
        c_bar = x_by_z * h1
        bar.e += h @ p.swapaxes(-1, -2) + c_bar @ b.swapaxes(-1, -2)
        bar.h += e @ p + (2 * v * (b * p).sum(axis=-2, keepdims=True)) * h + (v * net.bb) * c_bar
        bar.h1 += x_by_z * c
        bb_bar = v * (h * c_bar).sum(axis=-2, keepdims=True)
        bar.b += (v * size * p + e.swapaxes(-1, -2) @ c_bar + 2 * bb_bar * b).sum(axis=-3)
    return value


def diagonal_square(net: Groups, weight: Array) -> Array:
    """n² Σ_G Σ_j |β^G_jj|² (...); MINUS `weight` times its partial derivatives go to net.bar."""
    h, h1, bb, s, bar = net.h, net.h1, net.bb, net.scale, net.bar
    size = np.square(h).sum(axis=-2, keepdims=True)
    slope = h * h1
    x_slope = _mix(net.x_gram, slope)
    turn = (slope * x_slope).sum(axis=-2, keepdims=True)  # |Σ_i h_ij h1_ij x_i|²
    value = _total(bb * (s * size) ** 2 + bb * bb * turn)
    if bar is not None:
        x_slope *= 2 * weight * bb * bb
        bar.h -= (4 * weight * s * s * bb * size) * h + x_slope * h1
        bar.h1 -= x_slope * h
        bar.b -= (2 * weight * ((s * size) ** 2 + 2 * bb * turn) * net.b).sum(axis=-3)
    return value


def pair_square(net: Groups, weight: Array) -> Array:
    """n² Σ_G Σ_jk |β^G_jk|², k = j included, (...); `weight` times its partial derivatives go to net.bar."""
    if cheaper(net):
        return square_by_pairs(net, weight)
    h, h1, b, bar = net.h, net.h1, net.b, net.bar
    outputs = b.shape[-2]
    kernel = (net.scale * net.scale) * _gram(h, h)  # s² K: (..., G, n/G, n/G)
    feature = np.zeros_like(kernel)  # F
    value = np.zeros(h.shape[:-3], dtype=h.dtype)
    for o in range(outputs):
        for q in range(o + 1):
            times = 1 if o == q else 2  # (o, q) and (q, o) give the same
            pair = b[..., o : o + 1, :] * b[..., q : q + 1, :]  # (..., 1, 1, m)
            u = _gram(h * pair, h)
            by_u = times * net.x_gram * _gram(h1 * pair, h1)
            if o == q:
                feature += u
                by_u += kernel
            value += _total(u * by_u)
            if bar is not None:
                from_u = _mix(weight * by_u, h)
                from_v = _mix(times * weight * net.x_gram * u, h1)
                pair_bar = (h * from_u + h1 * from_v).sum(axis=-2, keepdims=True)
                bar.h += 2 * pair * from_u
                bar.h1 += 2 * pair * from_v
                bar.b[..., o : o + 1, :] += (pair_bar * b[..., q : q + 1, :]).sum(axis=-3)
                bar.b[..., q : q + 1, :] += (pair_bar * b[..., o : o + 1, :]).sum(axis=-3)
    if bar is not None:
        bar.h += 2 * (net.scale * net.scale) * _mix(weight * feature, h)
    return value
