"""The panels of the figures of studies, sweeps and experiments: draw them into axes of your own with `ax=`.

Without `ax` a panel gets a figure of its own, which notebooks show as `plots.risk(found).figure`. Figures of whole
studies are their `.figure()`.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from .checks.words import check_choice, shown
from .errors import InvalidInput
from .study.case import QUANTITIES

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import xarray as xr
    from matplotlib.axes import Axes

    from .reproduce import Experiment, Reproduction
    from .study import Benchmark, Comparison, HeatMap, Order

__all__ = ["distance", "experiment", "fit", "heat_map", "order", "risk", "shares", "sizes", "sweep", "throughput"]


def _drawn(draw: Callable[[Axes], object], ax: Axes | None, size: tuple[float, float] = (5.2, 3.8)) -> Axes:
    """The axes that `draw` has drawn into, new ones in simdrop's style without `ax`; raises InvalidInput."""
    import matplotlib

    from .output.picture import Figure
    from .output.style import STYLE

    if ax is not None and not hasattr(ax, "get_xlabel"):
        raise InvalidInput(f"ax must be Matplotlib's Axes, got {shown(ax)}")
    with nullcontext() if ax is not None else matplotlib.rc_context(STYLE):
        axes = Figure(figsize=size, layout="constrained").subplots() if ax is None else ax
        draw(axes)
    return axes


def _of_comparison(name: str, found: Comparison, ax: Axes | None, *rest: Any, legend: bool = True) -> Axes:
    """A panel of a comparison by the name of its function; raises InvalidInput."""
    from .study.comparison import figure

    _check_study(found, "compare")

    def draw(axes: Axes) -> None:
        getattr(figure, name)(axes, figure.Data.of(found), *rest)
        if legend and axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8)

    return _drawn(draw, ax)


def _check_study(found: Any, study: str) -> None:
    if getattr(found, "study", None) != study or not hasattr(found, "summary"):
        raise InvalidInput(f"found must be what simdrop's {study} returns, got {shown(found)}")


def fit(found: Comparison, *, ax: Axes | None = None) -> Axes:
    """Functions at the end for one input and one output, otherwise outputs of flows minus the networks' mean.

    Parameters
    ----------
    found : Comparison
        What `simdrop.compare` returned.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.
    """
    return _of_comparison("fit", found, ax)


def distance(found: Comparison, quantity: str = "parameters", *, ax: Axes | None = None) -> Axes:
    """Distance of every prediction from the mean of the ensemble over time, with one standard error.

    Parameters
    ----------
    found : Comparison
        What `simdrop.compare` returned.
    quantity : {"parameters", "function", "risk", "covariance"}
        Whose mean, or the covariance of the parameters.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        There is no such quantity.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.7)
    >>> found = simdrop.compare(problem, lr=0.1, steps=10, members=20, backend="numpy", record=4)
    >>> simdrop.plots.distance(found, "risk").get_title(loc="left")
    'Distance from the mean risk'
    """
    check_choice("quantity", quantity, QUANTITIES)
    symbols = {
        "parameters": r"$\Vert\,\mathbb{E}\,\theta-\varphi\,\Vert_2$",
        "function": r"rms over inputs of $\mathbb{E} f-f_\varphi$",
        "risk": r"$|\,\mathbb{E} R_S-R_\varphi|$",
    }
    return _of_comparison("distance", found, ax, quantity, symbols[quantity])


def risk(found: Comparison, *, ax: Axes | None = None) -> Axes:
    """Risk of the networks, with the band of 90 % of them, and along the predictions.

    Parameters
    ----------
    found : Comparison
        What `simdrop.compare` returned.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.
    """
    return _of_comparison("risk", found, ax)


def sizes(found: Comparison, *, ax: Axes | None = None) -> Axes:
    """Norms of the gradients of R_S, R_1 and R_2 along the flow that knows most.

    Parameters
    ----------
    found : Comparison
        What `simdrop.compare` returned.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.
    """
    return _of_comparison("sizes", found, ax)


def shares(found: Comparison, *, ax: Axes | None = None) -> Axes:
    """Share of plain gradient flow's distance that each other prediction removes at the end.

    Parameters
    ----------
    found : Comparison
        What `simdrop.compare` returned.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.
    """
    return _of_comparison("shares", found, ax, legend=False)


def order(found: Order, quantity: str = "parameters", *, ax: Axes | None = None) -> Axes:
    """Errors of the predictions of one quantity over the learning rate, with slopes and verdicts.

    Parameters
    ----------
    found : Order
        What `simdrop.study.order` returned.
    quantity : {"parameters", "function", "risk", "covariance"}
        Whose mean, or the covariance of the parameters.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        There is no such quantity.
    """
    from .study.convergence.figure import ladder
    from .study.convergence.summary import MEASURED

    _check_study(found, "order")
    check_choice("quantity", quantity, MEASURED)
    return _drawn(lambda axes: ladder(axes, found.errors, found.summary, quantity), ax, (6.8, 4.0))


