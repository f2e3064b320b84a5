"""What a sweep runs: fixed settings, and a design over some of them, from one TOML file (`help(simdrop.scale)`)."""

from __future__ import annotations

import itertools
import math
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks.numbers import check_count, check_seed
from ..checks.words import check_choice, counted, shown
from ..data.given import Given, check_data
from ..errors import InvalidInput
from ..problem.display import html
from ..schedule.base import Schedule
from ..schedule.given import text_of
from ..settings.fields import checked
from ..settings.values import allowed_types, coerce, known_name, read_toml
from .point import CHECKED, TABLES, Point, check

DESIGNS = ("grid", "list", "random")
SPACINGS = ("linear", "log")
#: points that a sweep can hold
MOST = 1_000_000
FIELDS = {field.name: field for field in fields(Point)}
HINTS = typing.get_type_hints(Point)


@dataclass(frozen=True, repr=False)
class Design:
    """The points of a sweep; `read` and `design` make it.

    Parameters
    ----------
    kind : {"grid", "list", "random"}
        How points are formed from the axes.
    axes : dict from str to list
        Swept fields with their values: one for each coordinate of a grid, or for each point.
    points : tuple of Point
        All points, the last dimension fastest.
    where : str
        What messages call the sweep.
    """

    kind: str
    axes: dict[str, list[Any]]
    points: tuple[Point, ...]
    where: str = "the sweep"

    def __repr__(self) -> str:
        swept = ", ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        return f"<Design: {self.kind} of {counted(len(self.points), 'point')}; {swept or 'nothing swept'}>"

    def _repr_html_(self) -> str:
        """The swept fields with their values, for notebooks."""
        rows = {name: _in_short(values) for name, values in self.axes.items()}
        return html(f"simdrop Design: {self.kind} of {counted(len(self.points), 'point')}", rows)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of the results."""
        return tuple(self.axes) if self.kind == "grid" else ("point",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return tuple(len(values) for values in self.axes.values()) if self.kind == "grid" else (len(self.points),)

    def configuration(self) -> dict[str, Any]:
        """Plain values that tell this design from any other.

        Returns
        -------
        dict
            Its kind and axes, and all fields of its first point.
        """
        return {"design": self.kind, "axes": self.axes, **asdict(self.points[0])}


def _in_short(values: Sequence[Any]) -> str:
    """The values of a field: all of a few, else the first and the last."""
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return ", ".join(shown) if len(shown) <= 12 else f"{', '.join(shown[:5])}, ..., {shown[-1]} ({len(shown)})"


def read(path: str | Path) -> Design:
    """Read the design of a sweep from a TOML file.

    Parameters
    ----------
    path : str or path
        The file; `help(simdrop.scale)` shows one.

    Returns
    -------
    Design
        The points.

    Raises
    ------
    InvalidInput
        The file is missing or wrong; the message has the nearest known name for an unknown one.
    """
    return design(read_toml(path, "sweep"), where=str(path))


def design(tables: Mapping[str, Any], *, where: str = "the sweep") -> Design:
    """Make the design of a sweep from plain tables, as a TOML file holds them.

    Parameters
    ----------
    tables : mapping
        Tables "problem", "simulate", "noise", "theory" of fixed fields, and "sweep" of swept ones; without these there
        is one point. `data` of "problem" and `test` of "simulate" may be pairs (x, y) of arrays.
    where : str
        What messages call the sweep.

    Returns
    -------
    Design
        The points.

    Raises
    ------
    InvalidInput
        A table is wrong; the message says `where`.

    Examples
    --------
    >>> tables = {"problem": {"data": "sin", "width": 3}, "sweep": {"lr": [0.1, 0.2], "keep_prob": [0.5, 0.9]}}
    >>> simdrop.scale.design(tables).shape
    (2, 2)
    """
    try:
        return _design(tables, where)
    except InvalidInput as error:
        raise InvalidInput(str(error) if where in str(error) else f"{where}: {error}") from None


def check_design(value: object) -> Design:
    """`value` where it is a design; raises InvalidInput."""
    if isinstance(value, Design):
        return value
    raise InvalidInput(f"design must be what simdrop.scale.read or design returned, got {shown(value)}")


def _design(tables: Mapping[str, Any], where: str) -> Design:
    if not isinstance(tables, Mapping):
        raise InvalidInput(f"{where} must be tables such as [simulate] and [sweep], got {shown(tables)}")
    for table, content in tables.items():
        check_choice(f"table in {where}", table, (*TABLES, "sweep"))
        if not isinstance(content, Mapping):
            raise InvalidInput(f"[{table}] must be a table, got {shown(content)}")
    fixed = _fixed(tables, where)
    swept = dict(tables.get("sweep", {}))
    kind = check_choice(f"design in {where}", swept.pop("design", "grid"), DESIGNS)
    count, seed = swept.pop("count", None), swept.pop("draw_seed", 0)
    if kind != "random" and (count is not None or seed != 0):
        raise InvalidInput("count and draw_seed belong to design 'random'")
    named: dict[str, Any] = {}
    for key, value in swept.items():
        named[_swept_name(key, fixed, named, where)] = value
    if not named and kind == "random":
        raise InvalidInput("[sweep] names no field to draw, such as lr = [0.1, 0.2]")
    if kind == "random":
        axes = _draws(named, check_count("[sweep] count", count, most=MOST), check_seed(seed, "[sweep] draw_seed"))
    else:
        axes = {name: _values(name, value) for name, value in named.items()}
    axes = {name: [_take(name, value, f"[sweep] {name}") for value in axes[name]] for name in axes}
    _check_lengths(kind, axes)
    kind = kind if axes else "list"  # one point
    points = _points(kind, axes, Point(**fixed)) if axes else (Point(**fixed),)
    for point in {tuple(getattr(point, name) for name in CHECKED): point for point in points}.values():
        check(point)
    return Design(kind, axes, points, where)


def _take(name: str, value: Any, where: str) -> Any:
    """`value` as that of a field of a point; raises InvalidInput that begins with `where`."""
    if name in ("data", "test"):
        value = check_data(where, value)
        if isinstance(value, Given):
            return value
    if isinstance(value, Schedule):
        value = text_of(value, where)
    return checked(coerce(value, HINTS[name], where), FIELDS[name], where)


def _fixed(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields that the tables fix; raises InvalidInput."""
    fixed: dict[str, Any] = {}
    for table in (name for name in tables if name != "sweep"):
        known = dict.fromkeys(TABLES[table])
        for key, value in tables[table].items():
            name = known_name(key, known, f"key of [{table}] in {where}", fixed)
            fixed[name] = _take(name, value, f"[{table}] {key}")
    return fixed


