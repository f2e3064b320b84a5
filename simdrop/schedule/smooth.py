"""Schedules by a formula of the step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..checks.numbers import check_count
from ..errors import InvalidInput
from .base import Array, Numbers, Schedule, column, numbers_of, set_numbers


@dataclass(frozen=True, eq=False, repr=False)
class power(Schedule):
    """Decay by a power of the step: lr (1 + t / scale)^-exponent at step t.

    Parameters
    ----------
    lr : float or array_like, shape (members,)
        Learning rate of the first step.
    exponent : float or array_like, shape (members,)
        0 or more. Between 1/2 (exclusive) and 1 SGD converges (Robbins & Monro, Ann. Math. Statist. 22, 1951).
    scale : float or array_like, shape (members,)
        Steps after which the decay sets in.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> simdrop.schedule.power(0.1, exponent=1).rates(0, 4)[0].round(4).tolist()
    [0.1, 0.05, 0.0333, 0.025]
    """

    lr: Numbers
    exponent: Numbers = field(kw_only=True)
    scale: Numbers = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        set_numbers(
            self,
            lr=numbers_of("lr", self.lr, above=0),
            exponent=numbers_of("exponent", self.exponent, least=0),
            scale=numbers_of("scale", self.scale, above=0),
        )

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        t = np.arange(first, stop)
        lr, exponent, scale = (column(value, rows) for value in (self.lr, self.exponent, self.scale))
        with np.errstate(over="ignore", under="ignore"):  # `check` judges them
            return np.asarray(lr * (1 + t / scale) ** -exponent)

    def _refined(self, parts: int) -> Schedule:
        return power(self.lr / parts, exponent=self.exponent, scale=self.scale * parts)


@dataclass(frozen=True, eq=False, repr=False)
class exponential(Schedule):
    """Decay by the same factor at every step: lr · factor^t at step t, `torch.optim.lr_scheduler.ExponentialLR`.

    Parameters
    ----------
    lr : float or array_like, shape (members,)
        Learning rate of the first step.
    factor : float or array_like, shape (members,)
        Positive; above 1 the rates grow.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> simdrop.schedule.exponential(0.1, factor=0.5).rates(0, 3)[0].tolist()
    [0.1, 0.05, 0.025]
    """

    lr: Numbers
    factor: Numbers = field(kw_only=True)

    def __post_init__(self) -> None:
        set_numbers(self, lr=numbers_of("lr", self.lr, above=0), factor=numbers_of("factor", self.factor, above=0))

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        with np.errstate(over="ignore", under="ignore"):  # `check` judges them
            powers = column(self.factor, rows) ** np.arange(first, stop, dtype=np.float64)
            return np.asarray(column(self.lr, rows) * powers)

    def _refined(self, parts: int) -> Schedule:
        return exponential(self.lr / parts, factor=self.factor ** (1 / parts))


@dataclass(frozen=True, eq=False, repr=False)
class cosine(Schedule):
    """Half a cosine from lr to `final`, `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Parameters
    ----------
    lr : float or array_like, shape (members,)
        Learning rate of the first step.
    steps : int
        Steps until `final` is reached; the rate stays there.
    final : float or array_like, shape (members,)
        0 or more. With 0 a run cannot be longer than `steps`.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    Step t has final + (lr - final) (1 + cos(π t / steps)) / 2: SGDR (Loshchilov & Hutter, arXiv:1608.03983) without
    restarts.

    Examples
    --------
    >>> simdrop.schedule.cosine(0.1, steps=4).rates(0, 4)[0].round(4).tolist()
    [0.1, 0.0854, 0.05, 0.0146]
    """

    lr: Numbers
    steps: int = field(kw_only=True)
    final: Numbers = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        lr, final = numbers_of("lr", self.lr, above=0), numbers_of("final", self.final, least=0)
        set_numbers(self, lr=lr, steps=check_count("steps", self.steps), final=final)

    def _rates(self, first: int, stop: int, rows: slice) -> Array:
        t = np.minimum(np.arange(first, stop), self.steps)
        lr, final = column(self.lr, rows), column(self.final, rows)
        fall = np.where(t < self.steps, (1 + np.cos(np.pi * t / self.steps)) / 2, 0.0)
        return np.asarray(final + (lr - final) * fall)

    def _refined(self, parts: int) -> Schedule:
        return cosine(self.lr / parts, steps=self.steps * parts, final=self.final / parts)

    def _kinks(self, steps: int) -> tuple[int, ...]:
        return (self.steps,) if self.steps < steps else ()


def check_factor(value: ArrayLike) -> Numbers:
    """A factor in (0, 1] of a learning rate; raises InvalidInput."""
    found = numbers_of("start", value, above=0)
    if np.max(found) > 1:
        raise InvalidInput(f"start must lie in (0, 1], the first step's part of the learning rate, got {value!r}")
    return found
