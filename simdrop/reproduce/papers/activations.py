"""`activations`: do input weights condense under dropout whatever the activation? Beyond the papers (tanh and relu)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...study.landscape import condensation
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Panel, figure, fill
from ..shared import orientations
from ..shared.dropout_pair import COLORS, Array, ratio
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: activation -> whether a neuron and its opposite are different ones; the odd activations do not tell them apart
ACTIVATIONS = {
    "tanh": False, "erf": False, "sigmoid": True, "relu": True, "softplus": True, "gelu": True, "sin": False,
}  # fmt: skip
#: arm -> mask mode, keep probability, colour
ARMS: dict[str, tuple[str, float, str]] = {
    "step masks": ("step", 0.9, COLORS[0]),
    "sample masks": ("sample", 0.9, "#009E73"),
    "no dropout": ("step", 1.0, COLORS[1]),
}
#: activations of which the papers claim that they condense; here: fewer orientations than this share of those without
CLAIMED, HALF = ("tanh", "relu"), 0.5
#: root mean square error at the data, in units of the targets' root mean square, up to which a network fits them
FITS = 0.1
STEPS = {False: 100_000, True: 1_000_000}


def run(settings: Settings) -> Outcome:
    """Train every activation with dropout under both mask modes and without; orientations at the end."""
    import xarray as xr

    seeds, steps = settings.seeds or 5, STEPS[settings.full]
    found = []
    for name, signed in ACTIVATIONS.items():
        ends = _train(name, settings, seeds, steps)
        here = replace(orientations.problem(), activation=name)
        data = condensation.along(here, ends, signed=signed)
        axes = ("arm", "seed")
        data = data.rename(dict(zip(data["holding"].dims, axes, strict=True)))
        one = data["above"] == 1  # no clusters where one neuron outweighs all others: it stands on one orientation
        found.append(
            data.assign(
                holding=data["holding"].where(~one, 1.0),
                orientation=((*axes, "neuron"), condensation.orientations(here, ends)),
                amplitude=((*axes, "neuron"), condensation.amplitudes(here, ends)),
                fit=(axes, _fit(here, ends)),
            )
        )
    data = xr.concat(found, xr.Variable("activation", list(ACTIVATIONS))).assign_coords(arm=list(ARMS))
    data.attrs = {"width": here.width, "steps": steps, "optimizer": "adam", "lr": 1e-3, "gamma": 0.2, "seeds": seeds}
    rows = [row for name in ACTIVATIONS for row in _rows(name, data.sel(activation=name))]
    return Outcome(rows=rows, data=data, notes=_notes(data))


def _notes(data: xr.Dataset) -> list[str]:
    """What was run, how well it fits, and which activations do not condense."""
    notes = [
        "The data of `condensation` for all, 15 points of tanh(x-6) + tanh(x+6); Adam at 1e-3 for"
        f" {data.attrs['steps']} steps, p = 0.9, weights N(0, m^-0.2) read as a variance."
        " Not run: linear, of which all networks are one neuron,"
        " and quadratic, which cannot follow the data.",
        "Orientations: clusters, no two neurons of one further apart than 0.2 rad, that hold 95 % of the amplitude;"
        " up to sign for the odd activations tanh, erf and sin.",
    ]
    bad = [name for name in ACTIVATIONS if (data["fit"].sel(activation=name, arm="step masks") > FITS).any()]
    if bad:
        notes.append(
            f"{', '.join(bad)}: the few orientations under step masks are those of networks that do not fit the data, a"
            " failure and no condensation."
        )
    scattered = [name for name in ACTIVATIONS if not _condensed(data.sel(activation=name)).all()]
    notes.append(
        f"Claimed for the papers' activations only. Not fewer than {HALF:g} of the orientations under both mask modes: "
        + (", ".join(scattered) or "none")
        + "."
    )
    return notes


def _train(name: str, settings: Settings, seeds: int, steps: int) -> Array:
    """theta (arm, seed, P) at the end; the two arms under step masks train in one call."""
    by_arm: dict[str, Any] = {}
    for mask in ("step", "sample"):
        arms = [arm for arm, (mode, _, _) in ARMS.items() if mode == mask]
        here = replace(orientations.problem(mask), activation=name)
        theta0 = np.tile(here.init(seed=0, gamma=0.2, members=seeds), (len(arms), 1))
        runs = orientations.train(
            here, theta0, settings, what=f"{name}, {mask} masks", steps=steps,
            keep_prob=np.repeat([ARMS[arm][1] for arm in arms], seeds),
        )  # fmt: skip
        ends = runs["theta"].values[-1].astype(np.float64)
        by_arm |= dict(zip(arms, ends.reshape(len(arms), seeds, -1), strict=True))
    return np.array([by_arm[arm] for arm in ARMS])


def _fit(here: Any, theta: Array) -> Array:
    """The root mean square error (...) at the data, in units of the targets' root mean square."""
    error = np.square(here.predict(theta) - here.y).mean(axis=(-1, -2))
    return np.asarray(np.sqrt(error / np.square(here.y).mean()))


