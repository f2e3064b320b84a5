"""Learning rates that change, as flows and stochastic equations see them: rates over time in the place of steps.

The time t of a run is the sum of its learning rates, and ε(t) that of the step in whose interval t lies. Where the
rates of a schedule go on smoothly ε(t) is a cubic spline through the middles of these intervals: its mean over each
differs from the step's rate by O(ε³), beyond the order of any flow here. At a schedule's kinks a flow is stopped and
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...checks.numbers import check_lr
from ...checks.sizes import check_memory
from ...checks.words import counted
from ...errors import InvalidInput
from ...schedule.base import Schedule
from ...schedule.composed import piecewise
from ...schedule.given import check_rates
from .._input import Array

#: a learning rate, or one that is a function of time
Rate = float | Callable[[float], float]

#: steps whose rates are looked at one by one
MOST_STEPS = 10_000_000
#: nodes of a spline
_NODES = 4000
#: how far, relative to it, a time may lie beyond the end of the rates by rounding
_ROUNDING = 1e-9


class Piece(NamedTuple):
    """From one kink to the next: the learning rate as a number, or as a function of the time since `begin`."""

    begin: float
    end: float
    rate: Rate
    largest: float


def check_rate(lr: Any) -> float | Schedule:
    """`lr` as a positive number or a schedule that all members share; raises InvalidInput."""
    if not isinstance(lr, (Schedule, Mapping)) and not callable(lr):
        return check_lr(lr)
    found = check_rates(lr)
    if isinstance(found, Schedule) and found.members is None:
        return found
    if isinstance(found, Schedule) or found.ndim:
        raise InvalidInput(f"lr must be the same for all members here, got {lr}")
    return float(found)


def value(rate: Rate, time: float) -> float:
    """The learning rate at a time."""
    return float(rate(time)) if callable(rate) else rate


@dataclass(frozen=True)
class Clock:
    """Times of steps: from step `steps[k]` at `times[k]` on, the learning rate is `rates[k]`, up to the next.

    steps, times (N + 1,); rates (N,); kinks: places in `steps` where the rates do not go on smoothly
    """

    steps: Array
    times: Array
    rates: Array
    kinks: tuple[int, ...]

    @classmethod
    def of(cls, schedule: Schedule, end: float) -> Clock:
        """The clock of a schedule up to a time; raises InvalidInput where its learning rates do not go as far."""
        if isinstance(schedule, piecewise):
            firsts, rates = np.array(schedule.firsts, dtype=np.float64), np.array(schedule.values, dtype=np.float64)
            times = np.concatenate([[0.0], np.cumsum(np.diff(firsts) * rates[:-1])])
            count = max(1, int(np.searchsorted(times, end)))
            last = firsts[count - 1] + max(np.ceil((end - times[count - 1]) / rates[count - 1]), 1.0)
            steps = np.append(firsts[:count], last)
            times = np.append(times[:count], times[count - 1] + (last - firsts[count - 1]) * rates[count - 1])
            return cls(steps, times, rates[:count], tuple(range(1, count)))
        rates = _rates_until(schedule, end)
        times = np.concatenate([[0.0], np.cumsum(rates)])
        return cls(np.arange(len(times), dtype=np.float64), times, rates, schedule.kinks(len(rates)))

    @classmethod
    def constant(cls, lr: float) -> Clock:
        """The clock of one learning rate."""
        return cls(np.array([0.0, 1.0]), np.array([0.0, lr]), np.array([lr]), ())

    def interval(self, step: int) -> tuple[float, float, float]:
        """When a step begins and ends, and its learning rate."""
        if len(self.rates) == 1:
            rate = float(self.rates[0])
            return step * rate, (step + 1) * rate, rate
        begin, end = np.interp([step, step + 1.0], self.steps, self.times)
        place = int(np.searchsorted(self.steps, step, side="right")) - 1
        return float(begin), float(end), float(self.rates[min(place, len(self.rates) - 1)])

    def steps_at(self, times: Array) -> Array:
        """Numbers of steps (T,), and parts of one, that are done at times (T,)."""
        return np.interp(times, self.times, self.steps)

    def at(self, times: Array) -> Array:
        """The learning rates (T,) of the steps that begin at, or contain, `times` (T,); at the end that of the last."""
        place = np.searchsorted(self.times, times * (1 + _ROUNDING), side="right") - 1
        return self.rates[np.clip(place, 0, len(self.rates) - 1)]

    def pieces(self, end: float) -> list[Piece]:
        """The pieces from kink to kink up to a time."""
        found: list[Piece] = []
        bounds = [0, *self.kinks, len(self.rates)]
        for first, last in pairwise(bounds):
            begin, stop = float(self.times[first]), min(float(self.times[last]), end)
            if stop <= begin and found:
                break
            rates = self.rates[first:last]
            found.append(Piece(begin, stop, self._rate(first, last), float(rates.max())))
        found[-1] = found[-1]._replace(end=end)  # rounding
        return found

    def _rate(self, first: int, last: int) -> Rate:
        """The learning rate between two kinks, as a function of the time since the first."""
        rates = self.rates[first:last]
        if (rates == rates[0]).all():
            return float(rates[0])
        from scipy.interpolate import CubicSpline

        middles = (self.times[first:last] + self.times[first + 1 : last + 1]) / 2 - self.times[first]
        chosen = np.unique(np.linspace(0, len(rates) - 1, min(len(rates), _NODES)).astype(int))
        spline = CubicSpline(middles[chosen], rates[chosen])
        return lambda time: float(spline(time))

    def grid(self, times: Array, substeps: int, *, most: int) -> tuple[NDArray[np.int64], Array, Array]:
        """Steps of a scheme that end at `times` (T,) and at kinks, at least `substeps` in the place of each step.

        Returns the numbers of steps (T,) done at `times`, the sizes of all steps in time, and their learning rates: the
        means over them. Raises InvalidInput where there are more than `most`, or than memory holds.
        """
        kinks = self.steps[list(self.kinks)]
        wanted = self.steps_at(times)
        marks = np.unique(np.concatenate([[0.0], wanted, kinks[kinks < wanted[-1]]]))
        wide = np.maximum(np.ceil(np.diff(marks) * substeps - 1e-6), 1.0)
        if not wide.sum() <= most:
            raise InvalidInput(f"times up to {times[-1]:g} need {wide.sum():g} steps, more than {most}")
        check_memory({f"the sizes of {wide.sum():g} steps": 8 * wide.sum()})
        counts = wide.astype(np.int64)
        parts = [np.linspace(a, b, n, endpoint=False) for (a, b), n in zip(pairwise(marks), counts, strict=True)]
        places = np.concatenate([*parts, marks[-1:]])
        sizes = np.diff(np.interp(places, self.steps, self.times))
        rates = sizes / np.diff(places)
        done = np.concatenate([[0], np.cumsum(counts)])[np.searchsorted(marks, wanted)]
        return done, sizes, rates


def _rates_until(schedule: Schedule, end: float) -> Array:
    """The learning rates of the steps up to a time; raises InvalidInput where there are none so far."""
    parts: list[Array] = []
    done, time, most = 0, 0.0, min(schedule.length or MOST_STEPS, MOST_STEPS)
    while time < end * (1 - _ROUNDING) or done == 0:
        stop = min(max(2 * done, 1024), most)
        with np.errstate(over="ignore", under="ignore"):
            part = schedule.rates(done, stop)[0] if stop > done else np.empty(0)
        positive = part[: int(np.argmax(part <= 0))] if (part <= 0).any() else part
        sums = time + np.cumsum(positive)
        enough = int(np.searchsorted(sums, end * (1 - _ROUNDING))) + 1
        parts.append(positive[:enough])
        done, time = done + len(parts[-1]), float(sums[len(parts[-1]) - 1]) if len(parts[-1]) else time
        if time < end * (1 - _ROUNDING) and (len(positive) < len(part) or done >= most):
            raise InvalidInput(
                f"times up to {end:g} are beyond the learning rates of {schedule}: those of its"
                f" {counted(done, 'step')} sum to {time:g}"
            )
    return np.concatenate(parts)
