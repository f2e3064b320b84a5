"""Parameters neuron by neuron: the order in which block-diagonal matrices are blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem
from ._input import Array


def by_neuron(problem: Problem, rows: Array) -> Array:
    """Rows (..., P) as (..., m, b) with b = c + D: the parameters (a_1j, ..., a_cj, w_j) of each neuron together."""
    a, w = problem.split(rows)
    return np.concatenate([a.swapaxes(-1, -2), w], axis=-1)


def by_parameter(problem: Problem, rows: Array) -> Array:
    """The inverse of `by_neuron`: (..., m, b) as (..., P)."""
    c = problem.n_outputs
    return problem.join(rows[..., :c].swapaxes(-1, -2), rows[..., c:])


def apply(blocks: Array, rows: Array) -> Array:
    """Symmetric blocks (m, b, b) times rows (k, m, b)."""
    return np.asarray((rows.swapaxes(0, 1) @ blocks).swapaxes(0, 1))


def apply_blocks(problem: Problem, blocks: Array, rows: Array) -> Array:
    """Symmetric blocks (m, b, b) times rows (k, P)."""
    return by_parameter(problem, apply(blocks, by_neuron(problem, rows)))


def indices(problem: Problem) -> NDArray[np.int_]:
    """Where in theta the parameters of each neuron stand, (m, b)."""
    return by_neuron(problem, np.arange(float(problem.n_params))).astype(int)
