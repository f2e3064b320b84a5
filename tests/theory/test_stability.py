"""Stationary states and stability thresholds: fixed points, exact recursions, and training just below and above."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput


@pytest.fixture(scope="module")
def problem() -> simdrop.Problem:
    """Four neurons with frozen input weights on four points of sin 3x."""
    x = np.linspace(-1, 1, 4)
    return simdrop.Problem(x, np.sin(3 * x), width=4, keep_prob=0.5, train="output")


NOISES = [
    ("step", simdrop.Noise()),
    ("sample", simdrop.Noise(batch_size=2, label=0.3)),
    ("step", simdrop.Noise(law="gaussian", masks=2, parameter=0.1)),
]


@pytest.mark.parametrize(("mask", "noise"), NOISES)
def test_a_step_leaves_the_stationary_state_as_it_is(problem: simdrop.Problem, mask: Any, noise: simdrop.Noise) -> None:
    problem = replace(problem, mask=mask, y=np.stack([problem.y[:, 0], problem.x[:, 0] ** 2], axis=1))
    theta = problem.init(seed=0)
    lr = 0.6 * theory.stability_threshold(problem, theta, noise=noise)
    rest = theory.stationary_moments(problem, theta, lr=lr, noise=noise)
    start = problem.join(rest.mean, problem.split(theta)[1])
    after = theory.linear_moments(problem, start, lr=lr, steps=[1], noise=noise, covariance0=rest.covariance)
    np.testing.assert_allclose(after.mean[0], rest.mean, rtol=1e-12)
    np.testing.assert_allclose(after.covariance[0], rest.covariance, rtol=1e-9, atol=1e-12)
    long = theory.linear_moments(problem, theta, lr=lr, steps=[1500], noise=noise)
    np.testing.assert_allclose(long.covariance[0], rest.covariance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("mask", "noise"), NOISES)
def test_covariances_settle_below_the_threshold_and_grow_above(
    problem: simdrop.Problem, mask: Any, noise: simdrop.Noise
) -> None:
    """By the exact recursion, one per cent on each side."""
    problem = replace(problem, mask=mask)
    theta = problem.init(seed=0)
    threshold = theory.stability_threshold(problem, theta, noise=noise)
    assert threshold < 2 / np.linalg.eigvalsh(theory.hessian(problem, theta)).max()
    ratios = []
    for share in (0.99, 1.01):
        found = theory.linear_moments(problem, theta, lr=share * threshold, steps=[1500, 1600], noise=noise)
        early, late = np.einsum("tcmm->t", found.covariance)
        ratios.append(late / early)
    assert ratios[0] == pytest.approx(1.0, abs=1e-3)
    assert ratios[1] > 1.5
    with pytest.raises(InvalidInput, match="has no stationary state: the covariance grows from lr"):
        theory.stationary_moments(problem, theta, lr=1.001 * threshold, noise=noise)


def test_training_settles_just_below_and_diverges_just_above() -> None:
    """One neuron of output h that is kept half of the time: deviations are multiplied by 1 - lr h²/p² or by 1."""
    problem = simdrop.Problem([1.0], [1.0], width=1, keep_prob=0.5, activation="linear", bias=False, train="output")
    theta = np.array([1.0, 2.0])
    threshold = theory.stability_threshold(problem, theta)
    assert threshold == pytest.approx(2 * 0.5**2 / 2.0**2, rel=1e-12)
    given: dict[str, Any] = {"steps": 1000, "members": 50, "backend": "numpy", "record": 2, "risk_limit": None}
    given["keep_theta"] = True
    below, above = (simdrop.simulate(problem, theta, lr=share * threshold, **given) for share in (0.98, 1.02))
    a = [runs.theta.values[-1, :, 0] - 0.25 for runs in (below, above)]  # from p y / h
    assert np.abs(a[0]).max() < 1e-3
    assert np.abs(a[1]).min() > 1e3
    assert theory.stability_threshold(replace(problem, x=[0.0]), theta) == np.inf


def test_whole_networks_leave_their_minimum_above_the_threshold() -> None:
    """A prediction of the linearised training: a tanh neuron with bias at its minimum of R_S + R_1."""
    problem = simdrop.Problem([-1.0, 1.0], [-0.9, 0.8], width=1, keep_prob=0.7)
    flow = simdrop.flow(problem, problem.init(seed=0, scale=0.7), lr=0.1, times=3000.0, kind="averaged", rtol=1e-10)
    theta = flow.theta.values[0]
    threshold = theory.stability_threshold(problem, theta)
    assert threshold < 0.9 * 2 / np.linalg.eigvalsh(theory.hessian(problem, theta)).max()
    away = []
    for share in (0.9, 1.1):
        start = theta + 1e-4  # off the minimum, which no mask moves
        runs = simdrop.simulate(
            problem, start, lr=share * threshold, steps=300, members=200, record=[300], keep_theta=True, backend="numpy"
        )
        away.append(np.linalg.norm(runs.theta.values[-1] - theta, axis=1))
    assert np.mean(away[0]) < 2e-4
    assert np.mean(away[1]) > 1e-2
    with pytest.raises(InvalidInput, match="theta must be a minimum of R_S"):
        theory.stability_threshold(problem, problem.init(seed=0))
    with pytest.raises(InvalidInput, match="noise is for problems with train='output'"):
        theory.stability_threshold(problem, theta, noise=simdrop.Noise(masks=2))


def test_masks_are_drawn_where_they_are_too_many() -> None:
    """2^7 masks of a linear network at its optimum, all of them against draws of 100."""
    x = np.array([-1.0, 0.5, 1.0])
    problem = simdrop.Problem(x, 2 * x, width=7, keep_prob=0.7, activation="linear", bias=False)
    theta = theory.linear_optimum(problem).theta
    exact = theory.stability_threshold(problem, theta, masks=128)
    drawn = [theory.stability_threshold(problem, theta, masks=100, seed=seed) for seed in range(8)]
    error = np.std(drawn, ddof=1) / np.sqrt(8)
    assert error < 0.1 * exact
    assert abs(np.mean(drawn) - exact) < 4 * error


@pytest.mark.parametrize("keep_prob", [0.7, 1.0])
def test_weights_that_stay_where_they_start_have_no_stationary_state(keep_prob: float) -> None:
    """A ReLU that is 0 on all data; without dropout, more neurons than samples."""
    problem = simdrop.Problem(
        [1.0, 2.0], [1.0, 2.0], width=3, activation="relu", bias=False, keep_prob=keep_prob, train="output"
    )
    theta = problem.join(np.ones((1, 3)), np.array([[1.0], [2.0], [-1.0 if keep_prob < 1 else 3.0]]))
    with pytest.raises(InvalidInput, match="no stationary state of its own"):
        theory.stationary_moments(problem, theta, lr=0.01)
