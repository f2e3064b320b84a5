"""Training with every loss: replay of public masks in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop_kernels import registry

STEPS, MEMBERS = 12, 3
DRAWING = np.random.default_rng(5)
X = DRAWING.standard_normal((7, 2))
TARGETS: dict[str, Any] = {
    "squared": DRAWING.standard_normal((7, 2)),
    "logistic": [0, 1, 1, 0, 1, 0, 0],
    "softmax": [0, 2, 1, 1, 0, 2, 2],
    "squared-softmax": [0, 2, 1, 1, 0, 2, 2],
}


def problem_of(loss: str, **options: Any) -> simdrop.Problem:
    """A problem of each loss."""
    known: dict[str, Any] = {"width": 6, "keep_prob": 0.6, "output_scale": 0.7} | options
    return simdrop.Problem(X, TARGETS[loss], loss=loss, **known)


def residual(problem: simdrop.Problem, f: np.ndarray) -> np.ndarray:
    """∂ℓ/∂f (n, c), written without the package."""
    y, s = problem.y, np.exp(f) / np.exp(f).sum(axis=-1, keepdims=True)
    if problem.loss == "logistic":
        return 1 / (1 + np.exp(-f)) - y
    if problem.loss == "softmax":
        return s - y
    if problem.loss == "squared-softmax":
        return np.array(
            [(np.diag(one) - np.outer(one, one)) @ (one - target) for one, target in zip(s, y, strict=True)]
        )
    return f - y


def gradient(problem: simdrop.Problem, theta: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """The gradient (P,) under factors (n, m) of the forward and the backward pass."""
    a, w = problem.split(theta)
    h = np.tanh(problem.inputs @ w.T)
    r = residual(problem, problem.scale * (forward * h) @ a.T) * problem.scale / problem.n_samples
    return problem.join(r.T @ (backward * h), (r @ a * (1 - h * h) * backward).T @ problem.inputs)


def replay(problem: simdrop.Problem, theta0: np.ndarray, lr: float, place: str = "both") -> np.ndarray:
    """The members (M, P) after STEPS steps under the public masks."""
    found = []
    for member in range(MEMBERS):
        theta = theta0.copy()
        for step in range(STEPS):
            known: dict[str, Any] = {"seed": 3, "member": member, "step": step, "width": problem.width}
            known |= {"samples": problem.n_samples} if problem.mask == "sample" else {}
            drawn, alone = (
                simdrop.masks(**known, keep_prob=problem.keep_prob, independent=one) / problem.keep_prob
                for one in (False, True)
            )
            ones = np.ones((problem.n_samples, problem.width))
            pair = {"both": (drawn, drawn), "forward": (drawn, 1), "update": (1, drawn), "independent": (alone, drawn)}
            forward, backward = pair[place]
            theta = theta - lr * gradient(problem, theta, forward * ones, backward * ones)
        found.append(theta)
    return np.array(found)


@pytest.mark.parametrize("backend", [name for name in ("numpy", "native") if not registry.load(name).unavailable()])
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("loss", TARGETS)
def test_training_is_a_replay_of_public_masks(loss: str, mask: str, backend: str) -> None:
    problem = problem_of(loss, mask=mask)
    theta0 = problem.init(seed=0)
    runs = simdrop.simulate(
        problem, theta0, lr=0.3, steps=STEPS, members=MEMBERS, seed=3, keep_theta=True, record=2, backend=backend
    )
    np.testing.assert_allclose(runs.theta.values[-1], replay(problem, theta0, 0.3), rtol=1e-12, atol=1e-13)
    f = problem.predict(runs.theta.values)
    one = {
        "squared": lambda: np.square(f - problem.y).sum(axis=-1) / 2,
        "logistic": lambda: np.log(1 + np.exp(f[..., 0])) - problem.y[:, 0] * f[..., 0],
        "softmax": lambda: np.log(np.exp(f).sum(axis=-1)) - (f * problem.y).sum(axis=-1),
        "squared-softmax": lambda: np.square(problem.probabilities(runs.theta.values) - problem.y).sum(axis=-1) / 2,
    }
    np.testing.assert_allclose(runs.risk.values, one[loss]().mean(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(runs.risk.values, simdrop.theory.risk(problem, runs.theta.values), rtol=1e-12)
    assert runs.attrs["loss"] == loss
    if loss != "squared":
        right = (f[..., 0] > 0) == (problem.y[:, 0] == 1)
        if loss != "logistic":
            right = f.argmax(axis=-1) == problem.y.argmax(axis=-1)
        np.testing.assert_allclose(runs.accuracy.values, right.mean(axis=-1), rtol=1e-15)
    assert ("accuracy" in runs) == (loss != "squared")


@pytest.mark.parametrize("backend", [name for name in ("numpy", "native") if not registry.load(name).unavailable()])
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("place", ["forward", "update", "independent"])
def test_the_place_of_the_mask_is_a_replay_of_public_masks(place: str, mask: str, backend: str) -> None:
    if backend == "native" and mask == "sample":
        pytest.skip("refused, as the conformance tests check")
    problem = problem_of("squared", mask=mask)
    theta0 = problem.init(seed=0)
    runs = simdrop.simulate(
        problem, theta0, lr=0.2, steps=STEPS, members=MEMBERS, seed=3, keep_theta=True, record=2,
        noise=simdrop.Noise(place=place), backend=backend,
    )  # fmt: skip
    np.testing.assert_allclose(runs.theta.values[-1], replay(problem, theta0, 0.2, place), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_numba_trains_losses_with_classes(loss: str) -> None:
    """Of one output and one input by the kernel `fused`, of classes by `tiled`."""
    x = X[:, :1] if loss == "logistic" else X
    problem = simdrop.Problem(x, TARGETS[loss], width=6, keep_prob=0.6, loss=loss)
    known: dict[str, Any] = {"lr": 0.3, "steps": STEPS, "members": MEMBERS, "record": 3, "keep_theta": True}
    ours, theirs = (
        simdrop.simulate(problem, problem.init(seed=0), **known, backend=backend) for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(ours.accuracy, theirs.accuracy)


def test_what_needs_the_squared_loss_is_refused_in_one_line() -> None:
    problem = problem_of("logistic")
    known: dict[str, Any] = {"lr": 0.1, "steps": 2, "members": 2}
    theta0 = problem.init(seed=0)
    calls: list[Any] = [
        lambda: simdrop.simulate(problem, theta0, **known, objective="risk+r1"),
        lambda: simdrop.simulate(problem, theta0, **known, objective="L3"),
        lambda: simdrop.simulate(problem, theta0, **known, noise=simdrop.Noise(label=0.1)),
        lambda: simdrop.simulate(problem, theta0, **known, noise=simdrop.Noise(part="drift")),
        lambda: simdrop.sme(problem, theta0, lr=0.1, times=[0, 1], members=2),
        lambda: simdrop.theory.r2(problem, theta0, lr=0.1),
        lambda: simdrop.theory.noise_covariance(problem, theta0),
        lambda: simdrop.theory.second_moment(problem, theta0),
        lambda: simdrop.theory.hessian(problem, theta0),
        lambda: simdrop.flow(problem, theta0, lr=0.1, times=[0, 1], kind="modified"),
        lambda: simdrop.flow(problem, theta0, lr=0.1, times=[0, 1], kind="mean-covariance"),
        lambda: simdrop.flow(problem, theta0, lr=0.1, times=[0, 1], kind="pathwise"),
    ]
    for call in calls:
        with pytest.raises(simdrop.errors.InvalidInput, match="loss 'squared'") as error:
            call()
        assert "\n" not in str(error.value)
