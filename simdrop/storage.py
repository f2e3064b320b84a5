"""Datasets on disk: Zarr and NetCDF, written beside their place and then moved there."""

from __future__ import annotations

import shutil
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidInput

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".zarr", ".nc")


def save(data: xr.Dataset, path: str | Path) -> Path:
    """Write `data` to PATH.zarr or PATH.nc, replacing what is there; returns the path.

    An interrupted write leaves the older file as it was. Raises InvalidInput for another suffix.
    """
    path = Path(path)
    _check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        if path.suffix == ".zarr":
            with warnings.catch_warnings():
                # names along an axis are text, which Zarr 3 writes and reads but has not yet put into its standard
                warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification")
                data.to_zarr(fresh, mode="w", consolidated=False, zarr_format=3)
        else:
            data.to_netcdf(fresh, engine="h5netcdf")
        _remove(path)
        fresh.rename(path)
    finally:
        _remove(fresh)
    return path


def load(path: str | Path) -> xr.Dataset:
    """Read a dataset that `save` wrote, into memory. Raises InvalidInput where there is none."""
    import xarray as xr

    path = Path(path)
    _check_suffix(path)
    if not path.exists():
        raise InvalidInput(f"no results at {path}")
    if path.suffix == ".zarr":
        with xr.open_zarr(path, consolidated=False, chunks=None) as data:
            return data.load()
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return data.load()


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"results are kept as {' or '.join(SUFFIXES)}, got {path.name!r}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
