"""Hessians of R_S and R_S + R_1: as a product with vectors for any P, as a matrix for small P, and tr(H C).

Symbols as in `simdrop_kernels.closed_form`; v = 0 leaves R_S. With the features g_ρ = ∂f_o(x_i)/∂θ of ρ = (i, o),

    H = (1/n) Σ_ρ g_ρ g_ρᵀ + blockdiag(N_1, ..., N_m)
    N_j by (a_oj, a_qj):   [o = q] (v s²/n) Σ_i h_ij²
        by (a_oj, w_j):    (s/n) Σ_i (e_io + 2 v b_oj h_ij) h1_ij x_i
        by (w_j, w_j):     (1/n) Σ_i (c_ij h2_ij + v bb_j h1_ij²) x_i x_iᵀ,    c_ij = Σ_o e_io b_oj + v bb_j h_ij

R_S couples neurons only through its outputs, R_1 not at all. For relu, h2 = 0 almost everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from simdrop_kernels.closed_form import Network

from ..errors import check_choice
from ..problem import Problem
from ._input import Array, check_point

#: the losses whose Hessian is known
OBJECTIVES = ("risk", "risk+r1")


def hessian(problem: Problem, theta: ArrayLike, *, objective: str = "risk+r1") -> Array:
    """Hessian (P, P) at theta (P,) of "risk" or "risk+r1"."""
    return Curvature.at(problem, check_point(problem, theta), objective=objective).matrix()


def hessian_product(problem: Problem, theta: ArrayLike, direction: ArrayLike, *, objective: str = "risk+r1") -> Array:
    """Hessian at theta (P,) times direction (..., P), in O(n m (c + D)) each: the gradient's derivative along it."""
    check_choice("objective", objective, OBJECTIVES)
    net = _network(problem, check_point(problem, theta), order=2)
    v, s = _variance(problem, objective), net.scale
    da, dw = problem.split(problem.check_theta(direction, "direction"))
    db = s * da
    dz = net.x @ dw.swapaxes(-1, -2)
    dh = net.h1 * dz
    de = dh @ net.b.T + net.h @ db.swapaxes(-1, -2)
    dbb = 2 * (net.b * db).sum(axis=-2, keepdims=True)
    size = np.square(net.h).sum(axis=0)
    dsize = 2 * (net.h * dh).sum(axis=-2, keepdims=True)
    by_a = de.swapaxes(-1, -2) @ net.h + net.e.T @ dh + v * (db * size + net.b * dsize)
    dc = de @ net.b + net.e @ db + v * (dbb * net.h + net.bb * dh)
    by_z = dc * net.h1 + net.by_h(net.e, v) * net.h2 * dz
    return problem.join(s * by_a, by_z.swapaxes(-1, -2) @ net.x) / problem.n_samples


@dataclass(frozen=True, slots=True)
class Curvature:
    """The Hessian at one theta by its factors: memory n c P + m (c + D)², for repeated products at small P.

    features (n c, P): g_ρ; aa (m,), aw (m, c, D), ww (m, D, D): the parts of N_j, aa being a multiple of 1
    """

    problem: Problem
    net: Network
    v: float
    features: Array
    aa: Array
    aw: Array
    ww: Array

    @classmethod
    def at(cls, problem: Problem, theta: Array, *, objective: str = "risk+r1", order: int = 2) -> Curvature:
        """The Hessian at theta (P,); `order` 3 also allows `trace_gradient`."""
        check_choice("objective", objective, OBJECTIVES)
        net, v = _network(problem, theta, order=order), _variance(problem, objective)
        n, c = net.e.shape
        by_a = net.scale * np.einsum("ij,oq->ioqj", net.h, np.eye(c))  # (n, c, c, m)
        by_w = np.einsum("oj,ij,id->iojd", net.b, net.h1, net.x, optimize=True)  # (n, c, m, D)
        features = problem.join(by_a, by_w).reshape(n * c, -1)
        aa = v * net.scale**2 / n * np.square(net.h).sum(axis=0)
        weight = (net.e[:, :, None] + 2 * v * net.h[:, None, :] * net.b) * net.h1[:, None, :]  # (n, c, m)
        aw = net.scale / n * np.einsum("ioj,id->jod", weight, net.x, optimize=True)
        bend = net.by_h(net.e, v) * net.h2 + v * net.bb * net.h1**2  # (n, m)
        ww = np.einsum("ij,id,iq->jdq", bend, net.x, net.x, optimize=True) / n
        return cls(problem, net, v, features, aa, aw, ww)

    def product(self, direction: Array) -> Array:
        """Hessian times direction (..., P)."""
        a, w = self.problem.split(direction)
        by_a = self.aa * a + np.einsum("jod,...jd->...oj", self.aw, w)
        by_w = np.einsum("jod,...oj->...jd", self.aw, a) + (self.ww @ w[..., None])[..., 0]
        found: Array = self.problem.join(by_a, by_w)
        found += (direction @ self.features.T / self.problem.n_samples) @ self.features
        return found

    def blocks(self) -> Array:
        """N (m, c + D, c + D), each block by (a_1j, ..., a_cj, w_j)."""
        width, c, inputs = self.aw.shape
        found = np.zeros((width, c + inputs, c + inputs))
        found[:, range(c), range(c)] = self.aa[:, None]
        found[:, :c, c:] = self.aw
        found[:, c:, :c] = self.aw.swapaxes(-1, -2)
        found[:, c:, c:] = self.ww
        return found

    def matrix(self) -> Array:
        """The Hessian (P, P), symmetric to the last bit."""
        matrix = self.features.T @ (self.features / self.problem.n_samples)
        matrix = (matrix + matrix.T) / 2
        a, w = self.problem.split(np.arange(self.problem.n_params))  # where each parameter stands
        matrix[a, a] += self.aa
        matrix[a.T[:, :, None], w[:, None, :]] += self.aw
        matrix[w[:, :, None], a.T[:, None, :]] += self.aw.swapaxes(-1, -2)
        matrix[w[:, :, None], w[:, None, :]] += self.ww
        return matrix


def _network(problem: Problem, theta: Array, order: int) -> Network:
    return Network.at(problem.inputs, problem.y, theta, problem.activation, problem.scale, order=order)


def _variance(problem: Problem, objective: str) -> float:
    return problem.variance if objective == "risk+r1" else 0.0
