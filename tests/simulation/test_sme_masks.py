"""Increments by masks: their covariance for every noise, the drift under DropConnect, both backends alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import noise_enumeration
from scipy.integrate import solve_ivp

import simdrop
from simdrop import theory
from simdrop.problem import Noise
from simdrop_kernels.mathematics.network import dropconnect

NOISES = {
    "dropout": Noise(),
    "gaussian, 2 masks": Noise(law="gaussian", masks=2),
    "minibatch, label": Noise(batch_size=2, label=0.3),
    "minibatch with replacement": Noise(batch_size=2, replace=True, masks=2),
    "DropConnect": Noise(connect=0.7),
    "all": Noise(connect=0.8, masks=2, label=0.3, parameter=0.2, batch_size=3),
}
PATHS = 30_000
#: standard errors that the largest of at most 45 entries exceeds by chance once in 10^5 tests
BOUND = 6.0


def _problem(mask: str = "step", **changes: Any) -> tuple[simdrop.Problem, NDArray]:
    problem = noise_enumeration.problem(mask=mask, width=3, samples=4, **changes)
    return problem, problem.init(seed=4)


def _increments(problem: simdrop.Problem, theta: NDArray, noise: Noise, backend: str) -> NDArray:
    """One step of noise alone, (PATHS, P), in units in which its covariance is that of a gradient."""
    found = simdrop.sme(
        problem, theta, lr=0.04, times=[0.04], order=1, members=PATHS, seed=7, noise=replace(noise, part="noise"),
        increments="masks", scheme="euler", substeps=1, backend=backend, keep_theta=True, quantiles=(),
    )["theta"].values[-1]  # fmt: skip
    return (found - theta) / 0.04


def _deviation(drawn: NDArray, wanted: NDArray) -> float:
    """The largest difference of the two covariances, in standard errors; the mean of the first is known to be 0."""
    products = drawn[:, :, None] * drawn[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(drawn))
    known = error > 0
    np.testing.assert_allclose(wanted[~known], 0, atol=1e-12)
    return float(np.abs((products.mean(axis=0) - wanted)[known] / error[known]).max())


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("kind", NOISES)
def test_increments_have_the_covariance_of_theory(kind: str, mask: str) -> None:
    problem, theta = _problem(mask)
    drawn = _increments(problem, theta, NOISES[kind], "numpy")
    assert _deviation(drawn, theory.noise_covariance(problem, theta, noise=NOISES[kind])) < BOUND
    # what is wrong by a little shows: so many paths resolve 0.05 in p
    other = replace(problem, keep_prob=problem.keep_prob - 0.05)
    assert _deviation(drawn, theory.noise_covariance(other, theta, noise=NOISES[kind])) > BOUND
    # both draws are of one law: odd moments vanish, which those of a gradient do not
    cubes = drawn**3
    assert np.abs(cubes.mean(axis=0) / (cubes.std(axis=0) / np.sqrt(PATHS))).max() < BOUND


@pytest.mark.slow  # a minute to compile
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("kind", NOISES)
def test_numba_agrees_with_numpy(kind: str, mask: str) -> None:
    problem, theta = _problem(mask, outputs=2, train="input" if kind == "all" else "both")
    order = 1 if NOISES[kind].connect < 1 else 2
    ours, theirs = (
        simdrop.sme(
            problem, theta, lr=0.1, times=[0.2], order=order, members=4, seed=2**63, noise=NOISES[kind],
            increments="masks", antithetic=True, substeps=2, backend=backend, keep_theta=True,
        )["theta"].values
        for backend in ("numba", "numpy")
    )  # fmt: skip
    assert np.abs(theirs[-1] - theta).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_the_mean_gradient_of_dropconnect_by_differences(activation: str, outputs: int) -> None:
    problem, theta = _problem(outputs=outputs, inputs=2)
    known = {"activation": activation, "keep_prob": 0.6, "output_scale": 0.8, "connect": 0.7}
    direction = np.random.default_rng(1).standard_normal(theta.size)
    found = dropconnect.mean_gradient_along(problem.inputs, problem.y, theta, direction, **known)
    ahead, behind = (
        dropconnect.mean_gradient(problem.inputs, problem.y, theta + sign * 1e-5 * direction, **known)
        for sign in (1, -1)
    )
    np.testing.assert_allclose(found, (ahead - behind) / 2e-5, rtol=0, atol=1e-8 * np.abs(found).max())


@pytest.mark.parametrize("order", [1, 2])
def test_the_drift_under_dropconnect_is_that_of_its_mean_loss(order: int) -> None:
    problem, theta = _problem()
    noise, lr = Noise(connect=0.7, part="drift"), 0.1

    def gradient(theta: NDArray) -> NDArray:
        return theory.mean_gradient(problem, theta, noise=noise)

    def slope(time: float, theta: NDArray) -> NDArray:
        g = gradient(theta)
        if order == 1:
            return -g
        return -g - lr / 2 * (gradient(theta + 1e-5 * g) - gradient(theta - 1e-5 * g)) / 2e-5

    wanted = solve_ivp(slope, (0, 2), theta, rtol=1e-9, atol=1e-9).y[:, -1]
    found = simdrop.sme(
        problem, theta, lr=lr, times=[2.0], order=order, members=1, noise=noise, substeps=4, keep_theta=True,
        backend="numpy",
    )  # fmt: skip
    np.testing.assert_allclose(found["theta"].values[-1, 0], wanted, rtol=0, atol=2e-6)
    assert found.attrs["increments"] == "masks"


@pytest.mark.slow
def test_paths_have_the_law_of_those_with_normal_increments() -> None:
    """At lr 0.05, mean and spread of every parameter within 6 standard errors; not so at another keep_prob."""
    problem, theta = _problem()
    known = {"lr": 0.05, "times": [1.0], "members": 40_000, "keep_theta": True, "quantiles": ()}
    masks = simdrop.sme(problem, theta, seed=2, increments="masks", backend="numpy", **known)["theta"].values[-1]
    normal = simdrop.sme(problem, theta, seed=2, **known)["theta"].values[-1]
    other = simdrop.sme(replace(problem, keep_prob=0.75), theta, seed=3, **known)["theta"].values[-1]

    def apart(left: NDArray, right: NDArray) -> float:
        """The largest difference of means and variances, in standard errors."""
        found = []
        for power in (1, 2):
            a, b = (v if power == 1 else (v - v.mean(axis=0)) ** 2 for v in (left, right))
            found.append(np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.sqrt((a.var(axis=0) + b.var(axis=0)) / len(a)))
        return float(np.max(found))

    assert apart(masks, normal) < BOUND
    assert apart(other, normal) > BOUND


@pytest.mark.slow
def test_dropconnect_of_order_2_beats_its_mean_loss() -> None:
    """E theta at time 1 of an ensemble at lr 0.1: paths are three times as near as the flow of the mean loss."""
    problem, theta = _problem()
    noise, members, lr = Noise(connect=0.7), 40_000, 0.1
    known = {"members": members, "noise": noise, "keep_theta": False, "quantiles": ()}
    ensemble = simdrop.simulate(problem, theta, lr=lr, steps=10, record=[10], seed=1, **known)["theta_mean"].values[-1]
    paths = simdrop.sme(problem, theta, lr=lr, times=[1.0], seed=2, backend="numpy", substeps=2, **known)
    drift = Noise(connect=0.7, part="drift")
    flow = simdrop.sme(problem, theta, lr=lr, times=[1.0], order=1, noise=drift, members=1, backend="numpy")
    near, far = (float(np.linalg.norm(found["theta_mean"].values[-1] - ensemble)) for found in (paths, flow))
    assert near < far / 3
