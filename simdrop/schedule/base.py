"""What all schedules have: rates of steps, value semantics, and how they are written."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.numbers import check_count, check_finite, check_whole
from ..checks.sizes import check_memory
from ..checks.words import shown
from ..errors import InvalidInput

Array = NDArray[np.float64]
#: one number for all members, or a read-only array (members,)
Numbers = float | Array

#: steps whose rates are worked out at one time; where these blocks lie decides the last bits of times
_BLOCK = 1 << 16
#: steps that are added up in a row
_ROW = 1 << 8


class Schedule:
    """A learning rate for every step, the base of all schedules.

    Steps count from 0. Numbers of a schedule may be arrays over members. Schedules are equal where all their numbers
    are, and cannot be changed.
    """

    @property
    def members(self) -> int | None:
        """Number of members whose rates it has, None where all have the same."""
        return self._members()

    @property
    def length(self) -> int | None:
        """Number of steps that it has rates for, None where there is no end."""
        return self._length()

    def __init__(self) -> None:
        """Raises InvalidInput: the base has no rates. Every schedule has an __init__ of its own."""
        raise InvalidInput("Schedule is the base of schedules: use simdrop.schedule.piecewise or another of them")

    def rates(self, first: int, stop: int, rows: slice = slice(None)) -> Array:
        """Learning rates of steps first, ..., stop - 1.

        Parameters
        ----------
        first, stop : int
            The first step, and the one after the last.
        rows : slice
            The members that are wanted.

        Returns
        -------
        ndarray, shape (1, stop - first) or (members, stop - first)
            The rates; one row where all members have the same.
        """
        first, stop = check_count("first", first, least=0), check_count("stop", stop, least=0)
        check_memory({f"learning rates of {stop - first} steps": 8.0 * (stop - first)})
        return self._rates(first, stop, rows)

    def kinks(self, steps: int) -> tuple[int, ...]:
        """Steps at which the rates do not go on smoothly.

        Parameters
        ----------
        steps : int
            Number of steps that are looked at.

        Returns
        -------
        tuple of int
            Increasing, between 1 and steps - 1.
        """
        return self._kinks(check_count("steps", steps, least=0))

    def times(self, steps: ArrayLike) -> Array:
        """Times at given steps: the sum of the learning rates before them.

        Parameters
        ----------
        steps : array_like of int, shape (T,)
            Increasing numbers of steps.

        Returns
        -------
        ndarray, shape (T,)
            Times, of a schedule that all members share.
        """
        wanted = check_whole("steps", steps)
        if wanted.ndim != 1 or (np.diff(wanted) < 0).any():
            raise InvalidInput(f"steps must be a list of increasing numbers of steps, got {shown(steps)}")
        return self._times(wanted)

    def refined(self, parts: int) -> Schedule:
        """The same learning rate over time, by smaller steps.

        Parameters
        ----------
        parts : int
            Steps in the place of each, whose rates are divided by as many.

        Returns
        -------
        Schedule
            One of the same kind.

        Raises
        ------
        InvalidInput
            `parts` is no whole number of at least 1.

        Examples
        --------
        >>> simdrop.schedule.piecewise({0: 0.2, 3: 0.1}).refined(2)
        piecewise({0: 0.1, 6: 0.05})
        """
        return self._refined(check_count("parts", parts))

    def check(self, steps: int) -> None:
        """Check that a run can have these learning rates.

        Parameters
        ----------
        steps : int
            Number of steps of the run.

        Raises
        ------
        InvalidInput
            There are too few of them, or some are not positive, or too large to be added up.
        """
        steps = check_count("steps", steps)
        if self.length is not None and self.length < steps:
            raise InvalidInput(
                f"lr has the learning rates of {self.length} steps, the run has {steps}: {self._shown()}"
            )
        for last in self._ends(steps):
            rates = self._rates(last, last + 1, slice(None))
            with np.errstate(over="ignore"):
                good = (rates > 0) & np.isfinite(rates * steps)
            if not good.all():
                raise InvalidInput(
                    f"lr must be positive, and finite times the number of steps, at every step: {self._shown()} is"
                    f" {rates[~good][0]:g} at step {last}"
                )

    def fingerprint(self) -> str:
        """What two schedules share where all their numbers are the same.

        Returns
        -------
        str
            The kind, its numbers, and SHA-256 of what it has for each member.
        """
        return f"{type(self).__name__}{self._key()!r}"

    def __str__(self) -> str:
        return self._shown()

    def __repr__(self) -> str:
        return self._shown()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._key() == self._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        raise NotImplementedError

    def _refined(self, parts: int) -> Schedule:
        raise InvalidInput(f"{type(self).__name__} has no method _refined, which smaller steps need")

    def _kinks(self, steps: int) -> tuple[int, ...]:
        return ()

    def _ends(self, steps: int) -> tuple[int, ...]:
        """Steps, the last among them, between which the rates fall or rise, and are positive where they are there."""
        return (steps - 1,)

    def _length(self) -> int | None:
        return None

    def _members(self) -> int | None:
        sizes = [len(value) for value in self._numbers() if isinstance(value, np.ndarray)]
        return sizes[0] if sizes else None

    def _times(self, wanted: NDArray[np.int64]) -> Array:
        found, time = np.empty(len(wanted)), 0.0
        last = int(wanted[-1]) if len(wanted) else 0
        for first in range(0, last + 1, _BLOCK):  # the time of a step is the same whatever else is wanted
            stop = min(first + _BLOCK, last)
            sums = _running_sums(self.rates(first, stop)[0] if stop > first else np.zeros(0))
            here = slice(*np.searchsorted(wanted, [first, first + _BLOCK]))
            found[here] = time + sums[wanted[here] - first]
            time += float(sums[-1])
        return found

    def _shown(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_word(value)}' for name, value in self._fields())})"

    def _fields(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]  # type: ignore[arg-type]

    def _numbers(self) -> list[Any]:
        return [value for _, value in self._fields()]

    def _key(self) -> tuple[Any, ...]:
        return tuple(_hashable(value) for value in self._numbers())


def _running_sums(rates: Array) -> Array:
    """0 and the sums of the first rates, in rows that keep rounding small; no rate has a part in sums before it."""
    rows = np.zeros((len(rates) // _ROW + 1, _ROW))
    rows.ravel()[: len(rates)] = rates
    inside = np.cumsum(rows, axis=1)
    inside[1:] += np.cumsum(inside[:-1, -1])[:, None]
    return np.concatenate([[0.0], inside.ravel()[: len(rates)]])


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    return value._key() if isinstance(value, Schedule) else value


def _word(value: Any) -> str:
    """A number, or between which numbers those of members lie."""
    if isinstance(value, np.ndarray):
        return f"<{value.min():g} ... {value.max():g}, shape {value.shape}>"
    return str(value) if isinstance(value, Schedule) else repr(value)


def numbers_of(name: str, value: ArrayLike, *, least: float = -np.inf, above: float = -np.inf) -> Numbers:
    """A number, or one for each member; raises InvalidInput, also below `least` or not above `above`."""
    if isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be a number, or one for each member, got {shown(value)}")
    array = check_finite(name, value)
    if array.ndim > 1 or array.size == 0:
        raise InvalidInput(f"{name} must be a number, or one for each member, got shape {array.shape}")
    if not ((array >= least) & (array > above)).all():
        wanted = "positive" if above == 0 else f"above {above:g}" if above > least else f"{least:g} or more"
        raise InvalidInput(f"{name} must be {wanted}, got {shown(value)}")
    if array.ndim == 0:
        return float(array)
    array.flags.writeable = False
    return array


def same_members(values: Mapping[str, Any]) -> None:
    """Raise InvalidInput where arrays over members have different lengths."""
    sizes = {
        name: (len(value) if isinstance(value, np.ndarray) else value.members)
        for name, value in values.items()
        if isinstance(value, np.ndarray) or getattr(value, "members", None)
    }
    if len(set(sizes.values())) > 1:
        raise InvalidInput(f"lr has different numbers of members: {', '.join(f'{k} {n}' for k, n in sizes.items())}")


def set_numbers(schedule: Schedule, **values: Any) -> None:
    """Give a frozen schedule its numbers, checked one by one; raises InvalidInput where they differ in members."""
    same_members(values)
    for name, value in values.items():
        object.__setattr__(schedule, name, value)


def column(value: Numbers, rows: slice) -> Array:
    """The numbers of some members as a column (B, 1), or (1, 1) where all have the same."""
    return np.asarray(value if isinstance(value, float) else value[rows]).reshape(-1, 1)
