"""The closed forms of the kernels against all masks, finite differences, PyTorch, and themselves in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration

from simdrop_kernels.mathematics.activations.table import ACTIVATIONS
from simdrop_kernels.mathematics.network import expected

EXACT = {"rtol": 1e-11, "atol": 1e-13}  # sums of a few hundred float64 terms
LR = 0.3


def arguments(problem: Any, **changes: Any) -> Any:
    return {
        "activation": problem.activation,
        "keep_prob": problem.keep_prob,
        "output_scale": problem.scale,
        **changes,
    }


def gradient(problem: Any, objective: Any, theta: Any, lr: Any = LR) -> Any:
    return expected.gradient(
        objective, problem.inputs, problem.y, theta, mask=problem.mask, lr=lr, **arguments(problem)
    )


def second_moment(problem: Any, theta: Any) -> Any:
    return expected.second_moment(problem.inputs, problem.y, theta, mask=problem.mask, **arguments(problem))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_step_masks_by_enumeration(activation: Any, outputs: Any) -> None:
    problem = enumeration.problem(activation=activation, outputs=outputs, width=5)
    theta = problem.init(seed=1)
    loss, mean, moment, _ = enumeration.moments(problem, theta)
    risk, r1 = expected.losses(problem.inputs, problem.y, theta, **arguments(problem))
    np.testing.assert_allclose(risk + r1, loss, **EXACT)
    np.testing.assert_allclose(gradient(problem, "risk+r1", theta), mean, **EXACT)
    np.testing.assert_allclose(second_moment(problem, theta), moment, **EXACT)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_sample_masks_by_enumeration(activation: Any, outputs: Any) -> None:
    tiny = enumeration.problem(activation=activation, mask="sample", outputs=outputs, width=3, samples=3)
    theta = tiny.init(seed=2)
    for found, right in zip(enumeration.moments_by_sample(tiny, theta), enumeration.moments(tiny, theta), strict=True):
        np.testing.assert_allclose(found, right, **EXACT)  # the oracle itself
    problem = enumeration.problem(activation=activation, mask="sample", outputs=outputs, width=6)
    theta = problem.init(seed=2)
    loss, mean, moment, _ = enumeration.moments_by_sample(problem, theta)
    risk, r1 = expected.losses(problem.inputs, problem.y, theta, **arguments(problem))
    np.testing.assert_allclose(risk + r1, loss, **EXACT)
    np.testing.assert_allclose(gradient(problem, "risk+r1", theta), mean, **EXACT)
    np.testing.assert_allclose(second_moment(problem, theta), moment, **EXACT)


def test_mask_modes_differ_in_the_second_moment() -> None:
    step, sample = (enumeration.problem(mask=mask) for mask in ("step", "sample"))
    theta = step.init(seed=3)
    assert second_moment(step, theta) > 1.05 * second_moment(sample, theta)


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_by_finite_differences(activation: Any, outputs: Any, mask: Any) -> None:
    problem = enumeration.problem(activation=activation, outputs=outputs, mask=mask)
    theta = problem.init(seed=4)

    def losses(points: Any) -> Any:
        risk, r1 = expected.losses(problem.inputs, problem.y, points, **arguments(problem))
        return np.stack([risk, r1, LR / 4 * second_moment(problem, points)], axis=-1)

    by_term = enumeration.central_difference(losses, theta)
    for column, term in enumerate(("risk", "r1", "r2")):
        np.testing.assert_allclose(gradient(problem, term, theta), by_term[:, column], rtol=1e-8, atol=1e-9)
    whole = gradient(problem, "risk+r1+r2", theta)
    np.testing.assert_allclose(whole, by_term.sum(axis=1), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_members_are_independent_and_float32_is_kept(mask: Any) -> None:
    problem = enumeration.problem(outputs=2, mask=mask)
    theta = problem.init(seed=5, members=3)
    keep_prob, lr = np.array([0.3, 0.7, 1.0]), np.array([0.1, 0.2, 0.3])
    options = arguments(problem, keep_prob=keep_prob, mask=mask, lr=lr)
    x, y = problem.inputs, problem.y
    together = expected.gradient("risk+r1+r2", x, y, theta, **options)
    batch = expected.gradient("risk+r1+r2", np.stack([x] * 3), np.stack([y] * 3), theta, **options)
    np.testing.assert_allclose(batch, together, rtol=1e-13)
    for k in range(3):
        alone = expected.gradient(
            "risk+r1+r2", x, y, theta[k], **arguments(problem, keep_prob=keep_prob[k], mask=mask, lr=lr[k])
        )
        np.testing.assert_allclose(together[k], alone, rtol=1e-12, atol=1e-14)
    single = expected.gradient("risk+r1+r2", *(v.astype(np.float32) for v in (x, y, theta)), **options)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_without_dropout_r2_is_the_square_of_the_gradient(mask: Any) -> None:
    problem = enumeration.problem(outputs=2, mask=mask, keep_prob=1.0)
    theta = problem.init(seed=6)
    risk = gradient(problem, "risk", theta)
    assert expected.losses(problem.inputs, problem.y, theta, **arguments(problem))[1] == 0
    np.testing.assert_array_equal(gradient(problem, "risk+r1", theta), risk)
    np.testing.assert_allclose(second_moment(problem, theta), risk @ risk, rtol=1e-13)


@pytest.mark.peer
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_gradient_of_r2_by_autograd_through_every_mask(mask: Any, outputs: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the independent autograd here")
    problem = enumeration.problem(
        activation="gelu", outputs=outputs, mask=mask, width=3, samples=3 if mask == "sample" else 4
    )
    count = problem.width * (problem.n_samples if mask == "sample" else 1)
    masks, weights = enumeration.all_masks(count, problem.keep_prob)
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)
    start = problem.init(seed=7)
    a, w = (torch.tensor(v, requires_grad=True) for v in problem.split(start))

    def r_drop(kept: Any) -> Any:
        hidden = torch.nn.functional.gelu(x @ w.T) * kept / problem.keep_prob
        return ((problem.scale * hidden @ a.T - y) ** 2).sum() / (2 * len(x))

    r2 = torch.zeros((), dtype=torch.float64)
    for mask_row, weight in zip(masks.reshape(len(masks), -1, problem.width), weights, strict=True):
        grads = torch.autograd.grad(r_drop(torch.tensor(mask_row)), (a, w), create_graph=True)
        r2 = r2 + LR / 4 * weight * sum((g**2).sum() for g in grads)
    by_a, by_w = torch.autograd.grad(r2, (a, w))
    expected = problem.join(by_a.numpy(), by_w.numpy())
    np.testing.assert_allclose(LR / 4 * second_moment(problem, start), r2.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient(problem, "r2", start), expected, rtol=1e-10, atol=1e-12)


def test_cost_is_linear_in_the_width() -> None:
    """No pair of neurons is ever formed: at width 20,000 it would take 3 GB."""
    problem = enumeration.problem(width=20_000, output_scale=1 / 20_000)
    import tracemalloc

    theta = problem.init(seed=8)
    tracemalloc.start()
    gradient(problem, "risk+r1+r2", theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 8 * problem.n_samples * problem.width
