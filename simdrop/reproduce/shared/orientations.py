"""Orientations of tanh networks on 15 points of tanh(x-6) + tanh(x+6): what several experiments share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...data import TARGETS
from ...problem import Problem
from ...study.landscape import condensation
from ..experiment import Row, Settings

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]

WIDTH, LR = 1000, 1e-3
#: incoming weights of the target's two neurons, each with both of its signs
TEACHER = ((1.0, -6.0), (1.0, 6.0), (-1.0, 6.0), (-1.0, -6.0))
#: radians: how near to an orientation of the teacher a neuron stands on it
WITHIN = 0.03
INITIAL = "#BBBBBB"


def problem(mask: str = "step") -> Problem:
    """The papers' problem, at the published width."""
    target = TARGETS["condensation"]
    return Problem(
        target.points, target.function(target.points), width=WIDTH, keep_prob=0.9, mask=mask  # type: ignore[arg-type]
    )  # fmt: skip


def train(
    here: Problem, theta0: ArrayLike, settings: Settings, *, what: str, steps: int, keep_prob: ArrayLike, **known: Any
) -> xr.Dataset:
    """Train by Adam in float32 from theta0 (M, P) with keep_prob (M,); parameters are kept at all record steps."""
    options: dict[str, Any] = {"optimizer": "adam", "dtype": "float32", "lr": LR, "record": 2, "spacing": "log"} | known
    return settings.train(f"train: {what}", here, theta0, steps=steps, keep_prob=keep_prob, keep_theta=True, **options)


def spread(here: Problem, theta: Array) -> Array:
    """The root mean square angle (M,) within the clusters that hold 95 % of the amplitude, for theta (M, P)."""
    found = [condensation.clusters(here, one) for one in theta]
    return np.array([np.sqrt(np.average(c.spread[: c.holding()] ** 2, weights=c.count[: c.holding()])) for c in found])


def condensed(name: str, ends: xr.Dataset, *, claimed: bool = True) -> list[Row]:
    """Rows for networks (seed,) that, if `claimed`, must have condensed on the teacher's four orientations.

    ends: variables of `condensation.along` at the end.
    """
    number, near = ends["holding"].values, ends["near"].values
    rows = (
        ("orientations that hold 95 % of the amplitude", number, "4", "4 in every seed", (number == 4).all()),
        (
            f"share of neurons above 0.1 within {WITHIN} of ±atan2(6, ±1)", near, "1",
            "0.95 or more in every seed", (near >= 0.95).all(),
        ),
    )  # fmt: skip
    return [
        Row.over_seeds(f"{name}: {what}", values, published=published, rule=rule, holds=bool(holds))
        if claimed
        else Row.over_seeds(f"{name}: {what}", values)
        for what, values, published, rule, holds in rows
    ]


def scattered(name: str, ends: xr.Dataset) -> list[Row]:
    """Rows for networks (seed,) that are claimed not to have condensed. By chance a share of 0.04 would be near."""
    number, near = ends["holding"].values, ends["near"].values
    return [
        Row.over_seeds(
            f"{name}: orientations that hold 95 % of the amplitude", number, published="many",
            rule="more than 12 in every seed", holds=bool((number > 12).all()),
        ),
        Row.over_seeds(
            f"{name}: share of neurons above 0.1 within {WITHIN} of ±atan2(6, ±1)", near, published="none isolated",
            rule="below 0.2 in every seed", holds=bool((near < 0.2).all()),
        ),
    ]  # fmt: skip


def along(here: Problem, runs: xr.Dataset, seeds: int, arms: ArrayLike) -> xr.Dataset:
    """`condensation.along` of members (seed, arm), with orientations and amplitudes at the start and the end."""
    found = condensation.along(here, runs, teacher=TEACHER, within=WITHIN, signed=True)
    found = found.drop_vars("time", errors="ignore")
    theta = runs["theta"].values[[0, -1]].astype(np.float64)
    shape, axes = (2, seeds, len(np.asarray(arms)), here.width), ("at", "seed", "arm", "neuron")
    found = found.assign(risk=(("time", "member"), runs["risk"].values.astype(np.float64)))
    found = found.assign_coords(step=("time", runs["step"].values))
    found = found.drop_vars("member", errors="ignore").assign_coords(
        seed=("member", np.repeat(np.arange(seeds), shape[2])), arm=("member", np.tile(arms, seeds))
    )
    found = found.set_index(member=["seed", "arm"]).unstack("member")
    return found.assign(
        orientation=(axes, condensation.orientations(here, theta).reshape(shape)),
        amplitude=(axes, condensation.amplitudes(here, theta).reshape(shape)),
    )


def scatter(axis: Any, data: xr.Dataset, *, color: str, title: str, seed: int = 0) -> None:
    """Amplitude over orientation of one network's neurons, before and after; data has no arm."""
    from ...output.style import INK

    for at, style in (
        (0, {"color": INITIAL, "ms": 2.2, "label": "start"}),
        (1, {"color": color, "ms": 3.5, "label": "end"}),
    ):
        here = data.isel(at=at, seed=seed)
        axis.plot(here["orientation"], here["amplitude"], ".", mew=0, alpha=0.75, **style)
    for sign in (-1, 1):
        for b in (-6, 6):
            axis.axvline(np.arctan2(sign * b, sign), color=INK, lw=0.7, ls=":", zorder=0)
    axis.set(xlim=(-np.pi, np.pi), ylim=(-0.03, 1.05), xlabel="orientation of $(w_j, b_j)$")
    axis.set(ylabel="amplitude $|a_j|\\,\\|(w_j, b_j)\\|$", title=title)
    axis.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["$-\\pi$", "$-\\pi/2$", "0", "$\\pi/2$", "$\\pi$"])
