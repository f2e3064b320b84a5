"""The results of a sweep on disk: one Zarr group, written as launches finish, and the record of each launch.

DIR/results.zarr, which `xarray.open_zarr` opens, has a dimension for each swept field of a grid, and `point` for other
designs, with the values of the fields as coordinates. It can be read while it grows: what is not done is NaN, -1 in
whole numbers. DIR/launches has a file for every launch that is done, with a checksum. It is written
under another name, synced and renamed. From these files a resumed sweep knows what is done, and writes the Zarr group
again, so that a write torn by a crash costs nothing. DIR/checkpoints has the states of launches that are under way.
DIR/sweep.json says which sweep it is. One process at a time may write.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import provenance
from ..activations import check_registered
from ..checks.words import check_path, shown
from ..errors import InvalidInput
from ..output.folder import Folder, describe
from ..output.storage import damage_as_invalid
from ..output.variables import about, described, of_parameters
from ..settings.problem import ProblemSettings
from ..simulation.checkpoint import Torn, discard, refuse_other, sync_folder
from ..simulation.checkpoint import read as read_file
from ..simulation.checkpoint import write as write_file
from .data import problem_of, test_of
from .design import Design
from .launch import Arrays
from .point import Point

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..problem import Problem

#: of the folder; another one is refused
FORMAT = 4
#: points of one chunk at most, and bytes
CHUNK, CHUNK_BYTES = 256, 1 << 22
#: fields that tell which data a problem has
DATA = tuple(field.name for field in fields(ProblemSettings) if field.metadata["section"] == "Data")
#: what variables and swept fields are, where `output.variables` does not know it
WORDS = {"distance": "distance of the ensemble's mean from the prediction at the end"}
WORDS |= {"distance_error": "standard error of distance", "diverged": "members lost, or -1 where nothing is done"}
WORDS |= {field.name: field.metadata["about"] for field in fields(Point) if field.name != "kinds"}
#: fields by which the number of its parameters may differ
SIZE = (*DATA, "width", "bias")


class Store:
    """The folder of one sweep, open for writing; use as a context, which holds the lock."""

    def __init__(self, folder: Path, design: Design, *, backends: Sequence[str], resume: bool) -> None:
        """backends: of all launches; others, as other versions of what computes, would give other last bits."""
        self.folder, self.design, self.resume = check_path("out", folder), design, resume
        plain = {"format": FORMAT, **_versions(), **design.configuration(), "data_sha256": _fingerprints(design)}
        plain["backends"] = sorted(set(backends))
        plain |= _own_activations(design) | _tests(design)
        self.identity = json.loads(json.dumps(plain))
        self.arrays: dict[str, Any] = {}  # of the Zarr group
        self._open = ExitStack()

    def __enter__(self) -> Store:
        """Lock and open the folder. Raises InvalidInput for a folder in use, of another sweep, or not to be written."""
        with ExitStack() as stack:
            held = stack.enter_context(Folder(self.folder, "sweep", resume=self.resume, known=self._is_known))
            try:
                for name in ("launches", "checkpoints"):
                    (self.folder / name).mkdir(exist_ok=True)
                stack.callback(self._leave_checkpoints)
                self._identify()
                held.claim()
            except OSError as error:
                raise InvalidInput(f"out: cannot write to {str(self.folder)!r}: {error.strerror or error}") from None
            # written from the start each time: what is done is in the files of the launches
            self._create()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _leave_checkpoints(self) -> None:
        with suppress(OSError):
            (self.folder / "checkpoints").rmdir()  # unless there are some

    def _is_known(self) -> bool:
        """Whether the folder holds this sweep, or one from before folders had a mark."""
        return isinstance(self._held(), dict)

    def _held(self) -> Any:
        """The content of sweep.json; None where it is missing or torn."""
        try:
            return json.loads((self.folder / "sweep.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def _identify(self) -> None:
        """Refuse another sweep; write sweep.json where there is none, or a torn one: launches say whose they are."""
        held, known = self._held(), self.folder / "sweep.json"
        if isinstance(held, dict):
            refuse_other(f"sweep in {str(self.folder)!r}", held, self.identity)
            return
        fresh = known.with_name(".sweep.json")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(self.identity, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(known)
        sync_folder(self.folder)

    def _create(self) -> None:
        """Create the Zarr group, with nothing in its arrays but the swept fields."""
        import xarray as xr
        import zarr
        from zarr.codecs import ZstdCodec

        folder, design = (self.folder / "results.zarr").absolute(), self.design
        points, first = design.shape, design.points[0]
        times, kinds = {"time": max(point.times for point in design.points)}, {"kind": len(first.kinds)}
        arrays: dict[str, tuple[dict[str, int], Any]] = {"step": (times, -1), "diverged": ({}, -1)}
        arrays |= dict.fromkeys(("distance", "distance_error") if first.kinds else (), (kinds, np.nan))
        for name in first.quantities:
            arrays |= dict.fromkeys((f"{name}_mean", f"{name}_error"), (times, np.nan))
        if "theta_mean" in first.keep:
            arrays["theta_mean"] = {**times, "param": _params(design)}, np.nan
        with warnings.catch_warnings():
            # text, and all metadata in one place, are written and read but not yet in Zarr's standard
            warnings.filterwarnings("ignore", message=".*Zarr (V3|format 3) specification")
            coordinates = _coordinates(design)
            _refuse_strangers(self.folder / "results.zarr", {*coordinates, *arrays})
            described(xr.Dataset(coords=coordinates), WORDS).to_zarr(
                folder, mode="w", consolidated=False, zarr_format=3
            )
            group = zarr.open_group(folder, mode="r+")
            attrs = {"sweep": self.identity, "dims": list(design.dims), "shape": list(points)}
            group.attrs.update(attrs)
            for name, (rest, empty) in arrays.items():
                few = CHUNK_BYTES // (8 * math.prod(rest.values()))
                self.arrays[name] = group.create_array(
                    name, shape=(*points, *rest.values()), chunks=(*_chunks(points, max(1, few)), *rest.values()),
                    dtype=np.asarray(empty).dtype, fill_value=empty, dimension_names=(*design.dims, *rest),
                    compressors=ZstdCodec(level=0, checksum=True),  # damage is found on reading
                    attributes=_words(name, first.loss),
                )  # fmt: skip
            zarr.consolidate_metadata(folder)

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
        discard(self.checkpoint(number))  # of a worker that was thought dead

    def checkpoint(self, number: int) -> Path:
        """Where launch `number` keeps its state."""
        return self.folder / "checkpoints" / f"{number:06}"

    def _fill(self, points: list[int], arrays: Arrays) -> None:
        where = np.unravel_index(np.array(points), self.design.shape)
        for name, values in arrays.items():
            if name in self.arrays:
                self.arrays[name].vindex[_cells(where, values.shape[1:])] = values

    def _header(self, points: list[int]) -> dict[str, Any]:
        """Identity of the sweep that wrote a launch file; a file of another sweep is refused."""
        sweep = json.dumps(self.identity, sort_keys=True).encode()
        return {"points": points, "sweep": hashlib.sha256(sweep).hexdigest()}

    def _file(self, number: int) -> Path:
        return self.folder / "launches" / f"{number:06}"


def _refuse_strangers(store: Path, arrays: set[str]) -> None:
    """Raise InvalidInput where a store, which is to be written again, holds files that Zarr did not write."""
    inside = (path.relative_to(store) for path in store.rglob("*") if path.is_symlink() or not path.is_dir())
    strange = [str(path) for path in inside if not _is_part(path.parts, arrays)]
    if strange:
        raise InvalidInput(
            f"{str(store)!r}, which is to be written again, holds what simdrop did not write: move {strange[0]} away"
        )


def _is_part(parts: tuple[str, ...], arrays: set[str]) -> bool:
    """Whether a file of these path components is one of Zarr's; what Zarr was killed at ends with .partial."""
    inner = parts[1:] if parts[0] in arrays else parts
    named = len(inner) == 1 and inner[0] == "zarr.json"
    chunk = len(parts) > 1 and parts[0] in arrays and (inner[0] == "c" and all(p.isdigit() for p in inner[1:]))
    return named or chunk or parts[-1].endswith(".partial")


