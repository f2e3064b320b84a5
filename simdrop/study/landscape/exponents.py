"""Exponents of power laws, fitted to points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks.numbers import check_real
from ...errors import InvalidInput
from ...theory._input import Array

#: numbers below this share of the largest are rounding: they enter no fit of exponents
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Exponent:
    """The exponent of a power law y ∝ x^value.

    Attributes
    ----------
    value : float
        By least squares of the logarithms.
    low, high : float
        95 % interval by Student's t, from the scatter about the line.
    points : int
        Points used.
    """

    value: float
    low: float
    high: float
    points: int


def exponent(x: ArrayLike, y: ArrayLike) -> Exponent:
    """Fit the exponent of y over x.

    Parameters
    ----------
    x, y : array_like, shape (K,)
        Points; those where either is not positive, not finite or small by rounding are left out.

    Returns
    -------
    Exponent
        NaN for fewer than three points. The interval takes the scatter as independent from point to point.

    Raises
    ------
    InvalidInput
        x and y are not equally many numbers.
    """
    x, y = check_real("x", x), check_real("y", y)
    if x.ndim != 1 or x.shape != y.shape:
        raise InvalidInput(f"x and y must be lists of equally many numbers, got shapes {x.shape} and {y.shape}")
    used = _above_rounding(x) & _above_rounding(y)
    count = int(used.sum())
    if count < 3 or np.ptp(x[used]) == 0:
        return Exponent(np.nan, np.nan, np.nan, count)
    from scipy import stats

    fit = stats.linregress(np.log(x[used]), np.log(y[used]))
    half = float(stats.t.ppf(0.975, count - 2) * fit.stderr)
    return Exponent(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, count)


def _above_rounding(values: Array) -> Any:
    """Which values (K,) are finite, positive and not small against the largest by rounding."""
    fine = np.isfinite(values) & (values > 0)
    return fine & (values > _ROUNDING * np.max(values, initial=0, where=fine))
