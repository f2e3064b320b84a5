"""Learning rates that change: times that no other record changes, and what is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import schedule
from simdrop.errors import InvalidInput

X = np.linspace(-1, 1, 6)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5)


def _run(**changes: Any) -> Any:
    options: dict[str, Any] = {"lr": 0.1, "steps": 20, "members": 2, "record": 2, "backend": "numpy"}
    return simdrop.simulate(PROBLEM, PROBLEM.init(seed=0), **(options | changes))


@pytest.mark.parametrize(
    "lr",
    [
        schedule.cosine(0.1, steps=300_000),
        schedule.warmup(0.1, steps=70_000),
        schedule.warmup(0.1, steps=65_536),
        schedule.of_steps(np.linspace(0.1, 0.2, 200_000)),
    ],
    ids=str,
)
def test_the_time_of_a_step_does_not_depend_on_the_others(lr: schedule.Schedule) -> None:
    steps = np.array([0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 131_072, 200_000])
    times = lr.times(steps)
    assert times.tolist() == [lr.times(np.array([step]))[0] for step in steps]
    rates = lr.rates(0, 200_000)[0].astype(np.longdouble)
    np.testing.assert_allclose(times, [float(rates[:step].sum()) for step in steps], rtol=1e-13)


def test_runs_with_other_record_times_align() -> None:
    lr = schedule.cosine(0.1, steps=30)
    often, seldom = _run(lr=lr, record=[0, 3, 7, 20]), _run(lr=lr, record=[0, 7, 20])
    assert set(seldom.time.values) < set(often.time.values)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (schedule.Schedule, "piecewise"),
        (lambda: _run(lr=schedule.cosine), "cosine: call it"),
        (lambda: _run(lr="cosine(0.1, steps=20)"), "schedule.parse"),
        (lambda: simdrop.scale.design({"simulate": {"lr": schedule.of_steps([0.1] * 9)}}), "without arrays"),
        (lambda: schedule.parse(None), "must be a text"),
        (lambda: schedule.parse("cosine(0.1)"), "missing a required argument: 'steps'"),
        (lambda: schedule.parse("cosine(0.1, steps=5, end=0)"), "'end'"),
        (lambda: _run(lr={0: 0.1, 5: 1e308, 10: 0.1}), "1e\\+308 at step 5"),
        (lambda: _run(lr=schedule.warmup({0: 0.1, 5: 1e308, 10: 0.1}, steps=2)), "1e\\+308 at step 7"),
        (lambda: schedule.of_steps([1e308] * 20), "a finite sum"),
        (lambda: schedule.cosine(0.1, steps=3).rates(0, "a"), "stop must be a whole number"),
        (lambda: schedule.cosine(0.1, steps=3).rates(-1, 2), "first must be a whole number"),
        (lambda: schedule.cosine(0.1, steps=3).rates(0, 10**15), "learning rates of 1000000000000000 steps"),
        (lambda: schedule.cosine(0.1, steps=3).times([0.5]), "steps must be whole numbers"),
        (lambda: schedule.cosine(0.1, steps=3).times([2, 0]), "increasing numbers of steps"),
        (lambda: schedule.cosine(0.1, steps=3).check("a"), "steps must be a whole number"),
        (lambda: schedule.cosine(0.1, steps=3).kinks(1.5), "steps must be a whole number"),
        (lambda: schedule.parse("{0: 0.1, 5: 0.2, 0x5: 0.3}"), "lr has 5 twice"),
        (lambda: schedule.parse("warmup(cosine(0.1, steps=5, steps=6), steps=2)"), "lr has steps twice: 'cosine"),
        (lambda: _run(lr=schedule.power(0.1, exponent=1, scale=1e-310)), "positive"),
        (lambda: _run(optimizer="AdamW"), "decoupled"),
    ],
)
def test_what_is_no_learning_rate_is_refused(refused: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        refused()


def test_tables_and_schedules_are_learning_rates_of_sweeps() -> None:
    """The keys of TOML's tables are texts."""
    one, other = schedule.cosine(0.1, steps=20), {0: 0.1, 10: 0.01}
    given = [one, other, {"0": 0.1, "10": 0.01, "15": 0.001}, 0.1]
    found = simdrop.scale.design({"simulate": {"steps": 9, "members": 2}, "sweep": {"lr": given}})
    assert [schedule.parse(str(point.lr)) for point in found.points] == [
        one, schedule.piecewise(other), schedule.piecewise(other | {15: 0.001}), 0.1,
    ]  # fmt: skip