def _swept_name(key: str, fixed: Mapping[str, Any], named: Mapping[str, Any], where: str) -> str:
    """The field that a key of [sweep] names; raises InvalidInput for one that cannot be swept."""
    name = key.replace("-", "_")
    if name not in HINTS:
        check_choice(f"key of [sweep] in {where}", key, (*HINTS, "design", "count", "draw_seed"))
    if name in named:
        raise InvalidInput(f"[sweep] gives {name} twice")
    if HINTS[name] == tuple[str, ...]:
        raise InvalidInput(f"[sweep] {name} is a list itself and cannot be swept")
    if name in fixed:
        raise InvalidInput(f"[sweep] {name} is fixed and swept; leave one out")
    return name


def _check_lengths(kind: str, axes: Mapping[str, list[Any]]) -> None:
    """Raise InvalidInput for lists of a list design that differ in length, and for a grid that is too large."""
    lengths = {name: len(values) for name, values in axes.items()}
    if kind == "list" and len(set(lengths.values())) > 1:
        raise InvalidInput(f"design 'list' needs lists of one length, got {lengths}")
    if kind != "grid":
        return
    for name, values in axes.items():
        if len(set(values)) < len(values):
            twice = next(value for value, count in Counter(values).items() if count > 1)
            raise InvalidInput(f"[sweep] {name} has {twice!r} more than once, and a grid would run it as often")
    points = math.prod(lengths.values())
    if points > MOST:
        raise InvalidInput(f"[sweep] makes {points:.3g} points, more than the {MOST:,} that a sweep can hold")


