"""The table that `simdrop order` prints, and the files that it writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import write_json
from .study.summary import plus_minus
from .study.theories import THEORIES

if TYPE_CHECKING:
    from .study.heatmap import HeatMap
    from .study.order import Order

_TITLES = {"parameters": "mean parameters", "function": "mean function on the grid", "risk": "mean risk"}
_LEGEND = """\
Distance between the mean of the ensemble and the prediction, ± one standard error; brackets: below three of them, left
out. Slope: of log distance over log learning rate, with its 95 % interval; order: the whole number it supports.
Pathwise flows: root mean square over members, each with its own masks."""


def table(summary: dict[str, Any]) -> str:
    """The summary of an order study as text."""
    settings = summary["settings"]
    lines = [f"{settings['members']} networks at each learning rate, compared at t = {settings['time']:g}", ""]
    for quantity, title in _TITLES.items():
        header = "".join(f"lr {lr:<16g}" for lr in settings["lrs"])
        lines.append(f"{title:<34}{header}slope (95 %)             order")
        lines += [_row(THEORIES[name], rows[quantity]) for name, rows in summary["theories"].items()]
        lines.append("")
    lines.append(_LEGEND)
    lines += [f"no value: {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def _row(title: str, row: dict[str, Any]) -> str:
    cells = ""
    for value, error, resolved in zip(row["distance"], row["error"], row["resolved"], strict=True):
        text = "–" if math.isnan(value) else plus_minus(value, error)
        text = text if resolved or math.isnan(value) else f"[{text}]"
        cells += f"{text:<19}"
    slope = "–"
    if row["slope"] is not None:
        low, high = row["slope_interval_95"]
        slope = f"{row['slope']:.2f} ({low:.2f} … {high:.2f})"
    return f"  {title:<32}{cells}{slope:<25}{row['order']}"


def write_order(found: Order, folder: Path, heat_map: HeatMap | None = None) -> None:
    """Write summary.json, errors.zarr and figure.png, and heat-map.png, heat-map.zarr where there is one."""
    from . import plots, plots_order
    from .storage import save

    write_json(found.summary, folder / "summary.json")
    save(found.errors, folder / "errors.zarr")
    plots.save(plots_order.order(found), folder / "figure.png")
    if heat_map is not None:
        save(heat_map.errors, folder / "heat-map.zarr")
        plots.save(plots_order.heat_map(heat_map), folder / "heat-map.png")
