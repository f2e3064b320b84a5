"""`small-init`: from small weights plain training lingers at a saddle that dropout leaves early (IRD, figure 9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import ARMS, COLORS, LINES, Array, arms, ratio
from ..shared.orientations import along, problem, scatter, train
from ..words import RISK, Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: variance m^-GAMMA of the initial weights: far below the 1/m at which a network's outputs are of order one
GAMMA = 3.0
STEPS = {False: 150_000, True: 1_000_000}
#: Adam's learning rate until this step, and from then on
LRS, SLOWER = (3e-3, 3e-4), 60_000
#: a network has left the saddle where its R_S is below this share of that of the best linear function
LEFT = 0.9
#: a network has gone on to the teacher where it is below this share: far below the second saddle's 0.6, and above the
#: 0.01 to 0.03 at which R_1 holds networks
FOUND = 0.1
REASON = "from small weights few neurons stay alive, and R_1 of few neurons keeps R_S high"


def run(settings: Settings) -> Outcome:
    """Train both arms from small weights; the step at which each leaves the plateau of the best linear function."""
    seeds, steps, here = settings.seeds or 5, STEPS[settings.full], problem("sample")
    theta0 = np.repeat(here.init(seed=0, gamma=GAMMA, members=seeds), 2, axis=0)
    runs = train(
        here, theta0, settings, what="small weights", steps=steps, keep_prob=np.tile(ARMS, seeds), record=120,
        lr=dict(zip((0, SLOWER), LRS, strict=True)),
    )  # fmt: skip
    risk = runs["risk"].values.astype(np.float64).reshape(-1, seeds, 2)
    saddle, step = _linear_risk(here.inputs, here.y), runs["step"].values
    thinned = runs.isel(time=[0, -1])
    data = along(here, thinned, seeds, ARMS)
    data = data.assign(all_risk=(("record", "seed", "arm"), risk), all_step=("record", step))
    data.attrs = {
        "width": 1000, "steps": steps, "optimizer": "adam", "lr": list(LRS), "slower": SLOWER, "gamma": GAMMA,
        "seeds": seeds, "saddle": saddle,
    }  # fmt: skip
    notes = [
        f"Adam at {LRS[0]:g}, from step {SLOWER} on {LRS[1]:g}, {steps} steps, sample masks, all 15 points at every"
        f" step, weights N(0, m^-{GAMMA:g}).",
        f"The first saddle is the best linear function of x, R_S = {saddle:.4f}. With dropout networks come to a second"
        " one, two neurons on the wrong lines, R_S = 0.055. The noise takes them on: at 1e-3 it needs 1e5 to 5e5 steps,"
        " and plain gradient descent stays there. The paper does not say at which learning rate.",
        "A network that is still at the saddle at the last step counts as leaving then: the ratio is an upper bound.",
    ]
    return Outcome(rows=rows(data), data=data, notes=notes)


def rows(data: xr.Dataset) -> list[Row]:
    """When networks leave the first saddle, and how many find the teacher."""
    risk, step = data["all_risk"].transpose("record", "seed", "arm").values, data["all_step"].values
    left = _first(risk < LEFT * data.attrs["saddle"], step)
    beyond = risk < FOUND * data.attrs["saddle"]
    reached = beyond.any(axis=0)  # (seed, arm)
    lowest = float(risk[-1, :, 0].min())
    late = _first(beyond[:, :, :1], step)[:, 0]
    return [
        *arms(f"steps until R_S < {LEFT:g} of the best linear function's", left),
        ratio("the same, with/without", *left.T, published="dropout leaves the saddle earlier", bound=0.5),
        Row.over_seeds(
            f"share of networks that reach R_S < {FOUND:g} of it as well, with dropout", reached[:, 0],
            published="1, at 1e5 steps", rule="more than half", holds=bool(reached[:, 0].mean() > 0.5),
        ),
        Row.over_seeds("steps until then, with dropout", late, published="about 1e5"),
        Row.over_seeds(
            "the same share, without", reached[:, 1], published="0, at 9e5 steps",
            rule="none", holds=bool(not reached[:, 1].any()),
        ),
        Row(
            quantity="lowest R_S at the end, with dropout", ours=lowest, error=0.0, published="1e-5",
            rule="within a factor of 10", holds=bool(1e-6 <= lowest <= 1e-4), reason=REASON,
        ),
        *arms("R_S at the end", risk[-1]),
    ]  # fmt: skip


def _first(holds: NDArray[np.bool_], step: Array) -> Array:
    """The first step (...) at which `holds` (record, ...), or the last one."""
    return np.where(holds.any(axis=0), step[holds.argmax(axis=0)], step[-1]).astype(np.float64)


def _linear_risk(inputs: np.ndarray, y: np.ndarray) -> float:
    """R_S of the best linear function of inputs (n, D)."""
    best = np.linalg.lstsq(inputs, y, rcond=None)[0]
    return float(np.square(inputs @ best - y).sum() / (2 * len(y)))


def _risk(axis: Axes, data: xr.Dataset) -> None:
    """R_S over steps, all seeds of both arms."""
    from ...output.style import INK

    for k in (1, 0):
        for seed, row in enumerate(data["all_risk"].values[:, :, k].T):
            label = None if seed else _called(k)
            axis.plot(data["all_step"], row, LINES[k], color=COLORS[k], lw=1.1, alpha=0.8, label=label)
    axis.axhline(data.attrs["saddle"], color=INK, lw=0.8, ls=":", label="best linear function")
    axis.set(xscale="symlog", yscale="log", xlabel="step", ylabel="$R_S$", title="From small weights, all seeds")
    axis.set_xlim(0, None)
    axis.legend()


def _orientations(axis: Axes, data: xr.Dataset, k: int) -> None:
    """Amplitude over orientation for one seed of an arm."""
    scatter(axis, data.isel(arm=k), color=COLORS[k], title=f"Orientations of one seed, {_called(k)}")


def _called(k: int) -> str:
    return f"$p = {ARMS[k]:g}$" if ARMS[k] < 1 else "no dropout"


PANELS: dict[str, Panel] = {
    "risk": _risk, "with-dropout": partial(_orientations, k=0), "without": partial(_orientations, k=1),
}  # fmt: skip


def draw(outcome: Outcome) -> Figure:
    """R_S over steps for all seeds, and orientations at the end for one."""
    with figure(12.4, 3.8) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "arm": "keep probability",
    "all_step": "training step of all_risk",
    "all_risk": ("risk R_S, without dropout, over all stages of training", RISK),
}


EXPERIMENT = Experiment(
    name="small-init",
    source="IRD, figure 9",
    place=(1, 9),
    shows="from small weights plain training lingers at a saddle; with dropout networks go on to the teacher",
    minutes=0.3,
    full_minutes=2.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
