"""A run that was stopped anywhere, in any way, continues to the bits of one that was not."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop.errors import InvalidInput
from simdrop.output.storage import load
from simdrop.simulation import checkpoint as module
from simdrop_kernels.contract.step import BackendError

X = np.linspace(-1, 1, 6)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
KNOWN = {
    "lr": 0.05, "steps": 40, "members": 7, "seed": 3, "record": 9, "keep_theta": [0, 4], "grid": [0.0, 0.5],
    "covariance": [1, 2], "groups": 3, "block_size": 3,
}  # fmt: skip


class Stop(Exception):
    """Ends a run from its progress."""


def _stop_at(updates: Any) -> Any:
    def progress(stage: Any, done: Any, total: Any) -> None:
        if done >= updates:
            raise Stop

    return progress


def _run(path: Any = None, **changes: Any) -> Any:
    options = KNOWN | ({} if path is None else {"checkpoint": path, "checkpoint_seconds": 0.0}) | changes
    return simdrop.simulate(PROBLEM, PROBLEM.init(seed=1), **options)


def _stopped(path: Any, updates: Any, **changes: Any) -> None:
    with pytest.raises(Stop):
        _run(path, progress=_stop_at(updates), **changes)
    assert path.exists()


def _same(one: xr.Dataset, two: xr.Dataset) -> None:
    xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_continues_to_the_same_bits(tmp_path: Path, backend: Any, optimizer: Any) -> None:
    known = {"backend": backend, "optimizer": optimizer, "objective": {0: "risk", 11: "dropout"}}
    try:
        wanted = _run(**known)
    except BackendError as error:
        pytest.skip(str(error))
    path = tmp_path / "run.checkpoint"
    for updates in (30, 150, 250):  # in each of the three blocks
        changes = known | ({"resume": True} if path.exists() else {})
        _stopped(path, updates, **changes)
    found = _run(path, resume=True, **known)
    _same(found, wanted)
    assert found.attrs["updates"] == wanted.attrs["updates"]
    assert not list(tmp_path.iterdir())


def test_resume_begins_where_there_is_nothing(tmp_path: Path) -> None:
    _same(_run(tmp_path / "none", resume=True), _run())


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_torn_file_is_found_and_the_one_before_it_taken(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 200)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:-7], "flip": content, "empty": b""}[damage])
    with pytest.raises(module.Torn):
        module.read(path)
    module.read(path.with_name("run.checkpoint.previous"))
    _same(_run(path, resume=True), _run())


def test_a_torn_file_never_takes_the_place_of_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torn, resumed, and killed between the two renames of the next save: the good file must still be there."""
    path = tmp_path / "run.checkpoint"
    _stopped(path, 200)
    path.write_bytes(path.read_bytes()[:-7])
    real = type(path).replace

    def killed(self: Any, target: Any) -> Any:
        if self.name.startswith("."):
            raise Stop
        return real(self, target)

    monkeypatch.setattr(type(path), "replace", killed)
    with pytest.raises(Stop):
        _run(path, resume=True)
    monkeypatch.undo()
    module.read(path.with_name("run.checkpoint.previous"))
    _same(_run(path, resume=True), _run())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.06}, "lr was 0.05, is 0.06"),
        ({"seed": 4}, "seed was '3', is '4'"),
        ({"steps": 41, "record": [1, 5]}, "steps was 40, is 41"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"keep_theta": [0]}, "recorded"),
        ({"backend": "numba"}, "backend"),
        ({"numbers": range(7)}, "numbers"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path: Path, changes: Any, named: Any) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 100, backend="numpy" if changes.get("backend") else "auto")
    with pytest.raises(InvalidInput, match=named):
        _run(path, resume=True, **changes)
    assert path.exists()


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 100)
    monkeypatch.setattr("simdrop.provenance.__version__", "0.0.1")
    with pytest.raises(InvalidInput, match=r"simdrop_version was .*, is '0.0.1'"):
        _run(path, resume=True)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 100)
    with pytest.raises(InvalidInput, match="resume=True continues it"):
        _run(path)
    with pytest.raises(InvalidInput, match="needs a checkpoint"):
        _run(resume=True)
    with pytest.raises(InvalidInput, match="checkpoint_seconds"):
        _run(tmp_path / "other", checkpoint_seconds=-1)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.checkpoint"
    written, real = [], os.fsync

    def fsync(handle: Any) -> None:
        written.append(handle)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        _run(path)
    monkeypatch.undo()
    assert {place.name for place in tmp_path.iterdir()} == {"run.checkpoint", "run.checkpoint.previous"}
    _same(_run(path, resume=True), _run())


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    path = tmp_path / "run.checkpoint"
    _stopped(path, 200)
    _same(_run(path, resume=True), _run())


