"""`simdrop reproduce`: rows, rules, files; and that every experiment runs and draws at a toy size."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from oracles.summary_schema import read_valid
from reproduce.drawn import drawn

from simdrop import reproduce
from simdrop.cli import run
from simdrop.errors import InvalidInput
from simdrop.reproduce import Experiment, Outcome, Row, Settings, experiments
from simdrop.reproduce.report import table
from simdrop.reproduce.shared import orientations
from simdrop.study import Result

ROWS = [
    Row.over_seeds("mean", [1.0, 2.0, 3.0], published="2", rule="between 1 and 3", holds=True),
    Row(quantity="count", ours=4, error=0),
]


def _line(axis: Any, data: xr.Dataset) -> None:
    axis.plot(data["f"])


def _toy(rows: Any) -> Any:
    from matplotlib.figure import Figure

    data = xr.Dataset({"f": ("x", np.arange(3.0))}, {"x": ["a", "b", "c"]}, {"lr": 0.1})
    return Experiment(
        name="toy", source="nowhere", place=(9, 1), shows="that a toy works", minutes=0.1, full_minutes=0.2,
        run=lambda settings: Outcome(rows=rows, data=data, notes=["a note"]), draw=lambda outcome: Figure(),
        panels={"f": _line},
    )  # fmt: skip


def _install(monkeypatch: Any, rows: Any) -> None:
    monkeypatch.setattr(reproduce, "_found", lambda: (_toy(rows),))


def test_a_row_over_seeds_has_the_standard_error_of_the_mean() -> None:
    assert ROWS[0].ours == 2
    assert ROWS[0].error == pytest.approx(1 / np.sqrt(3))
    assert [row.verdict for row in ROWS] == ["pass", "no claim"]
    assert np.isnan(Row.over_seeds("one seed", [1.0]).error)


def test_a_rule_that_fails_is_told_and_sets_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(monkeypatch, [*ROWS, Row(quantity="wrong", ours=1, rule="above 2", holds=False)])
    assert run(["reproduce", "toy", "--out", str(tmp_path)]) == 1
    assert "FAIL: above 2" in capsys.readouterr().out
    summary = read_valid(tmp_path / "toy" / "summary.json", "reproduce")
    assert not summary["passed"]
    assert [row["verdict"] for row in summary["rows"]] == ["pass", "no claim", "FAIL"]


def test_files_and_status_of_one_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(monkeypatch, ROWS)
    assert run(["reproduce", "toy", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "- a note" in shown
    assert "Lines without a published number: the paper states none (nowhere)" in shown
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {
        "summary.json",
        "results.zarr",
        "figure.png",
        "figure.pdf",
        "report.html",
        "simdrop.json",
    }
    took = read_valid(tmp_path / "toy" / "summary.json", "reproduce")["took"]
    assert 0 <= took["seconds"] < 60
    assert 0 <= took["processor_seconds"] < 60
    assert run(["reproduce", "toy", "--out", str(tmp_path)]) == 2
    assert "holds another result" in capsys.readouterr().err
    assert run(["reproduce", "toy", "--out", str(tmp_path), "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["condensatoin"], "did you mean 'condensation'"),
        ([], "--all"),
        (["condensation", "--all"], "--all"),
        (["condensation", "--seeds", "1"], "seeds"),
        (["condensation", "--backend", "gpu"], "backend"),
        (["condensation", "--mnist", "/no/such/folder"], "mnist"),
        (["condensation", "--threads", "0"], "threads"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    arguments: Any, message: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_list_names_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in experiments())


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_says_what_it_is(name: Any) -> None:
    found = reproduce.experiment(name)
    assert found.name == name
    assert found.source
    assert found.shows
    assert 0 < found.minutes <= found.full_minutes
    with pytest.raises(InvalidInput, match="did you mean"):
        reproduce.experiment(name[:-1])


@pytest.mark.parametrize("name", ["condensation", "batch", "small-init", "orientation-similarity", "switch"])
def test_runs_and_draws_at_a_toy_size(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing condenses in 60 steps: the rules that claim it must fail."""
    module = importlib.import_module(f"simdrop.reproduce.papers.{name.replace('-', '_')}")
    sizes = {"SIZES": (300, 600)} if name == "switch" else {"STEPS": 600}
    for where, value in sizes.items():
        monkeypatch.setattr(module, where, {False: value})
    monkeypatch.setattr(orientations, "WIDTH", 40)
    outcome = drawn(module.EXPERIMENT, Settings(seeds=2, threads=1))
    assert not outcome.passed


def test_an_experiment_that_was_run_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, ROWS)
    found = reproduce.reproduce("toy")
    assert isinstance(found, Result)
    assert found.summary["passed"]
    assert found.table() == table(found.experiment, found.outcome)
    found.save(tmp_path / "out")
    assert {"summary.json", "results.zarr", "figure.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InvalidInput, match="holds another result"):
        found.save(tmp_path / "out")


@pytest.mark.parametrize(
    "changed", [{"full": 1}, {"seeds": 0}, {"backend": "gpu"}, {"threads": 0}, {"mnist": "/no/such/folder"}]
)
def test_settings_that_cannot_be_used_are_refused(changed: Any) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changed))):
        Settings(**changed)
