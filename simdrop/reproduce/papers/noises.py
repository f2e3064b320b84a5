"""`noises`: dropout, label, minibatch and parameter noise, each for as long as it takes to move networks at zero loss.

Beyond the papers (arXiv:2404.12293 has the theory). At zero loss dropout moves a network in a time t = lr · step of
1/v, v = (1-p)/p, label noise of standard deviation s in 1/(lr s²), and noise of minibatches not at all, for it goes to
0 with the residuals. At equal steps, or at equal noise, all but the fastest seem to do nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ... import theory
from ...data import TARGETS
from ...problem import Noise, Problem
from ...study.landscape import condensation
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import Array, finite, ratio
from ..words import RISK, Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Arm(NamedTuple):
    """A noise: keep probability, learning rate, what else is random, the loss, slow time per unit of t, its end."""

    keep_prob: float
    lr: float
    noise: Noise
    objective: str
    rate: float
    slow: float


KEEP_PROB, WIDTH = 0.995, 20
V = (1 - KEEP_PROB) / KEEP_PROB
LABEL, PARAMETER = 0.5, 0.2
#: duration in slow time: what dropout needs to condense, and a random walk as long as the weights are large
LONG, WALK = 10.0, 1.0
ARMS = {
    "dropout": Arm(KEEP_PROB, 0.002, Noise(), "dropout", V, LONG),
    "drift": Arm(KEEP_PROB, 0.02, Noise(), "risk+r1", V, LONG),
    "label": Arm(1.0, 0.02, Noise(label=LABEL), "dropout", 0.02 * LABEL**2, LONG),
    "minibatch": Arm(1.0, 0.02, Noise(batch_size=1, replace=True), "dropout", 0.02 * LABEL**2, LONG),
    "parameter": Arm(1.0, 0.02, Noise(parameter=PARAMETER), "dropout", 0.02 * PARAMETER**2, WALK),
}
LOOKS = {
    "dropout": ("#0072B2", "-"), "drift": ("#56B4E9", "--"), "label": ("#009E73", "-."), "minibatch": ("#E69F00", ":"),
    "parameter": ("#CC79A7", (0, (3, 1, 1, 1, 1, 1))),
}  # fmt: skip
TITLES = {
    "dropout": "dropout", "drift": "R_S + R_1, no noise", "label": "label noise", "minibatch": "minibatches of 1",
    "parameter": "parameter noise",
}  # fmt: skip
POINTS, COPIES = 16, {False: 8, True: 64}
#: how far the time scale of a noise may be from the theory's, as a share of it; and what counts as standing still
CLOSE, STILL = 0.15, 0.01
#: record times as shares of the whole: close to one another at first, where most happens
SHARES = np.linspace(0, 1, POINTS) ** 2


def run(settings: Settings) -> Outcome:
    """Train all arms from the same points of zero loss; R_1 / v, Tr H and orientations over slow time; the limits."""
    import xarray as xr

    target, seeds, copies = TARGETS["sin"], settings.seeds or 5, COPIES[settings.full]
    problem = Problem(target.points, target.function(target.points), width=WIDTH, keep_prob=KEEP_PROB)
    theta0 = np.array([theory.limit_point(problem, problem.init(seed=seed)) for seed in range(seeds)])
    found = [_measure(problem, _train(problem, theta0, settings, name, copies)) for name in ARMS]
    data = xr.concat(found, xr.Variable("arm", list(ARMS)))
    for name, measure in (("dropout", "rho"), ("label", "trace")):
        limit = _limit(problem, theta0, name)
        data[f"limit_{name}"] = _measure(problem, limit[:, :, None])[measure].mean("copy")
    data = data.assign_coords(share=("time", SHARES))
    data.attrs = {"keep_prob": KEEP_PROB, "width": WIDTH, "label": LABEL, "parameter": PARAMETER, "seeds": seeds}
    data.attrs |= {"copies": copies, **{f"steps_{name}": _steps(arm) for name, arm in ARMS.items()}}
    return Outcome(rows=rows(data), data=data, notes=_notes(data))


def _steps(arm: Arm) -> int:
    return round(arm.slow / (arm.rate * arm.lr))


def _train(problem: Problem, theta0: Array, settings: Settings, name: str, copies: int) -> Array:
    """theta (time, seed, copy, P) at SHARES of the time; copies have masks and noise of their own."""
    arm = ARMS[name]
    steps, copies = _steps(arm), copies if name != "drift" else 1
    runs = settings.train(
        f"train: {name}", replace(problem, keep_prob=arm.keep_prob), np.repeat(theta0, copies, axis=0), lr=arm.lr,
        steps=steps, record=np.rint(steps * SHARES).astype(int), keep_theta=True, noise=arm.noise,
        objective=arm.objective,
    )  # fmt: skip
    return finite(runs["theta"].values, name).reshape(POINTS, len(theta0), copies, -1)


def _limit(problem: Problem, theta0: Array, name: str) -> Array:
    """theta (time, seed, P) along zero loss, as lr and v, or s, go to 0; for dropout with the term of order lr."""
    arm = ARMS[name]
    found = [
        theory.flow(
            replace(problem, keep_prob=arm.keep_prob), one, lr=arm.lr, times=arm.slow * SHARES,
            kind="manifold", noise=arm.noise, rtol=1e-6,
        )["theta"].values
        for one in theta0
    ]  # fmt: skip
    return np.stack(found, axis=1)


def _measure(problem: Problem, theta: Array) -> xr.Dataset:
    """R_1 / v, Tr H, R_S and the orientations with 95 % of the amplitude of theta (time, seed, copy, P)."""
    import xarray as xr

    axes = ("time", "seed", "copy")
    values = {
        "rho": theory.r1(problem, theta) / problem.variance,
        "trace": theory.hessian_trace(problem, theta, objective="risk"),
        "risk": theory.risk(problem, theta),
        "size": np.square(theta).sum(axis=-1),
    }
    ends = theta[[0, -1]]
    groups = [condensation.clusters(problem, one).holding(0.95) for one in ends.reshape(-1, theta.shape[-1])]
    values = {name: (axes, one) for name, one in values.items()}
    values["groups"] = (("at", *axes[1:]), np.array(groups, dtype=np.float64).reshape(ends.shape[:-1]))
    return xr.Dataset(values).mean("copy", keep_attrs=True).expand_dims(copy=1)


def rows(data: xr.Dataset) -> list[Row]:
    """What moves, in which time, next to the limit, and what condenses."""
    mean = data.isel(copy=0)
    found = [
        _follows("dropout: R_1 / v", mean["rho"].sel(arm="dropout"), mean["limit_dropout"]),
        _follows("R_S + R_1 without noise: R_1 / v", mean["rho"].sel(arm="drift"), mean["limit_dropout"]),
        _follows("label noise: Tr H", mean["trace"].sel(arm="label"), mean["limit_label"]),
    ]
    for measure, title in (("rho", "R_1 / v"), ("trace", "Tr H")):
        for arm, name in TITLES.items():
            values = mean[measure].sel(arm=arm).transpose("time", "seed").values
            change = values[-1] / values[0] - 1
            still = arm == "minibatch"
            found.append(
                Row.over_seeds(
                    f"{title}: relative change, {name}", 100 * change, unit="%",
                    published="0 (theory)" if still else "",
                    rule=f"below {100 * STILL:g} % in every seed" if still else "",
                    holds=bool((np.abs(change) < STILL).all()) if still else None,
                )
            )  # fmt: skip
    for arm, name in TITLES.items():
        start, end = mean["groups"].sel(arm=arm).transpose("at", "seed").values
        found.append(Row.over_seeds(f"orientations with 95 % of the amplitude, {name}, at first", start))
        found.append(Row.over_seeds(f"orientations with 95 % of the amplitude, {name}, at the end", end))
        fewer = ratio(f"orientations, {name}: at the end / at first", end, start)
        found.append(fewer if arm in ("dropout", "drift") else replace(fewer, rule="", holds=None))
    return found


def _follows(quantity: str, values: xr.DataArray, limit: xr.DataArray) -> Row:
    """A row for the speed of curves (time, seed), in units of that of the limit, by least squares."""
    curve, expected = (one.transpose("time", "seed").values for one in (values, limit))
    factors, root = np.geomspace(0.25, 4, 401), np.sqrt(SHARES)
    found = []
    for seed in range(curve.shape[1]):
        apart = []
        for factor in factors:
            inside = factor * SHARES <= 1
            at = np.interp(np.sqrt(factor) * root[inside], root, expected[:, seed])
            apart.append(np.square(curve[inside, seed] - at).mean())
        found.append(factors[int(np.argmin(apart))])
    speed = np.array(found)
    return Row.over_seeds(
        f"{quantity}: speed in units of the limit's", speed, published="1 (theory)",
        rule=f"mean within {CLOSE:g} of 1", holds=bool(abs(speed.mean() - 1) < CLOSE),
    )  # fmt: skip


def _notes(data: xr.Dataset) -> list[str]:
    steps = {name: data.attrs[f"steps_{name}"] for name in ARMS}
    return [
        f"{WIDTH} tanh neurons on four points of sin 3x, from where gradient flow on R_S ends; v = {V:.3g}, s ="
        f" {LABEL:g} on targets, {PARAMETER:g} on gradients; {data.attrs['copies']} runs from every start.",
        f"Slow times: v t = {LONG:g} takes {steps['dropout']} steps of dropout at lr {ARMS['dropout'].lr:g}; lr s² t ="
        f" {LONG:g} takes {steps['label']} steps of label noise at {ARMS['label'].lr:g}, and minibatches have as many.",
        "Dropout descends R_1 / v along zero loss and so does R_S + R_1 without any noise: its mean step condenses, not"
        " its noise. Label noise descends Tr H. Minibatches have no noise at zero loss.",
        f"Noise on gradients walks along zero loss at random, in the time 1/(lr s²); here to lr s² t = {WALK:g}.",
    ]


def _over_time(axis: Axes, data: xr.Dataset, name: str, arm: str) -> None:
    """A variable over each noise's own time, all noises, with the limit of the noise that descends it."""
    from ...output.style import INK, typeset

    data = data.isel(copy=0)
    for one, (color, line) in LOOKS.items():
        values = data[name].sel(arm=one).transpose("time", "seed").values
        mean = (values / values[0]).mean(axis=1)
        axis.plot(data["share"], mean, color=color, ls=line, lw=1.6, label=typeset(TITLES[one]))
    limit = data[f"limit_{arm}"].transpose("time", "seed").values
    axis.plot(data["share"], (limit / limit[0]).mean(axis=1), "o", color=INK, mfc="none", ms=4, label="limit")
    label = r"$R_1 / v$" if name == "rho" else r"$\mathrm{Tr}\,H$"
    axis.set(ylim=(0, None), xlabel="each noise's own time, share of its length", ylabel=f"{label}, share of start")
    axis.set_title("What dropout descends" if name == "rho" else "What label noise descends")


