"""`phase-diagram`: at learning rates as large as the width dropout acts by its update (Chizat et al., figure 2).

Networks (1/m) Σ_j a_j relu(w_j·x) of growing width m are trained at lr = m/2 in four ways from the same start: by
dropout, without it, with the same masks on the update alone (random geometry), and with those on the update and
independent ones in the forward pass. The distance of two of them is √(mean_j |Δw_j|² + mean_j Δa_j²).

All four ways of one width are one launch: `simulate` takes for each member a probability to keep neurons, the place
where dropout acts, and the number that its masks are drawn by, so that the ways of one start share their masks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...problem import Problem
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {False: (200, 500, 1000, 2000), True: (200, 500, 1000, 2000, 5000)}
INPUTS, SAMPLES, TEACHER, KEEP_PROB, STEPS = 20, 500, 15, 0.7, 1001
#: the step, well before the last one, at which the distances are compared with those of a replay in NumPy
EARLY = 77
RECORD = (*range(1, 10), *range(10, EARLY, 6), EARLY, *range(100, 1001, 50), STEPS)
#: the other ways to train than by dropout: name -> keep_prob and where the factors act
ARMS: dict[str, tuple[float, Any]] = {
    "no dropout": (1.0, "both"),
    "update only": (KEEP_PROB, "update"),
    "independent": (KEEP_PROB, "independent"),
}
COLORS = {"no dropout": "#D55E00", "update only": "#0072B2", "independent": "#009E73"}
LINES = {"no dropout": ":", "update only": "-", "independent": "--"}


def run(settings: Settings) -> Outcome:
    """Train all four ways at all widths; distances from dropout at every record step."""
    import xarray as xr

    widths, seeds = WIDTHS[settings.full], settings.seeds or 2
    found = np.stack([_distances(settings, width, seeds) for width in widths])  # (width, arm, seed, time)
    steps = np.unique([0, *RECORD, STEPS])
    data = xr.Dataset(
        {"distance": (("width", "arm", "seed", "step"), found)},
        {"width": list(widths), "arm": list(ARMS), "step": steps, "seed": np.arange(seeds)},
        {
            "inputs": INPUTS, "samples": SAMPLES, "teacher": TEACHER, "keep_prob": KEEP_PROB, "steps": STEPS,
            "lr": "width / 2",
        },
    )  # fmt: skip
    return Outcome(rows=_rows(data), data=data, notes=_notes(seeds))


def _distances(settings: Settings, width: int, seeds: int) -> NDArray[np.float64]:
    """RMS distances from dropout of the other arms, (arm, seed, time)."""
    base = _problem(width)
    drawing = np.random.default_rng(width)
    theta0 = base.join(
        drawing.standard_normal((seeds, 1, width)), drawing.standard_normal((seeds, width, INPUTS)) / np.sqrt(INPUTS)
    )
    ways = [(KEEP_PROB, "both"), *ARMS.values()]
    runs = settings.train(
        f"width {width}",
        base,
        np.tile(theta0, (len(ways), 1)),
        keep_prob=np.repeat([keep_prob for keep_prob, _ in ways], seeds),
        place=np.repeat([place for _, place in ways], seeds),
        numbers=np.tile(np.arange(seeds), len(ways)),
        lr=width / 2,
        steps=STEPS,
        record=RECORD,
        keep_theta=True,
        dtype="float32",
        risk_limit=None,
    )
    theta = runs["theta"].values
    theta = theta.reshape(len(theta), len(ways), seeds, -1)  # (time, way, seed, P)
    found = []
    for way in range(1, len(ways)):
        a, w = base.split(theta[:, way].astype(np.float64) - theta[:, 0])  # (time, seed, 1, m), (time, seed, m, D)
        found.append(np.sqrt(np.square(w).sum(axis=-1).mean(axis=-1) + np.square(a).mean(axis=(-1, -2))).T)
    return np.array(found)


def _problem(width: int) -> Problem:
    """The teacher's data and a network of that width."""
    drawing = np.random.default_rng(0)
    x = drawing.standard_normal((SAMPLES, INPUTS))
    w = drawing.standard_normal((TEACHER, INPUTS)) / np.sqrt(INPUTS)
    y = np.maximum(x @ w.T, 0) @ drawing.standard_normal(TEACHER) / np.sqrt(TEACHER)
    return Problem(
        x, y, width=width, keep_prob=KEEP_PROB, activation="relu", mask="step", bias=False, output_scale="1/m"
    )


