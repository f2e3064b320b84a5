"""A sweep on Dask whose worker, and then whose scheduler, is killed ends with the values of one left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import xarray as xr

from simdrop import scale

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


def _dask(stack, folder, *arguments):
    """A process of Dask in a session of its own, so that it can be killed with its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"], cwd=folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(_kill, process)
    return process


def _kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _launches(out):
    return len([path for path in (out / "launches").glob("*") if path.name.isdigit()])


def _until(out, process, count):
    """Wait until so many launches are done; the sweep must still be going."""
    end = time.monotonic() + PATIENCE
    while _launches(out) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_and_a_scheduler_are_killed(tmp_path):
    pytest.importorskip("distributed")
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(FILE)
    wanted = scale.sweep(scale.read(file), tmp_path / "alone", threads=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "simdrop", "sweep", file, "--out", out, "--scheduler", address, "--quiet"]
    with ExitStack() as stack:

        def cluster():
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


def _kill_one(process):
    if process.poll() is None:
        process.kill()
        process.wait()
