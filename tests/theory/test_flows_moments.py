"""The mean-covariance flow: its equations by finite differences, exact cases, low rank against dense, its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration

import simdrop
from simdrop import theory
from simdrop.errors import FlowFailed, InvalidInput
from simdrop.theory.curvature import Curvature
from simdrop.theory.flows import lowrank
from simdrop.theory.flows.closure import mean_output
from simdrop.theory.neurons import indices
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

MASKS = ["step", "sample"]


def table_problem(**changes: Any) -> Any:
    """Five neurons, four samples: sin 3x, from one fixed start."""
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), **{"width": 5, "keep_prob": 0.7, **changes})
    return problem, np.concatenate([rng.standard_normal(5), rng.standard_normal(10)])


def random_covariance(params: Any, seed: Any = 0) -> Any:
    root = np.random.default_rng(seed).standard_normal((params, params))
    return root @ root.T / params


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_gradient_of_the_trace(activation: Any, outputs: Any) -> None:
    """∇ tr(H C) against differences of the Hessian: third derivatives of the activation enter."""
    problem = enumeration.problem(activation=activation, outputs=outputs)
    theta = problem.init(seed=1)
    covariance = random_covariance(problem.n_params)
    own = indices(problem)
    blocks = covariance[own[:, :, None], own[:, None, :]]
    for objective in ("risk", "risk+r1"):

        def trace(points: Any, objective: Any = objective) -> Any:
            return np.array([(theory.hessian(problem, p, objective=objective) * covariance).sum() for p in points])

        curvature = Curvature.at(problem, theta, objective=objective, order=3)
        applied = curvature.features @ covariance
        np.testing.assert_allclose(curvature.trace(applied, blocks), trace(theta[None])[0], rtol=1e-11)
        expected = enumeration.central_difference(trace, theta)
        np.testing.assert_allclose(curvature.trace_gradient(applied, blocks), expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("mask", MASKS)
def test_equations_by_enumeration(mask: Any) -> None:
    """A few Runge-Kutta steps along right-hand sides from all masks and finite differences."""
    problem, lr = enumeration.problem(mask=mask, width=2, samples=2, activation="gelu"), 0.3
    theta0, start = problem.init(seed=2), random_covariance(problem.n_params) / 20
    params = theta0.size

    def gradient(points: Any) -> Any:
        return np.array([enumeration.moments(problem, p)[1] for p in points])

    def hessian(point: Any) -> Any:
        return enumeration.central_difference(gradient, point, step=2e-3)

    def slope(state: Any) -> Any:
        mean, covariance = state[:params], state[params:].reshape(params, params)

        def potential(points: Any) -> Any:
            values = []
            for p in points:
                force = gradient(p[None])[0]
                values.append(lr / 4 * force @ force + (hessian(p) * covariance).sum() / 2)
            return np.array(values)

        h = hessian(mean)
        drift = -gradient(mean[None])[0] - enumeration.central_difference(potential, mean, step=2e-3)
        spread = lr * enumeration.moments(problem, mean)[3] - h @ covariance - covariance @ h
        return np.concatenate([drift, spread.ravel()])

    state = np.concatenate([theta0, start.ravel()])
    expected = enumeration.runge_kutta(slope, state, np.array([0.0, 0.03]), steps=2)[-1]
    found = simdrop.flow(problem, theta0, lr=lr, times=0.03, kind="mean-covariance", covariance0=start)
    np.testing.assert_allclose(found.theta[0], expected[:params], atol=1e-6)
    np.testing.assert_allclose(found.theta_cov[0].values.ravel(), expected[params:], atol=1e-6)
    covariance, own = found.theta_cov.values[0], indices(problem)
    np.testing.assert_array_equal(found.neuron_covariance[0], covariance[own[:, :, None], own[:, None, :]])
    np.testing.assert_allclose(found.theta_std[0] ** 2, np.diag(covariance), rtol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
def test_mean_of_the_ensemble_to_second_order(mask: Any) -> None:
    """Against simulated ensembles: halving lr divides the error by about 4, where the averaged flow's is halved.

    Each error is at least 15 standard errors of the ensemble's mean, so that one deviation moves a slope by 0.1.
    """
    problem, theta0 = table_problem(mask=mask)
    errors = []
    for lr in (0.2, 0.1):
        steps = round(1 / lr)
        runs = simdrop.simulate(
            problem, theta0, lr=lr, steps=steps, members=100_000, seed=1, record=[steps], covariance=True
        )
        flows = [simdrop.flow(problem, theta0, lr=lr, times=1.0, kind=kind) for kind in ("averaged", "mean-covariance")]
        errors.append([np.linalg.norm(f.theta[-1] - runs.theta_mean[-1]) for f in flows])
        assert min(errors[-1]) > 15 * np.linalg.norm(runs.theta_std[-1]) / np.sqrt(100_000)
        spread = np.linalg.norm(flows[1].theta_std[-1] - runs.theta_std[-1]) / np.linalg.norm(runs.theta_std[-1])
        assert spread < 3 * lr
        risk = float(runs.risk_mean[-1])
        assert abs(float(flows[1].risk_mean[-1]) - risk) < abs(float(flows[1].risk[-1]) - risk)
    averaged, closed = np.log2(np.divide(*errors))
    assert closed > 1.8
    assert averaged < 1.5


def test_a_linear_model_is_exact_but_for_the_steps() -> None:
    """For a linear network with w fixed the loss is quadratic; with one neuron and w = 0 it stays so.

    Then m' and C' have constant coefficients in a: the flow must meet the discrete recursion to O(lr).
    """
    problem = simdrop.Problem(np.zeros(3), [1.0, 2.0, 0.5], width=1, keep_prob=0.8, activation="softplus", bias=False)
    theta0 = np.array([2.0, 0.0])
    h = np.log(2)  # softplus(0): the one feature, the same for all samples; w does not move since x = 0
    v, y = 0.25, np.mean(problem.y)
    for lr, tolerance in ((0.1, 2e-2), (0.01, 2e-3)):
        mean, square, steps = 2.0, 4.0, round(2 / lr)
        for _ in range(steps):
            # a <- a - lr s (s a h - y) h with s = 1/p or 0: E s = 1, E s² = 1/p, E s³ = 1/p², E s⁴ = 1/p³
            p = 1 / (1 + v)
            linear = 1 - 2 * lr * h * h / p + lr**2 * h**4 / p**3
            mixed = 2 * lr * y * h - 2 * lr**2 * h**3 * y / p**2
            square = linear * square + mixed * mean + lr**2 * h**2 * y**2 / p
            mean = (1 - lr * h * h / p) * mean + lr * y * h
        flow = simdrop.flow(problem, theta0, lr=lr, times=2.0, kind="mean-covariance")
        np.testing.assert_allclose(flow.theta[-1], [mean, 0], atol=tolerance * lr)
        np.testing.assert_allclose(flow.theta_cov[-1, 0, 0], square - mean**2, rtol=40 * tolerance)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_low_rank_converges_to_dense(mask: Any, outputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = enumeration.problem(mask=mask, width=8, outputs=outputs, samples=3, keep_prob=0.8)
    theta0, params = problem.init(seed=3, scale=0.7), problem.n_params
    start = 0.01 if outputs == 1 else random_covariance(params) / 100
    options = {"lr": 0.1, "times": [0.1, 0.4], "kind": "mean-covariance", "rtol": 1e-6, "atol": 1e-8}
    dense = simdrop.flow(problem, theta0, covariance0=start, **options)
    full = {}
    for bend in (0.02, 0.005):
        monkeypatch.setattr(lowrank, "BEND", bend)
        full[bend] = simdrop.flow(problem, theta0, covariance0=start, rank=params, **options)
        np.testing.assert_allclose(full[bend].truncation, 0, atol=1e-12)
    # Bend is a second difference: a quarter of it halves the step, and Strang splitting divides by 4.
    coarse, fine = (np.linalg.norm(full[bend].theta - dense.theta) for bend in full)
    assert coarse < 1e-3
    assert fine < 0.45 * coarse
    np.testing.assert_allclose(full[0.005].theta_std, dense.theta_std, atol=3e-4)
    np.testing.assert_allclose(full[0.005].neuron_covariance, dense.neuron_covariance, atol=2e-4)
    monkeypatch.setattr(lowrank, "BEND", 0.02)
    whole = full[0.02].neuron_covariance.values[-1]
    lost = []
    for rank in (2, 10):
        cut = simdrop.flow(problem, theta0, covariance0=start, rank=rank, **options)
        lost.append(float(cut.truncation[-1]))
        assert np.linalg.norm(cut.neuron_covariance[-1] - whole) < lost[-1] * np.linalg.norm(whole)
    assert lost[0] > (2 if outputs == 1 else 1) * lost[1] > 0


@pytest.mark.parametrize("mask", MASKS)
def test_parts_of_the_covariance_add_up(mask: Any) -> None:
    """N + K is H, Σ_D + Σ_X is Σ: a frozen step solves the Lyapunov equation of H and Σ."""
    problem = enumeration.problem(mask=mask, width=5, outputs=2, samples=3)
    theta, lr = problem.init(seed=4), 0.2
    frozen = lowrank.Frozen.at(problem, theta, lr)
    start, lost = lowrank.initial(problem, random_covariance(problem.n_params), problem.n_params)
    assert lost == 0
    assert lowrank.initial(problem, random_covariance(problem.n_params), 3)[1] > 0.1
    eye = np.eye(problem.n_params)
    np.testing.assert_allclose(start.product(eye), random_covariance(problem.n_params), atol=1e-12)
    assert abs(start.size() - np.linalg.norm(random_covariance(problem.n_params))) < 1e-10
    hessian, noise = theory.hessian(problem, theta), theory.noise_covariance(problem, theta)
    from scipy.integrate import solve_ivp

    def slope(_: Any, c: Any) -> Any:
        c = c.reshape(hessian.shape)
        return (lr * noise - hessian @ c - c @ hessian).ravel()

    errors = []
    for h in (0.04, 0.02):
        expected = solve_ivp(slope, (0, h), start.product(eye).ravel(), rtol=1e-11, atol=1e-13).y[:, -1]
        end, lost = frozen.evolve(start, h, problem.n_params, np.random.default_rng(0))
        assert lost < 1e-12
        errors.append(np.abs(end.product(eye).ravel() - expected).max())
    # X's source has D at the middle of the step: a local error of the third order, nothing else.
    assert errors[1] < 1e-4
    assert 2.7 < np.log2(errors[0] / errors[1]) < 3.3


@pytest.mark.parametrize("outputs", [1, 2])
def test_mean_output_to_second_order(outputs: Any) -> None:
    """Against the mean over a small Gaussian cloud, by its own symmetric quadrature."""
    problem = enumeration.problem(outputs=outputs, activation="tanh")
    theta, covariance = problem.init(seed=5), 1e-4 * random_covariance(problem.n_params)
    points = np.random.default_rng(6).standard_normal((7, 2))
    axes = np.linalg.cholesky(covariance).T * np.sqrt(problem.n_params)
    cloud = np.concatenate([theta + axes, theta - axes])  # mean and covariance exact, third moments vanish
    expected = problem.predict(cloud, points).mean(axis=0)
    own = indices(problem)
    found = mean_output(problem, theta, covariance[own[:, :, None], own[:, None, :]], points)
    plain = problem.predict(theta, points)
    assert np.abs(found - expected).max() < 0.02 * np.abs(plain - expected).max()


def test_width_1000() -> None:
    """A few steps at 3000 parameters; what the low rank loses is reported and small."""
    x = np.linspace(-12, 12, 15)
    problem = simdrop.Problem(x, np.tanh(x - 6) + np.tanh(x + 6), width=1000, output_scale="1/sqrt(m)")
    path = simdrop.flow(
        problem, problem.init(), lr=0.05, times=0.01, kind="mean-covariance", covariance0=1e-4, rtol=1e-6, atol=1e-8
    )
    assert path.attrs["rank"] == 32
    assert path.truncation < 1e-3
    np.testing.assert_allclose(path.theta_std, 1e-2, rtol=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariance0": np.ones(3)}, r"covariance0 must be a variance, 15 variances or a \(15, 15\) matrix"),
        ({"covariance0": -1.0}, "covariance0 must not be negative"),
        ({"covariance0": -np.eye(15)}, "covariance0 must not be negative in any direction"),
        ({"covariance0": np.triu(np.ones((15, 15)))}, "covariance0 must be symmetric"),
        ({"rank": 0}, "rank must be a whole number of at least 1"),
        ({"method": "BDF"}, "method 'BDF' is for mean-covariance flows with a rank"),
        ({"kind": "modified", "covariance0": 1.0}, "covariance0 is an option of kind 'mean-covariance'"),
    ],
)
def test_bad_input(changes: Any, message: Any) -> None:
    problem, theta0 = table_problem()
    with pytest.raises(InvalidInput, match=message):
        simdrop.flow(problem, theta0, **{"lr": 0.1, "times": 1.0, "kind": "mean-covariance", **changes})


@pytest.mark.parametrize("rank", [None, 4])
def test_failure_is_an_error(rank: Any) -> None:
    problem, theta0 = table_problem(activation="quadratic")
    with pytest.raises(FlowFailed, match="time 0"):
        simdrop.flow(problem, 1e150 * theta0, lr=0.1, times=1.0, kind="mean-covariance", rank=rank)


@pytest.mark.parametrize("rank", [None, pytest.param(6, marks=pytest.mark.slow)])
def test_blow_up_of_the_closure_is_an_error(rank: Any) -> None:
    """Far outside its reach (a spread as large as theta, negative curvature) C becomes infinite in finite time."""
    problem, theta0 = table_problem(keep_prob=0.5)
    with pytest.raises(FlowFailed, match=r"could not be followed beyond time|becomes infinite"):
        simdrop.flow(
            problem, 2 * theta0, lr=2.0, times=20.0, kind="mean-covariance", covariance0=1.0, rank=rank, rtol=1e-5
        )


def test_a_spread_that_becomes_infinite_is_given_up_early() -> None:
    """Far beyond the closure: without a look at the growth this took ten times as many evaluations."""
    x = np.linspace(-3, 3, 6)
    problem = simdrop.Problem(x, np.tanh(x - 1) + np.tanh(x + 1), width=4, keep_prob=0.5)
    with pytest.raises(FlowFailed, match=r"becomes infinite at about time 0\.\d+ of 10: it grows ever faster, and is"):
        theory.flow(problem, problem.init(seed=0), lr=0.01, times=10.0, kind="mean-covariance", covariance0=1.0)
