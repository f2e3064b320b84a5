"""`linear-networks`: its rules hold, and fail for a theory with a wrong v, without dropout, before training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from reproduce.drawn import drawn

from simdrop import theory
from simdrop.reproduce import Outcome, Settings
from simdrop.reproduce.papers import linear_networks


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """The experiment with fewer members, for half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_networks, "MEMBERS", {False: 60})
        patch.setattr(linear_networks, "TIME", 100.0)
        return drawn(linear_networks.EXPERIMENT, Settings(threads=1))


def _failed(data: xr.Dataset) -> list[str]:
    return [row.quantity for row in linear_networks.rows(data) if row.holds is False]


def test_every_rule_holds(outcome: Outcome) -> None:
    assert _failed(outcome.data) == []


def test_a_theory_with_a_wrong_variance_fails(outcome: Outcome) -> None:
    """v a quarter larger; at p = 0.9 that moves singular values by less than the tolerance."""
    data, wrong = outcome.data, []
    for p in data["keep_prob"].values:
        other = replace(linear_networks.target(), keep_prob=1 / (1 + 1.25 * (1 - p) / p))
        wrong.append(theory.linear_optimum(other).singular_values)
    failed = _failed(data.assign(sigma_theory=(("keep_prob", "value"), np.array(wrong))))
    for p in ("0.5", "0.7"):
        assert any(name.startswith(f"singular value of the mean map, p = {p}") for name in failed)


def test_without_dropout_or_before_training_it_fails(outcome: Outcome) -> None:
    """At p = 1 nothing shrinks or becomes equal; a network at its start has another map."""
    data = outcome.data
    plain = data.isel(keep_prob=[-1] * 4).assign_coords(keep_prob=data["keep_prob"])
    plain = plain.assign({name: data[name] for name in ("sigma_theory", "strength_theory")})
    failed = _failed(plain)
    for p in ("0.5", "0.7", "0.9"):
        assert any(name.startswith("sum") and p in name for name in failed)
        assert f"the same at the end, p = {p}" in failed
    begun = data.assign(spread=0 * data["spread"] + data["spread_start"], sigma=0 * data["sigma"] + 0.3)
    assert len(_failed(begun)) > 10
