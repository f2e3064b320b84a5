"""What users have on disk stays, and what was computed is kept: folders of results, signals, exceptions, full disks."""

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

import simdrop
from simdrop import cli, scale
from simdrop.errors import DivergenceWarning, InvalidInput, Terminated
from simdrop.output.folder import MARK, Folder
from simdrop.study.convergence.heatmap import heat_map
from simdrop.study.convergence.ladder import Order, order
from simdrop.study.throughput.measure import benchmark

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
THETA0 = PROBLEM.init(seed=3)
COMPARE = ["compare", "--data", "sin", "--members", "12", "--steps", "20", "--width", "5", "--record", "4",
           "--backend", "numpy", "--quiet"]  # fmt: skip
ORDER = ["order", "--members", "400", "--paths", "3", "--kinds", "averaged", "--lrs", "0.2", "--lrs", "0.1",
         "--lrs", "0.05", "--backend", "numpy", "--quiet"]  # fmt: skip
SWEEP = """
[problem]
data = "sin"
width = 4
[simulate]
steps = {steps}
members = 20
backend = "numpy"
[sweep]
lr = [0.01, 0.02]
keep_prob = [0.5, 0.9]
"""


def run(*arguments: Any) -> Any:
    return cli.run([str(argument) for argument in arguments])


def simulate(**changes: Any) -> Any:
    given = {"lr": 0.05, "steps": 200, "members": 6, "record": 5, "backend": "numpy"}
    return simdrop.simulate(PROBLEM, THETA0, **(given | changes))


def sme(**changes: Any) -> Any:
    given = {"lr": 0.05, "times": [0.0, 0.1, 0.2], "members": 6, "backend": "numpy"}
    return simdrop.sme(PROBLEM, THETA0, **(given | changes))


def study(folder: Path, steps: int = 20) -> Path:
    file = folder / "study.toml"
    file.write_text(SWEEP.format(steps=steps))
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- folders -----------------------------------------------------------------------------------------------------------


def test_settings_and_a_figure_of_the_users_own_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.toml").write_text("seed = 1\n")
    (tmp_path / "figure.png").write_bytes(b"mine")
    before = contents(tmp_path)
    for more in ([], ["--overwrite"]):
        assert run(*COMPARE, "--config", tmp_path / "settings.toml", "--out", tmp_path, *more) == 2
        assert "holds settings.toml, figure.png, not written by simdrop" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_sweep_does_not_erase_another_result_nor_what_the_user_put_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "u", study(tmp_path)
    assert run(*COMPARE, "--out", out) == 0
    (out / "results.zarr" / "mine.txt").write_text("mine")
    before = contents(out)
    assert run("sweep", file, "--out", out, "--quiet") == 2
    assert "holds another result" in capsys.readouterr().err
    assert run("sweep", file, "--out", out, "--quiet", "--resume") == 2
    assert run(*COMPARE, "--out", out, "--overwrite") == 2
    assert "holds results.zarr, not written by simdrop or changed since" in capsys.readouterr().err
    assert contents(out) == before
    (out / "results.zarr" / "mine.txt").unlink()
    (out / "notes.txt").write_text("mine")
    assert run(*COMPARE, "--out", out, "--overwrite") == 0
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("inside", [".", "deeper"])
def test_a_zarr_store_takes_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: Any) -> None:
    store = tmp_path / "runs.zarr"
    xr.Dataset({"mine": ("x", X)}).to_zarr(store, consolidated=False)
    before = contents(tmp_path)
    assert run(*COMPARE, "--out", store / inside, "--overwrite") == 2
    assert "a Zarr store: name another folder" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="a Zarr store"):
        simulate(out=store / inside)
    assert contents(tmp_path) == before


