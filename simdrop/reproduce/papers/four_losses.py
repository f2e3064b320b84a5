"""`four-losses`: of what dropout adds to the loss, R_1 is what makes it generalise (IRD, figure 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.digits import LR, Array, digits, starts, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEEP_PROBS = {False: (0.5, 0.7, 0.9), True: (0.5, 0.6, 0.7, 0.8, 0.9)}
#: learning rates; runs at the larger one end at the same time lr · step
LRS = {False: (LR,), True: (LR, 10 * LR)}
#: objective -> what it is; the first three hold R_1, openly or within R_drop
LOSSES = {
    "dropout": "$R_{drop}$",
    "L1": "L1 $= R_S + R_1$",
    "L3": r"L3 $= R_{drop} - \tilde R_2$",
    "L2": r"L2 $= R_S + \tilde R_2$",
    "L4": "L4 $= R_{drop} - R_1$",
    "risk": "$R_S$",
}
WITH_R1 = 3
COLORS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#D55E00")


def run(settings: Settings) -> Outcome:
    """Train all six losses from the same weights; test accuracy at the end."""
    import xarray as xr

    here, seeds, arms = digits(settings), settings.seeds or 3, KEEP_PROBS[settings.full]
    theta0, lrs = starts(here, seeds), LRS[settings.full]
    accuracy = np.empty((len(lrs), len(LOSSES), seeds, len(arms)))
    for k, lr in enumerate(lrs):
        steps = round(here.steps * LR / lr)
        for row, name in enumerate(LOSSES):
            ps = [1.0] if name == "risk" else arms
            theta = train(here, theta0, ps, settings, what=f"{name}, lr {lr:g}", objective=name, lr=lr, steps=steps)
            accuracy[k, row] = here.accuracy(theta)
    data = xr.Dataset(
        {"accuracy": (("lr", "objective", "seed", "keep_prob"), accuracy)},
        {"lr": list(lrs), "objective": list(LOSSES), "keep_prob": list(arms)},
        {"steps": here.steps, "width": here.problem.width, "seeds": seeds, "data": here.about},
    )
    notes = [
        f"{here.about}; gradient descent to time lr · step = {here.steps * LR:g}, sample masks, weights N(0, m^-0.2).",
        "R̃_2 = (lr/4) |∇R_drop|² on the step's own masks.",
    ]
    rows = [row for k, lr in enumerate(lrs) for row in _rows(f"lr {lr:g}: " if len(lrs) > 1 else "", accuracy[k])]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(name: str, accuracy: Array) -> list[Row]:
    """The numbers at one learning rate, of accuracies (loss, seeds, arms)."""
    means = accuracy.mean(axis=2)  # (loss, seeds)
    rows = [
        Row.over_seeds(f"{name}accuracy of {loss}, mean over p", 100 * values, unit="%")
        for loss, values in zip(LOSSES, means, strict=True)
    ]
    high, low = means[:WITH_R1], means[WITH_R1:]
    gap = high.min(axis=0) - low.max(axis=0)
    within = np.maximum(np.ptp(high, axis=0), np.ptp(low, axis=0))
    rows.append(
        Row.over_seeds(
            f"{name}worst of dropout, L1, L3 over best of L2, L4, R_S", 100 * gap, published="far above", unit="%",
            rule="above 5 % in every seed", holds=bool((gap > 0.05).all()),
        )
    )  # fmt: skip
    rows.append(
        Row.over_seeds(
            f"{name}largest difference within either group", 100 * within, published="they agree", unit="%",
            rule="less than half of that gap in every seed", holds=bool((within < gap / 2).all()),
        )
    )  # fmt: skip
    return rows


def draw(outcome: Outcome) -> Figure:
    """Test accuracy over the keep probability, a panel for each learning rate."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import STYLE

    data = outcome.data
    lrs = data["lr"].values
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 + 5.2 * len(lrs), 4.0), layout="constrained")
        for axis, lr in zip(np.atleast_1d(figure.subplots(1, len(lrs), sharey=True)), lrs, strict=True):
            for k, (name, label) in enumerate(LOSSES.items()):
                values = data["accuracy"].sel(lr=lr, objective=name).values
                error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
                style = "o-" if k < WITH_R1 else "s--"
                where = data["keep_prob"] + 0.004 * (k % WITH_R1 - 1)  # side by side where they agree
                axis.errorbar(where, values.mean(axis=0), error, fmt=style, color=COLORS[k], ms=4.5, label=label)
            axis.set(xlabel="keep probability $p$", title=f"lr = {lr:g}, ± standard error over seeds")
        figure.axes[0].set_ylabel("test accuracy")
        figure.axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5) if len(lrs) == 1 else None)
    return figure


EXPERIMENT = Experiment(
    name="four-losses",
    source="IRD, figure 13",
    place=(1, 13),
    shows="losses that hold R_1 generalise as dropout does; those without it stay with plain gradient descent",
    minutes=3.0,
    full_minutes=600.0,
    run=run,
    draw=draw,
)
