"""Hessians of R_S and accuracy for losses with classes: against differences, and PyTorch where it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import theory

LOSSES = ("logistic", "softmax", "squared-softmax")


def _problem(loss: Any, **settings: Any) -> simdrop.Problem:
    rng = np.random.default_rng(5)
    classes = [0, 1, 1, 0, 1] if loss == "logistic" else [0, 2, 1, 0, 2]
    known = {"width": 4, "keep_prob": 0.7, "output_scale": 0.8} | settings
    return simdrop.Problem(rng.standard_normal((5, 2)), classes, loss=loss, **known)


@pytest.mark.parametrize("train", ["both", "output", "input"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_hessian_of_the_risk_is_the_derivative_of_its_gradient(loss: str, train: Any) -> None:
    problem = _problem(loss, train=train, weight_decay=0.3)
    theta, step = problem.init(seed=1), 1e-5
    axes = step * np.eye(theta.size)
    by_differences = np.array([
        problem.freeze(
            theory.gradient(problem, theta + axis, objective="risk")
            - theory.gradient(problem, theta - axis, objective="risk")
        )
        for axis in axes
    ]) / (2 * step)  # fmt: skip
    hessian = theory.hessian(problem, theta, objective="risk")
    np.testing.assert_allclose(hessian, problem.freeze(by_differences.T), atol=1e-8)
    assert np.array_equal(hessian, hessian.T)
    directions = np.random.default_rng(0).standard_normal((2, 3, theta.size))
    along = theory.hessian_product(problem, theta, directions, objective="risk")
    np.testing.assert_allclose(along, directions @ hessian, atol=1e-12)
    points = problem.init(seed=2, members=3)
    traces = [np.trace(theory.hessian(problem, point, objective="risk")) for point in points]
    np.testing.assert_allclose(theory.hessian_trace(problem, points, objective="risk"), traces, rtol=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_the_hessian_is_that_of_pytorch(loss: str) -> None:
    torch = pytest.importorskip("torch")
    problem = _problem(loss)
    theta, x = problem.init(seed=3), torch.tensor(problem.inputs)
    width, outputs = problem.width, problem.n_outputs

    def risk(at: Any) -> Any:
        a = at[: outputs * width].reshape(outputs, width)
        w = at[outputs * width :].reshape(width, -1)
        f = problem.scale * torch.tanh(x @ w.T) @ a.T
        if loss == "logistic":
            return torch.nn.functional.binary_cross_entropy_with_logits(f, torch.tensor(problem.y))
        return torch.nn.functional.cross_entropy(f, torch.tensor(problem.y.argmax(axis=1)))

    expected = torch.autograd.functional.hessian(risk, torch.tensor(theta)).numpy()
    np.testing.assert_allclose(theory.hessian(problem, theta, objective="risk"), expected, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_accuracy_is_that_of_predictions_and_goes_along_flows(loss: str) -> None:
    problem = _problem(loss)
    points = problem.init(seed=4, members=6).reshape(2, 3, -1)
    f = problem.predict(points, problem.x)
    classes = f[..., 0] > 0 if loss == "logistic" else f.argmax(axis=-1)
    truth = problem.y[:, 0] if loss == "logistic" else problem.y.argmax(axis=1)
    assert np.array_equal(theory.accuracy(problem, points), (classes == truth).mean(axis=-1))
    flow = simdrop.flow(problem, problem.init(seed=0), lr=0.5, times=[0, 400.0], kind="gradient")
    assert np.array_equal(flow["accuracy"], theory.accuracy(problem, flow["theta"]))
    assert flow["accuracy"][-1] == 1.0
    found = simdrop.compare(problem, lr=0.5, steps=4, members=4, record=2, backend="numpy", kinds=["gradient"])
    assert np.array_equal(found.flows["accuracy"], theory.accuracy(problem, found.flows["theta"]))


def test_what_has_no_accuracy_or_no_hessian_says_why() -> None:
    squared, classes = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3), _problem("softmax")
    with pytest.raises(simdrop.errors.InvalidInput, match="accuracy needs a loss with classes"):
        theory.accuracy(squared, squared.init())
    assert "accuracy" not in simdrop.flow(squared, squared.init(), lr=0.1, times=1.0)
    for function in (theory.hessian, theory.hessian_trace, theory.hessian_operator):
        with pytest.raises(simdrop.errors.InvalidInput, match=r"R_S \+ R_1 is known for loss 'squared'.*'risk' is"):
            function(classes, classes.init())