def test_no_command_overwrites_a_sweep_and_going_on_spares_what_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "map", study(tmp_path)
    assert run("sweep", file, "--out", out, "--quiet") == 0
    assert run(*COMPARE, "--out", out, "--overwrite") == 2
    assert "holds a sweep" in capsys.readouterr().err
    with pytest.raises(InvalidInput, match="holds a sweep"):
        simulate(out=out, overwrite=True)
    (out / "results.zarr" / "notes").mkdir()
    (out / "results.zarr" / "notes" / "mine.txt").write_text("mine")
    assert run("sweep", file, "--out", out, "--quiet", "--resume") == 2
    assert "mine.txt" in capsys.readouterr().err
    assert (out / "results.zarr" / "notes" / "mine.txt").read_text() == "mine"
    wanted = tmp_path / "results.zarr"
    wanted.mkdir()
    (wanted / "mine.txt").write_text("mine")
    assert run("sweep", file, "--out", tmp_path, "--quiet") == 2
    assert (wanted / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("call", [simulate, sme])
def test_a_second_result_needs_overwrite(tmp_path: Path, call: Any) -> None:
    first = call(out=tmp_path / "a")
    with pytest.raises(InvalidInput, match=r"holds another result \(results.zarr\).*overwrite=True"):
        call(out=tmp_path / "a", seed=1)
    assert xr.open_zarr(tmp_path / "a" / "results.zarr").load().identical(first)
    second = call(out=tmp_path / "a", seed=1, overwrite=True)
    assert xr.open_zarr(tmp_path / "a" / "results.zarr").load().identical(second)
    with pytest.raises(InvalidInput, match="overwrite must be True or False, got 'no'"):
        call(out=tmp_path / "a", overwrite="no")


def test_results_without_a_mark_are_the_users(tmp_path: Path) -> None:
    simulate(out=tmp_path)
    (tmp_path / MARK).unlink()
    before = contents(tmp_path)
    with pytest.raises(InvalidInput, match=r"holds results.zarr, not written by simdrop"):
        simulate(out=tmp_path, overwrite=True)
    assert contents(tmp_path) == before


MARKED = '{"format": 1, "kind": "compare", "run": "", "writing": "notes.txt", "files": {}}'


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "\x00", '{"format": 1, "files": 3}', MARKED, MARKED.replace("{}", '{"../a": ""}')]
)
def test_a_mark_that_is_not_simdrops_is_a_file_of_the_users(tmp_path: Path, text: Any) -> None:
    (tmp_path / MARK).write_text(text)
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InvalidInput, match=r"holds simdrop.json, not written by simdrop"):
        simulate(out=tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    simulate(out=elsewhere)
    simulate(out=tmp_path / "a")
    before = contents(elsewhere)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.zarr").symlink_to(elsewhere / "results.zarr")
    with pytest.raises(InvalidInput, match=r"holds results.zarr"):
        simulate(out=tmp_path / "b", overwrite=True)
    assert contents(elsewhere) == before
    (tmp_path / "c").symlink_to(tmp_path / "missing")
    with pytest.raises(InvalidInput, match="out"):
        simulate(out=tmp_path / "c")


def _never(stage: Any, done: Any, total: Any) -> None:
    pytest.fail("work began")


@pytest.mark.parametrize("call", [simulate, sme])
@pytest.mark.parametrize(("place", "message"), [
    ("", "out must name a file or folder"), (" ", "out must name"), (5, "out must name"), (True, "out must name"),
    ("file", "is a file: name a folder"), ("file/below", "cannot write to"), ("a\0b", "out must name"),
])  # fmt: skip
def test_a_folder_that_cannot_be_is_found_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, place: Any, message: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match=message):
        call(out=place, progress=_never)
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("command", [COMPARE, ORDER, ["bench", "--quiet"], ["reproduce", "sme", "--quiet"]])
def test_no_command_writes_to_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*command, "--out", "") == 2
    told = capsys.readouterr().err
    assert "out must name a file or folder, got ''" in told
    assert told.count("\n") == 1
    assert run("sweep", study(tmp_path), "--out", "") == 2
    assert os.listdir(tmp_path) == ["study.toml"]


