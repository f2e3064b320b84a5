"""What users have on disk stays: folders of results, files of their own, links, damaged marks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from output.small import COMPARE, ORDER, PROBLEM, THETA0, X, contents, run, simulate, sme, study

import simdrop
from simdrop.errors import InvalidInput
from simdrop.output.folder import MARK, Folder


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


@pytest.mark.parametrize("call", [simulate, sme])
def test_a_tilde_is_the_home_folder_and_below_a_point_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    call(out="~/runs")
    assert (tmp_path / "home" / "runs" / "results.zarr").is_dir()
    call(out="./~/runs")
    assert (tmp_path / "~" / "runs" / "results.zarr").is_dir()
    assert sorted(os.listdir(tmp_path)) == ["home", "~"]


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
