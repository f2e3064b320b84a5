"""The figures of `simdrop order`: errors over the learning rate, and the heat map over (lr, keep_prob)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ...output.style import STYLE, typeset
from ..predictions import PREDICTIONS
from .fit import RESOLVED
from .table import says

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DISTANCE = "distance of prediction from ensemble"
TITLES = {
    "parameters": r"Mean parameters, $\mathbb{E}\,\theta$",
    "function": r"Mean function, $\mathbb{E} f$",
    "risk": r"Mean risk, $\mathbb{E}\,R_S$",
    "covariance": r"Covariance, $\mathrm{Cov}\,\theta$",
}
#: characters in a line of the rule below the panels
COLUMNS = 240


def order(errors: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """A panel for each quantity: distances with their errors over lr, hollow where not resolved; the rule below."""
    import matplotlib

    from ...output.picture import Figure

    kinds, settings = summary["kinds"], summary["settings"]
    shown = [name for name in TITLES if any(says(rows, name) for rows in kinds.values())]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 8.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True)
        for panel, quantity in zip(panels.flat, shown, strict=False):
            ladder(panel, errors, summary, quantity)
        for panel in panels.flat[len(shown) :]:
            panel.set_axis_off()
        for panel in panels[0]:
            panel.set_xlabel("")
        for panel in panels[:, 1]:
            panel.set_ylabel("")
        figure.suptitle(
            rf"Error of each prediction at $t = {settings['time']:g}$, {settings['members']} networks at each learning"
            " rate; hollow: upper bounds",
            x=0.01, ha="left", fontsize=10.5,
        )  # fmt: skip
        rule = typeset("\n".join(textwrap.wrap(summary["rule"], COLUMNS)))
        figure.supxlabel(rule, x=0.01, ha="left", fontsize=7.5)
    return figure


def ladder(panel: Any, errors: xr.Dataset, summary: dict[str, Any], quantity: str) -> None:
    """Distances of one quantity with their errors over lr, hollow where not resolved; slopes and verdicts beside."""
    lrs, drawn = errors["lr"].values, False
    for name, rows in summary["kinds"].items():
        one, here = PREDICTIONS[name], errors.sel(kind=name, quantity=quantity)
        value, error, clear = here["distance"].values, here["error"].values, here["resolved"].values
        if np.isnan(value).all():
            continue
        clear = clear & (value > 0)
        look = one.look.dots | {"ms": 5, "lw": 1.3}
        label = f"{one.legend}\n{_judged(one.claim(quantity), rows[quantity])}"
        panel.errorbar(lrs[clear], value[clear], yerr=error[clear], label=label, capsize=2, **look)
        bound = np.maximum(value, 0) + RESOLVED * error
        bound = np.where(clear | (bound <= 0), np.nan, bound)  # a distance of exactly 0 has no place on this axis
        panel.plot(lrs, bound, ls="none", mfc="none", **(look | {"lw": 0}))
        drawn |= bool(clear.any() or np.isfinite(bound).any())
    panel.set(xscale="log", title=TITLES[quantity])
    panel.set(xlabel=r"learning rate $\varepsilon$", ylabel=DISTANCE)
    panel.set_xticks(lrs, [f"{lr:g}" for lr in lrs])
    panel.minorticks_off()
    if drawn:  # an axis without a positive value cannot be logarithmic
        panel.set_yscale("log")
        _guides(panel, lrs)
    else:
        panel.set_yticks([0.0])
    title = "slope (95 % interval); consistent with its order?"
    panel.legend(title=title, title_fontsize=7.5, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))


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
    members make the ensemble's mean. Empty: not measured, in a map that was stopped.
    """
    import matplotlib

    from ...output.picture import Figure

    errors = errors.sel(quantity="parameters")
    stopped = "" if _measured(errors).all() else "; empty: not measured"
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
            panel.set_xlabel(r"learning rate $\varepsilon$")
        for panel in panels[:, 0]:
            panel.set_ylabel("keep probability $p$")
        label = DISTANCE + (" / " if rows > 1 else "\n/ ") + "distance moved by ensemble"  # one row is not as tall
        figure.colorbar(image, ax=panels, label=label, extend="both", aspect=40)
        figure.suptitle(
            rf"Mean parameters at $t = {errors.attrs['time']:g}$."
            + " Cross: prediction blows up; dot: error within the noise;\nhatched: a few runaway members make the"
            + f" ensemble's mean{stopped}",
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
    for y, x in np.argwhere(~usable & _measured(errors)):
        panel.add_patch(_hatched(x, y))
    panel.set_xticks(range(len(lrs)), [f"{lr:g}" for lr in lrs], rotation=60)
    panel.set_yticks(range(len(kept)), [f"{p:g}" for p in kept])
    return image


def _measured(errors: xr.Dataset) -> Any:
    """Whether each cell (keep_prob, lr) was come to before the map was stopped; medians of whole maps do not say."""
    return errors["alive"].notnull().values if "alive" in errors else np.ones(errors["size"].shape, dtype=bool)


def _hatched(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, hatch="////", facecolor="#EEEEEE", edgecolor="#999999", lw=0)
