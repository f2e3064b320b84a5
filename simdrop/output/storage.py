"""Datasets on disk: Zarr and NetCDF, written under another name and then moved to their place."""

from __future__ import annotations

import importlib.util
import json
import math
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks.words import check_path, shown
from ..errors import InvalidInput
from .folder import remove

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".zarr", ".nc")
#: what xarray, Zarr and HDF5 raise for what is damaged or is none of theirs
_DAMAGED = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError)


def save(data: xr.Dataset, path: str | Path) -> Path:
    """Write `data` to PATH.zarr or PATH.nc, replacing what is there; returns the path.

    An interrupted write leaves the older file as it was. NetCDF takes no attributes but numbers and texts: others are
    written as JSON. Raises InvalidInput for another suffix, or for what is no dataset.
    """
    path = check_path("path", path)
    if not hasattr(data, "data_vars"):
        raise InvalidInput(f"data must be an xarray.Dataset, got {shown(data)}")
    _check_suffix(path)
    _check_library(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        if path.suffix == ".zarr":
            # in Zarr's format 2 text and the metadata in one place are standard: nobody is warned, here or on reading
            data.drop_encoding().to_zarr(fresh.absolute(), mode="w", consolidated=True, zarr_format=2)
        else:
            _with_plain_texts(_with_plain_attributes(data.drop_encoding())).to_netcdf(
                fresh.absolute(), engine="h5netcdf"
            )
        remove(path)
        fresh.rename(path)
    finally:
        remove(fresh)
    return path


def _with_plain_texts(data: xr.Dataset) -> xr.Dataset:
    """The dataset with NumPy's texts of any length, which NetCDF does not take, as Python's: Zarr 3.1 reads such."""
    texts = [name for name, variable in data.variables.items() if variable.dtype.kind == "T"]
    return data.assign({name: data[name].astype(object) for name in texts}) if texts else data


def load(path: str | Path) -> xr.Dataset:
    """Read a dataset that `save` wrote, into memory. Raises InvalidInput where there is none."""
    import xarray as xr

    path = check_path("path", path)
    if not path.exists():
        raise InvalidInput(f"no results at {path}: there is no such file or folder")
    _check_suffix(path)
    _check_library(path)
    with damage_as_invalid(f"cannot read {path}"):
        if path.suffix == ".zarr":
            with xr.open_zarr(path.absolute(), consolidated=False, chunks=None) as data:
                return data.load()
        with xr.open_dataset(path.absolute(), engine="h5netcdf") as data:
            return data.load()


@contextmanager
def damage_as_invalid(what: str) -> Iterator[None]:
    """Raise InvalidInput, which begins with `what`, for what reading damaged files raises."""
    try:
        yield
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(f"{what}: {reason}") from None


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"results are kept as {' or '.join(SUFFIXES)}, got {path}")


def _check_library(path: Path) -> None:
    """Raise InvalidInput where what writes and reads NetCDF is not installed."""
    if path.suffix == ".nc" and importlib.util.find_spec("h5netcdf") is None:
        raise InvalidInput("NetCDF needs h5netcdf: pip install 'simdrop[netcdf]'; a path that ends in .zarr does not")


def _with_plain_attributes(data: xr.Dataset) -> xr.Dataset:
    """A copy whose attributes, of itself and of its variables, are numbers and texts."""
    plain = data.copy()
    variables: Any = plain.variables
    for one in (plain, *variables.values()):
        one.attrs = {str(name): plain_attribute(value) for name, value in one.attrs.items()}
    return plain


def plain_attribute(value: Any) -> Any:
    """An attribute as a number or a text: what is neither, or takes more than 64 bits, as JSON."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (str, float)) or (isinstance(value, int) and abs(value) < 1 << 63):
        return int(value) if isinstance(value, bool) else value
    return json.dumps(value, default=str, ensure_ascii=False)


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write plain JSON: NumPy's numbers and arrays as numbers and lists, NaN and infinity as null."""
    path.write_text(json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def texts(names: Iterable[str]) -> NDArray[np.object_]:
    """Names as Zarr stores them by its specification, which has no texts of fixed length."""
    return np.array(list(names), dtype=object)
