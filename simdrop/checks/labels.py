"""Checks of labels: NumPy goes by position alone, and would pair what the labels of pandas and xarray keep apart.

Loads neither library: arrays of other kinds have no labels, and pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput

#: axes of results on which no parameters lie
_NOT_PARAMETERS = {"time", "member", "kept", "group", "quantile", "point", "output", "input", "param_i", "param_j"}
#: what an axis without a name goes by
_ROWS = "rows"


def axes(value: object) -> tuple[str, ...]:
    """The names of the axes of an array of xarray; () for others."""
    dims = getattr(value, "dims", ())
    return tuple(map(str, dims)) if isinstance(dims, tuple) else ()


def along(value: Any, axis: str) -> Any:
    """The labels of an axis, a pandas.Index, or None; a table of pandas has them along its rows."""
    if axis in axes(value):
        return value.indexes.get(axis)
    return value.index if axis == _ROWS and hasattr(value, "iloc") else None


def check_rows(first: str, x: Any, second: str, y: Any) -> None:
    """Raise InvalidInput where x and y, of the same samples, are labelled, and not in the same order."""
    rows = axes(x)[:1], axes(y)[:1]
    if all(rows) and rows[0] != rows[1] and (rows[1][0] in axes(x) or rows[0][0] in axes(y)):
        raise InvalidInput(
            f"the samples of {first} go along {rows[0][0]!r}, those of {second} along {rows[1][0]!r}:"
            " transpose one of them"
        )
    of_x, of_y = (along(value, row[0] if row else _ROWS) for value, row in zip((x, y), rows, strict=True))
    if of_x is not None and of_y is not None and len(of_x) == len(of_y) and not of_x.equals(of_y):
        place = next(k for k, (own, other) in enumerate(zip(of_x, of_y, strict=True)) if own != other)
        raise InvalidInput(
            f"{first} and {second} have different labels, the first, {of_x[place]} and {of_y[place]}, in row"
            f" {place}: bring them into one order, or pass {first}.values and {second}.values to go by position"
        )


def check_same(values: Mapping[str, Any], skip: str = "param") -> None:
    """Raise InvalidInput where labelled arrays have different labels along an axis of the same name."""
    seen: dict[str, tuple[str, Any]] = {}
    for name, value in values.items():
        for axis in axes(value) or (_ROWS,):
            labels = along(value, axis)
            if labels is None or axis == skip:
                continue
            other, theirs = seen.setdefault(axis, (name, labels))
            if not theirs.equals(labels):
                advice = f"{name}.reindex_like({other})" if axis == _ROWS else f"{name}.sel({axis}={other}.{axis})"
                raise InvalidInput(
                    f"{name} and {other} have different labels along {axis!r}: write {advice}, or pass"
                    f" {name}.values to go by position"
                )


def check_parameters_last(name: str, value: object) -> None:
    """Raise InvalidInput for an array of a run whose last axis is not that of the parameters."""
    names = axes(value)
    if "param" in names[:-1]:
        raise InvalidInput(f"{name} must have 'param' last, got {', '.join(names)}: {name}.transpose(..., 'param')")
    if names and names[-1] in _NOT_PARAMETERS:
        raise InvalidInput(f"{name} must be parameters, with 'param' last, got an array over {', '.join(names)}")


def check_time(name: str, value: Any) -> None:
    """Raise InvalidInput for the steps of a run in place of its times, and for the times of one that has none."""
    if not axes(value):
        return
    if value.name == "step":
        raise InvalidInput(f"{name} must be times, lr · step, got a run's steps: pass runs.time")
    if value.name == "time" and "time" not in value.coords:  # xarray counts 0, 1, ... in the place of what is missing
        raise InvalidInput(f"{name}: this run has no times, for its lr differs between members; multiply its steps")
