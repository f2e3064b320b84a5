"""Alignment of noise and curvature: planted spectra; the null model by its moments and SciPy; all masks; autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration
from scipy import stats

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.study.landscape import alignment, flatness

EXACT = {"rtol": 1e-10, "atol": 1e-13}


def turned(values: Any, seed: Any) -> Any:
    """A symmetric matrix with these eigenvalues and random axes."""
    axes = stats.ortho_group.rvs(len(values), random_state=seed)
    return axes @ np.diag(values) @ axes.T


def quadratic(factor_of: Any = None) -> Any:
    """A linear model (output weights alone) off its minimum, its parameters and its Hessian (m, m)."""
    rng = np.random.default_rng(1)
    problem = simdrop.Problem(rng.standard_normal((20, 2)), rng.standard_normal(20), width=8, train="output")
    theta = problem.init(seed=2)
    _, w = problem.split(theta)
    features = problem.sigma.value(problem.inputs @ w.T)
    gram = features.T @ features / 20
    best = np.linalg.solve(gram, features.T @ problem.y / 20).T
    return problem, problem.join(best, w), gram


def padded(problem: Any, matrix: Any) -> Any:
    """A covariance of the trained parameters as one of all."""
    whole = np.zeros((problem.n_params,) * 2)
    whole[problem.trained, problem.trained] = matrix
    return whole


def test_alignment_of_known_matrices() -> None:
    values = np.array([3.0, 1.0, 0.5, 0.0])
    assert alignment.align(turned(values, 1), turned(values, 1)).value == pytest.approx(1)
    h, s = np.diag([1.0, 0, 0, 0]), np.diag([0.0, 2, 0, 0])
    found = alignment.align(h, s)
    assert found.value == 0
    assert found.null_mean == 1 / 4
    # Q_11² of a random axis in four dimensions is Beta(1/2, 3/2)
    assert found.null_std == pytest.approx(stats.beta(0.5, 1.5).std())
    assert found.score == pytest.approx(-0.25 / stats.beta(0.5, 1.5).std())
    unit = alignment.align(np.eye(3), 2 * np.eye(3))
    assert (unit.value, unit.null_mean, unit.null_std) == pytest.approx((1, 1, 0), abs=1e-15)
    assert np.isnan(unit.score)


def test_null_model_by_its_moments() -> None:
    """Mean and variance of 4000 draws lie within 4.5 standard errors of the formulas: by chance not once in 70 000."""
    h, s = np.array([5.0, 2, 1, 0.5, 0, 0, -1]), np.array([1.0, 1, 0.1, 0, 0, 0, 0])
    null = alignment.null_sample(h, s, draws=4000, seed=3)
    exact = alignment.align(np.diag(h), np.diag(s))
    unit = np.linalg.norm(h) * np.linalg.norm(s)
    assert exact.null_mean == pytest.approx(h.sum() * s.sum() / 7 / unit, rel=1e-14)
    assert abs(null.mean() - exact.null_mean) < 4.5 * null.std() / np.sqrt(4000)
    squares = np.square(null - exact.null_mean)
    assert abs(squares.mean() - exact.null_std**2) < 4.5 * squares.std() / np.sqrt(4000)
    # a formula that takes the axes' components for independent, 2/P² for 2/((P-1)(P+2)), is told from ours
    assert abs(squares.mean() - exact.null_std**2 * 54 / 49) > 4.5 * squares.std() / np.sqrt(4000)


def test_null_model_by_scipys_orthogonal_group() -> None:
    """Kolmogorov and Smirnov's test of 1500 draws against 1500 with SciPy's axes, false alarms 1e-4; and a control."""
    h, s = np.array([4.0, 1, 1, 0.2, 0, 0]), np.array([2.0, 0.3, 0, 0, 0, 0])
    null = alignment.null_sample(h, s, draws=1500, seed=4)
    axes = stats.ortho_group.rvs(6, size=1500, random_state=5)
    unit = np.linalg.norm(h) * np.linalg.norm(s)
    expected = np.einsum("i,kij,j->k", h, np.square(axes), s) / unit
    assert stats.ks_2samp(null, expected).pvalue > 1e-4
    tilted = np.linalg.qr(np.random.default_rng(6).random((1500, 6, 6)))[0]  # the first axis leans to (1, ..., 1)
    leaning = np.einsum("i,kij,j->k", h, np.square(tilted), s) / unit
    assert stats.ks_2samp(null, leaning).pvalue < 1e-4


def test_variances_under_the_null_model() -> None:
    """Their sum is the trace; each is the same on average, within 4.5 standard errors: by chance once in 20 000."""
    values = np.array([3.0, 1, 0.1, 0, 0])
    found = alignment.null_variances(values, draws=2000, seed=8)
    np.testing.assert_allclose(found.sum(axis=1), 4.1, **EXACT)
    assert (np.abs(found.mean(axis=0) - 0.82) < 4.5 * found.std(axis=0) / np.sqrt(2000)).all()
    assert (np.abs(found[:, :2].mean(axis=0) - values[:2]) > 4.5 * found[:, :2].std(axis=0) / np.sqrt(2000)).all()


def test_p_values() -> None:
    """Uniform where the null model holds (KS, false alarm 1e-3, 60 pairs), small where the axes are shared."""
    values = np.array([4.0, 2, 1, 0.5, 0.1])
    found = [alignment.align(turned(values, k), turned(values[::-1] ** 2, 99 + k), draws=99, seed=k) for k in range(60)]
    assert stats.kstest([one.p_value for one in found], "uniform").pvalue > 1e-3
    same = alignment.align(turned(values, 1), turned(values**2, 1), draws=999, seed=1)
    assert same.p_value <= 0.002
    assert same.score > 3
    against = alignment.align(np.diag(values), np.diag(values[::-1]), draws=999, seed=1)
    assert against.p_value >= 0.999
    assert np.isnan(alignment.align(np.diag(values), np.diag(values)).p_value)


@pytest.mark.parametrize("train", ["both", "output"])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_alignment_of_a_network_by_enumeration(mask: Any, train: Any) -> None:
    drawn = enumeration.problem(mask=mask, width=3, samples=3)
    problem = simdrop.Problem(drawn.x, drawn.y, width=3, keep_prob=0.7, mask=mask, train=train)
    theta = problem.init(seed=1)
    covariance = enumeration.moments(problem, theta)[3][problem.trained, problem.trained]
    h = enumeration.central_difference(lambda t: theory.gradient(problem, t, objective="risk"), theta)
    h = h[problem.trained, problem.trained]
    expected = np.trace(h @ covariance) / np.linalg.norm(h) / np.linalg.norm(covariance)
    found = alignment.measure(problem, theta)
    assert found.value == pytest.approx(expected, rel=1e-7)
    mean = np.trace(h) * np.trace(covariance) / len(h) / np.linalg.norm(h) / np.linalg.norm(covariance)
    assert found.null_mean == pytest.approx(mean, rel=1e-7)


@pytest.mark.peer
def test_alignment_by_autograd() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the independent autograd here")
    problem = enumeration.problem(width=4)
    start = problem.init(seed=7)
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)
    masks, weight = enumeration.all_masks(4, problem.keep_prob)

    def loss(theta: Any, factor: Any) -> Any:
        a, w = theta[:4].reshape(1, 4), theta[4:].reshape(4, -1)
        return ((problem.scale * (torch.tanh(x @ w.T) * factor) @ a.T - y) ** 2).sum() / (2 * problem.n_samples)

    h = torch.autograd.functional.hessian(lambda t: loss(t, 1.0), torch.tensor(start)).numpy()
    theta = torch.tensor(start, requires_grad=True)
    rows = [torch.autograd.grad(loss(theta, torch.tensor(m / problem.keep_prob)), theta)[0].numpy() for m in masks]
    covariance = np.cov(np.array(rows).T, aweights=weight, ddof=0)
    expected = np.trace(h @ covariance) / np.linalg.norm(h) / np.linalg.norm(covariance)
    assert alignment.measure(problem, start).value == pytest.approx(expected, rel=1e-10)


def test_along_a_run() -> None:
    problem = enumeration.problem()
    theta = problem.init(seed=3, members=3)
    found = alignment.along(problem, theta, draws=20, seed=1)
    one = alignment.measure(problem, theta[2], draws=20, seed=3)
    assert [float(found[name][2]) for name in ("alignment", "null_mean", "p_value", "score")] == [
        one.value, one.null_mean, one.p_value, one.score,
    ]  # fmt: skip
    runs = simdrop.simulate(problem, theta, lr=0.1, steps=4, record=[0, 4], keep_theta=True, backend="numpy")
    runs["theta"][1, 1] = np.nan
    along = alignment.along(problem, runs)
    assert along["alignment"].dims == ("time", "member")
    np.testing.assert_allclose(along["alignment"][0], found["alignment"], rtol=1e-13)
    assert np.isnan(along["alignment"].values).tolist() == [[False] * 3, [False, True, False]]


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_sampled_covariance(mask: Any) -> None:
    """Trace of 4000 gradients within 4.5 standard errors of the exact one, by chance not once in 150 000."""
    problem = enumeration.problem(mask=mask)
    theta = problem.init(seed=4)
    found = alignment.sampled_covariance(problem, theta, draws=4000, seed=1, backend="numpy")
    masks = [
        simdrop.masks(seed=1, member=k, step=0, width=4, keep_prob=0.7, samples=None if mask == "step" else 4)
        for k in range(200)
    ]
    rows = np.array([theory.dropout_gradient(problem, theta, one) for one in masks])
    few = alignment.sampled_covariance(problem, theta, draws=200, seed=1, backend="numpy")
    np.testing.assert_allclose(few, np.cov(rows.T), atol=1e-12)
    squares = np.square(rows - rows.mean(axis=0)).sum(axis=1)
    exact = theory.noise_covariance(problem, theta)
    error = squares.std() / np.sqrt(4000)
    assert abs(np.trace(found) - np.trace(exact)) < 4.5 * error
    other = theory.noise_covariance(enumeration.problem(mask=mask, keep_prob=0.6), theta)
    assert abs(np.trace(found) - np.trace(other)) > 4.5 * error


@pytest.mark.parametrize("gap", [1, 2])
def test_covariance_of_a_trajectory(gap: Any) -> None:
    """At small lr nothing but noise happens in a window: Σ of the start, to 4.5 standard errors of its trace."""
    problem = enumeration.problem()
    theta = problem.init(seed=5)
    runs = simdrop.simulate(
        problem, theta, lr=1e-5, steps=200, members=30, seed=2, record=np.arange(0, 201, gap), keep_theta=True,
        backend="numpy",
    )  # fmt: skip
    found = alignment.trajectory_covariance(runs)
    exact = theory.noise_covariance(problem, theta)
    steps = np.diff(runs["theta"].values, axis=0) / (1e-5 * np.sqrt(gap))
    squares = np.square(steps - steps.mean(axis=0)).sum(axis=2)
    error = squares.std() / np.sqrt(squares.size)
    assert abs(np.trace(found) - np.trace(exact)) < 4.5 * error
    assert error < 0.05 * np.trace(exact)
    moved = runs["theta"].values
    spread = np.mean([np.cov(moved[:, k].T) for k in range(30)], axis=0)
    np.testing.assert_allclose(alignment.trajectory_covariance(runs, of="positions"), spread, rtol=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.5, -0.5])
def test_exponent_of_planted_powers(power: Any) -> None:
    x = np.geomspace(1e-2, 10, 30)
    fit = alignment.exponent(x, 3 * x**power)
    assert (fit.value, fit.low, fit.high, fit.points) == pytest.approx(
        (power, power, power, 30), abs=1e-6
    )  # √(1 - r²) rounds
    x[:3] = 0, -1, np.inf
    assert alignment.exponent(x, np.abs(x)).points == 27
    assert alignment.exponent(x, np.where(x == x[5], np.nan, 1.0)).points == 26
    assert np.isnan(alignment.exponent(x[:4], x[:4]).value)


def test_intervals_of_exponents_cover() -> None:
    """95 % intervals of 400 fits: outside 368 ... 392 hits by chance once in 180 (binomial); half as wide ones fail."""
    random = np.random.default_rng(7)
    x = np.geomspace(0.1, 10, 8)
    fits = [alignment.exponent(x, x**1.3 * np.exp(0.4 * random.standard_normal(8))) for _ in range(400)]
    assert 368 <= sum(fit.low < 1.3 < fit.high for fit in fits) <= 392
    assert sum(abs(fit.value - 1.3) < (fit.high - fit.low) / 4 for fit in fits) < 368


@pytest.mark.parametrize("axes", ["hessian", "noise"])
def test_directions_of_a_quadratic(axes: Any) -> None:
    """Σ = H^1.5 planted: variance ∝ curvature^1.5, width = 2 √(2 (factor - 1) L / curvature), so ∝ width^-3."""
    problem, theta, gram = quadratic()
    values, vectors = np.linalg.eigh(gram)
    covariance = padded(problem, vectors * values**1.5 @ vectors.T)
    found = alignment.by_direction(problem, theta, covariance, axes=axes, factor=2.0)
    np.testing.assert_allclose(found["curvature"], values[::-1], rtol=1e-7)
    np.testing.assert_allclose(found["variance"], values[::-1] ** 1.5, rtol=1e-7)
    level = theory.risk(problem, theta)
    np.testing.assert_allclose(found["width"], 2 * np.sqrt(2 * level / values[::-1]), rtol=1e-7)
    assert found.attrs["curvature_exponent"] == pytest.approx(1.5, abs=1e-6)
    assert found.attrs["width_exponent"] == pytest.approx(-3, abs=1e-6)
    assert found.attrs["width_points"] == 8


def test_width_is_that_of_the_nearest_crossing() -> None:
    problem = enumeration.problem(width=2, samples=3)
    theta = problem.init(seed=2)
    found = alignment.by_direction(problem, theta, theory.noise_covariance(problem, theta), objective="risk+r1")
    h = theory.hessian(problem, theta, objective="risk+r1")
    vectors = np.linalg.eigh(h)[1][:, ::-1].T
    fine = np.linspace(0, 40, 400_001)
    for k in (0, 1, 7):
        length = 0.0
        for sign in (1, -1):
            loss = theory.loss(problem, theta + sign * fine[:, None] * vectors[k], objective="risk+r1")
            beyond = np.flatnonzero(loss >= np.e * loss[0])
            length += fine[beyond[0]] if beyond.size else np.inf
        np.testing.assert_allclose(found["width"][k], length, atol=3e-4)


def test_widths_of_flat_directions_and_of_no_loss() -> None:
    problem = enumeration.problem(activation="relu", width=2)
    a, _ = problem.split(problem.init(seed=1))
    dead = problem.join(a, np.tile([0.0, 0.0, -1.0], (2, 1)))
    found = alignment.by_direction(problem, dead, np.eye(8))
    assert np.isinf(found["width"][:2]).any()
    assert np.isnan(found.attrs["curvature_exponent"])
    theta = problem.init(seed=1)
    fitted = simdrop.Problem(problem.x, problem.predict(theta), width=2, activation="relu", output_scale=0.8)
    assert np.isnan(alignment.by_direction(fitted, theta, np.eye(8))["width"]).all()


def short_run(problem: Any, **more: Any) -> Any:
    return simdrop.simulate(problem, problem.init(), lr=0.1, steps=4, backend="numpy", **({"members": 2} | more))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: alignment.align(np.eye(3), np.eye(4)), "must have one shape"),
        (lambda p, t: alignment.align(np.ones((2, 3)), np.eye(2)), "h must be a square matrix"),
        (lambda p, t: alignment.align(np.eye(2), np.zeros((2, 2))), "covariance is zero"),
        (lambda p, t: alignment.align(np.eye(2), [[1, 1], [0, 1]]), "covariance must be symmetric"),
        (lambda p, t: alignment.align(np.eye(2), [[1, np.nan], [0, 1]]), "covariance has 1 non-finite"),
        (lambda p, t: alignment.align(np.eye(2), np.eye(2), draws=-1), "draws must be a whole number"),
        (lambda p, t: alignment.null_sample([0, 0], [1, 1], draws=3), "not all 0"),
        (lambda p, t: alignment.null_variances([[1, 1]], draws=3), "must be a list of eigenvalues"),
        (lambda p, t: alignment.measure(p, t[:-1]), "theta must have 16 parameters"),
        (lambda p, t: alignment.measure(p, t, objective="r1"), "unknown objective 'r1'"),
        (lambda p, t: alignment.exponent([1, 2], [1, 2, 3]), "equally many numbers"),
        (lambda p, t: alignment.by_direction(p, t, np.eye(15)), "covariance must be of the 16 parameters"),
        (lambda p, t: alignment.by_direction(p, t, np.eye(16), factor=1), "factor must be a number above 1"),
        (lambda p, t: alignment.by_direction(p, t, np.eye(16), axes="hesse"), "did you mean 'hessian'"),
        (lambda p, t: alignment.trajectory_covariance(short_run(p)), "needs parameters"),
        (lambda p, t: alignment.trajectory_covariance(short_run(p, keep_theta=True, record=[1, 3])), "evenly spaced"),
    ],
)
def test_bad_input(call: Any, message: Any) -> None:
    problem = enumeration.problem()
    with pytest.raises(InvalidInput, match=message):
        call(problem, problem.init())


def test_wide_networks_are_refused() -> None:
    problem = enumeration.problem(width=2000)
    with pytest.raises(InvalidInput, match="at most 5000 parameters"):
        alignment.measure(problem, problem.init())
    with pytest.raises(InvalidInput, match="at most 5000 parameters"):
        flatness.top_eigenvalues(problem, problem.init(), method="dense")
