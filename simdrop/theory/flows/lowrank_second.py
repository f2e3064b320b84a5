"""The covariance to second order in blocks and a low rank, where only output weights are trained.

The equation of `mean_covariance` with L quadratic: H̃ = H + (ε/2) H², and

    Σ̃ = Σ + (ε/2) (H Σ + Σ H + DΣ[∇L]) + E Σ₂(δ),   δ of mean 0 and covariance C

with Σ₂ the part of Σ that is quadratic in the output weights: Σ at δ with targets 0. It splits as in `lowrank`,

    D' = -(Ñ D + D Ñ) + ε Σ̃_D,   Ñ = N + (ε/2) N²,      X' = -(H̃ X + X H̃) - (H̃ D + D H̃ - Ñ D - D Ñ) + ε (Σ̃ - Σ̃_D)

Of C = D + X the part X = Σ_r w_r x_r x_rᵀ adds Σ_r w_r Σ₂(x_r). For D, whose neurons are independent, the expansion of
`noise.operator` gives, with K_jk = (1/n) Σ_i φ_ij φ_ik over a group of samples under one mask, and d_k the block of D,

    blocks (j, l):   v Σ_k K_jk K_lk d_k + v² K_jl (K_jj d_j + K_ll d_l)
    and on j = l:    (v + v²) Σ_k K_jk² d_k + (v³ - v² - v) K_jj² d_j         which joins Σ̃_D
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...problem import Problem
from .._input import Array, add_decay
from ..curvature import Curvature
from ..neurons import apply_blocks
from ..noise.operator import NoiseOperator
from .lowrank import Covariance, Frozen, own_noise_of


@dataclass(frozen=True, slots=True)
class SecondOrder(Frozen):
    """H̃ and Σ̃ at one m.

    own is Ñ; point: m; ahead, behind: Σ at m ± ∇L/|∇L|, size: |∇L|; spread: C
    """

    point: Array
    ahead: NoiseOperator
    behind: NoiseOperator
    size: float
    spread: Covariance | None = None

    @classmethod
    def at(cls, problem: Problem, theta: Array, lr: float) -> SecondOrder:
        """At m = theta (P,)."""
        first = Frozen.at(problem, theta, lr)
        net, n = first.curvature.net, first.own
        gradient = add_decay(problem, problem.freeze(net.mean_gradient(net.e, first.curvature.v)), theta)
        size = float(np.linalg.norm(gradient)) or 1.0
        ahead, behind = (NoiseOperator.at(problem, theta + sign * gradient / size) for sign in (1, -1))
        own_noise, turned = first.own_noise, n @ first.own_noise
        change = size / 2 * (own_noise_of(problem, ahead) - own_noise_of(problem, behind))
        own_noise = own_noise + lr / 2 * (turned + turned.swapaxes(-1, -2) + lr * change)
        own = n + lr / 2 * n @ n
        return cls(problem, lr, first.curvature, first.noise, own, own_noise, theta, ahead, behind, size)

    def evolve(self, start: Covariance, h: float, rank: int, random: np.random.Generator) -> tuple[Covariance, float]:
        """C after a time h, and the Frobenius norm of what was lost."""
        own_noise = self.own_noise + self.lr * _on_blocks(self.curvature, start.blocks)
        here = replace(self, own_noise=own_noise, spread=start)
        return Frozen.evolve(here, start, h, rank, random)

    def along(self, basis: Array) -> Array:
        """H̃ in an orthonormal basis (k, P)."""
        return self.moved(basis) @ basis.T

    def moved(self, vectors: Array) -> Array:
        """H̃ times vectors (k, P)."""
        once = self.curvature.product(vectors)
        return np.asarray(once + self.lr / 2 * self.curvature.product(once))

    def source(self, blocks: Array, vectors: Array) -> Array:
        """-(H̃ D + D H̃ - Ñ D - D Ñ) + ε (Σ̃ - Σ̃_D) times vectors (k, P), for D = blocks."""
        problem, spread = self.problem, apply_blocks(self.problem, blocks, vectors)
        moved = self.moved(vectors) - apply_blocks(problem, self.own, vectors)
        sunk = self.moved(spread) - apply_blocks(problem, self.own, spread) + apply_blocks(problem, blocks, moved)
        return self.lr * self._noisy(vectors) - apply_blocks(problem, self.own_noise, vectors) - sunk

    def _noisy(self, vectors: Array) -> Array:
        """Σ̃ times vectors (k, P)."""
        assert self.spread is not None
        hessian, spread = self.curvature.product, self.spread
        found = self.noise.product(vectors)
        found = found + self.lr / 2 * (hessian(found) + self.noise.product(hessian(vectors)))
        found += self.lr / 4 * self.size * (self.ahead.product(vectors) - self.behind.product(vectors))
        still = replace(self.problem, y=np.zeros_like(self.problem.y))
        _, w = self.problem.split(self.point)
        for weight, row in zip(spread.weights, spread.rows, strict=True):
            if weight:
                a, _ = self.problem.split(row)
                found += weight * NoiseOperator.at(still, self.problem.join(a, w)).product(vectors)
        blocks = apply_blocks(self.problem, _on_blocks(self.curvature, spread.blocks), vectors)
        return np.asarray(found + blocks + _across(self.curvature, spread.blocks, vectors))


def _features(curvature: Curvature) -> Array:
    """φ (G, k, m) of G groups of k samples under one mask."""
    problem, net = curvature.problem, curvature.net
    groups = 1 if problem.mask == "step" else problem.n_samples
    return np.asarray(problem.scale * net.h.reshape(groups, -1, problem.width))


def _on_blocks(curvature: Curvature, blocks: Array) -> Array:
    """What D = blocks (m, b, b) adds to Σ̃_D (m, b, b)."""
    problem, v, phi = curvature.problem, curvature.problem.variance, _features(curvature)
    c, n = problem.n_outputs, problem.n_samples
    d = blocks[:, :c, :c]
    gram = np.einsum("gpk,gqk,kxy->gpqxy", phi, phi, d, optimize=True)
    around = np.einsum("gpj,gqj,gpqxy->jxy", phi, phi, gram, optimize=True) / n**2
    own = np.square(np.square(phi).sum(axis=1) / n).sum(axis=0)  # Σ_g K_jj²
    found = np.zeros_like(blocks)
    found[:, :c, :c] = (v + v**2) * around + (v**3 - v**2 - v) * own[:, None, None] * d
    return found


def _across(curvature: Curvature, blocks: Array, vectors: Array) -> Array:
    """The sums over pairs of neurons that D = blocks (m, b, b) adds to Σ̃, times vectors (r, P)."""
    problem, v, phi = curvature.problem, curvature.problem.variance, _features(curvature)
    c, n = problem.n_outputs, problem.n_samples
    a, w = problem.split(vectors)
    d, own = blocks[:, :c, :c], np.square(phi).sum(axis=1) / n  # (m, c, c), (G, m)

    def through(rows: Array) -> Array:
        """K of every group times rows (r, c, G or 1, m)."""
        inside = np.einsum("gpm,rxgm->rxgp", phi, np.broadcast_to(rows, (*rows.shape[:2], len(phi), rows.shape[3])))
        return np.asarray(np.einsum("rxgp,gpm->rxgm", inside, phi) / n)

    def spread(rows: Array) -> Array:
        """D times rows (r, c, G, m)."""
        return np.asarray(np.einsum("mxy,rygm->rxgm", d, rows))

    rows = a[:, :, None, :]
    once = through(rows)
    found = v * through(spread(once)) + v**2 * (own * spread(once) + through(own * spread(rows)))
    return problem.freeze(problem.join(found.sum(axis=2), np.zeros_like(w)))
