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

and D enters through X alone; where neurons are few, `pair_sums` sums over their pairs after all. The gradient of R_2
comes by the chain rule backwards through these few products: first by h, h1, e and b as if they were independent
(`Adjoint`), then by theta through h = σ(z), h1 = σ'(z), e = h bᵀ - y.

Arrays carry leading axes "..." for members, and h, h1, e, x a group axis before (samples, neurons): (..., G, n/G, m).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...contract.layout import trained
from ...contract.network import Network, Train
from .forward import Adjoint, Array, ForwardPass
from .pair_sums import Groups, diagonal_square, mean_square, pair_square


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
    train: Train = "both",
    decay: float = 0.0,
) -> Array:
    """Gradient (..., P), in theta's dtype, at theta (..., P) of a sum of "risk", "r1" and "r2", such as "risk+r1".

    x (n, D) or (..., n, D); y (n, c) or (..., n, c); keep_prob and lr numbers or (...). `train` tells which components
    of ∇R_drop count in R_2; the gradient has all components. `decay` is the λ of a (λ/2) |θ|² in the loss of which R_2
    is made; λ θ itself is not added.
    """
    terms = objective.split("+")
    net = ForwardPass.at(x, y, theta, activation, output_scale, order=2 if "r2" in terms else 1)
    total = np.zeros_like(theta)
    if "risk" in terms or "r1" in terms:
        v = net.column(1 / np.asarray(keep_prob) - 1) if "r1" in terms else 0.0
        total = net.mean_gradient(net.e if "risk" in terms else np.zeros_like(net.e), v)
    if "r2" in terms:
        adjoint = Adjoint.zeros_like(net)
        _second_moment(net, net.column(keep_prob), mask, adjoint, weight=net.column(np.asarray(lr) / 4), train=train)
        total += net.pull_back(adjoint)
        if decay:
            v, real = net.column(1 / np.asarray(keep_prob) - 1), theta.dtype.type
            own = trained(Network(train=train), x, y, theta)
            mean = net.mean_gradient(net.e, v) + net.mean_gradient_along(own, v) + real(decay) * own
            total += real(decay) * net.column(np.asarray(lr) / 2)[..., 0] * mean
    return total


def losses(
    x: Array, y: Array, theta: Array, *, activation: str, keep_prob: ArrayLike, output_scale: float
) -> tuple[Array, Array]:
    """R_S and R_1, each (...), at theta (..., P)."""
    net = ForwardPass.at(x, y, theta, activation, output_scale, order=0)
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
    train: Train = "both",
    decay: float = 0.0,
) -> Array:
    """E|∇R_drop + λ θ|² (...) over all masks at theta (..., P), of the trained components, with λ = `decay`.

    R_2 is lr/4 of it.
    """
    net = ForwardPass.at(x, y, theta, activation, output_scale, order=1)
    moment = _second_moment(net, net.column(keep_prob), mask, None, train=train)
    if decay:
        own = trained(Network(train=train), x, y, theta)
        mean = net.mean_gradient(net.e, net.column(1 / np.asarray(keep_prob) - 1))
        moment = moment + theta.dtype.type(decay) * (own * (2 * mean + theta.dtype.type(decay) * own)).sum(axis=-1)
    return moment


def _second_moment(
    net: ForwardPass, keep_prob: Array, mask: str, bar: Adjoint | None, weight: Array | float = 1.0, train: str = "both"
) -> Array:
    """E|∇R_drop|² (...); `weight` (..., 1, 1) times its partial derivatives are added to `bar`."""
    moment: Array
    samples = net.e.shape[-2]
    v = (1 / keep_prob - 1)[..., None]  # (..., 1, 1, 1), against the group axis
    keep_prob = keep_prob[..., None]
    unit = np.asarray(weight)[..., None] / samples**2
    whole = Groups.of(net, 1, bar, train)
    if mask == "step":
        moment = mean_square(whole, v, unit / keep_prob) / keep_prob[..., 0, 0, 0]
        groups = whole
    else:
        groups = Groups.of(net, samples, bar, train)
        moment = mean_square(whole, v, unit) + v[..., 0, 0, 0] * mean_square(groups, v, unit * v)
    ratio = v / keep_prob
    pair_sums = pair_square(groups, unit * ratio) - diagonal_square(groups, unit * ratio)
    moment = (moment + ratio[..., 0, 0, 0] * pair_sums) / samples**2
    return moment
