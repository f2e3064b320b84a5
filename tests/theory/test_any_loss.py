"""Means over dropout of losses with classes: enumeration, quadrature, the second order, what compare shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles.enumeration import all_masks, central_difference
from scipy.integrate import quad

import simdrop
from simdrop import theory

X = np.random.default_rng(2).standard_normal((5, 2))
TARGETS: dict[str, Any] = {
    "logistic": [0, 1, 1, 0, 1],
    "softmax": [0, 2, 1, 1, 0],
    "squared-softmax": [0, 2, 1, 1, 0],
}
SECOND_ORDER: dict[str, Any] = {"how": "second-order"}


def _problem(loss: str, **options: Any) -> simdrop.Problem:
    known: dict[str, Any] = {"width": 4, "keep_prob": 0.7, "output_scale": 0.8} | options
    return simdrop.Problem(X, TARGETS[loss], loss=loss, **known)


def _value(problem: simdrop.Problem, f: np.ndarray) -> np.ndarray:
    """ℓ (..., n) of outputs f (..., n, c), written without the package."""
    if problem.loss == "logistic":
        return np.log(1 + np.exp(f[..., 0])) - problem.y[:, 0] * f[..., 0]
    s = np.exp(f) / np.exp(f).sum(axis=-1, keepdims=True)
    if problem.loss == "softmax":
        return -np.log((s * problem.y).sum(axis=-1))
    return np.square(s - problem.y).sum(axis=-1) / 2


def _enumerated(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
    """E R_drop (K,) of theta (K, P), mask by mask."""
    masks, weights = all_masks(problem.width, problem.keep_prob)
    a, w = problem.split(theta)
    h = np.tanh(problem.inputs @ w.swapaxes(-1, -2))
    found = [
        _value(problem, problem.scale * (h * mask / problem.keep_prob) @ a.swapaxes(-1, -2)).mean(axis=-1)
        for mask in masks
    ]
    return np.tensordot(weights, np.array(found), axes=1)


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("loss", TARGETS)
def test_the_mean_is_that_of_all_masks(loss: str, mask: str) -> None:
    problem = _problem(loss, mask=mask)
    theta = problem.init(seed=0, members=3)
    np.testing.assert_allclose(theory.mean_risk(problem, theta), _enumerated(problem, theta), rtol=1e-13)
    plain = theory.risk(problem, theta)
    np.testing.assert_allclose(plain, _value(problem, problem.predict(theta)).mean(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(theory.r1(problem, theta), _enumerated(problem, theta) - plain, rtol=1e-10)
    slope = central_difference(lambda t: _enumerated(problem, t), theta[0])
    np.testing.assert_allclose(theory.mean_gradient(problem, theta[0]), slope, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(theory.gradient(problem, theta[0], objective="risk+r1"), slope, rtol=1e-8, atol=1e-10)
    frozen = theory.mean_gradient(_problem(loss, mask=mask, train="output"), theta[0])
    cut = problem.width * problem.n_outputs
    np.testing.assert_array_equal(frozen[cut:], 0)
    np.testing.assert_allclose(frozen[:cut], slope[:cut], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_gaussian_dropout_of_one_output_is_an_integral(scale: float) -> None:
    problem, gaussian = _problem("logistic", output_scale=scale), simdrop.Noise(law="gaussian")
    theta = problem.init(seed=0)
    a, w = problem.split(theta)
    u = problem.scale * a[0] * np.tanh(problem.inputs @ w.T)
    f, spread = u.sum(axis=1), np.sqrt(problem.variance * np.square(u).sum(axis=1))
    assert spread.max() < 3
    found = [
        quad(
            lambda z, k=k: (
                (np.logaddexp(0, f[k] + spread[k] * z) - problem.y[k, 0] * (f[k] + spread[k] * z))
                * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
            ),
            -12, 12, epsabs=1e-13, epsrel=1e-13, points=[-f[k] / spread[k]],
        )[0]
        for k in range(len(f))
    ]  # fmt: skip
    np.testing.assert_allclose(theory.mean_risk(problem, theta, noise=gaussian), np.mean(found), rtol=0, atol=1e-9)
    slope = central_difference(lambda t: theory.mean_risk(problem, t, noise=gaussian), theta)
    np.testing.assert_allclose(theory.mean_gradient(problem, theta, noise=gaussian), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", TARGETS)
def test_the_second_order_is_one_in_the_deviations_and_has_a_floor(loss: str) -> None:
    """Its error falls as v^(3/2) or faster, and stays where keep_prob does: nothing that lr could remove."""
    errors = []
    for keep_prob in (0.9, 0.99, 0.999):
        problem = _problem(loss, keep_prob=keep_prob)
        theta = problem.init(seed=0)
        errors.append(abs(theory.mean_risk(problem, theta) - theory.mean_risk(problem, theta, **SECOND_ORDER)))
        slope = central_difference(lambda t, p=problem: theory.mean_risk(p, t, **SECOND_ORDER), theta)
        np.testing.assert_allclose(
            theory.mean_gradient(problem, theta, **SECOND_ORDER), slope, rtol=1e-7, atol=1e-10
        )  # fmt: skip
        r1 = theory.r1(problem, theta)
        close = theory.mean_risk(problem, theta, **SECOND_ORDER) - theory.risk(problem, theta)
        assert abs(close - r1) < 0.5 * abs(r1)
    assert errors[0] > 1e-6
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5


def test_for_the_squared_loss_the_second_order_is_exact() -> None:
    problem = simdrop.Problem(X, X, width=4, keep_prob=0.7)
    theta = problem.init(seed=0)
    both = [theory.mean_risk(problem, theta, **options) for options in ({}, SECOND_ORDER)]
    np.testing.assert_array_equal(*both)
    flows = [
        simdrop.flow(problem, theta, lr=0.1, times=[1.0], kind=kind).theta for kind in ("averaged", "second-order")
    ]
    np.testing.assert_array_equal(*flows)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_compare_shows_what_the_approximation_explains(loss: str) -> None:
    problem = _problem(loss, width=6)
    found = simdrop.compare(problem, lr=0.05, steps=60, members=3000, record=3, backend="numpy", seed=1)
    assert found.flows["kind"].values.tolist() == ["gradient", "second-order", "averaged"]
    share = found.distances["share"].sel(quantity="parameters").isel(time=-1)
    assert float(share.sel(kind="averaged")) > 0.9
    assert 0.5 < float(share.sel(kind="second-order")) < 1
    assert np.isnan(found.distances["value"].sel(term="r2")).all()
    assert "second-order flow" in found.table()
    assert found.figure() is not None


def test_what_is_not_known_is_refused_in_one_line() -> None:
    wide, classes = _problem("logistic", width=13), _problem("softmax")
    calls: list[tuple[Any, str]] = [
        (lambda: theory.mean_risk(wide, wide.init()), r"a sum over the 2\^13 masks, for at most 12 neurons"),
        (lambda: simdrop.flow(wide, wide.init(), lr=0.1, times=[1.0], kind="averaged"), "kind='second-order'"),
        (lambda: simdrop.compare(wide, lr=0.1, steps=2, members=8, kinds=["averaged"]), "kind 'second-order'"),
        (lambda: simdrop.compare(wide, lr=0.1, steps=2, members=8, kinds=["sme2"]), "is known for loss 'squared'"),
        (
            lambda: theory.mean_risk(classes, classes.init(), noise=simdrop.Noise(law="gaussian")),
            "an integral over the 3 outputs, written for one",
        ),
        (lambda: theory.mean_risk(classes, classes.init(), noise=simdrop.Noise(connect=0.5)), "noise with connect"),
        (lambda: theory.mean_risk(classes, classes.init(), how="third"), "unknown how 'third'"),
        (lambda: simdrop.study.order(classes, lrs=[0.4, 0.2, 0.1], time=0.4, members=30), "known for loss 'squared'"),
    ]
    for call, words in calls:
        with pytest.raises(simdrop.errors.InvalidInput, match=words) as error:
            call()
        assert "\n" not in str(error.value)
    assert simdrop.compare(wide, lr=0.1, steps=2, members=8, backend="numpy").flows["kind"].size == 2
