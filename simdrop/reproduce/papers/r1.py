"""`r1`: gradient descent on R_S + R_1 does what dropout does at a small learning rate (IRD, figure 2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ... import theory
from ...problem import Problem
from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.digits import LR, Array, digits, starts, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEEP_PROBS = {False: (0.6, 0.7, 0.8, 0.9), True: (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)}
COLORS = {"dropout": "#0072B2", "risk+r1": "#E69F00", "risk": "#D55E00"}
NAMES = {"dropout": "dropout", "risk+r1": "GD on $R_S + R_1$", "risk": "GD on $R_S$"}


def run(settings: Settings) -> Outcome:
    """Train by dropout, on R_S + R_1 and on R_S from the same weights; accuracy, R_S and R_1 at the end."""
    import xarray as xr

    here, seeds, arms = digits(settings), settings.seeds or 3, KEEP_PROBS[settings.full]
    theta0 = starts(here, seeds)
    ends = {name: train(here, theta0, arms, settings, what=name, objective=name) for name in ("dropout", "risk+r1")}
    plain = train(here, theta0, [1.0], settings, what="risk", objective="risk")
    ends["risk"] = np.repeat(plain, len(arms), axis=1)
    axes = ("objective", "seed", "keep_prob")
    risk = np.array([theory.risk(here.problem, theta) for theta in ends.values()])
    r1 = np.array([_r1(here.problem, theta, arms) for theta in ends.values()])
    accuracy = np.array([here.accuracy(theta) for theta in ends.values()])
    data = xr.Dataset(
        {"risk": (axes, risk), "r1": (axes, r1), "accuracy": (axes, accuracy)},
        {"objective": list(ends), "keep_prob": list(arms)},
        {"lr": LR, "steps": here.steps, "width": here.problem.width, "seeds": seeds, "data": here.about},
    )
    notes = [f"{here.about}; {here.steps} steps of gradient descent at {LR:g}, sample masks, weights N(0, m^-0.2)."]
    return Outcome(rows=_rows(risk, r1, accuracy, arms), data=data, notes=notes)


def _r1(problem: Problem, theta: Array, arms: tuple[float, ...]) -> Array:
    """R_1 (seeds, arms) of theta (seeds, arms, P), each at its own keep probability."""
    return np.stack([theory.r1(replace(problem, keep_prob=p), theta[:, k]) for k, p in enumerate(arms)], axis=1)


def _rows(risk: Array, r1: Array, accuracy: Array, arms: tuple[float, ...]) -> list[Row]:
    """The numbers, of arrays (objective, seeds, arms) with objectives dropout, R_S + R_1, R_S."""
    rows = []
    for name, values in (("R_S", risk), ("R_1", r1)):
        apart = np.abs(values[1] / values[0] - 1).max(axis=1)
        rows.append(
            Row.over_seeds(
                f"{name}: largest difference between the two over p", 100 * apart, published="0.6", unit="%",
                rule="below 5 % in every seed", holds=bool((apart < 0.05).all()),
            )
        )  # fmt: skip
    for k, p in enumerate(arms):
        rows += [
            Row.over_seeds(f"accuracy at p = {p:g}, dropout", 100 * accuracy[0, :, k], unit="%"),
            Row.over_seeds(f"accuracy at p = {p:g}, R_S + R_1", 100 * accuracy[1, :, k], unit="%"),
        ]
    gain = accuracy[:2].mean(axis=2) - accuracy[2].mean(axis=1)
    rows.append(Row.over_seeds("accuracy, R_S alone", 100 * accuracy[2, :, 0], published="79", unit="%"))
    for name, values in zip(("dropout", "R_S + R_1"), gain, strict=True):
        rows.append(
            Row.over_seeds(
                f"accuracy gained over R_S alone by {name}, mean over p", 100 * values, published="10", unit="%",
                rule="above 5 % in every seed", holds=bool((values > 0.05).all()),
            )
        )  # fmt: skip
    return rows


def draw(outcome: Outcome) -> Figure:
    """Accuracy, R_S and R_1 over the keep probability."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import STYLE

    data = outcome.data
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.4, 3.8), layout="constrained")
        panels = (("accuracy", "test accuracy"), ("risk", "$R_S$ at the end"), ("r1", "$R_1$ at the end"))
        for axis, (what, label) in zip(figure.subplots(1, 3), panels, strict=True):
            for name, color in COLORS.items():
                if (what, name) in (("r1", "risk"), ("risk", "risk")):
                    continue
                values = data[what].sel(objective=name).values
                style = {"dropout": "o-", "risk+r1": "s--", "risk": "--"}[name]
                error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
                axis.errorbar(
                    data["keep_prob"], values.mean(axis=0), error, fmt=style, color=color, label=NAMES[name], ms=5
                )
            axis.set(xlabel="keep probability $p$", ylabel=label)
        figure.axes[0].legend()
        figure.axes[0].set_title("± standard error over seeds")
    return figure


EXPERIMENT = Experiment(
    name="r1",
    source="IRD, figure 2",
    place=(1, 2),
    shows="gradient descent on R_S + R_1 ends where dropout does: accuracy, R_S and R_1 against p",
    minutes=1.0,
    full_minutes=60.0,
    run=run,
    draw=draw,
)
