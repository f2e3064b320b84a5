"""Targets as losses take them: real numbers, 0 or 1, or one of c classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.mathematics.losses.table import find

from ..checks.numbers import check_samples
from ..checks.sizes import check_memory
from ..checks.words import shown
from ..errors import InvalidInput

Array = NDArray[np.float64]


def check_targets(y: ArrayLike, loss: str, outputs: int | None = None, name: str = "y") -> Array:
    """The targets (n, c) of a loss as float64; raises InvalidInput.

    Numbers of classes become rows with a 1 in the column of their class, of `outputs` columns where that is given, else
    of as many as the largest number asks for.
    """
    kind = find(loss).targets
    try:
        array = check_samples(name, y)
    except InvalidInput as error:
        if kind == "numbers" or np.asarray(y).dtype.kind not in "OUS":
            raise
        raise InvalidInput(f"{error}; np.unique(y, return_inverse=True)[1] numbers classes 0, 1, ...") from None
    if kind == "binary":
        _refuse(name, array, (array == 0) | (array == 1), f"0 or 1 for loss {loss!r}")
        if array.shape[1] != 1:
            raise InvalidInput(
                f"{name} must have one column for loss 'logistic', got {array.shape[1]}; loss='softmax' is for classes"
            )
    if kind != "classes":
        return array
    return _classes(name, array, loss, outputs) if array.shape[1] == 1 else _check_one_hot(name, array, loss)


def _classes(name: str, numbers: Array, loss: str, outputs: int | None) -> Array:
    """Rows of 0 and one 1 (n, c), of the numbers (n, 1) of classes."""
    whole = (numbers >= 0) & (numbers == np.rint(numbers))
    _refuse(name, numbers, whole, f"numbers of classes, 0, 1, ..., for loss {loss!r}")
    count = int(numbers.max()) + 1
    if outputs is None and count < 2:
        raise InvalidInput(
            f"{name} has class 0 alone, and loss {loss!r} needs two classes at least: give rows with a 1 in the column"
            " of their class, as many columns as there are classes"
        )
    if outputs is not None and count > outputs:
        raise InvalidInput(f"{name} has class {count - 1}, but the problem has {outputs} classes, 0 to {outputs - 1}")
    columns = outputs or count
    check_memory({f"{name}, {len(numbers)} samples of {columns} classes": 8.0 * len(numbers) * columns})
    found = np.zeros((len(numbers), columns))
    found[np.arange(len(numbers)), numbers[:, 0].astype(np.int64)] = 1
    return found


def _check_one_hot(name: str, rows: Array, loss: str) -> Array:
    """Rows (n, c) themselves, where each has one 1 and is 0 elsewhere."""
    good = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    if not good.all():
        k = int(np.flatnonzero(~good)[0])
        raise InvalidInput(
            f"{name} must have one 1 in each row, 0 elsewhere, or hold numbers of classes for loss {loss!r}, got row"
            f" {k}: {shown(rows[k])}"
        )
    return rows


def _refuse(name: str, array: Array, good: NDArray[np.bool_], what: str) -> None:
    """Raise InvalidInput at the first element that is not good."""
    if not good.all():
        k = int(np.flatnonzero(~good.all(axis=1))[0])
        value = array[k][~good[k]][0]
        hint = "; (y + 1) / 2 turns -1 and 1 into 0 and 1" if value == -1 and "0 or 1" in what else ""
        raise InvalidInput(f"{name} must be {what}, got {value:g} at sample {k}{hint}")
