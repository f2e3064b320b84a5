"""`switch`: a network at a minimum of R_S leaves it and condenses once dropout or R_1 is switched on (IRD, 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.orientations import along, condensed, problem, scatter, scattered, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: step of the switch, and of the end
SIZES = {False: (200_000, 600_000), True: (200_000, 1_000_000)}
#: what is switched on -> how the table calls it
ARMS = {"dropout": "dropout", "risk+r1": "R_S + R_1", "risk": "nothing"}
COLORS = {"dropout": "#0072B2", "risk+r1": "#E69F00", "risk": "#D55E00"}


def run(settings: Settings) -> Outcome:
    """Train on R_S, then on R_drop, on R_S + R_1, or on R_S as before; orientations at the switch and at the end."""
    import xarray as xr

    seeds, (switch, steps), here = settings.seeds or 3, SIZES[settings.full], problem("sample")
    theta0 = here.init(seed=0, gamma=0.2, members=seeds)
    record = sorted({switch, *np.linspace(0, steps, 16).astype(int).tolist()})
    found = []
    for name, title in ARMS.items():
        objective = {0: "risk", switch: name} if name != "risk" else "risk"
        runs = train(
            here, theta0, settings, what=f"{title} switched on", steps=steps, keep_prob=np.full(seeds, 0.9),
            objective=objective, record=record,
        )  # fmt: skip
        found.append(along(here, runs, seeds, [0.9]).isel(arm=0, drop=True))
    data = xr.concat(found, xr.Variable("arm", list(ARMS)))
    data.attrs = {
        "switch": switch, "steps": steps, "width": here.width, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2,
        "seeds": seeds,
    }  # fmt: skip
    before = data.sel(arm="risk").isel(time=int(np.searchsorted(data["step"].values, switch)))
    ends = {name: data.sel(arm=name).isel(time=-1) for name in ARMS}
    rows = [
        *scattered(f"R_S, at step {switch}", before),
        *condensed("dropout switched on", ends["dropout"]),
        *condensed("R_S + R_1 switched on", ends["risk+r1"]),
        *scattered("nothing switched on", ends["risk"]),
        *(Row.over_seeds(f"R_S at the end, {title} switched on", ends[name]["risk"]) for name, title in ARMS.items()),
    ]
    notes = [
        f"Adam at 1e-3, its moments kept at the switch; R_S until step {switch}, in all {steps} steps; p = 0.9, sample"
        " masks, weights N(0, m^-0.2) read as a variance.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def draw(outcome: Outcome) -> Figure:
    """R_S and the number of orientations over steps, and orientations at the end for one seed."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import INK, STYLE

    data = outcome.data
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.8), layout="constrained")
        (first, second), (third, fourth) = figure.subplots(2, 2)
        for name, title in ARMS.items():
            for seed in range(data.sizes["seed"]):
                here, label = data.sel(arm=name).isel(seed=seed), None if seed else f"{title} switched on"
                first.plot(data["step"], here["risk"], color=COLORS[name], lw=1.2, alpha=0.85, label=label)
                second.plot(data["step"], here["holding"], color=COLORS[name], lw=1.2, alpha=0.85)
        for axis, label in ((first, "$R_S$"), (second, "orientations that hold 95 %")):
            axis.axvline(data.attrs["switch"], color=INK, lw=0.8, ls=":")
            axis.set(yscale="log", xlabel="step", ylabel=label)
        second.set_yticks([4, 10, 20, 40], ["4", "10", "20", "40"])
        second.minorticks_off()
        first.legend(title="all seeds")
        for axis, name in ((third, "dropout"), (fourth, "risk+r1")):
            scatter(axis, data.sel(arm=name), color=COLORS[name], title=f"{ARMS[name]} switched on, at the end")
    return figure


EXPERIMENT = Experiment(
    name="switch",
    source="IRD, figure 5",
    place=(1, 5),
    shows="a network at a minimum of R_S condenses once dropout or R_1 is switched on",
    minutes=1.0,
    full_minutes=2.0,
    run=run,
    draw=draw,
)
