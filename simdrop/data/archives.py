"""NPZ files with arrays x and y."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..checks.numbers import check_samples
from ..checks.words import counted
from ..errors import InvalidInput
from .samples import Array, Data

#: how files begin
_ZIP, _NPY = b"PK", b"\x93NUMPY"
#: what NumPy and zipfile raise for a damaged file
_DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
_AS_WRITTEN = "numpy.savez(file, x=..., y=...) writes one"


def read_npz(path: Path) -> Data:
    """The arrays x and y of an NPZ file; raises InvalidInput."""
    try:
        with path.open("rb") as file:
            _check_kind(path, file)
            x, y = _arrays(path, file)
    except _DAMAGED as error:
        if isinstance(error, InvalidInput):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidInput(f"cannot read {path}: {reason}") from None
    if len(x) != len(y):
        raise InvalidInput(f"{path}: x has {counted(len(x), 'sample')} but y has {len(y)}")
    return Data(path.stem, x, y, _numbered("x", x.shape[1]), _numbered("y", y.shape[1]))


def _check_kind(path: Path, file: BinaryIO) -> None:
    """Raise InvalidInput where an open file does not begin and end as an NPZ file does."""
    start = file.read(len(_NPY))
    if not start.startswith(_ZIP):
        what = "is empty" if not start else "holds a single array" if start == _NPY else "is of another kind"
        raise InvalidInput(f"cannot read {path}: it {what}, no NPZ file with arrays x and y; {_AS_WRITTEN}")
    if not zipfile.is_zipfile(file):
        raise InvalidInput(f"cannot read {path}: it is damaged or cut off")
    file.seek(0)


def _arrays(path: Path, file: BinaryIO) -> tuple[Array, Array]:
    """The arrays x (n, d) and y (n, c) of an open file; raises InvalidInput and what damage raises."""
    with np.load(file, allow_pickle=False) as archive:
        absent = [key for key in ("x", "y") if key not in archive.files]
        if absent:
            found = ", ".join(archive.files) or "nothing"
            raise InvalidInput(f"{path} has no array {' and no array '.join(absent)}; it holds {found}")
        return _array(path, "x", archive), _array(path, "y", archive)


def _array(path: Path, key: str, archive: Any) -> Array:
    """One array (n, columns) of an open archive; raises InvalidInput."""
    name = f"{path}: array {key}"
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        reason = f"array {key} holds Python objects, kept by pickle: save {key}.astype(float)"
        raise InvalidInput(f"cannot read {path}: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{name} must be an array as numpy.savez writes it")
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or 0 in array.shape:
        wanted = "numbers of shape (n,) or (n, columns)"
        advice = f"; save {key}.astype(float) where 0 and 1 are meant" if array.dtype.kind == "b" else ""
        raise InvalidInput(f"{name} must hold {wanted}, got {array.dtype} {array.shape}{advice}")
    return check_samples(name, array)


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return (name,) if count == 1 else tuple(f"{name}{k}" for k in range(count))
