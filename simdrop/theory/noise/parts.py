"""The parts that the covariance of a step's noise is a sum of, besides `operator.NoiseOperator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...problem import Problem
from .._input import Array
from ..neurons import apply_blocks, by_neuron, indices


class Part(Protocol):
    """A part of the covariance, apart from its weight."""

    def product(self, direction: Array) -> Array:
        """Times direction (..., P)."""

    def covariance(self) -> Array:
        """As a matrix (P, P)."""

    def trace(self) -> float:
        """Of the matrix."""

    def sample(self, random: np.random.Generator, count: int) -> Array:
        """Normal vectors (count, P) with this covariance."""


@dataclass(frozen=True, slots=True)
class Rows:
    """whole · Σ_r row_r row_rᵀ + own · its blocks of single neurons, for rows (r, P)."""

    problem: Problem
    rows: Array
    own: float
    whole: float = 1.0

    def product(self, direction: Array) -> Array:
        """See `Part`."""
        flat = direction.reshape(-1, direction.shape[-1])
        found = self.whole * (flat @ self.rows.T @ self.rows)
        if self.own:
            found += self.own * apply_blocks(self.problem, self._blocks(), flat)
        return np.asarray(found.reshape(direction.shape))

    def covariance(self) -> Array:
        """See `Part`."""
        square = self.rows.T @ self.rows
        found = self.whole * square
        if self.own:
            own = indices(self.problem)
            at = own[:, :, None], own[:, None, :]
            found[at] = (self.whole + self.own) * square[at]
        return np.asarray(found)

    def trace(self) -> float:
        """See `Part`."""
        return float((self.whole + self.own) * np.square(self.rows).sum())

    def sample(self, random: np.random.Generator, count: int) -> Array:
        """See `Part`."""
        found = np.sqrt(self.whole) * random.standard_normal((count, len(self.rows))) @ self.rows
        if self.own:
            each = random.standard_normal((count, len(self.rows), self.problem.width))
            a, w = self.problem.split(self.rows)  # (r, c, m), (r, m, D)
            found += np.sqrt(self.own) * self.problem.join(
                np.einsum("krj,roj->koj", each, a), np.einsum("krj,rjd->kjd", each, w)
            )
        return np.asarray(found)

    def _blocks(self) -> Array:
        rows = by_neuron(self.problem, self.rows)
        return np.asarray(np.einsum("rja,rjb->jab", rows, rows, optimize=True))


@dataclass(frozen=True, slots=True)
class Identity:
    """1 on the trained parameters."""

    problem: Problem

    def product(self, direction: Array) -> Array:
        """See `Part`."""
        return self.problem.freeze(direction)

    def covariance(self) -> Array:
        """See `Part`."""
        return np.diag(self.problem.freeze(np.ones(self.problem.n_params)))

    def trace(self) -> float:
        """See `Part`."""
        return float(self.problem.freeze(np.ones(self.problem.n_params)).sum())

    def sample(self, random: np.random.Generator, count: int) -> Array:
        """See `Part`."""
        return self.problem.freeze(random.standard_normal((count, self.problem.n_params)))


@dataclass(frozen=True, slots=True)
class Matrix:
    """A covariance held as a matrix (P, P)."""

    matrix: Array

    def product(self, direction: Array) -> Array:
        """See `Part`."""
        return np.asarray(direction @ self.matrix)

    def covariance(self) -> Array:
        """See `Part`."""
        return self.matrix

    def trace(self) -> float:
        """See `Part`."""
        return float(np.trace(self.matrix))

    def sample(self, random: np.random.Generator, count: int) -> Array:
        """See `Part`."""
        values, axes = np.linalg.eigh(self.matrix)
        drawn = random.standard_normal((count, len(values))) * np.sqrt(np.maximum(values, 0))
        return np.asarray(drawn @ axes.T)


def scatter(means: Array) -> Array:
    """Rows of which Σ row rowᵀ is M of `step`, from the means (n, P) of the samples."""
    return np.asarray((means - means.mean(axis=0)) / np.sqrt(len(means)))
