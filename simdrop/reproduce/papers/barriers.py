"""`barriers`: R_S on the straight lines between the minima of the losses L1 to L4 (IRD, figure 14)."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ...study.landscape import flatness
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.digits import STAGES, STEADY, Sizes, digits, schedule, starts, train
from ..words import RISK, Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES: Sizes = {False: (50, 500), True: (1000, 1000)}
KEEP_PROB = 0.7
#: R_S at what is called a minimum
TRAINED = 1e-2
LOSSES = ("L1", "L3", "L2", "L4")
PAIRS = tuple(combinations(LOSSES, 2))
#: pairs of which both minima hold R_1, or neither
ALIKE = (("L1", "L3"), ("L2", "L4"))
#: losses that have the noise of dropout without its R_1: training ends on R_S alone, which takes the noise away
NOISY, QUIET = ("L2", "L4"), (5.0, 1.0)
#: the largest published barrier of L1 - L3 to the others is 0.0008 / 0.0131
SHARE = 0.25
REASON = (
    "they grow with the weights at the start and the paper's unit of R_S is not known; that there are barriers and"
    " between which minima is as in the paper"
)
#: lines from L1 and those from L3 lie on one another
WIDE: dict[str, Any] = {"lw": 3.2, "alpha": 0.6}
NARROW: dict[str, Any] = {"lw": 1.1, "ls": "--"}
ALPHAS = np.linspace(-0.5, 1.5, 41)


def run(settings: Settings) -> Outcome:
    """Train on L1 to L4 from the same weights; R_S along the lines between each two of the ends, and distances."""
    import xarray as xr

    here, seeds = digits(settings, SIZES), settings.seeds or 2
    theta0 = starts(here, seeds)
    known, steady, last = (schedule(here, theta0, stages) for stages in (STAGES, STEADY, (QUIET,)))
    ends = {}
    for name in LOSSES:
        rates = steady if name in NOISY else known
        ends[name] = train(here, theta0, [KEEP_PROB], settings, what=name, objective=name, **rates)[:, 0]
        if name in NOISY:
            ends[name] = train(here, ends[name], [1.0], settings, what=f"{name}, to R_S", objective="risk", **last)[
                :, 0
            ]
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
            "risk": (("objective", "seed"), np.array([theory.risk(here.problem, theta) for theta in ends.values()])),
        },
        {"pair": names, "alpha": ALPHAS, "objective": list(LOSSES)},
        {
            "keep_prob": KEEP_PROB,
            "steps": known["steps"],
            "width": here.problem.width,
            "seeds": seeds,
            "data": here.about,
        },
    )
    notes = [
        f"{here.about}; p = {KEEP_PROB:g}, sample masks, all from the same initial weights N(0, m^-0.2) of a seed;"
        f" gradient descent to time lr · step = {STAGES[-1][0]:g} on L1 and L3, {STEADY[-1][0]:g} on L2 and L4.",
        "L2 and L4 keep the noise of large R_1, which leaves R_S far from its minimum: they end with gradient descent"
        f" on R_S for a time of {QUIET[0]:g}.",
        "A barrier is the largest rise of R_S above the straight line between its values at the ends.",
    ]
    return Outcome(rows=rows(data), data=data, notes=notes)


def rows(data: xr.Dataset) -> list[Row]:
    """R_S at the minima, barriers and distances between them, and what is claimed of them."""
    found = [Row.over_seeds(f"R_S at the end of {name}", data["risk"].sel(objective=name)) for name in LOSSES]
    largest = data["risk"].max("objective").values
    found.append(
        Row.over_seeds(
            "R_S: largest of all ends", largest, published="minima",
            rule=f"below {TRAINED:g} in every seed", holds=bool((largest < TRAINED).all()),
        )
    )  # fmt: skip
    found += [
        Row.over_seeds(f"accuracy of {name}", 100 * data["accuracy"].sel(objective=name), unit="%") for name in LOSSES
    ]
    barrier, distance = (data[name].transpose("pair", "seed").values for name in ("barrier", "distance"))
    for k, pair in enumerate(PAIRS):
        published = "0.0008" if pair == PAIRS[0] else "" if pair in ALIKE else "0.0131 to 0.0334"
        found.append(Row.over_seeds(f"{pair[0]} to {pair[1]}: barrier of R_S", barrier[k], published=published))
        found.append(Row.over_seeds(f"{pair[0]} to {pair[1]}: distance of the minima", distance[k]))
    unlike = [k for k, pair in enumerate(PAIRS) if pair not in ALIKE]
    for what, values, published in (("barrier", barrier, "0.06"), ("distance", distance, "near")):
        least = values[unlike].min(axis=0)
        ratio = np.divide(values[0], least, out=np.full_like(least, np.nan), where=least > 0)
        found.append(
            Row.over_seeds(
                f"{what}: L1 to L3 over the least of L1 or L3 to L2 or L4", ratio, published=published,
                rule=f"below {SHARE:g} in every seed", holds=bool((ratio < SHARE).all()),
            )
        )  # fmt: skip
    least = barrier[unlike].min(axis=0)
    mean = float(least.mean())
    found.append(
        Row.over_seeds(
            "barrier: least of L1 or L3 to L2 or L4", least, published="0.0131", reason=REASON,
            rule="within a factor of 3", holds=bool(0.0131 / 3 <= mean <= 0.0131 * 3),
        )
    )  # fmt: skip
    return found


def _lines(axis: Axes, data: xr.Dataset, alike: bool) -> None:
    """R_S along the lines between minima that are alike in R_1, or not."""
    from ...output.style import INK

    colors = ("#222222", "#E69F00", "#0072B2", "#222222", "#D55E00", "#009E73")
    for k, pair in enumerate(PAIRS):
        if (pair in ALIKE) != alike:
            continue
        for seed, row in enumerate(data["loss"].values[k]):
            name = str(data["pair"].values[k])
            look = NARROW if pair[0] == "L3" else WIDE
            axis.plot(data["alpha"], row, color=colors[k], label=None if seed else name, **look)
    axis.axvline(0, color=INK, lw=0.7, ls=":")
    axis.axvline(1, color=INK, lw=0.7, ls=":")
    axis.set(yscale="log", xlabel=r"$\alpha$ from the first minimum to the second", ylabel="$R_S$")
    axis.set_title("$R_1$ in both losses, or in neither" if alike else "$R_1$ in one loss alone")
    axis.legend(title="all seeds", loc="lower center")


PANELS: dict[str, Panel] = {"alike": partial(_lines, alike=True), "unlike": partial(_lines, alike=False)}


def draw(outcome: Outcome) -> Figure:
    """R_S along the six lines, one panel for pairs that are alike and one for those that are not."""
    with figure(10.0, 4.0) as whole:
        axes = whole.subplots(1, 2, sharey=True)
        fill(axes, PANELS, outcome.data)
        axes[1].tick_params(labelleft=True)
        axes[1].set_ylabel("")
    return whole


WORDS: Words = {
    "pair": "losses whose minima the line connects",
    "alpha": "place on the line: 0 at the first minimum, 1 at the second",
    "barrier": ("largest rise of R_S above the straight line between its ends", RISK),
    "distance": "distance of the two minima",
    "accuracy": "share of the test images that are named rightly",
}


EXPERIMENT = Experiment(
    name="barriers",
    source="IRD, figure 14",
    place=(1, 14),
    shows="minima of losses that hold R_1 lie together, those of losses without it elsewhere",
    minutes=1.7,
    full_minutes=600.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
