"""Flows and stochastic equations under learning rates that change: against the steps that they stand for."""

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import schedule, theory
from simdrop.errors import InvalidInput
from simdrop.theory.flows.rates import Clock

X = np.linspace(-1, 1, 4)


def changing(steps: Any) -> Any:
    """Schedules that are the same functions of time for any number of steps, over a time of 1 to 2."""
    return {
        "pieces": schedule.piecewise({0: 2 / steps, steps // 4: 0.5 / steps, steps // 2: 1 / steps}),
        "cosine": schedule.cosine(2 / steps, steps=steps, final=0.5 / steps),
        "warm-up": schedule.warmup(schedule.power(1.5 / steps, exponent=1, scale=steps), steps=steps // 4, start=0.2),
    }


def descent(problem: Any, theta: Any, rates: Any) -> Any:
    for rate in rates:
        theta = theta - rate * theory.gradient(problem, theta, objective="risk")
    return theta


def miss(problem: Any, theta0: Any, kind: Any, name: Any, steps: Any) -> Any:
    """How far a prediction at the end is from gradient descent, whose masks keep all."""
    lr = changing(steps)[name]
    end = lr.times(np.array([steps]))
    theta = descent(problem, theta0, lr.rates(0, steps)[0])
    if kind.startswith("sme"):
        options = {"order": int(kind[3:]), "members": 1, "backend": "numpy"}
        return np.linalg.norm(simdrop.sme(problem, theta0, lr=lr, times=end, **options).theta_mean[-1] - theta)
    return np.linalg.norm(simdrop.flow(problem, theta0, lr=lr, times=end, kind=kind).theta[-1] - theta)


@pytest.mark.parametrize("name", changing(8))
@pytest.mark.parametrize(
    ("kind", "order"),
    [("averaged", 1), ("modified", 2), ("mean-covariance", 2), ("pathwise", 2), ("sme1", 1), ("sme2", 2)],
)
def test_orders(kind: Any, order: Any, name: Any) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=1)
    theta0 = problem.init(seed=0)
    coarse, fine = miss(problem, theta0, kind, name, 32), miss(problem, theta0, kind, name, 64)
    assert abs(np.log2(coarse / fine) - order) < 0.25
    assert fine > 1e-9


def test_the_pathwise_flow_follows_a_member_whose_learning_rates_change() -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
    theta0, found = problem.init(seed=0), []
    for steps in (64, 128):
        lr = changing(steps)["cosine"]
        runs = simdrop.simulate(
            problem, theta0, lr=lr, steps=steps, members=3, seed=5, record=2, keep_theta=[2], backend="numpy"
        )
        flow = simdrop.flow(problem, theta0, lr=lr, times=runs.time, kind="pathwise", seed=5, member=2)
        found.append(np.linalg.norm(flow.theta[-1].values - runs.theta[-1, 0].values) * steps**2)
    assert found[1] < 1.5 * found[0]  # second order


@pytest.mark.parametrize("kind", ["modified", "mean-covariance", "pathwise"])
def test_a_schedule_that_does_not_change_is_one_number(kind: Any) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=3, keep_prob=0.7)
    theta0, times = problem.init(seed=0), [0.5, 1.0]
    plain = simdrop.flow(problem, theta0, lr=0.1, times=times, kind=kind)
    one = simdrop.flow(problem, theta0, lr={0: 0.1}, times=times, kind=kind)
    np.testing.assert_array_equal(one.theta, plain.theta)
    of_steps = simdrop.flow(problem, theta0, lr=schedule.of_steps(np.full(10, 0.1)), times=times, kind=kind)
    np.testing.assert_allclose(of_steps.theta, plain.theta, rtol=1e-6)
    assert of_steps.lr.dims == ("time",)


def test_losses_along_a_flow_have_the_rate_of_their_time() -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=3, keep_prob=0.7)
    lr = {0: 0.1, 5: 0.02}
    runs = simdrop.simulate(problem, problem.init(seed=0), lr=lr, steps=20, members=2, record=5, backend="numpy")
    flow = simdrop.flow(problem, problem.init(seed=0), lr=lr, times=runs.time, kind="modified")
    np.testing.assert_array_equal(flow.lr, runs.lr)
    np.testing.assert_array_equal(flow.lr, [0.1, 0.02, 0.02, 0.02, 0.02])
    np.testing.assert_allclose(flow.r2, theory.r2(problem, flow.theta.values, lr=runs.lr.values), rtol=1e-13)
    paths = simdrop.sme(problem, problem.init(seed=0), lr=lr, times=runs.time, members=2, backend="numpy")
    np.testing.assert_array_equal(paths.lr, runs.lr)


def test_a_clock_counts_steps() -> None:
    steps = np.array([0, 3, 5, 17])
    for lr in (schedule.piecewise({0: 0.1, 3: 0.02, 9: 0.5}), schedule.power(0.1, exponent=0.5)):
        clock = Clock.of(lr, float(lr.times(steps)[-1]))
        np.testing.assert_allclose(clock.steps_at(lr.times(steps)), steps, atol=1e-9)
        np.testing.assert_allclose(clock.at(lr.times(steps[:-1])), [lr.rates(s, s + 1)[0, 0] for s in steps[:-1]])
        done, sizes, rates = clock.grid(lr.times(steps), substeps=2, most=1000)
        np.testing.assert_allclose(np.concatenate([[0], np.cumsum(sizes)])[done], lr.times(steps), atol=1e-12)
        np.testing.assert_array_equal(done, 2 * steps)
        np.testing.assert_allclose(rates[::2], lr.rates(0, 17)[0])


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (schedule.cosine(0.1, steps=10), "sum to 0.55"),
        (schedule.of_steps([0.1] * 5), "sum to 0.5"),
        (schedule.exponential(0.1, factor=0.5), "sum to 0.2"),
        ({0: [0.1, 0.2]}, "same for all members"),
        ({0: [0.1, 0.2], 5: 0.1}, "same for all members"),
        ({1: 0.1}, "step 0"),
        ({0: True}, "booleans"),
        ("0.1", "text"),
    ],
)
def test_what_does_not_reach_or_is_no_rate_is_refused(lr: Any, message: Any) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=3)
    for call in (simdrop.flow, lambda *args, **kw: simdrop.sme(*args, members=2, backend="numpy", **kw)):
        with pytest.raises(InvalidInput, match=message):
            call(problem, problem.init(), lr=lr, times=[1.0])


def test_a_flow_with_a_rank_takes_one_number() -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=3)
    with pytest.raises(InvalidInput, match="low rank"):
        simdrop.flow(problem, problem.init(), lr={0: 0.1, 3: 0.05}, times=[1.0], kind="mean-covariance", rank=3)
