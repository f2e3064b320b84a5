"""The table that `simdrop order` prints."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from ...output.numbers import concise
from ..comparison.table import PLACES
from ..predictions import PREDICTIONS
from .fit import RESOLVED, RULE

if TYPE_CHECKING:
    import xarray as xr

_TITLES = {
    "parameters": "mean parameters",
    "function": "mean function on the grid",
    "risk": "mean risk",
    "covariance": "covariance of the parameters",
}
_VERDICT = ("slope", "95 %", "floor", "below", "down to lr", "order q")
#: of the text below the numbers
COLUMNS = 110
_LEGEND = f"""\
Distance of the ensemble's mean from the prediction, with the standard error of its last digits; brackets: below
{RESOLVED:g} of them. The error holds that of sampling and that of a scheme's steps. Covariances: in the Frobenius
norm, for predictions that have one; it is of order 1 in lr itself. Pathwise flows: root mean square over members, each
with its own masks. Slopes between neighbouring learning rates stand below the distances. Rule: {RULE}."""


def table(summary: dict[str, Any]) -> str:
    """The summary of an order study as text: a block for each quantity, a column for each prediction."""
    settings, kinds = summary["settings"], summary["kinds"]
    lines = [f"{settings['members']} networks at each learning rate, compared at t = {settings['time']:g}"]
    if "noise" in settings:
        lines[0] += PLACES.get(settings["noise"]["place"], "")
    if "lr" in settings:
        lines.append(f"learning rate {settings['lr']} over time, divided; lr is that of the first step")
    if summary.get("interrupted"):
        lines.append(f"interrupted: {len(summary['measured_lrs'])} of {len(settings['lrs'])} learning rates were done")
    for quantity, title in _TITLES.items():
        columns = [[name, *_column(rows[quantity])] for name, rows in kinds.items() if says(rows, quantity)]
        if not columns:
            continue
        lrs = [f"{lr:g}" for lr in settings["lrs"]]
        first = ["lr", *lrs, *(f"to {lr}" for lr in lrs[1:]), *_VERDICT]
        widths = [max(map(len, column)) + 2 for column in columns]
        lines += ["", title]
        for label, *cells in zip(first, *columns, strict=True):
            lines.append(f"{label:>11}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
    lines += ["", *(f"{name:<16}{_described(name)}" for name in kinds), *textwrap.wrap(_LEGEND, COLUMNS)]
    lines += [
        f"not resolved: {title} by {name}; would decide it: {rows[quantity].get('missing')}"
        for quantity, title in _TITLES.items()
        for name, rows in kinds.items()
        if says(rows, quantity) and rows[quantity].get("missing")
    ]
    lines += [
        f"lr {lr}: {count} of {settings['members']} networks diverged and left the means"
        for lr, count in summary["diverged"].items()
        if count
    ]
    lines += [f"no value: {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def heat_map_table(errors: xr.Dataset) -> str:
    """A heat map as text: distances of mean parameters over how far the ensemble moved, lr across, keep_prob down."""
    chosen = errors.sel(quantity="parameters")
    lines = [f"distance of prediction from ensemble / distance moved by ensemble, t = {errors.attrs['time']:g}"]
    across = "".join(f"{lr:>9g}" for lr in errors["lr"].values)
    for name in map(str, errors["kind"].values):
        lines += ["", f"{PREDICTIONS[name].label}, over lr (across) and keep_prob (down)", f"{'':>8}{across}"]
        for keep_prob in errors["keep_prob"].values:
            cells = chosen.sel(kind=name, keep_prob=keep_prob)
            shares = cells["distance"].values / cells["size"].values
            lines.append(
                f"{keep_prob:>8g}" + "".join(f"{'–' if math.isnan(s) else format(s, '.2g'):>9}" for s in shares)
            )
    return "\n".join(lines)


def says(rows: dict[str, Any], quantity: str) -> bool:
    """Whether a prediction says anything of a quantity, from its rows of the summary."""
    return quantity != "covariance" or any(map(_known, rows[quantity]["distance"]))


def _known(value: float | None) -> bool:
    """Whether a prediction has this distance; files hold null where it has none."""
    return value is not None and not math.isnan(value)


def _described(name: str) -> str:
    """What a prediction is called, and the orders that it claims."""
    one = PREDICTIONS[name]
    if not one.order:
        return f"{one.label}, which claims none"
    return f"{one.label}, which claims order {one.order}" + (f", {one.spread} of covariances" if one.spread else "")


def _column(row: dict[str, Any]) -> list[str]:
    """Distances, slope with its interval, floor and verdict of one prediction."""
    cells = []
    for value, error, resolved in zip(row["distance"], row["error"], row["resolved"], strict=True):
        text = concise(value, error) if _known(value) else "–"
        cells.append(text if resolved or not _known(value) else f"[{text}]")
    cells += ["–" if slope is None else f"{slope:.2f}" for slope in row["local_slopes"]]
    if row["slope"] is None:
        cells += ["–", "–"]
    else:
        low, high = row["slope_interval_95"]
        cells += [f"{row['slope']:.2f}", f"{low:.2f}…{high:.2f}"]
    if row["floor"] is None:
        return [*cells, "–", "–", "–", row["consistent"]]
    cells += [concise(row["floor"], row["floor_error"]), f"{row['floor_below_95']:.2g}"]
    return [*cells, f"{row['floor_from_lrs'][-1]:g}", row["consistent"]]
