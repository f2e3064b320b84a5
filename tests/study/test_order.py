"""order() and heat_map(): slopes and verdicts from numbers with a known answer, and small runs from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.summary_schema import read_valid

import simdrop
from simdrop import theory
from simdrop.cli import run
from simdrop.errors import Diverged, InvalidInput
from simdrop.output.numbers import concise
from simdrop.study import heat_map, order
from simdrop.study.case import Case
from simdrop.study.convergence.fit import Slope, consistent, fit_floor, fit_slope
from simdrop.study.predictions import predict

LRS = np.array([0.2, 0.1, 0.05, 0.025])


@pytest.fixture(scope="module")
def problem() -> simdrop.Problem:
    """The small problem on which the orders are known."""
    x = np.linspace(-1, 1, 4)
    return simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_a_power_law_has_its_order(power: int) -> None:
    slope = fit_slope(LRS, 0.3 * LRS**power, np.full(4, 1e-7))
    assert slope is not None
    assert slope.value == pytest.approx(power, abs=1e-6)
    assert slope.order == power
    assert slope.lrs == (0.1, 0.05, 0.025)


def test_rungs_below_three_standard_errors_are_left_out() -> None:
    error = np.array([1e-5, 1e-5, 1e-5, 1.0])
    slope = fit_slope(LRS, LRS**2, error)
    assert slope is not None
    assert slope.lrs == (0.2, 0.1, 0.05)
    assert fit_slope(LRS, LRS**2, np.array([1e-5, 1e-5, 1.0, 1.0])) is None
    assert fit_slope(LRS, np.full(4, np.nan), error) is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """2000 noisy power laws: 95 % ± 4 standard errors (1.9 %) for coverage, or more: Birge's ratio only widens."""
    random, covered = np.random.default_rng(0), 0
    true = 0.5 * LRS**2
    error = 0.05 * true
    for _ in range(2000):
        slope = fit_slope(LRS, true + error * random.standard_normal(4), error)
        assert slope is not None
        covered += slope.interval[0] < 2 < slope.interval[1]
    assert 0.931 < covered / 2000 < 1.0


def test_what_an_interval_supports() -> None:
    assert Slope(1.13, 0.04, ()).order == 1
    assert Slope(2.4, 0.05, ()).order == 2
    assert Slope(0.01, 0.01, ()).order == 0
    assert Slope(1.5, 0.3, ()).order is None  # too wide
    assert Slope(1.62, 0.05, ()).order == 1  # its lower end is too far below 2
    assert Slope(1.75, 0.05, ()).order == 1  # it excludes 2
    assert Slope(1.95, 0.05, ()).order == 2


def verdict(lrs: np.ndarray, distance: np.ndarray, error: np.ndarray, order: int) -> str:
    """Of a ladder whose errors come from 40 groups."""
    return consistent(fit_floor(lrs, distance, error, order, freedom=39), order)


def test_a_slope_that_rises_to_its_order_is_no_floor() -> None:
    """D = lr - lr²/2 has slopes below 1 that rise to 1; with a constant of either sign they fall or rise on."""
    for constant, known in ((0.0, "yes"), (0.01, "no"), (-0.01, "no")):
        distance = LRS - 0.5 * LRS**2 + constant
        assert verdict(LRS, distance, 1e-4 * distance, 1) == known
    assert consistent(None, 1) == "not resolved"
    assert consistent(None, 0) == "no claim"


def test_exact_distances_need_no_error() -> None:
    assert verdict(LRS, 0.3 * LRS**2, np.zeros(4), 2) == "yes"
    assert verdict(LRS, 0.3 * LRS, np.zeros(4), 2) == "no"


def test_a_floor_that_finer_rungs_contradict_is_not_resolved() -> None:
    """The coarse rungs look like a constant, which two finer ones, known to a tenth, lie far below."""
    lrs = 0.2 / 2.0 ** np.arange(6)
    distance = np.array([1.0, 0.6, 0.4, 0.3, 0.05, 0.02])
    error = np.array([1e-3, 1e-3, 1e-3, 1e-3, 5e-3, 2e-3])
    assert verdict(lrs[:4], distance[:4], error[:4], 1) == "no"
    assert verdict(lrs, distance, error, 1) == "not resolved"


