"""load(): the data that a name or a file stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..checks.numbers import check_count, check_flag
from ..checks.words import check_choice, check_path, shown
from ..errors import InvalidInput
from .archives import read_npz
from .real import REAL, real
from .samples import Data, first, standardized
from .tables import TABLES, Reading, read_table
from .targets import TARGETS, one_dimensional

NAMES = (*TARGETS, *REAL)
#: what can be done about missing cells, and about columns of text
MISSING, CATEGORIES = ("refuse", "drop"), ("refuse", "one-hot")
_TOO = "or .tsv, .txt, .csv.gz and the like; pandas and numpy.savez write them"


def load(
    spec: str | Path,
    *,
    target: str | Sequence[str] = (),
    inputs: str | Sequence[str] = (),
    samples: int | None = None,
    standardize: bool = False,
    standardize_targets: bool = False,
    missing: Literal["refuse", "drop"] = "refuse",
    categories: Literal["refuse", "one-hot"] = "refuse",
    header: bool | None = None,
) -> Data:
    """The data that `spec` names.

    Parameters
    ----------
    spec : a name of `NAMES`; a table (.csv, .tsv or .txt, or one of these with .gz) whose first line names its columns;
        or an NPZ file with arrays x and y
    target : the table's column or columns to predict
    inputs : the table's columns to predict from; all others by default
    samples : take the first so many rows only
    standardize : shift and scale each input to mean 0 and variance 1; constant inputs become 0
    standardize_targets : the same for the targets
    missing : "refuse" tables with empty cells, or "drop" the rows that have some
    categories : "refuse" columns of text, or "one-hot": 0 and 1 in a column for each text
    header : whether the first line names the columns, else they are called 1, 2, ...; by default it must, and is
        refused where it looks like numbers

    Raises
    ------
    InvalidInput : names the file, and the column and row where there is one
    """
    name = str(check_path("data", spec))
    check_choice("missing", missing, MISSING)
    check_choice("categories", categories, CATEGORIES)
    if header is not None:
        check_flag("header", header)
    standardize = check_flag("standardize", standardize)
    standardize_targets = check_flag("standardize_targets", standardize_targets)
    reading = Reading(
        target=_names("target", target), inputs=_names("inputs", inputs), drop=missing == "drop",
        one_hot=categories == "one-hot", header=header,
    )  # fmt: skip
    if samples is not None:
        samples = check_count("samples", samples)
    data = _read(name, reading)
    if samples is not None:
        data = first(data, samples)
    return standardized(data, inputs=standardize, targets=standardize_targets)


def _read(name: str, reading: Reading) -> Data:
    """The whole data of a name or a file; raises InvalidInput."""
    lowered = name.lower()
    if name not in NAMES and lowered.endswith(TABLES):
        return read_table(Path(name), reading)
    if name not in NAMES and not lowered.endswith(".npz"):
        if not _exists(Path(name)):
            check_choice("data", name, (*NAMES, "FILE.csv", "FILE.npz"))
        raise InvalidInput(f"data {name!r} must be a .csv or .npz file ({_TOO}) or one of {', '.join(NAMES)}")
    if reading.target or reading.inputs:
        raise InvalidInput(f"target and inputs choose columns of a CSV file, but data is {name!r}")
    if reading != Reading():
        raise InvalidInput(f"missing, categories and header are for CSV files, but data is {name!r}")
    if name in TARGETS:
        return one_dimensional(name)
    return real(name) if name in REAL else read_npz(Path(name))


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that cannot be one names none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _names(argument: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """The names of columns, one or several; which there are is known later. Raises InvalidInput."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{argument} must name one or several columns, got {shown(value)}")
    return tuple(names)
