"""How figures look: colours, axes, and saving without a display."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, SHADE, NOISE = "#222222", "#BBBBBB", "#E9E3C8"


DATA: dict[str, Any] = {"ms": 5, "mfc": "white", "mec": INK, "mew": 1.1, "zorder": 5}


#: what axes call the settings that studies vary most; others by their own names
SETTINGS = {"lr": r"learning rate $\varepsilon$", "keep_prob": "keep probability $p$", "width": "width $m$"}


TIME = r"time $t$ = learning rate $\times$ step"


#: the style of all figures; users take it by plt.style.use("simdrop.output.simdrop")
FILE = Path(__file__).with_name("simdrop.mplstyle")


def _settings(text: str) -> dict[str, Any]:
    """The settings of a style file, which matplotlib reads as text; without loading matplotlib."""
    lines = (line.split("#")[0].partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines if value}


STYLE: Any = _settings(FILE.read_text(encoding="utf-8"))
#: formats in which every figure is written
FORMATS = ("png", "pdf")
#: names of formulas in plain text -> TeX
TEX = {r"R_drop": r"R_{\mathrm{drop}}", r"R_S": "R_S", r"R_1": "R_1", r"R_2": "R_2", r"Tr H": r"\mathrm{Tr}\,H"}
_FORMULA = re.compile("(?:{0})(?: [+-] (?:{0}))*".format("|".join(map(re.escape, TEX))))
#: powers of the learning rate, which axes call ε: lr^3, lr^(q+1)
_POWER = re.compile(r"\blr\^(?:\((?P<sum>[^)]*)\)|(?P<one>\w+))")


def typeset(text: str) -> str:
    """`text` with names such as R_S + R_1, and powers of lr, as mathematics; text that holds some stays as it is."""

    def formula(found: re.Match[str]) -> str:
        words = found.group()
        for name, tex in TEX.items():
            words = words.replace(name, tex)
        return f"${words}$"

    def power(found: re.Match[str]) -> str:
        return rf"$\varepsilon^{{{found['sum'] or found['one']}}}$"

    return text if "$" in text else _POWER.sub(power, _FORMULA.sub(formula, text))


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format that the suffix of `path` names."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    same = {"CreationDate": None} if path.suffix == ".pdf" else None  # the same figure makes the same file
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=160, metadata=same)


def log_axis(axis: Axes) -> None:
    """A logarithmic axis of values with plain numbers at its ticks, 1-2-5 or evenly spaced where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high < 4 * low:
        axis.yaxis.set_major_locator(MaxNLocator(5))
    elif high < 100 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def time_axis(axis: Axes, time: np.ndarray[Any, Any]) -> None:
    """A logarithmic time axis where the record times are spaced that way."""
    if len(time) > 2 and np.median(time) < 0.25 * time[-1]:
        axis.set_xscale("log")
    else:
        axis.set_xlim(left=0)
