"""`relu-fit`: what dropout makes of a few points that a wide relu network could fit in any way (IRD, figure 1)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import TARGETS
from ...problem import Problem
from ...study.landscape import flatness
from ...theory import risk
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import ARMS, COLORS, LINES, NAMES, Array, arms, band, ratio, train
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: steps and learning rate of Adam: the figures' captions, and the appendix with as much time
SIZES: dict[bool, dict[str, Any]] = {False: {"steps": 100_000, "lr": 1e-3}, True: {"steps": 1_000_000, "lr": 1e-4}}
WIDTH, MASKS = 1000, ("sample", "step")
DIRECTIONS = 10
#: where along a direction the rise of the loss is compared: halfway to parameters of another size
AT = 0.5


def run(settings: Settings) -> Outcome:
    """Train both arms under both mask modes; measure outputs between the points and the loss around the end."""
    import xarray as xr

    target, seeds, size = TARGETS["relu-fit"], settings.seeds or 5, SIZES[settings.full]
    x = np.linspace(target.points[0], target.points[-1], 401)
    problem = Problem(target.points, target.function(target.points), width=WIDTH, activation="relu")
    outputs, losses, ends, rows = [], [], [], []
    for mask in MASKS:
        here = replace(problem, mask=mask)  # type: ignore[arg-type]
        theta = train(here, settings, what=f"{mask} masks", seeds=seeds, **size)
        f = problem.predict(theta, x)[..., 0]  # (seeds, arm, x)
        lines = np.array(
            [[flatness.lines(problem, one, count=DIRECTIONS)["loss"].values for one in row] for row in theta]
        )
        rows += _rows(mask, f, target.function(x), x, lines, risk(problem, theta))
        outputs.append(f)
        losses.append(lines)
        ends.append(risk(problem, theta))
    axes = ("mask", "seed", "arm")
    data = xr.Dataset(
        {
            "f": ((*axes, "x"), np.array(outputs)),
            "target": ("x", target.function(x)),
            "loss": ((*axes, "direction", "alpha"), np.array(losses)),
            "risk": (axes, np.array(ends)),
        },
        {"mask": list(MASKS), "arm": list(ARMS), "x": x, "alpha": flatness.LINE},
        {"width": WIDTH, "optimizer": "adam", "init": "N(0, m^-0.2), a variance", "seeds": seeds, **size},
    )
    notes = [
        "Adam, initial weights N(0, m^-0.2) read as a variance, all 6 points at every step; both mask modes.",
        f"Rise of R_S: at alpha = ±{AT:g} along {DIRECTIONS} filter-normalised random directions, less R_S at the end.",
        "The target's slope changes by 1 in all: the least that any function through its points can do.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(mask: str, f: Array, target: Array, x: Array, lines: Array, ends: Array) -> list[Row]:
    """The numbers under one mask mode, from outputs (seeds, 2, x) and losses (seeds, 2, direction, alpha)."""
    error = np.sqrt(np.square(f - target).mean(axis=-1))
    bend = np.abs(np.diff(f, 2, axis=-1)).sum(axis=-1) / (x[1] - x[0])
    side = np.isclose(np.abs(flatness.LINE), AT)
    rise = (lines[..., side] - lines[..., flatness.LINE == 0]).mean(axis=(-1, -2))
    rows = []
    for name, values, published in (
        ("rms error between the points", error, "smaller with dropout"),
        ("total change of slope", bend, "smoother with dropout"),
        ("rise of R_S along random directions", rise, "flatter with dropout"),
    ):
        rows += arms(f"{mask} masks: {name}", values)
        rows.append(ratio(f"{mask} masks: {name}, with/without", *values.T, published=published))
    return rows + arms(f"{mask} masks: R_S at the end", ends)


def _outputs(axis: Axes, data: xr.Dataset, mask: str) -> None:
    """Outputs of all seeds under one mask mode."""
    from ...output.style import DATA, INK

    points = TARGETS["relu-fit"].points
    axis.plot(data["x"], data["target"], ":", color=INK, lw=1.2, label="target")
    for k in (1, 0):
        for seed, f in enumerate(data["f"].sel(mask=mask).values[:, k]):
            label = None if seed else NAMES[k]
            axis.plot(data["x"], f, LINES[k], color=COLORS[k], lw=1.4 - 0.4 * k, alpha=0.75, label=label)
    axis.plot(points, TARGETS["relu-fit"].function(points), "o", label="training points", **DATA)
    axis.set(title=f"Outputs, one mask per {mask}", xlabel="input $x$", ylabel="output $f(x)$")
    axis.legend()


def _loss(axis: Axes, data: xr.Dataset, mask: str) -> None:
    """R_S along random directions under one mask mode."""
    for k in (1, 0):
        band(axis, data["alpha"].values, data["loss"].sel(mask=mask).values[:, k], k)
    axis.set(yscale="log", xlabel=r"$\alpha$ along filter-normalised random directions", ylabel="$R_S$")
    axis.set_title("Loss around the end: median, 10-90 % over seeds and directions")
    axis.legend()


PANELS: dict[str, Panel] = {
    f"{name}-{mask}": partial(panel, mask=mask)
    for mask in MASKS
    for name, panel in (("outputs", _outputs), ("loss", _loss))
}


def draw(outcome: Outcome) -> Figure:
    """Outputs of all seeds, and the loss along random directions, for each mask mode."""
    with figure(10.5, 6.6) as whole:
        fill(whole.subplots(2, 2), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "arm": "keep probability",
    "x": "input",
    "f": ("output of the network, without dropout", "y"),
    "target": ("output of the target", "y"),
}


EXPERIMENT = Experiment(
    name="relu-fit",
    source="IRD, figure 1",
    place=(1, 1),
    shows="dropout smooths what a relu network does between the points and flattens the loss around it",
    minutes=0.2,
    full_minutes=2.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