def _orientations(axis: Axes, data: xr.Dataset) -> None:
    """How many orientations there are at the end of each noise."""
    from ...output.style import INK, typeset

    data = data.isel(copy=0)
    for row, arm in enumerate(LOOKS):
        start, end = data["groups"].sel(arm=arm).transpose("at", "seed").values
        axis.barh(row, end.mean(), color=LOOKS[arm][0], alpha=0.75)
        axis.plot(end, np.full(end.shape, row), ".", color=INK, ms=4)
        axis.plot([start.mean()] * 2, [row - 0.4, row + 0.4], color=INK, lw=1.2, ls=":")
    axis.set_yticks(range(len(LOOKS)), [typeset(title) for title in TITLES.values()])
    axis.invert_yaxis()
    axis.set(xlabel="orientations with 95 % of the amplitude", title="At the end (dots: starts; dotted: at first)")


PANELS: dict[str, Panel] = {
    "r1": partial(_over_time, name="rho", arm="dropout"),
    "trace": partial(_over_time, name="trace", arm="label"),
    "orientations": _orientations,
}


def draw(outcome: Outcome) -> Figure:
    """R_1 / v and Tr H over each noise's own time, with the limits, and the orientations at the end."""
    with figure(12.4, 4.0) as whole:
        axes = whole.subplots(1, 3)
        fill(axes, PANELS, outcome.data)
        *noises, limit = axes[0].lines
        axes[0].legend(handles=[limit])
        axes[1].legend(handles=[axes[1].lines[-1]])
        whole.legend(handles=noises, loc="outside lower center", ncols=len(LOOKS))
    return whole


WORDS: Words = {
    "arm": "noise",
    "share": "share of each noise's own time",
    "rho": ("R_1 / v, v = (1-p)/p", RISK),
    "trace": "trace of the Hessian of R_S",
    "size": "squared norm of the parameters",
    "groups": "orientations that hold 95 % of the amplitude, at the start and the end",
    "limit_dropout": ("R_1 / v along zero loss in the limit of small lr and v", RISK),
    "limit_label": "trace of the Hessian along zero loss under label noise, in the limit of a small lr",
}


EXPERIMENT = Experiment(
    name="noises",
    source="beyond the papers",
    place=(3, 3),
    shows="dropout, label, minibatch and parameter noise, each on its own time scale: what moves and what condenses",
    minutes=0.2,
    full_minutes=1.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
