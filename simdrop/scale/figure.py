"""The figure of a sweep: a heat map over two swept fields, lines over one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks.words import check_choice
from ..errors import InvalidInput
from ..output.style import SETTINGS, STYLE

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

#: variables of a sweep that can be drawn -> what they are called
VARIABLES = {
    "risk_mean": "mean $R_S$ at the end",
    "distance": "distance of the mean parameters from the theory",
    "norm_mean": "mean norm of the parameters at the end",
    "diverged": "members lost",
}
#: values further than this factor from the median are drawn as that: members on their way to infinity, lucky zeros
OUTLYING = 1e3


def picture(found: xr.Dataset, variable: str = "risk_mean") -> Figure:
    """A figure of `variable` at the end; raises InvalidInput unless one or two fields of numbers were swept."""
    import matplotlib

    from ..output.picture import Figure

    values, axes, label = _checked(found, variable)
    norm = _norm(values.values)
    panels = [str(kind) for kind in values["kind"].values] if "kind" in values.dims else [""]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 4.2 * len(panels), 4.0), layout="constrained")
        places = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for axis, kind in zip(places, panels, strict=True):
            here = values.sel(kind=kind) if kind else values
            image = _panel(axis, here, axes, norm)
            axis.set_title(kind)
        if len(axes) == 2:
            figure.colorbar(image, ax=list(places), label=label, extend="both")
        else:
            places[0].set_ylabel(label)
    return figure


def panel(axis: Any, found: xr.Dataset, variable: str, kind: str | None) -> tuple[Any, str]:
    """One heat map or line of `variable`; returns the image of a heat map, or None, and a label.

    Raises InvalidInput where there is nothing to draw.
    """
    values, axes, label = _checked(found, variable)
    if "kind" in values.dims:
        known = [str(name) for name in values["kind"].values]
        kind = known[0] if kind is None else check_choice("kind", kind, known)
        values = values.sel(kind=kind)
        axis.set_title(kind)
    elif kind is not None:
        raise InvalidInput(f"kind chooses among predictions, but {variable} has none: leave it out")
    image = _panel(axis, values, axes, _norm(values.values))
    if len(axes) == 1:
        axis.set_ylabel(label)
    return (image if len(axes) == 2 else None), label


def _checked(found: xr.Dataset, variable: str) -> tuple[xr.DataArray, list[str], str]:
    """A variable at the end, the swept fields and a label; raises InvalidInput where there is nothing to draw."""
    means = [str(name) for name in found if str(name).endswith("_mean") and "param" not in found[name].dims]
    check_choice("variable", variable, dict.fromkeys([*(name for name in VARIABLES if name in found), *means]))
    axes = _axes(found)
    if not drawable(found):
        raise InvalidInput(
            f"a figure needs one or two swept fields of numbers on a grid, got {', '.join(axes) or 'points'}"
        )
    label = VARIABLES.get(variable, f"mean {variable.removesuffix('_mean').replace('_', ' ')} at the end")
    return _end(found, variable), axes, label


def drawable(found: xr.Dataset) -> bool:
    """Whether one or two fields of numbers were swept on a grid."""
    axes = _axes(found)
    return len(axes) in (1, 2) and all(found[axis].dtype.kind in "if" for axis in axes)


def _axes(found: xr.Dataset) -> list[str]:
    """The dimensions of a grid."""
    return [str(name) for name in found["diverged"].dims if name != "point"]


def _end(found: xr.Dataset, variable: str) -> xr.DataArray:
    """A variable at the last record time of every point."""
    values = found[variable]
    if "time" not in values.dims:
        return values
    last = (found["step"] >= 0).sum("time").clip(min=1) - 1
    return values.isel(time=last)


def _panel(axis: Any, values: xr.DataArray, axes: list[str], norm: Any) -> Any:
    """One heat map or line; returns the image. Steps of a factor make an axis logarithmic."""
    scales = {name: "log" if _geometric(values[name].values) else "linear" for name in axes}
    axis.set(xscale=scales[axes[0]], xlabel=SETTINGS.get(axes[0], axes[0]))
    if len(axes) == 1:
        return axis.plot(values[axes[0]], values, "o-", color="#0072B2", ms=4)
    axis.set(yscale=scales[axes[1]], ylabel=SETTINGS.get(axes[1], axes[1]))
    drawn = values.transpose(axes[1], axes[0])
    axis.set_facecolor("#DDDDDD")  # what is not known
    return axis.pcolormesh(values[axes[0]], values[axes[1]], drawn, shading="nearest", norm=norm, cmap="viridis")


def _norm(values: Any) -> Any:
    """The scale of colours, one for all panels: logarithmic where values spread widely, not stretched by outliers."""
    from matplotlib.colors import LogNorm, Normalize

    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return Normalize()
    middle = float(np.median(positive))
    low, high = max(positive.min(), middle / OUTLYING), min(positive.max(), middle * OUTLYING)
    return LogNorm(low, high) if high > 30 * low else Normalize(vmax=high)


def _geometric(values: Any) -> bool:
    """Whether positive values lie evenly on a logarithmic axis rather than on a linear one."""
    if len(values) < 3 or (values <= 0).any():
        return False
    return bool(np.ptp(np.diff(np.log(values))) < 1e-6)
