"""Distances between the mean of an ensemble and a prediction, unbiased, with standard errors by the jackknife.

The plain distance |x̄ - φ| of a sample mean x̄ = Σ_g w_g x_g / Σ_g w_g from a prediction φ is too large: its square
has the mean |E x - φ|² + tr Cov(x̄). Here the members are cut into G independent groups with means x_g, and

    D² = Σ_{g≠h} w_g w_h (x_g - φ)·(x_h - φ) / Σ_{g≠h} w_g w_h

estimates |E x - φ|² without bias, as no group meets itself. It may come out negative where sampling noise hides the
distance. Its standard error is that of the delete-one-group jackknife; close to D² = 0 this is an overestimate (by
√2 in the limit), which is the safe side. Distances are D = √max(D², 0), and a standard error s of D² is carried to
half the width of the image of [D² - s, D² + s]: s / 2D where the distance is resolved, and √s / 2 where D = 0: that
D is below √s, not that it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: what the variables of results hold, for `output.variables.described`
WORDS = {
    "kind": "prediction",
    "quantity": "what is compared",
    "distance": "distance of the ensemble from the prediction",
    "error": "standard error of distance",
    "share": "share of plain gradient flow's distance removed",
    "share_error": "standard error of share",
    "noise": "distance that sampling alone would give",
    "own_noise": "distance that the sampling of the prediction alone would give; 0 for a flow",
    "scheme_error": "what the steps of the scheme add to error",
    "scheme_steps": "steps of the scheme for each of training, 0 where there is none",
    "resolved": "whether the distance is well above its error",
    "size": "distance of the ensemble's mean from its start",
    "size_error": "standard error of size",
    "path": "flow, or the mean of the ensemble",
    "term": "term of the modified loss",
    "value": "R_S, R_1 or R_2",
    "gradient_norm": "2-norm of its gradient",
}


@dataclass(frozen=True)
class Estimate:
    """A statistic, shape (...), with its values when one group is left out: replicates (G, ...)."""

    value: Array
    replicates: Array

    @property
    def error(self) -> Array:
        """The jackknife's standard error."""
        groups = len(self.replicates)
        around = self.replicates - self.replicates.mean(axis=0)
        return np.sqrt((groups - 1) / groups * np.square(around).sum(axis=0))

    def over(self, other: Estimate) -> Estimate:
        """The ratio of two statistics of the same groups."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return Estimate(self.value / other.value, self.replicates / other.replicates)

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two statistics of the same groups."""
        return Estimate(self.value - other.value, self.replicates - other.replicates)

    def average(self, weights: Array) -> Estimate:
        """The average over the last axis with `weights`, which sum to 1."""
        return Estimate(self.value @ weights, self.replicates @ weights)


def squared_distance(means: Array, counts: Array, prediction: Array) -> Estimate:
    """D² (T,) of group means (T, G, K) of `counts` (T, G) members from a prediction (T, K).

    Groups without members are left out; NaN where fewer than three have any.
    """
    weight = counts.astype(np.float64)
    apart = np.where(counts[..., None] > 0, means - prediction[:, None, :], 0.0)  # x_g - φ: (T, G, K)
    total = np.einsum("tg,tgk->tk", weight, apart)
    square = np.square(apart).sum(axis=-1)  # (T, G)
    cross = np.einsum("tgk,tk->tg", apart, total)

    def pairs(sum_square: Array, self_square: Array, sum_weight: Array, self_weight: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (sum_square - self_square) / (sum_weight**2 - self_weight)

    sum_square, sum_weight = np.square(total).sum(axis=-1), weight.sum(axis=-1)
    own_square, own_weight = (weight**2 * square), weight**2
    self_square, self_weight = own_square.sum(axis=-1), own_weight.sum(axis=-1)
    value = pairs(sum_square, self_square, sum_weight, self_weight)
    left_square = sum_square[:, None] - 2 * weight * cross + own_square  # without one group
    left_self = self_square[:, None] - own_square
    without = pairs(left_square, left_self, sum_weight[:, None] - weight, self_weight[:, None] - own_weight)
    for t in np.flatnonzero(_cancels(sum_square, self_square) | _cancels(left_square, left_self).any(axis=-1)):
        value[t], without[t] = _by_pairs(apart[t], weight[t])
    few = (counts > 0).sum(axis=-1) < 3
    return Estimate(np.where(few, np.nan, value), np.where(few[:, None], np.nan, without).T)


def _cancels(sum_square: Array, self_square: Array) -> NDArray[np.bool_]:
    """Where hardly a digit is left of the difference: one group is so far away that it hides all others."""
    found: NDArray[np.bool_] = np.abs(sum_square - self_square) < 1e-8 * np.abs(self_square)
    return found


def _by_pairs(apart: Array, weight: Array) -> tuple[Array, Array]:
    """D² and its values without one group (G,), from distances x_g - φ (G, K) pair by pair, which loses no digits."""
    off = ~np.eye(len(weight), dtype=bool)
    products, weights = (apart @ apart.T) * np.outer(weight, weight) * off, np.outer(weight, weight) * off

    def left(of: Array) -> Array:
        """Sums over pairs that do not hold a group, as sums and not as differences."""
        return np.array([of[np.ix_(others, others)].sum() for others in off])

    with np.errstate(divide="ignore", invalid="ignore"):
        return products.sum() / weights.sum(), left(products) / left(weights)


def root(square: Array, error: Array, *, lost: NDArray[np.bool_] | bool = False) -> tuple[Array, Array]:
    """√max(square, 0) and its standard error, from those of the square.

    Both are NaN where members were `lost` and the square is below its error: the mean of those that are left says
    nothing about a mean that a few runaway members make, and 0 would pass for agreement.
    """
    unknown = lost & ~(square > error)
    square = np.maximum(square, 0)
    low, middle, high = (np.sqrt(np.maximum(square + shift, 0)) for shift in (-error, 0, error))
    return np.where(unknown, np.nan, middle), np.where(unknown, np.nan, (high - low) / 2)


def share_removed(squared: Estimate, squared_plain: Estimate) -> tuple[Array, Array]:
    """1 - D / D_plain and its standard error; NaN where D_plain² is not positive by two standard errors."""
    ratio = squared.over(squared_plain)
    kept, error = root(ratio.value, ratio.error)
    resolved = squared_plain.value > 2 * squared_plain.error
    return np.where(resolved, 1 - kept, np.nan), np.where(resolved, error, np.nan)


def time_weights(times: Array) -> Array:
    """Weights (T,), of sum 1, of the trapezoidal average over the span of `times`."""
    if len(times) == 1:
        return np.ones(1)
    gaps = np.diff(times)
    weights = np.concatenate([gaps[:1], gaps[:-1] + gaps[1:], gaps[-1:]]) / 2
    return weights / weights.sum()
