"""Data to train on: the papers' one-dimensional targets, CSV and NPZ files, scikit-learn's real data sets."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import check_count, check_finite
from .errors import InvalidInput
from .words import check_choice

Array = NDArray[np.float64]


class Target(NamedTuple):
    """A target function of one variable with the points that a paper trains it on."""

    function: Callable[[Array], Array]
    points: Array  # (n,)
    about: str


#: the one-dimensional problems of arXiv:2207.05952 (figures 1 and 4) and the small one on which orders are measured
TARGETS = {
    "condensation": Target(
        lambda x: np.tanh(x - 6) + np.tanh(x + 6),
        np.linspace(-12, 12, 15),
        "tanh(x-6) + tanh(x+6) at 15 points on [-12, 12]",
    ),
    "relu-fit": Target(
        lambda x: (np.maximum(-x - 1 / 3, 0) + np.maximum(x - 1 / 3, 0)) / 2,
        np.linspace(-5 / 3, 5 / 3, 6),
        "relu(-x-1/3)/2 + relu(x-1/3)/2 at 6 points on [-5/3, 5/3]",
    ),
    "sin": Target(lambda x: np.sin(3 * x), np.linspace(-1, 1, 4), "sin(3x) at 4 points on [-1, 1]"),
}

#: real data that scikit-learn carries
REAL = {
    "diabetes": "442 patients, 10 inputs, progression of the disease after a year, all standardised",
    "digits": "1797 handwritten digits of 8 x 8 pixels in [0, 1], 10 outputs (one per class)",
}

NAMES = (*TARGETS, *REAL)


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs x (n, d) and targets y (n, c) with the names of their columns; `notes` say what was done to them."""

    name: str
    x: Array
    y: Array
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load(
    spec: str | Path,
    *,
    target: str | Sequence[str] = (),
    inputs: str | Sequence[str] = (),
    samples: int | None = None,
    standardize: bool = False,
    standardize_targets: bool = False,
) -> Data:
    """The data that `spec` names.

    Parameters
    ----------
    spec : a name of `NAMES`, a CSV file with a header line, or an NPZ file with arrays x and y
    target : the CSV's column or columns to predict
    inputs : the CSV's columns to predict from; all others by default
    samples : take the first so many rows only
    standardize : shift and scale each input to mean 0 and variance 1; constant inputs become 0
    standardize_targets : the same for the targets

    Raises
    ------
    InvalidInput : names the file, and the column and row where there is one
    """
    name = str(spec)
    target, inputs = _as_names(target), _as_names(inputs)
    suffix = Path(name).suffix.lower()
    if name not in NAMES and suffix not in (".csv", ".npz"):
        if Path(name).exists():
            raise InvalidInput(f"data {name!r} must be a .csv or .npz file or one of {', '.join(NAMES)}")
        check_choice("data", name, (*NAMES, "FILE.csv", "FILE.npz"))
    if suffix != ".csv" and (target or inputs):
        raise InvalidInput(f"target and inputs choose columns of a CSV file, but data is {name!r}")
    if name in TARGETS:
        data = _one_dimensional(name)
    elif name in REAL:
        data = _REAL_READERS[name]()
    elif suffix == ".csv":
        data = _read_csv(Path(name), target, inputs)
    else:
        data = _read_npz(Path(name))
    if samples is not None:
        data = _first(data, check_count("samples", samples))
    return _standardized(data, standardize, standardize_targets)


def _one_dimensional(name: str) -> Data:
    target = TARGETS[name]
    return Data(name, target.points[:, None], target.function(target.points)[:, None], ("x",), ("y",), (target.about,))


def _diabetes() -> Data:
    """In standard units: the raw ones reach 346, where a tanh network trains at no useful learning rate."""
    found = _sklearn("diabetes").load_diabetes(scaled=False)
    raw = Data("diabetes", found.data, found.target[:, None], tuple(found.feature_names), ("progression",))
    return _standardized(raw, inputs=True, targets=True)


def _digits() -> Data:
    found = _sklearn("digits").load_digits()
    one_hot = np.eye(10)[found.target]
    pixels = tuple(f"pixel {row},{column}" for row in range(8) for column in range(8))
    return Data("digits", found.data / 16, one_hot, pixels, tuple(f"digit {k}" for k in range(10)))


_REAL_READERS = {"diabetes": _diabetes, "digits": _digits}


def _sklearn(name: str) -> Any:
    try:
        import sklearn.datasets
    except ImportError:
        raise InvalidInput(f"data {name!r} needs scikit-learn: pip install 'simdrop[data]'") from None
    return sklearn.datasets


