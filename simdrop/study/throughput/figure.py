"""The figure of `simdrop bench`: throughput of every backend over each size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"native": "#0072B2", "numba": "#E69F00", "cuda": "#009E73", "numpy": "#999999"}
LINES = {"step": "-", "sample": "--"}
MARKERS = {"native": "o", "numba": "s", "cuda": "^", "numpy": "D"}
#: axes whose values have no order
CATEGORIES = ("mask", "dtype", "network")
LABELS = {
    "network": "samples n, width m",
    "width": "width m",
    "samples": "samples n",
    "inputs": "inputs d",
    "members": "members",
    "keep_prob": "keep probability $p$",
    "threads": "threads",
    "mask": "mask",
    "dtype": "dtype",
}


def benchmark(found: dict[str, Any]) -> Figure:
    """One panel for each axis of `study.benchmark`: medians, with bars from the least to the largest rate."""
    import matplotlib

    from ...output.picture import Figure

    axes = list(dict.fromkeys(row["axis"] for row in found["rows"]))
    columns = min(4, len(axes))
    lines = -(-len(axes) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * columns, 2.9 * lines + 0.6), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, place in zip(axes, panels, strict=False):
            panel(place, axis, [row for row in found["rows"] if row["axis"] == axis])
        for place in panels[len(axes) :]:
            place.set_visible(False)
        found_labels = [place.get_legend_handles_labels() for place in panels[: len(axes)]]
        handles = {label: line for lines_, labels in found_labels for line, label in zip(lines_, labels, strict=True)}
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=6)
        figure.suptitle(f"Throughput on {found['machine']['processor']}", x=0.01, ha="left", fontsize=10.5)
    return figure


def panel(place: Axes, axis: str, rows: list[dict[str, Any]]) -> None:
    """Rates of the backends over one size, with bars from the least to the largest."""
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault((row["backend"], "step" if axis == "mask" else row["mask"]), []).append(row)
    for (backend, mask), curve in curves.items():
        rates = [row["updates_per_second"] / 1e9 for row in curve]
        spread = [
            [rate - row["least"] / 1e9 for rate, row in zip(rates, curve, strict=True)],
            [row["largest"] / 1e9 - rate for rate, row in zip(rates, curve, strict=True)],
        ]
        place.errorbar(
            [row[axis] for row in curve],
            rates,
            yerr=spread,
            color=COLORS.get(backend, "#CC79A7"),
            ls="none" if axis in CATEGORIES else LINES[mask],
            marker=MARKERS.get(backend, "v"),
            ms=4,
            lw=1.4,
            capsize=2,
            label=backend if axis in CATEGORIES else f"{backend}, {mask} masks",
        )
    place.set(xlabel=LABELS[axis], ylabel=r"10$^9$ updates / s", yscale="log")
    if axis in ("width", "samples", "inputs", "members"):
        place.set_xscale("log")
    elif axis == "threads":
        place.set_xticks(sorted({row["threads"] for row in rows}))
    elif axis in CATEGORIES:
        place.margins(x=0.1 if axis == "network" else 0.4)
