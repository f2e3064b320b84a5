"""linear_optimum(): against the gradient there, long averaged flows, and training with dropout."""

from __future__ import annotations

import numpy as np
import pytest

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput


def _problem(width: int, keep_prob: float, *, bias: bool = False, seed: int = 0) -> simdrop.Problem:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((12, 4))
    y = x @ rng.standard_normal((4, 3)) + 0.1 * rng.standard_normal((12, 3))
    return simdrop.Problem(
        x, y, width=width, keep_prob=keep_prob, activation="linear", bias=bias, output_scale=0.7
    )  # fmt: skip


@pytest.mark.parametrize("width", [1, 2, 3, 8])
@pytest.mark.parametrize("keep_prob", [1.0, 0.9, 0.3])
def test_its_theta_is_a_minimum_with_equal_neurons(width: int, keep_prob: float) -> None:
    problem = _problem(width, keep_prob, bias=width % 2 == 0)
    best = theory.linear_optimum(problem)
    a, w = problem.split(best.theta)
    np.testing.assert_allclose(theory.gradient(problem, best.theta, objective="risk+r1"), 0, atol=1e-13)
    np.testing.assert_allclose(theory.loss(problem, best.theta, objective="risk+r1"), best.value, rtol=1e-12)
    assert np.linalg.eigvalsh(theory.hessian(problem, best.theta))[0] > -1e-12
    np.testing.assert_allclose(problem.scale * a @ w, best.matrix, atol=1e-12)
    sizes = np.linalg.norm(problem.scale * a, axis=0) * np.sqrt(np.square(problem.inputs @ w.T).mean(axis=0))
    np.testing.assert_allclose(sizes, best.weight, rtol=1e-10)
    assert best.weight == pytest.approx(best.singular_values.sum() / width)
    if width > 2:
        shrunk = best.targets - problem.variance * best.weight
        np.testing.assert_allclose(best.singular_values, np.maximum(shrunk, 0), atol=1e-13)


def test_long_averaged_flows_end_there() -> None:
    problem = _problem(5, 0.6)
    best = theory.linear_optimum(problem)
    flow = simdrop.flow(problem, problem.init(seed=1), lr=0.1, times=2000.0, kind="averaged", rtol=1e-10, atol=1e-12)
    assert float(flow.risk[0] + flow.r1[0]) == pytest.approx(best.value, rel=1e-9)
    a, w = problem.split(flow.theta.values[0])
    np.testing.assert_allclose(problem.scale * a @ w, best.matrix, atol=1e-8)
    without = simdrop.flow(problem, problem.init(seed=1), lr=0.1, times=2000.0)  # shrinks nothing
    a, w = problem.split(without.theta.values[0])
    assert np.abs(problem.scale * a @ w - best.matrix).max() > 0.1


def test_other_networks_are_refused() -> None:
    x = np.arange(3.0)
    with pytest.raises(InvalidInput, match="activation='linear', got 'tanh'"):
        theory.linear_optimum(simdrop.Problem(x, x, width=2))
    with pytest.raises(InvalidInput, match="train='both', got 'output'"):
        theory.linear_optimum(simdrop.Problem(x, x, width=2, activation="linear", train="output"))
