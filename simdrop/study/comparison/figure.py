"""The figure of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...checks.words import counted
from ...output.numbers import short
from ...output.style import DATA, INK, NOISE, SHADE, STYLE, TIME, log_axis, time_axis
from ..predictions import PREDICTIONS, Prediction

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...problem import Problem

TERMS = {
    "risk": (r"$\nabla R_S$", "#E69F00", "-"),
    "r1": (r"$\nabla R_1$", "#56B4E9", "--"),
    "r2": (r"$\nabla R_2$", "#CC79A7", "-."),
}


#: entries of the legend that one line has room for
MOST_IN_A_ROW = 6


class Data(NamedTuple):
    """What is drawn; `compare.Comparison` says what each part holds."""

    problem: Problem
    runs: xr.Dataset
    flows: xr.Dataset
    distances: xr.Dataset
    summary: dict[str, Any]

    @classmethod
    def of(cls, found: Any) -> Data:
        """The parts of a `compare.Comparison`."""
        return cls(found.problem, found.runs, found.flows, found.distances, found.summary)


def comparison(found: Data) -> Figure:
    """What compare() found in six panels: fit, distances over time, risk, sizes of the terms, shares removed.

    Dotted in the colour of an SME: the distance that the sampling of its paths alone would give.
    """
    import matplotlib

    from ...output.picture import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 7.2), layout="constrained")
        axes = figure.subplots(2, 3)
        fit(axes[0, 0], found)
        distance(axes[0, 1], found, "parameters", r"$\Vert\,\mathbb{E}\,\theta-\varphi\,\Vert_2$")
        distance(axes[0, 2], found, "function", r"rms over inputs of $\mathbb{E} f-f_\varphi$")
        risk(axes[1, 0], found)
        sizes(axes[1, 1], found)
        shares(axes[1, 2], found)
        for letter, axis in zip("abcdef", axes.flat, strict=True):
            axis.set_title(f"{letter}   {axis.get_title(loc='left')}")
        _legend(figure, found)
        figure.suptitle(_title(found), fontsize=10.5, x=0.01, ha="left")
    return figure


def _title(found: Data) -> str:
    problem, run = found.summary["problem"], found.summary["simulation"]
    data = found.summary.get("data", {}).get("name")
    return (
        (f"{data}: " if data else "")
        + f"{run['members']} networks of {counted(problem['width'], problem['activation'] + ' neuron')}, dropout with"
        + rf" keep probability $p = {problem['keep_prob']:g}$ (one mask per {problem['mask']}),"
        + f" learning rate {short(run['lr'])},"
        + f" {counted(problem['n_samples'], 'sample')}"
    )


def _legend(figure: Figure, found: Data) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Line2D([], [], color=INK, lw=1.8), Patch(color=SHADE), Patch(color=NOISE)]
    labels = ["mean of the networks", "90 % of the networks", "below sampling noise"]
    for one in _shown(found):
        labels.append(one.legend)
        handles.append(Line2D([], [], **one.look.curve))
    columns = len(labels) if len(labels) <= MOST_IN_A_ROW else -(-len(labels) // 2)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.6)


def _shown(found: Data) -> list[Prediction]:
    """The predictions of a comparison."""
    return [PREDICTIONS[str(kind)] for kind in found.flows["kind"].values]


def _curve(one: Prediction) -> dict[str, Any]:
    """How a prediction is drawn over time, with its label."""
    return one.look.curve | {"label": one.legend}


def fit(axis: Axes, found: Data) -> None:
    """Outputs at the final time: against the input for one input and output, else prediction against mean."""
    end = {"time": -1}
    mean, spread = (found.runs[name].isel(end).values for name in ("f_mean", "f_std"))  # (k, c)
    grid = found.runs["grid"].values
    t = found.summary["time"]["final"]
    if grid.shape[1] == 1 and mean.shape[1] == 1:
        x, mean, width = grid[:, 0], mean[:, 0], 1.645 * spread[:, 0]
        axis.fill_between(x, mean - width, mean + width, color=SHADE, lw=0)
        axis.plot(x, mean, color=INK, lw=1.8)
        for one in _shown(found):
            axis.plot(x, found.flows["f"].sel(kind=one.name).isel(end).values[:, 0], **_curve(one))
        axis.plot(found.problem.x[:, 0], found.problem.y[:, 0], "o", label="data", **DATA)
        axis.legend(handles=axis.lines[-1:], loc="upper left")
        axis.set(xlabel="input $x$", ylabel="output $f(x)$")
        axis.set_title(f"Functions at $t = {t:g}$")
        return
    for one in _shown(found):
        away = (found.flows["f"].sel(kind=one.name).isel(end).values - mean).ravel()
        axis.plot(mean.ravel(), away, ".", ms=4, color=one.look.color, alpha=0.7, rasterized=True)
    axis.axhline(0, color=INK, lw=1)
    axis.set(xlabel=r"mean output of the networks, $\mathbb{E} f$", ylabel=r"flow minus mean, $f_\varphi-\mathbb{E} f$")
    axis.set_title(f"Outputs at $t = {t:g}$, one dot per data point")


def distance(axis: Axes, found: Data, quantity: str, symbol: str) -> None:
    """Distances from the mean of the ensemble over time, with the band below sampling noise."""
    here = found.distances.sel(quantity=quantity).isel(time=slice(1, None))
    time = here["time"].values
    highest = np.max(here["distance"].values, initial=0, where=np.isfinite(here["distance"].values))
    noise = here["noise"].values
    seen = here["distance"].values[here["distance"].values > here["error"].values]
    lowest = min(np.min(seen, initial=highest), np.nanmedian(noise) if np.nanmedian(noise) > 0 else highest)
    bottom, top = lowest / 3, highest * 2
    if not (np.isfinite(highest) and highest > 0):
        axis.annotate("all flows equal the mean", (0.5, 0.5), xycoords="axes fraction", ha="center")
        bottom, top = 1e-16, 1.0
    axis.fill_between(time, bottom, np.maximum(noise, bottom), color=NOISE, lw=0)
    for one in _shown(found):
        curve = here.sel(kind=one.name)
        distance, error = curve["distance"].values, curve["error"].values
        low, high = np.maximum(distance - error, bottom), np.maximum(distance + error, bottom)
        axis.fill_between(time, low, high, color=one.look.color, alpha=0.22, lw=0)
        axis.plot(time, np.where(distance > bottom, distance, np.nan), **_curve(one))
        if one.equation is not None:
            own = curve["own_noise"].values
            axis.plot(time, np.where(own > bottom, own, np.nan), ":", color=one.look.color, lw=1)
    axis.set(ylim=(bottom, top), xlabel=TIME, ylabel=symbol)
    axis.set_title(f"Distance from the mean {quantity}")
    log_axis(axis)
    time_axis(axis, time)


def risk(axis: Axes, found: Data) -> None:
    """Risk of the networks and along the flows."""
    runs = found.runs.isel(time=slice(1, None))
    time = runs["time"].values
    low, high = (runs["risk_quantile"].sel(quantile=q).values for q in (0.05, 0.95))
    axis.fill_between(time, low, high, color=SHADE, lw=0)
    axis.plot(time, runs["risk_mean"].values, color=INK, lw=1.8)
    for one in _shown(found):
        axis.plot(time, found.flows["risk"].sel(kind=one.name).values[1:], **_curve(one))
    axis.set(xlabel=TIME, ylabel=r"risk $R_S$, without dropout")
    axis.set_title("Risk")
    log_axis(axis)
    time_axis(axis, time)


def sizes(axis: Axes, found: Data) -> None:
    """Norms of the gradients of R_S, R_1 and R_2 along the flow that knows most: paths of an SME have noise."""
    last = [one for one in _shown(found) if one.equation is None][-1]
    along = found.distances.sel(path=last.name).isel(time=slice(1, None))
    time = along["time"].values
    for term, (label, color, line) in TERMS.items():
        norm = along["gradient_norm"].sel(term=term).values
        if not (norm > 0).any():
            continue
        axis.plot(time, norm, label=label, color=color, ls=line, lw=1.8)
    axis.set(xlabel=TIME, ylabel="2-norm of the gradient")
    axis.set_title(f"What pulls at {last.words}")
    log_axis(axis)
    time_axis(axis, time)
    axis.legend(loc="best", ncols=3, handlelength=2.2)


def shares(axis: Axes, found: Data) -> None:
    """Share of plain gradient flow's distance that each other prediction removes, at the final time."""
    numbers = found.summary["quantities"]
    kinds = [str(kind) for kind in found.flows["kind"].values if kind != "gradient"]
    height = 0.8 / max(len(kinds), 1)
    for row, quantity in enumerate(numbers):
        for k, kind in enumerate(kinds):
            here = numbers[quantity]["flows"][kind]["final"]
            share, error = 100 * here["share_removed"], 100 * here["share_error"]
            y = row + (k - (len(kinds) - 1) / 2) * height
            if not np.isfinite(share):
                axis.annotate("not resolved", (2, y), va="center", color=PREDICTIONS[kind].look.color, fontsize=8)
                continue
            axis.barh(
                y,
                share,
                0.86 * height,
                color=PREDICTIONS[kind].look.color,
                xerr=error,
                error_kw={"lw": 1, "capsize": 2},
            )
            edge = max(share + error, 100)  # in a column right of the line at 100 %
            axis.annotate(
                f"{round(share)} %".replace("-", "−"),  # a whole number has no minus before 0
                (edge, y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axis.axvline(100, color=INK, lw=0.8, ls=":")
    axis.set_yticks(range(len(numbers)), [f"mean {quantity}" for quantity in numbers])
    axis.invert_yaxis()
    left, right = axis.get_xlim()
    axis.set_xlim(max(min(left, 0), -100), max(right, 118))
    axis.set_xlabel("% of the distance of plain gradient flow")
    axis.set_title(f"Dropout's effect explained at $t = {found.summary['time']['final']:g}$")
