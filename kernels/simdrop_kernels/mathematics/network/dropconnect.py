"""DropConnect's mean gradient and loss, exactly, by the 2^D masks of the input weights of one neuron.

Legend as in `network.expected`; κ is the mask of a neuron's D input weights divided by the probability q to keep one,
π_κ its probability. Under it h_ij(κ) = σ((κ∘w_j)·x_i), u_ioj = b_oj h_ij(κ), and the gradient of u_ioj by w_j is
b_oj h1_ij(κ) κ∘x_i. Neurons are independent, and each carries its dropout factor of mean 1 and second moment
1 + v together with κ; with h̄ = E h(κ) and f̄_io = Σ_j b_oj h̄_ij

    E G_j = (1/n) Σ_io (f̄_io - y_io - b_oj h̄_ij) E g_ioj(κ) + (1 + v) E u_ioj(κ) g_ioj(κ)
    E R   = (1/2n) Σ_io [(f̄_io - y_io)² + Σ_j b_oj² ((1 + v) E h_ij(κ)² - h̄_ij²)]

and E G = ∇ E R. The cost is that of 2^(D + 1) gradients; E G's derivative along a direction costs twice that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...contract.layout import join, split
from ..activations.table import find

Array = NDArray[Any]  # of theta's dtype throughout

#: the most input weights of a neuron, the bias's included, whose 2^D masks are summed over
MAX_INPUTS = 12


def atoms(inputs: int, connect: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The masks of `inputs` weights divided by `dropconnect`, (2^D, D), and their probabilities (2^D,)."""
    bits = np.arange(1 << inputs)[:, None] >> np.arange(inputs) & 1
    return bits / connect, np.prod(np.where(bits == 1, connect, 1 - connect), axis=1)


def mean_gradient(
    x: Array,
    y: Array,
    theta: Array,
    *,
    activation: str,
    keep_prob: ArrayLike,
    output_scale: float,
    connect: float,
) -> Array:
    """E G (..., P) at theta (..., P) over DropConnect and dropout masks, in theta's dtype.

    x (n, D) or (..., n, D); y (n, c) or (..., n, c); keep_prob a number or (...).
    """
    scale = theta.dtype.type(output_scale)
    a, w = split(theta, y.shape[-1], x.shape[-1])
    b = scale * a
    second = (1 / np.asarray(keep_prob)).astype(theta.dtype)[..., None, None]  # 1 + v
    mean, square = _moments(x, w, activation, connect)
    e = mean @ b.swapaxes(-1, -2) - y  # (..., n, c)
    bb = np.square(b).sum(axis=-2, keepdims=True)
    by_a = e.swapaxes(-1, -2) @ mean + b * (second * square - np.square(mean)).sum(axis=-2, keepdims=True)
    others = e @ b - bb * mean  # (..., n, m)
    by_w = np.zeros_like(w)
    for kept, weight in _weighted(x, theta, connect):
        h, h1 = find(activation).derivatives(x @ (w * kept).swapaxes(-1, -2), 1)
        by_z = (others + second * bb * h) * h1
        by_w += weight * kept * (by_z.swapaxes(-1, -2) @ x)
    samples = theta.dtype.type(x.shape[-2])
    return join(scale * by_a / samples, by_w / samples)


def mean_gradient_along(
    x: Array,
    y: Array,
    theta: Array,
    direction: Array,
    *,
    activation: str,
    keep_prob: ArrayLike,
    output_scale: float,
    connect: float,
) -> Array:
    """The derivative (..., P) of E G at theta (..., P) along `direction` (..., P), the Hessian of E R times it.

    The other arguments are those of `mean_gradient`.
    """
    scale, samples = theta.dtype.type(output_scale), theta.dtype.type(x.shape[-2])
    (a, w), (da, dw) = (split(v, y.shape[-1], x.shape[-1]) for v in (theta, direction))
    b, db = scale * a, scale * da
    second = (1 / np.asarray(keep_prob)).astype(theta.dtype)[..., None, None]
    mean, square = _moments(x, w, activation, connect)
    dmean, dsquare = np.zeros_like(mean), np.zeros_like(mean)
    for kept, weight in _weighted(x, theta, connect):
        h, h1 = find(activation).derivatives(x @ (w * kept).swapaxes(-1, -2), 1)
        dh = h1 * (x @ (dw * kept).swapaxes(-1, -2))
        dmean += weight * dh
        dsquare += weight * 2 * h * dh
    e = mean @ b.swapaxes(-1, -2) - y
    de = dmean @ b.swapaxes(-1, -2) + mean @ db.swapaxes(-1, -2)
    by_a = de.swapaxes(-1, -2) @ mean + e.swapaxes(-1, -2) @ dmean
    by_a += db * (second * square - np.square(mean)).sum(axis=-2, keepdims=True)
    by_a += b * (second * dsquare - 2 * mean * dmean).sum(axis=-2, keepdims=True)
    bb, dbb = np.square(b).sum(axis=-2, keepdims=True), 2 * (b * db).sum(axis=-2, keepdims=True)
    others, dothers = e @ b - bb * mean, de @ b + e @ db - dbb * mean - bb * dmean
    by_w = np.zeros_like(w)
    for kept, weight in _weighted(x, theta, connect):
        h, h1, h2 = find(activation).derivatives(x @ (w * kept).swapaxes(-1, -2), 2)
        dz = x @ (dw * kept).swapaxes(-1, -2)
        by_h, dby_h = others + second * bb * h, dothers + second * (dbb * h + bb * h1 * dz)
        by_z = dby_h * h1 + by_h * h2 * dz
        by_w += weight * kept * (by_z.swapaxes(-1, -2) @ x)
    return join(scale * by_a / samples, by_w / samples)


def mean_loss(
    x: Array,
    y: Array,
    theta: Array,
    *,
    activation: str,
    keep_prob: ArrayLike,
    output_scale: float,
    connect: float,
) -> Array:
    """E R (...) at theta (..., P); arguments as for `mean_gradient`."""
    a, w = split(theta, y.shape[-1], x.shape[-1])
    b = theta.dtype.type(output_scale) * a
    mean, square = _moments(x, w, activation, connect)
    e = mean @ b.swapaxes(-1, -2) - y
    spread = np.square(b).sum(axis=-2, keepdims=True) * (
        square / np.asarray(keep_prob, dtype=theta.dtype)[..., None, None] - np.square(mean)
    )
    loss: Array = (np.square(e).sum(axis=(-1, -2)) + spread.sum(axis=(-1, -2))) / (2 * x.shape[-2])
    return loss


def _moments(x: Array, w: Array, activation: str, connect: float) -> tuple[Array, Array]:
    """E h(κ) and E h(κ)², each (..., n, m), for w (..., m, D)."""
    mean = np.zeros((*w.shape[:-2], x.shape[-2], w.shape[-2]), dtype=w.dtype)
    square = np.zeros_like(mean)
    for kept, weight in _weighted(x, w, connect):
        h = find(activation).value(x @ (w * kept).swapaxes(-1, -2))
        mean += weight * h
        square += weight * np.square(h)
    return mean, square


def _weighted(x: Array, like: Array, connect: float) -> Iterator[tuple[Array, Any]]:
    """Masks κ (D,) and probabilities, in the dtype of `like`."""
    kept, weights = atoms(x.shape[-1], connect)
    yield from zip(kept.astype(like.dtype), weights.astype(like.dtype), strict=True)
