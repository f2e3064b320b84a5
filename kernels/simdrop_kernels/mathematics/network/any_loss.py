"""The risk of any loss ℓ(f, y), and its mean over dropout: exactly where that is known, and to second order.

With u_ioj = b_oj h_ij, v = Var η, g_ioj = ∂u_ioj/∂(neuron j) and residuals r = ∂ℓ/∂f (legend of `expected`)

    risk            R_S = (1/n) Σ_i ℓ(f_i, y_i),    ∇R_S = (1/n) Σ_ioj r_io g_ioj
    enumeration     E R_drop = Σ_s π_s R_drop(s) over the 2^m masks s of one sample, whatever the mask mode: the risk is
                    a sum over samples; the same for its gradient
    quadrature      with Gaussian factors and one output, f_i under them is normal, N(f_i, q_i) with q_i = v Σ_j u_ij²,
                    and by ∂ E ℓ/∂q = ½ E ℓ'' (heat equation) the mean gradient is
                    (1/n) Σ_ij (E ℓ'_i + v E ℓ''_i u_ij) g_ij, with expectations by Gauss-Hermite quadrature
    second order    E R_drop ≈ R_S + (v/2n) Σ_ij u_ijᵀ ∂²ℓ_i/∂f² u_ij   (Wager, Wang & Liang 2013; Wei, Kakade & Ma,
                    arXiv:2002.12915): an approximation by the variance of f alone. It is exact for the squared loss;
                    for others its error does not vanish with the learning rate.

All three gradients have the form (1/n) Σ_ioj (r̄_io + v Σ_q c_ioq u_iqj) g_ioj, with r̄ (n, c) and c (n, c, c).

The Hessian of R_S is (1/n) Σ_i (Σ_oq ∂²ℓ_i/∂f_o∂f_q g_io g_iqᵀ + Σ_o r_io ∇²f_io), g_io of all neurons.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.layout import join, split
from ...contract.network import Network
from ..losses.table import find
from .forward import ForwardPass, dropout_gradient

Array = NDArray[Any]

#: neurons up to which the mean is a sum over all masks, and Gauss-Hermite points of an expectation
MOST_NEURONS, POINTS = 12, 64
#: numbers in the largest temporary array
_CHUNK = 1 << 22


def risk(network: Network, x: Array, y: Array, theta: Array) -> Array:
    """R_S (...) at theta (..., P); x (n, D), y (n, c)."""
    f, _ = _outputs(network, x, y, theta, order=0)
    return np.asarray(find(network.loss).value(f, y).mean(axis=-1))


def gradient(network: Network, x: Array, y: Array, theta: Array) -> Array:
    """∇R_S (..., P) at theta (..., P)."""
    f, net = _outputs(network, x, y, theta, order=1)
    return net.mean_gradient(find(network.loss).residual(f, y), 0.0)


def gradient_along(network: Network, x: Array, y: Array, theta: Array, direction: Array) -> Array:
    """The derivative of ∇R_S at theta (P,) along direction (..., P): a product with the Hessian."""
    f, net = _outputs(network, x, y, theta, order=2)
    loss, samples = find(network.loss), len(x)
    r, bend = loss.residual(f, y), loss.curvature(f, y)
    da, dw = split(direction, y.shape[-1], x.shape[-1])
    db, dz = net.scale * da, x @ dw.swapaxes(-1, -2)
    dh = net.h1 * dz
    df = dh @ net.b.T + net.h @ db.swapaxes(-1, -2)
    dr = (bend @ df[..., None])[..., 0]
    by_a = dr.swapaxes(-1, -2) @ net.h + r.T @ dh
    by_z = (dr @ net.b + r @ db) * net.h1 + (r @ net.b) * net.h2 * dz
    return np.asarray(join(net.scale * by_a, by_z.swapaxes(-1, -2) @ x) / samples)


def hessian_trace(network: Network, x: Array, y: Array, theta: Array, *, by_a: bool, by_w: bool) -> Array:
    """The trace (...) of the Hessian of R_S at theta (..., P), over output weights, input weights, or both."""
    f, net = _outputs(network, x, y, theta, order=2)
    loss = find(network.loss)
    r, bend = loss.residual(f, y), loss.curvature(f, y)
    steep = np.trace(bend, axis1=-2, axis2=-1) * net.scale**2 * np.square(net.h).sum(axis=-1)
    bent = (bend @ net.b[..., None, :, :] * net.b[..., None, :, :]).sum(axis=-2)  # b_jᵀ ℓ'' b_j: (..., n, m)
    curved = np.square(x).sum(axis=-1) * (bent * np.square(net.h1) + (r @ net.b) * net.h2).sum(axis=-1)
    return np.asarray((by_a * steep + by_w * curved).mean(axis=-1))


def mean_risk(network: Network, x: Array, y: Array, theta: Array, *, keep_prob: float, how: str) -> Array:
    """E R_drop (...) at theta (..., P) by "enumeration", "quadrature" or to "second-order"."""
    loss, v = find(network.loss), (1 - keep_prob) / keep_prob
    if how == "enumeration":
        total = np.zeros(theta.shape[:-1], dtype=theta.dtype)
        for factor, weight in _masks(network, x, y, theta, keep_prob):
            f, _ = _outputs(network, x, y, theta[..., None, :], order=0, factor=factor)
            total += (loss.value(f, y).mean(axis=-1) * weight).sum(axis=-1)
        return total
    f, net = _outputs(network, x, y, theta, order=0)
    spread = _spread(net)
    if how == "second-order":
        bent = (loss.curvature(f, y) * spread).sum(axis=(-1, -2))
        return np.asarray((loss.value(f, y) + v / 2 * bent).mean(axis=-1))
    points, weights = _hermite(f, v * spread[..., 0, 0])
    return np.asarray((loss.value(points, y[:, None, :]) @ weights).mean(axis=-1))


def mean_gradient(network: Network, x: Array, y: Array, theta: Array, *, keep_prob: float, how: str) -> Array:
    """The gradient (..., P) of `mean_risk`."""
    loss, v = find(network.loss), (1 - keep_prob) / keep_prob
    if how == "enumeration":
        flat = theta.reshape(-1, theta.shape[-1])
        total = np.zeros_like(flat)
        for k, row in enumerate(flat):
            for factor, weight in _masks(network, x, y, row, keep_prob):
                under = np.broadcast_to(row, (len(factor), row.size))
                total[k] += weight @ dropout_gradient(network, x, y, under, factor)
        return total.reshape(theta.shape)
    f, net = _outputs(network, x, y, theta, order=1)
    spread = _spread(net)
    if how == "second-order":
        mean, bend = loss.residual(f, y) + v * loss.bend(f, y, spread), loss.curvature(f, y)
    else:
        points, weights = _hermite(f, v * spread[..., 0, 0])
        mean = np.swapaxes(loss.residual(points, y[:, None, :]), -1, -2) @ weights
        bend = np.moveaxis(loss.curvature(points, y[:, None, :]), -3, -1) @ weights
    return _pull(net, mean, v * bend)


def _outputs(
    network: Network, x: Array, y: Array, theta: Array, *, order: int, factor: Array | None = None
) -> tuple[Array, ForwardPass]:
    """f (..., n, c) and the network at theta (..., P)."""
    net = ForwardPass.at(x, np.zeros_like(y), theta, network.activation, network.output_scale, order, factor)
    return net.e, net


def _spread(net: ForwardPass) -> Array:
    """Σ_j u_ij u_ijᵀ (..., n, c, c): v times it is the covariance of the outputs f_i over masks."""
    pairs = net.b[..., :, None, :] * net.b[..., None, :, :]  # (..., c, c, m)
    c = pairs.shape[-2]
    flat = np.square(net.h) @ pairs.reshape(*pairs.shape[:-3], c * c, -1).swapaxes(-1, -2)
    return np.asarray(flat.reshape(*flat.shape[:-1], c, c))


def _pull(net: ForwardPass, mean: Array, bend: Array) -> Array:
    """(1/n) Σ_ioj (mean_io + Σ_q bend_ioq u_iqj) g_ioj (..., P); mean (..., n, c), bend (..., n, c, c)."""
    samples = mean.shape[-2]
    bent = bend @ net.b[..., None, :, :]  # (..., n, c, m)
    by_b = mean.swapaxes(-1, -2) @ net.h + (bent * np.square(net.h)[..., None, :]).sum(axis=-3)
    by_h = mean @ net.b + (bent * net.b[..., None, :, :]).sum(axis=-2) * net.h
    by_z = by_h * net.h1
    return join(net.scale / samples * by_b, by_z.swapaxes(-1, -2) @ net.x / samples)


def _hermite(f: Array, variance: Array) -> tuple[Array, Array]:
    """Points (..., n, K, 1) and weights (K,) by which sums are expectations under N(f, variance); f (..., n, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(POINTS)
    points = f + np.sqrt(variance)[..., None] * nodes.astype(f.dtype)
    return points[..., None], (weights / weights.sum()).astype(f.dtype)


def _masks(network: Network, x: Array, y: Array, theta: Array, keep_prob: float) -> Any:
    """All masks as factors (K, 1, m) with their probabilities (K,), in parts of a bounded size."""
    width = theta.shape[-1] // (x.shape[-1] + y.shape[-1])
    kept = np.array(list(product((False, True), repeat=width)))
    weights = np.prod(np.where(kept, keep_prob, 1 - keep_prob), axis=1)
    rows = max(1, _CHUNK // (len(x) * width * max(1, theta[..., 0].size)))
    for start in range(0, len(kept), rows):
        some = slice(start, start + rows)
        yield (kept[some] / keep_prob)[:, None, :].astype(theta.dtype), weights[some]