def heat_map(found: HeatMap, kind: str, *, ax: Axes | None = None) -> Axes:
    """Relative error of one prediction of the mean parameters over learning rate and keep_prob.

    Parameters
    ----------
    found : HeatMap
        What `simdrop.study.heat_map` returned.
    kind : str
        One of its predictions.
    ax : Axes, optional
        Where to draw; new axes with a bar of colours by default.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        The prediction was not measured.
    """
    from .output.style import SETTINGS
    from .study.convergence.figure import cells

    _check_study(found, "order")
    check_choice("kind", kind, [str(name) for name in found.errors["kind"].values])

    def draw(axes: Axes) -> None:
        image = cells(axes, found.errors.sel(quantity="parameters", kind=kind))
        axes.set(xlabel=SETTINGS["lr"], ylabel=SETTINGS["keep_prob"])
        if ax is None:
            axes.figure.colorbar(image, ax=axes, label="error / distance moved", extend="both")

    return _drawn(draw, ax)


def throughput(found: Benchmark, axis: str = "width", *, ax: Axes | None = None) -> Axes:
    """Throughput of the backends over one size.

    Parameters
    ----------
    found : Benchmark
        What `simdrop.study.benchmark` returned.
    axis : str
        One of the sizes that it varied: "width", "samples", "members" and others.
    ax : Axes, optional
        Where to draw; new axes by default.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        The size was not varied.
    """
    from .study.throughput.figure import panel

    _check_study(found, "bench")
    rows = found.summary["rows"]
    check_choice("axis", axis, dict.fromkeys(str(row["axis"]) for row in rows))

    def draw(axes: Axes) -> None:
        panel(axes, axis, [row for row in rows if row["axis"] == axis])
        axes.legend()

    return _drawn(draw, ax)


def sweep(found: xr.Dataset, variable: str = "risk_mean", *, kind: str | None = None, ax: Axes | None = None) -> Axes:
    """A variable of a sweep at the end: a heat map over two swept fields, a line over one.

    Parameters
    ----------
    found : xarray.Dataset
        What `simdrop.scale.sweep` or `simdrop.scale.load` returned.
    variable : str
        risk_mean, distance, diverged, or NAME_mean of what was kept.
    kind : str, optional
        Of `distance`: the prediction, by default the first one.
    ax : Axes, optional
        Where to draw; new axes with a bar of colours by default.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        One or two fields of numbers were not swept, or there is no such variable or prediction.
    """
    from .scale.figure import panel

    def draw(axes: Axes) -> None:
        image, label = panel(axes, found, variable, kind)
        if ax is None and image is not None:
            axes.figure.colorbar(image, ax=axes, label=label, extend="both")

    return _drawn(draw, ax)


def experiment(found: Reproduction | str | os.PathLike[str], panel: str, *, ax: Axes | None = None) -> Axes:
    """A panel of the figure of an experiment of the papers.

    Parameters
    ----------
    found : Reproduction or path
        What `simdrop.reproduce.reproduce` returned, or a folder that `simdrop reproduce` wrote.
    panel : str
        One of `simdrop.reproduce.experiment(NAME).panels`.
    ax : Axes, optional
        Where to draw; new axes by default, with a bar of colours where these have values.

    Returns
    -------
    Axes
        The axes.

    Raises
    ------
    InvalidInput
        There are no results of an experiment, or it has no such panel.
    """
    known, data = _results_of(found)
    chosen = known.panels[check_choice("panel", panel, known.panels)]

    def draw(axes: Axes) -> None:
        coloured = chosen(axes, data)
        if ax is None and coloured is not None:
            axes.figure.colorbar(coloured[0], ax=axes, label=coloured[1])
        if axes.get_legend() is None and axes.get_legend_handles_labels()[1]:
            for line in axes.legend(fontsize=8).get_lines():
                line.set_markersize(max(line.get_markersize(), 4))  # those of thousands of neurons are tiny

    return _drawn(draw, ax, (6.8, 4.2))


def _results_of(found: Reproduction | str | os.PathLike[str]) -> tuple[Experiment, xr.Dataset]:
    """An experiment and its data; raises InvalidInput."""
    from .checks.words import check_path
    from .output.folder import Mark, describe
    from .output.storage import damage_as_invalid, load
    from .reproduce import Reproduction, experiment

    if isinstance(found, Reproduction):
        return found.experiment, found.outcome.data
    path = check_path("found", found)
    mark = Mark.read(path)
    if mark is None or mark.kind != "reproduce":
        raise InvalidInput(f"found must be a folder that `simdrop reproduce` wrote, got {str(path)!r}{describe(path)}")
    with damage_as_invalid(f"cannot read {path / 'summary.json'}"):
        name = json.loads((path / "summary.json").read_text(encoding="utf-8"))["experiment"]
    return experiment(name), load(path / "results.zarr")
