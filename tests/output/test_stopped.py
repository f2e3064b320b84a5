"""What was computed is kept: signals, exceptions of callbacks, full disks, closed streams."""

from __future__ import annotations

import errno
import json
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
from oracles.summary_schema import read_valid
from output.small import COMPARE, ORDER, PROBLEM, X, run, simulate, sme

import simdrop
from simdrop import scale
from simdrop.errors import DivergenceWarning, InvalidInput, Terminated
from simdrop.output.folder import MARK
from simdrop.study.convergence.heatmap import heat_map
from simdrop.study.convergence.ladder import Order, order
from simdrop.study.throughput.measure import benchmark


class Mine(Exception):
    """A user's own."""


@pytest.mark.parametrize("call", [simulate, sme])
@pytest.mark.parametrize("error", [Mine, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_exception_from_progress_keeps_what_was_recorded(tmp_path: Path, call: Any, error: Any) -> None:
    def progress(stage: Any, done: Any, total: Any) -> None:
        if done >= total / 2:
            raise error("mine")

    with pytest.raises(error, match="mine") as raised:
        call(out=tmp_path, progress=progress)
    partial = raised.value.partial
    assert np.isfinite(partial["risk_mean"].values[0])
    assert np.isnan(partial["risk_mean"].values[-1])
    assert partial.attrs["interrupted"] == 1
    assert xr.open_zarr(tmp_path / "results.zarr").load().identical(partial)


def test_an_exception_from_progress_in_a_study(tmp_path: Path) -> None:
    def progress(stage: Any, done: Any, total: Any) -> None:
        if stage == "flows":
            raise Mine

    with pytest.raises(Mine) as raised:
        simdrop.compare(PROBLEM, lr=0.05, steps=20, members=12, backend="numpy", progress=progress, out=tmp_path)
    assert raised.value.partial["risk_mean"].notnull().all()
    assert (tmp_path / "results.zarr").is_dir()

    def stop(stage: Any, done: Any, total: Any) -> None:
        if done == 1:
            raise Mine

    tables = {"problem": {"data": "sin"}, "simulate": {"steps": 20, "members": 20}, "sweep": {"width": [4, 5]}}
    design = scale.design(tables)
    with pytest.raises(Mine) as raised:
        scale.sweep(design, tmp_path / "sweep", progress=stop)
    kept = scale.load(tmp_path / "sweep")
    assert raised.value.partial.identical(kept)
    with pytest.raises(InvalidInput, match="out must name"):
        scale.sweep(design, "")
    assert np.isfinite(kept["risk_mean"].sel(width=4)).all()


def test_a_warning_that_is_an_error_has_the_data() -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, activation="quadratic", keep_prob=0.7)
    with pytest.raises(DivergenceWarning) as raised:  # warnings are errors here
        simdrop.simulate(problem, problem.init(seed=3), lr=[0.01, 30.0], steps=50, backend="numpy")
    assert raised.value.partial["risk"].notnull().any()


@pytest.mark.parametrize("call", [simulate, sme])
def test_a_full_disk_at_the_end_leaves_the_data_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", full)
    with pytest.raises(OSError, match="No space left") as raised:
        call(out=tmp_path / "a")
    assert raised.value.partial["risk_mean"].notnull().all()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_keep_what_ctrl_c_keeps(tmp_path: Path, name: Any) -> None:
    number, before = getattr(signal, name), signal.getsignal(getattr(signal, name))

    def progress(stage: Any, done: Any, total: Any) -> None:
        if done >= total / 2:
            signal.raise_signal(number)

    with pytest.raises(Terminated) as raised:
        simulate(out=tmp_path, progress=progress)
    assert raised.value.number == number
    assert isinstance(raised.value, KeyboardInterrupt)
    assert str(raised.value) == f"terminated by {name}"
    assert xr.open_zarr(tmp_path / "results.zarr").load().identical(raised.value.partial)
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def progress(stage: Any, done: Any, total: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        simulate(out=tmp_path / "a", progress=progress)
    assert not (tmp_path / "a").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_the_users_own_stay() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *told: seen.append(told))
    try:
        simulate(progress=lambda stage, done, total: signal.raise_signal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_command_that_is_ended_keeps_its_results(tmp_path: Path, name: Any, status: Any) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED, *COMPARE, "--steps", "2000000", "--record", "2000", "--out", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "moving\n"
        time.sleep(0.5)
        process.send_signal(getattr(signal, name))
        told = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert told.count("\n") == 1
    assert f"what was recorded is in {out / 'results.zarr'}" in told
    assert xr.open_zarr(out / "results.zarr").attrs["interrupted"] == 1
    assert sorted(path.name for path in out.iterdir()) == ["results.zarr", "settings.toml", MARK]


#: the command line, which says when it first calls a kernel with many steps
WATCHED = """
import sys
from simdrop.simulation import run
from simdrop.cli import main
real = run.Run._advance
def advance(self, block, done, target):
    if done > 10 and self.wanted.steps[-1] > 100 and not told:
        told.append(print("moving", flush=True))
    return real(self, block, done, target)
told, run.Run._advance = [], advance
main()
"""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Mine])
def test_order_keeps_the_learning_rates_that_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any
) -> None:
    def progress(stage: Any, done: Any, total: Any) -> None:
        if done > 20:  # 10 steps twice are those of the first learning rate
            raise error("stopped")

    with pytest.raises(error) as raised:
        order(PROBLEM, lrs=(0.2, 0.1, 0.05), members=400, paths=3, kinds=("averaged",), backend="numpy",
              progress=progress)  # fmt: skip
    found = raised.value.partial
    assert isinstance(found, Order)
    assert found.summary["interrupted"]
    assert found.summary["measured_lrs"] == [0.2]
    distance = found.errors["distance"].sel(kind="averaged", quantity="parameters")
    assert np.isfinite(distance.values).tolist() == [True, False, False]
    monkeypatch.setattr("simdrop.output.progress.Bars.__call__", lambda self, *told: progress(*told))
    assert run(*ORDER, "--out", tmp_path / "out") == (130 if error is KeyboardInterrupt else 1)
    assert "what was recorded is in" in capsys.readouterr().err
    summary = read_valid(tmp_path / "out" / "summary.json", "order")
    assert summary["interrupted"] is True
    assert {"errors.zarr", "figure.png", "settings.toml"} <= set(os.listdir(tmp_path / "out"))


