"""Output folders: simdrop replaces and removes there what it wrote itself, and nothing else.

DIR/simdrop.json, the mark, names the files that simdrop wrote, with a fingerprint of each. An entry that the mark does
not name, or that is no longer as simdrop left it, is the user's: it stays, and a result that would need its name is
refused. So is a folder with another result, unless that is to be overwritten, and one that another process writes to.
All this is tried before any work; what is overwritten goes when the first new file is ready to be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from errno import EEXIST
from pathlib import Path
from typing import Any

from ..checks.words import check_path
from ..errors import InvalidInput
from ..version import __version__

MARK, LOCK = "simdrop.json", ".simdrop.lock"
#: of the mark; one of another format is not read
FORMAT = 1
#: of every study
DRAWN = ("figure.png", "figure.pdf", "report.html")
#: what writes results -> the files that it may write
FILES = {
    "simulate": ("results.zarr",),
    "sme": ("results.zarr",),
    "compare": ("summary.json", "results.zarr", "flows.zarr", "distances.zarr", *DRAWN),
    "order": ("summary.json", "errors.zarr", *DRAWN),
    "reproduce": ("summary.json", "results.zarr", *DRAWN),
    "bench": ("summary.json", *DRAWN),
    "sweep": ("sweep.json", "results.zarr", "launches", "checkpoints"),
}
ABOUT = (
    "simdrop wrote the files named here and may replace them (--overwrite, in Python overwrite=True) as long as they"
    " are as it left them. It touches nothing else in this folder."
)
#: before the name of a file that is not complete
UNFINISHED = ".new-"


@dataclass
class Mark:
    """The content of simdrop.json: which command wrote the folder, in which run, and which files are simdrop's.

    files: name -> fingerprint; a sweep's files change while it runs, and have none. writing: the name of an unfinished
    file, which a process that dies leaves behind.
    """

    kind: str
    run: str = ""
    files: dict[str, str] = field(default_factory=dict)
    writing: str = ""

    @classmethod
    def read(cls, folder: Path) -> Mark | None:
        """The mark of a folder, or None where it has none that can be read."""
        try:
            held = json.loads((folder / MARK).read_text(encoding="utf-8"))
            mark = cls(held["kind"], held["run"], dict(held["files"]), held["writing"])
            texts = (mark.kind, mark.run, mark.writing, *mark.files, *mark.files.values())
            names = (*mark.files, mark.writing) if mark.writing else tuple(mark.files)
            known = held["format"] == FORMAT and all(isinstance(text, str) for text in texts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return (
            mark
            if known and all(map(_is_plain, names)) and mark.writing[: len(UNFINISHED)] in ("", UNFINISHED)
            else None
        )

    def save(self, folder: Path) -> None:
        """Write the mark, in one step."""
        fresh = folder / f".{MARK}"
        held = {"about": ABOUT, "format": FORMAT, "simdrop_version": __version__, **asdict(self)}
        try:
            fresh.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
            fresh.replace(folder / MARK)
        finally:
            fresh.unlink(missing_ok=True)

    def own(self, folder: Path) -> list[str]:
        """The names of files that are there as simdrop left them."""
        return [name for name, held in self.files.items() if held and fingerprint(folder / name) == held]


class Folder:
    """The folder of one result, open for writing; use as a context, which holds the lock.

    kind: of FILES, what writes; names: all that it may write; resume: go on with the sweep that is there; known: tells
    whether a folder without a mark is one of a sweep; run: go on with the files of this run where they are there.
    """

    def __init__(
        self, out: str | os.PathLike[str], kind: str, names: Sequence[str] = (), *, overwrite: bool = False,
        resume: bool = False, known: Callable[[], bool] = bool, run: str | None = None,
    ) -> None:  # fmt: skip
        """Raises InvalidInput for a name that is none."""
        self.path, self.kind, self.names = check_path("out", out), kind, tuple(names or FILES[kind])
        self.overwrite, self.resume, self.known = overwrite, resume, known
        self.run = run or uuid.uuid4().hex
        self.mark = Mark(kind, self.run)
        self._old: list[str] = []  # files of the result that is overwritten
        self._begun = False
        self._made: list[Path] = []
        self._open = ExitStack()

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __enter__(self) -> Folder:
        """Lock the folder and look at what it holds. Raises InvalidInput where results cannot be written."""
        with ExitStack() as stack:
            try:
                self._lock(stack)
            except OSError as error:
                raise InvalidInput(f"out: cannot write to {str(self.path)!r}: {error.strerror or error}") from None
            self._examine()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _lock(self, stack: ExitStack) -> None:
        from filelock import FileLock, Timeout

        if self.path.exists() and not self.path.is_dir():
            raise InvalidInput(f"out {str(self.path)!r} is a file: name a folder")
        refuse_stores(self.path)
        self._made = [place for place in (self.path, *self.path.parents) if not place.exists()]
        stack.callback(self._leave_nothing)
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path):
            pass
        lock = self.path / LOCK
        try:
            stack.enter_context(FileLock(lock, blocking=False))
        except Timeout:
            raise InvalidInput(f"out {str(self.path)!r} is in use: another process writes to it") from None
        stack.callback(_unlink, lock)

    def _leave_nothing(self) -> None:
        """Remove the folders that were made if nothing was written."""
        for place in self._made:
            with suppress(OSError):
                place.rmdir()

    def _examine(self) -> None:
        """Decide what is ours; raises InvalidInput."""
        held, here = Mark.read(self.path), str(self.path)
        mine = held.own(self.path) if held else []
        if not held and self.kind == "sweep" and not os.path.lexists(self.path / MARK) and self.known():
            held = Mark("sweep", self.run, dict.fromkeys(FILES["sweep"], ""))
        if held and held.kind == "sweep" and any((self.path / name).exists() for name in FILES["sweep"]):
            if self.kind != "sweep":
                raise InvalidInput(f"out {here!r} holds a sweep: name another folder")
            if not self.resume:
                raise InvalidInput(f"out {here!r} holds a sweep: --resume continues it, or name another folder")
            mine = list(FILES["sweep"])
        elif mine and not self.overwrite and held and held.run != self.run:
            raise InvalidInput(
                f"out {here!r} holds another result ({', '.join(mine)}): name another folder or use --overwrite"
                " (in Python overwrite=True)"
            )
        refuse_others(self.path, [name for name in (*self.names, *(() if held else (MARK,))) if name not in mine])
        self._unfinished = held.writing if held else ""
        if held and (held.run == self.run or held.kind == self.kind == "sweep"):
            self.mark = held
        else:
            self._old = mine

    def claim(self) -> None:
        """Mark all names as written, for files that change while they are there."""
        self._begin()
        self.mark.files |= dict.fromkeys(self.names, "")
        self.mark.save(self.path)

    def write(self, name: str, writer: Callable[[Path], Any]) -> Path:
        """Let `writer` write an unfinished file of the suffix of `name`, and put it in its place; returns that.

        Raises OSError, after which an older file is as it was.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._begin()
        place, fresh = self.path / name, self.path / f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{name}"
        self.mark.writing = fresh.name
        self.mark.save(self.path)
        try:
            writer(fresh)
            if os.path.lexists(place):
                if fingerprint(place) != self.mark.files.get(name):
                    raise FileExistsError(EEXIST, "there is a file that simdrop did not write", str(place))
                remove(place)
            self.mark.files[name] = fingerprint(fresh)
            self.mark.save(self.path)
            fresh.rename(place)
        finally:
            remove(fresh)
            self.mark.writing = ""
            with suppress(OSError):  # a full disk has raised already
                self.mark.save(self.path)
        return place

    def _begin(self) -> None:
        """Remove what is overwritten, and what a process that died left unfinished."""
        if self._begun:
            return
        self._begun = True
        for name in (*self._old, *filter(None, [self._unfinished])):
            remove(self.path / name)


