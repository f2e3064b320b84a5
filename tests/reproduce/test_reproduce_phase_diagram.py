"""The four ways to train of `phase-diagram`, replayed in NumPy under the public masks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from reproduce.drawn import drawn

import simdrop
from simdrop.reproduce.experiment import Settings
from simdrop.reproduce.papers import phase_diagram


def _replay(width: int, arm: str, steps: int) -> np.ndarray:
    """theta (P,) of the first start after `steps` steps."""
    problem = phase_diagram._problem(width)
    drawing = np.random.default_rng(width)
    a, w = drawing.standard_normal((1, 1, width))[0, 0], drawing.standard_normal((1, width, 20))[0] / np.sqrt(20)
    x, y, lr = problem.x, problem.y[:, 0], width / 2
    for step in range(steps):
        drawn, own = (
            simdrop.masks(seed=0, member=0, step=step, width=width, keep_prob=0.7, independent=one) / 0.7
            for one in (False, True)
        )
        forward = {"dropout": drawn, "no dropout": 1.0, "update only": 1.0, "independent": own}[arm]
        update = 1.0 if arm == "no dropout" else drawn
        z = x @ w.T
        h = np.maximum(z, 0)
        e = (forward * h) @ a / width - y
        by_a = e @ h / (500 * width)
        by_w = (e[:, None] * (z > 0)).T @ x * a[:, None] / (500 * width)
        a, w = a - lr * update * by_a, w - lr * np.broadcast_to(np.asarray(update), width)[:, None] * by_w
    return problem.join(a[None], w)


def test_distances_are_those_of_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    width = 30
    monkeypatch.setattr(phase_diagram, "WIDTHS", {False: (15, width)})
    outcome = drawn(phase_diagram.EXPERIMENT, Settings(seeds=1, threads=1, backend="numpy"))
    for arm in phase_diagram.ARMS:
        a, w = phase_diagram._problem(width).split(_replay(width, arm, 9) - _replay(width, "dropout", 9))
        wanted = np.sqrt(np.square(w).sum(axis=1).mean() + np.square(a).mean())
        found = outcome.data["distance"].sel(arm=arm, width=width, step=9, seed=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert not outcome.passed, "networks of 30 neurons are not near the limit"


def _measured(no_dropout: list[float], update_only: list[float]) -> list[bool]:
    """Whether each rule holds for distances at four widths, the same at all steps."""
    widths = phase_diagram.WIDTHS[False]
    steps = (phase_diagram.EARLY, phase_diagram.STEPS)
    values = np.array([no_dropout, update_only, update_only]).T[:, :, None, None] * np.ones((1, 1, 2, len(steps)))
    coords = {"width": list(widths), "arm": list(phase_diagram.ARMS), "step": list(steps), "seed": [0, 1]}
    data = xr.Dataset({"distance": (("width", "arm", "seed", "step"), values)}, coords)
    return [row.holds for row in phase_diagram._rows(data) if row.holds is not None]


def test_the_rules_fail_for_what_is_not_so() -> None:
    falls, stays, nothing = [0.45, 0.33, 0.25, 0.17], [0.6, 0.56, 0.56, 0.55], [0.0] * 4
    assert _measured(stays, falls) == [True, True, True, True]
    assert _measured(nothing, nothing) == [False, False, False, False]  # keep_prob 1, or before training
    assert _measured(stays, stays) == [False, False, True, False]  # the update is not what dropout acts by
    assert _measured(falls, falls) == [True, True, False, False]  # dropout vanishes with the width
