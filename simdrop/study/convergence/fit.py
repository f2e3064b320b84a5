"""The slope of errors over learning rates, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    rises: bool = False  # towards small lr, from the coarser two of its rungs to the finer two

    @property
    def interval(self) -> tuple[float, float]:
        """Where the slope lies with 95 % confidence."""
        return self.value - Z95 * self.error, self.value + Z95 * self.error

    @property
    def order(self) -> int | None:
        """The order that the interval supports, or None."""
        low, high = self.interval
        if high - low > WIDEST:
            return None
        order = math.floor(low + MARGIN)
        return order if high >= order or order < 1 else order - 1


@dataclass(frozen=True)
class Floor:
    """What is left of a distance as lr → 0, δ, with its standard error."""

    value: float
    error: float


#: how the table, its legend and summary.json judge
RULE = (
    f"rungs count where the distance is at least {RESOLVED:g} standard errors; the slope comes from the finest"
    f" {WINDOW} of them, the floor, δ of D = A lr^q + B lr^(q+1) + δ with the claimed q, from the finest {WINDOW + 1},"
    " and its error holds its change without B. Consistent with order q: not resolved where there are fewer than"
    f" {WINDOW} or the 95 % interval of the slope is wider than {WIDEST:g}; no where that interval begins more than"
    f" {1 - MARGIN:g} below q, or ends below q and slopes do not rise towards small lr, or δ is above two errors; yes"
    " otherwise. Order 0 claims no more than that distances do not grow towards small lr"
)


def consistent(slope: Slope | None, floor: Floor | None, order: int) -> str:
    """Whether distances are consistent with a claimed order: "yes", "no" or "not resolved", by `RULE`.

    Order 0 claims nothing but that distances do not fall: its floor is not looked at.
    """
    if slope is None or floor is None:
        return "not resolved"
    low, high = slope.interval
    if high - low > WIDEST:
        return "not resolved"
    if low < order - (1 - MARGIN):
        return "no"
    too_flat = high < order and not slope.rises
    return "no" if order > 0 and (too_flat or floor.value > 2 * floor.error) else "yes"


def local_slopes(lrs: Array, distance: Array) -> list[float | None]:
    """Slopes between neighbouring learning rates, the largest first; None where a distance is unknown or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(np.log(distance)) / np.diff(np.log(lrs))
    return [float(one) if np.isfinite(one) else None for one in slopes]


def fit_floor(lrs: Array, distance: Array, error: Array, order: int) -> Floor | None:
    """δ of D = A lr^q + B lr^(q + 1) + δ through the finest four resolved rungs, or three.

    None with fewer. Without the next power a curve that bends would pass for one with a floor; for powers beyond it the
    error holds by how much δ changes when the finest two rungs alone are fitted without that power. 0 for order 0.
    """
    chosen = _finest(lrs, distance, error, WINDOW + 1)
    if chosen is None:
        return None
    if order == 0:
        return Floor(0.0, 0.0)
    weight = 1 / np.maximum(error[chosen], 1e-12 * distance[chosen])
    x = lrs[chosen] / lrs[chosen].max()
    design = np.stack([x**order, x ** (order + 1), np.ones(len(x))], axis=1) * weight[:, None]
    found, *_ = np.linalg.lstsq(design, distance[chosen] * weight, rcond=None)
    left = distance[chosen] * weight - design @ found
    birge = float(np.sqrt(left @ left)) if len(x) > WINDOW else 1.0
    spread = max(1.0, birge) * float(np.sqrt(np.square(np.linalg.pinv(design)[2]).sum()))
    fine, next_fine = distance[chosen[:2]]
    ratio = (lrs[chosen[1]] / lrs[chosen[0]]) ** order
    without = (ratio * fine - next_fine) / (ratio - 1)  # δ of D = A lr^q + δ through the finest two
    return Floor(float(found[2]), float(np.hypot(spread, found[2] - without)))


def fit_slope(lrs: Array, distance: Array, error: Array) -> Slope | None:
    """The slope of log D over log lr through the finest resolved rungs; None with fewer than three."""
    chosen = _finest(lrs, distance, error)
    if chosen is None:
        return None
    x, y = np.log(lrs[chosen]), np.log(distance[chosen])
    weight = np.square(distance[chosen] / np.maximum(error[chosen], 1e-12 * distance[chosen]))
    away = x - weight @ x / weight.sum()
    spread = weight @ away**2
    slope = float(weight @ (away * y) / spread)
    left = y - weight @ y / weight.sum() - slope * away
    birge = np.sqrt(weight @ left**2 / (WINDOW - 2))
    fine, coarse = np.diff(y) / np.diff(x)  # from the finest on
    lrs_used = tuple(sorted(lrs[chosen].tolist(), reverse=True))
    return Slope(slope, float(max(1.0, birge) / np.sqrt(spread)), lrs_used, bool(fine > coarse))


def _finest(lrs: Array, distance: Array, error: Array, most: int = WINDOW) -> NDArray[np.intp] | None:
    """The finest `most` rungs that are resolved, None with fewer than `WINDOW`."""
    with np.errstate(invalid="ignore"):
        rungs = np.flatnonzero((distance >= RESOLVED * error) & (distance > 0))
    return rungs[np.argsort(lrs[rungs])[:most]] if rungs.size >= WINDOW else None