def test_three_rungs_never_refuse_an_order() -> None:
    """The modified flow under sample masks: on three rungs a constant, on five none."""
    lrs = 0.1 / 2.0 ** np.arange(5)
    distance = np.array([0.08386, 0.04052, 0.020417, 0.010254, 0.005145])
    error = np.array([9e-5, 4e-5, 2e-5, 1e-5, 5e-6])
    found = fit_floor(lrs[:3], distance[:3], error[:3], 1, freedom=39)
    assert found is not None
    assert found.found
    assert consistent(found, 1) == "not resolved"
    assert verdict(lrs, distance, error, 1) == "yes"


@pytest.mark.parametrize(("order", "share"), [(1, 0.003), (1, 0.01), (2, 0.003), (2, 0.03)])
def test_verdicts_are_wrong_as_rarely_as_they_say(order: int, share: float) -> None:
    """1000 ladders of D = lr^q |b_0 + b_1 lr + ...|, without a constant and with one of half the finest distance.

    At most 1 % "no" and 5 % "yes", and four standard errors of these shares.
    """
    random, lrs, wrong = np.random.default_rng(20261126), 2.0 ** np.arange(4), {"no": 0, "yes": 0}
    for _ in range(1000):
        terms = random.standard_normal((6, 15)) * (random.uniform(0, 0.5) ** np.arange(6))[:, None]
        smooth = lrs**order * np.linalg.norm((lrs[:, None] / 8) ** np.arange(6) @ terms, axis=1)
        for word, true in (("no", smooth), ("yes", smooth + smooth[0])):
            error = share * true[0] * lrs**0.75
            estimated = error * np.sqrt(random.chisquare(39, 4) / 39)
            wrong[word] += verdict(lrs, np.abs(true + error * random.standard_normal(4)), estimated, order) == word
    assert wrong["no"] <= 10 + 4 * np.sqrt(10)
    assert wrong["yes"] <= 50 + 4 * np.sqrt(50)


def wrong_flow(kind: str, wrong: dict[str, float]) -> np.ndarray:
    """Distances over LRS of a flow with a wrong v, a constant error, or without R_1, from exact means."""
    problem = simdrop.Problem(
        np.linspace(-1, 1, 4), np.sin(3 * np.linspace(-1, 1, 4)), width=5, keep_prob=0.7, train="output"
    )
    theta0, found = problem.init(seed=3), []
    other = replace(problem, keep_prob=1 / (1 + wrong.get("v", 1.0) * problem.variance))
    for lr in LRS:
        exact = theory.linear_moments(problem, theta0, lr=lr, steps=[round(1 / lr)]).mean[0, 0]
        flow = simdrop.flow(other, theta0, lr=lr, times=1.0, kind="gradient" if "term" in wrong else kind)
        found.append(np.linalg.norm(flow.theta.values[0, :5] + wrong.get("constant", 0.0) - exact))
    return np.array(found)


@pytest.mark.parametrize(
    ("wrong", "precise", "rough"),
    [
        ({}, "yes", "yes"),
        ({"v": 1.0001}, "yes", "yes"),
        ({"v": 1.003}, "no", "yes"),
        ({"v": 1.01}, "no", "no"),
        ({"v": 1.03}, "no", "no"),
        ({"v": 1.1}, "no", "no"),
        ({"constant": 0.01}, "no", "no"),
        ({"term": True}, "no", "no"),
    ],
)
def test_what_the_ladder_can_and_cannot_tell_apart(wrong: dict[str, float], precise: str, rough: str) -> None:
    """Averaged flows, order 1: v off by 0.01 % hides behind errors of 0.5 %, v off by 0.3 % behind those of 2 %."""
    distance = wrong_flow("averaged", wrong)
    assert verdict(LRS, distance, 0.005 * distance, 1) == precise
    assert verdict(LRS, distance, 0.02 * distance, 1) == rough


@pytest.mark.parametrize("v", [1.003, 1.01, 1.03, 1.1])
def test_order_2_tells_smaller_errors_apart(v: float) -> None:
    """Mean-covariance flows: v off by 0.3 % and more is refused behind errors of 2 %, the right v is not."""
    for wrong, known in (({}, "yes"), ({"v": v}, "no")):
        distance = wrong_flow("mean-covariance", wrong)
        assert verdict(LRS, distance, 0.02 * distance, 2) == known


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.28855, 0.00023, "0.28855(23)"),
        (1.109, 0.0009, "1.1090(9)"),
        (0.000414, 0.000013, "4.14(13)e-4"),
        (0.0, 0.0002, "0.0(2.0)e-4"),
        (12.3, 1.5, "12.3(1.5)"),
        (123.0, 40.0, "123(40)"),
        (0.5, 0.0, "0.5(0)"),
    ],
)
def test_a_number_is_written_with_its_error(value: float, error: float, text: str) -> None:
    assert concise(value, error) == text


