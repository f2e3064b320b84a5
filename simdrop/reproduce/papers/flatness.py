"""`flatness`: dropout ends where the loss is flat (IRD, figure 12 and table I)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ... import theory
from ...data import TARGETS
from ...problem import Problem
from ...study.landscape import flatness
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import ARMS, COLORS, Array, arms, band, ratio, train
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: data -> activation, as in the papers
CASES = {"relu-fit": "relu", "condensation": "tanh"}
#: steps of Adam at 1e-3
STEPS = {
    False: {"relu-fit": 100_000, "condensation": 200_000},
    True: {"relu-fit": 1_000_000, "condensation": 1_000_000},
}
WIDTH, DIRECTIONS = 1000, 10
#: radius of the balls in which the loss is maximised: |δ / |theta|| <= RADIUS
RADIUS = 0.1
#: the least R_S that the figure shows
LOWEST = 1e-7
OBJECTIVES = ("risk", "risk+r1")
#: what is measured at the end of training -> how the table calls it
MEASURES = {
    "trace": "Tr H",
    "top": "largest eigenvalue of H",
    "sharpness risk": f"highest rise of R_S within {RADIUS:g} |theta|",
    "sharpness risk+r1": f"highest rise of R_S + R_1 within {RADIUS:g} |theta|",
    "rise": "rise of R_S along random directions",
}


def run(settings: Settings) -> Outcome:
    """Train both arms on both problems; measure the Hessian of R_S, sharpness, and R_S along random directions."""
    import xarray as xr

    seeds, rows = settings.seeds or 5, []
    lines, found = [], []
    for name, activation in CASES.items():
        target, steps = TARGETS[name], STEPS[settings.full][name]
        problem = Problem(
            target.points, target.function(target.points), width=WIDTH, activation=activation, mask="sample",
            keep_prob=ARMS[0],
        )  # fmt: skip
        theta = train(problem, settings, what=name, seeds=seeds, steps=steps, lr=1e-3)
        loss = np.array(
            [[flatness.lines(problem, one, count=DIRECTIONS)["loss"].values for one in row] for row in theta]
        )
        numbers = _measure(problem, theta, loss, settings, name)
        rows += _rows(name, numbers, theory.risk(problem, theta))
        lines.append(loss)
        found.append(numbers)
    axes = ("case", "measure", "seed", "arm")
    data = xr.Dataset(
        {"value": (axes, np.array(found)), "loss": ((*axes[:1], *axes[2:], "direction", "alpha"), np.array(lines))},
        {"case": list(CASES), "measure": list(MEASURES), "arm": list(ARMS), "alpha": flatness.LINE},
        {"width": WIDTH, "optimizer": "adam", "lr": 1e-3, "mask": "sample", "seeds": seeds, **STEPS[settings.full]},
    )
    lengths = " and ".join(map(str, STEPS[settings.full].values()))
    notes = [
        f"Width {WIDTH}, Adam 1e-3, {lengths} steps, sample masks, weights N(0, m^-0.2) read as a variance.",
        "H: the Hessian of R_S at the end of training, its trace exact; for relu that almost everywhere.",
        f"Highest rise: over |δ / |theta|| <= {RADIUS:g}, the ball of ASAM; R_1 is that of p = 0.9 in both arms.",
        "Rise along random directions: at alpha = ±0.5 along filter-normalised ones. It and the highest rise measure in"
        " units of the weights, Tr H and the eigenvalue do not.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _measure(problem: Problem, theta: Array, loss: Array, settings: Settings, name: str) -> Array:
    """MEASURES (measure, seeds, 2) of theta (seeds, 2, P) and the losses (seeds, 2, direction, alpha) around it."""
    found = np.empty((len(MEASURES), *theta.shape[:2]))
    found[0] = theory.hessian_trace(problem, theta, objective="risk")
    for number, here in enumerate(np.ndindex(theta.shape[:2])):
        found[1][here] = flatness.top_eigenvalues(problem, theta[here])[0]
        for row, objective in enumerate(OBJECTIVES):
            sharp = flatness.sharpness(problem, theta[here], radius=RADIUS, ball="adaptive", objective=objective)
            found[2 + row][here] = sharp.rise
        settings.progress(f"curvature: {name}", number + 1, theta.shape[0] * 2)
    side = np.isclose(np.abs(flatness.LINE), 0.5)
    found[4] = (loss[..., side] - loss[..., flatness.LINE == 0]).mean(axis=(-1, -2))
    return found


def _rows(name: str, numbers: Array, ends: Array) -> list[Row]:
    """The numbers of one problem: both arms, and their ratio with its rule."""
    rows = []
    for quantity, values in zip(MEASURES.values(), numbers, strict=True):
        rows += arms(f"{name}: {quantity}", values)
        rows.append(ratio(f"{name}: {quantity}, with/without", *values.T, published="below 1"))
    return rows + arms(f"{name}: R_S at the end", ends)


def _lines(axis: Axes, data: xr.Dataset, case: str) -> None:
    """R_S along random directions for one problem."""
    for k in (1, 0):
        band(axis, data["alpha"].values, data["loss"].sel(case=case).values[:, k], k)
    axis.set(yscale="log", xlabel=r"$\alpha$ along filter-normalised random directions", ylabel="$R_S$")
    axis.set_title(f"{case} ({CASES[case]}): median and 10-90 %")
    axis.set_ylim(bottom=max(axis.get_ylim()[0], LOWEST))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _ratios(axis: Axes, data: xr.Dataset) -> None:
    """All measures with dropout over without."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from ...output.style import INK

    labels = [
        r"$\mathrm{Tr}\,H$",
        r"$\lambda_{\max}(H)$",
        "sharpness, $R_S$",
        "sharpness, $R_S+R_1$",
        r"rise at $\alpha=0.5$",
    ]
    for offset, case, marker in ((-0.12, "relu-fit", "o"), (0.12, "condensation", "s")):
        values = data["value"].sel(case=case).values  # (measure, seed, arm)
        ratios = values[..., 0] / np.where((values > 0).all(axis=-1), values[..., 1], np.nan)
        where = np.arange(len(labels)) + offset
        axis.plot(ratios, np.repeat(where[:, None], ratios.shape[1], axis=1), marker, color="#999999", ms=3.5)
        middle = np.exp(np.log(ratios).mean(axis=1))
        axis.plot(middle, where, marker, color=COLORS[0], ms=7, label=case)
    axis.axvline(1, color=INK, lw=0.8, ls=":")
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="with dropout / without; small: single seeds", title="Below 1: flatter with dropout")
    axis.xaxis.set_major_locator(LogLocator())  # over four decades 2 and 5 would lie on one another
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


PANELS: dict[str, Panel] = {case: partial(_lines, case=case) for case in CASES} | {"ratios": _ratios}


def draw(outcome: Outcome) -> Figure:
    """Loss along random directions for each problem, and the ratios of all measures."""
    with figure(12.4, 4.4) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "arm": "keep probability",
    "case": "data and activation",
    "measure": "how flatness is measured",
    "value": "flatness at the end, by the measure",
}


EXPERIMENT = Experiment(
    name="flatness",
    source="IRD, figure 12 and table I",
    place=(1, 12),
    shows="dropout ends where R_S is flatter: Tr H, sharpness, and the loss along random directions",
    minutes=0.6,
    full_minutes=5.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
