"""Results as files of other programs: NetCDF and Zarr as they are, Parquet and CSV as tables, all with attributes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput

if TYPE_CHECKING:
    import xarray as xr

EXPORTS = (".nc", ".zarr", ".parquet", ".csv")
#: rows of a table that is exported
MOST_ROWS = 10_000_000


def rows_of(found: xr.Dataset) -> Any:
    """A table with a row for each combination of the coordinates; raises InvalidInput where that would be too many."""
    rows = math.prod(found.sizes.values())
    if rows > MOST_ROWS:
        raise InvalidInput(f"a table of these results would have {rows} rows: export them as .nc or .zarr")
    return found.to_dataframe().reset_index()


def export(found: xr.Dataset, path: Path, as_table: Callable[[xr.Dataset], Any] = rows_of) -> None:
    """Write all, with attributes; `as_table` makes the rows of Parquet and CSV. Raises InvalidInput."""
    from ..output.folder import remove
    from ..output.storage import save

    if path.suffix not in (".parquet", ".csv"):
        save(found, path)
        return
    rows, fresh = as_table(found), path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".csv":
            _write_csv(rows, found, fresh)
        else:
            rows.attrs = _attributes(found)
            rows.to_parquet(fresh)
        fresh.replace(path)
    except ImportError:
        raise InvalidInput("Parquet needs pyarrow: pip install 'simdrop[parquet]'") from None
    finally:
        remove(fresh)


def _attributes(found: xr.Dataset) -> dict[str, Any]:
    """The attributes of results as numbers and texts."""
    from ..output.storage import plain_attribute

    return {str(name): plain_attribute(value) for name, value in found.attrs.items()}


def _write_csv(rows: Any, found: xr.Dataset, path: Path) -> None:
    """A table below lines that begin with "# ": attributes, then what the columns are and their units.

    `pandas.read_csv(path, comment="#")` and `numpy.genfromtxt` go by the rows alone.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        for name, value in _attributes(found).items():
            file.write(f"# {name}: {json.dumps(value, ensure_ascii=False)}\n")
        for variable, one in found.variables.items():
            if "long_name" in one.attrs:
                file.write(f"# {variable}: {one.attrs['long_name']} [{one.attrs.get('units', '1')}]\n")
        rows.to_csv(file, index=False)
