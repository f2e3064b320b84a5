"""linear_optimum(): the global minimum of R_S + R_1 of a linear network, in closed form.

With f(x) = B W x, B (c, m) the output weights times the output scale, and C = XᵀX/n, let W̃ = W C^½ and
M̃ = (yᵀX/n) C^-½. Then

    R_S + R_1 = ½ |B W̃ - M̃|² + (v/2) Σ_j |b_j|² |w̃_j|² + const

so that C = 1 is no restriction. For a given product B W̃ of nuclear norm S the sum is least where |b_j| |w̃_j| = S/m for
all neurons, and is S²/m then; what is left is soft thresholding of the singular values y_i of M̃ by a threshold that
depends on S (Mianjy, Arora & Vidal 2018, *On the Implicit Bias of Dropout*; arXiv:1905.11887):

    σ_i = (y_i - (v/m) S)_+,     S = Σ_{i≤r} y_i / (1 + r v/m) over the r values that stay positive, at most m
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..checks.sizes import check_memory
from ..errors import InvalidInput
from ..problem import Problem, check_problem
from ._input import Array, check_no_decay, check_squared

#: singular values of the inputs below this share of the largest are taken as zero
_RANK = 1e-12


class LinearOptimum(NamedTuple):
    """What `linear_optimum` returns.

    Attributes
    ----------
    targets : ndarray, shape (r,)
        Singular values y_i of the least-squares map after whitening of the inputs, the largest first.
    singular_values : ndarray, shape (r,)
        Those σ_i of the minimum.
    weight : float
        The product |s a_j| |w_j| of every neuron, with w_j in whitened inputs: S/m.
    matrix : ndarray, shape (c, D)
        The linear map of the minimum, f(x) = matrix x.
    value : float
        R_S + R_1 there.
    theta : ndarray, shape (P,)
        One of the minima.
    """

    targets: Array
    singular_values: Array
    weight: float
    matrix: Array
    value: float
    theta: Array


def linear_optimum(problem: Problem) -> LinearOptimum:
    """Global minimum of R_S + R_1 of a network with linear activation.

    Parameters
    ----------
    problem : Problem
        One with activation="linear" and train="both".

    Returns
    -------
    LinearOptimum
        Named tuple of targets, singular_values, weight, matrix, value and theta.

    Raises
    ------
    InvalidInput
        The problem is another one.

    Notes
    -----
    Mianjy, Arora & Vidal, *On the Implicit Bias of Dropout* (2018): dropout shrinks the singular values of the map and
    makes all neurons equally strong; the module's docstring has the formulas, for inputs that need not be white.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> problem = simdrop.Problem(x, x, width=2, keep_prob=0.5, activation="linear", bias=False)
    >>> best = simdrop.theory.linear_optimum(problem)
    >>> best.targets.round(6).tolist(), best.singular_values.round(6).tolist()
    ([0.707107, 0.707107], [0.353553, 0.353553])
    """
    check_squared(check_problem(problem), "the optimum of a linear network")
    check_no_decay(problem, "the optimum of a linear network")
    if problem.activation != "linear":
        raise InvalidInput(f"problem must have activation='linear', got {problem.activation!r}")
    if problem.train != "both":
        raise InvalidInput(f"problem must have train='both', got {problem.train!r}")
    x, y, n, m = problem.inputs, problem.y, problem.n_samples, problem.width
    check_memory({f"rotations of {m} neurons": 16.0 * m * m})
    left, size, right = np.linalg.svd(x / np.sqrt(n), full_matrices=False)
    used = size > _RANK * size[0]
    left, size, right = left[:, used], size[used], right[used]
    u, targets, v = np.linalg.svd(y.T @ left / np.sqrt(n), full_matrices=False)  # of M̃, in the basis of the inputs
    total = _total(targets, problem.variance / m, min(m, len(targets)))
    sigma = np.maximum(targets - problem.variance / m * total, 0)
    sigma[m:] = 0
    rest = np.square(y).sum() / (2 * n) - np.square(targets).sum() / 2
    value = rest + np.square(targets - sigma).sum() / 2 + problem.variance * total**2 / (2 * m)
    balanced = _equal_diagonal(sigma, m)  # (m, r)
    b = u * np.sqrt(sigma) @ balanced.T
    w = (balanced * np.sqrt(sigma)) @ v / size @ right
    return LinearOptimum(
        targets, sigma, total / m, (u * sigma) @ (v / size) @ right, float(value), problem.join(b / problem.scale, w)
    )


def _total(targets: Array, threshold: float, most: int) -> float:
    """S, the sum of (y_i - threshold S)_+ over the `most` largest targets (r,)."""
    sums = np.cumsum(targets[:most]) / (1 + threshold * np.arange(1, most + 1))
    positive = targets[:most] > threshold * sums
    return float(sums[np.flatnonzero(positive)[-1]]) if positive.any() else 0.0


def _equal_diagonal(sigma: Array, m: int) -> Array:
    """Q (m, r), columns orthonormal, with Σ_i Q_ji² σ_i the same for all j, by rotations in pairs of rows."""
    q, r = np.eye(m), min(m, len(sigma))
    whole = np.zeros(m)
    whole[:r] = sigma[:r]
    matrix, mean = np.diag(whole), whole.sum() / m
    for j in range(m - 1):
        # the entry that is farthest on the other side of the mean, among those not done yet
        others = np.arange(j + 1, m)
        k = int(others[np.argmax((mean - np.diag(matrix)[others]) * np.sign(matrix[j, j] - mean))])
        angle = _angle(matrix[j, j] - mean, matrix[k, k] - mean, matrix[j, k])
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        q[[j, k]] = rotation @ q[[j, k]]
        matrix[[j, k]] = rotation @ matrix[[j, k]]
        matrix[:, [j, k]] = matrix[:, [j, k]] @ rotation.T
    found = np.zeros((m, len(sigma)))
    found[:, :r] = q[:, :r]
    return found


def _angle(first: float, second: float, off: float) -> float:
    """The angle t with first cos² t + 2 off cos t sin t + second sin² t = 0, for first · second <= 0."""
    if first == 0 or (second == 0 and off == 0):
        return 0.0
    if second == 0:
        return float(np.arctan2(-first, 2 * off))
    root = np.sqrt(max(off**2 - first * second, 0.0))
    return float(np.arctan2(-off + np.copysign(root, -off) if off else root, second))
