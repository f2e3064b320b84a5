"""Experiments in which a network learns a teacher: what is measured, on parameters with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from reproduce.drawn import drawn

from simdrop.data import TARGETS
from simdrop.reproduce import Settings
from simdrop.reproduce.papers import sample_size, teacher_recovery
from simdrop.reproduce.shared import teachers
from simdrop.reproduce.shared.teachers import TEACHERS, learn

#: output weights of the teachers' neurons
OUTPUT = {"tanh": (1.0, 1.0), "relu": (0.5, 0.5)}
TINY = {"sizes": (3, 5), "keep_probs": (0.9, 1.0), "seeds": 2, "mask": "step", "steps": 10, "lr": 1e-3}


def _plant(monkeypatch: Any, change: Any) -> Any:
    """Make training end at the teacher itself, every neuron split in halves, after `change`; starts are collected."""
    starts = []

    def end(problem: Any, theta0: Any, *, keep_prob: Any, **rest: Any) -> Any:
        starts.append((problem, theta0))
        neurons = np.repeat(np.array(TEACHERS[problem.activation].neurons), 2, axis=0)
        a = np.repeat(OUTPUT[problem.activation], 2)[None] / 2
        theta = problem.join(*change(a, neurons))
        return xr.Dataset({"theta": (("time", "member", "param"), np.tile(theta, (2, len(keep_prob), 1))),
                           "risk": (("time", "member"), np.zeros((2, len(keep_prob))))})  # fmt: skip

    monkeypatch.setattr("simdrop.simulation.simulate.simulate", end)
    monkeypatch.setattr(teachers, "WIDTH", 4)
    return starts


@pytest.mark.parametrize("activation", TEACHERS)
def test_the_teacher_itself_has_no_error_and_no_angle(activation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = _plant(monkeypatch, lambda a, w: (a, w))
    found = learn(activation, Settings(), **TINY)
    assert dict(found.sizes) == {"seed": 2, "n": 2, "keep_prob": 2}
    np.testing.assert_allclose(found["error"], 0, atol=1e-28)
    np.testing.assert_allclose(found["angle"], 0, atol=1e-7)
    assert (found["ratio"] == 0.5).all()
    points = [problem.x[:, 0] for problem, _ in starts]
    assert [len(x) for x in points] == [3, 5, 3, 5]
    np.testing.assert_array_equal(points[0], points[1][:3])  # nested within a seed, other points for another
    assert not np.isin(points[3], points[1]).any()
    np.testing.assert_array_equal(starts[0][1], starts[1][1])


@pytest.mark.parametrize("activation", TEACHERS)
def test_error_and_angle_of_a_network_that_is_wrong_by_a_known_amount(
    activation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant(monkeypatch, lambda a, w: (1.5 * a, w @ np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]])))
    found = learn(activation, Settings(), **TINY)
    np.testing.assert_allclose(found["angle"], 0.1, atol=1e-7)
    _plant(monkeypatch, lambda a, w: (1.5 * a, w))
    target = TARGETS[TEACHERS[activation].target]
    truth = target.function(np.linspace(target.points[0], target.points[-1], 1001))
    expected = 0.25 * np.square(truth).mean() / truth.var()
    np.testing.assert_allclose(learn(activation, Settings(), **TINY)["error"], expected)


def test_an_odd_activation_has_orientations_up_to_sign_and_relu_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for activation, angle in (("tanh", 0.0), ("relu", np.pi - np.arctan2(1, 1 / 3) * 2)):
        _plant(monkeypatch, lambda a, w: (a, -w))
        np.testing.assert_allclose(learn(activation, Settings(), **TINY)["angle"], angle, atol=1e-7)


@pytest.mark.parametrize(
    ("module", "sizes"),
    [(sample_size, ((4, 6, 10, 14), 1e-3, 20, 2)), (teacher_recovery, ((4, 14), 20, 2))],
    ids=["sample-size", "teacher-recovery"],
)
def test_runs_and_draws_at_a_toy_size(module: Any, sizes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is learnt in 20 steps: the rules that claim it must fail."""
    monkeypatch.setattr(teachers, "WIDTH", 30)
    monkeypatch.setattr(module, "SIZES", {False: sizes})
    outcome = drawn(module.EXPERIMENT, Settings(threads=1))
    assert not outcome.passed
