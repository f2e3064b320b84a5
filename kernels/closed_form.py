"""Expectations over all masks in closed form: R_S, R_1, R_2 and their gradients.

Legend (papers' symbols on the right where they differ)

    x (n, D)        inputs, the constant one of the bias included
    b (c, m)        output weights times the output scale s, so that f(x_i) = Σ_j b_j h_ij
    h, h1, h2, h3   (n, m) the activation σ and its derivatives at z_ij = w_j·x_i
    e (n, c)        residuals f(x_i) - y_i
    bb (m,)         Σ_o b_oj²
    v               (1 - p)/p, variance of the dropout factor 1 + η of a neuron   (η_j: kept 1/p - 1 = v, dropped -1)
    g_ioj           gradient of f_o's part u_ioj = b_oj h_ij by the parameters of neuron j:
                    s h_ij for a_oj, and b_oj h1_ij x_i for w_j

R_S and R_1. Under one mask the residual of sample i is r_i = e_i + Σ_k η_k u_ik, and R_drop = (1/2n) Σ_i |r_i|².
As E η_k = 0 and E η_k η_l = v [k = l],

    E R_drop = R_S + R_1,   R_S = (1/2n) Σ_i |e_i|²,   R_1 = (v/2n) Σ_ij bb_j h_ij²        (arXiv:2207.05952, lemma 1)

The mean gradient. The block of neuron j in ∇R_drop is (1/n) (1 + η_j) Σ_io r_io g_ioj. A dropped neuron
has no gradient, and in a kept one η_j is the constant v; so η_j may be replaced by v wherever 1 + η_j multiplies it:

    G_j = (1 + η_j) (ḡ_j + Σ_{k≠j} η_k β_jk),   β_jk = (1/n) Σ_io u_iok g_ioj,   ḡ_j = (1/n) Σ_io e_io g_ioj + v β_jj

Its mean is ḡ = ∇(R_S + R_1).

The second moment and R_2 = (lr/4) E|∇R_drop|² (lemma 2). In |G_j|² the factor (1 + η_j)², of mean 1/p, is independent
of all η_k with k ≠ j, hence, for one mask of all samples,

    E|G|² = (1/p) (|ḡ|² + v Σ_{j≠k} |β_jk|²) = |ḡ|² + v (|ḡ|² + (1/p) Σ_{j≠k} |β_jk|²)

where the last term is the trace of the covariance. If the samples fall into groups with a mask each, the gradient is a
sum of independent ones, whose covariances add:

    E|G|² = |ḡ|² + v Σ_G (|ḡ^G|² + (1/p) Σ_{j≠k} |β^G_jk|²)

with ḡ^G and β^G the sums over the samples of group G alone (1/n unchanged). Step masks are one group of n samples,
sample masks n groups of one: one formula serves both.

Never a pair of neurons. Σ_jk |β_jk|² is an inner product of Gram matrices of the samples, O(n² c² m):

    n² Σ_jk |β_jk|² = s² ⟨F, K⟩ + Σ_oo' ⟨X ∘ U^oo', V^oo'⟩,     K = h hᵀ, X = x xᵀ, F = Σ_o U^oo,
                      U^oo' = Σ_k b_ok b_o'k h_k h_kᵀ,   V^oo' = Σ_k b_ok b_o'k h1_k h1_kᵀ

and D enters through X alone; where neurons are few, `pairs` sums over their pairs after all. The gradient of R_2 comes
by the chain rule backwards through these few products: first by h, h1, e and b as if they were independent (`Adjoint`),
then by theta through h = σ(z), h1 = σ'(z), e = h bᵀ - y.

Arrays carry leading axes "..." for members, and h, h1, e, x a group axis before (samples, neurons): (..., G, n/G, m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import pairs
from .activations import ACTIVATIONS
from .spec import join, split

Array = NDArray[Any]  # of theta's dtype throughout


def gradient(
    objective: str,
    x: Array,
    y: Array,
    theta: Array,
    *,
    activation: str,
    keep_prob: ArrayLike,
    output_scale: float,
    mask: str,
    lr: ArrayLike,
    train: str = "both",
) -> Array:
    """Gradient (..., P), in theta's dtype, at theta (..., P) of a sum of "risk", "r1" and "r2", such as "risk+r1".

    x (n, D) or (..., n, D); y (n, c) or (..., n, c); keep_prob and lr numbers or (...). `train` tells which components
    of ∇R_drop count in R_2; the gradient has all components.
    """
    terms = objective.split("+")
    net = Network.at(x, y, theta, activation, output_scale, order=2 if "r2" in terms else 1)
    total = np.zeros_like(theta)
    if "risk" in terms or "r1" in terms:
        v = net.column(1 / np.asarray(keep_prob) - 1) if "r1" in terms else 0.0
        total = net.mean_gradient(net.e if "risk" in terms else np.zeros_like(net.e), v)
    if "r2" in terms:
        adjoint = Adjoint.zeros_like(net)
        _second_moment(net, net.column(keep_prob), mask, adjoint, weight=net.column(np.asarray(lr) / 4), train=train)
        total += net.pull_back(adjoint)
    return total


def losses(
    x: Array, y: Array, theta: Array, *, activation: str, keep_prob: ArrayLike, output_scale: float
) -> tuple[Array, Array]:
    """R_S and R_1, each (...), at theta (..., P)."""
    net = Network.at(x, y, theta, activation, output_scale, order=0)
    samples = net.e.shape[-2]
    risk = np.square(net.e).sum(axis=(-1, -2)) / (2 * samples)
    spread = (net.bb * np.square(net.h)).sum(axis=(-1, -2)) / (2 * samples)
    return risk, (1 / np.asarray(keep_prob) - 1).astype(theta.dtype) * spread


def second_moment(
    x: Array,
    y: Array,
    theta: Array,
    *,
    activation: str,
    keep_prob: ArrayLike,
    output_scale: float,
    mask: str,
    train: str = "both",
) -> Array:
    """E|∇R_drop|² (...) over all masks at theta (..., P), of the trained components; R_2 is lr/4 of it."""
    net = Network.at(x, y, theta, activation, output_scale, order=1)
    return _second_moment(net, net.column(keep_prob), mask, None, train=train)


@dataclass(slots=True)
class Network:
    """The forward values at theta (..., P): shapes in the legend, each behind the leading axes; bb is (..., 1, m)."""

    x: Array
    e: Array
    b: Array
    bb: Array
    h: Array
    h1: Array
    h2: Array
    h3: Array
    scale: np.floating

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
    ) -> Network:
        """Derivatives of the activation up to `order`; those beyond are empty.

        Dropout factors 1 + η (m,) or (..., n, m) multiply the activation: under one mask R_S is then R_drop.
        """
        scale = theta.dtype.type(output_scale)
        a, w = split(theta, y.shape[-1], x.shape[-1])
        found = ACTIVATIONS[activation].derivatives(x @ w.swapaxes(-1, -2), order)
        if factor is not None:
            found = tuple(factor * derivative for derivative in found)
        h, h1, h2, h3 = found + (np.empty(0, dtype=theta.dtype),) * (3 - order)
        b = scale * a
        return cls(x, h @ b.swapaxes(-1, -2) - y, b, np.square(b).sum(axis=-2, keepdims=True), h, h1, h2, h3, scale)

    def column(self, value: ArrayLike) -> Array:
        """A number for each member, () or (...), as (..., 1, 1) in theta's dtype."""
        return np.asarray(value, dtype=self.b.dtype)[..., None, None]

    def by_h(self, e: Array, v: Array | float) -> Array:
        """The derivative n ∂(R_S + R_1)/∂h_ij, (..., n, m), for residuals e."""
        by_h: Array = e @ self.b + (v * self.bb) * self.h
        return by_h

    def mean_gradient(self, e: Array, v: Array | float) -> Array:
        """ḡ = ∇(R_S + R_1), (..., P), for residuals e; zeros in their place leave ∇R_1, and v = 0 leaves ∇R_S."""
        samples = self.e.shape[-2]
        size = np.square(self.h).sum(axis=-2, keepdims=True)
        through_a = e.swapaxes(-1, -2) @ self.h + v * self.b * size
        through_w = (self.by_h(e, v) * self.h1).swapaxes(-1, -2) @ self.x
        return join(self.scale / samples * through_a, through_w / samples)

    def mean_gradient_along(self, direction: Array, v: Array | float) -> Array:
        """The derivative of `mean_gradient` along direction (..., P): a product with the Hessian. Needs h2."""
        da, dw = split(direction, self.e.shape[-1], self.x.shape[-1])
        db = self.scale * da
        dz = self.x @ dw.swapaxes(-1, -2)
        dh = self.h1 * dz
        de = dh @ self.b.swapaxes(-1, -2) + self.h @ db.swapaxes(-1, -2)
        size = np.square(self.h).sum(axis=-2, keepdims=True)
        dsize = 2 * (self.h * dh).sum(axis=-2, keepdims=True)
        by_a = de.swapaxes(-1, -2) @ self.h + self.e.swapaxes(-1, -2) @ dh + v * (db * size + self.b * dsize)
        dbb = 2 * (self.b * db).sum(axis=-2, keepdims=True)
        by_h = de @ self.b + self.e @ db + v * (dbb * self.h + self.bb * dh)
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
    def zeros_like(cls, net: Network) -> Adjoint:
        """Nothing summed up yet."""
        return cls(np.zeros_like(net.h), np.zeros_like(net.h), np.zeros_like(net.e), np.zeros_like(net.b))


