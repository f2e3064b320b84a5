"""Numbers as text: with their uncertainty, as percentages."""

from __future__ import annotations

import math

import numpy as np


def percent(share: float) -> str:
    """A share in whole per cent, without a sign on zero."""
    return f"{round(100 * share)} %"


def plus_minus(value: float, error: float) -> str:
    """`value ± error` with two figures of the error; "-" where either is not known."""
    if not (np.isfinite(value) and np.isfinite(error)):
        return "-"
    if error == 0:
        return f"{value:.4g} ± 0"
    size = max(abs(value), error)
    if not 1e-4 <= size < 1e6:
        power = int(np.floor(np.log10(size)))
        return f"({plus_minus(value / 10.0**power, error / 10.0**power)})e{power}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    digits = min(digits, 8)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def concise(value: float, error: float) -> str:
    """`value(error)`, the error in units of the value's last digits: two of them below 3.5, else one.

    1.234(12) is 1.234 ± 0.012; below 1e-3 with a power of ten, as 1.23(4)e-4.
    """
    size = max(abs(value), error)
    if 0 < size < 1e-3:
        power = math.floor(math.log10(size))
        return f"{concise(value * 10.0**-power, error * 10.0**-power)}e{power}"
    if error <= 0:
        return f"{value:.4g}(0)"
    place = math.floor(math.log10(error))
    digits = max(0, (1 if error < 3.5 * 10.0**place else 0) - place)
    return f"{value:.{digits}f}({error * 10.0**digits:.0f})" if error < 1 else f"{value:.{digits}f}({error:.{digits}f})"


def short(value: float | str) -> str:
    """A learning rate in a sentence: a number in few digits, or how it changes."""
    return value if isinstance(value, str) else f"{value:g}"
