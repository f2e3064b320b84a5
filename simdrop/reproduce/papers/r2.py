"""`r2`: a larger learning rate acts as an explicit penalty (λ/4) |∇R_drop|² (IRD, figure 3)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.digits import Array, Digits, Sizes, digits, starts, train
from ..words import RISK, Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES: Sizes = {False: (500, 100), True: (1000, 1000)}
KEEP_PROB, LR = 0.8, 5e-3
#: steps at LR: all runs last as long in time
STEPS = {False: 2000, True: 3000}
#: the small learning rate, and larger ones in its units; each is also the λ of a penalised run at the small one
SMALL = LR / 4
TIMES = {False: (4, 8, 12), True: (4, 6, 8, 10, 12)}
#: runs from every start, each with masks of its own, at larger rates: one run's masks move E R_drop as far as λ does
COPIES = 8
COLORS = {"large": "#0072B2", "penalty": "#E69F00", "small": "#D55E00"}
NAMES = {"large": "lr = λ", "penalty": f"lr = {SMALL:g}, penalty λ", "small": f"lr = {SMALL:g}"}


def run(settings: Settings) -> Outcome:
    """Train at larger rates, at the small one with the penalty, and without, to the same time lr · step."""
    import xarray as xr

    here, seeds, times = digits(settings, SIZES), settings.seeds or 4, TIMES[settings.full]
    theta0, arms = starts(here, seeds), [KEEP_PROB]
    time = STEPS[settings.full] * LR
    slow = {"lr": SMALL, "steps": round(time / SMALL)}
    one, other = (
        _measure(here, train(here, theta0, arms, settings, what="small rate", seed=k, **slow)) for k in (0, 1)
    )
    small = (one + other) / 2
    found = np.empty((len(NAMES), len(times), 3, seeds))
    for k, factor in enumerate(times):
        lr = factor * SMALL
        many = train(here, theta0, arms * COPIES, settings, what=f"lr {lr:g}", lr=lr, steps=round(time / lr))
        known = slow | {"objective": "dropout+r2", "penalty": lr}
        penalised = _measure(here, train(here, theta0, arms, settings, what=f"penalty {lr:g}", seed=0, **known))
        # what the penalty changes is known best under the same masks
        found[:, k] = _measure(here, many), small + penalised - one, small
    mean_loss, mean_square = np.exp(found[:, :, 0]), np.exp(found[:, :, 1])
    axes = ("run", "lr", "seed")
    data = xr.Dataset(
        {"mean_loss": (axes, mean_loss), "mean_square": (axes, mean_square), "accuracy": (axes, found[:, :, 2])},
        {"run": list(NAMES), "lr": [factor * SMALL for factor in times]},
        {
            "keep_prob": KEEP_PROB,
            "time": time,
            "width": here.problem.width,
            "seeds": seeds,
            "data": here.about,
        },
    )
    data["ratio"] = data["mean_loss"] / data["mean_square"]
    notes = [
        f"{here.about}; p = {KEEP_PROB:g}, sample masks, weights N(0, m^-0.2), all runs to time lr · step = {time:g}.",
        f"E R_drop and E|∇R_drop|² are exact means over all masks at the end of a run; geometric means of {COPIES} runs"
        " from each start at larger rates and of 2 at the small one, penalised runs beside the one of the same masks.",
    ]
    return Outcome(rows=_rows(data), data=data, notes=notes + _contradiction(data))


def _measure(here: Digits, theta: Array) -> Array:
    """log E R_drop, log E|∇R_drop|² and accuracy, (3, seeds), means over the copies of theta (seeds, copies, P)."""
    problem = replace(here.problem, keep_prob=KEEP_PROB)
    loss = theory.risk(problem, theta) + theory.r1(problem, theta)
    square = 4 * theory.r2(problem, theta, lr=1.0)
    return np.array([np.log(loss), np.log(square), here.accuracy(theta)]).mean(axis=-1)


def _contradiction(data: xr.Dataset) -> list[str]:
    """What the papers' own diagnostic says, where the penalty does not bring it nearer to that of the larger rates."""
    logs = {name: np.log(data["ratio"].sel(run=name).values) for name in NAMES}  # (lr, seed)
    apart = {name: np.abs(logs[name] - logs["large"]).mean(axis=0) for name in ("penalty", "small")}
    closer = apart["small"] - apart["penalty"]
    if closer.mean() > 2 * closer.std(ddof=1) / np.sqrt(closer.size):
        return []
    return [
        "The penalty explains what a larger rate does to the mean loss, but here not the papers' diagnostic, the ratio"
        " E R_drop / E|∇R_drop|²: that of the larger rates stays apart from that of the penalised runs."
    ]


