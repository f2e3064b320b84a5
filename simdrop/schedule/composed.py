"""Schedules made of pieces: other rates from given steps on, a warm-up before another schedule, rates one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.numbers import check_count, check_finite
from ..checks.words import shown
from ..errors import InvalidInput
from .base import Array, Numbers, Schedule, _word, column, numbers_of, same_members, set_numbers
from .smooth import check_factor

#: change of the rate from one step to the next, relative to it, from which `of_steps` is not taken for smooth
_JUMP = 0.1


@dataclass(frozen=True, eq=False, repr=False, init=False)
class piecewise(Schedule):
    """Another learning rate from each of several steps on; a mapping as `lr` is one.

    Parameters
    ----------
    values : mapping from int to float or array_like, shape (members,)
        First steps and learning rates; step 0 must be among them.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> simdrop.schedule.piecewise({0: 0.1, 2: 0.01}).rates(0, 4)[0].tolist()
    [0.1, 0.1, 0.01, 0.01]
    """

    firsts: tuple[int, ...]
    values: tuple[Numbers, ...]

    def __init__(self, values: Mapping[int, ArrayLike]) -> None:
        if not isinstance(values, Mapping):
            raise InvalidInput(f"lr in pieces must be a mapping such as {{0: 0.1, 2000: 0.01}}, got {shown(values)}")
        for first in values:
            whole = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
            if not whole or first < 0:
                raise InvalidInput(f"lr changes at whole steps, 0 or more, got {shown(first)} in {shown(dict(values))}")
        if 0 not in values:
            raise InvalidInput(f"lr must say what step 0 has: {{0: ...}}, got {shown(dict(values))}")
        firsts = tuple(sorted(int(first) for first in values))
        found = tuple(numbers_of(f"lr from step {first}", values[first], above=0) for first in firsts)
        same_members({f"from step {first}": value for first, value in zip(firsts, found, strict=True)})
        object.__setattr__(self, "firsts", firsts)
        object.__setattr__(self, "values", found)

    def _members(self) -> int | None:
        return next((len(value) for value in self.values if isinstance(value, np.ndarray)), None)

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        columns = [column(value, rows) for value in self.values]
        table = np.concatenate([np.broadcast_to(one, (max(map(len, columns)), 1)) for one in columns], axis=1)
        return np.asarray(table[:, np.searchsorted(self.firsts, np.arange(first, stop), side="right") - 1])

    def _kinks(self, steps: int) -> tuple[int, ...]:
        return tuple(first for first in self.firsts if 0 < first < steps)

    def _ends(self, steps: int) -> tuple[int, ...]:
        return (*self._kinks(steps), steps - 1)

    def _refined(self, parts: int) -> Schedule:
        return piecewise({first * parts: value / parts for first, value in zip(self.firsts, self.values, strict=True)})

    def _times(self, wanted: NDArray[np.int64]) -> Array:
        ends = [*self.firsts[1:], None]
        found = np.zeros(len(wanted))
        for first, end, value in zip(self.firsts, ends, self.values, strict=True):
            found += float(np.max(value)) * np.clip(wanted - first, 0, None if end is None else end - first)
        return found

    def _shown(self) -> str:
        pieces = ", ".join(f"{first}: {_word(value)}" for first, value in zip(self.firsts, self.values, strict=True))
        return f"{{{pieces}}}"

    def __repr__(self) -> str:
        return f"piecewise({self._shown()})"

    def _key(self) -> tuple[Any, ...]:
        arrays = tuple(value if isinstance(value, float) else (len(value), value.tobytes()) for value in self.values)
        return self.firsts, arrays


@dataclass(frozen=True, eq=False, repr=False)
class warmup(Schedule):
    """A learning rate that rises linearly before another schedule begins.

    Parameters
    ----------
    then : float, array_like of shape (members,), mapping or Schedule
        What follows, its steps counted from the end of the rise.
    steps : int
        Steps of the rise.
    start : float or array_like, shape (members,)
        The first step's part, in (0, 1], of the learning rate at which `then` begins.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    Step t < steps has (start + (1 - start) t / steps) times the first rate of `then`, as in
    `torch.optim.lr_scheduler.SequentialLR` of LinearLR and what follows.

    Examples
    --------
    >>> simdrop.schedule.warmup({0: 0.1, 3: 0.01}, steps=2, start=0.5).rates(0, 6)[0].round(4).tolist()
    [0.05, 0.075, 0.1, 0.1, 0.1, 0.01]
    """

    then: Any
    steps: int = field(kw_only=True)
    start: Numbers = field(default=1 / 3, kw_only=True)

    def __post_init__(self) -> None:
        then, start = as_schedule("then", self.then), check_factor(self.start)
        set_numbers(self, then=then, steps=check_count("steps", self.steps), start=start)

    def _members(self) -> int | None:
        own = len(self.start) if isinstance(self.start, np.ndarray) else None
        return own or self.then.members

    def _length(self) -> int | None:
        after = self.then.length
        return None if after is None else self.steps + after

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        start, rise = column(self.start, rows), np.arange(first, min(stop, self.steps))
        parts = []
        if rise.size:
            parts.append((start + (1 - start) * rise / self.steps) * self.then.rates(0, 1, rows))
        if stop > self.steps:
            parts.append(self.then.rates(max(first - self.steps, 0), stop - self.steps, rows))
        members = max(len(part) for part in parts)
        return np.concatenate([np.broadcast_to(part, (members, part.shape[1])) for part in parts], axis=1)

    def _ends(self, steps: int) -> tuple[int, ...]:
        if steps <= self.steps:
            return (steps - 1,)
        return tuple(self.steps + last for last in self.then._ends(steps - self.steps))

    def _kinks(self, steps: int) -> tuple[int, ...]:
        after = (self.steps, *(self.steps + kink for kink in self.then.kinks(max(steps - self.steps, 0))))
        return tuple(kink for kink in after if kink < steps)

    def _refined(self, parts: int) -> Schedule:
        return warmup(self.then.refined(parts), steps=self.steps * parts, start=self.start)


@dataclass(frozen=True, eq=False, repr=False)
class of_steps(Schedule):
    """Learning rates one by one.

    Parameters
    ----------
    values : array_like, shape (steps,) or (members, steps)
        Positive learning rates, at least as many as the run has steps.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> simdrop.schedule.of_steps([0.1, 0.2, 0.1]).length
    3
    """

    values: Array

    def __post_init__(self) -> None:
        array = check_finite("values", self.values)
        if array.ndim not in (1, 2) or array.size == 0:
            raise InvalidInput(f"values must have shape (steps,) or (members, steps), got {array.shape}")
        if not (array > 0).all():
            where = tuple(int(k) for k in np.argwhere(array <= 0)[0])
            raise InvalidInput(f"values must be positive, got {array[where]:g} at index {where}")
        with np.errstate(over="ignore"):
            if not np.isfinite(array.sum(axis=-1)).all():
                raise InvalidInput("values must have a finite sum, the time of the run")
        array.flags.writeable = False
        object.__setattr__(self, "values", array)

    def _members(self) -> int | None:
        return len(self.values) if self.values.ndim == 2 else None

    def _length(self) -> int:
        return self.values.shape[-1]

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        return self.values[None, first:stop] if self.values.ndim == 1 else self.values[rows, first:stop]

    def _kinks(self, steps: int) -> tuple[int, ...]:
        rates = np.atleast_2d(self.values)[:, : min(steps, self._length())]
        jumps = (np.abs(np.diff(rates, axis=1)) > _JUMP * rates[:, :-1]).any(axis=0)
        return tuple((np.flatnonzero(jumps) + 1).tolist())

    def _refined(self, parts: int) -> Schedule:
        return of_steps(np.repeat(self.values / parts, parts, axis=-1))


def as_schedule(name: str, value: Any) -> Schedule:
    """A number, an array over members, a mapping or a schedule as a schedule; raises InvalidInput."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, Mapping):
        return piecewise(value)
    if isinstance(value, type) and issubclass(value, Schedule):
        raise InvalidInput(f"{name} is the class {value.__name__}: call it, with its numbers")
    if callable(value):
        raise InvalidInput(
            f"{name} takes no function: give its values, as in"
            f" simdrop.schedule.of_steps([f(t) for t in range(steps)]), got {shown(value)}"
        )
    return piecewise({0: numbers_of(name, value, above=0)})
