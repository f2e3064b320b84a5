"""Panels of experiments: functions that draw into any axes, of which an experiment's figure is composed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: an image, and what the bar of its colours is called
Coloured = tuple[Any, str]
#: draws a part of a figure from the data alone; returns a `Coloured` where colours have values
Panel = Callable[["Axes", "xr.Dataset"], "Coloured | None"]


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches, in simdrop's style while the body runs."""
    import matplotlib

    from ..output.picture import Figure
    from ..output.style import STYLE

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def fill(axes: Any, panels: Mapping[str, Panel], data: xr.Dataset) -> list[Coloured | None]:
    """Draw the panels into as many axes, row by row; what they return."""
    import numpy as np

    return [panel(axis, data) for axis, panel in zip(np.ravel(axes), panels.values(), strict=True)]
