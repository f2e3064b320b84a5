"""The covariance where dropout's factors act forward, on the update, or independently in both, exactly.

Under one mask of a group of samples, with factors 1 + η_k of the forward and 1 + ζ_j of the backward pass,
α_j = (1/n) Σ_ρ e_ρ g_ρj and β_jk = (1/n) Σ_ρ u_ρk g_ρj (symbols of `operator`), the gradient block of neuron j is

    forward        G_j = α_j + Σ_k η_k β_jk
    update         G_j = (1 + ζ_j) α_j
    independent    G_j = (1 + ζ_j) (α_j + Σ_k η_k β_jk)

All means are α, that is ∇R_S: no R_1. The products η_k, ζ_j and ζ_j η_k are uncorrelated, of variances v, v and v², so
that with b_k = (β_1k, ..., β_mk) and blocks(x) the part of a matrix x within single neurons

    forward        Cov G = v Σ_k b_k b_kᵀ
    update         Cov G = v blocks(α αᵀ)                            (arXiv:2510.07554, random geometry)
    independent    Cov G = v Σ_k b_k b_kᵀ + v blocks(α αᵀ) + v² blocks(Σ_k b_k b_kᵀ)

for any law of the factors: no square of one occurs. With a mask for each sample their covariances add.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from simdrop_kernels.mathematics.network.forward import ForwardPass

from ...problem import Noise, Problem
from .._input import Array
from ..curvature import features
from .parts import Part, Rows, scatter


class Weighed(Protocol):
    """Weights of the parts, `step.Weights`."""

    @property
    def shared(self) -> float:
        """Of T."""

    @property
    def single(self) -> float:
        """Of T'."""

    @property
    def means(self) -> float:
        """Of M."""

    @property
    def label(self) -> float:
        """1/(B n)."""


def parts(problem: Problem, theta: Array, noise: Noise, weights: Weighed) -> list[tuple[float, Part]]:
    """The parts of the covariance of a step at theta (P,), as `step.StepNoise` has them."""
    net = ForwardPass.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=1)
    n, v, found = problem.n_samples, problem.variance, []
    rows = problem.freeze(features(net)).reshape(n, -1, problem.n_params)  # (n, c, P)
    for weight, groups in ((weights.shared, 1), (weights.single, n)):
        if weight and v > 0:
            found += [(weight * v, part) for part in _of_masks(problem, net, rows, noise.place, groups)]
    if weights.means:
        means = np.einsum("io,iop->ip", net.e, rows)
        found.append((weights.means, Rows(problem, scatter(means), 0.0)))
    if noise.label:
        own = 0.0 if noise.place == "forward" else v / noise.masks
        found.append((noise.label**2 * weights.label, Rows(problem, rows.reshape(-1, problem.n_params), own)))
    return found


def _of_masks(problem: Problem, net: ForwardPass, rows: Array, place: str, groups: int) -> list[Part]:
    """Cov G / v with a mask for each of `groups` groups of samples; rows (n, c, P) are the features g_ρ."""
    n, v, found = problem.n_samples, problem.variance, list[Part]()
    grouped = rows.reshape(groups, -1, problem.n_params)  # (G, k c, P)
    if place in ("update", "independent"):
        alpha = (net.e.reshape(groups, 1, -1) @ grouped)[:, 0] / n
        found.append(Rows(problem, alpha, 1.0, whole=0.0))
    if place in ("forward", "independent"):
        u = (net.h[:, None, :] * net.b).reshape(groups, -1, problem.width)
        values, axes = np.linalg.eigh(u @ u.swapaxes(-1, -2))  # Σ_k b_k b_kᵀ = gᵀ u uᵀ g / n²
        roots = np.sqrt(np.maximum(values, 0))[..., None] * axes.swapaxes(-1, -2)
        of_pairs = (roots @ grouped / n).reshape(-1, problem.n_params)
        found.append(Rows(problem, of_pairs, v if place == "independent" else 0.0))
    return found