def check_target(option: str, value: str, suffixes: Sequence[str], *, overwrite: bool) -> Path:
    """`value` as the place of a file that can be written, of one of these suffixes; raises InvalidInput.

    A file that is there is refused, unless it is to be overwritten; a folder always.
    """
    path = check_path(option, value)
    if path.suffix not in suffixes:
        raise InvalidInput(f"{option} must end with one of {', '.join(suffixes)}, got {value!r}")
    if os.path.lexists(path) and (path.is_dir() or not overwrite):
        hint = "" if path.is_dir() else " or use --overwrite"
        raise InvalidInput(f"{option} {value!r} exists: name another place{hint}")
    above = next(place for place in path.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InvalidInput(f"{option}: cannot write to {str(above)!r}")
    return path


def check_own(folder: Path, name: str) -> None:
    """Raise InvalidInput where a folder of results has a file of this name that simdrop did not write."""
    held, place = Mark.read(folder), folder / name
    if os.path.lexists(place) and (held is None or fingerprint(place) != held.files.get(name)):
        raise InvalidInput(f"{str(place)!r} was not written by simdrop, or changed since: name another place")


def write_beside(folder: Path, name: str, writer: Callable[[Path], Any]) -> None:
    """Write one more file, of a name that `check_own` lets pass, into the folder of a sweep, which may be running."""
    fresh = folder / f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{name}"
    try:
        writer(fresh)
        check_own(folder, name)
        mark = Mark.read(folder) or Mark("sweep", files=dict.fromkeys(FILES["sweep"], ""))
        mark.files[name] = fingerprint(fresh)
        mark.save(folder)
        fresh.replace(folder / name)
    finally:
        remove(fresh)


def describe(folder: Path) -> str:
    """The end of an error message that says what a folder holds instead; empty where nothing is known."""
    if not folder.exists():
        return ": there is no such folder"
    held = Mark.read(folder)
    if held is None:
        return ""
    by = f"simdrop.{held.kind}" if held.kind in ("simulate", "sme") else f"`simdrop {held.kind}`"
    there = [name for name in held.files if (folder / name).exists()]
    return f": it holds results of {by}, {', '.join(there)}"


def refuse_stores(folder: Path) -> None:
    """Raise InvalidInput for a folder that is a Zarr store, or lies in one: nothing else belongs there."""
    place = folder.absolute()
    for store in (place, *place.parents):
        if any((store / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
            where = "is" if store == place else f"lies in {str(store)!r},"
            raise InvalidInput(f"out {str(folder)!r} {where} a Zarr store: name another folder")


def refuse_others(folder: Path, names: Sequence[str]) -> None:
    """Raise InvalidInput where a folder holds entries of these names, which are to be written and are the user's."""
    theirs = [name for name in names if os.path.lexists(folder / name)]
    if theirs:
        raise InvalidInput(
            f"out {str(folder)!r} holds {', '.join(theirs)}, not written by simdrop or changed since: move"
            f" {'it' if len(theirs) == 1 else 'them'} away or name another folder"
        )


@contextmanager
def opened(
    out: str | os.PathLike[str] | None, kind: str, *, overwrite: bool = False, run: str | None = None
) -> Iterator[Folder | None]:
    """The folder `out` open for results of `kind`; one that is open already as it is, None for None."""
    if out is None or isinstance(out, Folder):
        yield out
    else:
        with Folder(out, kind, overwrite=overwrite, run=run) as folder:
            yield folder


def fingerprint(path: Path) -> str:
    """Fingerprint by which a changed file is noticed: SHA-256 of its content, or of names and sizes in a folder.

    Empty for what is not there, and for links, which are never ours.
    """
    digest = hashlib.sha256()
    if path.is_symlink() or not path.exists():
        return ""
    if path.is_dir():
        inside = (place for place in path.rglob("*") if not place.is_dir() or place.is_symlink())
        for name, size in sorted((str(p.relative_to(path).as_posix()), p.lstat().st_size) for p in inside):
            digest.update(f"{name} {size}\n".encode())
    else:
        digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()}"


def remove(path: Path) -> None:
    """Remove a file or folder, or nothing where there is none; a link is removed itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    with suppress(OSError):  # the folder may have gone, and on Windows what is open stays
        path.unlink()


def _is_plain(name: str) -> bool:
    """Whether a name is that of an entry of a folder, and leads nowhere else."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0", ":"}
