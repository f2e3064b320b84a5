"""The covariance to second order in blocks and a low rank: what it adds for blocks, and its error where it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import simdrop
from simdrop import theory
from simdrop.theory.curvature import Curvature
from simdrop.theory.flows.lowrank_second import _across, _on_blocks
from simdrop.theory.neurons import apply_blocks
from simdrop.theory.noise.operator import NoiseOperator

X = np.linspace(-1, 1, 4)


def _frozen(mask: str, y: np.ndarray) -> simdrop.Problem:
    return simdrop.Problem(X, y, width=5, keep_prob=0.7, train="output", mask=mask, output_scale=0.8)


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_what_a_spread_in_blocks_adds_is_a_sum_over_its_directions(mask: str, outputs: int) -> None:
    """Along each direction of the spread the noise at that point, with targets 0: exact, for Σ is quadratic."""
    problem = _frozen(mask, np.stack([np.sin(3 * X), X**2], axis=1)[:, :outputs])
    theta = problem.init(seed=3)
    _, w = problem.split(theta)
    random, still = np.random.default_rng(0), replace(problem, y=0 * problem.y)
    roots = random.standard_normal((5, outputs, outputs))
    blocks = np.zeros((5, outputs + 2, outputs + 2))
    expected = np.zeros((problem.n_params, problem.n_params))
    blocks[:, :outputs, :outputs] = roots @ roots.swapaxes(1, 2)
    for j in range(5):
        for row in roots[j].T:
            a = np.zeros((outputs, 5))
            a[:, j] = row
            expected = expected + NoiseOperator.at(still, problem.join(a, w)).covariance()
    curvature, eye = Curvature.at(problem, theta), np.eye(problem.n_params)
    found = apply_blocks(problem, _on_blocks(curvature, blocks), eye) + _across(curvature, blocks, eye)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert np.abs(expected).max() > 0.01


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_its_error_is_of_second_order(mask: str) -> None:
    """Against exact variances: a quarter when lr is halved, where order 1 has a half, and five times as much."""
    problem = _frozen(mask, np.sin(3 * X))
    theta0 = problem.init(seed=3)
    misses: dict[int, list[float]] = {1: [], 2: []}
    for lr in (0.1, 0.05):
        exact = np.diag(theory.linear_moments(problem, theta0, lr=lr, steps=[round(1 / lr)]).covariance[0, 0])
        for order, found in misses.items():
            flow = simdrop.flow(
                problem, theta0, lr=lr, times=1.0, kind="mean-covariance", rank=10, covariance_order=order
            )
            assert flow.attrs["covariance_order"] == order
            found.append(float(np.linalg.norm(flow.theta_std.values[0, :5] ** 2 - exact) / np.linalg.norm(exact)))
    slopes = {order: np.log2(found[0] / found[1]) for order, found in misses.items()}
    assert slopes[1] == pytest.approx(1, abs=0.2)
    assert slopes[2] == pytest.approx(2, abs=0.2)
    assert misses[2][1] < misses[1][1] / 5
