"""Weight decay in the theory: against all masks, finite differences, and steps of gradient descent."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from oracles import enumeration

import simdrop
from simdrop import theory

EXACT = {"rtol": 1e-11, "atol": 1e-13}
DECAY = 0.3


def trained(problem: Any, theta: Any) -> Any:
    """theta (..., P) with zeros for what is not trained."""
    a, w = problem.split(theta)
    return problem.join(a * (problem.train != "input"), w * (problem.train != "output"))


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_moments_of_the_gradient_are_those_of_all_masks(mask: Any) -> None:
    plain = enumeration.problem(mask=mask, outputs=2)
    problem, theta = replace(plain, weight_decay=DECAY), plain.init(seed=1)
    oracle = enumeration.moments if mask == "step" else enumeration.moments_by_sample
    loss, mean, _, covariance = oracle(plain, theta)
    mean = mean + DECAY * theta
    moment = mean @ mean + np.trace(covariance)
    np.testing.assert_allclose(theory.mean_gradient(problem, theta), mean, **EXACT)
    np.testing.assert_allclose(theory.second_moment(problem, theta), moment, **EXACT)
    np.testing.assert_allclose(theory.noise_covariance(problem, theta), covariance, **EXACT)
    np.testing.assert_allclose(theory.r2(problem, theta, lr=0.2), 0.05 * moment, **EXACT)
    whole = theory.loss(problem, theta, objective="risk+r1")
    np.testing.assert_allclose(whole, loss + DECAY / 2 * theta @ theta, **EXACT)
    np.testing.assert_array_equal(theory.risk(problem, theta), theory.risk(plain, theta))
    noise = simdrop.Noise(label=0.1)  # has another way to the same numbers
    np.testing.assert_allclose(theory.mean_gradient(problem, theta, noise=noise), mean, **EXACT)


@pytest.mark.parametrize("train", ["both", "output", "input"])
def test_gradients_and_hessians_by_differences(train: Any) -> None:
    problem = replace(enumeration.problem(outputs=2), weight_decay=DECAY, train=train)
    theta, direction = problem.init(seed=1, members=2)
    for objective in theory.losses.OBJECTIVES:
        slope = enumeration.central_difference(
            lambda points, objective=objective: theory.loss(problem, points, objective=objective, lr=0.2), theta
        )
        found = theory.gradient(problem, theta, objective=objective, lr=0.2)
        np.testing.assert_allclose(found, trained(problem, slope), rtol=1e-8, atol=1e-9)
    for objective in ("risk", "risk+r1"):
        hessian = theory.hessian(problem, theta, objective=objective)
        along = [
            theory.gradient(problem, theta + h * trained(problem, direction), objective=objective)
            for h in (1e-5, -1e-5)
        ]
        np.testing.assert_allclose(hessian @ direction, (along[0] - along[1]) / 2e-5, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(
            theory.hessian_product(problem, theta, direction, objective=objective), hessian @ direction, **EXACT
        )
        np.testing.assert_allclose(
            theory.hessian_trace(problem, theta, objective=objective), np.trace(hessian), rtol=1e-11
        )


def test_linear_moments_are_those_of_all_sequences_of_masks() -> None:
    problem = replace(enumeration.problem(width=3), train="output", weight_decay=DECAY)
    theta0, lr = problem.init(seed=1), 0.4
    masks, chances = enumeration.all_masks(3, problem.keep_prob)
    ends, weights = [], []
    for sequence in product(range(len(masks)), repeat=2):
        theta = theta0
        for k in sequence:
            _, gradient = enumeration.per_mask(problem, theta, np.broadcast_to(masks[k], (1, problem.n_samples, 3)))
            theta = theta - lr * trained(problem, gradient[0] + DECAY * theta)
        ends.append(problem.split(theta)[0][0])
        weights.append(np.prod(chances[list(sequence)]))
    mean = np.average(ends, axis=0, weights=weights)
    covariance = np.cov(np.array(ends).T, aweights=weights, ddof=0)
    found = theory.linear_moments(problem, theta0, lr=lr, steps=2)
    np.testing.assert_allclose(found.mean[-1, 0], mean, **EXACT)
    np.testing.assert_allclose(found.covariance[-1, 0], covariance, **EXACT)


def miss(problem: Any, theta0: Any, kind: Any, steps: Any) -> Any:
    """How far a prediction at time 1 is from gradient descent with weight decay, whose masks keep all."""
    lr = 1 / steps
    theta = theta0
    for _ in range(steps):
        theta = theta - lr * theory.gradient(problem, theta, objective="risk")
    if kind.startswith("sme"):
        options = {"order": int(kind[3:]), "members": 1, "backend": "numpy"}
        return np.linalg.norm(simdrop.sme(problem, theta0, lr=lr, times=[1.0], **options).theta_mean[-1] - theta)
    options = {"rank": 4} if kind == "mean-covariance" else {}
    return np.linalg.norm(simdrop.flow(problem, theta0, lr=lr, times=[1.0], kind=kind, **options).theta[-1] - theta)


@pytest.mark.parametrize(
    ("kind", "order"),
    [("averaged", 1), ("modified", 2), ("mean-covariance", 2), ("pathwise", 2), ("sme1", 1), ("sme2", 2)],
)
def test_flows_and_equations_meet_gradient_descent_with_their_order(kind: Any, order: Any) -> None:
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=1, weight_decay=0.5)
    theta0 = problem.init(seed=0)
    coarse, fine = miss(problem, theta0, kind, 32), miss(problem, theta0, kind, 64)
    assert abs(np.log2(coarse / fine) - order) < 0.2
    assert fine > 1e-9  # and not by chance
