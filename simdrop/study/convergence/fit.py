"""The slope of errors over learning rates, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..distances import Array

#: standard errors by which a distance must be resolved to count
RESOLVED = 3.0


#: finest rungs through which the line goes
WINDOW = 3


#: how far below its order a slope's interval may reach, and how wide it may be
MARGIN, WIDEST = 0.4, 1.0


Z95 = 1.959963984540054


@dataclass(frozen=True)
class Slope:
    """A fitted slope with its standard error, and the learning rates that it comes from."""

    value: float
    error: float
    lrs: tuple[float, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """Where the slope lies with 95 % confidence."""
        return self.value - Z95 * self.error, self.value + Z95 * self.error

    @property
    def order(self) -> int | None:
        """The order that the interval supports, or None."""
        low, high = self.interval
        return math.floor(low + MARGIN) if high - low <= WIDEST else None


def fit_slope(lrs: Array, distance: Array, error: Array) -> Slope | None:
    """The slope of log D over log lr through the finest resolved rungs; None with fewer than three."""
    with np.errstate(invalid="ignore"):
        rungs = np.flatnonzero((distance >= RESOLVED * error) & (distance > 0))
    if rungs.size < WINDOW:
        return None
    chosen = rungs[np.argsort(lrs[rungs])[:WINDOW]]
    x, y = np.log(lrs[chosen]), np.log(distance[chosen])
    weight = np.square(distance[chosen] / np.maximum(error[chosen], 1e-12 * distance[chosen]))
    away = x - weight @ x / weight.sum()
    spread = weight @ away**2
    slope = float(weight @ (away * y) / spread)
    left = y - weight @ y / weight.sum() - slope * away
    birge = np.sqrt(weight @ left**2 / (WINDOW - 2))
    return Slope(slope, float(max(1.0, birge) / np.sqrt(spread)), tuple(sorted(lrs[chosen].tolist(), reverse=True)))
