"""The gradient of the second moment E|G|² of a step under every noise but DropConnect: of R_2 = (lr/4) E|G|².

With ḡ^G, β^G_jk of the samples that share a mask (`mathematics.network.expected`), α^G_j = ḡ^G_j - v β^G_jj and

    A(u) = Σ_Gj |α^G_j + u β^G_jj|²,    S = Σ_Gjk |β^G_jk|²,    D = Σ_Gj |β^G_jj|²

the traces of the parts of the covariance (`step`, `placed`) are

    T, Bernoulli factors     v A(v) + v(1 + v) (S - D)
    T, Gaussian factors      v A(1) + v(1 + v) (S - D) + 2 v² D
    forward                  v S
    update                   v A(0)
    independent              v A(0) + v(1 + v) S
    M                        n A'(u) - A(u),    A' over single samples, A over all, u = v, or 0 in other places
    L                        τ_l²/(B n) (1 + v/k) Σ_ρ |g_ρ|²,   v/k left out for forward

and |E G|² = A(u). Each is a sum over pairs of samples or of neurons with a derivative in `pair_sums`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simdrop_kernels.mathematics.network.forward import Adjoint, ForwardPass
from simdrop_kernels.mathematics.network.pair_sums import Groups, diagonal_square, mean_square, pair_square

from ...problem import Noise, Problem
from .._input import Array
from .step import Weights


class _Trace(NamedTuple):
    """The trace under one mask a group: mean · A(inner) + pairs · S + own · D."""

    inner: float
    mean: float
    pairs: float
    own: float

    @classmethod
    def of(cls, noise: Noise, v: float) -> _Trace:
        """Under dropout factors of variance v, where they act as `noise` says."""
        both = v * (1 + v)
        if noise.place == "both":
            gaussian = noise.law == "gaussian"
            return cls(1.0 if gaussian else v, v, both, 2 * v * v - both if gaussian else -both)
        return {
            "forward": cls(0.0, 0.0, v, 0.0),
            "update": cls(0.0, v, 0.0, 0.0),
            "independent": cls(0.0, v, both, 0.0),
        }[noise.place]


def moment_gradient(problem: Problem, theta: Array, noise: Noise) -> Array:
    """∇E|G|² (..., P) at theta (..., P), G with weight decay; zero for parameters that are not trained."""
    net = ForwardPass.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=2)
    adjoint, n, v = Adjoint.zeros_like(net), problem.n_samples, problem.variance
    whole, single = (Groups.of(net, groups, adjoint, problem.train) for groups in (1, n))
    inner = v if noise.place == "both" else 0.0
    weights = Weights.of(problem, noise)
    if noise.part == "drift":
        weights = Weights(*(0.0,) * len(weights))
    _add_mean(whole, inner, (noise.part != "noise") - weights.means, n)
    _add_mean(single, inner, n * weights.means, n)
    trace = _Trace.of(noise, v)
    for groups, weight in ((whole, weights.shared), (single, weights.single)):
        _add_mean(groups, trace.inner, weight * trace.mean, n)
        if weight * trace.pairs:
            pair_square(groups, np.asarray(weight * trace.pairs / n**2))
        if weight * trace.own:
            diagonal_square(groups, np.asarray(-weight * trace.own / n**2))  # which takes its weight negative
    own = 0.0 if noise.place == "forward" else v / noise.masks
    _add_features(whole, noise.label**2 * weights.label * (1 + own))
    found = net.pull_back(adjoint)
    if problem.weight_decay and noise.part != "noise":
        kept = problem.freeze(theta)
        mean = net.mean_gradient(net.e, inner) + net.mean_gradient_along(kept, inner) + problem.weight_decay * kept
        found += 2 * problem.weight_decay * mean
    return problem.freeze(found)


def _add_mean(groups: Groups, inner: float, weight: float, n: int) -> None:
    """Add the derivatives of weight · A(inner)."""
    if weight:
        mean_square(groups, np.asarray(inner), np.asarray(weight / n**2))


def _add_features(whole: Groups, weight: float) -> None:
    """Add the derivatives of weight · Σ_ρ |g_ρ|², which is Σ_ij (c s² h_ij² + |x_i|² bb_j h1_ij²)."""
    bar = whole.bar
    if not weight or bar is None:
        return
    size = weight * np.square(whole.x).sum(axis=-1, keepdims=True)  # (..., 1, n, 1)
    outputs = whole.b.shape[-2]
    bar.h += 2 * weight * outputs * whole.scale**2 * whole.h
    bar.h1 += 2 * size * whole.bb * whole.h1
    slopes = (size * np.square(whole.h1)).sum(axis=-2, keepdims=True)  # (..., 1, 1, m)
    bar.b += (2 * slopes * whole.b).sum(axis=-3)
