"""The pathwise flow: an independent integration under the same masks, and its order against simulated members."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration

import simdrop
from simdrop.errors import FlowFailed, InvalidInput

MASKS = ["step", "sample"]


def table_problem(**changes: Any) -> Any:
    """Five neurons, four samples: sin 3x, from one fixed start."""
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), **{"width": 5, "keep_prob": 0.7, **changes})
    return problem, np.concatenate([rng.standard_normal(5), rng.standard_normal(10)])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("corrected", [False, True])
def test_right_hand_side_by_finite_differences(mask: Any, corrected: Any) -> None:
    """Runge-Kutta steps along differences of a loss that knows only what a mask is."""
    problem, lr = enumeration.problem(mask=mask, outputs=2, width=2, samples=3), 0.2
    theta0 = problem.init(seed=1)
    samples = problem.n_samples if mask == "sample" else None
    theta, path = theta0, []
    for step in range(3):
        kept = simdrop.masks(seed=9, member=4, step=step, width=2, keep_prob=problem.keep_prob, samples=samples)
        kept = np.broadcast_to(kept, (problem.n_samples, 2))[None]

        def slope(point: Any, kept: Any = kept) -> Any:
            def loss(points: Any) -> Any:
                values = [enumeration.per_mask(problem, p, kept) for p in points]
                return np.array([r[0] + corrected * lr / 4 * (g[0] ** 2).sum() for r, g in values])

            return -enumeration.central_difference(loss, point, step=1e-3)

        theta = enumeration.runge_kutta(slope, theta, np.array([0.0, lr]), steps=6)[-1]
        path.append(theta)
    found = simdrop.flow(
        problem, theta0, lr=lr, times=[0.2, 0.4, 0.6], kind="pathwise", seed=9, member=4, corrected=corrected
    )
    np.testing.assert_allclose(found.theta, path, atol=3e-6)
    other = simdrop.flow(problem, theta0, lr=lr, times=0.6, kind="pathwise", seed=9, member=5, corrected=corrected)
    assert np.linalg.norm(other.theta[0] - path[-1]) > 0.01


@pytest.mark.parametrize("mask", MASKS)
def test_order_against_simulated_members(mask: Any) -> None:
    """Plain: first order in lr; corrected: second. Same seed and member, same masks, at every step."""
    problem, theta0 = table_problem(mask=mask)
    errors: list[Any] = []
    for lr in (0.05, 0.025):
        steps = round(1 / lr)
        runs = simdrop.simulate(
            problem, theta0, lr=lr, steps=steps, members=4, seed=5, keep_theta=True, record=[steps], backend="numpy"
        )
        ends = runs.theta.isel(time=-1).values
        errors.append([])
        for corrected in (False, True):
            flows = [
                simdrop.flow(
                    problem, theta0, lr=lr, times=1.0, kind="pathwise", seed=5, member=k, corrected=corrected
                ).theta.values[-1]
                for k in range(4)
            ]
            errors[-1].append(np.mean(np.linalg.norm(flows - ends, axis=1)))
    plain, corrected = np.log2(np.divide(*errors))
    assert 0.7 < plain < 1.3
    assert 1.7 < corrected < 2.3


def test_times_within_and_between_steps() -> None:
    problem, theta0 = table_problem()
    options = {"lr": 0.1, "kind": "pathwise", "seed": 1}
    times = np.array([0.0, 0.03, 0.1, 0.25, 0.3, 0.7])
    together = simdrop.flow(problem, theta0, times=times, **options).theta.values
    np.testing.assert_array_equal(together[0], theta0)
    for k, time in enumerate(times[1:], start=1):
        alone = simdrop.flow(problem, theta0, times=time, **options).theta.values[0]
        np.testing.assert_allclose(together[k], alone, atol=1e-7)
    # 0.7 / 0.1 is a little less than 7: the end of a step must not depend on that.
    assert simdrop.flow(problem, theta0, times=0.7, **options).attrs["nfev"] < 8 * 60


def test_without_dropout_it_is_the_gradient_flow() -> None:
    problem, theta0 = table_problem(keep_prob=1.0)
    plain = simdrop.flow(problem, theta0, lr=0.1, times=1.0, kind="pathwise", corrected=False)
    np.testing.assert_allclose(plain.theta, simdrop.flow(problem, theta0, lr=0.1, times=1.0).theta, atol=1e-7)
    corrected = simdrop.flow(problem, theta0, lr=0.1, times=1.0, kind="pathwise")
    modified = simdrop.flow(problem, theta0, lr=0.1, times=1.0, kind="modified")
    np.testing.assert_allclose(corrected.theta, modified.theta, atol=1e-7)


def test_result_says_whose_masks() -> None:
    problem, theta0 = table_problem()
    path = simdrop.flow(problem, theta0, lr=0.1, times=[0, 0.5], kind="pathwise", seed=3, member=2, method="RK45")
    assert [path.attrs[name] for name in ("seed", "member", "corrected", "method")] == [3, 2, 1, "RK45"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"member": -1}, "member must be a whole number of at least 0, got -1"),
        ({"seed": 2**64}, r"seed must be below 2\*\*64"),
        ({"method": "BDF"}, "unknown method of a pathwise flow 'BDF'"),
        (
            {"kind": "averaged", "seed": 1},
            "seed is an option of kind 'pathwise' or 'pathwise-plain', not",
        ),
        ({"rank": 3}, "rank is an option of kind 'mean-covariance', not of 'pathwise'"),
    ],
)
def test_bad_input(changes: Any, message: Any) -> None:
    problem, theta0 = table_problem()
    with pytest.raises(InvalidInput, match=message):
        simdrop.flow(problem, theta0, **{"lr": 0.1, "times": 1.0, "kind": "pathwise", **changes})


def test_failure_is_an_error() -> None:
    problem, theta0 = table_problem(activation="quadratic")
    with pytest.raises(FlowFailed, match="no finite derivative at time 0"):
        simdrop.flow(problem, 1e150 * theta0, lr=0.1, times=1.0, kind="pathwise")
