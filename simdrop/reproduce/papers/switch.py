"""`switch`: a network at a minimum of R_S leaves it and condenses once dropout or R_1 is switched on (IRD, 5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.orientations import along, condensed, problem, scatter, scattered, train

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: step of the switch, and of the end
SIZES = {False: (200_000, 600_000), True: (200_000, 1_000_000)}
#: what is switched on -> how the table calls it
ARMS = {"dropout": "dropout", "risk+r1": "R_S + R_1", "risk": "nothing"}
#: step at which a level is published beside that of the end
BETWEEN = 400_000
#: published levels: R_S at the switch; R_S + R_1 under R_S + R_1 between and at the end; the range of R_drop after it
LEVELS: dict[str, Any] = {"switch": 1.1e-4, "between": 1.04e-3, "end": 6.5e-4, "dropout": (8e-4, 7e-3)}
COLORS = {"dropout": "#0072B2", "risk+r1": "#E69F00", "risk": "#D55E00"}
LINES = {"dropout": "-", "risk+r1": "--", "risk": ":"}


def run(settings: Settings) -> Outcome:
    """Train on R_S, then on R_drop, on R_S + R_1, or on R_S as before; orientations at the switch and at the end."""
    import xarray as xr

    seeds, (switch, steps), here = settings.seeds or 3, SIZES[settings.full], problem("sample")
    theta0 = here.init(seed=0, gamma=0.2, members=seeds)
    record = sorted({switch, min(BETWEEN, steps), *np.linspace(0, steps, 16).astype(int).tolist()})
    found = []
    for name, title in ARMS.items():
        objective = {0: "risk", switch: name} if name != "risk" else "risk"
        runs = train(
            here, theta0, settings, what=f"{title} switched on", steps=steps, keep_prob=np.full(seeds, 0.9),
            objective=objective, record=record,
        )  # fmt: skip
        one = along(here, runs, seeds, [0.9]).isel(arm=0, drop=True)
        found.append(one.assign(r1=(("time", "seed"), theory.r1(here, runs["theta"].values.astype(np.float64)))))
    data = xr.concat(found, xr.Variable("arm", list(ARMS)))
    data.attrs = {
        "switch": switch, "steps": steps, "width": here.width, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2,
        "seeds": seeds,
    }  # fmt: skip
    rows = _rows(data)
    notes = [
        f"Adam at 1e-3, its moments kept at the switch; R_S until step {switch}, in all {steps} steps; p = 0.9, sample"
        " masks, weights N(0, m^-0.2) read as a variance.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(data: xr.Dataset) -> list[Row]:
    """Orientations at the switch and at the end, and the levels of the losses next to the published ones."""
    ends = {name: data.sel(arm=name).isel(time=-1) for name in ARMS}
    switch = data.attrs["switch"]
    before, between = (
        data.isel(time=int(np.searchsorted(data["step"].values, step)))
        for step in (switch, min(BETWEEN, data.attrs["steps"]))
    )
    before, between = before.sel(arm="risk"), between.sel(arm="risk+r1")
    mean = (ends["dropout"]["risk"] + ends["dropout"]["r1"]).values
    low, high = LEVELS["dropout"]
    return [
        *scattered(f"R_S, at step {switch}", before),
        Row.over_seeds(
            f"R_S at step {switch}", before["risk"], published=f"{LEVELS['switch']:g}",
            rule="not above the published one in any seed", holds=bool((before["risk"] <= LEVELS["switch"]).all()),
        ),
        *condensed("dropout switched on", ends["dropout"]),
        *condensed("R_S + R_1 switched on", ends["risk+r1"]),
        *scattered("nothing switched on", ends["risk"]),
        _level(f"R_S + R_1 switched on: R_S + R_1 at step {int(between['step'])}", between, LEVELS["between"]),
        _level("R_S + R_1 switched on: R_S + R_1 at the end", ends["risk+r1"], LEVELS["end"]),
        Row.over_seeds(
            "dropout switched on: E R_drop at the end", mean, published=f"{low:g} to {high:g}",
            rule="in that range in every seed", holds=bool(((low <= mean) & (mean <= high)).all()),
        ),
        *(Row.over_seeds(f"R_S at the end, {title} switched on", ends[name]["risk"]) for name, title in ARMS.items()),
    ]  # fmt: skip


def _level(quantity: str, data: xr.Dataset, published: float) -> Row:
    """A row for R_S + R_1 (seed,), claimed to be that of the paper within a factor of 2."""
    values = (data["risk"] + data["r1"]).values
    mean = np.exp(np.log(values).mean()) / published
    return Row.over_seeds(
        quantity, values, published=f"{published:g}", rule="within a factor of 2, geometric mean",
        holds=bool(0.5 <= mean <= 2),
    )  # fmt: skip


def _loss(axis: Axes, data: xr.Dataset) -> None:
    """The mean loss that is trained on over steps, all seeds, next to the published levels."""
    from ...output.style import INK, typeset

    for name, title in ARMS.items():
        for seed in range(data.sizes["seed"]):
            here, label = data.sel(arm=name).isel(seed=seed), None if seed else typeset(f"{title} switched on")
            after = here["r1"].where(data["step"] >= data.attrs["switch"], 0) if name != "risk" else 0
            axis.plot(data["step"][1:], (here["risk"] + after)[1:], label=label, **_look(name))
    shown = ((data.attrs["switch"], "switch"), (BETWEEN, "between"), (data.attrs["steps"], "end"))
    points = [LEVELS[level] for _, level in shown]
    axis.plot([step for step, _ in shown], points, "s", color=INK, mfc="none", ms=6, label="published", zorder=6)
    _steps(axis, data, "mean loss that is trained on")
    axis.set_title("All seeds")
    axis.legend()


def _number(axis: Axes, data: xr.Dataset) -> None:
    """The number of orientations over steps, all seeds."""
    from ...output.style import typeset

    for name, title in ARMS.items():
        for seed in range(data.sizes["seed"]):
            label = None if seed else typeset(f"{title} switched on")
            axis.plot(data["step"], data.sel(arm=name).isel(seed=seed)["holding"], label=label, **_look(name))
    _steps(axis, data, "orientations that hold 95 %")
    axis.set_yticks([4, 10, 20, 40], ["4", "10", "20", "40"])
    axis.minorticks_off()


def _look(name: str) -> dict[str, Any]:
    return {"color": COLORS[name], "ls": LINES[name], "lw": 1.2, "alpha": 0.85}


def _steps(axis: Axes, data: xr.Dataset, label: str) -> None:
    """The axes of what is drawn over steps, with the step of the switch."""
    from ...output.style import INK

    axis.axvline(data.attrs["switch"], color=INK, lw=0.8, ls=":")
    axis.set(yscale="log", xlabel="step", ylabel=label)
    axis.ticklabel_format(axis="x", style="sci", scilimits=(0, 0), useMathText=True)


def _orientations(axis: Axes, data: xr.Dataset, name: str) -> None:
    """Amplitude over orientation at the end for one seed of an arm."""
    from ...output.style import typeset

    scatter(axis, data.sel(arm=name), color=COLORS[name], title=typeset(f"{ARMS[name]} switched on, at the end"))


PANELS: dict[str, Panel] = {
    "loss": _loss,
    "orientations": _number,
    "dropout-on": partial(_orientations, name="dropout"),
    "r1-on": partial(_orientations, name="risk+r1"),
}


def draw(outcome: Outcome) -> Figure:
    """R_S and the number of orientations over steps, and orientations at the end for one seed."""
    with figure(10.5, 6.8) as whole:
        fill(whole.subplots(2, 2), PANELS, outcome.data)
    return whole


EXPERIMENT = Experiment(
    name="switch",
    source="IRD, figure 5",
    place=(1, 5),
    shows="a network at a minimum of R_S condenses once dropout or R_1 is switched on",
    minutes=1.0,
    full_minutes=2.0,
    run=run,
    draw=draw,
    panels=PANELS,
)
