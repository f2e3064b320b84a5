"""`four-losses`: of what dropout adds to the loss, R_1 is what makes it generalise (IRD, figure 13)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure
from ..shared.digits import STAGES, STEADY, Sizes, digits, measured, schedule, starts, train
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES: Sizes = {False: (50, 500), True: (1000, 1000)}
KEEP_PROBS = {False: (0.6, 0.7, 0.8), True: (0.5, 0.6, 0.7, 0.8, 0.9)}
#: how many times larger the learning rate is than that of `digits.STAGES`
FACTORS = {False: (1.0,), True: (0.1, 1.0)}
#: R_S at the end of training on losses that hold R_1
TRAINED = 1e-2
#: objective -> what it is; the first three hold R_1, openly or within R_drop
LOSSES = {
    "dropout": r"$R_{\mathrm{drop}}$",
    "L1": "L1 $= R_S + R_1$",
    "L3": r"L3 $= R_{\mathrm{drop}} - \tilde R_2$",
    "L2": r"L2 $= R_S + \tilde R_2$",
    "L4": r"L4 $= R_{\mathrm{drop}} - R_1$",
    "risk": "$R_S$",
}
WITH_R1 = 3
TITLES = {"dropout": "R_drop", "L1": "L1", "L3": "L3", "L2": "L2", "L4": "L4", "risk": "R_S"}
COLORS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#D55E00")
LOOKS = ("o-", "^-", "v-", "s--", "D--", "X--")


def run(settings: Settings) -> Outcome:
    """Train all six losses from the same weights; test accuracy, R_S and R_1 at the end."""
    import xarray as xr

    here, seeds, arms = digits(settings, SIZES), settings.seeds or 2, KEEP_PROBS[settings.full]
    theta0, parts = starts(here, seeds), []
    for factor in FACTORS[settings.full]:
        known, steady = (
            schedule(here, theta0, [(until, units * factor) for until, units in stages]) for stages in (STAGES, STEADY)
        )
        ends = {}
        for k, name in enumerate(LOSSES):
            what, rates = f"{name}, lr {known['lr'][0]:.2g}", known if k < WITH_R1 else steady
            kept = [1.0] if name == "risk" else arms
            end = train(here, theta0, kept, settings, what=what, objective=name, **rates)
            ends[name] = np.repeat(end, len(arms) // len(kept), axis=1)
        parts.append(measured(here, ends, arms).assign_coords(lr=known["lr"][0]))
    data = xr.concat(parts, "lr")
    data.attrs = {"time": STAGES[-1][0], "width": here.problem.width, "seeds": seeds, "data": here.about}
    notes = [
        f"{here.about}; gradient descent to time lr · step = {STAGES[-1][0]:g}, sample masks, weights N(0, m^-0.2).",
        f"The learning rate named is the first, {STAGES[0][1]:g} over the largest curvature. On dropout, L1 and L3 it"
        " rises to four times as much and ends at 0.4 of it; L2, L4 and R_S, which stay as curved as at the start, keep"
        f" it to time {STEADY[0][0]:g}.",
        "R̃_2 = (lr/4) |∇R_drop|² on the step's own masks. The paper's accuracies are those of its figure 2.",
        "L2 and L4 have the noise of dropout without its R_1: a large step leaves R_S as high as that noise makes it.",
    ]
    return Outcome(rows=rows(data), data=data, notes=notes)


def rows(data: xr.Dataset) -> list[Row]:
    """The numbers of every learning rate, and what is claimed of them."""
    many = data.sizes["lr"] > 1
    return [row for k, lr in enumerate(data["lr"].values) for row in _rows(f"lr {lr:.2g}: " if many else "", data, k)]


def _rows(name: str, data: xr.Dataset, k: int) -> list[Row]:
    here = data.isel(lr=k)
    means = here["accuracy"].mean("keep_prob").transpose("objective", "seed").values
    published = ["89"] * WITH_R1 + ["79"] * (len(LOSSES) - WITH_R1)
    found = [
        Row.over_seeds(f"{name}accuracy of {TITLES[loss]}, mean over p", 100 * values, published=text, unit="%")
        for loss, values, text in zip(LOSSES, means, published, strict=True)
    ]
    high, low = means[:WITH_R1], means[WITH_R1:]
    gap = high.min(axis=0) - low.max(axis=0)
    within = np.ptp(high, axis=0)
    risk = here["risk"].transpose("objective", "seed", "keep_prob").values
    found += [
        Row.over_seeds(
            f"{name}worst of dropout, L1, L3 over best of L2, L4, R_S", 100 * gap, published="10", unit="%",
            rule="above 5 % in every seed", holds=bool((gap > 0.05).all()),
        ),
        Row.over_seeds(
            f"{name}largest difference of dropout, L1, L3", 100 * within, published="they agree", unit="%",
            rule="less than half of that gap in every seed", holds=bool((within < gap / 2).all()),
        ),
        Row.over_seeds(
            f"{name}largest difference of L2, L4, R_S", 100 * np.ptp(low, axis=0), published="they agree", unit="%"
        ),
        Row.over_seeds(
            f"{name}R_S: largest of dropout, L1, L3 over p", risk[:WITH_R1].max(axis=(0, 2)), published="about 5e-4",
            rule=f"below {TRAINED:g} in every seed", holds=bool((risk[:WITH_R1] < TRAINED).all()),
        ),
    ]  # fmt: skip
    for loss, values in zip(LOSSES, risk, strict=True):
        found.append(Row.over_seeds(f"{name}R_S at the end of {TITLES[loss]}, mean over p", values.mean(axis=1)))
    return found


def _accuracy(axis: Axes, data: xr.Dataset, at: int = -1) -> None:
    """Test accuracy over the keep probability at one of the learning rates, by its place."""
    one = data.isel(lr=at)
    for k, (name, label) in enumerate(LOSSES.items()):
        values = 100 * one["accuracy"].sel(objective=name).transpose("seed", "keep_prob").values
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
        where = data["keep_prob"] + 0.004 * (k % WITH_R1 - 1)  # side by side where they agree
        axis.errorbar(where, values.mean(axis=0), error, fmt=LOOKS[k], color=COLORS[k], ms=4.5, label=label)
    axis.set(xlabel="keep probability $p$", ylabel="test accuracy, %")
    axis.set_title(f"lr = {float(one['lr']):.2g} at first; means ± standard error over seeds")
    axis.set_xticks(data["keep_prob"].values)
    axis.set_ylim(0, 100)


#: at the largest learning rate and at the smallest one, of which there is one alone but for the published sizes
PANELS: dict[str, Panel] = {"accuracy": _accuracy, "accuracy-smallest-lr": partial(_accuracy, at=0)}


def draw(outcome: Outcome) -> Figure:
    """Test accuracy over the keep probability, a panel for each learning rate."""
    many = outcome.data.sizes["lr"]
    with figure(1.5 + 5.2 * many, 4.0) as whole:
        axes = np.atleast_1d(whole.subplots(1, many, sharey=True))
        for at, axis in enumerate(axes):
            _accuracy(axis, outcome.data, at)
        for axis in axes[1:]:
            axis.set_ylabel("")
        whole.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return whole


WORDS: Words = {
    "lr": "learning rate at first",
    "accuracy": "share of the test images that are named rightly",
}


EXPERIMENT = Experiment(
    name="four-losses",
    source="IRD, figure 13",
    place=(1, 13),
    shows="losses that hold R_1 generalise as dropout does; those without it stay with plain gradient descent",
    minutes=4.0,
    full_minutes=3000.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