def test_an_equation_whose_paths_are_lost_has_no_value(problem: simdrop.Problem) -> None:
    case = Case(
        problem=replace(problem, keep_prob=0.05), theta0=problem.init(seed=3), lr=2.0, steps=10, groups=10, seed=0,
        points=np.zeros((1, 1)), members=200,
    )  # fmt: skip
    with pytest.raises(Diverged, match="paths diverged"):
        predict("sme2", case)


def test_orders_of_the_small_problem(problem: simdrop.Problem, tmp_path: Path) -> None:
    """Gradient flow does not converge, the averaged flow is off by about lr, second order lies far below both."""
    found = order(
        problem, problem.init(seed=3), members=20_000, paths=10, lrs=(0.1, 0.05, 0.025),
        kinds=("gradient", "averaged", "mean-covariance", "pathwise-plain", "pathwise"),
    )  # fmt: skip
    parameters = {name: rows["parameters"] for name, rows in found.summary["kinds"].items()}
    assert parameters["gradient"]["order"] == 0
    assert parameters["averaged"]["order"] == 1
    assert parameters["pathwise-plain"]["slope_interval_95"][1] < 1.5
    assert parameters["pathwise"]["slope_interval_95"][0] > 1.5
    # 4e6 members gave 0.973, 0.289 and 0.0469 at lr = 0.1
    errors = found.errors.sel(quantity="parameters", lr=0.1)
    for name, known in (("gradient", 0.973), ("averaged", 0.289), ("mean-covariance", 0.0469)):
        one = errors.sel(kind=name)
        assert abs(float(one["distance"]) - known) < 5 * float(one["error"]) + 5e-4, name
    assert "order" in found.table()


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "order"
    arguments = ["order", "--members", "400", "--paths", "3", "--kinds", "averaged", "--kinds", "pathwise"]
    arguments += ["--lrs", "0.2", "--lrs", "0.1", "--lrs", "0.05"]
    assert run([*arguments, "--out", str(out)]) == 0
    assert "averaged flow R_S + R_1" in capsys.readouterr().out
    summary = read_valid(out / "summary.json", "order")
    assert set(summary["kinds"]) == {"averaged", "pathwise"}
    assert (out / "figure.png").stat().st_size > 10_000
    assert run([*arguments, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    untouched = tmp_path / "untouched"
    assert run(["order", "--lrs", "0.3", "--lrs", "0.1", "--lrs", "0.05", "--out", str(untouched)]) == 2
    assert "0.3 does not" in capsys.readouterr().err
    assert not untouched.exists()


def test_the_heat_map_agrees_with_order_and_marks_what_diverged(problem: simdrop.Problem) -> None:
    found = heat_map(
        problem, problem.init(seed=3), lrs=(0.1, 20.0), keep_probs=(0.05, 0.7), members=4000, sme_members=200,
        kinds=("averaged", "mean-covariance", "sme2"),
    )  # fmt: skip
    errors = found.errors.sel(quantity="parameters")
    assert errors["alive"].sel(keep_prob=0.7, lr=0.1) == 1
    assert errors["alive"].sel(keep_prob=0.05, lr=20.0) <= 1
    one = errors.sel(kind="averaged", keep_prob=0.7, lr=0.1)
    assert abs(float(one["distance"]) - 0.289) < 5 * float(one["error"]) + 5e-4
    assert float(one["size"]) > float(one["distance"])
    second = errors.sel(kind="sme2", keep_prob=0.7, lr=0.1)
    assert abs(float(second["distance"]) - 0.027) < 5 * float(second["error"])
    assert np.isnan(errors["distance"].sel(kind="sme2", keep_prob=0.05, lr=20.0)), "its paths go to infinity"
    assert errors["size"].sel(keep_prob=0.05, lr=0.1) < 3 * errors["size_error"].sel(keep_prob=0.05, lr=0.1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lrs": (0.1, 0.05)}, "lrs must be at least 3 different learning rates"),
        ({"lrs": (0.3, 0.1, 0.05)}, "every lr must divide time 1 into whole steps, 0.3 does not"),
        ({"lrs": (0.1, 0.05, -0.1)}, "lrs and time must be positive"),
        ({"kinds": ("averged",)}, "did you mean 'averaged'"),
        ({"members": 100, "paths": 200}, "paths must be at most the 100 members"),
    ],
)
def test_bad_input_is_refused(problem: simdrop.Problem, changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        order(problem, **changed)


@pytest.mark.parametrize("lr", [{0: 0.2, 3: 0.05}, simdrop.schedule.cosine(0.2, steps=8)], ids=str)
def test_the_order_under_learning_rates_that_change(lr: Any) -> None:
    """Without dropout nothing is random: gradient flow has order 1, the modified flow, which knows ε(t), order 2."""
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=3, keep_prob=1.0)
    known: dict[str, Any] = {"steps": 6, "refine": (1, 2, 4, 8), "members": 3, "paths": 3, "groups": 3, "seed": 0}
    theta0 = problem.init(seed=3)
    found = simdrop.study.order(problem, theta0, lr=lr, kinds=["gradient", "modified"], **known, backend="numpy")
    assert found.summary["settings"]["lrs"] == [0.2, 0.1, 0.05, 0.025]
    distance = found.errors["distance"].sel(quantity="parameters").values
    slopes = np.log2(distance[:, -2] / distance[:, -1])  # of the finest two, where higher terms are small
    assert abs(slopes[0] - 1) < 0.15
    assert abs(slopes[1] - 2) < 0.3
    assert "divided; lr is that of the first step" in found.table()
    path = problem.init(seed=3)
    schedule = simdrop.schedule.piecewise(lr) if isinstance(lr, dict) else lr
    for rate in schedule.refined(2).rates(0, 12)[0]:
        path = path - rate * simdrop.theory.gradient(problem, path, objective="risk")
    flow = simdrop.flow(problem, theta0, lr=lr, times=schedule.refined(2).times(np.array([12])), kind="gradient")
    np.testing.assert_allclose(distance[0, 1], np.linalg.norm(path - flow["theta"].values[-1]), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.1, "steps": 3}, "lr must change here"),
        ({"lr": {0: 0.1, 2: 0.2}}, "steps is missing"),
        ({"lr": {0: 0.1, 2: 0.2}, "steps": 3, "time": 1.0}, "time goes with learning rates that do not change"),
        ({"lr": {0: 0.1, 2: 0.2}, "steps": 3, "refine": (1, 2)}, "refine must be at least 3"),
        ({"lr": {0: 0.1, 2: 0.2}, "steps": 3, "refine": (1, 2, 2.5)}, "refine must be whole numbers"),
        ({"lr": {0: 0.1, 2: 0.2}, "steps": 3, "kinds": ["manifold"]}, "the same at all steps"),
        ({"steps": 3}, "steps goes with lr"),
    ],
)
def test_ladders_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
    with pytest.raises(InvalidInput, match=message):
        simdrop.study.order(problem, members=3, paths=3, groups=3, sme_members=3, **given)


@pytest.mark.parametrize(
    "lr",
    [
        simdrop.schedule.power(np.array([0.2, 0.1]), exponent=0.7, scale=5),
        simdrop.schedule.exponential(0.2, factor=0.9),
        simdrop.schedule.warmup(simdrop.schedule.cosine(0.2, steps=20, final=0.01), steps=6),
        simdrop.schedule.of_steps(np.linspace(0.1, 0.2, 30)),
        simdrop.schedule.piecewise({0: 0.2, 7: 0.1}),
    ],
    ids=str,
)
def test_refined_schedules_are_the_same_over_time(lr: simdrop.schedule.Schedule) -> None:
    fine = 4 * lr.refined(4).rates(0, 120)
    np.testing.assert_allclose(fine[:, ::4], lr.rates(0, 30), rtol=1e-12)
    coarse = lr.rates(0, 30)
    low, high = np.minimum(coarse[:, :-1], coarse[:, 1:]), np.maximum(coarse[:, :-1], coarse[:, 1:])
    between = fine[:, :116].reshape(len(fine), 29, 4)
    assert ((between > low[..., None] * (1 - 1e-12)) & (between < high[..., None] * (1 + 1e-12))).all()
