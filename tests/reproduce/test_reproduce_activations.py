"""The experiment on activations: what it says of planted networks, and that it runs and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reproduce.drawn import drawn

from simdrop.reproduce import Settings
from simdrop.reproduce.papers import activations
from simdrop.reproduce.papers.activations import ACTIVATIONS, ARMS
from simdrop.reproduce.shared import orientations

WIDTH, SEEDS = 60, 3


def _planted(scattered: Any = ()) -> Any:
    """In place of training: two opposite orientations under dropout, random ones without and where `scattered`."""

    def train(name: Any, *rest: Any) -> Any:
        random = np.random.default_rng(7)
        angle = random.uniform(-np.pi, np.pi, (len(ARMS), SEEDS, WIDTH))
        for k, (_, keep_prob, _) in enumerate(ARMS.values()):
            if keep_prob < 1 and name not in scattered:
                angle[k] = np.where(np.arange(WIDTH) % 3, 1.0, 1.0 - np.pi)
        w = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return np.concatenate([np.ones(angle.shape), w.reshape(*angle.shape[:2], -1)], axis=-1)

    return train


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(orientations, "WIDTH", WIDTH)
    return monkeypatch


def _number(outcome: Any, quantity: Any) -> Any:
    return next(row.ours for row in outcome.rows if row.quantity == quantity)


def test_planted_orientations_are_counted_up_to_sign_for_odd_activations(narrow: Any) -> None:
    narrow.setattr(activations, "_train", _planted())
    narrow.setattr(activations, "_fit", lambda here, theta: np.zeros(theta.shape[:2]))
    outcome = activations.run(Settings(seeds=SEEDS))
    assert outcome.passed
    for name, signed in ACTIVATIONS.items():
        for arm in ("step masks", "sample masks"):
            assert _number(outcome, f"{name}: orientations, {arm}") == (2 if signed else 1)
        assert _number(outcome, f"{name}: orientations, no dropout") > 10
    assert outcome.notes[-1].endswith("modes: none.")
    assert outcome.data["holding"].sel(activation="relu", arm="step masks").sizes == {"seed": SEEDS}


@pytest.mark.parametrize(("name", "passes"), [("tanh", False), ("sin", True)])
def test_scattered_weights_fail_a_claim_where_there_is_one_and_are_told(name: Any, passes: Any, narrow: Any) -> None:
    narrow.setattr(activations, "_train", _planted([name]))
    narrow.setattr(activations, "_fit", lambda here, theta: np.zeros(theta.shape[:2]))
    outcome = activations.run(Settings(seeds=SEEDS))
    assert outcome.passed is passes
    assert outcome.notes[-1].endswith(f"modes: {name}.")


def test_networks_that_do_not_fit_the_data_are_told_and_fail_a_claim(narrow: Any) -> None:
    narrow.setattr(activations, "_train", _planted())
    outcome = activations.run(Settings(seeds=SEEDS))
    assert any("do not fit the data" in note and "tanh" in note for note in outcome.notes)
    wrong = [row.quantity for row in outcome.rows if row.holds is False]
    assert wrong == [f"{name}: rms error at the data, {arm}" for name in ("tanh", "relu") for arm in ARMS]


def test_runs_and_draws_at_a_toy_size(narrow: Any) -> None:
    """Nothing condenses in 30 steps. Arms of one mask mode share a call: they must not be mixed up."""
    narrow.setattr(activations, "STEPS", {False: 30})
    settings = Settings(seeds=2, threads=1, backend="numpy")  # which compiles nothing for seven activations
    outcome = drawn(activations.EXPERIMENT, settings)
    assert not outcome.passed
    theta = activations._train("tanh", settings, 2, 30)
    here = orientations.problem("step")
    alone = orientations.train(
        here, here.init(seed=0, gamma=0.2, members=2), settings, what="", steps=30, keep_prob=[0.9, 0.9]
    )
    np.testing.assert_array_equal(theta[0], alone["theta"].values[-1])
    assert not np.allclose(theta[0], theta[1])
    assert not np.allclose(theta[0], theta[2])
