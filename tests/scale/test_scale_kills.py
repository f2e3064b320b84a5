"""SIGKILL: nothing that was recorded is lost, nothing is counted twice, and a launch goes on inside."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from oracles import kills

from simdrop import scale
from simdrop.scale import launch
from simdrop.simulation import checkpoint, run

TABLES = {
    "problem": {"data": "sin", "width": 4},
    "simulate": {"steps": 40, "members": 12, "record": 21, "dtype": "float64", "keep": ["norm", "theta_mean"]},
    "theory": {"kinds": ["averaged"]},
    "sweep": {"lr": [0.05, 0.1]},
}


class Stop(Exception):
    """Ends a launch in the middle."""


def _stopped(path: Any, monkeypatch: Any, design: Any, updates: Any) -> None:
    """A launch that dies after so many updates, its checkpoint left at `path`."""
    real, runs = checkpoint.Checkpoint.save, _runs(monkeypatch)

    def save(self: Any, *state: Any) -> None:
        real(self, *state)
        if runs[-1].updates >= updates:
            raise Stop

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save)
    with pytest.raises(Stop):
        launch.work(design.points, 1, launch.Resume(path, 0.0))
    monkeypatch.undo()
    assert path.exists()


def _runs(monkeypatch: Any) -> Any:
    """The runs that began from now on."""
    found, real = [], run.Run._restored

    def restored(self: Any) -> Any:
        found.append(self)
        return real(self)

    monkeypatch.setattr(run.Run, "_restored", restored)
    return found


def _restored(monkeypatch: Any) -> Any:
    """The updates that were done when each run began."""
    found, real = [], run.Run._restored

    def restored(self: Any) -> Any:
        where = real(self)
        found.append(self.updates)
        return where

    monkeypatch.setattr(run.Run, "_restored", restored)
    return found


def test_a_launch_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = scale.design(TABLES)
    wanted, path = launch.work(design.points, 1), tmp_path / "000000"
    _stopped(path, monkeypatch, design, updates=500)
    begun = _restored(monkeypatch)
    found = launch.work(design.points, 1, launch.Resume(path, 0.0))
    assert begun == [528]  # of 24 members · 40 steps, at a record step
    assert not list(tmp_path.iterdir())
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_the_checkpoint_of_another_sweep_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design, other = scale.design(TABLES), scale.design(TABLES | {"sweep": {"lr": [0.05, 0.2]}})
    _stopped(tmp_path / "000000", monkeypatch, other, updates=500)
    begun = _restored(monkeypatch)
    found = launch.work(design.points, 1, launch.Resume(tmp_path / "000000", 0.0))
    assert begun == [0]
    np.testing.assert_array_equal(found["risk_mean"], launch.work(design.points, 1)["risk_mean"])
    assert not list(tmp_path.iterdir())


def test_a_worker_that_was_thought_dead_keeps_its_checkpoint_and_another_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design, path = scale.design(TABLES), tmp_path / "000000"
    _stopped(path, monkeypatch, design, updates=500)
    wanted = launch.work(design.points, 1)
    with checkpoint.Checkpoint(path, checkpoint.read(path)[0]["identity"], resume=True, seconds=0.0):
        found = launch.work(design.points, 1, launch.Resume(path, 0.0))
        assert path.exists()
    np.testing.assert_array_equal(found["risk_mean"], wanted["risk_mean"])


def test_where_the_folder_is_not_seen_launches_run_without_checkpoints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    design, path = scale.design(TABLES), tmp_path / "elsewhere" / "000000"
    for _ in range(2):
        found = launch.work(design.points, 1, launch.Resume(path, 0.0))
    np.testing.assert_array_equal(found["risk_mean"], launch.work(design.points, 1)["risk_mean"])
    assert not list(tmp_path.iterdir())
    assert [record.message for record in caplog.records] == [
        f"{path.parent} cannot be written to from here: launches run without checkpoints"
    ]


@pytest.mark.slow
def test_a_sweep_killed_inside_a_launch_goes_on_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, out = kills.study(tmp_path, launches=1, steps=100_000), tmp_path / "out"
    process = subprocess.Popen([*command, out])
    held = out / "checkpoints" / "000000"
    end = time.monotonic() + 120
    while not held.with_name("000000.previous").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((out / "launches").iterdir())
    begun = _restored(monkeypatch)
    design = scale.read(tmp_path / "study.toml")
    found = scale.sweep(design, out, resume=True, threads=1)
    assert len(begun) == 1
    assert begun[0] > 0
    assert not (out / "checkpoints").exists()
    xr.testing.assert_identical(found, scale.sweep(design, tmp_path / "whole", threads=1))


@pytest.mark.slow
def test_killed_at_random_moments_a_sweep_ends_with_the_same_values(tmp_path: Path) -> None:
    """Ten kills; `python tests/oracles/kills.py` makes a hundred."""
    command = kills.study(tmp_path, launches=8, steps=15_000)
    hit = kills.kill(command, tmp_path / "killed", 10, 0, working=0.5)
    assert hit.total() == 10
    assert sum(count for what, count in hit.items() if "launch" in what) >= 5, hit  # most hit work
    whole = scale.sweep(scale.read(tmp_path / "study.toml"), tmp_path / "whole", threads=1)
    xr.testing.assert_identical(scale.load(tmp_path / "killed"), whole)
