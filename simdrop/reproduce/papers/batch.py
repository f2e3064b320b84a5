"""`batch`: the noise of small batches does not condense weights as dropout does (IRD, figure 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import COLORS
from ..shared.orientations import along, condensed, problem, scatter, scattered, train

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: arm -> keep probability, samples of a minibatch (None: all 15), title
ARMS: dict[str, tuple[float, int | None, str]] = {
    "batch": (1.0, 2, "no dropout, batches of 2"),
    "dropout": (0.9, None, "p = 0.9, full batch"),
    "both": (0.9, 2, "p = 0.9, batches of 2"),
}
STEPS = {False: 200_000, True: 1_000_000}


def run(settings: Settings) -> Outcome:
    """Train with batches of two and no dropout, with dropout and full batches, and with both."""
    import xarray as xr

    seeds, steps, here = settings.seeds or 5, STEPS[settings.full], problem("sample")
    theta0 = here.init(seed=0, gamma=0.2, members=seeds)
    found = {}
    for name, (keep_prob, batch, title) in ARMS.items():
        runs = train(
            here, theta0, settings, what=title, steps=steps, keep_prob=np.full(seeds, keep_prob), batch_size=batch,
        )  # fmt: skip
        found[name] = along(here, runs, seeds, [keep_prob]).isel(arm=0, drop=True)
    ends = {name: data.isel(time=-1) for name, data in found.items()}
    data = xr.concat(found.values(), xr.Variable("arm", list(found)))
    data.attrs = {"width": 1000, "steps": steps, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2, "seeds": seeds}
    notes = [
        f"Adam at 1e-3 for {steps} steps, batches drawn at every step without replacement, sample masks, weights"
        " N(0, m^-0.2) read as a variance. The paper has no third arm.",
    ]
    return Outcome(rows=_rows(ends), data=data, notes=notes)


def _rows(ends: dict[str, xr.Dataset]) -> list[Row]:
    """The numbers of the three arms, from what `along` has at their ends."""
    return [
        *scattered(ARMS["batch"][2], ends["batch"]),
        *condensed(ARMS["dropout"][2], ends["dropout"]),
        *condensed(ARMS["both"][2], ends["both"], claimed=False),
    ]


def _orientations(axis: Axes, data: xr.Dataset, arm: str) -> None:
    """Amplitude over orientation for one seed of an arm."""
    keep_prob, _, title = ARMS[arm]
    scatter(axis, data.sel(arm=arm), color=COLORS[int(keep_prob == 1)], title=title.replace("p = 0.9", "$p = 0.9$"))


PANELS: dict[str, Panel] = {arm: partial(_orientations, arm=arm) for arm in ARMS}


def draw(outcome: Outcome) -> Figure:
    """Amplitude over orientation for one seed of each arm."""
    with figure(12.4, 3.8) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


EXPERIMENT = Experiment(
    name="batch",
    source="IRD, figure 6",
    place=(1, 6),
    shows="batches of two samples without dropout leave the orientations scattered",
    minutes=0.6,
    full_minutes=3.0,
    run=run,
    draw=draw,
    panels=PANELS,
)
