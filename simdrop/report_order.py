"""The table that `simdrop order` prints, and the files that it writes."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from .report import write_json
from .study.theories import THEORIES

if TYPE_CHECKING:
    from .output.folder import Folder
    from .study.heatmap import HeatMap
    from .study.order import Order

_TITLES = {"parameters": "mean parameters", "function": "mean function on the grid", "risk": "mean risk"}
_LEGEND = """\
Distance of the ensemble's mean from the prediction, with the standard error of its last digits; brackets: below three
of them, left out. Slope: of log distance over log lr; order: the whole number that its 95 % interval supports.
Pathwise flows: root mean square over members, each with its own masks."""


def table(summary: dict[str, Any]) -> str:
    """The summary of an order study as text: a block for each quantity, a column for each theory."""
    settings, theories = summary["settings"], summary["theories"]
    lines = [f"{settings['members']} networks at each learning rate, compared at t = {settings['time']:g}"]
    if summary.get("interrupted"):
        lines.append(f"interrupted: {len(summary['measured_lrs'])} of {len(settings['lrs'])} learning rates were done")
    for quantity, title in _TITLES.items():
        columns = [[name, *_column(rows[quantity])] for name, rows in theories.items()]
        first = ["lr", *(f"{lr:g}" for lr in settings["lrs"]), "slope", "95 %", "order"]
        widths = [max(map(len, column)) + 2 for column in columns]
        lines += ["", title]
        for label, *cells in zip(first, *columns, strict=True):
            lines.append(f"{label:>8}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
    lines += ["", *(f"{name:<16}{THEORIES[name]}" for name in theories), _LEGEND]
    lines += [
        f"lr {lr}: {count} of {settings['members']} networks diverged and left the means"
        for lr, count in summary["diverged"].items()
        if count
    ]
    lines += [f"no value: {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def _column(row: dict[str, Any]) -> list[str]:
    """Distances, slope, its interval and order of one theory."""
    cells = []
    for value, error, resolved in zip(row["distance"], row["error"], row["resolved"], strict=True):
        text = "–" if math.isnan(value) else concise(value, error)
        cells.append(text if resolved or math.isnan(value) else f"[{text}]")
    if row["slope"] is None:
        return [*cells, "–", "–", "–"]
    low, high = row["slope_interval_95"]
    order = "–" if row["order"] == "not resolved" else str(row["order"])
    return [*cells, f"{row['slope']:.2f}", f"{low:.2f}…{high:.2f}", order]


def concise(value: float, error: float) -> str:
    """`value(error)`, the error in units of the value's last digits: two of them below 3.5, else one.

    1.234(12) is 1.234 ± 0.012; below 1e-3 with a power of ten, as 1.23(4)e-4.
    """
    size = max(abs(value), error)
    if 0 < size < 1e-3:
        power = math.floor(math.log10(size))
        return f"{concise(value * 10.0**-power, error * 10.0**-power)}e{power}"
    if error <= 0:
        return f"{value:.4g}(0)"
    place = math.floor(math.log10(error))
    digits = max(0, (1 if error < 3.5 * 10.0**place else 0) - place)
    return f"{value:.{digits}f}({error * 10.0**digits:.0f})" if error < 1 else f"{value:.{digits}f}({error:.{digits}f})"


def write_order(found: Order, folder: Folder) -> None:
    """Write summary.json, errors.zarr and figure.png into `folder`."""
    from . import plots, plots_order
    from .storage import save

    folder.write("summary.json", partial(write_json, found.summary))
    folder.write("errors.zarr", partial(save, found.errors))
    folder.write("figure.png", partial(plots.save, plots_order.order(found)))


def write_heat_map(found: HeatMap, folder: Folder) -> None:
    """Write heat-map.zarr and heat-map.png into `folder`."""
    from . import plots, plots_order
    from .storage import save

    folder.write("heat-map.zarr", partial(save, found.errors))
    folder.write("heat-map.png", partial(plots.save, plots_order.heat_map(found)))