def _coordinates(design: Design) -> dict[str, tuple[str, NDArray[Any]]]:
    """Values of the swept fields along their dimensions; as text where they are not all numbers."""
    found = {}
    for name, values in design.axes.items():
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        along = name if design.kind == "grid" else "point"
        found[name] = along, np.array(values if numbers else [str(value) for value in values])
    if design.points[0].kinds:
        found["kind"] = "kind", np.array(design.points[0].kinds)
    if "theta_mean" in design.points[0].keep and len(problems := _problems(design, SIZE)) == 1:
        found |= {name: ("param", values.astype(str) if values.dtype == object else values)
                  for name, values in of_parameters(problems[0]).items()}  # fmt: skip
    return found


def _words(name: str, loss: str) -> dict[str, Any]:
    """What a variable is, and its units; of the mean of a function of the user's own that it is that."""
    if name in WORDS:
        return {"long_name": WORDS[name], "units": "1"}
    known = about(name, loss)
    stem, _, end = name.rpartition("_")
    return known or {"long_name": {"mean": "mean over members of: ", "error": "standard error of: "}[end] + stem}


def _cells(points: tuple[NDArray[Any], ...], rest: tuple[int, ...]) -> tuple[NDArray[Any], ...]:
    """Indices, to be broadcast, of all cells (K, *rest) of K points that are given by their own indices (K,)."""
    first = tuple(index.reshape(-1, *(1 for _ in rest)) for index in points)
    return (*first, *(index[0] for index in np.ix_([0], *map(range, rest))[1:]))


