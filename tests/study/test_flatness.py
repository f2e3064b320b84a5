"""Flatness on quadratics with known answers; against dense matrices, autograd, Hutchinson's estimate, SLSQP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.study.landscape import flatness

EXACT = {"rtol": 1e-10, "atol": 1e-12}
OBJECTIVES = ["risk", "risk+r1"]


def quadratic(width: Any = 6, samples: Any = 9, **more: Any) -> Any:
    """A linear model in the output weights: its loss is a quadratic, with a known Hessian and minimum."""
    rng = np.random.default_rng(5)
    problem = simdrop.Problem(
        rng.standard_normal((samples, 2)), rng.standard_normal(samples), width=width, train="output", **more
    )
    theta = problem.init(seed=1)
    _, w = problem.split(theta)
    features = problem.sigma.value(problem.inputs @ w.T)  # (n, m)
    gram = features.T @ features / samples
    best = np.linalg.solve(gram, features.T @ problem.y / samples).T
    return problem, problem.join(best, w), gram


def wide(activation: Any = "tanh", width: Any = 150, outputs: Any = 2) -> Any:
    """More parameters than are treated densely."""
    return enumeration.problem(activation=activation, width=width, samples=6, outputs=outputs)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "relu"])
@pytest.mark.parametrize("train", ["both", "output", "input"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_trace_is_that_of_the_matrix(activation: Any, train: Any, objective: Any) -> None:
    drawn = enumeration.problem(activation=activation, outputs=2)
    problem = simdrop.Problem(
        drawn.x, drawn.y, width=4, keep_prob=0.6, activation=activation, output_scale=0.8, train=train
    )
    theta = problem.init(seed=2, members=3)
    expected = [np.trace(theory.hessian(problem, row, objective=objective)) for row in theta]
    np.testing.assert_allclose(theory.hessian_trace(problem, theta, objective=objective), expected, **EXACT)
    assert theory.hessian_trace(problem, theta[0], objective=objective).shape == ()


def test_trace_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = enumeration.problem()
    theta = problem.init(seed=2, members=7)
    whole = theory.hessian_trace(problem, theta.reshape(7, 1, -1))
    monkeypatch.setattr("simdrop.theory.curvature._ROWS", 40)
    np.testing.assert_array_equal(theory.hessian_trace(problem, theta), whole[:, 0])


def test_trace_against_hutchinson() -> None:
    """An estimate from products alone, ± its standard error; 4.5 of them are passed by chance once in 150 000."""
    problem = wide()
    theta = problem.init(seed=3)
    signs = np.random.default_rng(4).choice([-1.0, 1.0], (400, problem.n_params))
    for objective in OBJECTIVES:
        found = (signs * theory.hessian_product(problem, theta, signs, objective=objective)).sum(axis=1)
        error = found.std(ddof=1) / 20
        exact = theory.hessian_trace(problem, theta, objective=objective)
        assert abs(found.mean() - exact) < 4.5 * error
    other = theory.hessian_trace(problem, theta, objective="risk")
    assert abs(found.mean() - other) > 4.5 * error  # the estimate tells R_S + R_1 from R_S


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("end", ["largest", "smallest"])
def test_eigenvalues_by_lanczos(objective: Any, end: Any) -> None:
    problem = wide()
    theta = problem.init(seed=5)
    dense = flatness.top_eigenvalues(problem, theta, count=4, objective=objective, end=end, method="dense")
    found = flatness.top_eigenvalues(problem, theta, count=4, objective=objective, end=end)
    np.testing.assert_allclose(found, dense, rtol=1e-8)
    spectrum = np.linalg.eigvalsh(theory.hessian(problem, theta, objective=objective))
    np.testing.assert_allclose(dense, spectrum[::-1][:4] if end == "largest" else spectrum[:4], **EXACT)


def test_eigenvalues_of_few_parameters() -> None:
    problem, theta, gram = quadratic()
    expected = np.sort(np.linalg.eigvalsh(gram))[::-1]
    np.testing.assert_allclose(flatness.top_eigenvalues(problem, theta, count=3), expected[:3], **EXACT)
    lanczos = flatness.top_eigenvalues(problem, theta, count=3, method="lanczos")
    np.testing.assert_allclose(lanczos, expected[:3], rtol=1e-8)


def test_eigenvalues_where_no_neuron_is_alive() -> None:
    problem = wide("relu", outputs=1)
    a, _ = problem.split(problem.init(seed=6))
    dead = problem.join(a, np.tile([0.0, 0.0, -1.0], (problem.width, 1)))
    assert flatness.top_eigenvalues(problem, dead, count=2).tolist() == [0, 0]
    assert theory.hessian_trace(problem, dead) == 0
    assert flatness.sharpness(problem, dead, radius=1e-3).rise == 0


@pytest.mark.peer
def test_curvature_by_autograd() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the independent autograd here")
    problem = enumeration.problem(outputs=2, width=5)
    start = problem.init(seed=7)
    x, y, cut = torch.tensor(problem.inputs), torch.tensor(problem.y), 10

    def risk(theta: Any) -> Any:
        a, w = theta[:cut].reshape(2, 5), theta[cut:].reshape(5, -1)
        return ((problem.scale * torch.tanh(x @ w.T) @ a.T - y) ** 2).sum() / (2 * problem.n_samples)

    hessian = torch.autograd.functional.hessian(risk, torch.tensor(start)).numpy()
    np.testing.assert_allclose(theory.hessian_trace(problem, start, objective="risk"), np.trace(hessian), **EXACT)
    top = flatness.top_eigenvalues(problem, start, count=2)
    np.testing.assert_allclose(top, np.linalg.eigvalsh(hessian)[:-3:-1], **EXACT)


@pytest.mark.parametrize("train", ["both", "input"])
def test_random_directions_have_the_norms_of_the_filters(train: Any) -> None:
    drawn = enumeration.problem(outputs=2)
    problem = simdrop.Problem(drawn.x, drawn.y, width=4, train=train)
    a, w = problem.split(problem.init(seed=8))
    theta = problem.join(a, w * np.array([0.0, 1, 2, 3])[:, None])  # one neuron without weights
    found = flatness.random_directions(problem, theta, count=5, seed=1)
    by_a, by_w = problem.split(found)
    expected = np.linalg.norm(problem.split(theta)[1], axis=1)
    np.testing.assert_allclose(np.linalg.norm(by_w, axis=-1), np.tile(expected, (5, 1)), **EXACT)
    rows = np.linalg.norm(a, axis=1) if train == "both" else np.zeros(2)
    np.testing.assert_allclose(np.linalg.norm(by_a, axis=-1), np.tile(rows, (5, 1)), **EXACT)
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[:2], flatness.random_directions(problem, theta, count=2, seed=1))
    layer = flatness.random_directions(problem, theta, count=1, normalise="layer")
    np.testing.assert_allclose(np.linalg.norm(problem.split(layer)[1]), np.linalg.norm(expected), **EXACT)


def test_filter_normalised_lines_do_not_see_the_scale_of_relu_neurons() -> None:
    """w_j -> k w_j, a_j -> a_j / k leaves the network; the row a is one filter, so k is the same for all neurons."""
    problem = enumeration.problem(activation="relu", outputs=1)
    theta = problem.init(seed=9)
    a, w = problem.split(theta)
    same = problem.join(a / 3, w * 3)
    first, second = (flatness.lines(problem, point, count=3, alphas=[-0.5, 0, 0.5]) for point in (theta, same))
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-10)
    plain = [flatness.random_directions(problem, theta, count=1, normalise="none") for _ in range(2)]
    unlike = [flatness.lines(problem, p, plain[0], alphas=[0.5])["loss"].values for p in (theta, same)]
    assert abs(unlike[0] - unlike[1]) > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_lines_and_planes_of_a_quadratic(objective: Any) -> None:
    problem, theta, gram = quadratic(keep_prob=1.0)
    ways = flatness.random_directions(problem, theta, count=4, seed=2)
    low = theory.risk(problem, theta)
    found = flatness.lines(problem, theta, ways, alphas=[-2, 0, 0.5], objective=objective)
    bend = np.einsum("kj,jl,kl->k", ways[:, :6], gram, ways[:, :6])
    np.testing.assert_allclose(found["loss"], low + np.outer(bend, [2, 0, 0.125]), **EXACT)
    np.testing.assert_allclose(found["mean"], found["loss"].mean("direction"), **EXACT)
    np.testing.assert_allclose(found["error"][0], np.std(2 * bend, ddof=1) / 2, **EXACT)
    flat = flatness.plane(problem, theta, ways[:2], alphas=[0, 1.0], betas=[0, -1.0, 2.0])
    np.testing.assert_allclose(flat["loss"][1, 0], low + bend[0] / 2, **EXACT)
    move = (ways[0] + 2 * ways[1])[:6]
    np.testing.assert_allclose(flat["loss"][1, 2], low + move @ gram @ move / 2, **EXACT)
    assert flatness.plane(problem, theta, alphas=[0, 0.1]).sizes == {"alpha": 2, "beta": 2}


def test_lines_in_blocks_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = enumeration.problem()
    theta = problem.init(seed=2)
    whole = flatness.lines(problem, theta, count=2)["loss"].values
    monkeypatch.setattr("simdrop.study.landscape.flatness._ROWS", 64)
    np.testing.assert_array_equal(flatness.lines(problem, theta, count=2)["loss"].values, whole)


def test_interpolation_between_minima() -> None:
    problem, theta, gram = quadratic(keep_prob=1.0)
    away = problem.join(*[part + 1 for part in problem.split(theta)])
    away[6:] = theta[6:]
    found = flatness.interpolate(problem, theta, away)
    assert (found["alpha"].values[[0, -1]] == [-0.5, 1.5]).all()
    expected = theory.risk(problem, theta) + found["alpha"].values ** 2 * gram.sum() / 2
    np.testing.assert_allclose(found["loss"], expected, **EXACT)
    assert found.attrs["barrier"] == pytest.approx(0, abs=1e-12)  # convex: never above the chord
    drawn = enumeration.problem(width=2)
    a, w = drawn.split(drawn.init(seed=3))
    here, there = drawn.join(a, w), drawn.join(a[:, ::-1], w[::-1])  # one function by two parameter vectors
    taught = simdrop.Problem(drawn.x, drawn.predict(here), width=2, output_scale=0.8)
    found = flatness.interpolate(taught, here, there, alphas=np.linspace(-0.5, 1.5, 21))
    np.testing.assert_allclose(found["loss"][[5, 15]], 0, atol=1e-30)
    assert found.attrs["barrier"] == float(found["loss"][5:16].max()) > 0.01
    assert found["loss"].max() > found.attrs["barrier"]  # beyond the minima: no part of the barrier


@pytest.mark.parametrize("ball", ["l2", "adaptive"])
def test_sharpness_of_a_quadratic_at_its_minimum(ball: Any) -> None:
    problem, theta, gram = quadratic(keep_prob=1.0)
    unit = np.abs(theta[:6]) if ball == "adaptive" else np.ones(6)
    top = np.linalg.eigvalsh(unit * gram * unit[:, None])[-1]
    found = flatness.sharpness(problem, theta, radius=0.7, ball=ball)
    np.testing.assert_allclose(found.rise, 0.49 * top / 2, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.move[:6] / unit), 0.7, rtol=1e-12)
    assert not found.move[6:].any()
    by_chance = flatness.sharpness(problem, theta, radius=0.7, ball=ball, starts=3, iterations=1)
    assert by_chance.rise <= found.rise * (1 + 1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sharpness_of_a_network_against_scipy(objective: Any) -> None:
    """The same maximum by another method: SLSQP from many starts, away from any minimum, far beyond the quadratic."""
    from scipy.optimize import minimize

    problem = enumeration.problem(width=3, samples=3)
    theta = problem.init(seed=4)
    found = flatness.sharpness(problem, theta, radius=0.5, objective=objective)
    base = theory.loss(problem, theta, objective=objective)
    rng, best = np.random.default_rng(0), 0.0
    for _ in range(12):
        start = rng.standard_normal(theta.size)
        result = minimize(
            lambda d: base - theory.loss(problem, theta + d, objective=objective),
            0.4 * start / np.linalg.norm(start),
            jac=lambda d: -theory.gradient(problem, theta + d, objective=objective),
            constraints={"type": "ineq", "fun": lambda d: 0.25 - d @ d, "jac": lambda d: -2 * d},
            method="SLSQP",
        )
        if result.x @ result.x <= 0.25 * (1 + 1e-6):
            best = max(best, -result.fun)
    np.testing.assert_allclose(found.rise, best, rtol=1e-4)
    rise = theory.loss(problem, theta + found.move, objective=objective) - base
    np.testing.assert_allclose(found.rise, rise, rtol=1e-12)


def test_along_a_run() -> None:
    problem = enumeration.problem(outputs=1)
    runs = simdrop.simulate(
        problem, problem.init(seed=1), lr=0.1, steps=20, members=3, record=[0, 10, 20], keep_theta=[0, 2],
        backend="numpy",
    )  # fmt: skip
    found = flatness.along(problem, runs)
    assert found["trace"].dims == found["top_eigenvalue"].dims == runs["theta"].dims[:-1]
    last = runs["theta"].values[-1, 1]
    matrix = theory.hessian(problem, last, objective="risk")
    np.testing.assert_allclose(found["trace"][-1, 1], np.trace(matrix), **EXACT)
    np.testing.assert_allclose(found["top_eigenvalue"][-1, 1], np.linalg.eigvalsh(matrix)[-1], **EXACT)
    np.testing.assert_array_equal(found["time"], runs["time"])
    lost = runs.copy(deep=True)
    lost["theta"][1:, 0] = np.nan
    again = flatness.along(problem, lost, top=False)
    assert np.isnan(again["trace"].values).tolist() == [[False, False], [True, False], [True, False]]
    assert set(again) == {"trace"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: flatness.lines(p, t * np.nan), "theta has 16 non-finite values"),
        (lambda p, t: flatness.lines(p, t[:-1]), "theta must have 16 parameters"),
        (lambda p, t: flatness.lines(p, t * 0), "theta is zero"),
        (lambda p, t: flatness.lines(p, np.stack([t, t])), "theta must be one vector"),
        (lambda p, t: flatness.lines(p, t, t * 0), "directions has a zero vector, at index 0"),
        (lambda p, t: flatness.lines(p, t, t[:4]), "directions must have 16 parameters"),
        (lambda p, t: flatness.lines(p, t, t[None, None]), "directions must have shape"),
        (lambda p, t: flatness.lines(p, t, alphas=[]), "alphas must be a list of numbers"),
        (lambda p, t: flatness.lines(p, t, alphas=[0, np.inf]), "alphas has 1 non-finite"),
        (lambda p, t: flatness.lines(p, t, objective="riks"), "unknown objective 'riks': did you mean 'risk'"),
        (lambda p, t: flatness.random_directions(p, t, normalise="filters"), "did you mean 'filter'"),
        (lambda p, t: flatness.plane(p, t, np.stack([t, -2 * t])), "span no plane"),
        (lambda p, t: flatness.plane(p, t, t), "directions of a plane must be two, got 1"),
        (lambda p, t: flatness.interpolate(p, t, t[1:]), "second must have 16 parameters"),
        (lambda p, t: flatness.top_eigenvalues(p, t, count=17), "count must be at most the 16 parameters, got 17"),
        (lambda p, t: flatness.top_eigenvalues(p, t, method="arnoldi"), "unknown method 'arnoldi'"),
        (lambda p, t: flatness.sharpness(p, t, radius=0), "radius must be a positive number, got 0"),
        (lambda p, t: flatness.sharpness(p, t * 0, radius=1, ball="adaptive"), "theta is zero"),
        (lambda p, t: flatness.along(p, simdrop.simulate(p, t, lr=0.1, steps=1, members=1)), "kept no parameters"),
        (lambda p, t: theory.hessian_trace(p, t, objective="r2"), "unknown objective 'r2'"),
    ],
)
def test_bad_input(call: Any, message: Any) -> None:
    problem = enumeration.problem()
    with pytest.raises(InvalidInput, match=message):
        call(problem, problem.init())
