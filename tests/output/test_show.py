"""`simdrop show`: exports, figures, folders that are damaged or of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from output.small import COMPARE, ORDER, X, contents, run, simulate, sme, study

from simdrop import scale


@pytest.fixture(name="swept")
def _swept(tmp_path: Path) -> Any:
    assert run("sweep", study(tmp_path), "--out", tmp_path / "map", "--quiet") == 0
    return tmp_path / "map"


def attributes_of_csv(path: Path, held: xr.Dataset) -> dict[str, Any]:
    """The attributes above the table of a CSV file, whose rows and words are those of the sweep `held`."""
    import pandas as pd

    pd.testing.assert_frame_equal(pd.read_csv(path, comment="#"), scale.table(held), check_dtype=False)
    lines = [line[2:].split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    words = {name: text for name, text in lines if name in held.variables}
    assert words["risk_mean"] == "mean over members of: risk R_S, without dropout [y^2]"
    assert set(words) == set(held.variables)
    return {name: json.loads(text) for name, text in lines if name not in held.variables}


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet", ".csv"])
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
    elif suffix == ".csv":
        found = attributes_of_csv(target, scale.load(swept))
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
    assert run("show", tmp_path / "a", "--variable", "distance") == 2
    assert "--variable and --figure are for sweeps" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    assert run("show", tmp_path / "b") == 2
    assert "no results of simdrop at" in capsys.readouterr().err
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
