"""Experiments on minima and noise: that they run and draw at a toy size, and that their rules can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reproduce.drawn import drawn

from simdrop.errors import Diverged
from simdrop.reproduce import Settings
from simdrop.reproduce.papers import flatness, noise_alignment, relu_fit, sme
from simdrop.reproduce.shared import dropout_pair

TOY = Settings(seeds=3, backend="numpy")


def test_relu_fit_at_a_toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty steps smooth nothing: the rules must fail."""
    monkeypatch.setattr(relu_fit, "SIZES", {False: {"steps": 30, "lr": 1e-3}})
    monkeypatch.setattr(relu_fit, "WIDTH", 30)
    outcome = drawn(relu_fit.EXPERIMENT, TOY)
    assert not outcome.passed
    assert outcome.data["f"].shape == (2, 3, 2, 401)
    assert {row.holds for row in outcome.rows if row.rule} <= {True, False}


def test_total_change_of_slope_of_the_target_is_one() -> None:
    x = np.linspace(-5 / 3, 5 / 3, 401)
    target = relu_fit.TARGETS["relu-fit"].function(x)
    f = np.array([[target, 2 * target]]) + 1e-9
    loss = np.ones((1, 2, 1, len(flatness.flatness.LINE)))
    loss[..., flatness.flatness.LINE == 0] = 0.5
    rows = {row.quantity: row.ours for row in relu_fit._rows("step", f, target, x, loss, np.ones((1, 2)))}
    assert rows["step masks: total change of slope, with dropout"] == pytest.approx(1, rel=1e-10)
    assert rows["step masks: total change of slope, with/without"] == pytest.approx(0.5)
    assert rows["step masks: rise of R_S along random directions, without"] == 0.5


def test_flatness_at_a_toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatness, "STEPS", {False: {"relu-fit": 20, "condensation": 20}})
    monkeypatch.setattr(flatness, "WIDTH", 20)
    outcome = drawn(flatness.EXPERIMENT, TOY)
    assert not outcome.passed
    assert (outcome.data["value"].sel(measure=["sharpness risk", "sharpness risk+r1"]) > 0).all()


def test_noise_alignment_at_a_toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_alignment, "SIZES", {False: {"width": 4, "steps": 20}})
    monkeypatch.setattr(noise_alignment, "SAMPLES", 40)
    monkeypatch.setattr(noise_alignment, "DRAWS", 19)
    outcome = drawn(noise_alignment.EXPERIMENT, TOY)
    data = outcome.data
    assert data["variance"].sizes == {"mask": 2, "seed": 3, "source": 3, "direction": 12}
    exact, sampled = (data["variance"].sel(source=s).sum("direction") for s in ("exact", "sampled"))
    np.testing.assert_allclose(sampled, exact, rtol=1)  # 40 gradients
    assert ((data["p_value_end"] >= 0.05) & (data["p_value_end"] <= 1)).all()


def test_lost_networks_are_told() -> None:
    with pytest.raises(Diverged, match="tanh: networks diverged"):
        dropout_pair.finite(np.array([1.0, np.nan]), "tanh")


def test_a_ratio_is_geometric_and_its_rule_counts_errors() -> None:
    below = np.array([1.0, 2.0, 4.0])
    row = dropout_pair.ratio("half", [0.5, 1.0, 2.0], below)
    assert (row.ours, row.error, row.holds) == (pytest.approx(0.5), pytest.approx(0), True)
    wide = dropout_pair.ratio("unclear", below * [0.1, 1.5, 1.5], below)
    assert wide.ours == pytest.approx((0.1 * 1.5 * 1.5) ** (1 / 3))
    assert wide.holds is False
    assert dropout_pair.ratio("one seed", [0.1], [1.0]).holds is False
    lost = dropout_pair.ratio("below zero", [-0.1, 0.5, 0.5], below)
    assert np.isnan(lost.ours)
    assert lost.holds is False
    same = dropout_pair.ratio("same", below, below)
    assert same.holds is False


@pytest.mark.parametrize("module", [sme, noise_alignment])
def test_rules_of_sign_count_errors(module: Any) -> None:
    values = np.array([1.0, 1.2, 0.8])
    if module is sme:
        rows = [sme._bound("", values, bound, sign, "") for bound, sign in ((0.7, 1), (0.95, 1), (1.3, -1), (1.0, -1))]
    else:
        rows = [
            noise_alignment._sign("", v, s, "")
            for v, s in ((values, 1), (values - 0.95, 1), (-values, -1), (values, -1))
        ]
    assert [row.holds for row in rows] == [True, False, True, False]


@pytest.mark.slow
def test_sme_at_a_toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    size = {"lrs": (0.05, 0.1, 0.2), "keep_probs": (0.05, 0.5, 0.7, 0.9), "members": 200, "sme_members": 40}
    monkeypatch.setattr(sme, "SIZES", {False: size})
    outcome = drawn(sme.EXPERIMENT, Settings(seeds=2))
    relative = outcome.data["relative"].sel(quantity="parameters", keep_prob=0.9, lr=0.05).mean("seed")
    assert float(relative.sel(kind="sme1")) < float(relative.sel(kind="gradient"))
