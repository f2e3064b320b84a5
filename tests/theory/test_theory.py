"""Losses, noise and curvature against all masks, finite differences and PyTorch."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from oracles import enumeration
from oracles.exact_activations import EXACT as EXACT_ACTIVATIONS

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.theory.curvature import Curvature
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

EXACT = {"rtol": 1e-11, "atol": 1e-13}
MASKS = ["step", "sample"]


def by_enumeration(problem: Any, theta: Any) -> Any:
    oracle = enumeration.moments if problem.mask == "step" else enumeration.moments_by_sample
    return oracle(problem, theta)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activations_by_mpmath(name: Any) -> None:
    z = np.array([-4.0, -1.3, -0.2, 0.3, 1.1, 2.9])
    found = ACTIVATIONS[name].derivatives(z, 3)
    for order, values in enumerate(found):
        expected = [float(mpmath.diff(EXACT_ACTIVATIONS[name].value, t, order)) for t in z]
        np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9)
    assert all(v.dtype == np.float32 for v in ACTIVATIONS[name].derivatives(z.astype(np.float32), 3))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_losses_and_their_gradients(mask: Any, outputs: Any) -> None:
    problem = enumeration.problem(mask=mask, outputs=outputs)
    theta = problem.init(seed=1)
    loss, mean, moment, _ = by_enumeration(problem, theta)
    residuals = problem.predict(theta) - problem.y
    np.testing.assert_allclose(theory.risk(problem, theta), np.square(residuals).sum() / 8, **EXACT)
    np.testing.assert_allclose(theory.risk(problem, theta) + theory.r1(problem, theta), loss, **EXACT)
    np.testing.assert_allclose(theory.r2(problem, theta, lr=0.2), 0.05 * moment, **EXACT)
    np.testing.assert_allclose(theory.modified_loss(problem, theta, lr=0.2), loss + 0.05 * moment, **EXACT)
    np.testing.assert_allclose(theory.mean_gradient(problem, theta), mean, **EXACT)
    np.testing.assert_allclose(theory.second_moment(problem, theta), moment, **EXACT)
    several = problem.init(seed=1, members=3)
    assert theory.modified_loss(problem, several, lr=0.2).shape == (3,)
    assert theory.modified_loss(problem, several, lr=0.2)[0] == theory.modified_loss(problem, theta, lr=0.2)
    for objective in theory.losses.OBJECTIVES:
        slope = enumeration.central_difference(
            lambda points, objective=objective: theory.loss(problem, points, objective=objective, lr=0.2), theta
        )
        found = theory.gradient(problem, theta, objective=objective, lr=0.2)
        np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_covariance_by_enumeration(mask: Any, outputs: Any, activation: Any) -> None:
    problem = enumeration.problem(activation=activation, mask=mask, outputs=outputs, width=6)
    theta = problem.init(seed=2)
    _, mean, moment, covariance = by_enumeration(problem, theta)
    found = theory.noise_covariance(problem, theta)
    np.testing.assert_allclose(found, covariance, **EXACT)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(np.trace(found), moment - mean @ mean, rtol=1e-10)
    directions = np.random.default_rng(0).standard_normal((3, problem.n_params))
    products = theory.covariance_product(problem, theta, directions)
    np.testing.assert_allclose(products, directions @ covariance, **EXACT)
    np.testing.assert_allclose(theory.covariance_product(problem, theta, directions[0]), products[0], **EXACT)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_draws_have_the_covariance(mask: Any, outputs: Any) -> None:
    """A draw is linear in its normals: feeding unit vectors gives a square root of the covariance, exactly."""
    problem = enumeration.problem(mask=mask, outputs=outputs)
    theta = problem.init(seed=3)
    noise = theory.NoiseOperator.at(problem, theta)
    groups, m = (1 if mask == "step" else problem.n_samples), problem.width
    first = np.eye(groups * m).reshape(-1, groups, m)
    second = np.eye(groups * m * m).reshape(-1, groups, m, m)  # those on and below the diagonal count for nothing
    root = np.concatenate(
        [
            noise.draw(first, np.zeros((len(first), groups, m, m))),
            noise.draw(np.zeros((len(second), groups, m)), second),
        ]
    )
    np.testing.assert_allclose(root.T @ root, by_enumeration(problem, theta)[3], **EXACT)
    assert np.count_nonzero(np.abs(root).sum(axis=1)) == groups * (m + m * (m - 1) // 2)


@pytest.mark.parametrize("outputs", [1, 2])
def test_dropout_gradient_under_given_masks(outputs: Any) -> None:
    problem = enumeration.problem(outputs=outputs)
    theta = problem.init(seed=4)
    kept = np.random.default_rng(1).random((problem.n_samples, problem.width)) < 0.6
    _, expected = enumeration.per_mask(problem, theta, kept[None])
    np.testing.assert_allclose(theory.dropout_gradient(problem, theta, kept), expected[0], **EXACT)
    same = np.broadcast_to(kept[0], kept.shape)
    np.testing.assert_allclose(
        theory.dropout_gradient(problem, theta, kept[0]), theory.dropout_gradient(problem, theta, same), **EXACT
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_hessians_by_finite_differences(activation: Any, outputs: Any) -> None:
    problem = enumeration.problem(activation=activation, outputs=outputs)
    theta = problem.init(seed=5)
    for objective in ("risk", "risk+r1"):
        expected = enumeration.central_difference(
            lambda points, objective=objective: theory.gradient(problem, points, objective=objective), theta
        )
        found = theory.hessian(problem, theta, objective=objective)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_array_equal(found, found.T)
        directions = np.random.default_rng(2).standard_normal((3, problem.n_params))
        products = theory.hessian_product(problem, theta, directions, objective=objective)
        np.testing.assert_allclose(products, directions @ found, **EXACT)
        by_factors = Curvature.at(problem, theta, objective=objective).product(directions)
        np.testing.assert_allclose(by_factors, directions @ found, **EXACT)


@pytest.mark.peer
@pytest.mark.parametrize("outputs", [1, 2])
def test_gradients_and_hessian_by_autograd(outputs: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the independent autograd here")
    problem = enumeration.problem(outputs=outputs)
    start = problem.init(seed=6)
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)
    n, m, p = problem.n_samples, problem.width, problem.keep_prob
    cut = outputs * m

    def network(theta: Any, kept: Any) -> Any:
        a, w = theta[:cut].reshape(outputs, m), theta[cut:].reshape(m, -1)
        return torch.tanh(x @ w.T) * kept, problem.scale * a

    def r_drop(theta: Any, kept: Any) -> Any:
        hidden, a = network(theta, kept / p)
        return ((hidden @ a.T - y) ** 2).sum() / (2 * n)

    def averaged(theta: Any) -> Any:
        hidden, a = network(theta, 1.0)
        r1 = (1 - p) / p * ((hidden**2) @ (a**2).T).sum() / (2 * n)
        return r_drop(theta, p) + r1

    theta = torch.tensor(start, requires_grad=True)
    (mean,) = torch.autograd.grad(averaged(theta), theta)
    np.testing.assert_allclose(theory.mean_gradient(problem, start), mean.numpy(), **EXACT)
    hessian = torch.autograd.functional.hessian(averaged, torch.tensor(start))
    np.testing.assert_allclose(theory.hessian(problem, start), hessian.numpy(), **EXACT)
    for samples in (None, n):
        kept = simdrop.masks(seed=7, member=3, step=11, width=m, keep_prob=p, samples=samples)
        (one,) = torch.autograd.grad(r_drop(theta, torch.tensor(kept.astype(float))), theta)
        np.testing.assert_allclose(theory.dropout_gradient(problem, start, kept), one.numpy(), **EXACT)


def test_wide_inputs_choose_the_cheaper_order() -> None:
    """More outputs on the data than neurons, and fewer: the same covariance product."""
    for samples, width in ((12, 3), (3, 12)):
        problem = enumeration.problem(samples=samples, width=width, outputs=2)
        theta = problem.init(seed=8)
        _, _, _, covariance = enumeration.moments(problem, theta)
        np.testing.assert_allclose(theory.noise_covariance(problem, theta), covariance, **EXACT)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: theory.risk(p, t[:-1]), "theta must have 16 parameters"),
        (lambda p, t: theory.risk(p, t * np.nan), "theta has 16 non-finite values"),
        (lambda p, t: theory.r2(p, t, lr=0.0), "lr must be positive, got 0.0"),
        (lambda p, t: theory.modified_loss(p, t, lr=[0.1, 0.2]), "lr must be a number or fit the leading axes"),
        (lambda p, t: theory.loss(p, t, objective="r2"), "objective 'r2' needs lr"),
        (lambda p, t: theory.gradient(p, t, objective="riks"), "unknown objective 'riks': did you mean 'risk'"),
        (lambda p, t: theory.hessian(p, t, objective="r2"), "unknown objective 'r2'"),
        (lambda p, t: theory.hessian(p, np.stack([t, t])), "theta must be one vector of 16 parameters"),
        (lambda p, t: theory.noise_covariance(p, np.stack([t, t])), "theta must be one vector"),
        (lambda p, t: theory.covariance_product(p, t, t[:3]), "direction must have 16 parameters"),
        (lambda p, t: theory.dropout_gradient(p, t, np.ones(4)), "mask must be boolean of shape"),
        (lambda p, t: theory.dropout_gradient(p, t, np.ones((3, 4), dtype=bool)), r"\(4,\) or \(4, 4\)"),
    ],
)
def test_bad_input(call: Any, message: Any) -> None:
    problem = enumeration.problem()
    with pytest.raises(InvalidInput, match=message):
        call(problem, problem.init())
