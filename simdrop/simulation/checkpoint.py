"""Checkpoints of a run: its state at a record step in one file, from which it continues to the same bits.

The file holds a line of JSON (identity, place, names), the arrays in NumPy's format and a SHA-256 of all before it.
It is written under another name, synced and renamed; the one before it stays as NAME.previous, so that a file torn by
a power cut or corrupted later costs the steps since the one before, never the run. One process at a time may use
them; the system frees the lock .NAME.lock of one that dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import time as clock
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks.words import check_path
from ..errors import InvalidInput

if TYPE_CHECKING:
    from simdrop_kernels.contract.step import Ensemble


#: of the file; another one is refused
FORMAT = 3
#: the first bytes of a file
BEGIN = b'{"identity": {"format": '
DIGEST = hashlib.sha256().digest_size
#: arrays of an ensemble that training changes
MOVED = ("theta", "moments", "diverged")
Arrays = dict[str, NDArray[Any]]


class Torn(Exception):
    """A checkpoint is not what was written."""


class OtherRun(InvalidInput):
    """What is there was written by another run or version."""


class InUse(InvalidInput):
    """Another process has the checkpoint."""


@dataclass(frozen=True)
class Restored:
    """Where a run goes on: in the block that begins with member `first`, after record number `number`."""

    first: int
    number: int
    moved: Arrays

    def into(self, ensemble: Ensemble) -> None:
        """Fill the ensemble's arrays in place."""
        for name, array in self.moved.items():
            getattr(ensemble, name)[...] = array


