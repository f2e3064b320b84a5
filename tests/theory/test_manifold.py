"""The slow drift along the zero-loss manifold: exact cases, second differences of the limit point, training itself."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import simdrop
from simdrop import theory
from simdrop.data import TARGETS
from simdrop.errors import FlowFailed, InvalidInput
from simdrop.theory.zero_loss import SlowNoise, ZeroLoss

Array = NDArray[np.float64]


def _two_neurons(z: float, **changes: Any) -> tuple[simdrop.Problem, Array]:
    """f = a_1 w_1 + a_2 w_2 at x = y = 1, from a = w with a_1 w_1 - a_2 w_2 = 2 z on zero loss."""
    given = {"keep_prob": 1 / 1.002, "activation": "linear", "bias": False} | changes
    w = np.sqrt([0.5 + z, 0.5 - z])
    return simdrop.Problem([1.0], [1.0], width=2, **given), np.concatenate([w, w])


def _half_difference(theta: Array) -> Array:
    a, w = theta[..., :2], theta[..., 2:]
    return np.asarray(np.diff(a * w)[..., 0] / -2)


def _closed_form(z: float, tau: Array) -> Array:
    return np.asarray(0.5 / np.sqrt(1 + ((0.5 / z) ** 2 - 1) * np.exp(2 * tau)))


@pytest.fixture(scope="module")
def problem() -> simdrop.Problem:
    """Six tanh neurons on three points of sin 3x."""
    x = np.linspace(-1, 1, 3)
    return simdrop.Problem(x, np.sin(3 * x), width=6, keep_prob=0.9)


def test_two_linear_neurons_have_a_closed_form() -> None:
    """With z = (u_1 - u_2)/2: z(τ) = ½ / √(1 + ((1/2z)² - 1) e^2τ), 0.220191 at τ = 1 from 0.4."""
    tau = np.array([0.0, 0.5, 1.0, 3.0])
    problem, theta0 = _two_neurons(0.4)
    flow = simdrop.flow(problem, theta0, lr=0.1, times=tau, kind="manifold", corrected=False, rtol=1e-11, atol=1e-13)
    found = _half_difference(flow.theta.values)
    np.testing.assert_allclose(found, _closed_form(0.4, tau), rtol=1e-9)
    assert found[2] == pytest.approx(0.220191, abs=5e-7)
    np.testing.assert_allclose(flow.training_time * problem.variance, tau, rtol=1e-13)
    # a flow that forgets to stay on the manifold, or takes R_1 for ρ, is nowhere near
    wrong = simdrop.flow(problem, theta0, lr=0.1, times=tau, kind="averaged")
    assert abs(_half_difference(wrong.theta.values)[2] - _closed_form(0.4, tau)[2]) > 0.1


def test_means_of_training_to_first_order_in_lr() -> None:
    """SGD with lr 0.4 misses the limit by 0.0163, of which the paths along the manifold leave 0.0005 ± 0.0008."""
    problem, theta0 = _two_neurons(0.4, keep_prob=1 / 1.01)
    lr, steps = 0.4, 250  # τ = v lr steps = 1
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=steps, members=40_000, record=[steps], keep_theta=True, seed=1
    )
    ends = _half_difference(runs.theta.values[-1])
    error = ends.std() / np.sqrt(ends.size)
    paths = theory.manifold_paths(problem, theta0, lr=lr, times=1.0, members=2000, steps=25, antithetic=True)
    pairs = _half_difference(paths.theta.values[-1]).reshape(-1, 2).mean(axis=1)
    both = np.hypot(error, pairs.std() / np.sqrt(pairs.size))
    limit = float(_closed_form(0.4, np.array(1.0)))
    assert abs(ends.mean() - pairs.mean()) < 4 * both + 0.002  # and O(v) + O(lr²)
    assert abs(ends.mean() - limit) > 10 * error
    assert paths.risk.max() < 1e-20


def test_label_noise_alone_balances_a_neuron() -> None:
    """f = a w with label noise of standard deviation s: d = a² - w² decays as exp(-lr s² t)."""
    problem = simdrop.Problem([1.0], [1.0], width=1, keep_prob=1.0, activation="linear", bias=False)
    tau, noise = np.array([0.0, 1.0, 2.0]), simdrop.Noise(label=0.1)
    flow = simdrop.flow(problem, [2.0, 0.5], lr=0.01, times=tau, kind="manifold", noise=noise, rtol=1e-11, atol=1e-13)
    a, w = flow.theta.values.T
    np.testing.assert_allclose(a**2 - w**2, 3.75 * np.exp(-tau), rtol=1e-9)
    np.testing.assert_allclose(flow.training_time * 0.01 * 0.1**2, tau)


@pytest.mark.parametrize(
    ("mask", "noise"),
    [("step", simdrop.Noise()), ("sample", simdrop.Noise(masks=2)), ("step", simdrop.Noise(label=0.3))],
)
def test_the_drift_of_order_lr_is_a_second_difference_of_the_limit_point(mask: Any, noise: simdrop.Noise) -> None:
    """½ P_T D²Φ[S] with S summed over the gradients that one dropped neuron (of one sample) leaves."""
    problem = simdrop.Problem([-1.0, 0.5], np.sin([-3.0, 1.5]), width=4, keep_prob=0.9)
    theta = theory.limit_point(problem, problem.init(seed=0), rtol=1e-13, atol=1e-15)
    problem = replace(problem, mask=mask, keep_prob=1.0 if noise.label else 0.9)
    here, whole = ZeroLoss.at(problem, theta[None], order=2), replace(problem, keep_prob=1.0)
    rows = []
    if noise.label:
        flat = here.left[0] * here.size[0] @ here.normal[0]
        rows = list(noise.label / problem.n_samples * flat)
    else:
        shape = (problem.width,) if mask == "step" else (problem.n_samples, problem.width)
        for dropped in np.ndindex(shape):
            kept = np.ones(shape, dtype=bool)
            kept[dropped] = False
            rows.append(np.sqrt(problem.variance / noise.masks) * theory.dropout_gradient(whole, theta, kept))

    def bend(direction: Array, h: float) -> Array:
        ends = [theory.limit_point(whole, theta + s * h * direction, rtol=1e-13, atol=1e-15) for s in (1, -1)]
        return np.asarray((ends[0] - 2 * theta + ends[1]) / h**2)

    total = np.zeros_like(theta)
    for row in rows:
        size = np.linalg.norm(row)
        coarse, fine = (bend(row / size, h) for h in (0.01, 0.005))
        total += size**2 / 2 * (4 * fine - coarse) / 3
    expected = here.along(total[None])[0]
    found = here.drift(SlowNoise.of(problem, noise))[0]
    assert np.abs(found).max() > 5e-4
    np.testing.assert_allclose(found, expected, atol=2e-8)


def test_trial_steps_to_the_end_that_fail_are_no_standstill() -> None:
    """The integrator first tries to reach the end of a stretch at once; a thousand shorter steps follow."""
    problem = simdrop.Problem([[-1.0, -0.2], [-1.3, 0.0]], [[0.0, -0.2], [-0.5, -0.2]], width=4)
    theta = theory.limit_point(problem, problem.init(seed=2))
    assert theory.risk(problem, theta) < 1e-20


def test_the_averaged_flow_approaches_it_to_first_order_in_v(problem: simdrop.Problem) -> None:
    """Halving v halves the distance at τ = 1, and the residuals meet their formula to second order."""
    theta0, tau = theory.limit_point(problem, problem.init(seed=0)), 1.0
    away, off = [], []
    for v in (0.005, 0.0025, 0.00125):
        one = replace(problem, keep_prob=1 / (1 + v))
        slow = simdrop.flow(one, theta0, lr=0.01, times=tau, kind="manifold", corrected=False)
        fast = simdrop.flow(one, theta0, lr=0.01, times=tau / v, kind="averaged")
        away.append(np.linalg.norm(slow.theta.values - fast.theta.values))
        residual = one.predict(fast.theta.values[0], one.x) - one.y
        off.append(np.linalg.norm(residual - slow.residual.values[0]))
        assert np.linalg.norm(residual) > 10 * off[-1]
    np.testing.assert_allclose(np.log2(np.divide(away[:-1], away[1:])), 1.0, atol=0.1)
    np.testing.assert_allclose(np.log2(np.divide(off[:-1], off[1:])), 2.0, atol=0.2)


@pytest.mark.slow
def test_wide_networks_take_seconds() -> None:
    """Width 1000 on 15 points; R_1 falls along the flow, and R_S stays zero."""
    target = TARGETS["condensation"]
    problem = simdrop.Problem(target.points, target.function(target.points), width=1000, keep_prob=0.9)
    began = time.process_time()
    theta0 = theory.limit_point(problem, problem.init(seed=0, gamma=0.2), rtol=1e-7)
    flow = simdrop.flow(problem, theta0, lr=0.01, times=[0.0, 0.2], kind="manifold", rtol=1e-4, atol=1e-6)
    assert time.process_time() - began < 30
    assert flow.r1[1] < 0.9 * flow.r1[0]
    assert flow.risk.max() < 1e-20


def test_what_has_no_slow_drift_is_refused(problem: simdrop.Problem) -> None:
    given: dict[str, Any] = {"lr": 0.1, "times": 1.0, "kind": "manifold"}
    theta0, whole = problem.init(), replace(problem, keep_prob=1.0)
    with pytest.raises(InvalidInput, match="nothing moves networks along the zero-loss manifold"):
        simdrop.flow(whole, theta0, **given)
    with pytest.raises(InvalidInput, match="corrected=False leaves out the term of order lr"):
        simdrop.flow(whole, theta0, corrected=False, noise=simdrop.Noise(label=0.1), **given)
    with pytest.raises(InvalidInput, match="does not know DropConnect"):
        simdrop.flow(problem, theta0, noise=simdrop.Noise(connect=0.5), **given)
    with pytest.raises(InvalidInput, match=r"noise is an option of kind .* not of 'pathwise'"):
        simdrop.flow(problem, theta0, lr=0.1, times=1.0, kind="pathwise", noise=simdrop.Noise())
    with pytest.raises(InvalidInput, match="weight_decay 0"):
        simdrop.flow(replace(problem, weight_decay=0.1), theta0, **given)
    with pytest.raises(InvalidInput, match="learning rate that is the same at all steps"):
        simdrop.flow(problem, theta0, **given | {"lr": {0: 0.1, 5: 0.05}})
    twice = replace(problem, x=[0.0, 0.0], y=[1.0, 2.0])
    with pytest.raises(FlowFailed, match=r"the features of the samples.*are linearly dependent"):
        theory.limit_point(twice, theta0)
    square = simdrop.Problem([1.0], [-1.0], width=1, activation="quadratic", bias=False, train="input")
    with pytest.raises(FlowFailed, match=r"gradient flow does not lead to zero loss: R_S is 0\.5"):
        theory.limit_point(square, [1.0, 0.3], longest=100.0)  # w² is never -1
    few = simdrop.Problem(np.arange(4.0), np.arange(4.0), width=1)
    with pytest.raises(FlowFailed, match="4 outputs on the data and fewer trained parameters"):
        theory.limit_point(few, few.init())


def test_compare_holds_it_against_training_near_zero_loss(problem: simdrop.Problem) -> None:
    """It leaves less than a tenth of what plain gradient flow misses; refused far from zero loss, without dropout."""
    near = replace(problem, keep_prob=0.995)
    theta0 = theory.limit_point(near, near.init(seed=0))
    options: dict[str, Any] = {"lr": 0.05, "steps": 4000, "members": 600, "record": 5, "threads": 1}
    found = simdrop.compare(near, theta0, kinds=["averaged", "manifold"], **options)
    flows = found.summary["quantities"]["parameters"]["flows"]
    assert flows["manifold"]["final"]["share_removed"] > 0.9
    risk, ends = found.flows["risk"].sel(kind="manifold").values[-1], found.runs.risk.values[-1]
    assert abs(ends.mean() - risk) < 4 * ends.std() / np.sqrt(ends.size) + 0.1 * risk  # and O(lr) + O(v) of it
    assert "flow along zero loss" in found.table()
    with pytest.raises(InvalidInput, match="kind 'manifold' does not serve here: R_S must be near zero at theta0"):
        simdrop.compare(near, near.init(seed=1), kinds=["manifold"], **options)
    with pytest.raises(InvalidInput, match="keep_prob is 1"):
        simdrop.compare(replace(near, keep_prob=1.0), theta0, kinds=["manifold"], **options)
