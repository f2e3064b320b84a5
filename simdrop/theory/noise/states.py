"""Covariance of gradients where each neuron is in a random state of its own, by the states' probabilities.

Neuron j in state S has outputs U_ρj = s_S b_oj h_ij(κ_S) and features G_ρj (their gradient by the neuron's parameters),
for ρ = (sample, output), with the dropout factor s_S and the DropConnect mask κ_S of its input weights. States of
different neurons are independent. The gradient block of neuron j is

    G_j = O_j(S_j) + (1/n) Σ_ρ Σ_{k≠j} U_ρk(S_k) G_ρj(S_j),     O_j = (1/n) Σ_ρ (z U_ρj - y_ρ) G_ρj

with z = 1; z = 1 + v for the mean over dropout given κ. A function of independent states is a sum of uncorrelated
effects (Hoeffding, 1948): with means U̅, G̅ and deviations u, g over states, the effects are

    of S_k alone: block k is H_k = O_k - E O_k + (1/n) Σ_ρ (Σ_{l≠k} U̅_ρl) g_ρk, block j ≠ k is (1/n) Σ_ρ G̅_ρj u_ρk
    of S_j, S_k:  block j is (1/n) Σ_ρ g_ρj u_ρk,       block k is (1/n) Σ_ρ g_ρk u_ρj

and the covariance is the sum of those of the effects. Gaussian factors are three states, 1 and 1 ± √(3v) with
probabilities 2/3 and 1/6: all moments in the covariance are of degree 4 at most, and those agree (Gauss-Hermite).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdrop_kernels.contract.noise import Law
from simdrop_kernels.mathematics.network.dropconnect import atoms

from ...problem import Noise, Problem
from .._input import Array
from ..neurons import by_parameter, indices


def factors(keep_prob: float, law: Law) -> tuple[Array, Array]:
    """States of a dropout factor and their probabilities."""
    v = (1 - keep_prob) / keep_prob
    if v == 0:
        return np.ones(1), np.ones(1)
    if law == "gaussian":
        far = np.sqrt(3 * v)
        return np.array([1 - far, 1.0, 1 + far]), np.array([1, 4, 1]) / 6
    return np.array([0, 1 / keep_prob]), np.array([1 - keep_prob, keep_prob])


@dataclass(frozen=True, slots=True)
class Neurons:
    """The network at theta (P,) with the states of its neurons: factors s (S,), masks κ (S, D), probabilities (S,)."""

    problem: Problem
    theta: Array
    s: Array
    kept: Array
    probability: Array
    own: float  # z

    @classmethod
    def at(cls, problem: Problem, theta: Array, noise: Noise, *, dropout: bool = True) -> Neurons:
        """States of DropConnect, together with dropout or with its mean."""
        kept, weights = np.ones((1, problem.n_inputs)), np.ones(1)
        if noise.connect < 1:
            kept, weights = atoms(problem.n_inputs, noise.connect)
        if not dropout:
            return cls(problem, theta, np.ones(len(kept)), kept, weights, 1 + problem.variance)
        s, chances = factors(problem.keep_prob, noise.law)
        return cls(
            problem,
            theta,
            np.tile(s, len(kept)),
            np.repeat(kept, len(s), axis=0),
            np.outer(weights, chances).ravel(),
            1.0,
        )

    def neuron(self, j: int, rows: slice = slice(None)) -> tuple[Array, Array]:
        """U (S, R) and G (S, R, b) of neuron j with R = outputs on the samples `rows`, b = c + D."""
        problem, scale = self.problem, self.problem.scale
        a, w = problem.split(self.theta)
        x, c = problem.inputs[rows], problem.n_outputs
        h, h1 = problem.sigma.derivatives(x @ (w[j] * self.kept).T, 1)  # (n, S)
        h, h1 = self.s[:, None] * h.T, self.s[:, None] * h1.T  # (S, n)
        u = scale * h[:, :, None] * a[:, j]  # (S, n, c)
        g = np.zeros((*u.shape, c + problem.n_inputs))
        g[..., range(c), range(c)] = scale * h[:, :, None]
        g[..., c:] = scale * np.einsum("si,o,sd,id->siod", h1, a[:, j], self.kept, x)
        return u.reshape(len(h), -1), g.reshape(len(h), u[0].size, -1)

    def covariance(self, mask: str) -> Array:
        """Cov of the gradient (P, P) with one state of the neurons for all samples, or for each sample its own."""
        n = self.problem.n_samples
        groups = [slice(None)] if mask == "step" else [slice(i, i + 1) for i in range(n)]
        total: Array = sum((self._covariance(rows) for rows in groups), start=np.zeros(1))
        return total

    def _covariance(self, rows: slice) -> Array:
        """Cov of the part of the gradient that the samples `rows` make up."""
        width, n, own = self.problem.width, self.problem.n_samples, indices(self.problem)
        y, p = self.problem.y[rows].ravel(), self.probability
        both = [self.neuron(j, rows) for j in range(width)]
        mean_u = np.array([p @ u for u, _ in both])  # (m, R)
        mean_g = np.array([np.einsum("s,srb->rb", p, g) for _, g in both])  # (m, R, b)
        spread = np.array([(u - bar).T @ (p[:, None] * (u - bar)) for (u, _), bar in zip(both, mean_u, strict=True)])
        crossed = np.empty((width, y.size, y.size, own.shape[1]))  # E g_ρj u_ρ'j
        flat = by_parameter(self.problem, mean_g.swapaxes(0, 1))  # (R, P)
        total = flat.T @ spread.sum(axis=0) @ flat / n**2
        for j, (u, g) in enumerate(both):
            du, dg = u - mean_u[j], g - mean_g[j]
            crossed[j] = np.einsum("s,srb,sq->rqb", p, dg, du, optimize=True)
            others = mean_u.sum(axis=0) - mean_u[j]
            alone = np.einsum("sr,srb->sb", self.own * u - y, g) / n
            alone += np.einsum("r,srb->sb", others, dg) / n - p @ alone  # H_j
            beyond = alone - du @ mean_g[j] / n
            linked = flat.T @ (du.T @ (p[:, None] * beyond)) / n  # (P, b)
            total[:, own[j]] += linked
            total[own[j], :] += linked.T
            rest = np.einsum("srb,rq->sqb", dg, spread.sum(axis=0) - spread[j]) / n**2
            block = np.einsum("s,srb,srd->bd", p, rest, dg, optimize=True)
            total[np.ix_(own[j], own[j])] += beyond.T @ (p[:, None] * beyond) + block
        pairs = np.einsum("jrqb,kqrd->jbkd", crossed, crossed, optimize=True) / n**2
        pairs[range(width), :, range(width), :] = 0
        total[own.ravel()[:, None], own.ravel()] += pairs.reshape(own.size, -1)
        return np.asarray(total)

    def sample_means(self) -> Array:
        """Mean gradients (n, P) of the single samples."""
        problem, p = self.problem, self.probability
        n, c = problem.n_samples, problem.n_outputs
        both = [self.neuron(j) for j in range(problem.width)]
        mean_u = np.array([p @ u for u, _ in both])
        e = mean_u.sum(axis=0) - problem.y.ravel()
        blocks = [
            np.einsum("s,sr,srb->rb", p, self.own * u + (e - mean_u[j]), g, optimize=True)
            for j, (u, g) in enumerate(both)
        ]
        found: Array = by_parameter(problem, np.array(blocks).swapaxes(0, 1)).reshape(n, c, -1).sum(axis=1)
        return found

    def feature_moment(self, square: float) -> Array:
        """Σ_ρ E g_ρ g_ρᵀ (P, P), where the factors of the neurons have mean 1 and second moment `square`."""
        own, p = indices(self.problem), self.probability
        both = [self.neuron(j)[1] for j in range(self.problem.width)]
        flat = by_parameter(self.problem, np.array([np.einsum("s,srb->rb", p, g) for g in both]).swapaxes(0, 1))
        total = flat.T @ flat
        for j, g in enumerate(both):
            total[np.ix_(own[j], own[j])] = square * np.einsum("s,srb,srd->bd", p, g, g, optimize=True)
        return np.asarray(total)
