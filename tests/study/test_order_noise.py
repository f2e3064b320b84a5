"""order(noise=...): the ladder under noise besides dropout, or with dropout in another place than the whole step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.summary_schema import read_valid

import simdrop
from simdrop.cli import run
from simdrop.errors import InvalidInput
from simdrop.study import order
from simdrop.study.case import Case
from simdrop.study.convergence import ladder

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
SIZES: dict[str, Any] = {"lrs": (0.2, 0.1, 0.05), "members": 40_000, "groups": 20}
UPDATE = simdrop.Noise(place="update")


def _slopes(**changes: Any) -> dict[str, Any]:
    found = order(PROBLEM, PROBLEM.init(seed=3), noise=UPDATE, kinds=["averaged"], **SIZES | changes)
    assert found.summary["settings"]["noise"]["place"] == "update"
    assert "on the update alone" in found.table()
    return {name: rows["parameters"]["slope_interval_95"] for name, rows in found.summary["kinds"].items()}


def test_theory_of_the_mask_on_the_update_has_its_order_and_that_of_dropout_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mean of the step descends R_S there: of networks with dropout in the whole step the same flows miss R_1."""
    slopes = _slopes()
    assert 0.9 < slopes["averaged"][0] < slopes["averaged"][1] < 1.3
    train = ladder._training
    monkeypatch.setattr(ladder, "_training", lambda case, paths: train(replace(case, noise=None), paths))
    wrong = _slopes(members=4000)
    assert wrong["averaged"][1] < 0.5


def test_kinds_that_know_of_no_noise_are_left_out_or_refused() -> None:
    small: dict[str, Any] = SIZES | {"members": 30, "sme_members": 40, "groups": 4, "paths": 3, "backend": "numpy"}
    found = order(PROBLEM, noise=simdrop.Noise(batch_size=2), **small)
    kinds = ["gradient", "averaged", "modified", "mean-covariance", "sme1", "sme2"]
    assert list(found.summary["kinds"]) == kinds
    assert not found.summary["failures"]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"noise": UPDATE, "kinds": ["pathwise"]}, "kind 'pathwise' follows the masks of the problem's dropout alone"),
        ({"noise": UPDATE, "kinds": ["manifold"]}, "place 'update'"),
        ({"noise": simdrop.Noise(order="epochs", batch_size=2)}, "order='epochs' is for simulation"),
        ({"noise": "update"}, "noise must be a simdrop.Noise or None"),
    ]
    for given, message in refused:
        with pytest.raises(InvalidInput, match=message) as error:
            order(PROBLEM, **small | given)
        assert "\n" not in str(error.value)


def test_the_command_takes_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--members 12 --paths 3 --groups 3 --lrs 0.2 --lrs 0.1 --lrs 0.05 --backend numpy --quiet"
    chosen = ["--kinds", "gradient", "--place", "forward", "--out", str(tmp_path / "out")]
    assert run(["order", *sizes.split(), *chosen]) == 0
    assert read_valid(tmp_path / "out" / "summary.json", "order")["settings"]["noise"]["place"] == "forward"
    assert run(["order", *sizes.split(), "--place", "update", "--heat-map", "--out", str(tmp_path / "map")]) == 2
    assert "heat-map is of dropout in the whole step" in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


def test_there_is_no_control_variate() -> None:
    """Which is that of dropout."""
    case = Case(
        problem=PROBLEM, theta0=PROBLEM.init(), lr=0.1, steps=2, points=X[:, None], members=6, groups=3, seed=0,
        noise=UPDATE,
    )  # fmt: skip
    means = ladder.group_means(ladder.train(ladder._training(case, 3), ladder.Output()), -1, slice(None))
    assert ladder.controlled(means, case) is means
