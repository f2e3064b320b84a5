"""The zero-loss manifold Γ = {R_S = 0} of many networks at once, and what noise does to networks near it.

With the features J (n c, P), rows g_ρ = ∂f_o(x_i)/∂θ, the Hessian of R_S on Γ is JᵀJ/n and P_T = 1 - Jᵀ(JJᵀ)⁻¹J
projects on the directions along Γ. Let Φ(θ) be the limit of gradient flow on R_S from θ. Where steps have a drift -b
and noise of a covariance S, both small, a network follows the gradient flow to Γ at once and then moves along it as
Φ does under the noise (Katzenberger; Li, Wang & Arora 2021; Shalova, Schlichting & Peletier, arXiv:2404.12293),

    dΘ/dt = -P_T b + (lr/2) D²Φ[S] + √lr P_T S^½ dW/dt

D²Φ follows from Φ(θ - s ∇R_S(θ)) = Φ(θ) + o(s), differentiated twice on Γ. Along Γ, and with H = JᵀJ/n,

    P_T D²Φ[S] = -P_T D²∇R_S[C],   H C + C H = S on the blocks normal-normal and normal-tangent, 0 on tangent-tangent

and C is lr⁻¹ times the covariance of the fluctuations about Γ. Of D³R_S = (1/n) Σ_ρ (g_ρ ⊗ D²f_ρ and its permutations)
the part g_ρ tr(D²f_ρ C) is normal to Γ, so that

    P_T D²∇R_S[C] = (2/n) P_T Σ_ρ D²f_ρ C g_ρ

which needs no third derivative and of C no more than C g_ρ. The normal part of D²Φ only keeps Θ on the curved Γ.

The covariance of dropout. As keep_prob → 1 steps drop one neuron k (of one sample, with sample masks) or none, so that
Cov G / v → Ŝ = Σ_k A_k A_kᵀ with A_k the gradient that it leaves: block j is β_jk = (1/n) Σ_ρ u_ρk g_ρj, and block k
is 0, for a dropped neuron has no gradient (Gaussian factors: β_kk). Its products with vectors take the u_ρj and
γ_ρj = g_ρj·V_j alone, as in `noise.operator`.

The singular value decomposition J = U diag(s) V gives all of it at a cost of O((n c)² P): rows of V are an
orthonormal basis of the normal space, J⁺ = Vᵀ diag(1/s) Uᵀ. No matrix over parameters is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simdrop_kernels.contract.layout import join
from simdrop_kernels.contract.noise import Law
from simdrop_kernels.mathematics.network.forward import ForwardPass

from ..errors import FlowFailed
from ..problem import Noise, Problem
from ._input import Array
from .noise.step import Weights

#: smallest singular value of the features, in units of the largest, at which the manifold is taken to be one
DEPENDENT = 1e-9


class SlowNoise(NamedTuple):
    """The covariance S of a step's gradient on Γ, to leading order in every strength: a sum with these weights.

    shared, single : of Ŝ with one mask for all samples, and of Ŝ with one for each; v included
    label : of JᵀJ
    parameter : of 1
    law : of the dropout factors
    """

    shared: float
    single: float
    label: float
    parameter: float
    law: Law

    @classmethod
    def of(cls, problem: Problem, noise: Noise) -> SlowNoise:
        """The noise of a step of `problem`; with residuals 0, minibatches alone have none."""
        weights, v = Weights.of(problem, noise), problem.variance
        return cls(
            v * weights.shared, v * weights.single, noise.label**2 * weights.label, noise.parameter**2, noise.law
        )


@dataclass(frozen=True, slots=True)
class ZeroLoss:
    """Networks on Γ or near it: theta (B, P) and what the formulas above need of it. N = n c rows of features.

    net : forward values; x (n, D), h, h1, h2 (B, n, m), b (B, c, m), e (B, n, c)
    left (B, N, N), size (B, N), normal (B, N, P): U, s and V
    """

    problem: Problem
    theta: Array
    net: ForwardPass
    left: Array
    size: Array
    normal: Array

    @classmethod
    def at(cls, problem: Problem, theta: Array, *, order: int = 1) -> ZeroLoss:
        """At theta (B, P); `order` 2 also allows `drift`. Raises FlowFailed where the features are dependent."""
        net = ForwardPass.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=order)
        rows = _features(problem, net)
        if rows.shape[-2] > np.count_nonzero(problem.freeze(np.ones(problem.n_params))):
            raise FlowFailed(
                f"no manifold of zero loss: {rows.shape[-2]} outputs on the data and fewer trained parameters"
            )
        if not np.isfinite(rows).all():
            raise FlowFailed("the features of the network became infinite")
        left, size, normal = np.linalg.svd(rows, full_matrices=False)
        if (size[..., -1] <= DEPENDENT * size[..., 0]).any():
            raise FlowFailed(
                "no manifold of zero loss here: the features of the samples, ∂f(x_i)/∂θ, are linearly dependent (two"
                " equal samples, or neurons that have condensed on too few orientations)"
            )
        return cls(problem, theta, net, left, size, normal)

    def along(self, vectors: Array) -> Array:
        """P_T times vectors (B, P) or (B, k, P)."""
        if vectors.ndim == 2:
            return self.along(vectors[:, None])[:, 0]
        return np.asarray(vectors - (vectors @ self.normal.swapaxes(-1, -2)) @ self.normal)

    def towards(self) -> Array:
        """-J⁺ e (B, P): the Gauss-Newton step to Γ."""
        e = self.net.e.reshape(len(self.theta), -1)
        inside = np.einsum("bri,br->bi", self.left, e) / self.size
        return np.asarray(-np.einsum("bi,bip->bp", inside, self.normal))

    def penalty(self) -> Array:
        """∇ρ (B, P) with ρ = R_1 / v."""
        return self.problem.freeze(self.net.mean_gradient(np.zeros_like(self.net.e), 1.0))

    def residual(self) -> Array:
        """e / v (B, n, c) that dropout keeps: -n (JJᵀ)⁻¹ J ∇ρ, to leading order in v."""
        inside = np.einsum("bip,bp->bi", self.normal, self.penalty()) / self.size
        return -self.problem.n_samples * np.einsum("bri,bi->br", self.left, inside).reshape(self.net.e.shape)

    def across(self, noise: SlowNoise) -> tuple[Array, Array]:
        """The normal-normal and normal-tangent blocks of S: (B, N, N) and (B, N, P)."""
        applied = self._covariance(noise, self.normal)
        both = applied @ self.normal.swapaxes(-1, -2)
        return (both + both.swapaxes(-1, -2)) / 2, self.along(applied)

    def drift(self, noise: SlowNoise) -> Array:
        """½ P_T D²Φ[S] (B, P)."""
        own, mixed = self.across(noise)
        rate = np.square(self.size) / self.problem.n_samples  # eigenvalues of H
        c = (own / (rate[:, :, None] + rate[:, None, :])) @ self.normal + mixed / rate[..., None]
        rows = (self.left * self.size[:, None, :]) @ c  # C g_ρ
        return -self.along(self._bent(rows)) / self.problem.n_samples

    def risk(self, noise: SlowNoise) -> Array:
        """E R_S / lr (B,) of the fluctuations about Γ: ½ tr(H C) = ¼ tr of the normal-normal block of S."""
        return np.asarray(np.einsum("bii->b", self.across(noise)[0]) / 4)

    def draw(self, noise: SlowNoise, random: np.random.Generator, *, pairs: bool = False) -> Array:
        """Normal vectors (B, P) along Γ, of covariance P_T S P_T; with `pairs` from opposite numbers, two by two."""

        def normal(*shape: int) -> Array:
            if not pairs:
                return random.standard_normal((len(self.theta), *shape))
            half = random.standard_normal((len(self.theta) // 2, *shape))
            return np.stack([half, -half], axis=1).reshape(-1, *shape)

        found, n = np.zeros_like(self.theta), self.problem.n_samples
        for weight, samples in ((noise.shared, 1), (noise.single, n)):
            if weight:
                xi = np.sqrt(weight) * normal(1, samples, self.problem.width)
                found += self._dropped(xi, noise.law)[:, 0]
        if noise.parameter:
            found += np.sqrt(noise.parameter) * self.problem.freeze(normal(self.problem.n_params))
        return self.along(found)  # noise on the targets, Jᵀ times numbers, is normal to Γ

    def _covariance(self, noise: SlowNoise, vectors: Array) -> Array:
        """S times vectors (B, k, P)."""
        found = noise.parameter * vectors
        if noise.label:
            rows = (self.left * self.size[:, None, :]) @ self.normal
            found = found + noise.label * (vectors @ rows.swapaxes(-1, -2)) @ rows
        for weight, step in ((noise.shared, True), (noise.single, False)):
            if weight:
                found = found + weight * self._dropped(self._seen(vectors, step, noise.law), noise.law)
        return np.asarray(found)

    def _seen(self, vectors: Array, step: bool, law: Law) -> Array:
        """A_k·V (B, k, 1 or n, m) of vectors V (B, k, P)."""
        a, w = self.problem.split(self.problem.freeze(vectors))  # (B, k, c, m), (B, k, m, D)
        net = self.net
        slopes = net.h1[:, None] * (net.x @ w.swapaxes(-1, -2))  # (B, k, n, m)
        found = np.zeros_like(slopes)
        for o in range(net.b.shape[1]):
            gamma = net.scale * net.h[:, None] * a[:, :, o, None, :] + net.b[:, None, o, None, :] * slopes
            others = gamma.sum(axis=-1, keepdims=True) - (law == "bernoulli") * gamma
            found += (net.h * net.b[:, o, None, :])[:, None] * others
        found /= self.problem.n_samples
        return np.asarray(found.sum(axis=-2, keepdims=True)) if step else found

    def _dropped(self, xi: Array, law: Law) -> Array:
        """Σ_k ξ_k A_k (B, k, P) of numbers (B, k, 1 or n, m)."""
        net, by_a, by_z = self.net, [], 0.0
        for o in range(net.b.shape[1]):
            weighted = (net.h * net.b[:, o, None, :])[:, None] * xi  # u ξ: (B, k, n, m)
            y = weighted.sum(axis=-1, keepdims=True) - (law == "bernoulli") * weighted
            by_a.append(net.scale * (net.h[:, None] * y).sum(axis=-2))
            by_z = by_z + net.b[:, None, o, None, :] * y
        by_w = (net.h1[:, None] * by_z).swapaxes(-1, -2) @ net.x
        return self.problem.freeze(join(np.stack(by_a, axis=-2), by_w)) / self.problem.n_samples

    def _bent(self, rows: Array) -> Array:
        """Σ_ρ D²f_ρ rows_ρ (B, P) of rows (B, N, P)."""
        net, s = self.net, self.net.scale
        n, c = net.e.shape[1:]
        a, w = self.problem.split(self.problem.freeze(rows).reshape(len(rows), n, c, -1))
        turned = np.einsum("id,biojd->bioj", net.x, w)  # the change of z
        own = np.einsum("biooj->bioj", a)
        by_a = s * np.einsum("bij,bioj->boj", net.h1, turned)
        by_z = s * net.h1 * own.sum(axis=2) + net.h2 * np.einsum("boj,bioj->bij", net.b, turned)
        return self.problem.freeze(join(by_a, by_z.swapaxes(-1, -2) @ net.x))


def _features(problem: Problem, net: ForwardPass) -> Array:
    """J (B, n c, P)."""
    batch, n, c = net.e.shape
    by_a = net.scale * np.einsum("bij,oq->bioqj", net.h, np.eye(c))
    by_w = np.einsum("boj,bij,id->biojd", net.b, net.h1, net.x, optimize=True)
    return problem.freeze(join(by_a, by_w).reshape(batch, n * c, -1))


def to_manifold(problem: Problem, theta: Array, *, steps: int = 3) -> Array:
    """Theta (B, P) near Γ taken to it by Gauss-Newton steps."""
    for _ in range(steps):
        theta = theta + ZeroLoss.at(problem, theta).towards()
    return theta