class Checkpoint:
    """The checkpoint of one run, open for it alone; `identity` is what another run must share to continue it.

    Use as a context, which holds the lock. Without `resume` any file that is there is refused.
    """

    def __init__(self, path: str | os.PathLike[str], identity: dict[str, Any], *, resume: bool, seconds: float) -> None:
        """Raises InvalidInput for `seconds` below 0."""
        if not seconds >= 0:
            raise InvalidInput(f"checkpoint_seconds must be 0 or more, got {seconds!r}")
        self.path, self.seconds, self.resume = check_path("checkpoint", path), seconds, resume
        self.identity = json.loads(json.dumps({"format": FORMAT} | identity))
        self.loaded: tuple[dict[str, Any], Arrays] | None = None
        self._saved = clock.monotonic()  # not the wall clock, which may be set back
        self._open = ExitStack()

    def __enter__(self) -> Checkpoint:
        """Lock and read. Raises InUse, OtherRun with the difference named, InvalidInput where it cannot write."""
        from filelock import FileLock, Timeout

        lock = self._beside("lock")
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(lock, blocking=False))
            except Timeout:
                raise InUse(f"checkpoint {str(self.path)!r} is in use: another process runs with it") from None
            except OSError as error:
                raise InvalidInput(
                    f"checkpoint: cannot write to {str(self.path.parent)!r}: {error.strerror or error}"
                ) from None
            stack.callback(lock.unlink, missing_ok=True)
            self._beside("new").unlink(missing_ok=True)  # of a process that died while it wrote
            self._read()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _read(self) -> None:
        """Read the state to resume from, where `resume` is set and there is a file."""
        there = [place for place in _places(self.path) if place.exists()]
        for place in there:
            if not _is_ours(place):
                raise InvalidInput(f"checkpoint {str(place)!r} is no checkpoint of simdrop: name another file")
        if there and not self.resume:
            raise InvalidInput(f"checkpoint {str(there[0])!r} exists: resume=True continues it, or remove it")
        torn = []
        for place in there:
            try:
                header, arrays = read(place)
            except Torn:
                torn.append(place)
                continue
            try:
                refuse_other(f"checkpoint {str(place)!r}", header["identity"], self.identity)
            except OtherRun as error:
                if "state" not in header:
                    raise
                done = (
                    f"that run is done at step {header['state']['step']}, from where its checkpoint as theta0 goes on"
                )
                raise OtherRun(f"{error}; {done}") from None
            self.loaded = header, arrays
            for other in torn:
                other.unlink()  # the next save would put it in the place of the one before
            break

    def load(self, recorded: Mapping[str, NDArray]) -> Restored | None:
        """Fill the recorder's arrays in place from what was read; None if there was nothing."""
        if self.loaded is None:
            return None
        header, arrays = self.loaded
        self.loaded = None
        for name, array in recorded.items():
            array[...] = arrays[f"recorder.{name}"]
        return Restored(int(header["first"]), int(header["number"]), {name: arrays[name] for name in MOVED})

    def due(self) -> bool:
        """Whether it is time to save."""
        return clock.monotonic() - self._saved >= self.seconds

    def save(
        self, recorded: Mapping[str, NDArray], first: int, number: int, ensemble: Ensemble,
        state: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write the state after record `number` of the block that begins with member `first`, and what was recorded.

        state: of a run that is done, the settings of the state that another run may go on from.
        """
        arrays = {name: getattr(ensemble, name) for name in MOVED}
        arrays |= {f"recorder.{name}": array for name, array in recorded.items()}
        current, previous = _places(self.path)
        fresh = self._beside("new")
        try:
            header = {"identity": self.identity, "first": first, "number": number}
            write(fresh, header | ({} if state is None else {"state": state}), arrays)
            if current.exists():
                current.replace(previous)
            fresh.replace(current)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(current.parent)
        self._saved = clock.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        discard(self.path)

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{what}")


def _places(path: Path) -> tuple[Path, Path]:
    """The last checkpoint and the one before it."""
    return path, path.with_name(path.name + ".previous")


def _is_ours(place: Path) -> bool:
    """Whether a file begins as checkpoints do, or is what a power cut leaves of one: empty, or zeros."""
    if not place.is_file():
        return False
    with place.open("rb") as file:
        start = file.read(len(BEGIN))
    return start == BEGIN[: len(start)] or not start.strip(b"\0")


def discard(path: Path) -> None:
    """Remove the files of a checkpoint."""
    for place in _places(path):
        place.unlink(missing_ok=True)


def refuse_other(what: str, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise OtherRun, with the differences named, unless the two agree."""
    if not isinstance(held, dict):
        raise OtherRun(f"{what} is damaged: remove it")
    formats = held.get("format"), wanted.get("format")
    if formats[0] != formats[1]:
        raise OtherRun(f"{what} is of format {formats[0]}, of another version of simdrop; this one writes {formats[1]}")
    names = [name for name in held if name in wanted and held[name] != wanted[name]]
    if names:
        changes = "; ".join(f"{name} was {held[name]!r}, is {wanted[name]!r}" for name in names[:5])
        raise OtherRun(f"{what} belongs to another run: {changes}")
    if unknown := sorted(held.keys() ^ wanted.keys()):
        raise OtherRun(f"{what} is of another version of simdrop: only one of the two has {', '.join(unknown)}")


def write(path: Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Write and sync one file."""
    with path.open("wb") as file:
        hashing = _Hashing(file)
        hashing.write(json.dumps(header | {"names": list(arrays)}).encode() + b"\n")
        for array in arrays.values():
            np.lib.format.write_array(hashing, np.ascontiguousarray(array), allow_pickle=False)
        file.write(hashing.digest.digest())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """The header and the arrays of a file; raises OSError, and Torn if it is not what was written."""
    size = path.stat().st_size - DIGEST
    with path.open("rb") as file:
        digest, left = hashlib.sha256(), size
        while left > 0:
            piece = file.read(min(left, 1 << 20))
            if not piece:
                raise Torn(f"{path} is cut short")
            digest.update(piece)
            left -= len(piece)
        if size <= 0 or file.read() != digest.digest():
            raise Torn(f"{path} does not have the checksum that it was written with")
        file.seek(0)
        try:
            header = json.loads(file.readline())
            return header, {name: np.lib.format.read_array(file, allow_pickle=False) for name in header["names"]}
        except (ValueError, LookupError, TypeError):
            raise Torn(f"{path} is not what simdrop writes") from None


class _Hashing:
    """A file that is written and hashed at once."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