@dataclass(slots=True)
class _Groups:
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
    def of(cls, net: Network, groups: int, bar: Adjoint | None, train: str) -> _Groups:
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


def _second_moment(
    net: Network, keep_prob: Array, mask: str, bar: Adjoint | None, weight: Array | float = 1.0, train: str = "both"
) -> Array:
    """E|∇R_drop|² (...); `weight` (..., 1, 1) times its partial derivatives are added to `bar`."""
    moment: Array
    samples = net.e.shape[-2]
    v = (1 / keep_prob - 1)[..., None]  # (..., 1, 1, 1), against the group axis
    keep_prob = keep_prob[..., None]
    unit = np.asarray(weight)[..., None] / samples**2
    whole = _Groups.of(net, 1, bar, train)
    if mask == "step":
        moment = _mean_square(whole, v, unit / keep_prob) / keep_prob[..., 0, 0, 0]
        groups = whole
    else:
        groups = _Groups.of(net, samples, bar, train)
        moment = _mean_square(whole, v, unit) + v[..., 0, 0, 0] * _mean_square(groups, v, unit * v)
    ratio = v / keep_prob
    pairs = _pair_square(groups, unit * ratio) - _diagonal_square(groups, unit * ratio)
    moment = (moment + ratio[..., 0, 0, 0] * pairs) / samples**2
    return moment


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


def _mean_square(net: _Groups, v: Array, weight: Array) -> Array:
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


def _diagonal_square(net: _Groups, weight: Array) -> Array:
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


def _pair_square(net: _Groups, weight: Array) -> Array:
    """n² Σ_G Σ_jk |β^G_jk|², k = j included, (...); `weight` times its partial derivatives go to net.bar."""
    if pairs.cheaper(net):
        return pairs.square(net, weight)
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
