"""`slow-drift`: networks at zero loss drift on, under dropout in the time v t, under label noise in lr s² t.

Beyond the papers (Shalova, Schlichting & Peletier, arXiv:2404.12293, have the theory). Two linear neurons on one sample
show the limit, its closed form and the orders of what is left in lr and v; a neuron under label noise its own time
scale; a network on four points what the drift leads to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ...data import TARGETS
from ...problem import Noise, Problem
from ...study.landscape import condensation
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import Array
from ..words import RISK, Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: (a_1 w_1 - a_2 w_2)/2 at the start, of two neurons with a_1 w_1 + a_2 w_2 = 1
START = 0.4
#: v of the ensembles, their learning rates, and members
V, LRS = 0.005, (0.4, 0.2, 0.1)
MEMBERS = {False: 20_000, True: 200_000}
PATHS, PATH_STEPS = 2000, 20
#: of averaged flows, whose distance from the limit is measured
VS = (0.005, 0.0025, 0.00125)
#: label noise: standard deviation and learning rate, members, start (a, w) of f = a w
LABEL, LABEL_LR, LABEL_MEMBERS, NEURON = 0.5, 0.02, 200, (2.0, 0.5)
TAU = np.linspace(0, 1, 11)
#: what condenses: neurons, duration in τ, points of the curves
WIDTH, LONG, POINTS = 20, 30.0, 13
#: by how much a slope may differ from 1
WINDOW = 0.3


def run(settings: Settings) -> Outcome:
    """Ensembles over lr, averaged flows over v, label noise, and where networks with many neurons end."""
    import xarray as xr

    data = xr.merge([_ensembles(settings), _averaged(), _label(settings), _condensing(settings)])
    data.attrs = {"v": V, "label": LABEL, "label_lr": LABEL_LR, "width": WIDTH, "members": MEMBERS[settings.full]}
    return Outcome(rows=rows(data), data=data, notes=_notes())


def two_neurons() -> tuple[Problem, Array]:
    """f = a_1 w_1 + a_2 w_2 at x = y = 1, and a start on zero loss with a = w, which training keeps."""
    w = np.sqrt([0.5 + START, 0.5 - START])
    problem = Problem([1.0], [1.0], width=2, keep_prob=1 / (1 + V), activation="linear", bias=False)
    return problem, np.concatenate([w, w])


def closed_form(tau: Array) -> Array:
    """z(τ) of the two neurons in the limit of lr → 0 and v → 0."""
    return np.asarray(0.5 / np.sqrt(1 + ((0.5 / START) ** 2 - 1) * np.exp(2 * tau)))


def _ensembles(settings: Settings) -> xr.Dataset:
    """Mean z of training and of paths along the manifold, over (lr, τ), with standard errors."""
    import xarray as xr

    problem, theta0 = two_neurons()
    found = np.empty((4, len(LRS), TAU.size))
    for k, lr in enumerate(LRS):
        record = np.rint(TAU / (V * lr)).astype(int)
        runs = settings.train(
            f"dropout, lr {lr:g}", problem, theta0, lr=lr, steps=int(record[-1]), members=MEMBERS[settings.full],
            record=record, keep_theta=True, seed=k, backend="numpy",
        )  # fmt: skip
        found[:2, k] = _mean(_half_difference(runs["theta"].values))
        paths = theory.manifold_paths(
            problem, theta0, lr=lr, times=TAU, members=PATHS, steps=PATH_STEPS, antithetic=True, seed=k
        )
        pairs = _half_difference(paths["theta"].values).reshape(TAU.size, -1, 2).mean(axis=2)
        found[2:, k] = _mean(pairs)
    names = ("z", "z_error", "z_paths", "z_paths_error")
    flow = theory.flow(problem, theta0, lr=1.0, times=TAU, kind="manifold", corrected=False, rtol=1e-10, atol=1e-12)
    variables: dict[str, Any] = {name: (("lr", "tau"), row) for name, row in zip(names, found, strict=True)}
    variables["z_limit"] = "tau", _half_difference(flow["theta"].values)
    return xr.Dataset(variables, {"lr": list(LRS), "tau": TAU})


def _half_difference(theta: Array) -> Array:
    products = theta[..., :2] * theta[..., 2:]
    return np.asarray((products[..., 0] - products[..., 1]) / 2)


def _mean(values: Array) -> Array:
    """Mean and standard error over the last axis of (T, M): (2, T)."""
    return np.array([values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])])


def _averaged() -> xr.Dataset:
    """Distance of averaged flows from the limit at τ = 1, over v: what lr → 0 leaves."""
    import xarray as xr

    x = np.linspace(-1, 1, 3)
    problem = Problem(x, np.sin(3 * x), width=6)
    theta0 = theory.limit_point(problem, problem.init(seed=0))
    away = []
    for v in VS:
        one = replace(problem, keep_prob=1 / (1 + v))
        slow = theory.flow(one, theta0, lr=1.0, times=1.0, kind="manifold", corrected=False)
        fast = theory.flow(one, theta0, lr=1.0, times=1 / v, kind="averaged")
        away.append(float(np.linalg.norm(slow["theta"].values - fast["theta"].values)))
    return xr.Dataset({"away": ("v", away)}, {"v": list(VS)})


def _label(settings: Settings) -> xr.Dataset:
    """Mean of a² - w² over time under label noise, in units of its start."""
    import xarray as xr

    problem = Problem([1.0], [1.0], width=1, keep_prob=1.0, activation="linear", bias=False)
    record = np.rint(TAU / (LABEL_LR * LABEL) ** 2).astype(int)
    runs = settings.train(
        "label noise", problem, NEURON, lr=LABEL_LR, steps=int(record[-1]), members=LABEL_MEMBERS, record=record,
        keep_theta=True, noise=Noise(label=LABEL), backend="numpy",
    )  # fmt: skip
    theta = runs["theta"].values
    mean, error = _mean((theta[..., 0] ** 2 - theta[..., 1] ** 2) / (NEURON[0] ** 2 - NEURON[1] ** 2))
    return xr.Dataset({"d": ("tau", mean), "d_error": ("tau", error)}, {"tau": TAU})


def _condensing(settings: Settings) -> xr.Dataset:
    """R_1 / v and the orientations with 95 % of the amplitude, along the slow flow of dropout and of label noise."""
    import xarray as xr

    target, times = TARGETS["sin"], np.linspace(0, LONG, POINTS)
    problem = Problem(target.points, target.function(target.points), width=WIDTH, keep_prob=0.9)
    arms = {"dropout": (problem, Noise()), "label": (replace(problem, keep_prob=1.0), Noise(label=1.0))}
    found = np.empty((2, len(arms), POINTS))
    for k, (name, (one, noise)) in enumerate(arms.items()):
        settings.progress(f"along zero loss: {name}", 0, 1)
        flow = theory.flow(
            one, one.init(seed=0), lr=1e-3, times=times, kind="manifold", noise=noise, corrected=name == "label",
            rtol=1e-6,
        )  # fmt: skip
        theta = flow["theta"].values
        found[0, k] = theory.r1(problem, theta) / problem.variance
        found[1, k] = [condensation.clusters(problem, row).holding(0.95) for row in theta]
        settings.progress(f"along zero loss: {name}", 1, 1)
    axes = ("arm", "long")
    variables: dict[str, Any] = {"rho": (axes, found[0]), "groups": (axes, found[1])}
    return xr.Dataset(variables, {"arm": list(arms), "long": times})


def rows(data: xr.Dataset) -> list[Row]:
    """The numbers and their rules, from the data alone."""
    end, lrs, found = data.isel(tau=-1), data["lr"].values, []
    miss, error = end["z"].values - float(end["z_limit"]), end["z_error"].values
    left = end["z"].values - end["z_paths"].values
    both = np.hypot(error, end["z_paths_error"].values)
    found.append(
        Row(
            quantity="z(1) in the limit, less its closed form", ours=float(end["z_limit"] - closed_form(TAU[-1])),
            error=0.0, published="0", rule="below 1e-7", holds=bool(abs(end["z_limit"] - closed_form(TAU[-1])) < 1e-7),
        )
    )  # fmt: skip
    for k, lr in enumerate(lrs):
        found += [
            Row(quantity=f"mean z(1) less the limit, lr = {lr:g}", ours=float(miss[k]), error=float(error[k])),
            Row(
                quantity=f"mean z(1) less the paths with the term of order lr, lr = {lr:g}", ours=float(left[k]),
                error=float(both[k]), rule="0 within 4 errors and a fifth of the row above",
                holds=bool(abs(left[k]) < 4 * both[k] + abs(miss[k]) / 5),
            ),
        ]  # fmt: skip
    found.append(_slope("order in lr of training's distance from the limit", lrs, miss, error))
    found.append(_slope("order in v of the averaged flow's distance", data["v"].values, data["away"].values))
    d, expected = data["d"].values[-1], np.exp(-TAU[-1])
    bound = 4 * data["d_error"].values[-1] + expected * LABEL_LR * np.square(NEURON).sum() / 2
    found.append(
        Row(
            quantity="label noise: (a² - w²)(1) / (a² - w²)(0)", ours=float(d), error=float(data["d_error"].values[-1]),
            published=f"{expected:.4g} (theory)", rule="within 4 errors and lr (a² + w²)/2, of next order",
            holds=bool(abs(d - expected) < bound),
        )
    )  # fmt: skip
    for arm in data["arm"].values:
        groups = data["groups"].sel(arm=arm).values
        rule = "at most half as many as at first" if arm == "dropout" else ""
        holds = bool(groups[-1] <= groups[0] / 2) if rule else None
        text = f"orientations with 95 % of the amplitude, {TITLES[str(arm)]}"
        found.append(Row(quantity=f"{text}: at first", ours=float(groups[0]), error=0.0))
        found.append(Row(quantity=f"{text}: at the end", ours=float(groups[-1]), error=0.0, rule=rule, holds=holds))
    return found


def _slope(quantity: str, at: Array, distance: Array, error: Array | float = 0.0) -> Row:
    """The slope of log distance over log `at` between its ends."""
    with np.errstate(divide="ignore", invalid="ignore"):
        span = np.log(at[0] / at[-1])
        slope = float(np.log(np.abs(distance[0] / distance[-1])) / span)
        relative = np.broadcast_to(error, distance.shape) / np.abs(distance)
    spread = float(np.hypot(relative[0], relative[-1]) / span)
    return Row(
        quantity=quantity, ours=slope, error=spread, published="1 (theory)",
        rule=f"1 within {WINDOW:g}, its error at most half of that",
        holds=bool(abs(slope - 1) < WINDOW and spread < WINDOW / 2),
    )  # fmt: skip


TITLES = {"dropout": "dropout", "label": "label noise"}


def _notes() -> list[str]:
    steps = round(1 / (V * LRS[-1])), round(1 / (LABEL_LR * LABEL) ** 2)
    return [
        f"Two linear neurons at x = y = 1, from z = {START:g}; v = (1-p)/p = {V:g}, one mask a step. τ = v t: one unit"
        f" takes {steps[0]} steps at lr {LRS[-1]:g}.",
        f"Label noise of standard deviation {LABEL:g} at lr {LABEL_LR:g}: τ = lr s² t takes {steps[1]} steps, a power"
        " of lr more than dropout. At equal steps the one cannot be seen beside the other.",
        f"What condenses: {WIDTH} tanh neurons on four points of sin 3x, followed along zero loss to τ = {LONG:g}."
        " Dropout descends R_1 / v there, label noise Tr H.",
    ]


def _dropout(axis: Axes, data: xr.Dataset) -> None:
    """Mean of z over slow time at every learning rate, with the limit and the paths along zero loss."""
    axis.plot(data["tau"], data["z_limit"], color="#222222", lw=1.4, label=r"limit $lr, v \to 0$")
    for color, marker, lr in zip(COLORS, "os^", data["lr"].values, strict=False):
        one, label = data.sel(lr=lr), f"training, lr = {lr:g}"
        axis.errorbar(data["tau"], one["z"], one["z_error"], fmt=marker, ms=3, color=color, label=label)
        axis.plot(data["tau"], one["z_paths"], "--", lw=1, color=color)
    axis.set(xlabel=r"slow time $\tau = v\,t$", ylabel=r"mean of $z = (a_1w_1 - a_2w_2)/2$", title="Dropout")
    axis.legend(title="dashed: paths along zero loss", title_fontsize=7.5, fontsize=7.5)


def _left(axis: Axes, data: xr.Dataset) -> None:
    """What is left of training less theory at the end, over the learning rate."""
    end, lrs = data.isel(tau=-1), data["lr"].values
    for name, values, look in (
        ("limit", end["z"] - end["z_limit"], "o"), ("paths", end["z"] - end["z_paths"], "s"),
    ):  # fmt: skip
        error = end["z_error"] if name == "limit" else np.hypot(end["z_error"], end["z_paths_error"])
        axis.errorbar(lrs, values, error, fmt=look, ms=4, capsize=2, color=COLORS[look == "s"], label=name)
    axis.axhline(0, color="#888888", lw=0.7)
    axis.set(xlabel="learning rate", ylabel=r"training less theory, $z(1)$", title="What is left")
    axis.legend(loc="upper left")


def _label_noise(axis: Axes, data: xr.Dataset) -> None:
    """Label noise on its own time scale."""
    tau = data["tau"].values
    axis.plot(tau, np.exp(-tau), color="#222222", lw=1.4, label=r"theory, $e^{-\tau}$")
    axis.errorbar(tau, data["d"], data["d_error"], fmt="o", ms=3, color=COLORS[2], label="training")
    axis.set(xlabel=r"slow time $\tau = lr\,s^2\,t$", ylabel=r"mean of $a^2 - w^2$ / start", title="Label noise")
    axis.legend()


def _orientations(axis: Axes, data: xr.Dataset) -> None:
    """How many orientations there are along the flow on zero loss."""
    for color, look, arm in zip((COLORS[0], COLORS[2]), ("o-", "s--"), data["arm"].values, strict=True):
        axis.plot(data["long"], data["groups"].sel(arm=arm), look, ms=3, color=color, label=TITLES[str(arm)])
    axis.set(
        xlabel=r"slow time $\tau$, each its own", ylabel="orientations with 95 % of the amplitude",
        title="Condensation", ylim=(0, None),
    )  # fmt: skip
    axis.legend()


COLORS = ("#0072B2", "#E69F00", "#009E73")
PANELS: dict[str, Panel] = {
    "dropout": _dropout, "left": _left, "label-noise": _label_noise, "orientations": _orientations,
}  # fmt: skip


def draw(outcome: Outcome) -> Figure:
    """z over τ, what is left over lr, label noise on its own scale, and condensation along the flow."""
    with figure(12.4, 3.6) as whole:
        fill(whole.subplots(1, 4), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "tau": "slow time τ = v t, or lr s² t under label noise",
    "long": "slow time of the networks with many neurons",
    "v": "v = (1-p)/p of the averaged flow",
    "arm": "noise",
    "z": "mean of (a_1 w_1 - a_2 w_2)/2 over networks",
    "z_error": "standard error of z",
    "z_paths": "mean of (a_1 w_1 - a_2 w_2)/2 over paths along zero loss",
    "z_paths_error": "standard error of z_paths",
    "z_limit": "(a_1 w_1 - a_2 w_2)/2 in the limit of small lr and v",
    "away": "largest distance of the averaged flow from that limit",
    "d": "mean of a² - w² under label noise, in units of its start",
    "d_error": "standard error of d",
    "rho": ("R_1 / v along zero loss", RISK),
    "groups": "orientations that hold 95 % of the amplitude",
}


EXPERIMENT = Experiment(
    name="slow-drift",
    source="beyond the papers",
    place=(3, 4),
    shows="drift along zero loss under dropout and label noise, each on its own time scale, against its limit",
    minutes=0.8,
    full_minutes=6.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