def _rows(data: xr.Dataset) -> list[Row]:
    """The numbers: how far the penalised run and the plain one end from the run at the larger rate."""
    rows = []
    for k, lr in enumerate(data["lr"].values):
        here = data.isel(lr=k)
        for name, title in NAMES.items():
            loss, ratio = (here[what].sel(run=name).values for what in ("mean_loss", "ratio"))
            rows.append(Row.over_seeds(f"λ = {lr:g}: E R_drop, {title}", loss))
            rows.append(Row.over_seeds(f"λ = {lr:g}: E R_drop / E|∇R_drop|², {title}", ratio))
        apart = {
            name: np.abs(np.log(here["mean_loss"].sel(run=name).values / here["mean_loss"].sel(run="large").values))
            for name in ("penalty", "small")
        }
        closer = apart["small"] - apart["penalty"]
        error = closer.std(ddof=1) / np.sqrt(closer.size) if closer.size > 1 else np.nan
        rows.append(
            Row.over_seeds(
                f"λ = {lr:g}: how much nearer the penalty brings log E R_drop", closer,
                published="they agree", rule="above 0 by 2 standard errors", holds=bool(closer.mean() - 2 * error > 0),
            )
        )  # fmt: skip
    for name, title in NAMES.items():
        rows.append(
            Row.over_seeds(f"accuracy, {title}", 100 * data["accuracy"].sel(run=name).values.mean(axis=0), unit="%")
        )
    return rows


#: panel -> variable, title
SHOWN = {
    "mean-loss": ("mean_loss", r"$E\,R_{\mathrm{drop}}$"),
    "ratio": ("ratio", r"$E\,R_{\mathrm{drop}}\,/\,E\|\nabla R_{\mathrm{drop}}\|^2$"),
    "accuracy": ("accuracy", "test accuracy"),
}
LABELS = {"large": r"learning rate $\lambda$", "penalty": rf"learning rate {SMALL:g}, penalty $\lambda$"}


def _change(axis: Axes, data: xr.Dataset, name: str) -> None:
    """Change from the small learning rate in pairs of runs, over the rate and the penalty: means, standard errors."""
    from ...output.style import INK

    what, title = SHOWN[name]
    for k, (run, text) in enumerate(LABELS.items()):
        values, start = (data[what].sel(run=one).transpose("lr", "seed").values for one in (run, "small"))
        change = 100 * (values - start if what == "accuracy" else np.log(values / start))
        error = change.std(axis=1, ddof=1) / np.sqrt(change.shape[1]) if change.shape[1] > 1 else None
        where = data["lr"].values * (1 + 0.02 * (2 * k - 1))  # side by side where they agree
        look: dict[str, Any] = {"marker": "os"[k], "ms": 4.5, "color": COLORS[run]}
        axis.errorbar(where, change.mean(axis=1), error, label=text, **look)
    axis.axhline(0, color=INK, lw=0.7, ls=":")
    axis.set(xlabel=r"$\lambda$", title=title)
    axis.set_xticks(data["lr"].values, [f"{lr:g}" for lr in data["lr"].values])
    points = what == "accuracy"
    axis.set_ylabel("change, percentage points" if points else f"change from learning rate {SMALL:g}, %")


PANELS: dict[str, Panel] = {name: partial(_change, name=name) for name in SHOWN}


def draw(outcome: Outcome) -> Figure:
    """What a larger rate and the penalty do to log E R_drop and to the papers' diagnostic, in pairs of runs."""
    with figure(12.4, 3.8) as whole:
        axes = whole.subplots(1, 3)
        fill(axes, PANELS, outcome.data)
        axes[1].set_ylabel("")
        whole.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
            title="means of paired differences ± standard error over seeds",
        )  # fmt: skip
    return whole


WORDS: Words = {
    "run": "at the larger learning rate, with the penalty, or at the small learning rate alone",
    "lr": "learning rate λ of the run at the larger one, and λ of the penalty",
    "mean_loss": ("mean of R_drop over masks at the end", RISK),
    "mean_square": ("mean of |∇R_drop|² over masks at the end", "y^4"),
    "ratio": ("mean_loss / mean_square", "y^-2"),
    "accuracy": "share of the test images that are named rightly",
}


EXPERIMENT = Experiment(
    name="r2",
    source="IRD, figure 3",
    place=(1, 3),
    shows="dropout at a larger learning rate ends where a penalty on the gradient takes dropout at a small one",
    minutes=4.0,
    full_minutes=2000.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