def test_names_with_spaces_and_accents_and_parents_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    simulate(out=Path("mit leerzeichen ü") / "tiefer")
    assert (tmp_path / "mit leerzeichen ü" / "tiefer" / "results.zarr").is_dir()
    (tmp_path / "data.csv").write_text("mine")
    simulate(out=".")
    assert (tmp_path / "data.csv").read_text() == "mine"


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Folder(tmp_path / "a", "compare"):
        with pytest.raises(InvalidInput, match="is in use: another process writes to it"):
            simulate(out=tmp_path / "a", progress=_never)
        assert run(*COMPARE, "--out", tmp_path / "a") == 2
        assert run("sweep", study(tmp_path), "--out", tmp_path / "a") == 2
    assert not (tmp_path / "a").exists()  # nothing was written


def test_a_comparison_completes_the_folder_that_has_its_runs(tmp_path: Path) -> None:
    found = simdrop.compare(PROBLEM, THETA0, lr=0.05, steps=20, members=12, backend="numpy", out=tmp_path)
    found.save(tmp_path)
    found.save(tmp_path)
    assert {"summary.json", "results.zarr", "flows.zarr", "distances.zarr"} <= set(os.listdir(tmp_path))
    other = simdrop.compare(PROBLEM, THETA0, lr=0.05, steps=20, members=12, backend="numpy", seed=1)
    with pytest.raises(InvalidInput, match="holds another result"):
        other.save(tmp_path)
    other.save(tmp_path, overwrite=True)


def test_a_file_that_appears_during_the_run_stays_and_the_data_are_with_the_error(tmp_path: Path) -> None:
    mine = tmp_path / "a" / "results.zarr"

    def progress(stage: Any, done: Any, total: Any) -> None:
        if not mine.exists():
            mine.write_text("mine")

    with pytest.raises(FileExistsError) as raised:
        simulate(out=tmp_path / "a", progress=progress)
    assert mine.read_text() == "mine"
    assert raised.value.partial.identical(simulate().assign_attrs(raised.value.partial.attrs))


