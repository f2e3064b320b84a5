"""`slow-drift`: its rules hold for what it measures, and fail for a wrong theory, without dropout, before training."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from reproduce.drawn import drawn

from simdrop.reproduce import Outcome, Settings
from simdrop.reproduce.papers import slow_drift


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """The experiment with fewer members at two learning rates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slow_drift, "MEMBERS", {False: 4000})
        patch.setattr(slow_drift, "LRS", (0.4, 0.2))
        patch.setattr(slow_drift, "PATHS", 1000)
        patch.setattr(slow_drift, "LABEL_MEMBERS", 40)
        return drawn(slow_drift.EXPERIMENT, Settings(threads=1))


def _failed(data: xr.Dataset) -> list[str]:
    return [row.quantity for row in slow_drift.rows(data) if row.holds is False]


def _exact(data: xr.Dataset) -> xr.DataArray:
    """Mean z as many members would have it: off the limit in proportion to lr."""
    return data["z_limit"] + 0.04 * data["lr"] * data["tau"]


def test_every_rule_holds(outcome: Outcome) -> None:
    assert _failed(outcome.data) == ["order in lr of training's distance from the limit"]  # takes more members
    assert _failed(outcome.data.assign(z_error=0 * outcome.data["z_error"], z=_exact(outcome.data))) == []


def test_a_theory_with_another_speed_fails(outcome: Outcome) -> None:
    """v wrong by a tenth in the limit and the paths; label noise wrong by a tenth in its rate."""
    data, tau = outcome.data, outcome.data["tau"].values
    faster = slow_drift.closed_form(1.1 * tau)
    wrong = data.assign(z_limit=("tau", faster), z_paths=data["z_paths"] + (faster - slow_drift.closed_form(tau)))
    assert any("less the paths" in name for name in _failed(wrong))
    assert any("closed form" in name for name in _failed(wrong))
    assert any("label noise" in name for name in _failed(data.assign(d=data["d"] ** 1.2)))
    assert any("order in v" in name for name in _failed(data.assign(away=data["away"] + 0.02)))


def test_without_noise_or_before_training_it_fails(outcome: Outcome) -> None:
    """p = 1 and untrained networks stay where they start; nothing condenses at time 0."""
    data = outcome.data
    still = data.assign(z=data["z"] * 0 + slow_drift.START, d=data["d"] * 0 + 1)
    failed = _failed(still)
    assert sum("less the paths" in name for name in failed) == data.sizes["lr"]
    assert any("order in lr" in name for name in failed)
    assert any("label noise" in name for name in failed)
    begun = data.assign(groups=data["groups"].isel(long=0).broadcast_like(data["groups"]))
    assert any("orientations" in name for name in _failed(begun))
    assert np.isfinite(data["rho"]).all()
