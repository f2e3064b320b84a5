"""A network with its derivatives at given parameters, and its gradient under dropout masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...contract.layout import join, split
from ...contract.network import Network
from ..activations.table import find
from ..losses.table import find as find_loss

Array = NDArray[Any]  # of theta's dtype throughout


def _squares(rows: Array) -> Array:
    """Σ over the last axis but one, which stays: (..., 1, m)."""
    squares: Array = np.square(rows).sum(axis=-2, keepdims=True)
    return squares


def _none(v: Array | float) -> bool:
    """Whether a variance is the number 0: what it multiplies is not computed then, half of a small network."""
    return isinstance(v, float) and v == 0


@dataclass(slots=True)
class ForwardPass:
    """The forward values at theta (..., P): shapes in the legend, each behind the leading axes; bb is (..., 1, m)."""

    x: Array
    e: Array
    b: Array
    h: Array
    h1: Array
    h2: Array
    h3: Array
    scale: np.floating
    _bb: Array | None = None

    @classmethod
    def at(
        cls,
        x: Array,
        y: Array,
        theta: Array,
        activation: str,
        output_scale: float,
        order: int,
        factor: Array | None = None,
    ) -> ForwardPass:
        """Derivatives of the activation up to `order`; those beyond are empty.

        Dropout factors 1 + η (m,) or (..., n, m) multiply the activation: under one mask R_S is then R_drop.
        """
        scale = theta.dtype.type(output_scale)
        a, w = split(theta, y.shape[-1], x.shape[-1])
        found = find(activation).derivatives(x @ w.swapaxes(-1, -2), order)
        if factor is not None:
            found = tuple(factor * derivative for derivative in found)
        h, h1, h2, h3 = found + (np.empty(0, dtype=theta.dtype),) * (3 - order)
        b = scale * a
        return cls(x, h @ b.swapaxes(-1, -2) - y, b, h, h1, h2, h3, scale)

    @property
    def bb(self) -> Array:
        """Σ_o b_o² of each neuron."""
        if self._bb is None:
            self._bb = _squares(self.b)
        return self._bb

    def column(self, value: ArrayLike) -> Array:
        """A number for each member, () or (...), as (..., 1, 1) in theta's dtype."""
        return np.asarray(value, dtype=self.b.dtype)[..., None, None]

    def by_h(self, e: Array, v: Array | float) -> Array:
        """The derivative n ∂(R_S + R_1)/∂h_ij, (..., n, m), for residuals e."""
        by_h: Array = e @ self.b
        return by_h if _none(v) else by_h + (v * self.bb) * self.h

    def mean_gradient(self, e: Array, v: Array | float) -> Array:
        """ḡ = ∇(R_S + R_1), (..., P), for residuals e; zeros in their place leave ∇R_1, and v = 0 leaves ∇R_S."""
        samples = self.e.shape[-2]
        through_a = e.swapaxes(-1, -2) @ self.h
        if not _none(v):
            through_a = through_a + v * self.b * _squares(self.h)
        through_w = (self.by_h(e, v) * self.h1).swapaxes(-1, -2) @ self.x
        return join(self.scale / samples * through_a, through_w / samples)

    def mean_gradient_along(self, direction: Array, v: Array | float) -> Array:
        """The derivative of `mean_gradient` along direction (..., P): a product with the Hessian. Needs h2."""
        da, dw = split(direction, self.e.shape[-1], self.x.shape[-1])
        db = self.scale * da
        dz = self.x @ dw.swapaxes(-1, -2)
        dh = self.h1 * dz
        de = dh @ self.b.swapaxes(-1, -2) + self.h @ db.swapaxes(-1, -2)
        by_a = de.swapaxes(-1, -2) @ self.h + self.e.swapaxes(-1, -2) @ dh
        by_h = de @ self.b + self.e @ db
        if not _none(v):
            dsize = 2 * (self.h * dh).sum(axis=-2, keepdims=True)
            dbb = 2 * (self.b * db).sum(axis=-2, keepdims=True)
            by_a = by_a + v * (db * _squares(self.h) + self.b * dsize)
            by_h = by_h + v * (dbb * self.h + self.bb * dh)
        by_z = by_h * self.h1 + self.by_h(self.e, v) * self.h2 * dz
        return join(self.scale * by_a, by_z.swapaxes(-1, -2) @ self.x) / self.e.shape[-2]

    def pull(self, y: Array) -> Array:
        """(1/n) Σ_io g_ioj y_ioj (..., P): the gradient where each neuron has residuals y (..., n, c, m) of its own."""
        samples = self.e.shape[-2]
        through_a = (self.h[..., None, :] * y).sum(axis=-3)
        by_z = (self.b[..., None, :, :] * y).sum(axis=-2) * self.h1
        return join(self.scale * through_a, by_z.swapaxes(-1, -2) @ self.x) / samples

    def pull_back(self, adjoint: Adjoint) -> Array:
        """Gradient (..., P) by theta of the quantity whose partial derivatives `adjoint` holds."""
        by_b = adjoint.b + adjoint.e.swapaxes(-1, -2) @ self.h
        by_h = adjoint.h + adjoint.e @ self.b
        by_z = by_h * self.h1 + adjoint.h1 * self.h2
        if adjoint.h2 is not None:
            by_z += adjoint.h2 * self.h3
        return join(self.scale * by_b, by_z.swapaxes(-1, -2) @ self.x)


@dataclass(slots=True)
class Adjoint:
    """Partial derivatives of a quantity by h, h1, e, b (and h2), taken as independent; summed up in place."""

    h: Array
    h1: Array
    e: Array
    b: Array
    h2: Array | None = None

    @classmethod
    def zeros_like(cls, net: ForwardPass) -> Adjoint:
        """Nothing summed up yet."""
        return cls(np.zeros_like(net.h), np.zeros_like(net.h), np.zeros_like(net.e), np.zeros_like(net.b))


def dropout_gradient(
    network: Network,
    x: Array,
    y: Array,
    theta: Array,
    factor: Array,
    kept: Array | None = None,
    backward: Array | None = None,
) -> Array:
    """Gradient (M, P) of R_drop at theta (M, P) under factors s (M, 1 or B, m).

    kept (M, m, D): factors of the input weights, None where all are 1. backward (M, 1 or B, m): factors that multiply
    the gradient of each neuron in the place of s, which then act in the residuals alone; None where they are s.
    """
    real = theta.dtype.type
    activation = find(network.activation)
    samples = x.shape[-2]
    a, w = split(theta, y.shape[-1], x.shape[-1])  # (M, c, m), (M, m, D)
    if kept is not None:
        w = w * kept
    z = x @ w.swapaxes(-1, -2)  # (M, B, m)
    if factor.shape[-2] == 1 and backward is None:
        z = np.where(factor == 0, real(0), z)  # what a step mask drops takes no part, however large it is
    value = activation.value(z)
    h = value * factor
    scale = real(network.output_scale)
    e = find_loss(network.loss).residual(scale * (h @ a.swapaxes(-1, -2)), y)  # (M, B, c)
    e = e * (scale / real(samples))
    if backward is not None:
        h, factor = value * backward, backward
    grad_a = e.swapaxes(-1, -2) @ h  # (M, c, m)
    grad_z = (e @ a) * activation.first(z) * factor  # (M, B, m)
    grad_w = grad_z.swapaxes(-1, -2) @ x  # (M, m, D)
    if kept is not None:
        grad_w = grad_w * kept
    return join(grad_a, grad_w)
