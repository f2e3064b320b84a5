"""progress: one signature at every function that takes it, and True for a bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import scale
from simdrop.errors import InvalidInput
from simdrop.output.progress import STAGES
from simdrop.reproduce import Settings
from simdrop.study import heat_map, order
from simdrop.study.throughput.measure import benchmark

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=3, keep_prob=0.7)
THETA = PROBLEM.init(seed=0)
FEW = {"members": 8, "groups": 4, "grid": 3, "backend": "numpy", "threads": 1}
SWEEP = scale.design(
    {
        "problem": {"data": "sin", "width": 3},
        "simulate": {"members": 4, "backend": "numpy"},
        "sweep": {"steps": [2, 3]},
    }
)
#: function -> the call, and the stages that it goes through
DOORS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "simulate": (
        lambda path, **told: simdrop.simulate(PROBLEM, THETA, lr=0.1, steps=9, members=4, backend="numpy", **told),
        {"simulate"},
    ),
    "sme": (
        lambda path, **told: simdrop.sme(PROBLEM, THETA, lr=0.1, times=[0.5], members=4, backend="numpy", **told),
        {"sme"},
    ),
    "compare": (
        lambda path, **told: simdrop.compare(PROBLEM, THETA, lr=0.1, steps=9, **FEW, **told),
        {"simulate", "flows", "distances"},
    ),
    "order": (
        lambda path, **told: order(
            PROBLEM, THETA, lrs=(0.5, 0.25, 0.125), time=0.5, paths=3, sme_members=8, kinds=["averaged"], **FEW, **told
        ),
        {"rungs"},
    ),
    "heat_map": (
        lambda path, **told: heat_map(
            PROBLEM, THETA, lrs=[0.2, 0.1], keep_probs=[0.5], time=0.5, sme_members=8, kinds=["averaged"], **FEW, **told
        ),
        {"simulate", "cells"},
    ),
    "benchmark": (lambda path, **told: benchmark(backends=["numpy"], repeats=1, seconds=1e-4, **told), {"measure"}),
    "sweep": (lambda path, **told: scale.sweep(SWEEP, path / "sweep", **told), {"launches"}),
}


@pytest.fixture(autouse=True)
def _one_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simdrop.study.throughput.measure.QUICK", {"width": (4,)})


@pytest.mark.parametrize("name", DOORS)
def test_every_stage_is_told_to_its_end(name: str, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    call, stages = DOORS[name]
    call(tmp_path, progress=lambda stage, done, total: seen.append((stage, done, total)))
    assert {stage for stage, _, _ in seen} == stages
    assert stages <= set(STAGES)
    for stage in stages:
        counts = [(done, total) for told, done, total in seen if told == stage]
        assert counts == sorted(counts)
        assert counts[-1][0] == counts[-1][1]


@pytest.mark.parametrize("name", DOORS)
def test_true_shows_a_bar_and_false_and_none_do_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simdrop.output.progress.PATIENCE", 0.0)
    call, stages = DOORS[name]
    call(tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert any(STAGES[stage][0] in shown for stage in stages)
    for silent in (False, None):
        call(tmp_path / str(silent), progress=silent)
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrong", [lambda done: None, 1, "yes", [print]])
@pytest.mark.parametrize("name", DOORS)
def test_what_cannot_be_called_with_three_arguments_is_refused_before_any_work(
    name: str, wrong: Any, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"^progress (is called as progress\(stage, done, total\)|must be True)"):
        DOORS[name][0](tmp_path, progress=wrong)
    assert not list(tmp_path.iterdir())


def test_functions_of_two_arguments_are_called_as_before_with_a_warning() -> None:
    seen: list[tuple[int, int]] = []
    with pytest.warns(DeprecationWarning, match=r"now called as progress\(stage, done, total\)"):
        simdrop.simulate(
            PROBLEM, THETA, lr=0.1, steps=4, members=2, backend="numpy",
            progress=lambda done, total: seen.append((done, total)),
        )  # fmt: skip
    assert seen[-1] == (8, 8)


def test_an_experiment_takes_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simdrop.output.progress.PATIENCE", 0.0)
    Settings(progress=True).progress("a stage", 1, 2)
    assert "a stage" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="progress is called as"):
        Settings(progress=lambda done: None)
