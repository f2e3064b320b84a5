"""Networks that learn a teacher of two neurons from a few random points: what several experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...data import TARGETS
from ...problem import Problem
from ...study.landscape import condensation
from ..experiment import Settings
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr


class Teacher(NamedTuple):
    """A target of `data.TARGETS` made of two neurons: their incoming weights, bias last, up to sign where odd."""

    target: str
    neurons: tuple[tuple[float, float], ...]
    signed: bool


TEACHERS = {
    "tanh": Teacher("condensation", ((1.0, -6.0), (1.0, 6.0)), False),
    "relu": Teacher("relu-fit", ((1.0, -1 / 3), (-1.0, -1 / 3)), True),
}
#: the error at which a teacher counts as recovered, in units of its variance
RECOVERED = 0.05
WIDTH = 1000
#: what the variables of `learn` are
WORDS: Words = {
    "error": "mean square error over the teacher's interval, in units of its variance there",
    "angle": ("mean angle of the neurons to the nearest one of the teacher", "rad"),
    "ratio": "directions that stand for all neurons, over the number of neurons",
}


def learn(
    activation: str,
    settings: Settings,
    *,
    sizes: Sequence[int],
    keep_probs: Sequence[float],
    seeds: int,
    mask: str,
    steps: int,
    lr: float,
    equispaced: bool = False,
) -> xr.Dataset:
    """Train a network of width 1000 by Adam for every seed, number of samples n and keep probability.

    A seed draws the points, uniform on the teacher's interval, of which n takes the first n (or they are `equispaced`,
    both ends among them), and the initial weights N(0, m^-0.2), which all n and keep probabilities share. Dataset over
    (seed, n, keep_prob): error, the mean square error over the interval in units of its variance there; angle,
    the mean angle of the neurons above 0.1 of the largest amplitude to the teacher's nearest; ratio, the effective
    ratio; risk, R_S at the end.
    """
    import xarray as xr

    teacher = TEACHERS[activation]
    target = TARGETS[teacher.target]
    low, high = target.points[0], target.points[-1]
    grid = np.linspace(low, high, 1001)
    truth = target.function(grid)
    found = np.empty((4, seeds, len(sizes), len(keep_probs)))
    for seed in range(seeds):
        points = np.random.default_rng(seed).uniform(low, high, max(sizes))
        for k, n in enumerate(sizes):
            x = points[:n]
            if equispaced:
                x = np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])
            problem = Problem(
                x, target.function(x), width=WIDTH, activation=activation,
                mask=mask,  # type: ignore[arg-type]
            )  # fmt: skip
            runs = settings.train(
                f"train: {activation}, {n} samples, seed {seed}", problem, problem.init(seed=seed, gamma=0.2), lr=lr,
                steps=steps, keep_prob=list(keep_probs), optimizer="adam", dtype="float32", record=2, keep_theta=True,
                seed=seed, progress=None,
            )  # fmt: skip
            theta = runs["theta"].values[-1].astype(np.float64)  # (keep_prob, P)
            found[0, seed, k] = np.square(problem.predict(theta, grid)[..., 0] - truth).mean(axis=-1) / truth.var()
            angle = condensation.distances(problem, theta, teacher.neurons, signed=teacher.signed)
            found[1, seed, k] = np.nanmean(angle, axis=-1)
            found[2, seed, k] = condensation.effective_ratio(problem, theta)
            found[3, seed, k] = runs["risk"].values[-1]
            settings.progress(f"train: {activation}", seed * len(sizes) + k + 1, seeds * len(sizes))
    axes = ("seed", "n", "keep_prob")
    names = ("error", "angle", "ratio", "risk")
    variables: dict[str, Any] = {name: (axes, row) for name, row in zip(names, found, strict=True)}
    return xr.Dataset(variables, {"n": list(sizes), "keep_prob": list(keep_probs)})


def geometric(values: xr.DataArray, over: str) -> xr.DataArray:
    """The geometric mean over the dimension `over`."""
    import xarray as xr

    return xr.apply_ufunc(np.exp, xr.apply_ufunc(np.log, values).mean(over))
