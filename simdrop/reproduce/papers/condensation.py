"""`condensation`: with dropout, input weights condense on isolated orientations (IRD, figure 4)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import ARMS, COLORS
from ..shared.orientations import along, condensed, problem, scatter, scattered, spread, train
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MASKS = ("step", "sample")
#: the published number of steps; a longer run shows that nothing moves any more
STEPS = {False: 200_000, True: 1_000_000}


def run(settings: Settings) -> Outcome:
    """Train both arms under both mask modes at the published size; orientations on the way and at the end."""
    import xarray as xr

    seeds, steps = settings.seeds or 5, STEPS[settings.full]
    found, rows = [], []
    for mask in MASKS:
        here = problem(mask)
        theta0 = np.repeat(here.init(seed=0, gamma=0.2, members=seeds), 2, axis=0)
        runs = train(
            here, theta0, settings, what=f"{mask} masks", steps=steps, keep_prob=np.tile(ARMS, seeds),
            record=[steps // 2**k for k in range(8, -1, -1)],
        )  # fmt: skip
        data = along(here, runs, seeds, ARMS)
        theta = runs["theta"].values[-1].astype(np.float64)
        rows += _rows(mask, data, spread(here, theta[::2]))
        found.append(data)
    data = xr.concat(found, xr.Variable("mask", list(MASKS)))
    data.attrs = {"width": 1000, "steps": steps, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2, "seeds": seeds}
    notes = [
        f"Adam at 1e-3 for {steps} steps, all 15 points at every step, weights N(0, m^-0.2) read as a variance.",
        "Clusters: complete linkage, no two neurons of one further apart than 0.2; neurons above 0.1 of the largest.",
        "The papers' code draws a mask for every sample, their theory one for every step: both condense.",
        "The papers' effective ratio is left out: ten caps of cosine 0.95 cover all directions of two dimensions, so"
        " that it is about 0.01 for any network of 1000 neurons.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(mask: str, data: xr.Dataset, angles: np.ndarray) -> list[Row]:
    """The numbers under one mask mode: `data` of `along`, and the spread (seed,) within the clusters at p = 0.9."""
    with_, without = (data.sel(arm=arm).isel(time=-1) for arm in ARMS)
    name, other = (f"{mask} masks, p = {arm:g}" for arm in ARMS)
    return [
        *condensed(name, with_),
        Row.over_seeds(
            f"{name}: rms angle within them", angles, published="< 0.009", unit="rad",
            rule="mean below 0.009", holds=bool(angles.mean() < 0.009),
        ),
        Row.over_seeds(f"{name}: neurons above 0.1", with_["above"], published="210"),
        Row.over_seeds(f"{name}: share below 0.02", with_["small_share"], published="0.78"),
        *scattered(other, without),
        Row.over_seeds(f"{other}: share below 0.02", without["small_share"], published="0.32"),
    ]  # fmt: skip


#: panel -> mask mode and keep probability of what it shows
SHOWN = {"step-masks": ("step", 0.9), "sample-masks": ("sample", 0.9), "no-dropout": ("step", 1.0)}


def _orientations(axis: Axes, data: xr.Dataset, name: str) -> None:
    """Amplitude over orientation for one seed."""
    mask, arm = SHOWN[name]
    title = "no dropout" if arm == 1 else f"$p = {arm:g}$, one mask per {mask}"
    scatter(axis, data.sel(mask=mask, arm=arm), color=COLORS[ARMS.index(arm)], title=title)


def _number(axis: Axes, data: xr.Dataset) -> None:
    """The number of orientations along training, all seeds."""
    from ...output.style import INK

    for (mask, arm), style in zip(SHOWN.values(), ("-", "--", ":"), strict=True):
        label = "no dropout" if arm == 1 else f"$p = {arm:g}$, {mask} masks"
        for k, row in enumerate(data.sel(mask=mask, arm=arm)["holding"].transpose("seed", "time").values):
            color = COLORS[ARMS.index(arm)]
            axis.plot(data["step"][1:], row[1:], style, color=color, lw=1.2, alpha=0.8, label=None if k else label)
    axis.axhline(4, color=INK, lw=0.8, ls=":")
    axis.set(xscale="log", yscale="log", xlabel="step", ylabel="orientations", ylim=(3, None))
    axis.set_title("Clusters that hold 95 % of the amplitude, all seeds")
    axis.set_yticks([4, 10, 20, 40], ["4", "10", "20", "40"])
    axis.minorticks_off()
    axis.legend()


PANELS: dict[str, Panel] = {name: partial(_orientations, name=name) for name in SHOWN} | {"orientations": _number}


def draw(outcome: Outcome) -> Figure:
    """Amplitude over orientation for one seed, and the number of orientations along training for all."""
    with figure(10.5, 6.8) as whole:
        axes = whole.subplots(2, 2)
        fill(axes, PANELS, outcome.data)
        axes[0, 0].legend(loc="upper center")
    return whole


WORDS: Words = {
    "arm": "keep probability",
}


EXPERIMENT = Experiment(
    name="condensation",
    source="IRD, figure 4",
    place=(1, 4),
    shows="with dropout the input weights condense on the teacher's orientations, without it they do not",
    minutes=0.7,
    full_minutes=3.5,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
