"""Mean, second moment and covariance of a step under every noise, against the enumeration of all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import noise_enumeration

import simdrop
from simdrop import theory
from simdrop.problem import Noise

EXACT = {"rtol": 1e-11, "atol": 1e-13}

#: knobs, settings of the problem
CASES = [
    ({}, {"outputs": 2, "width": 3, "samples": 3}),
    ({}, {"mask": "sample", "outputs": 2, "samples": 3}),
    ({"masks": 2}, {"width": 3, "samples": 3}),
    ({"masks": 3}, {"mask": "sample", "samples": 1}),
    ({"masks": 2}, {"mask": "sample", "outputs": 2}),
    ({"law": "gaussian"}, {"width": 3, "samples": 3, "outputs": 2}),
    ({"law": "gaussian"}, {"mask": "sample"}),
    ({"law": "gaussian", "masks": 2}, {"samples": 3}),
    ({"batch_size": 2}, {"width": 3, "samples": 4}),
    ({"batch_size": 2, "replace": True, "masks": 2}, {"samples": 3}),
    ({"batch_size": 2}, {"mask": "sample", "samples": 3}),
    ({"batch_size": 3, "replace": True}, {"mask": "sample"}),
    ({"batch_size": 1, "masks": 2}, {"mask": "sample", "samples": 3}),
    ({"batch_size": 2, "replace": True}, {"keep_prob": 1.0, "samples": 4, "width": 4}),
    ({"label": 0.3}, {"width": 3, "outputs": 2}),
    ({"label": 0.3, "masks": 2}, {"mask": "sample"}),
    ({"label": 0.3, "law": "gaussian", "batch_size": 2}, {"samples": 3}),
    ({"label": 0.5}, {"keep_prob": 1.0, "outputs": 2, "samples": 3}),
    ({"parameter": 0.4, "label": 0.2}, {}),
    ({"connect": 0.6}, {"keep_prob": 1.0, "width": 3, "samples": 3, "outputs": 2}),
    ({"connect": 0.6}, {"width": 2, "samples": 3, "inputs": 2}),
    ({"connect": 0.6}, {"mask": "sample"}),
    ({"connect": 0.6, "masks": 2}, {"outputs": 2}),
    ({"connect": 0.6, "masks": 2, "batch_size": 2, "replace": True}, {"samples": 2}),
    ({"connect": 0.6, "masks": 2, "batch_size": 1, "label": 0.4}, {"mask": "sample"}),
    ({"connect": 0.6, "batch_size": 2}, {"mask": "sample", "samples": 3}),
    ({"connect": 0.8, "law": "gaussian", "label": 0.3, "parameter": 0.1}, {"samples": 2}),
    ({"masks": 2, "batch_size": 2, "label": 0.3}, {"train": "output", "samples": 3}),
    ({"connect": 0.6, "label": 0.3, "parameter": 0.1}, {"train": "input"}),
    ({"law": "gaussian"}, {"train": "input", "samples": 3}),
]


#: the same where dropout's factors do not act in the whole step
PLACED = [
    ({"place": "update"}, {"outputs": 2, "width": 3, "samples": 3}),
    ({"place": "update", "law": "gaussian", "masks": 2}, {"mask": "sample", "samples": 1}),
    ({"place": "update", "batch_size": 2, "label": 0.3}, {"mask": "sample", "samples": 3}),
    ({"place": "forward"}, {"outputs": 2, "width": 3, "samples": 3}),
    ({"place": "forward", "label": 0.3, "masks": 2}, {"mask": "sample"}),
    ({"place": "forward", "batch_size": 2, "replace": True, "law": "gaussian"}, {"samples": 3}),
    ({"place": "independent"}, {"outputs": 2, "width": 3, "samples": 3}),
    ({"place": "independent", "label": 0.3}, {"mask": "sample", "train": "input"}),
    ({"place": "independent", "batch_size": 2, "masks": 2, "parameter": 0.1}, {"samples": 3, "train": "output"}),
    ({"place": "independent", "law": "gaussian"}, {"samples": 2}),
]


@pytest.mark.parametrize(("knobs", "settings"), PLACED, ids=[f"{k} {s}" for k, s in PLACED])
def test_places_by_enumeration(knobs: Any, settings: Any) -> None:
    problem, noise = noise_enumeration.problem(**settings), Noise(**knobs)
    theta = problem.init(seed=4)
    _, mean, covariance = noise_enumeration.moments(problem, theta, noise)
    assert np.trace(covariance) > 1e-3, "no noise: the comparison would be empty"
    np.testing.assert_allclose(theory.mean_gradient(problem, theta, noise=noise), mean, **EXACT)
    np.testing.assert_allclose(theory.gradient(problem, theta, objective="risk"), mean, **EXACT)
    np.testing.assert_allclose(theory.noise_covariance(problem, theta, noise=noise), covariance, **EXACT)
    product = theory.covariance_product(problem, theta, np.eye(theta.size), noise=noise)
    np.testing.assert_allclose(product, covariance, **EXACT)
    moment = mean @ mean + np.trace(covariance)
    np.testing.assert_allclose(theory.second_moment(problem, theta, noise=noise), moment, **EXACT)


@pytest.mark.parametrize("place", ["forward", "update", "independent"])
def test_noise_of_a_place_is_drawn_with_its_covariance(place: Any) -> None:
    problem, noise = noise_enumeration.problem(width=3, outputs=2), Noise(place=place, label=0.2)
    theta = problem.init(seed=4)
    drawn = theory.StepNoise.at(problem, theta, noise).draw(np.random.default_rng(0), 40_000)
    exact = theory.noise_covariance(problem, theta, noise=noise)
    assert np.abs(drawn.T @ drawn / len(drawn) - exact).max() < 6 * np.diag(exact).max() / np.sqrt(len(drawn) / 2)
    assert (
        np.abs(drawn.T @ drawn / len(drawn) - theory.noise_covariance(problem, theta)).max() > 0.1 * np.abs(exact).max()
    )


@pytest.mark.parametrize("place", ["forward", "update", "independent"])
def test_stochastic_equations_of_a_place_meet_its_ensemble(place: Any) -> None:
    """Mean and spread within five standard errors and a share; those of dropout itself are far away."""
    problem, noise = noise_enumeration.problem(width=4, samples=3), Noise(place=place)
    theta = problem.init(seed=4)
    known: dict[str, Any] = {"lr": 0.05, "members": 4000, "noise": noise, "backend": "numpy", "dtype": "float64"}
    runs = simdrop.simulate(problem, theta, steps=20, record=2, **known).isel(time=-1)
    paths = simdrop.sme(problem, theta, times=[0.0, 1.0], substeps=1, **known).isel(time=-1)
    other = simdrop.sme(problem, theta, times=[0.0, 1.0], substeps=1, **(known | {"noise": None})).isel(time=-1)
    error = runs.theta_std / np.sqrt(2000)
    assert (abs(runs.theta_mean - paths.theta_mean) < 5 * error + 0.02 * runs.theta_std).all()
    np.testing.assert_allclose(paths.theta_std, runs.theta_std, rtol=0.15, atol=1e-3)
    assert (abs(runs.theta_mean - other.theta_mean) > 8 * error).any()


@pytest.mark.parametrize(("knobs", "settings"), CASES, ids=[f"{k} {s}" for k, s in CASES])
def test_by_enumeration(knobs: Any, settings: Any) -> None:
    problem, noise = noise_enumeration.problem(**settings), Noise(**knobs)
    theta = problem.init(seed=4)
    loss, mean, covariance = noise_enumeration.moments(problem, theta, noise)
    assert np.trace(covariance) > 1e-3, "no noise: the comparison would be empty"
    np.testing.assert_allclose(theory.loss(problem, theta, objective="risk+r1", noise=noise), loss, **EXACT)
    np.testing.assert_allclose(theory.gradient(problem, theta, objective="risk+r1", noise=noise), mean, **EXACT)
    np.testing.assert_allclose(theory.mean_gradient(problem, theta, noise=noise), mean, **EXACT)
    np.testing.assert_allclose(theory.noise_covariance(problem, theta, noise=noise), covariance, **EXACT)
    moment = mean @ mean + np.trace(covariance)
    np.testing.assert_allclose(theory.second_moment(problem, theta, noise=noise), moment, **EXACT)
    directions = np.random.default_rng(1).standard_normal((3, theta.size))
    found = theory.covariance_product(problem, theta, directions, noise=noise)
    np.testing.assert_allclose(found, directions @ covariance, **EXACT)
    assert not np.allclose(theory.noise_covariance(problem, theta), covariance) or not knobs
