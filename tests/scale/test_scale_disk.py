"""Disks that fill, folders that vanish, clocks that jump, bytes that rot: sweeps end as those left alone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from simdrop import scale
from simdrop.cli import run
from simdrop.errors import InvalidInput
from simdrop.scale import run as run_of_sweeps

FILE = """
[problem]
data = "sin"
[simulate]
steps = 30
members = 24
record = 11
dtype = "float64"
backend = "numpy"
keep = ["theta_mean"]
[sweep]
width = [4, 8, 16, 32, 64]
lr = [0.05, 0.1]
"""
#: works once, so that compiled code is there, and then under a limit on the size of every file it writes
LIMITED = """
import resource, sys
from simdrop import scale
design = scale.read(sys.argv[1])
scale.sweep(design, sys.argv[2] + ".before", threads=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, resource.RLIM_INFINITY))
scale.sweep(design, sys.argv[2], threads=1)
"""
#: a disk of its own: full, made larger, gone on with, and copied out
TMPFS = """
set -u
mount -t tmpfs -o size=128k tmpfs "$DISK" || exit 77
"$PYTHON" -m simdrop sweep "$FILE" --out "$DISK/out" --quiet && exit 78
mount -o remount,size=64m "$DISK" || exit 77
ls "$DISK/out/launches"
"$PYTHON" -m simdrop sweep "$FILE" --out "$DISK/out" --quiet --resume || exit 79
cp -r "$DISK/out" "$KEPT"
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Any:
    path = tmp_path / "study.toml"
    path.write_text(FILE)
    return path


@pytest.fixture(name="wanted")
def _wanted(file: Any) -> Any:
    return scale.sweep(scale.read(file), file.with_name("wanted"), threads=1)


def _records(out: Any) -> Any:
    return sorted(path.name for path in (out / "launches").iterdir())


def test_files_that_may_not_grow(tmp_path: Path, file: Any, wanted: Any) -> None:
    """The system refuses a write in the middle (EFBIG): what was recorded stays, and the rest is done later."""
    out = tmp_path / "out"
    died = subprocess.run([sys.executable, "-c", LIMITED, file, out], capture_output=True, text=True, check=False)
    assert "File too large" in died.stderr
    kept = _records(out)
    assert 1 <= len(kept) < 5
    assert not any(name.startswith(".") for name in kept)
    before = [(out / "launches" / name).read_bytes() for name in kept]
    xr.testing.assert_identical(scale.sweep(scale.read(file), out, resume=True, threads=1), wanted)
    assert [(out / "launches" / name).read_bytes() for name in kept] == before


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path, file: Any, wanted: Any) -> None:
    """A file system of 128 KiB, in a namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and leave to use it")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    known = {"DISK": disk, "KEPT": kept, "FILE": file, "PYTHON": sys.executable}
    ran = subprocess.run(
        [unshare, "-rm", "sh", "-c", TMPFS], env=os.environ | {k: str(v) for k, v in known.items()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode == 77:
        pytest.skip(f"no file system can be mounted here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert 1 <= len(ran.stdout.split()) < 5  # launches that were recorded when the disk was full
    xr.testing.assert_identical(scale.load(kept), wanted)


def test_a_folder_that_vanishes(
    tmp_path: Path, file: Any, wanted: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep whose folder goes ends with one line; begun again it ends with the same values."""
    out, real = tmp_path / "out", run_of_sweeps.work

    def work(*arguments: Any) -> Any:
        if len(_records(out)) == 2:
            shutil.rmtree(out)
        return real(*arguments)

    monkeypatch.setattr(run_of_sweeps, "work", work)
    assert run(["sweep", str(file), "--out", str(out), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert "No such file" in told
    assert "Traceback" not in told
    monkeypatch.undo()
    xr.testing.assert_identical(scale.sweep(scale.read(file), out, resume=True, threads=1), wanted)


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs a folder in which not even root may write")
def test_a_folder_in_which_nobody_may_write(file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", str(file), "--out", "/sys/kernel/sweep", "--quiet"]) == 2
    assert "cannot write to" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="no sweep at"):
        scale.load("/sys/kernel/sweep")


def test_clocks_that_jump(tmp_path: Path, file: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock goes back and forth by years, and so do the times of the files; nothing looks at them."""
    chance, out = random.Random(0), tmp_path / "out"
    monkeypatch.setattr(time, "time", lambda: chance.uniform(0, 4e9))
    design = scale.read(file)

    class Stop(Exception):
        pass

    def progress(stage: Any, done: Any, total: Any) -> None:
        for path in out.rglob("*"):
            if path.is_file():
                os.utime(path, (chance.uniform(0, 4e9),) * 2)
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        scale.sweep(design, out, threads=1, progress=progress, checkpoint_seconds=0.0)
    begun = []
    found = scale.sweep(design, out, resume=True, threads=1, progress=lambda stage, done, total: begun.append(done))
    assert begun[0] == 3
    xr.testing.assert_identical(found, wanted)


def test_every_flipped_bit_is_found(tmp_path: Path, file: Any, wanted: Any) -> None:
    """One bit in a chunk: reading says so, going on writes it again; one in a launch's record: it is trained again."""
    out, chance = tmp_path / "wanted", random.Random(1)
    chunks = [path for path in (out / "results.zarr").glob("[rtd]*/c/**/*") if path.is_file()]
    assert len(chunks) >= 4
    for path in chunks:
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="--resume writes it again"):
            scale.load(out)
        xr.testing.assert_identical(scale.sweep(scale.read(file), out, resume=True, threads=1), wanted)
    for path in sorted((out / "launches").iterdir()):
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    begun = []
    found = scale.sweep(
        scale.read(file), out, resume=True, threads=1, progress=lambda stage, done, total: begun.append(done)
    )
    assert begun[0] == 0
    xr.testing.assert_identical(found, wanted)
