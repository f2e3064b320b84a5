"""Results on disk: what cannot be read is refused in one line that names its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import simdrop
from simdrop.errors import InvalidInput
from simdrop.output.storage import load, save


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    data = xr.Dataset({"risk": ("time", [1.0, 2.0])}, attrs={"lr": 0.1, "kinds": ["a", "b"]})
    for name in ("a.zarr", "a.nc"):
        assert load(save(data, tmp_path / name))["risk"].values.tolist() == [1.0, 2.0]


def _text(path: Any) -> None:
    path.write_text("no results")


def _empty_folder(path: Any) -> None:
    path.mkdir()


def _cut_off(path: Any) -> None:
    save(xr.Dataset({"risk": ("time", [1.0, 2.0])}), path)
    inner = path / "risk" / ".zarray" if path.is_dir() else path
    inner.write_bytes(inner.read_bytes()[:20])


@pytest.mark.parametrize("make", [None, _text, _empty_folder, _cut_off])
@pytest.mark.parametrize("name", ["runs.zarr", "runs.nc", "runs"])
def test_what_cannot_be_read_is_refused_by_its_path(name: Any, make: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    if make is _cut_off and name == "runs":
        make(tmp_path / "runs.zarr")
        (tmp_path / "runs.zarr").rename(path)
    elif make is not None:
        make(path)
    with pytest.raises(InvalidInput) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["", None, 5, b"a.zarr", "a\0.zarr", f"{'x' * 300}.nc"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidInput, match="path must name a file or folder"):
        load(path)


def test_what_is_no_dataset_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"data must be an xarray.Dataset, got \[1\]"):
        save([1], tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["storage", "noise"])
def test_modules_are_found_by_their_old_names_with_a_warning(name: Any) -> None:
    with pytest.warns(DeprecationWarning, match=rf"simdrop\.{name} is now simdrop\."):
        module = getattr(simdrop, name)
    assert hasattr(module, {"storage": "load", "noise": "Noise"}[name])
