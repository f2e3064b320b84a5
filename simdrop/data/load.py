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
    """Load data by name, or from a table or an NPZ file.

    Parameters
    ----------
    spec : str or path
        A name of `NAMES`; a table (.csv, .tsv or .txt, or one of these with .gz) whose first line names its columns; or
        an NPZ file with arrays x and y.
    target : str or sequence of str
        Columns of the table to predict.
    inputs : str or sequence of str
        Columns of the table to predict from; all others by default.
    samples : int, optional
        Take this many rows from the top.
    standardize : bool
        Shift and scale each input to mean 0 and variance 1; constant inputs become 0.
    standardize_targets : bool
        The same for targets; a constant one is refused.
    missing : {"refuse", "drop"}
        What to do with a table that has empty cells: refuse it, or drop the rows that have some.
    categories : {"refuse", "one-hot"}
        What to do with columns of text: refuse them, or make a column of 0 and 1 for each text.
    header : bool, optional
        Whether the first line names the columns; without names they are called 1, 2, ... By default it must name them,
        and is refused where it looks like numbers.

    Returns
    -------
    Data
        x (n, d), y (n, c), names of their columns, and notes on what was done.

    Raises
    ------
    InvalidInput
        An argument or the file is wrong; the message names the file, and the column and row where there is one.

    Examples
    --------
    >>> data = simdrop.data.load("sin")
    >>> data.x.shape, data.y.shape
    ((4, 1), (4, 1))
    >>> problem = simdrop.Problem(data.x, data.y, width=5)
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
