"""Frozen weights in theory: gradients, Hessians and flows move the trained parameters alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration, noise_enumeration
from scipy.linalg import expm

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.problem import Noise
from simdrop.theory.exact import linear_moments

EXACT = {"rtol": 1e-11, "atol": 1e-13}


def _trained(problem: Any) -> Any:
    cut = problem.n_outputs * problem.width
    kept = np.ones(problem.n_params)
    kept[slice(cut, None) if problem.train == "output" else slice(cut)] = 0
    return kept


@pytest.mark.parametrize("train", ["output", "input"])
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize(("width", "samples", "outputs"), [(2, 4, 2), (5, 2, 1)], ids=["few neurons", "many"])
def test_gradients_and_hessians(train: Any, mask: Any, width: Any, samples: Any, outputs: Any) -> None:
    """Both forms of the sum over pairs of neurons (`pairs` where they are few) leave out the frozen components."""
    problem = noise_enumeration.problem(train=train, mask=mask, width=width, samples=samples, outputs=outputs)
    theta, kept = problem.init(seed=1), _trained(problem)
    for objective in theory.losses.OBJECTIVES:
        slope = enumeration.central_difference(
            lambda points, objective=objective: theory.loss(problem, points, objective=objective, lr=0.2), theta
        )
        found = theory.gradient(problem, theta, objective=objective, lr=0.2)
        np.testing.assert_allclose(found, kept * slope, rtol=1e-8, atol=1e-9)
        assert (found[kept == 0] == 0).all()
    for objective in ("risk", "risk+r1"):
        bend = enumeration.central_difference(
            lambda points, objective=objective: theory.gradient(problem, points, objective=objective), theta
        )
        found = theory.hessian(problem, theta, objective=objective)
        np.testing.assert_allclose(found, np.outer(kept, kept) * bend, rtol=1e-8, atol=1e-9)
        directions = np.random.default_rng(2).standard_normal((3, theta.size))
        products = theory.hessian_product(problem, theta, directions, objective=objective)
        np.testing.assert_allclose(products, directions @ found, **EXACT)


@pytest.mark.parametrize("train", ["output", "input"])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_moments_by_enumeration(train: Any, mask: Any) -> None:
    problem = noise_enumeration.problem(train=train, mask=mask, width=3, samples=2, outputs=2)
    theta = problem.init(seed=1)
    loss, mean, covariance = noise_enumeration.moments(problem, theta, Noise())
    moment = mean @ mean + np.trace(covariance)
    np.testing.assert_allclose(theory.mean_gradient(problem, theta), mean, **EXACT)
    np.testing.assert_allclose(theory.noise_covariance(problem, theta), covariance, **EXACT)
    np.testing.assert_allclose(theory.second_moment(problem, theta), moment, **EXACT)
    np.testing.assert_allclose(theory.modified_loss(problem, theta, lr=0.2), loss + 0.05 * moment, **EXACT)
    gradient = theory.dropout_gradient(problem, theta, np.array([True, False, True]))
    assert (gradient[_trained(problem) == 0] == 0).all()
    assert (gradient != 0).any()


def _problem(train: Any = "output", width: Any = 6) -> Any:
    x = np.linspace(-1, 1, 4)
    return simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7, train=train)


FLOWS = [
    {"kind": "gradient"},
    {"kind": "averaged"},
    {"kind": "modified"},
    {"kind": "modified", "method": "BDF"},
    {"kind": "mean-covariance"},
    {"kind": "mean-covariance", "rank": 5},
    {"kind": "pathwise"},
    {"kind": "pathwise", "corrected": False},
]


@pytest.mark.parametrize("train", ["output", "input"])
@pytest.mark.parametrize("options", FLOWS, ids=str)
def test_flows_leave_frozen_weights(options: Any, train: Any) -> None:
    problem = _problem(train)
    theta0, kept = problem.init(seed=5), _trained(problem)
    path = simdrop.flow(problem, theta0, lr=0.1, times=[0.5, 1.0], **options)
    moved = path.theta.values - theta0
    assert (moved[:, kept == 0] == 0).all()
    assert (np.abs(moved[:, kept == 1]) > 1e-6).all()
    if "theta_std" in path:
        assert (path.theta_std.values[:, kept == 0] < 1e-15).all()  # the low rank is orthogonalised
        assert (path.theta_std.values[:, kept == 1] > 1e-4).all()


def test_averaged_flow_of_the_linear_model() -> None:
    """a' = -(M a - b) has a solution by the exponential of M."""
    problem = _problem()
    theta0 = problem.init(seed=5)
    a, w = problem.split(theta0)
    features = np.tanh(problem.inputs @ w.T)
    k, b = features.T @ features / 4, features.T @ problem.y[:, 0] / 4
    m = k + problem.variance * np.diag(np.diag(k))
    rest = np.linalg.solve(m, b)
    times = np.array([0.3, 2.0])
    path = simdrop.flow(problem, theta0, lr=0.1, times=times, kind="averaged", rtol=1e-11, atol=1e-13)
    wanted = [rest + expm(-m * t) @ (a[0] - rest) for t in times]
    np.testing.assert_allclose(path.theta.values[:, :6], wanted, rtol=1e-8)


def test_mean_covariance_flow_of_the_linear_model() -> None:
    """Against the exact moments its errors fall by four with each halving of lr; dense and low rank agree."""
    problem, errors = _problem(), []
    theta0 = problem.init(seed=5)
    rates = (1 / 40, 1 / 80, 1 / 160)
    for lr in rates:
        path = simdrop.flow(problem, theta0, lr=lr, times=[1.0], kind="mean-covariance", rtol=1e-10, atol=1e-12)
        exact = linear_moments(problem, theta0, lr=lr, steps=[round(1 / lr)])
        errors.append(np.linalg.norm(path.theta.values[0, :6] - exact.mean[0, 0]))
        spread = np.sqrt(np.diag(exact.covariance[0, 0]))
        np.testing.assert_allclose(path.theta_std.values[0, :6], spread, rtol=2 * lr)
    low = simdrop.flow(problem, theta0, lr=rates[-1], times=[1.0], kind="mean-covariance", rank=6)
    np.testing.assert_allclose(low.theta_std.values, path.theta_std.values, rtol=0.02)
    slopes = np.log2(np.array(errors)[:-1] / errors[1:])
    assert (np.abs(slopes - 2) < 0.2).all(), slopes


@pytest.mark.parametrize("covariance0", [0.1, np.full(18, 0.1), 0.1 * np.eye(18)])
def test_an_initial_spread_of_frozen_weights_is_refused(covariance0: Any) -> None:
    problem = _problem()
    with pytest.raises(InvalidInput, match="covariance0 must be zero for the parameters that are not trained"):
        simdrop.flow(
            problem, problem.init(), lr=0.1, times=[1.0], kind="mean-covariance", covariance0=covariance0
        )  # fmt: skip
    simdrop.flow(
        problem, problem.init(), lr=0.1, times=[0.1], kind="mean-covariance", covariance0=0.1 * _trained(problem)
    )
