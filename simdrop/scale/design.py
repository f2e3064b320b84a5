"""What a sweep runs: fixed settings, and a design over some of them, from one TOML file (`help(simdrop.scale)`)."""

from __future__ import annotations

import itertools
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count
from ..errors import InvalidInput
from ..values import coerce
from ..words import check_choice
from .point import CHECKED, TABLES, Point, check

DESIGNS = ("grid", "list", "random")
SPACINGS = ("linear", "log")


@dataclass(frozen=True)
class Design:
    """The points of a sweep.

    axes: swept field -> its values, one for each coordinate of a grid, or for each point; dims: the fields, for a grid,
    else ("point",); points: in the order of the last dimension fastest.
    """

    kind: str
    axes: dict[str, list[Any]]
    points: tuple[Point, ...]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions of the results."""
        return tuple(self.axes) if self.kind == "grid" else ("point",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return tuple(len(values) for values in self.axes.values()) if self.kind == "grid" else (len(self.points),)

    def configuration(self) -> dict[str, Any]:
        """Plain values that tell this design from any other: its kind and axes, and all of its first point."""
        return {"design": self.kind, "axes": self.axes, **asdict(self.points[0])}


def read(path: str | Path) -> Design:
    """The design in a TOML file; raises InvalidInput, with the nearest known name for an unknown one."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return design(tomllib.load(file), where=str(path))
    except OSError as error:
        raise InvalidInput(f"cannot read sweep {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"sweep {path} is not valid TOML: {error}") from None


def design(tables: Mapping[str, Any], *, where: str = "the sweep") -> Design:
    """The design that plain tables describe; raises InvalidInput."""
    hints, fixed = typing.get_type_hints(Point), {}
    for table, content in tables.items():
        check_choice(f"table in {where}", table, (*TABLES, "sweep"))
        if not isinstance(content, Mapping):
            raise InvalidInput(f"{where}: [{table}] must be a table, got {content!r}")
        for name, value in content.items() if table != "sweep" else ():
            check_choice(f"key of [{table}] in {where}", name, TABLES[table])
            fixed[name] = coerce(value, hints[name], f"[{table}] {name}")
    swept = dict(tables.get("sweep", {}))
    kind = swept.pop("design", "grid")
    check_choice(f"design in {where}", kind, DESIGNS)
    count, seed = swept.pop("count", None), swept.pop("draw_seed", 0)
    for name in swept:
        check_choice(f"key of [sweep] in {where}", name, (*hints, "design", "count", "draw_seed"))
        if hints[name] == tuple[str, ...]:
            raise InvalidInput(f"{where}: {name} is a list itself and cannot be swept")
        if name in fixed:
            raise InvalidInput(f"{where}: {name} is fixed and swept; leave one out")
    if not swept:
        raise InvalidInput(f"{where}: [sweep] names no field to sweep, such as lr = [0.1, 0.2]")
    if kind != "random" and (count is not None or seed != 0):
        raise InvalidInput(f"{where}: count and draw_seed belong to design 'random'")
    if kind == "random":
        axes = _draws(swept, check_count("[sweep] count", count), check_count("[sweep] draw_seed", seed, least=0))
    else:
        axes = {name: _values(name, value) for name, value in swept.items()}
    axes = {name: [coerce(value, hints[name], f"[sweep] {name}") for value in axes[name]] for name in axes}
    lengths = {name: len(values) for name, values in axes.items()}
    if kind == "list" and len(set(lengths.values())) > 1:
        raise InvalidInput(f"{where}: design 'list' needs lists of one length, got {lengths}")
    rows = itertools.product(*axes.values()) if kind == "grid" else zip(*axes.values(), strict=True)
    base = Point(**fixed)
    points = tuple(replace(base, **dict(zip(axes, row, strict=True))) for row in rows)
    for point in {tuple(getattr(point, name) for name in CHECKED): point for point in points}.values():
        check(point)
    return Design(kind, axes, points)


def _values(name: str, given: Any) -> list[Any]:
    """The values of one axis, from a list or {from, to, count, spacing}."""
    if isinstance(given, list):
        if not given:
            raise InvalidInput(f"[sweep] {name} is empty")
        return given
    if not isinstance(given, Mapping):
        raise InvalidInput(f"[sweep] {name} must be a list or {{from, to, count}}, got {given!r}")
    low, high, spacing = _span(name, given, ("from", "to"), ("count",))
    count = check_count(f"[sweep] {name}: count", given.get("count"))
    space = np.linspace if spacing == "linear" else np.geomspace
    # rounded to what is told in summaries, so that 0.1 is 0.1
    return [float(f"{value:.12g}") for value in space(low, high, count)]


def _draws(swept: Mapping[str, Any], count: int, seed: int) -> dict[str, list[Any]]:
    """`count` draws of every field: from a list, or uniformly from {low, high, spacing}."""
    random, found = np.random.default_rng(seed), {}
    for name, given in swept.items():
        if isinstance(given, list) and given:
            found[name] = [given[k] for k in random.integers(0, len(given), count)]
        elif isinstance(given, Mapping):
            low, high, spacing = _span(name, given, ("low", "high"), ())
            ends = (math.log(low), math.log(high)) if spacing == "log" else (low, high)
            drawn = random.uniform(*ends, count)
            found[name] = [float(value) for value in (np.exp(drawn) if spacing == "log" else drawn)]
        else:
            raise InvalidInput(f"[sweep] {name} must be a list to choose from or {{low, high}}, got {given!r}")
    return found


def _span(
    name: str, given: Mapping[str, Any], ends: tuple[str, str], others: tuple[str, ...]
) -> tuple[float, float, str]:
    """The two ends of a span and its spacing."""
    for key in given:
        check_choice(f"key of [sweep] {name}", key, (*ends, *others, "spacing"))
    spacing = given.get("spacing", "linear")
    check_choice(f"spacing of [sweep] {name}", spacing, SPACINGS)
    low, high = (coerce(given.get(end), float, f"[sweep] {name}: {end}") for end in ends)
    if spacing == "log" and min(low, high) <= 0:
        raise InvalidInput(f"[sweep] {name}: a logarithmic spacing needs positive ends, got {low!r} and {high!r}")
    return low, high, spacing
