"""Sweeps: designs, launches that change no number, stores that survive kills, torn files and full disks."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import simdrop
from simdrop import scale
from simdrop.cli import run
from simdrop.errors import InvalidInput
from simdrop.scale import launch
from simdrop.scale import run as run_of_sweeps
from simdrop.scale.store import Store
from simdrop.settings.problem import problem_of

TABLES = {
    "problem": {"data": "sin", "width": 4},
    "simulate": {"steps": 30, "members": 24, "record": 4, "dtype": "float64"},
    "theory": {"kinds": ["gradient", "averaged"]},
    "sweep": {"lr": [0.05, 0.1], "keep_prob": {"from": 0.5, "to": 0.9, "count": 3}},
}
FILE = """
[problem]
data = "sin"
width = 4
[simulate]
steps = 2000
members = 60
backend = "numpy"
[sweep]
design = "grid"
width = [4, 5, 6, 7, 8]
lr = [0.01, 0.02]
"""


def _design(**changes: Any) -> Any:
    return scale.design(TABLES | changes)


def test_a_grid_has_all_combinations_the_last_field_fastest() -> None:
    found = _design()
    assert found.dims == ("lr", "keep_prob")
    assert found.shape == (2, 3)
    assert [(p.lr, p.keep_prob) for p in found.points] == [(lr, p) for lr in (0.05, 0.1) for p in (0.5, 0.7, 0.9)]
    assert {p.steps for p in found.points} == {30}


def test_lists_go_side_by_side_and_draws_stay_within_their_spans() -> None:
    pairs = _design(sweep={"design": "list", "lr": [0.1, 0.2], "init_seed": [5, 7]})
    assert [(p.lr, p.init_seed) for p in pairs.points] == [(0.1, 5), (0.2, 7)]
    spans = {"lr": {"low": 1e-3, "high": 1e-1, "spacing": "log"}, "mask": ["step", "sample"]}
    drawn = _design(sweep={"design": "random", "count": 200, "draw_seed": 1, **spans})
    assert drawn.points == _design(sweep={"design": "random", "count": 200, "draw_seed": 1, **spans}).points
    lr = np.log10([p.lr for p in drawn.points])
    assert lr.min() > -3
    assert lr.max() < -1
    # the mean of 200 uniform draws: 4.5 standard errors are 0.18, wrong by chance once in 10^5 seeds
    assert abs(lr.mean() + 2) < 0.18
    assert {p.mask for p in drawn.points} == {"step", "sample"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": {"widht": 4}}, "did you mean 'width'"),
        ({"simulation": {}}, "did you mean 'simulate'"),
        ({"simulate": {"width": 4}}, "key of"),
        ({"sweep": {"design": "random", "count": 2}}, "names no field to draw"),
        ({"sweep": {"width": [3]}}, "fixed and swept"),
        ({"sweep": {"lrs": [0.1]}}, "did you mean 'lr'"),
        ({"sweep": {"lr": []}}, "empty"),
        ({"sweep": {"lr": ["a"]}}, "must be a number"),
        ({"sweep": {"lr": 0.1}}, "must be a list"),
        ({"sweep": {"design": "list", "lr": [0.1], "init_seed": [1, 2]}}, "one length"),
        ({"sweep": {"lr": {"from": 0, "to": 1, "count": 3, "spacing": "log"}}}, "positive ends"),
        ({"theory": {"kinds": ["avreaged"]}}, "did you mean 'averaged'"),
        ({"simulate": {"members": 101}}, "multiple of a number"),
        ({"simulate": {"optimizer": "rmsprop", "members": 20}}, "unknown optimizer"),
        ({"sweep": {"kinds": ["averaged"]}, "theory": {}}, "cannot be swept"),
        ({"sweep": {"lr": [0.1], "draw_seed": 1}}, "count and draw_seed belong"),
        ({"sweep": {"design": "random", "lr": {"low": 0.1, "high": 1}}}, "count"),
    ],
)
def test_designs_are_refused_with_the_reason(changes: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message):
        _design(**changes)


def test_a_point_has_the_numbers_that_it_has_alone() -> None:
    found = launch.work(_design().points, threads=1)
    for k, point in enumerate(_design().points):
        problem, _ = problem_of(point)
        alone = simdrop.simulate(
            problem, problem.init(seed=0), lr=point.lr, keep_prob=point.keep_prob, steps=30, members=24, record=4,
        )  # fmt: skip
        np.testing.assert_allclose(found["risk_mean"][k], alone["risk_mean"], rtol=1e-14)
        error = alone["risk"].std("member", ddof=1) / np.sqrt(24)
        np.testing.assert_allclose(found["risk_error"][k], error, rtol=1e-12)
        end = simdrop.flow(problem, problem.init(seed=0), lr=point.lr, times=[30 * point.lr], kind="gradient")
        plain = np.linalg.norm(alone["theta_mean"].values[-1] - end["theta"].values[0])
        # the plain distance is larger by sampling noise alone
        assert abs(found["distance"][k, 0] - plain) < 3 * found["distance_error"][k, 0] + 1e-3


def test_flows_and_members_that_are_lost_do_not_stop_a_sweep(tmp_path: Path) -> None:
    problem = {"data": "sin", "width": 4, "activation": "quadratic", "output_scale": 1.0}
    simulation = {"steps": 300, "members": 20, "record": 3}
    design = _design(problem=problem, simulate=simulation, sweep={"lr": [1e-3, 3.0]})
    found = scale.sweep(design, tmp_path, threads=1)
    assert found["diverged"].values.tolist() == [0, 20]
    assert np.isfinite(found["distance"].values[0]).all()
    assert np.isnan(found["distance"].values[1]).all()
    alone = _design(problem=problem, simulate=simulation, sweep={"lr": [3.0]})
    assert scale.sweep(alone, tmp_path / "alone", threads=1)["diverged"].values.tolist() == [20]


def test_seeds_of_masks_can_be_swept(tmp_path: Path) -> None:
    found = scale.sweep(_design(sweep={"seed": [0, 1]}, theory={}), tmp_path, threads=1)
    assert found["risk_mean"].values[0, -1] != found["risk_mean"].values[1, -1]


def test_seeds_share_a_launch_and_have_the_numbers_that_they_have_alone() -> None:
    seeds = [0, 7, (1 << 32) + 1, (1 << 32) + 5]
    design = _design(sweep={"seed": seeds, "lr": [0.05, 0.1]}, theory={})
    assert launch.launches(design) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    found = [launch.work([design.points[k] for k in part], 1)["risk_mean"] for part in launch.launches(design)]
    for k, point in enumerate(design.points):
        np.testing.assert_array_equal(found[k // 4][k % 4], launch.work([point], 1)["risk_mean"][0])


def test_launches_hold_what_shares_shapes() -> None:
    many = _design(sweep={"width": [3, 4], "lr": [0.1, 0.2, 0.3]}, problem={"data": "sin"})
    assert launch.launches(many) == [[0, 1, 2], [3, 4, 5]]
    assert launch.launches(many, most=48) == [[0, 1], [2], [3, 4], [5]]
    one, two = launch.work(many.points[:3], 1), launch.work(many.points[1:2], 1)
    np.testing.assert_array_equal(one["risk_mean"][1], two["risk_mean"][0])


def test_results_have_the_swept_fields_and_can_be_read_while_they_grow(tmp_path: Path) -> None:
    design = _design(sweep={"width": [3, 4], "lr": [0.1, 0.2]}, problem={"data": "sin"})
    with Store(tmp_path, design, backends=[launch.with_backends(design.points[0]).backend], resume=False) as store:
        store.write(1, [2, 3], launch.work(design.points[2:], 1))
        growing = scale.load(tmp_path)
    assert np.isnan(growing["risk_mean"].sel(width=3)).all()
    assert np.isfinite(growing["risk_mean"].sel(width=4)).all()
    whole = scale.sweep(design, tmp_path, resume=True, threads=1)
    assert dict(whole.sizes) == {"width": 2, "lr": 2, "time": 4, "kind": 2}
    xr.testing.assert_identical(whole.sel(width=4), growing.sel(width=4))
    assert (whole["step"].values == [0, 10, 20, 30]).all()


def _numbers(tmp_path: Path, name: Any, design: Any, **options: Any) -> Any:
    return scale.sweep(design, tmp_path / name, threads=1, **options)


@pytest.mark.parametrize("damage", ["launch", "chunk", "zarr", "sweep.json", "torn sweep.json"])
def test_damage_is_found_and_redone(tmp_path: Path, damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    design = _design(sweep={"width": [3, 4, 5], "lr": [0.1, 0.2]}, problem={"data": "sin"})
    wanted = _numbers(tmp_path, "one", design)
    folder, redone = tmp_path / "one", []
    real = launch.work
    monkeypatch.setattr(
        "simdrop.scale.run.work", lambda points, *others: (redone.append(points), real(points, *others))[1]
    )
    if damage == "launch":
        path = folder / "launches" / "000001"
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "chunk":
        chunk = next(p for p in (folder / "results.zarr" / "risk_mean" / "c").rglob("*") if p.is_file())
        chunk.write_bytes(b"damaged")
    elif damage == "zarr":
        (folder / "results.zarr" / "zarr.json").unlink()
    elif damage == "torn sweep.json":
        (folder / "sweep.json").write_text("")
    else:
        (folder / "sweep.json").unlink()
    xr.testing.assert_identical(_numbers(tmp_path, "one", design, resume=True), wanted)
    assert len(redone) == (damage == "launch")


def test_another_sweep_is_refused_with_the_difference(tmp_path: Path) -> None:
    design = _design()
    _numbers(tmp_path, "one", design)
    with pytest.raises(InvalidInput, match="--resume continues it"):
        _numbers(tmp_path, "one", design)
    other = _design(simulate=TABLES["simulate"] | {"steps": 31})
    with pytest.raises(InvalidInput, match="steps was 30, is 31"):
        _numbers(tmp_path, "one", other, resume=True)
    with pytest.raises(InvalidInput, match="no sweep at"):
        scale.load(tmp_path)


def test_a_sweep_goes_on_where_its_backend_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = _design(simulate=TABLES["simulate"] | {"backend": "auto"}, theory={})
    monkeypatch.setattr(run_of_sweeps, "with_backends", lambda point: replace(point, backend="numba"))
    _numbers(tmp_path, "one", auto)
    monkeypatch.setattr(run_of_sweeps, "with_backends", lambda point: replace(point, backend="numpy"))
    with pytest.raises(InvalidInput, match=r"backends was \['numba'\], is \['numpy'\]"):
        _numbers(tmp_path, "one", auto, resume=True)
    alone = _numbers(tmp_path, "two", _design(simulate=TABLES["simulate"] | {"backend": "numpy"}, theory={}))
    xr.testing.assert_equal(_numbers(tmp_path, "three", auto), alone)
    assert launch.with_backends(auto.points[0]).backend in ("native", "numba")


@pytest.mark.parametrize("design", ["grid", "list"])
def test_the_store_opens_by_itself_with_the_swept_fields_as_coordinates(tmp_path: Path, design: Any) -> None:
    swept = {"design": design, "activation": ["tanh", "relu"], "batch_size": [2, 3], "lr": [0.05, 0.1]}
    found = _numbers(tmp_path, "one", _design(sweep=swept))
    held = xr.open_zarr(tmp_path / "one" / "results.zarr")  # warnings are errors here
    xr.testing.assert_identical(held.load(), found)
    dims = ("activation", "batch_size", "lr") if design == "grid" else ("point",)
    assert held["risk_mean"].dims == (*dims, "time")
    assert held["distance"].dims == (*dims, "kind")
    assert held["activation"].values.tolist() == ["tanh", "relu"]
    assert held["kind"].values.tolist() == ["gradient", "averaged"]
    place = {"activation": 1, "batch_size": 1, "lr": 1} if design == "grid" else {"point": 1}
    alone = _numbers(tmp_path, "alone", _design(sweep={"activation": ["relu"], "batch_size": [3], "lr": [0.1]}))
    np.testing.assert_array_equal(held["risk_mean"].isel(place), alone["risk_mean"].values[0, 0, 0])


def test_launches_of_another_sweep_are_not_taken_for_its_own(tmp_path: Path) -> None:
    other = _design(simulate=TABLES["simulate"] | {"seed": 1})
    wanted = _numbers(tmp_path, "wanted", _design())
    assert not wanted["risk_mean"].equals(_numbers(tmp_path, "one", other)["risk_mean"])
    (tmp_path / "one" / "sweep.json").unlink()
    xr.testing.assert_identical(_numbers(tmp_path, "one", _design(), resume=True), wanted)


def test_a_flow_that_fails_and_members_that_are_lost_end_no_sweep(tmp_path: Path) -> None:
    found = _numbers(tmp_path, "one", _design(sweep={"lr": [0.1, 1e30]}))
    np.testing.assert_array_equal(found["diverged"], [0, 24])
    assert np.isfinite(found["distance"].isel(lr=0)).all()
    assert np.isnan(found["distance"].isel(lr=1)).all()


def test_tables_have_a_row_for_each_point_and_time(tmp_path: Path) -> None:
    simulate = TABLES["simulate"] | {"keep": ["theta_mean"]}
    found = _numbers(tmp_path, "one", _design(simulate=simulate, sweep={"activation": ["tanh", "relu"], "lr": [0.1]}))
    simdrop.scale.table(found).to_parquet(tmp_path / "all.parquet")
    rows = pd.read_parquet(tmp_path / "all.parquet")
    assert len(rows) == 2 * 4
    assert {"activation", "lr", "time", "risk_mean", "distance_averaged", "theta_mean_11"} <= set(rows)
    last = rows[(rows["activation"] == "relu") & (rows["time"] == 3)]
    assert last["theta_mean_11"].item() == found["theta_mean"].values[1, 0, 3, 11]
    assert last["distance_averaged"].item() == found["distance"].sel(activation="relu", kind="averaged").item()


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    with Store(tmp_path, _design(), backends=[], resume=False), pytest.raises(InvalidInput, match="in use"):
        scale.sweep(_design(), tmp_path, resume=True)


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, place: Any) -> None:
    target = tmp_path / "here"
    if place == "file":
        target.write_text("")
    else:
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        target.mkdir(mode=0o500)
    with pytest.raises(InvalidInput, match="out"):
        scale.sweep(_design(), target)


@pytest.mark.parametrize("fault", ["full", "vanished"])
def test_a_write_that_fails_loses_nothing_that_was_done(
    tmp_path: Path, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = _design(sweep={"width": [3, 4, 5], "lr": [0.1, 0.2]}, problem={"data": "sin"})
    wanted = _numbers(tmp_path, "whole", design)
    written, real = [], os.fsync

    def fsync(handle: Any) -> None:
        written.append(handle)
        if len(written) == 5:  # after the two of the folder and those of the first launch
            code = errno.ENOSPC if fault == "full" else errno.ENOENT
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space|No such file"):
        _numbers(tmp_path, "one", design)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "one" / "launches").iterdir()] == ["000000"]
    xr.testing.assert_identical(_numbers(tmp_path, "one", design, resume=True), wanted)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(FILE.replace("2000", "20"))
    assert run(["sweep", str(file), "--out", str(out)]) == 2
    assert "fixed and swept" in capsys.readouterr().err
    file.write_text(FILE.replace("2000", "20").replace("width = 4\n", ""))
    assert run(["sweep", str(file), "--dry-run"]) == 0
    assert "10 points in 5 launches" in capsys.readouterr().out
    assert not out.exists()
    assert run(["sweep", str(file), "--out", str(out)]) == 0
    assert run(["sweep", str(file), "--out", str(out)]) == 2
    assert run(["sweep", str(file), "--out", str(out), "--resume", "--quiet"]) == 0
    assert run(["show", str(out)]) == 0
    capsys.readouterr()
    assert run(["show", str(out), "--export", str(tmp_path / "all.nc")]) == 0
    told = capsys.readouterr().out
    assert "10 of 10 points done; swept: width, lr" in told
    rows = [line.split() for line in told.splitlines()[1:12]]
    assert rows[0] == ["width", "lr", "step", "diverged", "risk_mean", "risk_error"]
    assert [row[:4] for row in rows[1:3]] == [["4", "0.01", "20", "0"], ["4", "0.02", "20", "0"]]
    assert float(rows[10][4]) == float(f"{scale.load(out)['risk_mean'].values[4, 1, -1]:.4g}")
    assert (out / "figure.png").stat().st_size > 1000
    held = xr.open_dataset(tmp_path / "all.nc", engine="h5netcdf").load()
    np.testing.assert_array_equal(held["risk_mean"], scale.load(out)["risk_mean"])
    assert json.loads((out / "sweep.json").read_text())["axes"]["lr"] == [0.01, 0.02]


def test_what_cannot_be_drawn_is_printed_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = {"design": "list", "activation": ["tanh", "relu"], "lr": [0.05, 0.1]}
    _numbers(tmp_path, "one", _design(sweep=swept))
    assert run(["show", str(tmp_path / "one")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert told[3].split()[:5] == ["1", "relu", "0.1", "30", "0"]
    assert run(["show", str(tmp_path / "one"), "--figure", str(tmp_path / "one.png")]) == 2
    assert "one or two swept fields" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_give_the_same_values(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    design = _design(sweep={"width": [3, 4, 5], "lr": [0.1, 0.2]}, problem={"data": "sin"})
    design = replace(design, points=tuple(replace(point, backend="numpy") for point in design.points))
    wanted = _numbers(tmp_path, "one", design)
    xr.testing.assert_identical(scale.sweep(design, tmp_path / "two", workers=2), wanted)
