"""`sample-size`: how many samples of a teacher a network needs, with dropout and without (IRD, figure 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.dropout_pair import ARMS, COLORS, NAMES, Array, ratio
from ..shared.teachers import RECOVERED, TEACHERS, geometric, learn

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

#: numbers of samples, Adam's learning rate and steps, seeds; in full those of the paper, with the same lr · step
SIZES: dict[bool, tuple[tuple[int, ...], float, int, int]] = {
    False: ((1, 2, 3, 4, 5, 6, 8, 10, 12, 14), 1e-3, 100_000, 10),
    True: (tuple(range(1, 15)), 1e-4, 1_000_000, 10),
}
#: with at least this number of samples both parts of the teacher are likely to be seen
FROM = 4


def run(settings: Settings) -> Outcome:
    """Train both arms on 1 to 14 random points of both teachers; measure the error between them."""
    import xarray as xr

    sizes, lr, steps, seeds = SIZES[settings.full]
    seeds = settings.seeds or seeds
    found, rows = [], []
    for activation in TEACHERS:
        here = learn(activation, settings, sizes=sizes, keep_probs=ARMS, seeds=seeds, mask="step", steps=steps, lr=lr)
        rows += _rows(activation, here)
        found.append(here)
    data = xr.concat(found, xr.Variable("activation", list(TEACHERS)))
    data.attrs = {"width": 1000, "steps": steps, "optimizer": "adam", "lr": lr, "gamma": 0.2, "seeds": seeds}
    notes = [
        f"Adam at {lr:g} for {steps} steps, all points at every step, step masks, weights N(0, m^-0.2) read as a"
        " variance. Every seed draws its own points, uniform on the interval, and its own weights.",
        "Error: mean square over the interval, in units of the teacher's variance; means over seeds are geometric.",
        f"Recovered: error below {RECOVERED:g}.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(activation: str, data: xr.Dataset) -> list[Row]:
    """The numbers of one teacher."""
    rows = []
    for n in (6, 10, 14):
        error = data["error"].sel(n=n).values
        rows += [_geometric(f"{activation}, n = {n}: error {name}", v) for name, v in zip(NAMES, error.T, strict=True)]
    many = geometric(data["error"].sel(n=data["n"] >= FROM), "n").values
    what = f"{activation}, mean over n >= {FROM}: error, with/without"
    rows.append(ratio(what, *many.T, published="below 1"))
    share = (data["error"] < RECOVERED).mean("n").values
    rows += [
        Row.over_seeds(f"{activation}: share of the sizes that recover the teacher, {name}", values)
        for name, values in zip(NAMES, share.T, strict=True)
    ]
    return rows


def _geometric(quantity: str, values: Array) -> Row:
    """A row of the geometric mean over seeds, without a rule."""
    logs = np.log(values)
    mean = float(np.exp(logs.mean()))
    error = mean * float(logs.std(ddof=1) / np.sqrt(logs.size)) if logs.size > 1 else float("nan")
    return Row(quantity=quantity, ours=mean, error=error)


def draw(outcome: Outcome) -> Figure:
    """Error over the number of samples, a panel for each teacher: geometric mean, and every seed."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import INK, STYLE

    data = outcome.data
    n = data["n"].values
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, activation in zip(axes, TEACHERS, strict=True):
            for arm, color, name in reversed(list(zip(ARMS, COLORS, NAMES, strict=True))):
                error = data["error"].sel(activation=activation, keep_prob=arm).values  # (seed, n)
                logs = np.log(error)
                axis.plot(n, error.T, color=color, lw=0.6, alpha=0.45)
                bar = logs.std(axis=0, ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else 0 * logs[0]
                axis.fill_between(n, *np.exp(logs.mean(axis=0) + np.outer([-1, 1], bar)), color=color, alpha=0.18, lw=0)
                axis.plot(n, np.exp(logs.mean(axis=0)), "o-", color=color, ms=4, lw=1.8, label=name)
            axis.axhline(RECOVERED, color=INK, lw=0.8, ls=":")
            axis.text(n[0], 0.9 * RECOVERED, "recovered", va="top")
            axis.set(yscale="log", xlabel="training samples $n$", title=f"Teacher of two {activation} neurons")
            axis.set_xticks(range(2, 15, 2))
            axis.tick_params(labelleft=True)
        axes[0].set_ylabel("mean square error / variance of the teacher")
        axes[0].legend(loc="upper right", title="geometric mean ± standard error;\nthin: single seeds")
    return figure


EXPERIMENT = Experiment(
    name="sample-size",
    source="IRD, figure 8",
    place=(1, 8),
    shows="with dropout a teacher of two neurons is learnt from fewer samples",
    minutes=2.0,
    full_minutes=20.0,
    run=run,
    draw=draw,
)