def test_what_a_process_that_died_left_unfinished_goes(tmp_path: Path) -> None:
    simulate(out=tmp_path)
    mark = json.loads((tmp_path / MARK).read_text())
    (tmp_path / MARK).write_text(json.dumps(mark | {"writing": ".new-1234-results.zarr"}))
    (tmp_path / ".new-1234-results.zarr").mkdir()
    (tmp_path / ".new-mine").write_text("mine")
    simulate(out=tmp_path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == [".new-mine", "results.zarr", MARK]


def test_a_checkpoint_is_no_file_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    for resume in (False, True):
        with pytest.raises(InvalidInput, match="is no checkpoint of simdrop: name another file"):
            simulate(checkpoint=path, resume=resume, checkpoint_seconds=0, progress=_never)
    assert path.read_text() == "a,b\n1,2\n"
    with pytest.raises(InvalidInput, match="checkpoint must name"):
        simulate(checkpoint="")
    with pytest.raises(InvalidInput, match="is no checkpoint"):
        simulate(checkpoint=tmp_path)


# -- what stops a run --------------------------------------------------------------------------------------------------


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
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
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
    summary = json.loads((out / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert len(summary["parts"]) == 2
    for name in summary["parts"]:
        assert xr.open_zarr(out / name)["risk"].notnull().any()


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&- <&-", "| true", "2>&1 | true"])
def test_closed_streams_lose_no_results(tmp_path: Path, closed: Any) -> None:
    out = tmp_path / "out"
    arguments = " ".join([*COMPARE[:-1], "--lr", "0.05", "--out", str(out)])
    subprocess.run(f"{sys.executable} -m simdrop {arguments} {closed}", shell=True, check=False, timeout=120)
    assert json.loads((out / "summary.json").read_text())["simulation"]["members"] == 12
    assert (out / "figure.png").stat().st_size > 1000


# -- show --------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="swept")
def _swept(tmp_path: Path) -> Any:
    assert run("sweep", study(tmp_path), "--out", tmp_path / "map", "--quiet") == 0
    return tmp_path / "map"


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet"])
def test_exports_keep_attributes_and_draw_nothing(
    tmp_path: Path, swept: Any, capsys: pytest.CaptureFixture[str], suffix: Any
) -> None:
    target = tmp_path / f"all{suffix}"
    assert run("show", swept, "--export", target) == 0
    assert not (swept / "figure.png").exists()
    held = scale.load(swept).attrs
    if suffix == ".parquet":
        import pandas as pd

        found = pd.read_parquet(target).attrs
    else:
        found = xr.open_dataset(target, **({"engine": "h5netcdf"} if suffix == ".nc" else {})).attrs
    assert set(found) == set(held)
    sweep = found["sweep"] if isinstance(found["sweep"], dict) else json.loads(found["sweep"])
    assert sweep == held["sweep"]
    before = contents(tmp_path)
    assert run("show", swept, "--export", target) == 2
    assert "exists: name another place" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert run("show", swept, "--export", target, "--overwrite") == (2 if suffix == ".zarr" else 0)


def test_show_replaces_its_own_figure_alone(swept: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", swept) == 0
    first = (swept / "figure.png").read_bytes()
    assert run("show", swept, "--variable", "diverged") == 0
    assert (swept / "figure.png").read_bytes() != first
    (swept / "figure.png").write_bytes(b"mine")
    assert run("show", swept) == 2
    assert "figure.png' was not written by simdrop, or changed since" in capsys.readouterr().err
    assert run("show", swept, "--figure", swept / "figure.png") == 2
    assert run("show", swept, "--export", swept / "all.nc") == 0
    assert (swept / "figure.png").read_bytes() == b"mine"
    for wrong in (["--export", "a.xyz"], ["--export", ""], ["--figure", "a"], ["--export", swept]):
        capsys.readouterr()
        assert run("show", swept, *wrong) == 2
        assert capsys.readouterr().out == ""


def test_show_says_what_a_folder_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(out=tmp_path / "a")
    assert run("show", tmp_path / "a") == 2
    assert "no sweep at" in (told := capsys.readouterr().err)
    assert "it holds results of simdrop.simulate, results.zarr" in told
    assert run("show", tmp_path / "none") == 2
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "null", "", "3", '"a"', "\x00\xff"])
def test_a_damaged_sweep_json_is_one_line_or_written_anew(
    swept: Any, capsys: pytest.CaptureFixture[str], text: Any
) -> None:
    wanted = scale.load(swept)
    (swept / "sweep.json").write_text(text)
    assert run("sweep", study(swept.parent), "--out", swept, "--quiet") == 2
    assert "--resume continues it" in capsys.readouterr().err
    assert run("show", swept) == 0
    assert run("sweep", study(swept.parent), "--out", swept, "--quiet", "--resume") == 0
    assert scale.load(swept).identical(wanted)


@pytest.mark.parametrize("text", ["[]", "null", "", "{}", "3"])
def test_a_damaged_store_is_one_line(swept: Any, capsys: pytest.CaptureFixture[str], text: Any) -> None:
    for path in (swept / "results.zarr").rglob("zarr.json"):
        path.write_text(text)
    assert run("show", swept) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--resume writes it again" in told
    assert run("sweep", study(swept.parent), "--out", swept, "--quiet", "--resume") == 0


def test_stores_open_without_a_warning(tmp_path: Path) -> None:
    """Warnings are errors here."""
    simulate(out=tmp_path / "a", keep_theta=True, grid=X)
    sme(out=tmp_path / "b")
    assert run(*COMPARE, "--out", tmp_path / "c") == 0
    assert run(*ORDER, "--out", tmp_path / "d") == 0
    stores = sorted(tmp_path.glob("?/*.zarr"))
    assert len(stores) == 6
    for store in stores:
        assert xr.open_zarr(store).load().identical(xr.open_dataset(store).load())


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
    elif what == "benchmark":
        assert partial.summary["rows"]
    else:
        assert (partial["diverged"].values >= 0).sum() == 2
