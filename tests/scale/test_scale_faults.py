"""A sweep on Dask whose worker, and then whose scheduler, is killed ends with the values of one left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from simdrop import scale
from simdrop.errors import InvalidInput

FILE = """
[problem]
data = "sin"
[simulate]
steps = 800
members = 100
backend = "numpy"
record = 4
[sweep]
width = [4, 5, 6, 7, 8, 9]
seed = [0, 1]
lr = [0.01, 0.02]
"""
PATIENCE = 120.0


def _dask(stack: Any, folder: Any, *arguments: Any) -> Any:
    """A process of Dask in a session of its own, so that it can be killed with its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"], cwd=folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(_kill, process)
    return process


def _kill(process: Any) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _launches(out: Any) -> Any:
    return len([path for path in (out / "launches").glob("*") if path.name.isdigit()])


def _until(out: Any, process: Any, count: Any) -> None:
    """Wait until so many launches are done; the sweep must still be going."""
    end = time.monotonic() + PATIENCE
    while _launches(out) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_and_a_scheduler_are_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(FILE)
    wanted = scale.sweep(scale.read(file), tmp_path / "alone", threads=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    command: list[Any] = [
        sys.executable,
        "-m",
        "simdrop",
        "sweep",
        file,
        "--out",
        out,
        "--scheduler",
        address,
        "--quiet",
    ]
    with ExitStack() as stack:

        def cluster() -> Any:
            scheduler = _dask(stack, tmp_path, "scheduler", "--host", "127.0.0.1", "--port", port)
            return [scheduler, *(_dask(stack, tmp_path, "worker", address, "--nthreads", "1") for _ in range(2))]

        scheduler, worker, other = cluster()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        stack.callback(_kill_one, process)
        _until(out, process, 1)
        _kill(worker)
        _until(out, process, 4)
        for dead in (scheduler, other):
            _kill(dead)
        told = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 1
        assert "the scheduler was lost; what is done is kept: --resume continues" in told
        kept = _launches(out)
        assert 4 <= kept < 12
        cluster()
        subprocess.run([*command, "--resume"], check=True, timeout=PATIENCE)
    xr.testing.assert_identical(scale.load(out), wanted)


@pytest.mark.slow
def test_workers_that_come_later_are_used(tmp_path: Path) -> None:
    """No more launches than for the workers that are there wait at the scheduler, and no fewer."""
    distributed = pytest.importorskip("distributed")
    file, waiting = tmp_path / "study.toml", []
    file.write_text(FILE)
    local = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with local as cluster, distributed.Client(cluster) as client:

        def progress(stage: Any, done: Any, total: Any) -> None:
            if done == 1:
                cluster.scale(3)
                client.wait_for_workers(3)
            waiting.append(len(cluster.scheduler.tasks))

        found = scale.sweep(scale.read(file), tmp_path / "out", scheduler=cluster.scheduler_address, progress=progress)
    assert max(waiting[:2]) <= 3  # of one worker: two, and one that was just done
    assert 5 <= max(waiting[2:]) <= 7
    xr.testing.assert_identical(found, scale.sweep(scale.read(file), tmp_path / "alone", threads=1))


@pytest.mark.slow
def test_an_error_of_a_worker_is_told_as_it_is(tmp_path: Path) -> None:
    """Not taken for that of a lost scheduler: the data are gone when the worker looks for them."""
    pytest.importorskip("distributed")
    data = tmp_path / "data.csv"
    data.write_text("x,y\n0,1\n1,2\n2,0\n")
    design = scale.design({"problem": {"data": str(data), "target": ["y"]}, "sweep": {"lr": [0.1], "width": [3, 4]}})
    with pytest.raises(InvalidInput, match=r"data.csv"):
        scale.sweep(design, tmp_path / "out", workers=1, progress=lambda stage, done, total: data.unlink())


def _kill_one(process: Any) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
