"""Flows against an independent integration, exact conservation laws, limits, and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import enumeration

import simdrop
from simdrop import theory
from simdrop.errors import FlowFailed, InvalidInput
from simdrop.theory.flows.integration import integrate

TIMES = np.array([0.0, 0.3, 1.0])
KINDS = {"gradient": "risk", "averaged": "risk+r1", "modified": "risk+r1+r2"}


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_flows_by_enumerated_gradients(mask: Any) -> None:
    """Right-hand sides from all masks (R_2's by finite differences), fixed small steps: another road throughout."""
    problem = enumeration.problem(mask=mask, width=2, samples=3)
    theta0, lr = problem.init(seed=1), 0.4

    def averaged(theta: Any) -> Any:
        return -enumeration.moments(problem, theta)[1]

    def modified(theta: Any) -> Any:
        def r2(points: Any) -> Any:
            return np.array([lr / 4 * enumeration.moments(problem, point)[2] for point in points])

        return averaged(theta) - enumeration.central_difference(r2, theta, step=1e-3)

    def gradient(theta: Any) -> Any:
        a, w = problem.split(theta)
        h = np.tanh(problem.inputs @ w.T)
        e = problem.scale * h @ a.T - problem.y
        by_a, by_w = e.T @ h, ((e @ a) * (1 - h**2)).T @ problem.inputs
        return -problem.scale * problem.join(by_a, by_w) / 3

    for kind, slope in (("gradient", gradient), ("averaged", averaged), ("modified", modified)):
        found = theory.flow(problem, theta0, lr=lr, times=TIMES, kind=kind)
        expected = enumeration.runge_kutta(slope, theta0, TIMES, steps=12)
        np.testing.assert_allclose(found.theta, expected, atol=2e-6)
        np.testing.assert_allclose(found.risk, theory.risk(problem, expected), atol=5e-6)


def test_kinds_differ_and_the_right_loss_falls() -> None:
    problem = enumeration.problem(width=6)
    theta0 = problem.init(seed=2)
    times = np.linspace(0, 5, 21)
    ends = []
    for kind, objective in KINDS.items():
        path = theory.flow(problem, theta0, lr=0.2, times=times, kind=kind)
        assert (np.diff(theory.loss(problem, path.theta.values, objective=objective, lr=0.2)) < 0).all()
        for name, values in (("risk", path.risk), ("r1", path.r1), ("r2", path.r2)):
            expected = theory.loss(problem, path.theta.values, objective=name, lr=0.2)
            np.testing.assert_array_equal(values, expected)
        ends.append(path.theta.values[-1])
    distances = [np.linalg.norm(ends[i] - ends[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(distances) > 0.02


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_without_dropout(mask: Any) -> None:
    """At keep_prob 1 averaging changes nothing; what R_2 leaves is gradient descent's own lr/4 |∇R_S|²."""
    problem = enumeration.problem(mask=mask, keep_prob=1.0)
    theta0 = problem.init(seed=3)
    gradient, averaged, modified = (
        theory.flow(problem, theta0, lr=0.3, times=TIMES, kind=kind).theta.values for kind in KINDS
    )
    np.testing.assert_array_equal(gradient, averaged)

    def slope(theta: Any) -> Any:
        first = theory.gradient(problem, theta, objective="risk")
        return -first - 0.15 * theory.hessian_product(problem, theta, first, objective="risk")

    np.testing.assert_allclose(modified, enumeration.runge_kutta(slope, theta0, TIMES, 200), atol=1e-7)
    # Backward error analysis: descent with lr stays nearer to this flow than to the gradient flow, by an order.
    errors = []
    for steps in (20, 40):
        theta, lr = theta0, 1 / steps
        for _ in range(steps):
            theta = theta - lr * theory.gradient(problem, theta, objective="risk")
        flows = [theory.flow(problem, theta0, lr=lr, times=1.0, kind=kind).theta[-1] for kind in KINDS]
        errors.append([np.linalg.norm(flows[0] - theta), np.linalg.norm(flows[2] - theta)])
    plain, corrected = np.log2(np.divide(*errors))
    assert 0.8 < plain < 1.3
    assert 1.7 < corrected < 2.4


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_balance_is_conserved(activation: Any) -> None:
    """For homogeneous activations a_j² - |w_j|² is constant along the flows of R_S and of R_S + R_1, not of R_2."""
    problem = enumeration.problem(activation=activation, width=5)
    theta0 = problem.init(seed=4)
    drift = {}
    for kind in KINDS:
        a, w = problem.split(theory.flow(problem, theta0, lr=0.5, times=[0, 2.0], kind=kind).theta.values)
        balance = np.square(a[:, 0]) - np.square(w).sum(axis=-1)
        drift[kind] = np.abs(balance[1] - balance[0]).max()
    tolerance = 1e-6 if activation == "linear" else 1e-4  # relu's right-hand side jumps where a sample changes side
    assert drift["gradient"] < tolerance
    assert drift["averaged"] < tolerance
    assert drift["modified"] > 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_methods_agree(kind: Any, outputs: Any) -> None:
    problem = enumeration.problem(width=7, outputs=outputs)
    theta0 = problem.init(seed=5)
    options = {"lr": 0.2, "times": np.linspace(0, 3, 7), "kind": kind}
    fine = theory.flow(problem, theta0, method="DOP853", rtol=1e-11, atol=1e-12, **options)
    for method in ("RK45", "LSODA", "BDF"):
        other = theory.flow(problem, theta0, method=method, **options)
        np.testing.assert_allclose(other.theta, fine.theta, atol=3e-6)
        assert other.attrs["method"] == method
        looser = theory.flow(problem, theta0, method=method, rtol=1e-4, atol=1e-6, **options)
        assert looser.attrs["nfev"] < other.attrs["nfev"]


def condensation(width: Any) -> Any:
    x = np.linspace(-12, 12, 15)
    return simdrop.Problem(x, np.tanh(x - 6) + np.tanh(x + 6), width=width)


def test_wide_networks_are_stiff_and_cheap() -> None:
    """Width 1000 to time 100 by a method that takes few evaluations at any width."""
    problem = condensation(1000)
    theta0 = problem.init(gamma=0.2)
    path = theory.flow(problem, theta0, lr=1e-3, times=np.linspace(0, 100, 11), kind="averaged")
    assert path.attrs["method"] == "BDF"
    assert path.attrs["nfev"] < 6000
    narrow = theory.flow(condensation(20), condensation(20).init(gamma=0.2), lr=1e-3, times=1.0)
    assert narrow.attrs["method"] == "DOP853"
    assert "not stiff" in narrow.attrs["method_reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_bdf_has_the_jacobian_of_its_flow(kind: Any) -> None:
    """Exact for R_S and R_S + R_1; with R_2 it captures most of the stiff part."""
    from simdrop.theory.flows.stiff import Jacobian

    problem, lr = condensation(30), 1e-2
    theta = theory.flow(problem, problem.init(gamma=0.2), lr=lr, times=5.0, kind=kind).theta.values[-1]
    square = lr / (2 * problem.keep_prob) if kind == "modified" else 0.0
    jacobian = Jacobian.at(problem, "risk" if kind == "gradient" else "risk+r1", square, theta)
    exact = enumeration.central_difference(
        lambda points: theory.gradient(problem, points, objective=KINDS[kind], lr=lr), theta
    )
    mu, right = 0.1, np.random.default_rng(0).standard_normal(problem.n_params)
    found = jacobian.system(mu).solve(right)
    expected = np.linalg.solve(np.eye(len(exact)) + mu * exact, right)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < (0.05 if kind == "modified" else 1e-8)


def test_result_says_what_was_done() -> None:
    problem = enumeration.problem()
    path = theory.flow(problem, problem.init(), lr=0.1, times=TIMES, kind="modified", rtol=1e-6)
    assert path.theta.dims == ("time", "param")
    np.testing.assert_array_equal(path.time, TIMES)
    np.testing.assert_array_equal(path.theta[0], problem.init())
    for name in ("kind", "lr", "method", "method_reason", "rtol", "atol", "nfev", "success", "seconds", "keep_prob"):
        assert name in path.attrs
    assert path.attrs["nfev"] > 10
    single = simdrop.flow(problem, problem.init(), lr=0.1, times=0.0)
    np.testing.assert_array_equal(single.theta, problem.init()[None])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": [0.0, 2.0, 1.0]}, "times must increase, got 2 and then 1 at index 2"),
        ({"times": [0.0, 0.0]}, "times must increase"),
        ({"times": [-1.0, 2.0]}, "times must be 0 or more"),
        ({"times": []}, "times must be a number or a list"),
        ({"times": [0.0, np.nan]}, "times has 1 non-finite"),
        ({"kind": "averagd"}, "unknown kind 'averagd': did you mean 'averaged'"),
        ({"method": "DOP"}, "unknown method 'DOP': did you mean 'DOP853'"),
        ({"lr": -0.1}, "lr must be a positive number, got -0.1"),
        ({"rtol": 1e-20}, "rtol must lie in"),
        ({"atol": -1.0}, "atol must be"),
        ({"theta0": np.zeros(3)}, "theta0 must have 16 parameters"),
        ({"theta0": np.zeros((2, 16))}, "theta0 must be one vector"),
    ],
)
def test_bad_input(changes: Any, message: Any) -> None:
    problem = enumeration.problem()
    options = {"theta0": problem.init(), "lr": 0.1, "times": TIMES} | changes
    with pytest.raises(InvalidInput, match=message):
        theory.flow(problem, options.pop("theta0"), **options)


def test_bdf_refuses_what_it_does_not_suit() -> None:
    problem = enumeration.problem(samples=2001, width=2)
    with pytest.raises(InvalidInput, match=r"method 'BDF' does not suit this problem: .* 2001 outputs"):
        theory.flow(problem, problem.init(), lr=0.1, times=1.0, method="BDF")
    assert theory.flow(problem, problem.init(), lr=0.1, times=0.01).attrs["method"] == "DOP853"


@pytest.mark.parametrize("method", ["auto", "BDF"])
def test_failure_is_an_error(method: Any) -> None:
    problem = enumeration.problem(activation="quadratic")
    with pytest.raises(FlowFailed, match="no finite derivative at time 0 of 1"):
        theory.flow(problem, 1e150 * problem.init(), lr=0.1, times=[0.0, 1.0], kind="averaged", method=method)


@pytest.mark.parametrize("kind", ["modified", "mean-covariance", "pathwise"])
@pytest.mark.parametrize("method", ["auto", "DOP853", "RK45"])
def test_an_lr_beyond_all_bounds_ends_in_one_line(kind: Any, method: Any) -> None:
    """Errors of steps that underflow to 0 are divided by, under warnings that are errors here."""
    problem = simdrop.Problem(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), width=3, keep_prob=0.8)
    with pytest.raises(FlowFailed, match=r"^the flow (could not be followed beyond|has no finite derivative at) time"):
        theory.flow(problem, problem.init(), lr=1e300, times=1e300, kind=kind, method=method)


def test_finite_time_blow_up_is_an_error() -> None:
    with pytest.raises(FlowFailed, match=r"(beyond|infinite at about) time (0\.99\d*|1) of 2"):
        integrate(lambda _, y: y**2, np.ones(1), np.linspace(0, 2, 201), rtol=1e-6, atol=1e-9, method="DOP853")


@pytest.mark.parametrize(
    ("slope", "end", "expected"),
    [
        (lambda _, y: y**2, 0.9999, 1e4),  # which ends before it is infinite
        (lambda _, y: y, 300.0, np.exp(300)),
        (lambda _, y: y * y * (100 - y), 2.0, 100.0),  # faster and faster at first
        (lambda t, y: 2000 * (np.exp(5 * t) - y), 2.0, np.exp(10) * 2000 / 2005),  # steps as short as stability asks
    ],
)
@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_growth_that_stays_finite_is_followed(slope: Any, end: Any, expected: Any, method: Any) -> None:
    found, _ = integrate(slope, np.ones(1), np.array([end]), rtol=1e-9, atol=1e-9, method=method)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-2)


def test_a_solver_that_gives_up_before_the_first_time_is_an_error() -> None:
    """SciPy then returns lists; it gives up where the step that it needs is below the spacing of numbers."""
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=4, keep_prob=0.5)
    with pytest.raises(FlowFailed, match="Required step size is less than spacing between numbers"):
        theory.flow(problem, problem.init(seed=0), lr=1e30, times=[3e31], method="BDF")


def test_the_number_of_evaluations_can_be_bounded() -> None:
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    for kind in ("modified", "mean-covariance"):
        with pytest.raises(FlowFailed, match="50 evaluations were allowed"):
            simdrop.flow(problem, problem.init(), lr=0.1, times=[50.0], kind=kind, max_evaluations=50)
    with pytest.raises(InvalidInput, match="max_evaluations is an option of kind"):
        simdrop.flow(problem, problem.init(), lr=0.1, times=[1.0], kind="pathwise", max_evaluations=50)
