"""SciPy's BDF for flows of wide networks, with linear algebra that knows their Jacobian's shape.

A gradient flow of width m has a few eigenvalues of size O(m) that come from the n c outputs, and many small ones:
explicit methods need a number of steps proportional to m, and a dense Newton iteration costs O(P³). The Hessian,
however, is FᵀF/n + N with features F (n c, P) and N block-diagonal over neurons (`curvature`), so that

    (1 + μ H + ν H²) y = r,        μ the BDF coefficient, ν = μ lr/(2p) for the modified flow and 0 otherwise

is solved by Woodbury's identity in O(P n c) after inverting m blocks of size c + D and one matrix of size 2 n c.
For R_S and R_S + R_1 the Jacobian is exact. For R_2 = (lr/4) E|∇R_drop|² it is approximated by the part of ∇²R_2 that
is large where the flow is stiff: (lr/2) E[(∇²R_drop)²], to leading order in 1/m (lr/2p) H². The Newton iteration
converges to the same solution, only more slowly; the order and the error control are those of BDF.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import BDF
from scipy.sparse import csc_matrix

from ...problem import Problem
from .._input import Array
from ..curvature import Curvature
from ..neurons import apply, by_neuron, by_parameter

#: the most entries that the features F may have, and the most outputs n c, for this method to be sensible
MAX_FEATURES = 1 << 25
MAX_OUTPUTS = 2000


def refuses(problem: Problem) -> str | None:
    """Why the method does not suit `problem`, or None."""
    if problem.loss != "squared":
        return f"its Jacobian is written for loss 'squared', the problem has {problem.loss!r}"
    outputs = problem.n_samples * problem.n_outputs
    if outputs > MAX_OUTPUTS or outputs * problem.n_params > MAX_FEATURES:
        return f"its linear algebra grows with the {outputs} outputs on the data (at most {MAX_OUTPUTS})"
    return None


class StructuredBDF(BDF):
    """`scipy.integrate.BDF` for θ' = -∇L(θ) with L = R_S, R_S + R_1 or R_S + R_1 + R_2; a `method` of solve_ivp.

    Further options: problem, objective ("risk" or "risk+r1": the loss whose Hessian H is meant) and square, the
    factor of H² in the Jacobian -(H + square H²).

    SciPy computes the matrix of a Newton iteration as I - μ J, hands it to `lu`, and what `lu` returns to `solve_lu`.
    Here no matrix is formed: with the numbers I = 0 and J = -1, `lu` is handed μ and builds its system from the last
    `Jacobian`. These attributes are not part of SciPy's documentation; a change of theirs would fail
    `tests/theory/test_flows.py`. Dense matrices, which are, take 3 to 5 times as long at width 500 and 5 to 11 times
    at width 1000 (`jac=` of BDF and LSODA, 32 samples, time 20: 12 to 69 s instead of 2 to 4).
    """

    def __init__(
        self,
        fun: Callable[[float, Array], Array],
        t0: float,
        y0: Array,
        t_bound: float,
        *,
        problem: Problem,
        objective: str,
        square: float,
        **options: Any,
    ) -> None:
        empty = csc_matrix((y0.size, y0.size))  # keeps SciPy from forming a dense Jacobian
        super().__init__(fun, t0, y0, t_bound, jac=lambda t, y: empty, **options)
        self._flow = problem, objective, square
        self.I, self.J = 0.0, self._update(t0, y0)
        self.jac, self.lu, self.solve_lu = self._update, self._factorise, System.solve

    def _update(self, _: float, theta: Array) -> float:
        """Compute the Jacobian at theta; returns what stands for it in SciPy's arithmetic."""
        self.njev += 1
        self._jacobian = Jacobian.at(*self._flow, theta)
        return -1.0

    def _factorise(self, mu: float) -> System:
        """The system of the coefficient μ with the last Jacobian."""
        self.nlu += 1
        return self._jacobian.system(mu)


@dataclass(frozen=True, slots=True)
class Jacobian:
    """-(H + square H²), H = FᵀF/n + N. Parameters neuron by neuron: F (r, m, b), N (m, b, b) with b = c + D."""

    problem: Problem
    square: float
    blocks: Array
    low: Array  # (r or 2 r, m, b): F, and N F where square is not 0
    gram: Array  # F Fᵀ (r, r)

    @classmethod
    def at(cls, problem: Problem, objective: str, square: float, theta: Array) -> Jacobian:
        """That at theta (P,), H being the Hessian of `objective`."""
        curvature = Curvature.at(problem, theta, objective=objective)
        features = by_neuron(problem, curvature.features)
        blocks = curvature.blocks()
        flat = features.reshape(len(features), -1)
        low = features if square == 0 else np.concatenate([features, apply(blocks, features)])
        return cls(problem, square, blocks, low, flat @ flat.T)

    def system(self, mu: float) -> System:
        """1 + μ H + ν H² with ν = μ square, ready to be solved: B + Wᵀ S W with B block-diagonal."""
        n, nu, r = self.problem.n_samples, mu * self.square, len(self.gram)
        block = np.eye(self.blocks.shape[-1]) + mu * self.blocks + nu * (self.blocks @ self.blocks)
        inverse = np.asarray(np.linalg.inv(block), dtype=np.float64)
        core = np.zeros((len(self.low), len(self.low)))
        core[:r, :r] = mu / n * np.eye(r) + nu / n**2 * self.gram
        if len(self.low) > r:
            core[:r, r:] = core[r:, :r] = nu / n * np.eye(r)
        rows = self.low.reshape(len(self.low), -1)  # W
        solved = apply(inverse, self.low).reshape(rows.shape)  # W B⁻¹
        inner = np.linalg.solve(np.eye(len(core)) + core @ (rows @ solved.T), core)
        return System(self.problem, inverse, rows, solved, np.asarray(inner, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class System:
    """(B + Wᵀ S W)⁻¹ = B⁻¹ - (W B⁻¹)ᵀ (1 + S W B⁻¹ Wᵀ)⁻¹ S (W B⁻¹)."""

    problem: Problem
    inverse: Array
    rows: Array
    solved: Array
    inner: Array

    def solve(self, right: Array) -> Array:
        """The solution (P,) for the right-hand side (P,)."""
        y = apply(self.inverse, by_neuron(self.problem, right[None])).ravel()
        y -= (self.inner @ (self.rows @ y)) @ self.solved
        return by_parameter(self.problem, y.reshape(self.problem.width, -1))