def _chunks(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Lengths of chunks of at most CHUNK points, and at most `most`, the last dimensions whole."""
    found, left = [], min(CHUNK, most)
    for length in reversed(shape):
        found.append(min(length, left))
        left = max(1, left // length)
    return tuple(reversed(found))


def _fingerprints(design: Design) -> list[str]:
    """SHA-256 of the data of the points, in the order in which they first come."""
    return [provenance.fingerprint(problem.x, problem.y) for problem in _problems(design, DATA)]


def _tests(design: Design) -> dict[str, list[str]]:
    """SHA-256 of the test sets of the points; nothing where there are none."""
    named = {(point.test, *(getattr(point, name) for name in DATA)): point for point in design.points if point.test}
    found = [test for test in map(test_of, named.values()) if test is not None]
    return {"test_sha256": [provenance.fingerprint(*test) for test in found]} if found else {}


def _own_activations(design: Design) -> dict[str, dict[str, str]]:
    """Which functions the activations are that users have registered; nothing where there are none."""
    own = {name: check_registered(name).identity for name in {point.activation for point in design.points}}
    own = {name: identity for name, identity in sorted(own.items()) if identity}
    return {"activations_sha256": own} if own else {}


def _params(design: Design) -> int:
    """The largest number of parameters of a point."""
    return max(problem.n_params for problem in _problems(design, SIZE))


def _problems(design: Design, names: Sequence[str]) -> list[Problem]:
    """The problems of the first points with their values of these fields."""
    first = {tuple(getattr(point, name) for name in names): point for point in reversed(design.points)}
    return [problem_of(point) for point in reversed(first.values())]


def _versions() -> dict[str, str]:
    """Versions of what may change the last bits."""
    return {name: version for name, version in provenance.versions().items() if name != "python_version"}


def load(folder: str | Path) -> xr.Dataset:
    """Load the results of a sweep, finished or not.

    Parameters
    ----------
    folder : str or path
        Folder of the sweep.

    Returns
    -------
    xarray.Dataset
        A dimension for each swept field of a grid, or point; what is not done is NaN, and -1 in whole numbers. Over
        them diverged, and with time step, risk_mean and risk_error; with kind distance and distance_error, where
        theories were asked for; test_risk_mean and test_risk_error with a test set; NAME_mean and NAME_error of what
        is kept: norm, r1, accuracy, your functions; theta_mean.

    Raises
    ------
    InvalidInput
        There is no sweep in the folder, or its store is damaged.
    """
    import xarray as xr

    folder = check_path("folder", folder)
    if not (folder / "sweep.json").exists():
        raise InvalidInput(f"no sweep at {str(folder)!r}{describe(folder)}")
    store = folder / "results.zarr"
    damaged = damage_as_invalid(f"{str(store)!r} is damaged; --resume writes it again")
    with damaged, xr.open_zarr(store.absolute(), chunks=None, consolidated=True) as found:
        found["diverged"], found["step"]  # which all have
        return found.load()


def table(found: xr.Dataset) -> pd.DataFrame:
    """The results of a sweep as a table with a row for each point and record time.

    Parameters
    ----------
    found : xarray.Dataset
        What `load` returned.

    Returns
    -------
    pandas.DataFrame
        Swept fields, step and variables. What has a further dimension becomes columns: distance_averaged, ...,
        theta_mean_0, ...

    Raises
    ------
    InvalidInput
        `found` is no dataset.
    """
    import xarray as xr

    if not hasattr(found, "data_vars"):
        raise InvalidInput(f"found must be a dataset that simdrop.scale.load returned, got {shown(found)}")
    columns = {}
    for name, values in found.data_vars.items():
        further = next((axis for axis in ("kind", "param") if axis in values.dims), None)
        if further is None:
            columns[str(name)] = values
            continue
        labels = found[further].values  # the kinds, or 0, 1, ...
        columns |= {f"{name}_{label}": values.isel({further: k}, drop=True) for k, label in enumerate(labels)}
    return (
        xr.Dataset(columns, {name: one for name, one in found.coords.items() if not {"kind", "param"} & set(one.dims)})
        .to_dataframe(dim_order=list(found["step"].dims))
        .reset_index()
    )
