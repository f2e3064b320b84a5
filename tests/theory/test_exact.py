"""Models that are known exactly: by enumeration of all noise, and against simulated ensembles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import noise_enumeration
from scipy.integrate import solve_ivp
from scipy.stats import norm

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.problem import Noise
from simdrop.theory.exact import Quadratic, linear_moments

#: knobs, settings of the problem, steps: as many as can be enumerated
CASES = [
    ({}, {"width": 4, "samples": 3}, 2),
    ({}, {"width": 6, "samples": 3}, 1),
    ({}, {"width": 2, "samples": 2, "outputs": 2}, 3),
    ({}, {"width": 2, "samples": 3, "mask": "sample"}, 2),
    ({"masks": 2}, {"width": 2, "samples": 2}, 2),
    ({"masks": 2}, {"width": 2, "samples": 1, "mask": "sample"}, 2),
    ({"law": "gaussian"}, {"width": 2, "samples": 2}, 2),
    ({"batch_size": 2}, {"width": 2, "samples": 3}, 2),
    ({"batch_size": 2, "replace": True, "masks": 2}, {"width": 2, "samples": 2}, 2),
    ({"batch_size": 1}, {"width": 3, "samples": 3, "mask": "sample"}, 2),
    ({"label": 0.4, "batch_size": 1}, {"width": 3, "samples": 2}, 2),
    ({"label": 0.4, "parameter": 0.3}, {"width": 3, "samples": 2}, 1),
    ({"batch_size": 2}, {"width": 3, "samples": 4, "keep_prob": 1.0}, 2),
]


def _enumerate(problem: Any, theta: Any, noise: Any, lr: Any, steps: Any) -> Any:
    """Mean (c, m) and second moment (c, m, m) of the output weights over all sequences of noise."""
    leaves = [(1.0, theta)]
    for _ in range(steps):
        grown = []
        for weight, point in leaves:
            for chances, _, gradients in noise_enumeration._all(problem, point, noise):
                moved = point - lr * np.where(np.arange(point.size) < problem.n_outputs * problem.width, gradients, 0)
                grown += list(zip(weight * chances, moved, strict=True))
        leaves = grown
    weights = np.array([weight for weight, _ in leaves])
    a = np.array([problem.split(point)[0] for _, point in leaves])
    mean = np.einsum("k,koj->oj", weights, a)
    return mean, np.einsum("k,koj,kol->ojl", weights, a - mean, a - mean)


@pytest.mark.parametrize(("knobs", "settings", "steps"), CASES, ids=[f"{k} {s}" for k, s, _ in CASES])
@pytest.mark.parametrize("lr", [0.1, 3.0])
def test_linear_moments_by_enumeration(knobs: Any, settings: Any, steps: Any, lr: Any) -> None:
    problem, noise = noise_enumeration.problem(train="output", **settings), Noise(**knobs)
    theta = problem.init(seed=2)
    found = linear_moments(problem, theta, lr=lr, steps=steps, noise=noise)
    mean, covariance = _enumerate(problem, theta, noise, lr, steps)
    if noise.parameter:
        assert steps == 1
        covariance += lr**2 * noise.parameter**2 * np.eye(problem.width)
    np.testing.assert_allclose(found.mean[-1], mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.covariance[-1], covariance, rtol=1e-10, atol=1e-12 * np.abs(covariance).max())
    assert list(found.steps) == list(range(steps + 1))
    assert np.abs(covariance).max() > 1e-5


def test_one_step_is_the_theory_of_the_step() -> None:
    """The covariance after one step from a point is lr² Cov G, for everything at once."""
    problem = noise_enumeration.problem(train="output", width=7, samples=5, outputs=2, inputs=3, mask="sample")
    noise = Noise(masks=3, law="gaussian", batch_size=3, replace=True, label=0.2, parameter=0.1)
    theta = problem.init(seed=3)
    found = linear_moments(problem, theta, lr=0.3, steps=1, noise=noise)
    whole = 0.09 * theory.noise_covariance(problem, theta, noise=noise)
    for o in range(2):
        own = slice(7 * o, 7 * o + 7)
        np.testing.assert_allclose(found.covariance[1, o], whole[own, own], rtol=1e-11, atol=1e-14)


MEMBERS = 30_000
#: probability that a test fails although the ensemble is right
FALSE_ALARM = 1e-6


def _frozen(mask: Any, keep_prob: Any = 0.7) -> Any:
    x = np.linspace(-1, 1, 4)
    return simdrop.Problem(x, np.sin(3 * x), width=4, keep_prob=keep_prob, mask=mask, train="output")


def _meets(theta: Any, exact: Any) -> Any:
    """Whether mean and covariance of theta (time, member, m) are those of `exact` at every time, by Bonferroni's bound.

    The exact mean is known, so that each entry of the covariance is a mean over members too, with a standard error.
    """
    members, m = theta.shape[1:]
    i, j = np.triu_indices(m)
    spread = theta - exact.mean[:, 0][:, None]
    products = spread[..., i] * spread[..., j]
    error = np.sqrt(np.einsum("tjj->tj", exact.covariance[:, 0]) / members)
    scores = np.concatenate(
        [
            (spread.mean(axis=1) / error).ravel(),
            (
                (products.mean(axis=1) - exact.covariance[:, 0][:, i, j]) / (products.std(axis=1) / np.sqrt(members))
            ).ravel(),
        ]
    )
    return bool(np.abs(scores).max() < norm.isf(FALSE_ALARM / (2 * scores.size)))


@pytest.mark.parametrize(("lr", "steps"), [(0.1, [1, 2, 5, 10]), (0.5, [1, 2, 5, 10]), (1.5, [1, 2, 3])])
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])  # a minute to compile
def test_frozen_ensemble_meets_the_exact_moments(backend: Any, mask: Any, lr: Any, steps: Any) -> None:
    """At lr 1.5 the spread grows a hundredfold with every step. False alarm: 1e-6; a wrong model must be found."""
    problem = _frozen(mask)
    theta0 = problem.init(seed=5)
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=steps[-1], members=MEMBERS, seed=1, record=steps, keep_theta=True, quantiles=(),
        backend=backend,
    )  # fmt: skip
    assert np.array_equal(runs.step, [0, *steps])
    theta = runs.theta.values[1:]
    assert (theta[..., 4:] == theta0[4:]).all(), "frozen weights moved"
    assert _meets(theta[..., :4], linear_moments(problem, theta0, lr=lr, steps=steps))
    other = {"step": "sample", "sample": "step"}[mask]
    for wrong in (_frozen(other), _frozen(mask, 0.71), _frozen(mask, 0.69)):
        assert not _meets(theta[..., :4], linear_moments(wrong, theta0, lr=lr, steps=steps))


@pytest.mark.parametrize("order", [1, 2])
def test_quadratic_solves_its_equations(order: Any) -> None:
    model = Quadratic(lr=0.3, x0=-1.7)
    rate = 2 if order == 1 else 2 * (1 + model.lr)

    def slope(t: Any, moments: Any) -> Any:
        return [-rate * moments[0], -2 * rate * moments[1] + 4 * model.lr]

    times = np.linspace(0, 2, 5)
    solved = solve_ivp(slope, (0, 2), [model.x0, 0], t_eval=times, rtol=1e-11, atol=1e-13).y
    np.testing.assert_allclose(model.sme(times, order=order), solved, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("lr", [0.1, 0.5, 1.0, 1.2])
def test_quadratic_by_enumeration_and_simulation(lr: Any) -> None:
    model = Quadratic(lr=lr, x0=0.4)
    leaves = np.array([model.x0])
    for k in range(6):
        found = model.sgd(k)
        np.testing.assert_allclose(found, (leaves.mean(), leaves.var()), rtol=1e-12, atol=1e-14)
        leaves = np.concatenate([leaves - 2 * lr * (leaves - gamma) for gamma in (1, -1)])
    path = model.simulate(5, members=20_000, seed=3)
    exact = model.sgd(np.arange(6))
    off = np.abs(path.mean(axis=1) - exact.mean)[1:] / np.sqrt(exact.variance[1:] / 20_000)
    assert off.max() < norm.isf(FALSE_ALARM / 10)
    assert np.abs(path.mean(axis=1) - model.sgd(np.arange(6) + 1).mean)[0] > 0.01
    np.testing.assert_allclose(path.var(axis=1)[1:], exact.variance[1:], rtol=0.06)


@pytest.mark.parametrize("order", [1, 2])
def test_quadratic_has_the_weak_orders_of_its_equations(order: Any) -> None:
    """Errors of E X and E X² at time 1 fall by 2^order for each halving of lr."""
    errors = []
    for lr in (1 / 128, 1 / 256, 1 / 512, 1 / 1024):
        model = Quadratic(lr=lr, x0=1.5)
        sgd, sme = model.sgd(1 / lr), model.sme(1.0, order=order)
        squares = [found.variance + found.mean**2 for found in (sgd, sme)]
        errors.append([abs(sgd.mean - sme.mean), abs(squares[0] - squares[1])])
    slopes = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    assert (np.abs(slopes - order) < 0.15).all(), slopes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: linear_moments(simdrop.Problem(p.x, p.y, width=4), t, lr=1, steps=1), "train='output'"),
        (lambda p, t: linear_moments(p, t[:-1], lr=1, steps=1), "theta0 must have 12 parameters"),
        (lambda p, t: linear_moments(p, t, lr=-1, steps=1), "lr must be a positive number"),
        (lambda p, t: linear_moments(p, t, lr=1, steps=-1), "steps must be a whole number of at least 0, got -1"),
        (lambda p, t: linear_moments(p, t, lr=1, steps=[3, 2]), r"increasing whole numbers, 0 or more, got \[3, 2\]"),
        (lambda p, t: linear_moments(p, t, lr=1, steps=1, noise=Noise(connect=0.5)), "features random"),
        (lambda p, t: linear_moments(p, t, lr=1, steps=1, covariance0=np.eye(4)), r"shape \(1, 4, 4\), got \(4, 4\)"),
        (lambda p, t: Quadratic(lr=0.0), "lr must be a positive number"),
        (lambda p, t: Quadratic(lr=0.1).sme(1.0, order=3), "order must be at most 2, got 3"),
        (lambda p, t: Quadratic(lr=0.1).simulate(3, members=0), "members must be a whole number of at least 1"),
    ],
)
def test_bad_input(call: Any, message: Any) -> None:
    problem = _frozen("step")
    with pytest.raises(InvalidInput, match=message):
        call(problem, problem.init())