def test_a_checkpoint_waits_for_its_time(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        _run(tmp_path / "run.checkpoint", checkpoint_seconds=3600.0, progress=_stop_at(200))
    assert not list(tmp_path.iterdir())


def test_two_runs_on_one_checkpoint(tmp_path: Path) -> None:
    """The second is refused while the first lives, and goes on from its file when that is dead."""
    path = tmp_path / "run.checkpoint"
    told: list[Any] = []

    def second(stage: Any, done: Any, total: Any) -> None:
        if path.exists() and not told:
            with pytest.raises(InvalidInput, match="in use: another process") as error:
                _run(path, resume=True)
            told.append(error)

    with pytest.raises(Stop):
        _run(path, progress=lambda stage, done, total: (second(stage, done, total), _stop_at(200)(stage, done, total)))
    assert told
    _same(_run(path, resume=True), _run())


def test_what_a_killed_process_left_behind_is_cleaned_up(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 200)
    (tmp_path / ".run.checkpoint.new").write_bytes(b"torn")
    (tmp_path / ".run.checkpoint.lock").touch()
    _same(_run(path, resume=True), _run())
    assert not list(tmp_path.iterdir())


def test_norms_of_members_are_recorded_and_restored(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    _stopped(path, 150, norms=True)
    with pytest.raises(InvalidInput, match="recorded"):
        _run(path, resume=True)
    found = _run(path, resume=True, norms=True, keep_theta=[0, 4])
    wanted = _run(norms=True, keep_theta=True)
    np.testing.assert_allclose(found["norm"], np.linalg.norm(wanted["theta"], axis=-1), rtol=1e-14)
    np.testing.assert_array_equal(found["norm"], wanted["norm"])
    assert "norm" not in _run()


def test_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="checkpoint: cannot write to"):
        _run(tmp_path / "file" / "run.checkpoint")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_device_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own ENOSPC in the middle of a save: the checkpoints before it stay good."""
    path = tmp_path / "run.checkpoint"

    def progress(stage: Any, done: Any, total: Any) -> None:
        if done >= 150 and not full.exists():
            full.symlink_to("/dev/full")

    full = tmp_path / ".run.checkpoint.new"
    with pytest.raises(OSError, match="No space left"):
        _run(path, progress=progress)
    assert {place.name for place in tmp_path.iterdir()} == {"run.checkpoint", "run.checkpoint.previous"}
    _same(_run(path, resume=True), _run())


def test_numbers_of_members_choose_their_masks() -> None:
    chosen = [6, 2]
    some = _run(members=2, numbers=chosen, keep_theta=True, groups=0)
    all_ = _run(keep_theta=True, groups=0)
    np.testing.assert_array_equal(some["theta"].values, all_["theta"].values[:, chosen])
    for bad in ([1], [1.0, 2.0], [-1, 2]):
        with pytest.raises(InvalidInput, match=r"numbers must be (2 )?whole numbers from 0 to"):
            _run(members=2, numbers=bad, keep_theta=True, groups=0)


KILLED = """
import sys
import numpy as np, simdrop
from simdrop.output.storage import save
x = np.linspace(-1, 1, 6)
problem = simdrop.Problem(x, np.sin(3 * x), width=40, keep_prob=0.7)
runs = simdrop.simulate(
    problem, problem.init(seed=1), lr=0.01, steps=2000, members=60, record=200, block_size=25, backend="numpy",
    keep_theta=[3, 30], checkpoint=sys.argv[1] if len(sys.argv) > 2 else None, resume=len(sys.argv) > 2,
    checkpoint_seconds=0.0,
)
save(runs, sys.argv[-1])
"""


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """SIGKILL, again and again, until one process lives to the end."""
    script, path = tmp_path / "run.py", tmp_path / "run.checkpoint"
    script.write_text(KILLED)
    began = time.monotonic()
    subprocess.run([sys.executable, script, tmp_path / "whole.zarr"], check=True)
    whole = time.monotonic() - began
    random, kills = np.random.default_rng(0), 0
    while True:
        process = subprocess.Popen([sys.executable, script, path, tmp_path / "resumed.zarr"])
        try:
            assert process.wait(timeout=whole * random.uniform(0.3, 0.8)) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert kills < 30
    assert kills >= 1
    one, two = (load(tmp_path / f"{name}.zarr") for name in ("whole", "resumed"))
    _same(one, two)
