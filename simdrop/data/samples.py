"""What all sources of data return, and what can be done to it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets with the names of their columns.

    Parameters
    ----------
    name : str
        What the data are called.
    x : ndarray, shape (n, d)
        Inputs.
    y : ndarray, shape (n, c)
        Targets.
    inputs : tuple of str
        Names of the d inputs.
    targets : tuple of str
        Names of the c targets.
    notes : tuple of str
        What was done to the data.
    """

    name: str
    x: Array
    y: Array
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()


def first(data: Data, samples: int) -> Data:
    """The first `samples` samples; raises InvalidInput where there are fewer."""
    if samples > len(data.x):
        raise InvalidInput(f"samples must be at most the {len(data.x)} of {data.name}, got {samples}")
    note = f"first {samples} of {len(data.x)} samples"
    return replace(data, x=data.x[:samples], y=data.y[:samples], notes=(*data.notes, note))


def standardized(data: Data, *, inputs: bool, targets: bool) -> Data:
    """The data with columns shifted and scaled to mean 0 and variance 1; raises InvalidInput for a constant target."""
    if inputs:
        x, constant = _zero_mean_unit_variance(data, data.x, data.inputs)
        note = "inputs standardised to mean 0, variance 1"
        if constant.any():
            note += f" (constant inputs set to 0: {constant.sum()})"
        data = replace(data, x=x, notes=(*data.notes, note))
    if targets:
        y, constant = _zero_mean_unit_variance(data, data.y, data.targets)
        if constant.any():
            column = data.targets[int(np.flatnonzero(constant)[0])]
            raise InvalidInput(f"target column {column!r} of {data.name} is constant: it cannot be standardised")
        data = replace(data, y=y, notes=(*data.notes, "targets standardised to mean 0, variance 1"))
    return data


def standardized_like(data: Data, train: Data, *, inputs: bool, targets: bool) -> Data:
    """The data with columns shifted and scaled as `standardized` does to those of `train`."""
    x = _like(data.x, train.x) if inputs else data.x
    return replace(data, x=x, y=_like(data.y, train.y) if targets else data.y)


def _like(columns: Array, train: Array) -> Array:
    """Columns (n, k) less the means of `train` (N, k), over its deviations; 0 where that is constant."""
    constant = np.ptp(train, axis=0) == 0
    return np.where(constant, 0, columns - train.mean(axis=0)) / np.where(constant, 1, train.std(axis=0))


def _zero_mean_unit_variance(data: Data, columns: Array, names: tuple[str, ...]) -> tuple[Array, NDArray[np.bool_]]:
    """The columns (n, k) standardised, constant ones as 0, and which are constant (k,).

    Raises InvalidInput for numbers whose variance is beyond float64.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        constant = columns.min(axis=0) == columns.max(axis=0)
        centred = np.where(constant, 0, columns - columns.mean(axis=0))
        deviation = np.where(constant, 1, centred.std(axis=0))
    beyond = ~(np.isfinite(deviation) & (deviation > 0))
    if beyond.any():
        k = int(np.flatnonzero(beyond)[0])
        raise InvalidInput(
            f"column {names[k]!r} of {data.name} cannot be standardised: the variance of numbers from"
            f" {columns[:, k].min():g} to {columns[:, k].max():g} is beyond what float64 holds"
        )
    return centred / deviation, constant
