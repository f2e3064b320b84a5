"""`linear-networks`: dropout shrinks the singular values of a linear map and makes all neurons equally strong.

Beyond the papers (Mianjy, Arora & Vidal 2018 and arXiv:1905.11887 have the theory, `theory.linear_optimum`). Linear
networks learn a diagonal map of white inputs under dropout. Their mean map is held against the global minimum of
R_S + R_1; training at a learning rate ε misses it by O(ε), which two learning rates extrapolate away.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ... import theory
from ...problem import Problem
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import Array
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: singular values of the target, neurons, keep probabilities; the last is training without dropout
TARGETS, WIDTH, KEPT = (2.0, 1.0, 0.5, 0.2), 8, (0.5, 0.7, 0.9, 1.0)
#: the two learning rates, the duration, records, members for each keep probability (by default, with --full)
LRS, TIME, RECORDS = (0.01, 0.005), 200.0, 41
MEMBERS = {False: 250, True: 1000}
#: standard deviation of the initial parameters
SCALE = 0.5
#: what O(lr²) may leave of a singular value
TOLERANCE = 0.02
#: the share of the records at the end over which neurons are averaged
LATE = 4


def target() -> Problem:
    """White inputs and a diagonal map of them."""
    values = np.diag(TARGETS)
    inputs = np.sqrt(len(values)) * np.eye(len(values))
    return Problem(inputs, inputs @ values, width=WIDTH, activation="linear", bias=False)


def run(settings: Settings) -> Outcome:
    """Ensembles at all keep probabilities in one call, at two learning rates."""
    import xarray as xr

    problem, members = target(), MEMBERS[settings.full]
    kept = np.repeat(KEPT, members)
    maps, strengths = [], []
    for k, lr in enumerate(LRS):
        steps = round(TIME / lr)
        runs = settings.train(
            f"lr {lr:g}", problem, problem.init(seed=0, scale=SCALE), lr=lr, steps=steps, members=kept.size,
            keep_prob=kept, record=np.linspace(0, steps, RECORDS).astype(int), keep_theta=True, seed=k,
        )  # fmt: skip
        theta = runs["theta"].values.reshape(RECORDS, len(KEPT), members, -1)
        a, w = problem.split(theta)  # (T, keep_prob, members, c, m), (T, keep_prob, members, m, D)
        maps.append(np.einsum("pboj,pbjo->pbo", a[-1], w[-1]))
        strengths.append(np.linalg.norm(a, axis=-2) * np.linalg.norm(w, axis=-1))
    found = np.array(maps)  # (lr, keep_prob, members, value)
    best = [theory.linear_optimum(replace(problem, keep_prob=p)) for p in KEPT]
    strength = strengths[-1]
    data = xr.Dataset(
        {
            "sigma": (("lr", "keep_prob", "value"), found.mean(axis=2)),
            "sigma_error": (("lr", "keep_prob", "value"), found.std(axis=2, ddof=1) / np.sqrt(members)),
            "sigma_theory": (("keep_prob", "value"), np.array([one.singular_values for one in best])),
            "strength": (("keep_prob", "time", "neuron"), strength[:, :, 0].swapaxes(0, 1)),  # of one member
            "strength_mean": (("keep_prob", "member"), _late(strength).mean(axis=-1)),
            "strength_theory": ("keep_prob", np.array([one.weight for one in best])),
            "spread_start": float(_spread(strength[0, 0, 0])),  # all members start from one point
            "spread": (("keep_prob", "member"), _spread(_late(strength))),
        },
        {"lr": list(LRS), "keep_prob": list(KEPT), "target": ("value", list(TARGETS))}
        | {"time": np.linspace(0, TIME, RECORDS)},
        {"width": WIDTH, "members": members, "time": TIME},
    )
    return Outcome(rows=rows(data), data=data, notes=_notes())


def _late(strength: Array) -> Array:
    """Mean over the last records of |a_j| |w_j| (T, keep_prob, members, m)."""
    return np.asarray(strength[-(RECORDS // LATE) :].mean(axis=0))


def _spread(strength: Array) -> Array:
    """Standard deviation over neurons of |a_j| |w_j| (..., m), in units of its mean."""
    return np.asarray(strength.std(axis=-1) / strength.mean(axis=-1))


def extrapolated(data: xr.Dataset) -> tuple[Array, Array]:
    """Singular values (keep_prob, value) for lr → 0, and their standard errors."""
    coarse, fine = (data.isel(lr=k) for k in range(2))
    value = 2 * fine["sigma"].values - coarse["sigma"].values
    return value, np.hypot(2 * fine["sigma_error"].values, coarse["sigma_error"].values)


def rows(data: xr.Dataset) -> list[Row]:
    """The numbers and their rules, from the data alone."""
    found: list[Row] = []
    value, error = extrapolated(data)
    predicted, plain = data["sigma_theory"].values, value[-1]
    for k, p in enumerate(data["keep_prob"].values[:-1]):
        for i, y in enumerate(data["target"].values):
            off = abs(value[k, i] - predicted[k, i])
            found.append(
                Row(
                    quantity=f"singular value of the mean map, p = {p:g}, target {y:g}", ours=float(value[k, i]),
                    error=float(error[k, i]), published=f"{predicted[k, i]:.4g} (theory)",
                    rule=f"within 4 errors and {TOLERANCE:g}", holds=bool(off < 4 * error[k, i] + TOLERANCE),
                )
            )  # fmt: skip
        shrunk = float((plain - value[k]).sum())
        expected = float((np.array(data["target"]) - predicted[k]).sum())
        found.append(
            Row(
                quantity=f"sum by which they are below those without dropout, p = {p:g}", ours=shrunk,
                error=float(np.linalg.norm(error[k])), published=f"{expected:.4g} (theory)",
                rule="within 4 errors and a tenth",
                holds=bool(abs(shrunk - expected) < 4 * np.linalg.norm(error[k]) + expected / 10),
            )
        )  # fmt: skip
    return found + _equal(data)


def _equal(data: xr.Dataset) -> list[Row]:
    """Rows about the strengths |a_j| |w_j| of neurons."""
    found, start = [], float(data["spread_start"])
    spread = data["spread"].values
    found.append(Row(quantity="spread of |a_j||w_j| over neurons / mean, at first", ours=start, error=0.0))
    for k, p in enumerate(data["keep_prob"].values):
        text = f"the same at the end, p = {p:g}" if p < 1 else "the same at the end, without dropout"
        own, without = float(spread[k].mean()), float(spread[-1].mean())
        rule = "below a third of that at first, and of that without dropout" if p < 1 else ""
        holds = bool(own < start / 3 and own < without / 3) if rule else None
        found.append(Row.over_seeds(text, spread[k], rule=rule, holds=holds))
        if p < 1:
            mean, wanted = data["strength_mean"][k].values, float(data["strength_theory"][k])
            found.append(
                Row.over_seeds(
                    f"mean of |a_j||w_j|, p = {p:g}", mean, published=f"{wanted:.4g} (theory)", rule="within 5 %",
                    holds=bool(abs(mean.mean() / wanted - 1) < 0.05),
                )
            )  # fmt: skip
    return found


def _notes() -> list[str]:
    return [
        f"{WIDTH} linear neurons, white inputs, a target with singular values {', '.join(f'{y:g}' for y in TARGETS)};"
        f" one mask a step, all members from one start, to t = {TIME:g}. Values are extrapolated to lr → 0 from lr"
        f" {LRS[0]:g} and {LRS[1]:g}.",
        "Theory: σ_i = (y_i - (v/m) S)_+ with v = (1-p)/p and S the sum of all σ_i, and |a_j||w_j| = S/m for every"
        " neuron j. Values that would become negative vanish.",
    ]


def _strengths(axis: Axes, data: xr.Dataset, at: int) -> None:
    """Strengths of the neurons of one network over time, at a place among the keep probabilities."""
    from ...output.style import INK

    one = data.isel(keep_prob=at)
    axis.plot(data["time"], one["strength"], color="#56B4E9", lw=0.9)
    axis.plot([], [], color="#56B4E9", label="one network, each neuron")
    if at == 0:
        axis.axhline(float(one["strength_theory"]), color=INK, ls="--", lw=1.2, label="theory, $S/m$")
    axis.set(xlabel=r"time $t$", ylabel=r"$\Vert a_j\Vert\,\Vert w_j\Vert$")
    axis.set_title("Without dropout" if at else f"Dropout, $p = {KEPT[0]:g}$")
    axis.set_ylim(0, 1.25 * float(data["strength"].isel(keep_prob=[0, -1]).max()))
    axis.legend(loc="upper right")


def _values(axis: Axes, data: xr.Dataset) -> None:
    """Singular values over the keep probability: simulated dots, the curves of theory."""
    value, error = extrapolated(data)
    problem, fine = target(), np.linspace(0.4, 1, 121)
    curves = [theory.linear_optimum(replace(problem, keep_prob=float(p))).singular_values for p in fine]
    for i, color in enumerate(("#0072B2", "#E69F00", "#009E73", "#CC79A7")):
        axis.plot(fine, np.array(curves)[:, i], color=color, lw=1.2)
        axis.errorbar(data["keep_prob"], value[:, i], error[:, i], fmt="o", ms=4, capsize=2, color=color)
        axis.annotate(f"$y_{i + 1} = {TARGETS[i]:g}$", (1.025, TARGETS[i]), va="center", color=color, fontsize=8.5)
    axis.plot([], [], color="#555555", label="theory")
    axis.plot([], [], "o", ms=4, color="#555555", label=r"training, $lr \to 0$")
    axis.legend(loc="upper left")
    axis.set(xlabel="keep probability $p$", ylabel=r"singular value $\sigma_i$ of the mean map", title="Shrinkage")
    axis.set(xlim=(0.4, 1.17), ylim=(-0.05, 1.2 * TARGETS[0]))


PANELS: dict[str, Panel] = {
    "singular-values": _values, "with-dropout": partial(_strengths, at=0), "without": partial(_strengths, at=-1),
}  # fmt: skip


def draw(outcome: Outcome) -> Figure:
    """Singular values over keep_prob, and strengths of neurons over time with and without dropout."""
    with figure(10.2, 3.5) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "target": "singular value of the map to be learnt",
    "strength": "|a_j| |w_j| of the neurons of one network",
    "strength_mean": "mean of |a_j| |w_j| over neurons, at late times",
    "strength_theory": "|a_j| |w_j| of every neuron at the optimum",
    "spread": "spread of |a_j| |w_j| over neurons, at late times",
    "spread_start": "spread of |a_j| |w_j| over neurons at the start",
    "sigma": "singular values of the mean map, mean over networks",
    "sigma_error": "standard error of sigma",
    "sigma_theory": "singular values of the map at the optimum",
}


EXPERIMENT = Experiment(
    name="linear-networks",
    source="beyond the papers",
    place=(3, 5),
    shows="singular values shrink and neurons become equally strong under dropout, as in the closed form",
    minutes=0.3,
    full_minutes=1.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
