"""`orientation-similarity`: condensation in ten dimensions, by the cosines of all neurons (IRD, figure 7ab)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...problem import Problem
from ...study.landscape import condensation
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Coloured, Panel, figure, fill
from ..shared.dropout_pair import COLORS, MARKERS, Array, ratio
from ..shared.orientations import train
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARMS = (0.5, 1.0)
WIDTH, INPUTS, SAMPLES = 100, 10, 30
STEPS = {False: 1_000_000, True: 2_000_000}
#: the orientations that hold this share of the summed amplitude are counted
HELD = 0.9
#: radians: no two neurons of a cluster are further apart; in ten dimensions random directions are about π/2 apart
DIAMETER = 0.5


def run(settings: Settings) -> Outcome:
    """Train both arms on fresh data for each seed; clusters and cosines at the end."""
    import xarray as xr

    seeds, steps = settings.seeds or 5, STEPS[settings.full]
    held, opposite, two, aligned = (np.zeros((seeds, 2)) for _ in range(4))
    matrices: list[Array] = []
    for seed in range(seeds):
        x = np.random.default_rng([2207, seed]).uniform(-1, 1, (SAMPLES, INPUTS))
        here = Problem(x, np.tanh(x.sum(axis=1)), width=WIDTH, keep_prob=ARMS[0], mask="sample")
        theta0 = np.repeat(here.init(seed=seed, gamma=1.0)[None], 2, axis=0)
        runs = train(here, theta0, settings, what=f"seed {seed}", steps=steps, keep_prob=ARMS, seed=seed)
        for arm, theta in enumerate(runs["theta"].values[-1].astype(np.float64)):
            found = condensation.clusters(here, theta, diameter=DIAMETER)
            held[seed, arm] = found.holding(HELD)
            opposite[seed, arm] = found.center[0] @ found.center[1] if len(found) > 1 else np.nan
            two[seed, arm] = found.weight[:2].sum()
            cosines = condensation.similarity(here, theta, threshold=condensation.THRESHOLD).matrix
            aligned[seed, arm] = (np.abs(cosines) > condensation.COSINE).mean()
            if seed == 0:
                matrices.append(cosines)
    data = xr.Dataset(
        {
            "orientations": (("seed", "arm"), held),
            "cosine_of_heaviest": (("seed", "arm"), opposite),
            "held_by_two": (("seed", "arm"), two),
            "aligned": (("seed", "arm"), aligned),
            **{f"cosines_{k}": ((f"row_{k}", f"column_{k}"), one) for k, one in enumerate(matrices)},
        },
        {"arm": list(ARMS)},
        {
            "width": WIDTH,
            "inputs": INPUTS,
            "samples": SAMPLES,
            "steps": steps,
            "lr": 1e-3,
            "gamma": 1.0,
            "seeds": seeds,
        },
    )
    notes = [
        f"tanh(Σ x_i) at {SAMPLES} points, uniform on [-1, 1]^{INPUTS} and drawn for every seed; width {WIDTH}, Adam at"
        f" 1e-3 for {steps} steps, sample masks, weights N(0, 1/m). Neurons above 0.1 of the largest amplitude.",
        "The law of the points is not known from the paper. Under N(0, 1), where the target saturates, three to eight"
        " orientations are left at p = 0.5.",
        f"Clusters: complete linkage, no two neurons further apart than {DIAMETER:g} rad.",
    ]
    return Outcome(rows=_rows(held, opposite, two, aligned), data=data, notes=notes)


def _rows(held: Array, opposite: Array, two: Array, aligned: Array) -> list[Row]:
    count = f"orientations that hold {100 * HELD:.0f} % of the amplitude"
    pair, share = "amplitude held by the two heaviest", "share of pairs with |cos| > 0.95"
    return [
        Row.over_seeds(
            "p = 0.5: cosine between the two heaviest", opposite[:, 0], published="-1",
            rule="below -0.95 in every seed", holds=bool((opposite[:, 0] < -0.95).all()),
        ),
        Row.over_seeds(
            f"p = 0.5: {count}", held[:, 0], published="2", rule="2 in every seed", holds=bool((held[:, 0] == 2).all())
        ),
        Row.over_seeds(f"p = 0.5: {pair}", two[:, 0]),
        Row.over_seeds(f"p = 0.5: {share}", aligned[:, 0], published="1"),
        Row.over_seeds(f"p = 1: {count}", held[:, 1], published="many"),
        ratio("orientations, p = 0.5 / p = 1", *held.T, published="2 of many", bound=0.5),
        Row.over_seeds(f"p = 1: {pair}", two[:, 1]),
        Row.over_seeds(f"p = 1: {share}", aligned[:, 1]),
    ]  # fmt: skip


def _cosines(axis: Axes, data: xr.Dataset, k: int) -> Coloured:
    """The cosines of the neurons of one seed, ordered by similarity, for one of the arms."""
    from matplotlib.ticker import MaxNLocator

    image = axis.imshow(data[f"cosines_{k}"], cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
    axis.set(xlabel="neuron, by similarity", ylabel="neuron")
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_title(f"$p = {ARMS[k]:g}$, one seed" if ARMS[k] < 1 else "no dropout, one seed")
    return image, "cosine of $(w_j, b_j)$"


def _number(axis: Axes, data: xr.Dataset) -> None:
    """How many orientations there are, all seeds of both arms."""
    for k in (0, 1):
        values = data["orientations"].values[:, k]
        axis.plot(range(len(values)), values, MARKERS[k], color=COLORS[k], label=f"$p = {ARMS[k]:g}$")
    axis.set(xlabel="seed", ylabel="orientations", yscale="log", title=f"Clusters that hold {100 * HELD:.0f} %")
    axis.set_yticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"])
    axis.minorticks_off()
    axis.set_xticks(range(data.sizes["seed"]))
    axis.legend()


PANELS: dict[str, Panel] = {
    "with-dropout": partial(_cosines, k=0), "without": partial(_cosines, k=1), "orientations": _number,
}  # fmt: skip


def draw(outcome: Outcome) -> Figure:
    """The cosines of the neurons of one seed, ordered by similarity, for both arms, and the clusters of all seeds."""
    with figure(12.4, 3.8) as whole:
        axes = whole.subplots(1, 3)
        _, coloured, _ = fill(axes, PANELS, outcome.data)
        assert coloured is not None
        whole.colorbar(coloured[0], ax=list(axes[:2]), label=coloured[1], shrink=0.9)
    return whole


WORDS: Words = {
    "arm": "keep probability",
    "orientations": "orientations that hold 90 % of the amplitude",
    "cosine_of_heaviest": "cosine between the two heaviest orientations",
    "held_by_two": "share of the amplitude that the two heaviest orientations hold",
    "aligned": "share of pairs of neurons with |cos| above 0.95",
    "cosines_0": "cosines of the neurons of the first seed with dropout",
    "cosines_1": "cosines of the neurons of the first seed without dropout",
}


EXPERIMENT = Experiment(
    name="orientation-similarity",
    source="IRD, figure 7a, 7b",
    place=(1, 7),
    shows="in ten dimensions neurons come to lie along two opposite directions with dropout, and along many without",
    minutes=0.8,
    full_minutes=1.5,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