def _condensed(data: xr.Dataset) -> Array:
    """Whether one activation has fewer than HALF of the orientations under dropout: (2,), for each mask mode."""
    pairs = [_pair(data, arm) for arm, (_, keep_prob, _) in ARMS.items() if keep_prob < 1]
    return np.array([ratio("", *pair, bound=HALF).holds for pair in pairs])


def _pair(data: xr.Dataset, arm: str) -> tuple[Array, Array]:
    """The numbers of orientations (seed,) in an arm and without dropout."""
    return data["holding"].sel(arm=arm).values, data["holding"].sel(arm="no dropout").values


def _rows(name: str, data: xr.Dataset) -> list[Row]:
    """The numbers of one activation."""
    rows = [Row.over_seeds(f"{name}: orientations, {arm}", data["holding"].sel(arm=arm)) for arm in ARMS]
    for arm, (_, keep_prob, _) in ARMS.items():
        if keep_prob < 1:
            row = ratio(f"{name}: orientations, {arm} / no dropout", *_pair(data, arm), bound=HALF)
            rows.append(row if name in CLAIMED else replace(row, rule="", holds=None))
    for arm in ARMS:
        error = data["fit"].sel(arm=arm).values
        rows.append(
            Row.over_seeds(
                f"{name}: rms error at the data, {arm}", error,
                rule=f"below {FITS:g} of the targets' in every seed" if name in CLAIMED else "",
                holds=bool((error < FITS).all()) if name in CLAIMED else None,
            )
        )  # fmt: skip
    return rows


def _amplitudes(axis: Axes, data: xr.Dataset, name: str) -> None:
    """Amplitude over orientation for one seed of an activation, with dropout over without."""
    for arm in ("no dropout", "step masks"):
        here = data.sel(activation=name, arm=arm).isel(seed=0)
        axis.plot(here["orientation"], here["amplitude"], ".", color=ARMS[arm][2], ms=4, mew=0, alpha=0.5, label=arm)
    axis.set(xlim=(-np.pi, np.pi), ylim=(-0.03, 1.05), title=name, xlabel="orientation")
    axis.set_xticks([-np.pi, 0, np.pi], ["$-\\pi$", "0", "$\\pi$"])
    axis.set_ylabel("amplitude, one seed")


def _number(axis: Axes, data: xr.Dataset) -> None:
    """How many orientations there are, all activations and seeds."""
    for k, (arm, (_, keep_prob, color)) in enumerate(ARMS.items()):
        marker = "os^"[k]
        values = data["holding"].sel(arm=arm).transpose("activation", "seed").values
        fits = (data["fit"].sel(arm=arm).transpose("activation", "seed").values < FITS).all(axis=1)
        where = np.arange(len(values)) + 0.22 * (k - 1)
        axis.plot(where, values, ".", color=color, ms=5, alpha=0.5)
        label = arm if keep_prob == 1 else f"$p = {keep_prob:g}$, {arm}"
        look: dict[str, Any] = {"color": color, "ms": 8, "mew": 1.6, "ls": "", "marker": marker}
        axis.plot(where[fits], values.mean(axis=1)[fits], label=label, **look)
        axis.plot(where[~fits], values.mean(axis=1)[~fits], mfc="none", **look)
    axis.set_xticks(range(len(ACTIVATIONS)), list(ACTIVATIONS))
    axis.set(
        yscale="log",
        ylabel="orientations",
        title="Clusters with 95 % of the amplitude: all seeds, and means (hollow: does not fit the data)",
    )
    axis.set_yticks([1, 2, 4, 10, 20, 40], ["1", "2", "4", "10", "20", "40"])
    axis.minorticks_off()
    axis.legend(ncols=3, loc="upper left")


PANELS: dict[str, Panel] = {name: partial(_amplitudes, name=name) for name in ACTIVATIONS} | {"orientations": _number}


def draw(outcome: Outcome) -> Figure:
    """Amplitude over orientation for every activation, with dropout over without; below, how many orientations."""
    with figure(13.0, 6.4) as whole:
        grid = whole.add_gridspec(2, len(ACTIVATIONS), height_ratios=(1, 1.1))
        above = [whole.add_subplot(grid[0, column]) for column in range(len(ACTIVATIONS))]
        fill([*above, whole.add_subplot(grid[1, :])], PANELS, outcome.data)
        for axis in above[1:]:
            axis.tick_params(labelleft=False)
            axis.set_ylabel("")
    return whole


WORDS: Words = {
    "holding": "orientations: heaviest clusters that hold 95 % of the amplitude",
    "fit": "root mean square error at the data, in units of that of the targets",
}


EXPERIMENT = Experiment(
    name="activations",
    source="beyond the papers",
    place=(3, 2),
    shows="which activations condense under dropout, under both mask modes",
    minutes=4.0,
    full_minutes=15.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
