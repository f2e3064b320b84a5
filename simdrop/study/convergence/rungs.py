"""The rungs of an order study: learning rates, or one that changes and is divided, and the steps that each takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.rng import MAX_STEPS

from ...checks.numbers import check_count, check_finite, check_number, check_whole
from ...checks.words import shown
from ...errors import InvalidInput
from ...schedule.base import Schedule
from ...schedule.given import refuse_changing
from ...theory.flows.rates import check_rate
from .fit import WINDOW

#: on the problem of `simdrop order` the finest show the asymptotic slopes, the largest how far those reach
LRS = (0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625)
TIME = 1.0
#: what a learning rate that changes is divided by
REFINE = (1, 2, 4, 8, 16, 32)

#: learning rates and steps, from the largest rate down
Rungs = list[tuple[float | Schedule, int]]


def check_rungs(
    lrs: ArrayLike | None, time: float | None, *, lr: Any = None, steps: int | None = None,
    refine: Sequence[int] | None = None,
) -> Rungs:  # fmt: skip
    """The rungs that the arguments of `order` stand for; raises InvalidInput."""
    if lr is None:
        for name, value in {"steps": steps, "refine": refine}.items():
            if value is not None:
                raise InvalidInput(f"{name} goes with lr, a learning rate that changes, got {shown(value)} without one")
        ladder = check_ladder(LRS if lrs is None else lrs, TIME if time is None else time)
        return list(ladder.items())
    for name, other in {"lrs": lrs, "time": time}.items():
        if other is not None:
            raise InvalidInput(f"{name} goes with learning rates that do not change: leave it or lr out")
    schedule = check_rate(lr)
    if not isinstance(schedule, Schedule):
        raise InvalidInput(f"lr must change here, as in {{0: 0.2, 3: 0.05}}; several numbers are lrs, got {shown(lr)}")
    if steps is None:
        raise InvalidInput("steps is missing: say how many the learning rate lr is for")
    steps = check_count("steps", steps, most=MAX_STEPS)
    parts = np.unique(check_whole("refine", REFINE if refine is None else refine, least=1, most=MAX_STEPS)).tolist()
    if len(parts) < WINDOW:
        raise InvalidInput(f"refine must be at least {WINDOW} different whole numbers, got {shown(refine)}")
    if parts[-1] * steps > MAX_STEPS:
        raise InvalidInput(f"steps · refine must be at most 2**32, got {steps} · {parts[-1]}")
    schedule.check(steps)
    return [(schedule.refined(one), steps * one) for one in parts]


def check_ladder(lrs: ArrayLike, time: float) -> dict[float, int]:
    """The learning rates and the steps that each takes to `time`, from the largest down; raises InvalidInput."""
    refuse_changing("lrs", lrs, "the order is that in one learning rate, the same at every step")
    given = check_finite("lrs", lrs)
    values = np.unique(given)[::-1]
    if given.ndim != 1 or values.size < WINDOW:
        raise InvalidInput(f"lrs must be at least {WINDOW} different learning rates, got {shown(lrs)}")
    time = check_number("time", time)
    if values[-1] <= 0 or time <= 0:
        raise InvalidInput(f"lrs and time must be positive, got {shown(lrs)} and {time!r}")
    with np.errstate(over="ignore"):
        steps = np.rint(time / values)
        off = np.abs(steps * values - time) > 1e-9 * time
    if steps[-1] > MAX_STEPS:
        raise InvalidInput(f"lrs must reach time {time:g} in at most 2**32 steps, {values[-1]:g} takes {steps[-1]:.3g}")
    if off.any() or (steps < 1).any():
        raise InvalidInput(f"every lr must divide time {time:g} into whole steps, {values[off][0]:g} does not")
    return {float(lr): int(count) for lr, count in zip(values, steps, strict=True)}
