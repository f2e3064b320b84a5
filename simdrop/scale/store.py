"""The results of a sweep on disk: one Zarr group, written as launches finish, and the record of each launch.

DIR/results.zarr has the results along `point`; `load` gives them a dimension for each swept field of a grid. It can
be read while it grows: what is not done is NaN, -1 in whole numbers. DIR/launches has a file for every launch that is
done, with a checksum, written beside its place, synced and renamed: it tells what need not be done again, and from it
the Zarr group is written anew on resuming, so that a write torn by a crash costs nothing. DIR/sweep.json says which
sweep it is. One process at a time may write (DIR/lock).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import provenance
from ..checkpoint import Torn, refuse_other, sync_folder
from ..checkpoint import read as read_file
from ..checkpoint import write as write_file
from ..config import problem_of
from ..errors import InvalidInput
from .design import Design
from .launch import Arrays

if TYPE_CHECKING:
    import xarray as xr

#: of the folder; another one is refused
FORMAT = 1
#: points of one chunk
CHUNK = 256


class Store:
    """The folder of one sweep, open for writing; use as a context, which holds the lock."""

    def __init__(self, folder: Path, design: Design, *, resume: bool) -> None:
        from filelock import FileLock

        self.folder, self.design, self.resume = folder, design, resume
        plain = {"format": FORMAT, **_version(), **design.configuration(), "data": _fingerprints(design)}
        self.identity = json.loads(json.dumps(plain))
        self._lock = FileLock(folder / "lock", blocking=False)

    def __enter__(self) -> Store:
        """Lock and open the folder. Raises InvalidInput for a folder in use, of another sweep, or not to be written."""
        from filelock import Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "launches").mkdir(exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise InvalidInput(f"out {str(self.folder)!r} is in use: another process writes to it") from None
        except OSError as error:
            raise InvalidInput(f"out: cannot write to {str(self.folder)!r}: {error.strerror or error}") from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def _open(self) -> None:
        import zarr

        known = self.folder / "sweep.json"
        if known.exists() and not self.resume:
            raise InvalidInput(f"out {str(self.folder)!r} holds a sweep: --resume continues it, or name another folder")
        try:
            refuse_other(f"sweep in {str(self.folder)!r}", json.loads(known.read_text("utf-8")), self.identity)
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            # none, or torn: every launch tells itself whose it is
            fresh = known.with_name(".sweep.json")
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(self.identity, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(known)
            sync_folder(self.folder)
        # anew each time: what is done is in the files of the launches
        self.group = zarr.open_group(str(self.folder / "results.zarr"), mode="w", zarr_format=3)
        self.group.attrs.update(
            {"sweep": self.identity, "dims": list(self.design.dims), "shape": list(self.design.shape), **_version()}
        )
        self._arrays()

    def _arrays(self) -> None:
        """Create all arrays, with nothing in them but the swept fields."""
        points, first = len(self.design.points), self.design.points[0]
        times, kinds = max(point.record for point in self.design.points), len(first.kinds)
        shapes: dict[str, tuple[tuple[int, ...], tuple[str, ...], Any]] = {
            "step": ((points, times), ("point", "time"), -1),
            "risk_mean": ((points, times), ("point", "time"), np.nan),
            "risk_error": ((points, times), ("point", "time"), np.nan),
            "diverged": ((points,), ("point",), -1),
            "distance": ((points, kinds), ("point", "kind"), np.nan),
            "distance_error": ((points, kinds), ("point", "kind"), np.nan),
        }
        for name, (shape, dims, empty) in shapes.items():
            if 0 in shape:
                continue
            self.group.create_array(
                name, shape=shape, chunks=(CHUNK, *shape[1:]), dtype=np.asarray(empty).dtype, fill_value=empty,
                dimension_names=dims,
            )  # fmt: skip

    def done(self, number: int, points: list[int]) -> bool:
        """Whether launch `number` was done before, for these points; its results are then in the Zarr group again."""
        try:
            header, arrays = read_file(self._file(number))
        except (OSError, Torn):
            return False
        if any(header.get(name) != value for name, value in self._header(points).items()):
            return False
        self._fill(points, arrays)
        return True

    def write(self, number: int, points: list[int], arrays: Arrays) -> None:
        """Keep the results of a launch: writing the same again changes nothing."""
        place = self._file(number)
        fresh = place.with_name(f".{place.name}")
        try:
            write_file(fresh, self._header(points), arrays)
            fresh.replace(place)
            sync_folder(place.parent)
        finally:
            fresh.unlink(missing_ok=True)
        self._fill(points, arrays)

    def _fill(self, points: list[int], arrays: Arrays) -> None:
        for name, values in arrays.items():
            if name not in self.group:
                continue
            target: Any = self.group[name]
            rows = np.array(points)
            ends = np.flatnonzero(np.diff(rows) != 1) + 1
            for run in np.split(np.arange(len(rows)), ends):  # neighbours in one write
                span = slice(int(rows[run[0]]), int(rows[run[-1]]) + 1)
                if values.ndim == 1:
                    target[span] = values[run]
                else:
                    target[span, : values.shape[1]] = values[run]

    def _header(self, points: list[int]) -> dict[str, Any]:
        """What a launch's file says of whose it is."""
        sweep = json.dumps(self.identity, sort_keys=True).encode()
        return {"points": points, "sweep": hashlib.sha256(sweep).hexdigest()}

    def _file(self, number: int) -> Path:
        return self.folder / "launches" / f"{number:06}"


def _fingerprints(design: Design) -> list[str]:
    """SHA-256 of the data of the points, in the order in which they first come."""
    names = ("data", "target", "inputs", "samples", "standardize", "standardize_targets")
    first = {tuple(getattr(point, name) for name in names): point for point in reversed(design.points)}
    problems = [problem_of(point)[0] for point in reversed(first.values())]
    return [provenance.fingerprint(problem.x, problem.y) for problem in problems]


def _version() -> dict[str, str]:
    return {"simdrop_version": provenance.versions()["simdrop_version"]}


def load(folder: str | Path) -> xr.Dataset:
    """The results of a sweep, finished or not, with a dimension for each swept field of a grid.

    Raises InvalidInput where there is no sweep.
    """
    import xarray as xr

    folder = Path(folder)
    try:
        held = json.loads((folder / "sweep.json").read_text("utf-8"))
        found = xr.open_zarr(folder / "results.zarr", consolidated=False, chunks=None).load()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"no sweep that can be read at {str(folder)!r}: {error}") from None
    axes, kinds = held["axes"], held["first"]["kinds"]
    if kinds:
        found = found.assign_coords(kind=list(kinds))
    if held["design"] != "grid":
        return found.assign_coords({name: ("point", values) for name, values in axes.items()})
    shape = tuple(len(values) for values in axes.values())
    variables = {
        name: ((*axes, *array.dims[1:]), array.values.reshape(*shape, *array.shape[1:]))
        for name, array in found.data_vars.items()
    }
    return xr.Dataset(variables, {**axes, **found.coords}, found.attrs)
