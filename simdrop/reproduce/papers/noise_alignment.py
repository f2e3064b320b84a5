"""`noise-alignment`: the noise of dropout lies along the sharp directions, and more than chance has it (SME, 2 and 3).

The papers measure Tr(HΣ)/(|H||Σ|) and the variance of the noise against flatness, direction by direction. Beside them
stand here the null model, matrices of the same spectra with random axes, and the untrained network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import theory
from ...data import TARGETS
from ...problem import Problem
from ...study.landscape import alignment
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared.dropout_pair import Array, finite
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEEP_PROB, LR, MASKS = 0.8, 0.01, ("step", "sample")
#: width and steps of SGD
SIZES = {False: {"width": 50, "steps": 200_000}, True: {"width": 100, "steps": 1_000_000}}
#: how Σ at the end is known -> how the table calls it
SOURCES = {"exact": "exact", "sampled": "of 2000 sampled gradients", "trajectory": "of 2000 steps of the trajectory"}
SAMPLES, DRAWS = 2000, 999
COLORS = {"exact": "#0072B2", "sampled": "#E69F00", "trajectory": "#009E73"}
MARKERS = {"exact": ".", "sampled": "^", "trajectory": "s"}


def run(settings: Settings) -> Outcome:
    """Train by SGD under both mask modes; alignment on the way, and variance against flatness at the end."""
    import xarray as xr

    seeds, size, target = settings.seeds or 5, SIZES[settings.full], TARGETS["condensation"]
    problem = Problem(target.points, target.function(target.points), width=size["width"], keep_prob=KEEP_PROB)
    rows, ways, found = [], [], []
    for mask in MASKS:
        here = replace(problem, mask=mask)  # type: ignore[arg-type]
        runs = settings.train(
            f"train: {mask} masks", here, here.init(members=seeds, gamma=0.5), lr=LR, steps=size["steps"], record=12,
            spacing="log", keep_theta=True,
        )  # fmt: skip
        end = finite(runs["theta"].values[-1], f"{mask} masks")
        along = alignment.along(here, runs).rename(member="seed").drop_vars("time")
        chance = np.array([alignment.measure(here, one, draws=DRAWS, seed=k).p_value for k, one in enumerate(end)])
        rest = np.array([_without_largest(here, runs["theta"].values[k]) for k in (0, -1)])
        isotropic = _isotropic(here, end)
        directions = _directions(here, end, settings, mask)
        along = along.assign(p_value_end=("seed", chance), isotropic=("seed", isotropic), rest=(("at", "seed"), rest))
        rows += _rows(mask, along, directions)
        ways.append(directions)
        found.append(along)
    masks = xr.Variable("mask", list(MASKS))
    data = xr.merge([xr.concat(found, masks), xr.concat(ways, masks)], compat="no_conflicts", join="exact")
    data.attrs = {"keep_prob": KEEP_PROB, "lr": LR, "seeds": seeds, "draws": DRAWS, **size}
    notes = [
        f"15 points of tanh(x-6) + tanh(x+6), width {size['width']}, p = {KEEP_PROB:g}, SGD at {LR:g} for"
        f" {size['steps']} steps, all points at every step, weights N(0, m^-0.5). H is that of R_S.",
        f"Chance: {DRAWS} draws of the null model, both spectra kept, the axes random (Haar).",
        "Before any training the alignment is already far above chance: much of it belongs to the network's form, in"
        " which H and Σ are made of the same features. So the claim is that it rises. At the end it is mostly that of"
        " one direction; without the largest: each of the two matrices without its largest eigenvalue and its axis.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _isotropic(problem: Problem, theta: Array) -> Array:
    """The alignment (seeds,) of H with noise that is the same in all directions: the least informative noise."""
    matrices = [theory.hessian(problem, one, objective="risk") for one in theta]
    return np.array([alignment.align(h, np.eye(len(h))).value for h in matrices])


def _without_largest(problem: Problem, theta: Array) -> Array:
    """The alignment (seeds,) of H and Σ, each without its largest eigenvalue and its axis, for theta (seeds, P)."""
    found = []
    for one in theta:
        rest = []
        for matrix in (theory.hessian(problem, one, objective="risk"), theory.noise_covariance(problem, one)):
            values, axes = np.linalg.eigh(matrix)
            kept = values * (np.abs(values) < np.abs(values).max())
            rest.append((axes * kept) @ axes.T)
        found.append(alignment.align(*rest).value)
    return np.array(found)


def _directions(problem: Problem, theta: Array, settings: Settings, mask: str) -> Any:
    """Variance and flatness by direction at theta (seeds, P) from all sources, and exponents under the null model."""
    import xarray as xr

    runs = settings.train(
        f"trajectory: {mask} masks", problem, theta, lr=LR, steps=SAMPLES, record=np.arange(SAMPLES + 1),
        keep_theta=True, seed=1,
    )  # fmt: skip
    parts = []
    for seed, point in enumerate(theta):
        known: dict[str, Any] = {"backend": settings.backend, "threads": settings.threads}
        covariances = {
            "exact": theory.noise_covariance(problem, point),
            "sampled": alignment.sampled_covariance(problem, point, draws=SAMPLES, seed=2 + seed, **known),
            "trajectory": alignment.trajectory_covariance(runs.isel(member=[seed])),
        }
        by_source = [_fits(alignment.by_direction(problem, point, s)) for s in covariances.values()]
        own_axes = _fits(alignment.by_direction(problem, point, covariances["exact"], axes="noise"))
        one = xr.concat(by_source, xr.Variable("source", list(SOURCES)))
        one = one.assign({f"own_{name}": values for name, values in own_axes.items()})
        spectrum = np.linalg.eigvalsh(covariances["exact"])
        curvature = by_source[0]["curvature"].values
        null = alignment.null_variances(spectrum, draws=200, seed=seed)
        fits = [alignment.exponent(curvature, row).value for row in null]
        parts.append(one.assign(null_exponent=("draw", np.array(fits)), chance=float(spectrum.mean())))
        settings.progress(f"directions: {mask} masks", seed + 1, len(theta))
    return xr.concat(parts, "seed")


def _fits(found: Any) -> Any:
    """The exponents of by_direction() as variables."""
    names = ("curvature_exponent", "width_exponent")
    return found.assign({name: found.attrs[name] for name in names}).drop_attrs()


def _rows(mask: str, along: Any, ways: Any) -> list[Row]:
    """The numbers under one mask mode."""
    end, start = along["alignment"].values[-1], along["alignment"].values[0]
    before, after = along["rest"].values
    name = f"{mask} masks: "
    rows = [
        Row.over_seeds(name + "alignment at the end", end, published="high"),
        Row.over_seeds(name + "its mean by chance", along["null_mean"].values[-1]),
        Row.over_seeds(name + "standard deviations above chance", along["score"].values[-1]),
        Row.over_seeds(name + "alignment with isotropic noise", along["isotropic"].values),
        Row.over_seeds(name + "alignment before training", start),
        _sign(name + "alignment, end - start", end - start, 1, ""),
        Row.over_seeds(name + "without the largest eigenvalues, at the end", after),
        Row.over_seeds(name + "without the largest eigenvalues, before training", before),
        _sign(name + "without the largest eigenvalues, end - start", after - before, 1, ""),
    ]  # fmt: skip
    for k, source in enumerate(SOURCES.values()):
        values = ways["curvature_exponent"].values[:, k]
        rows.append(_sign(f"{name}exponent of variance over curvature, Σ {source}", values, 1, "positive"))
    null = ways["null_exponent"].values
    rows.append(Row.over_seeds(name + "the same by chance, mean", null.mean(axis=1)))
    beyond = (null >= ways["curvature_exponent"].values[:, :1]).mean()
    rows.append(Row(quantity=name + "share of chance above the exact one", ours=float(beyond), error=0.0))
    values = ways["own_width_exponent"].values
    rows.append(_sign(name + "exponent of variance over width, axes of Σ", values, -1, "negative"))
    return rows


def _sign(quantity: str, values: Array, sign: int, published: str) -> Row:
    """A row for numbers (seeds,) claimed to be of one sign, by two standard errors."""
    error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
    rule = f"{'above' if sign > 0 else 'below'} 0 by 2 standard errors"
    holds = bool(sign * values.mean() - 2 * error > 0)
    return Row.over_seeds(quantity, values, published=published, rule=rule, holds=holds)


def _alignment(axis: Axes, data: xr.Dataset) -> None:
    """Alignment along training, all seeds, next to that of random axes."""
    from ...output.style import INK

    steps = data["step"].values
    for mask, color, line in zip(MASKS, ("#0072B2", "#CC79A7"), ("-", "--"), strict=True):
        here = data.sel(mask=mask)
        for seed, values in enumerate(here["alignment"].transpose("seed", "time").values):
            axis.plot(steps, values, line, color=color, lw=1, alpha=0.8, label=None if seed else f"{mask} masks")
        for seed, (before, after) in enumerate(here["rest"].transpose("seed", "at").values):
            label = None if seed else "without the largest" if mask == MASKS[-1] else None
            look: dict[str, Any] = {"color": color, "mfc": "none", "ms": 5, "clip_on": False}
            axis.plot(steps[[0, -1]], [before, after], "^", label=label, **look)
    mean, std = (data[name].mean(("mask", "seed")).values for name in ("null_mean", "null_std"))
    axis.fill_between(steps, np.maximum(mean - 3 * std, 0), mean + 3 * std, color="#BBBBBB", lw=0)
    axis.plot(steps, mean, color=INK, lw=1, ls="--", label="chance: random axes")
    axis.axhline(float(data["isotropic"].mean()), color="#D55E00", lw=1, ls=":", label="isotropic noise")
    axis.set_xscale("symlog", linthresh=1, linscale=0.4)
    axis.set(
        xlabel="step",
        ylabel=r"$\mathrm{Tr}(H\Sigma)\,/\,(\|H\|\,\|\Sigma\|)$",
        ylim=(min(0.0, 1.1 * float(data["rest"].min())), 1.05),
        title="Alignment",
    )
    axis.set_xlim(0, steps[-1])
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _curvature(axis: Axes, data: xr.Dataset) -> None:
    """Variance over curvature along the axes of H by every source, all seeds, step masks."""
    data = data.sel(mask="step")
    for source, color in reversed(COLORS.items()):
        here = data.sel(source=source)
        fit = here["curvature_exponent"].values
        label = f"{source}: {fit.mean():.2f} ± {fit.std(ddof=1) / np.sqrt(fit.size):.2f}" if fit.size > 1 else source
        x, y = here["curvature"].values.ravel(), here["variance"].values.ravel()
        look: dict[str, Any] = {"marker": MARKERS[source], "ms": 4 if source == "exact" else 2.4}
        look |= {"ls": "", "mew": 0, "alpha": 0.6}
        axis.plot(x, np.where(y > 0, y, np.nan), color=color, label=label, **look)
    axis.axhline(float(data["chance"].mean()), color="#222222", lw=1, ls="--", label="chance")
    top = float(data["curvature"].max())
    axis.set(xscale="log", yscale="log", xlim=(1e-9 * top, 2 * top), xlabel=r"curvature $v^T H v$")
    axis.set(ylabel=r"variance $v^T\Sigma v$", title="Axes of $H$, at the end, step masks")
    axis.legend(title=r"source of $\Sigma$: exponent", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _width(axis: Axes, data: xr.Dataset) -> None:
    """Variance over the width of the loss along the axes of Σ, all seeds, step masks."""
    data = data.sel(mask="step")
    x, y = data["own_width"].values.ravel(), data["own_variance"].values.ravel()
    axis.plot(x, y, ".", color=COLORS["exact"], ms=3.5, alpha=0.6)
    fit = data["own_width_exponent"].values
    axis.set(xscale="log", yscale="log", xlabel=r"width of $R_S<e\,R_S(\theta)$ along $v$")
    axis.set(ylabel=r"variance $v^T\Sigma v$", ylim=(1e-11 * y.max(), 5 * y.max()))
    axis.set_title(rf"Axes of $\Sigma$: exponent ${fit.mean():.2f}$")


PANELS: dict[str, Panel] = {"alignment": _alignment, "curvature": _curvature, "width": _width}


def draw(outcome: Outcome) -> Figure:
    """Alignment along training, variance against curvature, and variance against width of the loss."""
    with figure(12.4, 4.6) as whole:
        fill(whole.subplots(1, 3), PANELS, outcome.data)
    return whole


WORDS: Words = {
    "source": "where the variance comes from: formula, sampled gradients, or a trajectory",
    "rest": "alignment of H and Σ, each without its largest eigenvalue and its axis, at the start and the end",
    "isotropic": "alignment of H with noise that is the same in all directions, at the end",
    "p_value_end": "share of random axes at least as aligned, at the end",
    "chance": "variance along a random direction, at the end",
    "curvature": "curvature of R_S along an axis of H",
    "variance": "variance of the noise along an axis of H",
    "width": "length of the interval along an axis of H on which R_S stays low",
    "curvature_exponent": "exponent of variance in curvature",
    "width_exponent": "exponent of variance in width",
    "null_exponent": "exponent of variance in curvature with random axes",
    "own_curvature": "curvature of R_S along an axis of Σ",
    "own_variance": "variance of the noise along an axis of Σ",
    "own_width": "length of the interval along an axis of Σ on which R_S stays low",
    "own_curvature_exponent": "exponent of own_variance in own_curvature",
    "own_width_exponent": "exponent of own_variance in own_width",
}


EXPERIMENT = Experiment(
    name="noise-alignment",
    source="SME, figures 2 and 3",
    place=(2, 2),
    shows="the noise of dropout is large in sharp directions, held against random axes of the same spectra",
    minutes=0.5,
    full_minutes=3.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