def test_bench_keeps_the_points_that_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def progress(self: Any, stage: Any, done: Any, total: Any) -> None:
        if done > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("simdrop.study.throughput.measure.QUICK", {"width": (4, 8), "keep_prob": (0.5,)})
    monkeypatch.setattr("simdrop.output.progress.Bars.__call__", progress)
    assert run("bench", "--backends", "numpy", "--repeats", "2", "--threads", "1", "--out", tmp_path / "out") == 130
    assert "what was recorded is in" in capsys.readouterr().err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert [row["width"] for row in summary["rows"]] == [4, 8]


def test_reproduce_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def progress(self: Any, what: Any, done: Any, total: Any) -> None:
        trained.append(what)
        if len(set(trained)) > 1 and done > total / 2:
            raise KeyboardInterrupt

    trained: list[str] = []
    monkeypatch.setattr("simdrop.reproduce.papers.condensation.STEPS", {False: 100})
    monkeypatch.setattr("simdrop.output.progress.Bars.__call__", progress)
    assert run("reproduce", "condensation", "--seeds", "2", "--quiet", "--out", tmp_path) == 130
    assert "what was recorded is in" in capsys.readouterr().err
    out = tmp_path / "condensation"
    summary = read_valid(out / "summary.json", "reproduce")
    assert summary["interrupted"] is True
    assert len(summary["parts"]) == 2
    for name in summary["parts"]:
        assert xr.open_zarr(out / name)["risk"].notnull().any()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&- <&-", "| true", "2>&1 | true"])
def test_closed_streams_lose_no_results(tmp_path: Path, closed: Any) -> None:
    out = tmp_path / "out"
    arguments = " ".join([*COMPARE[:-1], "--lr", "0.05", "--out", str(out)])
    subprocess.run(f"{sys.executable} -m simdrop {arguments} {closed}", shell=True, check=False, timeout=120)
    assert json.loads((out / "summary.json").read_text())["simulation"]["members"] == 12
    assert (out / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("what", ["heat map", "benchmark", "sweep"])
def test_signals_keep_what_a_study_had(what: Any, name: Any, tmp_path: Path) -> None:
    """Half of four cells, of the points of a benchmark, of four launches."""

    def tell(*told: Any) -> None:
        done, total = told[-2:]
        if told[0] != "simulate" and 2 * done >= total:
            signal.raise_signal(getattr(signal, name))

    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=3, keep_prob=0.7)
    few = {"members": 8, "sme_members": 8, "groups": 4, "grid": 3, "backend": "numpy", "kinds": ["gradient"]}
    tables = {"problem": {"data": "sin", "width": 3}, "simulate": {"members": 4, "backend": "numpy"}}
    work = {
        "heat map": lambda: heat_map(problem, lrs=[0.2, 0.1], keep_probs=[0.5, 0.7], progress=tell, **few),
        "benchmark": lambda: benchmark(backends=["numpy"], repeats=1, seconds=1e-3, progress=tell),
        "sweep": lambda: scale.sweep(
            scale.design(tables | {"sweep": {"steps": [1, 2, 3, 4]}}), tmp_path / "s", progress=tell
        ),
    }
    with pytest.raises(KeyboardInterrupt) as caught:
        work[what]()
    partial = caught.value.partial
    if what == "heat map":
        assert np.isfinite(partial.errors["alive"].values).sum() == 2
        figure = partial.figure()
        assert figure.get_suptitle().endswith("empty: not measured")
        assert not figure.axes[0].patches  # a cell that was not measured has no runaway members
    elif what == "benchmark":
        assert partial.summary["rows"]
    else:
        assert (partial["diverged"].values >= 0).sum() == 2
