"""Tables: text files whose columns are read by pandas and checked here, so that nothing is guessed.

pandas finds the type of a column; what it would take for more than the file says is refused with its place in the file:
columns of row numbers, a first row of numbers for names, empty cells, text, and numbers that float64 cannot hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..checks.numbers import MOST_EXACT
from ..checks.words import check_names, counted, listed, repeated, shown
from ..errors import InvalidInput
from .samples import Array, Data
from .text import Text, read_text

if TYPE_CHECKING:
    import pandas as pd

#: endings of files that are tables
TABLES = tuple(f"{ending}{packed}" for ending in (".csv", ".tsv", ".txt") for packed in ("", ".gz"))
#: cells that hold no value; others, such as "-" or "?", are refused as text
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "Null")
#: columns from which they are held together: pandas would look at each for itself
WIDE = 1000
#: texts of a column that become a column each
MOST_CATEGORIES = 1000
#: names that pandas gives to columns without one
_UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: a number with a decimal comma, and one whose commas may as well separate thousands
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True)
class Reading:
    """How a table is read: see `load`."""

    target: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    drop: bool = False
    one_hot: bool = False
    header: bool | None = None


class Table(NamedTuple):
    """A table as pandas has it: `names` of its columns, places by name, after which line of the text its rows begin."""

    text: Text
    names: tuple[str, ...]
    places: dict[str, int]
    begins: int
    frame: pd.DataFrame
    decimal: str = "."


def read_table(path: Path, reading: Reading) -> Data:
    """The data in a table; raises InvalidInput."""
    text = read_text(path)
    names, begins = _header(text, reading.header)
    known = tuple(name for name in names if name)
    if not reading.target:
        raise InvalidInput(f"target is missing: name the column of {path} to predict; columns are {listed(known)}")
    target = check_names("target column", reading.target, known)
    inputs = check_names("inputs column", reading.inputs, known)
    both = sorted(set(target) & set(inputs))
    if both:
        raise InvalidInput(f"{path}: column {both[0]!r} is input and target")
    table = Table(text, names, {name: k for k, name in enumerate(names) if name}, begins, _frame(text, names, begins))
    notes: list[str] = []
    if not inputs:
        left_out = {*target, *_without_names(table, notes)}
        inputs = tuple(name for name in names if name not in left_out)
    if not inputs:
        raise InvalidInput(f"{path}: no column is left to predict from")
    table = _complete(_decimal_points(table, (*inputs, *target), notes), (*inputs, *target), reading, notes)
    x_names, x = _numbers(table, inputs, reading, notes)
    y_names, y = _numbers(table, target, reading, notes)
    stem = re.sub(r"\.\w+(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return Data(stem, x, y, x_names, y_names, tuple(notes))


def _header(text: Text, header: bool | None) -> tuple[tuple[str, ...], int]:
    """Names of the columns, "" where there is none, and the line after which the rows begin; raises InvalidInput."""
    line, cells = next(text.records(), (0, []))
    if not any(cell.strip() for cell in cells):
        raise InvalidInput(f"{text.path} is empty: a CSV file needs a header line that names its columns")
    if header is False:
        return tuple(str(k + 1) for k in range(len(cells))), 0
    names = tuple(cell.strip() for cell in cells)
    twice = repeated(filter(None, names))
    if twice is not None:
        raise InvalidInput(f"{text.path} has more than one column named {twice!r}")
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    all_numbers = len(numbers) == len([name for name in names if name and name not in MISSING])
    if header is None and numbers and (all_numbers or any(re.search(r"[.eE]", number) for number in numbers)):
        raise InvalidInput(
            f"{text.path} begins with numbers, not with names of its columns ({listed(names, 5)}): --no-header"
            " (header=False) calls its columns 1, 2, ..., --header (header=True) takes the numbers as names"
        )
    return names, line


def _frame(text: Text, names: tuple[str, ...], begins: int, decimal: str = ".") -> pd.DataFrame:
    """The rows, without blank ones, with NaN for missing cells; raises InvalidInput."""
    import pandas as pd

    # the newest round correctly by themselves
    exact: dict[str, Any] = {} if _version(pd) >= (3, 1) else {"float_precision": "round_trip"}
    try:
        frame = pd.read_csv(
            text.after(begins), sep=text.separator, header=None, skipinitialspace=True, low_memory=False,
            keep_default_na=False, na_values=list(MISSING), decimal=decimal, **exact,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise InvalidInput(f"{text.path} has a header line but no rows") from None
    except pd.errors.ParserError as error:
        _refuse_ragged(text, len(names), begins)
        if "EOF inside string" in str(error):
            *_, before, _ = begins, *(line for line, _ in text.records() if line > begins)
            raise InvalidInput(f"{text.path}: a quotation mark in line {before + 1} is never closed") from None
        raise InvalidInput(f"cannot read {text.path}: {error}") from None
    except MemoryError:
        raise InvalidInput(f"cannot read {text.path}: it is larger than the memory") from None
    if frame.shape[1] > WIDE:
        frame = frame.copy()  # columns of one type become one array
    if frame.shape[1] != len(names) or frame.iloc[:, -1].isna().any():  # pandas fills short rows up
        _refuse_ragged(text, len(names), begins)
    blank = frame.isna().all(axis=1)
    if blank.all():
        raise InvalidInput(f"{text.path} has a header line but no rows")
    return frame[~blank] if blank.any() else frame


def _version(library: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in library.__version__.split(".")[:2])


def _refuse_ragged(text: Text, width: int, begins: int) -> None:
    """Raise InvalidInput at the first row that has not `width` cells."""
    number = 0
    for line, cells in text.records():
        if line <= begins or not any(cell.strip() for cell in cells):
            continue
        number += 1
        if len(cells) != width:
            counts = f"{counted(len(cells), 'cell')} but the header {width}"
            raise InvalidInput(f"{text.path}, row {number} (line {line}) has {counts}")


def _without_names(table: Table, notes: list[str]) -> tuple[str, ...]:
    """Names, or "", of columns that are empty or only number the rows; raises InvalidInput for others without one."""
    found = []
    for k, name in enumerate(table.names):
        if not _UNNAMED.fullmatch(name):
            continue
        cells = table.frame.iloc[:, k]
        rows = np.arange(len(cells))
        empty = cells.isna().all()
        numbered = cells.dtype.kind in "iu" and any(np.array_equal(cells, rows + first) for first in (0, 1))
        if not empty and not numbered:
            begins = ", ".join(map(str, cells[:3]))
            raise InvalidInput(
                f"{table.text.path}: column {k + 1} has no name; it begins with {begins}:"
                " name it in the first line, or choose inputs (pandas writes no such column with index=False)"
            )
        notes.append(f"column {k + 1} without a name {'is empty' if empty else 'only numbers the rows'}: left out")
        found.append(name)
    return tuple(found)


def _decimal_points(table: Table, picked: tuple[str, ...], notes: list[str]) -> Table:
    """The table read with decimal commas where it has them; raises InvalidInput where they may mean thousands."""
    text = table.text
    if text.separator == ",":
        return table
    kinds = [dtype.kind for dtype in table.frame.dtypes]
    commas = [
        (name, row, cell)
        for name in picked
        if kinds[table.places[name]] not in "iuf"
        for row, cell in _texts(table, name).items()
        if _DECIMAL_COMMA.fullmatch(cell)
    ]
    if not commas:
        return table
    if all(_THOUSANDS.fullmatch(cell) for _, _, cell in commas):
        name, row, cell = commas[0]
        meant = f"{cell.replace(',', '.')} or {cell.replace(',', '')}"
        _refuse(table, name, row, f": {meant} may be meant; write it without a comma")
    notes.append(f"decimal commas: {commas[0][2]} read as {commas[0][2].replace(',', '.')}")
    return table._replace(frame=_frame(text, table.names, table.begins, decimal=","), decimal=",")


def _column(table: Table, name: str) -> Any:
    return table.frame.iloc[:, table.places[name]]


def _texts(table: Table, name: str) -> Any:
    """The cells of a column as texts, without missing ones; none where pandas found numbers."""
    column = _column(table, name)
    if column.dtype.kind in "iuf":
        return column.iloc[:0]
    return column.dropna().astype(str).str.strip()


def _complete(table: Table, picked: tuple[str, ...], reading: Reading, notes: list[str]) -> Table:
    """The table without the rows that lack one of the cells of the `picked` columns; raises InvalidInput."""
    frame = table.frame
    lacking = frame.iloc[:, [table.places[name] for name in picked]].isna()
    if not lacking.any(axis=None):
        return table
    columns = [name for name, found in zip(picked, lacking.any(), strict=True) if found]
    if not reading.drop:
        column = _column(table, columns[0])
        _refuse(table, columns[0], column.index[column.isna()][0], "; missing 'drop' leaves such rows out")
    rows = lacking.any(axis=1)
    if rows.all():
        raise InvalidInput(f"{table.text.path}: every row lacks a cell of column {' or '.join(map(repr, columns[:5]))}")
    notes.append(f"{rows.sum()} of {len(rows)} rows with missing cells left out (columns {listed(tuple(columns), 5)})")
    return table._replace(frame=frame[~rows])


def _numbers(table: Table, names: tuple[str, ...], reading: Reading, notes: list[str]) -> tuple[tuple[str, ...], Array]:
    """The columns `names` as numbers (n, k), with their k names; raises InvalidInput."""
    found: dict[str, Array] = {}
    plain = _plain(table, names)
    for name in names:
        if name in plain:
            found[name] = plain[name]
            continue
        texts = _texts(table, name)
        if not len(texts):
            found[name] = _finite(table, name)
            continue
        if not reading.one_hot or any(map(_NUMBER.fullmatch, texts)):
            _refuse_text(table, name, texts)
        kinds = sorted(set(texts))
        if len(kinds) > MOST_CATEGORIES:
            raise InvalidInput(
                f"{table.text.path}: column {name!r} has {len(kinds)} texts, too many for one-hot columns"
            )
        found |= {f"{name}={kind}": (texts == kind).to_numpy(np.float64) for kind in kinds}
        notes.append(f"column {name!r} as {counted(len(kinds), 'column')} of 0 and 1: {listed(tuple(kinds), 10)}")
    return tuple(found), np.column_stack(list(found.values()))


def _plain(table: Table, names: tuple[str, ...]) -> dict[str, Array]:
    """The columns of `names` whose cells are all numbers that float64 can hold: all columns of one type at once."""
    kinds, found = list(table.frame.dtypes), dict[str, Array]()
    for dtype in dict.fromkeys(kinds):
        own = [name for name in names if kinds[table.places[name]] == dtype]
        if dtype.kind not in "iuf" or not own:
            continue
        block = table.frame.iloc[:, [table.places[name] for name in own]].to_numpy()
        good = np.isfinite(block).all(axis=0)
        if dtype.kind in "iu":
            good &= (block <= MOST_EXACT).all(axis=0) & (block >= -MOST_EXACT).all(axis=0)
        columns = block.T.astype(np.float64)
        found |= {name: column for name, column, kept in zip(own, columns, good, strict=True) if kept}
    return found


def _finite(table: Table, name: str) -> Array:
    """A column of numbers as finite float64; raises InvalidInput."""
    column = _column(table, name)
    given = column.to_numpy()
    bad = ~np.isfinite(given)
    if bad.any():
        _refuse(table, name, column.index[bad][0])
    if given.dtype.kind in "iu":
        beyond = (given > MOST_EXACT) | (given < -MOST_EXACT)
        if beyond.any():
            _refuse(table, name, column.index[beyond][0], ": a whole number beyond 2**53, which float64 would round")
    return given.astype(np.float64)


def _refuse_text(table: Table, name: str, texts: Any) -> NoReturn:
    """Raise InvalidInput for a column that holds texts, or numbers that cannot be taken."""
    wrong = [(row, cell) for row, cell in texts.items() if not _NUMBER.fullmatch(cell) or np.isinf(float(cell))]
    if table.decimal == ",":
        points = next((row for row, cell in texts.items() if re.fullmatch(r"[\d.,+-]*\.[\d.,]*", cell)), None)
        if points is not None:
            _refuse(table, name, points, ": other numbers of the table have decimal commas")
        wrong = [(row, cell) for row, cell in wrong if not _DECIMAL_COMMA.fullmatch(cell)]
    if not wrong:
        _refuse(table, name, texts.index[0], ": the column has whole numbers beyond 2**53, which float64 would round")
    plain = len(wrong) == len(texts) and not any(re.match(r"[\"']?[+-]?\.?\d", cell) for _, cell in wrong)
    _refuse(table, name, wrong[0][0], "; categories 'one-hot' makes a column of 0 and 1 for each text" if plain else "")


def _refuse(table: Table, name: str, row: Any, reason: str = "") -> NoReturn:
    """Raise InvalidInput for the cell of column `name` in the row that pandas calls `row`.

    A `reason` that begins with a colon says what is wrong with it, else it is no finite number.
    """
    number, place = 0, -1
    for line, cells in table.text.records():
        if line <= table.begins:
            continue
        number += any(cell.strip() for cell in cells)
        place += 1
        if place == row:
            break
    cell = cells[table.places[name]].strip()
    holds = f"holds {shown(cell)}" if cell else "is empty"
    if cell and not reason.startswith(":"):
        holds += ", which is not a finite number"
    raise InvalidInput(f"{table.text.path}: column {name!r} {holds} in row {number} (line {line}){reason}")
