"""`teacher-recovery`: when dropout recovers a teacher, as a phase diagram over samples and keep probability.

Beyond the papers, which show one keep probability (IRD, figure 8). Both mask modes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Coloured, Panel, figure, fill
from ..shared.dropout_pair import ratio
from ..shared.teachers import RECOVERED, WORDS, geometric, learn

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEEP_PROBS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0)
#: numbers of samples, steps and seeds; the last keep probability is that without dropout
SIZES: dict[bool, tuple[tuple[int, ...], int, int]] = {
    False: ((2, 4, 6, 8, 11, 14), 100_000, 4),
    True: ((2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20), 500_000, 10),
}
MASKS = ("step", "sample")
#: keep probability of the papers' figures, and a number of samples from which on the teacher can be recovered
PAPERS, FROM = 0.9, 6
#: variable -> title, label of its scale
SHOWN = {
    "error": ("Error between the points", "mean square error / variance"),
    "angle": ("Angle to the teacher", "mean angle to the nearest teacher neuron, rad"),
}


def run(settings: Settings) -> Outcome:
    """Train on n random points of the tanh teacher at every keep probability; error and angle to the teacher."""
    import xarray as xr

    sizes, steps, seeds = SIZES[settings.full]
    seeds = settings.seeds or seeds
    found, rows = [], []
    for mask in MASKS:
        here = learn(
            "tanh", settings, sizes=sizes, keep_probs=KEEP_PROBS, seeds=seeds, mask=mask, steps=steps, lr=1e-3
        )  # fmt: skip
        rows += _rows(mask, here)
        found.append(here)
    data = xr.concat(found, xr.Variable("mask", list(MASKS)))
    data.attrs = {"width": 1000, "steps": steps, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2, "seeds": seeds}
    notes = [
        f"Teacher tanh(x-6) + tanh(x+6) on [-12, 12]; Adam at 1e-3 for {steps} steps, all points at every step, weights"
        " N(0, m^-0.2) read as a variance. Every seed draws its own points and weights.",
        "Error: mean square over the interval, in units of the teacher's variance; means over seeds are geometric."
        f" Recovered: error below {RECOVERED:g}.",
        "Angle: mean over neurons above 0.1 of the largest amplitude, to the nearest of ±(1, ±6).",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(mask: str, data: xr.Dataset) -> list[Row]:
    """The numbers under one mask mode."""
    many = data.sel(n=data["n"] >= FROM)
    error = geometric(many["error"], "n")
    papers, plain = (error.sel(keep_prob=p).values for p in (PAPERS, 1.0))
    name = f"{mask} masks, n >= {FROM}"
    rows = [ratio(f"{name}: error, p = {PAPERS:g} / p = 1", papers, plain)]
    angles = (many["angle"].sel(keep_prob=p).mean("n").values for p in (PAPERS, 1.0))
    rows.append(ratio(f"{name}: angle to the teacher, p = {PAPERS:g} / p = 1", *angles))
    for p in data["keep_prob"].values:
        share = (many["error"].sel(keep_prob=p) < RECOVERED).mean("n").values
        rows.append(Row.over_seeds(f"{name}: share recovered at p = {p:g}", share))
    return rows


def _map(axis: Axes, values: xr.DataArray, norm: Any) -> Any:
    """Cells of equal size with their numbers, for values (keep_prob, n)."""
    image = axis.imshow(values.values, norm=norm, cmap="viridis_r", aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(values.values):
        dark = norm(value) > 0.55
        text = f"{value:.2g}" if value < 100 else f"{value:.0f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    axis.set_xticks(range(values.sizes["n"]), [str(n) for n in values["n"].values])
    axis.set_yticks(range(values.sizes["keep_prob"]), [f"{p:g}" for p in values["keep_prob"].values])
    return image


def _outline(axis: Axes, inside: Any) -> None:
    """The border of the cells where `inside` (rows, columns) holds."""
    padded = np.pad(inside, 1)
    style: dict[str, Any] = {"color": "#D55E00", "lw": 2.2, "solid_capstyle": "projecting"}
    for row, column in np.argwhere(padded[1:, :] != padded[:-1, :]):
        axis.plot([column - 1.5, column - 0.5], [row - 0.5] * 2, **style)
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        axis.plot([column - 0.5] * 2, [row - 1.5, row - 0.5], **style)
    axis.set(xlim=(-0.5, inside.shape[1] - 0.5), ylim=(-0.5, inside.shape[0] - 0.5))


def _over_both(axis: Axes, data: xr.Dataset, name: str, mask: str) -> Coloured:
    """Error or angle over (n, keep_prob) under one mask mode; the line is that of recovery."""
    from matplotlib.colors import LogNorm

    title, label = SHOWN[name]
    middle, error = geometric(data[name], "seed"), geometric(data["error"].sel(mask=mask), "seed")
    norm = LogNorm(float(middle.min()), float(middle.max()))  # the same for both mask modes
    image = _map(axis, middle.sel(mask=mask).transpose("keep_prob", "n"), norm)
    _outline(axis, error.transpose("keep_prob", "n").values < RECOVERED)
    axis.set(xlabel="training samples $n$", ylabel="keep probability $p$ (1: no dropout)")
    axis.set_title(f"{title}, {mask} masks")
    return image, label


PANELS: dict[str, Panel] = {
    f"{name}-{mask}": partial(_over_both, name=name, mask=mask) for mask in MASKS for name in SHOWN
}


def draw(outcome: Outcome) -> Figure:
    """Error and angle over (n, keep_prob), a row for each mask mode; the line is that of recovery."""
    with figure(10.5, 6.8) as whole:
        axes = whole.subplots(2, 2, sharex=True, sharey=True)
        *_, error, angle = fill(axes, PANELS, outcome.data)
        for column, coloured in enumerate((error, angle)):
            assert coloured is not None
            whole.colorbar(coloured[0], ax=list(axes[:, column]), label=coloured[1], shrink=0.8)
        for axis in axes[0]:
            axis.set_xlabel("")
        for axis in axes[:, 1]:
            axis.set_ylabel("")
        whole.suptitle(
            f"Geometric means over seeds; outlined: teacher recovered, error below {RECOVERED:g} of its variance",
            fontsize=9.5, x=0.01, ha="left",
        )  # fmt: skip
    return whole


EXPERIMENT = Experiment(
    name="teacher-recovery",
    source="beyond the papers",
    place=(3, 1),
    shows="where over (samples, keep_prob) a teacher of two neurons is recovered",
    minutes=2.0,
    full_minutes=50.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
