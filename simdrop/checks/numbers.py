"""Checks of numbers and arrays: one rule for each kind of value, at every door.

A boolean is True or False and never a number; text is never a number; a number is real and finite; a whole number has
an integer type. What does not fit is refused with `InvalidInput` in one line that names the argument, the value and
what would be right. `words` has the checks of names and paths.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from .sizes import check_memory
from .words import counted, shown

Array = NDArray[np.float64]

#: the least probability that a mask can have: masks compare 32-bit words
MIN_KEEP_PROB = 2.0**-32
#: whole numbers beyond this have no float64 of their own
MOST_EXACT = 1 << 53
#: what Python counts among real numbers, and we do not
_NO_NUMBERS = (bool, np.bool_, np.timedelta64)
#: numbers of an array that may be copied without a look at the memory
MANY = 1 << 24
#: more than any machine has
MOST_THREADS = 1 << 12
#: what arrays that do not hold numbers hold, by NumPy's letter for their type
_KINDS = {
    "b": "booleans",
    "c": "complex numbers",
    "m": "time spans",
    "M": "dates",
    "S": "bytes",
    "U": "text",
    "V": "records",
}


def check_flag(name: str, value: object) -> bool:
    """`value` as True or False; raises InvalidInput."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InvalidInput(f"{name} must be True or False, got {shown(value)}")


def check_count(name: str, value: object, least: int = 1, most: int = MOST_EXACT) -> int:
    """`value` as an int of at least `least`, and at most `most`; raises InvalidInput."""
    whole = _whole(value)
    if whole is None or whole < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}, got {shown(value)}")
    if whole > most:
        raise InvalidInput(f"{name} must be at most {most}, got {shown(value)}")
    return whole


def _whole(value: object) -> int | None:
    """`value` as an int where its type is one of whole numbers, else None."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == np.bool_:
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def is_one(name: str, value: object) -> bool:
    """Whether `value` is a single value and not an array; raises InvalidInput where neither is clear."""
    try:
        return np.ndim(value) == 0  # type: ignore[arg-type]
    except Exception as error:  # ragged lists, tensors of other libraries
        raise InvalidInput(f"{name} must be a number or an array: {' '.join(str(error).split())}") from None


def check_threads(value: object) -> int:
    """`value` as a number of threads; raises InvalidInput."""
    return check_count("threads", value, most=MOST_THREADS)


def check_whole(name: str, value: object, least: int = 0, most: int = MOST_EXACT) -> NDArray[np.int64]:
    """`value`, a number or an array, as whole numbers in [least, most] of its own shape; raises InvalidInput.

    As for `check_count` the type must be one of whole numbers: 1.0 is none.
    """
    given = _given(name, value)
    whole = given.dtype.kind in "iu" or given.size == 0
    if not whole or (given.size and not (least <= int(given.min()) and int(given.max()) <= most)):
        raise InvalidInput(f"{name} must be whole numbers from {least} to {most}, got {shown(value)}")
    return given.astype(np.int64)


def check_seed(seed: object, name: str = "seed") -> int:
    """`seed` as an int in [0, 2**64); raises InvalidInput."""
    whole = _whole(seed)
    if whole is not None and whole >= 1 << 64:
        raise InvalidInput(f"{name} must be below 2**64, got {shown(seed)}")
    return check_count(name, seed, least=0, most=1 << 64)


def check_seeds(seed: ArrayLike) -> NDArray[np.uint64]:
    """`seed` as an array () or, of one for each member, (members,); raises InvalidInput."""
    if is_one("seed", seed):
        return np.array(check_seed(seed), dtype=np.uint64)
    given = _given("seed", seed)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or (given < 0).any():
        raise InvalidInput(f"seed must be a whole number, or one for each member, 0 or more, got {shown(seed)}")
    seeds = given.astype(np.uint64)
    if ((seeds ^ seeds[:1]) >> np.uint64(32)).any():
        raise InvalidInput("seeds of members must have the same upper 32 bits: be below 2**32, say")
    return seeds


def check_finite(name: str, value: ArrayLike) -> Array:
    """`value` as a new float64 array of finite real numbers; raises InvalidInput that says where others are."""
    array = _numbers(name, value)
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        if array.ndim == 0:
            raise InvalidInput(f"{name} must be a finite number, got {shown(value)}")
        raise InvalidInput(
            f"{name} has {counted(int(bad.sum()), 'non-finite value')}, the first, {array[where]}, at index {where}"
        )
    return array


def in_native_order(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order, which its type does not spell out then; itself where it is so.

    Zarr and NetCDF files give arrays whose type has a mark of the order, which compiled kernels and PyTorch refuse.
    """
    if array.dtype.byteorder in "=|":
        return array
    native = array.dtype.newbyteorder("=")
    return array.view(native) if array.dtype == native else array.astype(native)


def as_array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of real numbers of its own type, a view where it is an array; raises InvalidInput."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and not isinstance(value, np.ma.MaskedArray):
        return in_native_order(value)
    given = in_native_order(_given(name, value))
    return given if given.dtype.kind in "fiu" else _numbers(name, value)


def check_real(name: str, value: object) -> Array:
    """`value` as a new float64 array of real numbers, which may be NaN or infinite; raises InvalidInput."""
    return _numbers(name, value)


