"""The noise of the stochastic equations: its covariance, against all masks and against the law of total covariance.

For a fixed theta the noise is a linear map of independent standard normal numbers. Fed with the unit vectors in their
place it shows its columns, and J Jᵀ is its covariance to rounding: nothing here is statistical but the last tests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import enumeration

import simdrop
from simdrop.problem import Noise
from simdrop_kernels.contract.equation import Equation, Noises
from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.network.forward import ForwardPass
from simdrop_kernels.reference import follow as reference

NOISES = {
    "dropout": Noise(),
    "3 masks": Noise(masks=3),
    "gaussian": Noise(law="gaussian"),
    "gaussian, 2 masks": Noise(law="gaussian", masks=2),
    "label": Noise(label=0.3),
    "label, 2 masks": Noise(label=0.3, masks=2),
    "parameter": Noise(parameter=0.2),
    "minibatch": Noise(batch_size=2),
    "minibatch with replacement": Noise(batch_size=2, replace=True),
    "all": Noise(law="gaussian", masks=2, label=0.3, parameter=0.2, batch_size=3),
}


def _problem(mask: str = "step", **changes: Any) -> tuple[simdrop.Problem, NDArray]:
    problem = enumeration.problem(mask=mask, **changes)
    return problem, problem.init(seed=4)


def _equation(problem: simdrop.Problem, noise: Noise) -> Equation:
    return Equation(network=problem.network, noise=noise)


def _columns(problem: simdrop.Problem, theta: NDArray, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> NDArray:
    """The noise under each unit vector of its normal numbers: (K, P)."""
    used: dict[tuple[int, int], int] = {}  # (row, number) -> which unit vector

    def units(stream: int, count: int, rows: NDArray, step: int, member: NDArray, seed: int) -> NDArray:
        assert stream == rng.STREAM_SDE
        drawn = np.zeros((len(member), len(rows), count))
        for place, row in enumerate(rows):
            for k in range(count):
                which = used.setdefault((int(row), k), len(used))
                if which < len(member):
                    drawn[which, place, k] = 1
        return drawn

    equation = _equation(problem, noise)
    with monkeypatch.context() as patched:
        patched.setattr(reference, "normals", units)
        for size in (1, None):  # the first call tells how many numbers there are
            members = np.arange(size or len(used), dtype=np.uint64)
            thetas = np.tile(theta, (len(members), 1))
            net = ForwardPass.at(problem.inputs, problem.y, thetas, problem.activation, problem.scale, order=1)
            noises = Noises.of(equation, np.full(len(members), problem.keep_prob), problem.n_samples)
            found = reference.gradient_noise(equation, net, noises, member=members, step=0, seed=0)
    return found


def _close(found: NDArray, wanted: NDArray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_dropout_has_the_covariance_over_all_masks(mask: str, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = _problem(mask, outputs=outputs)
    columns = _columns(problem, theta, Noise(), monkeypatch)
    wanted = (enumeration.moments if mask == "step" else enumeration.moments_by_sample)(problem, theta)[3]
    _close(columns.T @ columns, wanted)


@pytest.mark.parametrize("largest", [None, 0, 3])
@pytest.mark.parametrize("width", [1, 2, 6])
def test_rows_by_themselves_have_it_whatever_neuron_is_large(
    width: int, largest: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where u_j² of one neuron exceeds the sum of all others, its number follows from theirs."""
    problem, theta = _problem("sample", width=width, samples=3)
    if largest is not None:
        theta[largest % width] *= 10
    theta[: width // 2] *= 3
    columns = _columns(problem, theta, Noise(), monkeypatch)
    _close(columns.T @ columns, enumeration.moments_by_sample(problem, theta)[3])
    # n m (ξ) + n (m + 1) (ζ)
    assert len(columns) == 3 * (2 * width + 1)


@pytest.mark.parametrize("exact", [True, False])
def test_two_neurons_that_are_equally_large_divide_by_no_zero(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = _problem("sample", width=2, samples=2)
    a, w = problem.split(theta)
    a[:], w[:] = a[:, :1], w[:1]
    if not exact:
        a[:, 1] *= 1 + 1e-15
    columns = _columns(problem, theta, Noise(), monkeypatch)
    np.testing.assert_allclose(
        columns.T @ columns, enumeration.moments_by_sample(problem, theta)[3], rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_every_noise_has_the_covariance_of_theory(
    mask: str, outputs: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, theta = _problem(mask, outputs=outputs)
    columns = _columns(problem, theta, NOISES[kind], monkeypatch)
    _close(columns.T @ columns, simdrop.theory.noise_covariance(problem, theta, noise=NOISES[kind]))


@pytest.mark.parametrize("train", ["output", "input"])
def test_frozen_weights_have_none(train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, theta = _problem()
    problem = replace(problem, train=train)
    columns = _columns(problem, theta, Noise(parameter=0.1, label=0.2), monkeypatch)
    wanted = simdrop.theory.noise_covariance(problem, theta, noise=Noise(parameter=0.1, label=0.2))
    assert (wanted == 0).any()
    _close(columns.T @ columns, wanted)


def test_gaussian_factors_by_quadrature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors 1 + √v x at the nodes of Gauss and Hermite, exact for the polynomials of degree 4 at hand."""
    problem, theta = _problem(width=3, samples=3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.prod(np.stack(np.meshgrid(weights, weights, weights, indexing="ij"), axis=-1).reshape(-1, 3), axis=1)
    weight /= weight.sum()
    factors = 1 + np.sqrt(problem.variance) * grid
    kept = np.repeat(problem.keep_prob * factors[:, None], problem.n_samples, axis=1)  # `per_mask` divides by keep_prob
    _, gradient = enumeration.per_mask(problem, theta, kept)
    spread = gradient - weight @ gradient
    columns = _columns(problem, theta, Noise(law="gaussian"), monkeypatch)
    _close(columns.T @ columns, (spread.T * weight) @ spread)


def test_label_noise_meets_the_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """All masks times all signs of independent noise ±τ on the targets, of the same second moments as normal noise."""
    problem, theta = _problem(width=3, samples=3)
    tau = 0.4
    signs, _ = enumeration.all_masks(3, 0.5)
    masks, weight = enumeration.all_masks(3, problem.keep_prob)
    rows, weights = [], []
    for sign in 2.0 * signs - 1:
        moved = replace(problem, y=problem.y + tau * sign[:, None])
        rows.append(enumeration.per_mask(moved, theta, np.repeat(masks[:, None], 3, axis=1))[1])
        weights.append(weight / len(signs))
    gradient, weight = np.concatenate(rows), np.concatenate(weights)
    spread = gradient - weight @ gradient
    columns = _columns(problem, theta, Noise(label=tau), monkeypatch)
    _close(columns.T @ columns, (spread.T * weight) @ spread)


def test_the_numbers_of_all_rows_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that two uses share would show as a column of covariance that theory lacks: here the rows themselves."""
    asked: list[tuple[int, int]] = []
    problem, theta = _problem("sample", outputs=2)

    def record(stream: int, count: int, rows: NDArray, *rest: Any) -> NDArray:
        asked.extend((int(row), count) for row in rows)
        return np.zeros((1, len(rows), count))

    monkeypatch.setattr(reference, "normals", record)
    equation = _equation(problem, NOISES["all"])
    net = ForwardPass.at(problem.inputs, problem.y, theta[None], problem.activation, problem.scale, order=1)
    noises = Noises.of(equation, np.array([problem.keep_prob]), problem.n_samples)
    reference.gradient_noise(equation, net, noises, member=np.zeros(1, np.uint64), step=0, seed=0)
    rows = [row for row, _ in asked]
    assert len(set(rows)) == len(rows) == 3 * problem.n_samples + 1
