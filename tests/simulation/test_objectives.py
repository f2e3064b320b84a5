"""The papers' losses L1 to L4 and R_drop with a penalty, and a change of the objective in mid-run.

Gradients are held against finite differences of the losses as they are written, on masks of `simdrop.masks`, and
against autograd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop.errors import InvalidInput
from simdrop_kernels import registry
from simdrop_kernels.contract.step import BackendError

LR, SEED, MEMBER, PENALTY = 0.05, 5, 3, 0.3
LOSSES = ["L1", "L2", "L3", "L4", "dropout+r2"]
RANDOM = np.random.default_rng(8)
X, Y = RANDOM.standard_normal((5, 3)), RANDOM.standard_normal((5, 2))


def _problem(mask: Any = "step", train: Any = "both", activation: Any = "tanh") -> Any:
    return simdrop.Problem(
        X, Y, width=4, keep_prob=0.6, mask=mask, train=train, activation=activation, output_scale=0.7
    )


def _factor(problem: Any, step: Any = 0, member: Any = MEMBER) -> Any:
    """Dropout factors (1, m) or (n, m)."""
    samples = problem.n_samples if problem.mask == "sample" else None
    kept = simdrop.masks(
        seed=SEED, member=member, step=step, width=problem.width, keep_prob=problem.keep_prob, samples=samples
    )
    return np.atleast_2d(kept) / problem.keep_prob


def _r_drop(problem: Any, theta: Any, factor: Any) -> Any:
    """R_drop, written plainly."""
    a, w = problem.split(theta)
    f = problem.scale * (np.tanh(problem.inputs @ w.T) * factor) @ a.T
    return np.square(f - problem.y).sum() / (2 * len(f))


def _difference(function: Any, theta: Any, h: Any) -> Any:
    """The gradient by central differences of fourth order."""
    unit = np.eye(theta.size) * h
    return np.array(
        [
            (8 * (function(theta + e) - function(theta - e)) - function(theta + 2 * e) + function(theta - 2 * e))
            / (12 * h)
            for e in unit
        ]
    )


def _loss(problem: Any, name: Any, theta: Any, factor: Any) -> Any:
    """The loss as the papers state it, R̃_2 from differences of R_drop."""
    drop, risk = _r_drop(problem, theta, factor), _r_drop(problem, theta, 1.0)
    r1 = float(simdrop.theory.r1(problem, theta))
    slope = _difference(lambda t: _r_drop(problem, t, factor), theta, 1e-3)[problem.trained]
    r2 = LR / 4 * np.square(slope).sum()
    return {
        "L1": risk + r1,
        "L2": risk + r2,
        "L3": drop - r2,
        "L4": drop - r1,
        "dropout+r2": drop + PENALTY / LR * r2,
    }[name]


def _step(problem: Any, name: Any, theta: Any, **options: Any) -> Any:
    """The gradient that one step of member MEMBER took from theta."""
    options = {"lr": LR, "steps": 1, "members": MEMBER + 1, "seed": SEED, "keep_theta": [MEMBER], "record": 2} | options
    penalty = {"penalty": PENALTY} if name == "dropout+r2" else {}
    runs = simdrop.simulate(problem, theta, objective=name, **penalty, **options)
    return (theta - runs["theta"].values[-1, 0]) / LR


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_descends_the_loss_as_it_is_written(name: Any, mask: Any) -> None:
    problem = _problem(mask)
    theta = problem.init(seed=1)
    factor = _factor(problem)
    wanted = _difference(lambda t: _loss(problem, name, t, factor), theta, 1e-3)
    taken = _step(problem, name, theta)
    np.testing.assert_allclose(taken, wanted, atol=3e-8)
    if name != "L1":  # the penalty counts, and so does its sign
        other = _difference(lambda t: 2 * _r_drop(problem, t, factor) - _loss(problem, name, t, factor), theta, 1e-3)
        assert np.abs(taken - other).max() > 1e-3


@pytest.mark.parametrize("train", ["output", "input"])
@pytest.mark.parametrize("name", ["L2", "L4", "dropout+r2"])
def test_only_what_is_trained_counts_and_moves(name: Any, train: Any) -> None:
    problem = _problem(train=train)
    theta, factor = problem.init(seed=2), _factor(problem)
    wanted = _difference(lambda t: _loss(problem, name, t, factor), theta, 1e-3)
    np.testing.assert_allclose(_step(problem, name, theta), problem.freeze(wanted), atol=3e-8)


def test_a_minibatch_takes_its_samples_alone() -> None:
    problem = _problem()
    theta = problem.init(seed=3)
    found = [_step(problem, "L3", theta, batch_size=2, seed=seed) for seed in range(1)]
    pairs = [(i, k) for i in range(5) for k in range(i)]
    for seed, gradient in enumerate(found):
        factor = simdrop.masks(seed=seed, member=MEMBER, step=0, width=4, keep_prob=0.6)[None] / 0.6
        fits = 0
        for pair in pairs:
            part = simdrop.Problem(X[list(pair)], Y[list(pair)], width=4, keep_prob=0.6, output_scale=0.7)
            wanted = _difference(lambda t, part=part, factor=factor: _loss(part, "L3", t, factor), theta, 1e-3)
            fits += np.abs(gradient - wanted).max() < 1e-7
        assert fits == 1


@pytest.mark.peer
@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("activation", ["tanh", "softplus", "gelu"])
@pytest.mark.parametrize("name", ["L2", "L3", "dropout+r2"])
def test_against_autograd(name: Any, activation: Any, mask: Any) -> None:
    torch = pytest.importorskip("torch")
    problem = _problem(mask, activation=activation)
    theta = problem.init(seed=4)
    flat = torch.tensor(theta, requires_grad=True)
    a, w = flat[: 2 * 4].reshape(2, 4), flat[2 * 4 :].reshape(4, 4)
    act = {"tanh": torch.tanh, "softplus": torch.nn.functional.softplus, "gelu": torch.nn.functional.gelu}[activation]
    x, y = torch.tensor(problem.inputs), torch.tensor(problem.y)

    def r_drop(factor: Any) -> Any:
        f = problem.scale * (act(x @ w.T) * torch.tensor(factor)) @ a.T
        return (f - y).square().sum() / (2 * len(y))

    drop = r_drop(_factor(problem))
    (slope,) = torch.autograd.grad(drop, flat, create_graph=True)
    r2 = LR / 4 * slope.square().sum()
    risk = r_drop(np.ones((1, 4)))
    loss = {"L2": risk + r2, "L3": drop - r2, "dropout+r2": drop + PENALTY / LR * r2}[name]
    (wanted,) = torch.autograd.grad(loss, flat)
    np.testing.assert_allclose(_step(problem, name, theta), wanted.numpy(), rtol=1e-9, atol=1e-12)


def test_l1_is_risk_and_r1_to_the_bit() -> None:
    problem = _problem()
    one, two = (
        simdrop.simulate(problem, problem.init(), lr=LR, steps=9, members=2, objective=o) for o in ("L1", "risk+r1")
    )
    np.testing.assert_array_equal(one["theta_mean"], two["theta_mean"])
    assert one.attrs["objective"] == "risk+r1"


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    [("numpy", "sgd"), ("numpy", "adam"), ("native", "sgd"), ("native", "adam"), ("numba", "sgd")],
)
def test_a_change_of_the_objective(backend: Any, optimizer: Any) -> None:
    """One run that changes equals, to the bit, the run that goes on by itself, and moments are carried over."""
    problem = simdrop.Problem(X[:, 0], Y[:, 0], width=4, keep_prob=0.6)
    theta0 = problem.init(seed=1)
    known = {"lr": LR, "members": 3, "seed": 1, "keep_theta": True, "optimizer": optimizer, "backend": backend}
    try:
        changed = simdrop.simulate(problem, theta0, steps=20, record=[7], objective={0: "risk", 7: "dropout"}, **known)
    except BackendError as error:
        pytest.skip(str(error))
    same = simdrop.simulate(problem, theta0, steps=20, record=[7], objective={0: "dropout", 11: "dropout"}, **known)
    plain = simdrop.simulate(problem, theta0, steps=20, record=[7], **known)
    before = simdrop.simulate(problem, theta0, steps=7, record=2, objective="risk", **known)
    np.testing.assert_array_equal(same["theta"], plain["theta"])
    np.testing.assert_array_equal(changed["theta"][1], before["theta"][-1])
    assert changed.attrs["objective"] == "risk; dropout from step 7"
    if optimizer == "sgd":  # without state a run is the second half of another: masks count steps from 0
        alone = theta0
        for step in range(20):
            factor = _one_dimensional(problem, step) if step >= 7 else 1.0
            alone = alone - LR * _difference(lambda t, factor=factor: _r_drop(problem, t, factor), alone, 1e-3)
        np.testing.assert_allclose(changed["theta"].values[-1, 2], alone, atol=1e-8)
    else:  # Adam's first steps would be of size lr if its moments began anew
        jump = np.abs(changed["theta"].values[-1] - changed["theta"].values[1]).max()
        assert 0 < jump < 13 * LR


def _one_dimensional(problem: Any, step: Any) -> Any:
    kept = simdrop.masks(seed=1, member=2, step=step, width=4, keep_prob=0.6)
    return kept[None] / problem.keep_prob


def test_a_change_in_the_middle_of_blocks_and_calls() -> None:
    problem = _problem()
    known = {"lr": LR, "steps": 50, "members": 7, "objective": {0: "dropout", 13: "L4", 31: "risk"}, "keep_theta": True}
    one = simdrop.simulate(problem, problem.init(), record=2, **known)
    two = simdrop.simulate(problem, problem.init(), record=range(51), block_size=3, **known)
    np.testing.assert_array_equal(one["theta"][-1], two["theta"][-1])
    assert "numpy" in one.attrs["backend"]  # L4 alone needs it
    assert one.attrs["objective"] == "dropout; L4 from step 13; risk from step 31"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "L5"}, "unknown objective"),
        ({"objective": {3: "risk"}}, "step 0"),
        ({"objective": {0: "risk", 99: "dropout"}}, "0 to 9"),
        ({"objective": {0: "risk", 2.5: "dropout"}}, "2.5"),
        ({"objective": "dropout+r2"}, "needs a penalty"),
        ({"objective": "dropout+r2", "penalty": -1.0}, "0 or more"),
        ({"objective": "dropout", "penalty": 1.0}, "penalty belongs"),
        ({"objective": "L2", "noise": simdrop.Noise(label=0.1)}, "belongs to objective 'dropout'"),
        ({"objective": {0: "dropout", 5: "risk"}, "svag": 2}, "svag needs"),
    ],
)
def test_refused(options: Any, message: Any) -> None:
    problem = _problem()
    with pytest.raises(InvalidInput, match=message):
        simdrop.simulate(problem, problem.init(), lr=LR, steps=10, members=2, **options)


@pytest.mark.parametrize("backend", ["numba", "native"])
def test_compiled_backends_say_what_they_do_not_train(backend: Any) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(reason)
    problem = _problem()
    with pytest.raises(BackendError, match="L3"):
        simdrop.simulate(problem, problem.init(), lr=LR, steps=1, members=1, objective="L3", backend=backend)
