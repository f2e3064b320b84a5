"""`barriers`: R_S on the straight lines between the minima of the losses L1 to L4 (IRD, figure 14)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ...study.landscape import flatness
from ..experiment import Experiment, Outcome, Row, Settings
from ..shared.digits import Array, digits, starts, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEEP_PROB = 0.7
LOSSES = ("L1", "L3", "L2", "L4")
PAIRS = tuple(combinations(LOSSES, 2))
#: pairs of which both minima hold R_1, or neither
ALIKE = (("L1", "L3"), ("L2", "L4"))
ALPHAS = np.linspace(-0.5, 1.5, 41)


def run(settings: Settings) -> Outcome:
    """Train on L1 to L4 from the same weights; R_S along the lines between each two of the ends, and distances."""
    import xarray as xr

    here, seeds = digits(settings), settings.seeds or 3
    theta0 = starts(here, seeds)
    ends = {name: train(here, theta0, [KEEP_PROB], settings, what=name, objective=name)[:, 0] for name in LOSSES}
    loss, barrier, distance = (np.empty((len(PAIRS), seeds, *k)) for k in ((len(ALPHAS),), (), ()))
    for row, (one, two) in enumerate(PAIRS):
        for seed, (first, second) in enumerate(zip(ends[one], ends[two], strict=True)):
            found = flatness.interpolate(here.problem, first, second, alphas=ALPHAS)
            loss[row, seed], barrier[row, seed] = found["loss"], found.attrs["barrier"]
            distance[row, seed] = np.linalg.norm(second - first)
    names = [f"{one} - {two}" for one, two in PAIRS]
    data = xr.Dataset(
        {
            "loss": (("pair", "seed", "alpha"), loss),
            "barrier": (("pair", "seed"), barrier),
            "distance": (("pair", "seed"), distance),
            "accuracy": (("objective", "seed"), np.array([here.accuracy(theta) for theta in ends.values()])),
        },
        {"pair": names, "alpha": ALPHAS, "objective": list(LOSSES)},
        {"keep_prob": KEEP_PROB, "steps": here.steps, "width": here.problem.width, "seeds": seeds, "data": here.about},
    )
    notes = [
        f"{here.about}; p = {KEEP_PROB:g}, sample masks, all from the same initial weights N(0, m^-0.2) of a seed.",
        "Bend: the largest difference over α in [0, 1] between R_S and the straight line between its values at the"
        " ends; a barrier is a bend upwards.",
    ]
    return Outcome(rows=_rows(loss, barrier, distance), data=data, notes=notes)


def _rows(loss: Array, barrier: Array, distance: Array) -> list[Row]:
    """The numbers, of loss (pair, seeds, alpha), barrier and distance (pair, seeds)."""
    alike = np.array([pair in ALIKE for pair in PAIRS])
    inside = (ALPHAS >= 0) & (ALPHAS <= 1)
    ends = loss[..., np.isclose(ALPHAS, 0)], loss[..., np.isclose(ALPHAS, 1)]
    straight = ends[0] + ALPHAS[inside] * (ends[1] - ends[0])
    bend = np.abs(loss[..., inside] - straight).max(axis=-1)
    rows = []
    for k, (one, two) in enumerate(PAIRS):
        rows.append(Row.over_seeds(f"{one} to {two}: barrier of R_S", barrier[k]))
        rows.append(Row.over_seeds(f"{one} to {two}: distance of the minima", distance[k]))
    for what, values in (("distance", distance), ("bend of R_S", bend)):
        ratio = values[alike].max(axis=0) / values[~alike].min(axis=0)
        rows.append(
            Row.over_seeds(
                f"{what}: largest of L1 - L3 and L2 - L4 over least of the others", ratio, published="two groups",
                rule="below 0.5 in every seed", holds=bool((ratio < 0.5).all()),
            )
        )  # fmt: skip
    return rows


def draw(outcome: Outcome) -> Figure:
    """R_S along the six lines, one panel for pairs that are alike and one for those that are not."""
    import matplotlib

    from ...output.picture import Figure
    from ...output.style import INK, STYLE

    data = outcome.data
    colors = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for k, pair in enumerate(PAIRS):
            axis = left if pair in ALIKE else right
            for seed, row in enumerate(data["loss"].values[k]):
                name = str(data["pair"].values[k])
                axis.plot(data["alpha"], row, color=colors[k], lw=1.3, alpha=0.85, label=None if seed else name)
        for axis, title in ((left, "R_1 in both losses, or in neither"), (right, "R_1 in the first alone")):
            axis.axvline(0, color=INK, lw=0.7, ls=":")
            axis.axvline(1, color=INK, lw=0.7, ls=":")
            axis.set(yscale="log", xlabel=r"$\alpha$ from the first minimum to the second", title=title)
            axis.tick_params(labelleft=True)
            axis.legend(title="all seeds")
        left.set_ylabel("$R_S$")
    return figure


EXPERIMENT = Experiment(
    name="barriers",
    source="IRD, figure 14",
    place=(1, 14),
    shows="minima of losses that hold R_1 lie together, those of losses without it elsewhere",
    minutes=1.0,
    full_minutes=60.0,
    run=run,
    draw=draw,
)