def _read_csv(path: Path, target: tuple[str, ...], inputs: tuple[str, ...]) -> Data:
    header, rows = _table(path)
    known = tuple(header)
    if not target:
        raise InvalidInput(f"target is missing: name the column of {path} to predict; columns are {', '.join(known)}")
    inputs = inputs or tuple(column for column in header if column not in target)
    for argument, names in (("target", target), ("inputs", inputs)):
        for column in names:
            check_choice(f"{argument} column", column, known)
    both = sorted(set(target) & set(inputs))
    if both or not inputs:
        reason = f"column {both[0]!r} is input and target" if both else "no column is left to predict from"
        raise InvalidInput(f"{path}: {reason}")
    picked = [header.index(column) for column in (*inputs, *target)]
    numbers = [[_number(path, header[k], cells[k], row, line) for k in picked] for row, line, cells in rows]
    if not numbers:
        raise InvalidInput(f"{path} has a header line but no rows")
    table = np.array(numbers, dtype=np.float64)
    return Data(path.stem, table[:, : len(inputs)], table[:, len(inputs) :], inputs, target)


def _table(path: Path) -> tuple[list[str], Iterator[tuple[int, int, list[str]]]]:
    """The header, and every further row that is not blank as (number of the row, its last line, cells)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {_reason(error)}") from None
    first = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    header = [cell.strip() for cell in next(reader, [])]
    if not any(header):
        raise InvalidInput(f"{path} is empty: a CSV file needs a header line that names its columns")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise InvalidInput(f"{path} has more than one column named {twice[0]!r}")

    def rows() -> Iterator[tuple[int, int, list[str]]]:
        number = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            number += 1
            if len(cells) != len(header):
                counts = f"{len(cells)} cells but the header {len(header)}"
                raise InvalidInput(f"{path}, row {number} (line {reader.line_num}) has {counts}")
            yield number, reader.line_num, cells

    return header, rows()


def _number(path: Path, column: str, cell: str, row: int, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = None
    if value is not None and math.isfinite(value):
        return value
    problem = "is empty" if not cell.strip() else f"holds {cell.strip()!r}, which is not a finite number"
    raise InvalidInput(f"{path}: column {column!r} {problem} in row {row} (line {line})")


def _read_npz(path: Path) -> Data:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput(f"{path} is a single array, not an NPZ file with arrays x and y")
            absent = [key for key in ("x", "y") if key not in archive.files]
            if absent:
                found = ", ".join(archive.files) or "nothing"
                raise InvalidInput(f"{path} has no array {' and no array '.join(absent)}; it holds {found}")
            arrays = {key: archive[key] for key in ("x", "y")}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"cannot read {path}: {_reason(error)}") from None
    columns = {}
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or 0 in array.shape:
            wanted = "numbers of shape (n,) or (n, columns)"
            raise InvalidInput(f"{path}: array {key} must hold {wanted}, got {array.dtype} {array.shape}")
        columns[key] = check_finite(f"{path}: array {key}", array).reshape(len(array), -1)
    x, y = columns["x"], columns["y"]
    if len(x) != len(y):
        raise InvalidInput(f"{path}: x has {len(x)} samples but y has {len(y)}")
    return Data(path.stem, x, y, _numbered("x", x.shape[1]), _numbered("y", y.shape[1]))


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return (name,) if count == 1 else tuple(f"{name}{k}" for k in range(count))


def _as_names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _reason(error: Exception) -> str:
    """The system's words for a failed read, without the path that our message names."""
    return getattr(error, "strerror", None) or str(error)


def _first(data: Data, samples: int) -> Data:
    if samples > len(data.x):
        raise InvalidInput(f"samples must be at most the {len(data.x)} of {data.name}, got {samples}")
    note = f"first {samples} of {len(data.x)} samples"
    return replace(data, x=data.x[:samples], y=data.y[:samples], notes=(*data.notes, note))


def _standardized(data: Data, inputs: bool, targets: bool) -> Data:
    if inputs:
        x, constant = _zero_mean_unit_variance(data.x)
        note = "inputs standardised to mean 0, variance 1"
        if constant.any():
            note += f" (constant inputs set to 0: {constant.sum()})"
        data = replace(data, x=x, notes=(*data.notes, note))
    if targets:
        y, constant = _zero_mean_unit_variance(data.y)
        if constant.any():
            column = data.targets[int(np.flatnonzero(constant)[0])]
            raise InvalidInput(f"target column {column!r} of {data.name} is constant: it cannot be standardised")
        data = replace(data, y=y, notes=(*data.notes, "targets standardised to mean 0, variance 1"))
    return data


def _zero_mean_unit_variance(columns: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The columns (n, k) standardised, constant ones as 0, and which are constant (k,)."""
    constant = np.ptp(columns, axis=0) == 0
    centred = np.where(constant, 0, columns - columns.mean(axis=0))
    return centred / np.where(constant, 1, centred.std(axis=0)), constant
