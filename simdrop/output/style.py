"""How figures look: colours, axes, and saving without a display."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, SHADE, NOISE = "#222222", "#BBBBBB", "#E9E3C8"


DATA: dict[str, Any] = {"ms": 5, "mfc": "white", "mec": INK, "mew": 1.1, "zorder": 5}


TIME = r"time $t$ = learning rate $\times$ step"


STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
}


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format that the suffix of `path` names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=160)


def log_axis(axis: Axes) -> None:
    """A logarithmic axis of values with plain numbers at its ticks, 1-2-5 where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high < 100 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def time_axis(axis: Axes, time: np.ndarray[Any, Any]) -> None:
    """A logarithmic time axis where the record times are spaced that way."""
    if len(time) > 2 and np.median(time) < 0.25 * time[-1]:
        axis.set_xscale("log")
    else:
        axis.set_xlim(left=0)