def _points(kind: str, axes: Mapping[str, list[Any]], base: Point) -> tuple[Point, ...]:
    rows = itertools.product(*axes.values()) if kind == "grid" else zip(*axes.values(), strict=True)
    return tuple(replace(base, **dict(zip(axes, row, strict=True))) for row in rows)


def _values(name: str, given: Any) -> list[Any]:
    """The values of one axis, from a list or {from, to, count, spacing}."""
    if isinstance(given, (list, tuple)):
        if not given:
            raise InvalidInput(f"[sweep] {name} is empty")
        return list(given)
    if not isinstance(given, Mapping):
        raise InvalidInput(f"[sweep] {name} must be a list or {{from, to, count}}, got {shown(given)}")
    low, high, spacing = _span(name, given, ("from", "to"), ("count",))
    count = check_count(f"[sweep] {name}: count", given.get("count"), most=MOST)
    space = np.linspace if spacing == "linear" else np.geomspace
    # rounded to the digits that summaries show, so that 0.1 is 0.1
    return [float(f"{value:.12g}") for value in space(low, high, count)]


def _draws(swept: Mapping[str, Any], count: int, seed: int) -> dict[str, list[Any]]:
    """`count` draws of every field: from a list, or uniformly from {low, high, spacing}."""
    random, found = np.random.default_rng(seed), {}
    for name, given in swept.items():
        if isinstance(given, (list, tuple)) and given:
            found[name] = [given[k] for k in random.integers(0, len(given), count)]
        elif isinstance(given, Mapping):
            low, high, spacing = _span(name, given, ("low", "high"), ())
            if float not in allowed_types(HINTS[name]):
                raise InvalidInput(f"[sweep] {name} takes no fractions: give a list to choose from, not {shown(given)}")
            if low > high:
                raise InvalidInput(f"[sweep] {name}: low must be at most high, got {low!r} and {high!r}")
            ends = (math.log(low), math.log(high)) if spacing == "log" else (low, high)
            drawn = random.uniform(*ends, count)
            found[name] = [float(value) for value in (np.exp(drawn) if spacing == "log" else drawn)]
        else:
            raise InvalidInput(f"[sweep] {name} must be a list to choose from or {{low, high}}, got {shown(given)}")
    return found


def _span(
    name: str, given: Mapping[str, Any], ends: tuple[str, str], others: tuple[str, ...]
) -> tuple[float, float, str]:
    """The two ends of a span and its spacing."""
    for key in given:
        check_choice(f"key of [sweep] {name}", key, (*ends, *others, "spacing"))
    spacing = check_choice(f"spacing of [sweep] {name}", given.get("spacing", "linear"), SPACINGS)
    for end in (*ends, *others):
        if end not in given:
            raise InvalidInput(f"[sweep] {name}: {end} is missing, as in {{{', '.join((*ends, *others))}}}")
    low, high = (coerce(given[end], float, f"[sweep] {name}: {end}") for end in ends)
    if spacing == "log" and min(low, high) <= 0:
        raise InvalidInput(f"[sweep] {name}: a logarithmic spacing needs positive ends, got {low!r} and {high!r}")
    if not math.isfinite(high - low):
        raise InvalidInput(f"[sweep] {name}: {ends[0]} and {ends[1]} are too far apart, got {low!r} and {high!r}")
    return low, high, spacing
