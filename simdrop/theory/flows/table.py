"""The flows by name: every module of this package that declares `FLOWS` adds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from simdrop_kernels.mathematics.discovery import declared

from ...problem import Noise, Problem
from .integration import Path

#: what the argument `kind` of `flow` may be
FlowKind = Literal[
    "gradient", "averaged", "second-order", "modified", "mean-covariance", "pathwise", "pathwise-plain", "manifold"
]  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """One kind of `flow`.

    Attributes
    ----------
    follow : callable
        Called with (problem, theta0, times) and, by name, lr, method, rtol, atol and those of the options that were
        given; returns a `Path`.
    options : tuple of str
        Arguments of `flow` that this kind takes besides those that all take.
    any_loss : bool
        Whether it is right for losses other than the squared one.
    lr : {"constant", "none", "pieces", "steps"}
        What `follow` takes for a learning rate that changes: nothing; any number, as the flow has none in it; a
        `rates.Rate` for each piece between kinks, which is followed by itself; the schedule.
    check_noise : callable or None
        Called with (problem, noise); raises InvalidInput where steps with that noise have no such flow.
    """

    follow: Callable[..., Path]
    options: tuple[str, ...] = ()
    any_loss: bool = False
    lr: Literal["constant", "none", "pieces", "steps"] = "constant"
    check_noise: Callable[[Problem, Noise], object] | None = None


@cache
def flows() -> dict[str, Flow]:
    """All kinds of `flow` by name."""
    return {name: one for held in declared(__package__, "FLOWS") for name, one in held.items()}