def _numbers(name: str, value: object) -> Array:
    """`value` as a new float64 array, finite or not; raises InvalidInput where it does not hold real numbers."""
    given = _given(name, value)
    if given.dtype.kind == "O":
        _refuse_objects(name, given)
    if given.size > MANY:  # views such as those of np.broadcast_to take no memory of their own; two copies follow
        check_memory({f"{name} of shape {given.shape}": 24.0 * given.size})
    try:
        with np.errstate(over="ignore"):  # of a wider float: infinite, and refused as such
            array = in_native_order(np.array(given, dtype=np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must hold numbers: {error}") from None
    if given.dtype.kind in "iu" and given.size and max(int(given.max()), -int(given.min())) > MOST_EXACT:
        raise InvalidInput(f"{name} has whole numbers beyond 2**53, which float64 would round")
    return array


def _given(name: str, value: object) -> NDArray[Any]:
    """`value` as the array that it is, of a type that may hold real numbers; raises InvalidInput."""
    if np.ma.is_masked(value):
        count = int(np.ma.getmaskarray(np.ma.asarray(value)).sum())
        raise InvalidInput(f"{name} has {counted(count, 'masked value')}: fill them or leave them out")
    if hasattr(value, "toarray"):
        raise InvalidInput(f"{name} is sparse: write {name}.toarray()")
    if hasattr(value, "data_vars"):
        held = ", ".join(map(str, value.data_vars))
        raise InvalidInput(f"{name} must be an array, got a dataset: pass one of its variables {held}")
    try:
        given = np.asarray(value)
    except Exception as error:  # ragged lists, tensors with gradients, other libraries' refusals
        raise InvalidInput(f"{name} must hold numbers: {' '.join(str(error).split())}") from None
    if given.dtype.kind in _KINDS:
        truth = given.dtype.kind == "b" and given.ndim
        advice = "; .astype(float) where 0 and 1 are meant" if truth else ""
        raise InvalidInput(f"{name} must hold numbers, got {_KINDS[given.dtype.kind]}: {shown(value)}{advice}")
    if isinstance(value, (list, tuple)):
        _refuse_within(name, value)
    return given


def _refuse_within(name: str, values: Sequence[Any]) -> None:
    """Raise InvalidInput for what NumPy makes a number of within lists: booleans beside numbers, masked values."""
    for item in values:
        if isinstance(item, (list, tuple)):
            _refuse_within(name, item)
        elif isinstance(item, (bool, np.bool_)) or (isinstance(item, np.ndarray) and item.dtype.kind == "b"):
            raise InvalidInput(f"{name} must hold numbers, got {shown(item)} in {shown(values)}")
        elif isinstance(item, np.ma.MaskedArray) and np.ma.is_masked(item):
            raise InvalidInput(f"{name} has masked values: fill them or leave them out")


def _refuse_objects(name: str, given: NDArray[Any]) -> None:
    """Raise InvalidInput at the first element of an array of objects that is not a real number."""
    for index, item in np.ndenumerate(given):
        if isinstance(item, _NO_NUMBERS) or not isinstance(item, numbers.Real):
            where = f" at index {index}" if index else ""
            advice = f"; write {name}.astype(float) or float(...)" if isinstance(item, Decimal) else ""
            raise InvalidInput(f"{name} must hold numbers, got {shown(item)}{where}{advice}")
        if isinstance(item, int) and abs(item) > MOST_EXACT:
            raise InvalidInput(f"{name} has whole numbers beyond 2**53, which float64 would round")


def check_number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    what: str = "",
) -> float:
    """`value` as a finite float with least <= value <= most and above < value < below; raises InvalidInput.

    `what` says what it is in a message: "a standard deviation", say.
    """
    array = check_finite(name, value)  # type: ignore[arg-type]  # anything else is refused there
    number = float(array) if array.ndim == 0 else math.nan
    if least <= number <= most and above < number < below:
        return number
    raise InvalidInput(f"{name} must be {what or 'a number'}{_range(least, above, most, below)}, got {shown(value)}")


def _range(least: float, above: float, most: float, below: float) -> str:
    """The words for an interval."""
    low, high = max(least, above), min(most, below)
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high):
        return f", {low:g} or more" if least >= above else f" above {low:g}"
    if math.isinf(low):
        return f" of at most {high:g}" if most <= below else f" below {high:g}"
    return f" in {'[' if least >= above else '('}{low:g}, {high:g}{']' if most <= below else ')'}"


def check_keep_prob(value: ArrayLike, name: str = "keep_prob") -> Array:
    """`value` (a number or an array) as float64 in [2**-32, 1]; raises InvalidInput."""
    array = check_finite(name, value)
    if not ((array > 0) & (array <= 1)).all():
        raise InvalidInput(f"{name} must lie in (0, 1] (the probability to keep a neuron), got {shown(value)}")
    if (array < MIN_KEEP_PROB).any():
        raise InvalidInput(
            f"{name} must be at least 2**-32 = 2.3e-10, the least that a mask can have, got {shown(value)}"
        )
    return array


def check_lr(value: object, name: str = "lr") -> float:
    """`value` as a learning rate, a positive number; raises InvalidInput."""
    array = check_finite(name, value)  # type: ignore[arg-type]  # anything else is refused there
    if array.ndim or array <= 0:
        raise InvalidInput(f"{name} must be a positive number, got {shown(value)}")
    return float(array)


def check_samples(name: str, value: ArrayLike) -> Array:
    """Data as a finite C-contiguous float64 array of shape (n, columns), n and columns at least 1."""
    array = check_finite(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidInput(f"{name} must have shape (n,) or (n, columns) and not be empty, got {np.shape(value)}")
    return np.ascontiguousarray(array)