def _rows(data: Any) -> list[Row]:
    """The distances at an early and at the last step, and what is claimed of them."""
    widths, rows = data["width"].values.tolist(), []
    for step, when in ((EARLY, f"step {EARLY}"), (STEPS, "the end")):
        for arm in ARMS:
            for width in widths:
                values = data["distance"].sel(step=step, arm=arm, width=width).values
                rows.append(Row.over_seeds(f"dropout - {arm}, width {width}, {when}", values))
    mean = data["distance"].mean("seed")
    for step, when in ((EARLY, f"step {EARLY}"), (STEPS, "the end")):
        update = mean.sel(step=step, arm="update only").values
        # no power of the width where the arms do not differ: keep_prob 1, or before training
        slope = float(np.polyfit(np.log(widths), np.log(update), 1)[0]) if (update > 0).all() else float("nan")
        rows.append(
            Row(
                quantity=f"exponent of dropout - update only in the width, {when}", ours=slope, published="falls to 0",
                rule="below -0.2, and the distance falls from each width to the next",
                holds=bool(slope < -0.2 and (np.diff(update) < 0).all()),
            )
        )  # fmt: skip
    none = mean.sel(step=EARLY, arm="no dropout").values
    none = np.where(none > 0, none, np.nan)
    rows.append(
        Row(
            quantity=f"dropout - no dropout, widest over next, step {EARLY}", ours=float(none[-1] / none[-2]),
            published="saturates", rule="within 5 % of 1", holds=bool(abs(none[-1] / none[-2] - 1) < 0.05),
        )
    )  # fmt: skip
    ratio = float(mean.sel(step=EARLY, arm="update only", width=widths[-1]) / none[-1])
    rows.append(
        Row(
            quantity=f"update only / no dropout, width {widths[-1]}, step {EARLY}", ours=ratio,
            published="dropout's limit is the random geometry", rule="below 0.5", holds=ratio < 0.5,
        )
    )  # fmt: skip
    return rows


def _notes(seeds: int) -> list[str]:
    return [
        f"f = (1/m) Σ_j a_j relu(w_j·x) in {INPUTS} dimensions, {SAMPLES} samples of a teacher of {TEACHER} neurons,"
        f" keep {KEEP_PROB:g}, one mask a step, lr = m/2, {STEPS} steps, {seeds} starts.",
        "All arms of a start share their masks; those of the forward pass of `independent` are further ones.",
        "Distances are √(mean_j |Δw_j|² + mean_j Δa_j²). A replay in NumPy of one start gave, at widths 200, 500, 1000,"
        f" 2000 and 5000, dropout - update only .462 .327 .268 .178 .115 at step {EARLY} and 1.70 1.37 1.12 .87 .61 at"
        f" the end, dropout - no dropout .615 .565 .553 .551 .547 at step {EARLY}.",
    ]


def _over_steps(axis: Axes, data: xr.Dataset) -> None:
    """Distances from dropout over steps, at all widths."""
    widths = data["width"].values
    for arm, color in COLORS.items():
        for k, width in enumerate(widths):
            curve = data["distance"].sel(arm=arm, width=width).mean("seed")
            strength = 0.25 + 0.75 * (k + 1) / len(widths)
            label = f"{arm}, width {width}" if k in (0, len(widths) - 1) else None
            axis.plot(data["step"][1:], curve[1:], color=color, ls=LINES[arm], alpha=strength, lw=1.3, label=label)
    axis.set(xscale="log", yscale="log", xlabel="step", ylabel="RMS distance from dropout")
    axis.legend(fontsize=7)


def _over_widths(axis: Axes, data: xr.Dataset, step: int) -> None:
    """Distances from dropout over widths, at one step."""
    from matplotlib.ticker import NullLocator

    from ...output.style import log_axis

    widths = data["width"].values
    for arm, color in COLORS.items():
        values = data["distance"].sel(arm=arm, step=step)
        spread = values.std("seed", ddof=1) if data.sizes["seed"] > 1 else 0 * values.mean("seed")
        look: dict[str, Any] = {"color": color, "ls": LINES[arm], "marker": "o", "ms": 4, "label": arm}
        axis.errorbar(widths, values.mean("seed"), yerr=spread, **look)
    axis.set(xscale="log", yscale="log", xlabel="width $m$", ylabel="RMS distance from dropout", title=f"step {step}")
    axis.set_xticks(widths, labels=[f"{width}" for width in widths])
    axis.xaxis.set_minor_locator(NullLocator())  # Matplotlib before 3.9 has no Axis.minorticks_off
    log_axis(axis)
    axis.legend()


PANELS: dict[str, Panel] = {
    "steps": _over_steps, "early": partial(_over_widths, step=EARLY), "late": partial(_over_widths, step=STEPS),
}  # fmt: skip


def draw(outcome: Outcome) -> Figure:
    """Distances from dropout over steps, and over widths."""
    with figure(11.4, 3.8) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "distance": "root mean square distance of the neurons from those under dropout",
}


EXPERIMENT = Experiment(
    name="phase-diagram",
    source="arXiv:2510.07554, figure 2",
    place=(4, 1),
    shows="at lr of the order of the width, wide networks under dropout follow the masks on the update alone",
    minutes=0.5,
    full_minutes=3.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
