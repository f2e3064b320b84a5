"""`small-init`: from small weights plain training lingers at a saddle that dropout leaves early (IRD, figure 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Settings
from ..shared.dropout_pair import ARMS, COLORS, arms, ratio
from ..shared.orientations import along, problem, scatter, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: variance m^-GAMMA of the initial weights: far below the 1/m at which a network's outputs are of order one
GAMMA = 2.0
STEPS = {False: 100_000, True: 1_000_000}
#: a network has left the saddle where its R_S is below this share of that of the best linear function
LEFT = 0.9


def run(settings: Settings) -> Outcome:
    """Train both arms from small weights; the step at which each leaves the plateau of the best linear function."""
    seeds, steps, here = settings.seeds or 5, STEPS[settings.full], problem("sample")
    theta0 = np.repeat(here.init(seed=0, gamma=GAMMA, members=seeds), 2, axis=0)
    runs = train(
        here, theta0, settings, what="small weights", steps=steps, keep_prob=np.tile(ARMS, seeds), record=120
    )  # fmt: skip
    risk = runs["risk"].values.astype(np.float64).reshape(-1, seeds, 2)
    saddle = _linear_risk(here.inputs, here.y)
    below, step = risk < LEFT * saddle, runs["step"].values
    # a network that is still there at the end is counted as leaving then: a bound from below
    left = np.where(below.any(axis=0), step[below.argmax(axis=0)], steps).astype(np.float64)
    thinned = runs.isel(time=[0, -1])
    data = along(here, thinned, seeds, ARMS)
    data = data.assign(
        all_risk=(("record", "seed", "arm"), risk), all_step=("record", step), left=(("seed", "arm"), left)
    )
    data.attrs = {
        "width": 1000, "steps": steps, "optimizer": "adam", "lr": 1e-3, "gamma": GAMMA, "seeds": seeds,
        "saddle": saddle,
    }  # fmt: skip
    stayed = int((~below.any(axis=0)).sum(axis=0)[1])
    rows = [
        *arms(f"steps until R_S < {LEFT:g} of the best linear function's", left),
        ratio("the same, with/without", *left.T, published="dropout leaves the saddle earlier"),
        *arms("R_S at the end", risk[-1]),
    ]
    notes = [
        f"Adam at 1e-3 for {steps} steps, sample masks, all 15 points at every step, weights N(0, m^-{GAMMA:g}).",
        f"The plateau is that of the best linear function of x, R_S = {saddle:.4f}.",
        f"{stayed} of {seeds} networks without dropout were still there at the last step; they count as leaving then,"
        " so that the ratio is a bound from above.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _linear_risk(inputs: np.ndarray, y: np.ndarray) -> float:
    """R_S of the best linear function of inputs (n, D)."""
    best = np.linalg.lstsq(inputs, y, rcond=None)[0]
    return float(np.square(inputs @ best - y).sum() / (2 * len(y)))


def draw(outcome: Outcome) -> Figure:
    """R_S over steps for all seeds, and orientations at the end for one."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import INK, STYLE

    data = outcome.data
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 3.8), layout="constrained")
        first, *others = figure.subplots(1, 3)
        for k in (1, 0):
            label = f"p = {ARMS[k]:g}" if ARMS[k] < 1 else "no dropout"
            for seed, row in enumerate(data["all_risk"].values[:, :, k].T):
                first.plot(data["all_step"], row, color=COLORS[k], lw=1.1, alpha=0.8, label=None if seed else label)
            scatter(others[k], data.isel(arm=k), color=COLORS[k], title=f"Orientations, {label}")
        first.axhline(data.attrs["saddle"], color=INK, lw=0.8, ls=":", label="best linear function")
        first.set(xscale="symlog", yscale="log", xlabel="step", ylabel="$R_S$", title="From small weights, all seeds")
        first.set_xlim(0, None)
        first.legend()
    return figure


EXPERIMENT = Experiment(
    name="small-init",
    source="IRD, figure 9",
    place=(1, 9),
    shows="from small weights plain training lingers at a saddle; dropout leaves it earlier",
    minutes=0.3,
    full_minutes=2.0,
    run=run,
    draw=draw,
)
