"""The figures of `simdrop order`: errors over the learning rate, and the heat map over (lr, keep_prob)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...output.style import STYLE
from ..case import QUANTITIES
from ..predictions import PREDICTIONS
from .fit import RESOLVED

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DISTANCE = "distance of prediction from ensemble"
TITLES = {"parameters": "mean parameters", "function": "mean function", "risk": "mean risk"}


def order(errors: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """A panel for each quantity: distances with their errors over lr, hollow where not resolved."""
    import matplotlib

    from ...output.picture import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 5.4), layout="constrained")
        for panel, quantity in zip(figure.subplots(1, 3), QUANTITIES, strict=True):
            ladder(panel, errors, summary, quantity)
            panel.set_ylabel("")
        settings = summary["settings"]
        figure.axes[0].set_ylabel(DISTANCE)
        figure.suptitle(
            f"Error of each prediction at t = {settings['time']:g}, {settings['members']} networks at each learning"
            " rate; hollow: upper bounds",
            x=0.01, ha="left", fontsize=10.5,
        )  # fmt: skip
    return figure


def ladder(panel: Any, errors: xr.Dataset, summary: dict[str, Any], quantity: str) -> None:
    """Distances of one quantity with their errors over lr, hollow where not resolved; slopes and verdicts below."""
    kinds, lrs = summary["kinds"], errors["lr"].values
    for name in map(str, errors["kind"].values):
        one, row = PREDICTIONS[name], errors.sel(kind=name, quantity=quantity)
        value, error = row["distance"].values, row["error"].values
        clear, label = row["resolved"].values, f"{one.legend}: {_judged(one.order, kinds[name][quantity])}"
        look = one.look.dots | {"ms": 5, "lw": 1.3}
        panel.errorbar(lrs[clear], value[clear], yerr=error[clear], label=label, capsize=2, **look)
        bound = np.maximum(value, 0) + RESOLVED * error
        panel.plot(lrs[~clear], bound[~clear], ls="none", mfc="none", **(look | {"lw": 0}))
    panel.set(xscale="log", yscale="log", xlabel="learning rate", ylabel=DISTANCE, title=TITLES[quantity])
    panel.set_xticks(lrs, [f"{lr:g}" for lr in lrs])
    panel.minorticks_off()
    _guides(panel, lrs)
    title = "slope (95 % interval); consistent with the order claimed"
    panel.legend(title=title, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _judged(order: int, row: dict[str, Any]) -> str:
    """Slope and verdict of one prediction, by the table's rule."""
    verdict = f"order {order}: {row['consistent']}" if order else "no claim"
    if row["slope"] is None:
        return f"no slope; {verdict}"
    low, high = row["slope_interval_95"]
    return f"{row['slope']:.2f} ({low:.2f} to {high:.2f}); {verdict}"


def _guides(panel: Any, lrs: Any) -> None:
    """Dotted lines of slopes 1 and 2 through the panel's middle."""
    low, high = panel.get_ylim()
    middle = np.sqrt(low * high)
    for slope in (1, 2):
        line = middle * (lrs / np.sqrt(lrs[0] * lrs[-1])) ** slope
        panel.plot(lrs, line, ":", color="#888888", lw=0.9, zorder=0)
        panel.annotate(f"{slope}", (lrs[-1], line[-1]), fontsize=8, color="#555555", ha="right")
    panel.set_ylim(low, high)


def heat_map(errors: xr.Dataset) -> Figure:
    """Relative error of the mean parameters, a panel for each prediction.

    Crosses: the prediction has no value, or a few runaway paths make it; dots: below the noise; hatched: a few runaway
    members make the ensemble's mean.
    """
    import matplotlib

    from ...output.picture import Figure

    errors = errors.sel(quantity="parameters")
    names = [str(name) for name in errors["kind"].values]
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * columns + 1.1, 3.1 * rows + 0.7), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for panel, name in zip(panels.flat, names, strict=False):
            image = cells(panel, errors.sel(kind=name))
            panel.set_title(PREDICTIONS[name].legend)
        for panel in panels.flat[len(names) :]:
            panel.set_axis_off()
        for panel in panels[-1]:
            panel.set_xlabel("learning rate")
        for panel in panels[:, 0]:
            panel.set_ylabel("keep_prob")
        label = "distance of prediction from ensemble / distance moved by ensemble"
        figure.colorbar(image, ax=panels, label=label, extend="both", aspect=40)
        figure.suptitle(
            f"Mean parameters at t = {errors.attrs['time']:g}. Cross: prediction blows up; dot: error within the noise;"
            "\nhatched: a few runaway members make the ensemble's mean",
            x=0.01, ha="left", fontsize=10,
        )  # fmt: skip
    return figure


def cells(panel: Any, errors: Any) -> Any:
    """One prediction's cells (keep_prob, lr); returns the image."""
    from matplotlib.colors import LogNorm

    size, value, noise = (errors[name].values for name in ("size", "distance", "error"))
    lrs, kept = errors["lr"].values, errors["keep_prob"].values
    with np.errstate(invalid="ignore"):
        usable = size >= RESOLVED * errors["size_error"].values
        hidden = value < RESOLVED * noise
        away = np.isnan(value) | (hidden & (noise > size))  # nor has the prediction a mean
    relative = np.where(usable & ~away, np.maximum(value, noise), np.nan) / np.where(usable, size, 1)
    image = panel.imshow(relative, norm=LogNorm(1e-3, 10), cmap="viridis", origin="lower", aspect="auto")
    for look, where in (
        ({"marker": "x", "color": "#D55E00"}, usable & away),
        ({"marker": ".", "color": "white"}, usable & hidden & ~away),
    ):
        y, x = np.nonzero(where)
        panel.scatter(x, y, s=18, lw=1, **look)
    for y, x in np.argwhere(~usable):
        panel.add_patch(_hatched(x, y))
    panel.set_xticks(range(len(lrs)), [f"{lr:g}" for lr in lrs], rotation=60)
    panel.set_yticks(range(len(kept)), [f"{p:g}" for p in kept])
    return image


def _hatched(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, hatch="////", facecolor="#EEEEEE", edgecolor="#999999", lw=0)
