"""Whether two results of `simulate` or `sme` are the same but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from conftest import TOLERANCE

from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

#: relative changes that a right backend may make by rounding: eight units in the last place
LAST_BITS = {"float64": 2.0**-49, "float32": 2.0**-20}
#: activations whose values and derivatives are exact but for one product
EXACT = ("relu", "linear", "quadratic")


def scale_of(name: str, theirs: xr.Dataset, target: float) -> float:
    """The size of numbers whose rounding a variable shows; `target`: mean square of the targets."""
    largest = float(np.nanmax(np.abs(theirs[name].values), initial=0.0))
    if "risk" in name:
        return max(largest, target)  # residuals are differences of outputs and targets
    if name in ("theta_std", "group_theta_mean"):
        return max(largest, float(np.nanmax(np.abs(theirs["theta_mean"].values), initial=0.0)))
    if name == "theta_cov":
        return max(largest, float(np.nanmax(np.square(theirs["theta_mean"].values), initial=0.0)))
    if name in ("f_std", "group_f_mean"):
        return max(largest, float(np.nanmax(np.abs(theirs["f_mean"].values), initial=0.0)))
    return largest


def differences(ours: xr.Dataset, theirs: xr.Dataset, target: float) -> dict[str, float]:
    """For every variable the largest difference, relative to the size of the numbers; infinite where NaNs differ."""
    assert set(ours.variables) == set(theirs.variables)
    assert ours.sizes == theirs.sizes
    found = {}
    for name in map(str, theirs.data_vars):
        one, other = ours[name].values, theirs[name].values
        if other.dtype.kind in "iub":
            found[name] = 0.0 if np.array_equal(one, other) else np.inf
        elif not np.array_equal(np.isfinite(one), np.isfinite(other)):
            found[name] = np.inf
        else:
            off = float(np.nanmax(np.abs(one.astype(float) - other.astype(float)), initial=0.0))
            found[name] = off / (scale_of(name, theirs, target) or 1.0)
    return found


def beyond(
    ours: xr.Dataset, theirs: xr.Dataset, dtype: str, target: float, again: Callable[[int], xr.Dataset]
) -> tuple[dict[str, Any], bool]:
    """The variables in which two results differ by more than rounding explains, and whether rounding was measured.

    Rounding explains TOLERANCE, and where that does not do, as much as `theirs` itself changes when its start and its
    activations are changed in the last bits: `again(k)` runs it so, for k = 1, 2, .... A step that is ill-conditioned
    there (Adam where a gradient nearly vanishes, a ReLU at its kink) may differ between two right backends, and no
    other.
    """
    off = {name: size for name, size in differences(ours, theirs, target).items() if size > TOLERANCE[dtype]}
    if not off:
        return {}, False
    others = [differences(again(k), theirs, target) for k in range(1, 5)]
    return {
        name: (size, max(other[name] for other in others))
        for name, size in off.items()
        if size > TOLERANCE[dtype] + max(other[name] for other in others)
    }, True


def nudged(theta0: np.ndarray, dtype: str, k: int) -> np.ndarray:
    """theta0 changed in the last bits, for every k otherwise."""
    return theta0 * (1 + LAST_BITS[dtype] * np.random.default_rng(k).uniform(-1, 1, theta0.shape))


@contextmanager
def rounded_otherwise(name: str, dtype: str, k: int) -> Iterator[None]:
    """Give an activation other last bits, for every k otherwise: as much as two right ones may differ.

    Where σ' follows from σ, as 1 - σ² for tanh, its last bits are those of 1, however small it is.
    """
    before, size = ACTIVATIONS[name], LAST_BITS[dtype]

    def chain(z: np.ndarray) -> Iterator[np.ndarray]:
        for order, values in enumerate(before.chain(z)):
            bits = z.dtype.type(size) * np.sin(z.dtype.type(12345.6 * k + order) * z)  # the same for any thread
            yield values * (1 + bits) if order == 0 or name in EXACT else values + bits

    ACTIVATIONS[name] = replace(before, chain=chain)
    try:
        yield
    finally:
        ACTIVATIONS[name] = before
