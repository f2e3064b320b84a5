"""`sme`: how far the stochastic modified equations follow dropout, over learning rate and keep probability (SME, 1)."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import TARGETS
from ...errors import DivergenceWarning
from ...problem import Problem
from ...study.convergence.heatmap import heat_map
from ...study.landscape.alignment import exponent
from ...study.predictions import PREDICTIONS
from ..experiment import Experiment, Outcome, Row, Settings
from ..panels import Coloured, Panel
from ..shared.dropout_pair import Array, ratio
from ..words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("gradient", "averaged", "sme1", "sme2")
#: the cells, and the networks and paths in each
SIZES: dict[bool, dict[str, Any]] = {
    False: {
        "sme_members": 400,
        "lrs": (0.02, 0.05, 0.1, 0.2, 0.5),
        "keep_probs": (0.01, 0.1, 0.3, 0.5, 0.7, 0.9),
        "members": 4000,
    },
    True: {
        "lrs": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        "keep_probs": (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99),
        "members": 20_000,
        "sme_members": 1000,
    },
}
#: where exponents are fitted: at these keep probabilities, up to this learning rate; and where SME 2 is held to SME 1
JUDGED, LARGEST, COMPARED = (0.5, 0.7, 0.9), 0.2, 0.1
#: a theory holds in a cell where its mean parameters miss by less than this share of the way that the ensemble moved
CLOSE = 0.1


def run(settings: Settings) -> Outcome:
    """A heat map for each initialisation; distances in units of what the ensemble's mean has moved."""
    import xarray as xr

    target, seeds, size = TARGETS["sin"], settings.seeds or 5, SIZES[settings.full]
    problem = Problem(target.points, target.function(target.points), width=5)
    found = []
    for seed in range(seeds):
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # paths are expected to diverge in some cells
            warnings.simplefilter("ignore", DivergenceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            mapped = heat_map(
                problem, problem.init(seed=seed), kinds=NAMES, seed=seed, backend=settings.backend,
                threads=settings.threads, progress=_tell(settings, seed, seeds), **size,
            )  # fmt: skip
        found.append(mapped.errors)
        settings.done.append((f"start {seed + 1}", mapped.errors))
    data = xr.concat(found, "seed", combine_attrs="override")
    moved = data["size"].where(data["size"] > 0)
    relative = (data["distance"] / moved).where(np.isfinite(data["distance"] / moved))
    data = data.assign(relative=relative, relative_error=data["error"] / moved, moved_error=data["size_error"] / moved)
    rows = _rows(relative.sel(quantity="parameters"), data["relative_error"].sel(quantity="parameters"))
    notes = [
        f"sin(3x) at 4 points, width 5, tanh, step masks, plain gradient descent to t = 1; {size['members']} networks"
        f" and {size['sme_members']} paths in every cell, for every initialisation N(0, 1).",
        "Errors are those of the mean parameters, in units of the distance that the ensemble's mean has moved. Their"
        " trend in lr and the ratio of the equations are judged; `simdrop order` measures the orders themselves.",
        "The equations do not approximate dropout at every p: at p = 0.01 a few runaway networks, all of them finite,"
        " make the ensemble's mean, while paths go to infinity; no theory predicts it.",
    ]
    return Outcome(rows=rows, data=data, notes=notes)


def _rows(relative: Any, error: Any) -> list[Row]:
    """Exponents in lr, the ratio of the two equations, and in how many cells each theory is close."""
    rows: list[Row] = []
    small = relative["lr"].values[relative["lr"].values <= LARGEST]
    for p in JUDGED:
        fits = {}
        for name in ("gradient", "sme1"):
            here = relative.sel(kind=name, keep_prob=p, lr=small).transpose("seed", "lr").values
            fits[name] = np.array([exponent(small, one).value for one in here])
        rows += [
            _bound(f"p = {p:g}: exponent in lr, SME of order 1", fits["sme1"], 0.7, 1, "falls with lr"),
            _bound(f"p = {p:g}: the same, plain gradient flow (control)", fits["gradient"], 0.5, -1, ""),
        ]
    pair, noise = (
        one.sel(keep_prob=list(JUDGED), lr=COMPARED).transpose("kind", "keep_prob", "seed") for one in (relative, error)
    )
    above = np.maximum(pair.sel(kind="sme2").values, noise.sel(kind="sme2").values)  # not below its own noise
    logs = np.log([above, pair.sel(kind="sme1").values]).mean(axis=1)  # (equation, seed)
    what = f"p >= {min(JUDGED):g}, lr = {COMPARED:g}: error of SME 2 / SME 1, geometric mean"
    rows.append(ratio(what, *np.exp(logs), published="closer"))
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 1)):
        kept = [p for p in relative["keep_prob"].values if low < p <= high]
        part, noise = relative.sel(keep_prob=kept), error.sel(keep_prob=kept)
        for name in NAMES:
            here, its = (one.sel(kind=name).transpose("seed", ...) for one in (part, noise))
            close = ((here + its) < CLOSE).values.reshape(len(here), -1).mean(axis=1)
            what = f"{low:g} < p <= {high:g}: share of cells within {100 * CLOSE:g} %, {PREDICTIONS[name].label}"
            rows.append(Row.over_seeds(what, close))
    return rows


def _bound(quantity: str, values: Array, bound: float, sign: int, published: str) -> Row:
    """A row for numbers (seeds,) claimed to lie above (sign 1) or below (-1) a bound by two standard errors."""
    spread = 2 * values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
    rule = f"{'above' if sign > 0 else 'below'} {bound:g} by 2 standard errors"
    holds = bool(sign * (values.mean() - bound) > spread)
    return Row.over_seeds(quantity, values, published=published, rule=rule, holds=holds)


def _tell(settings: Settings, seed: int, seeds: int) -> Any:
    return lambda stage, done, total: settings.progress(f"{stage}, start {seed + 1} of {seeds}", done, total)


def _middle(data: xr.Dataset) -> xr.Dataset:
    """The median over initialisations, as a heat map of `simdrop order` has it."""
    parts = {"distance": "relative", "error": "relative_error", "size_error": "moved_error"}
    middle = data[list(parts.values())].median("seed").rename({old: new for new, old in parts.items()})
    return middle.assign(size=middle["size_error"].notnull().astype(float)).assign_attrs(data.attrs)


def _cells(axis: Axes, data: xr.Dataset, kind: str) -> Coloured:
    """Relative error of the mean parameters of one prediction over learning rate and keep probability."""
    from ...output.style import SETTINGS
    from ...study.convergence.figure import cells

    image = cells(axis, _middle(data).sel(quantity="parameters", kind=kind))
    axis.set(xlabel=SETTINGS["lr"], ylabel=SETTINGS["keep_prob"], title=PREDICTIONS[kind].legend)
    return image, "error / distance moved"


PANELS: dict[str, Panel] = {kind: partial(_cells, kind=kind) for kind in NAMES}


def draw(outcome: Outcome) -> Figure:
    """The heat map of `simdrop order`, of the median over initialisations."""
    from ...study.convergence.figure import heat_map as drawn

    whole = drawn(_middle(outcome.data))
    starts = outcome.data.sizes["seed"]
    whole.suptitle(f"Median of {starts} starts. {whole.get_suptitle()}", x=0.01, ha="left", fontsize=10)
    return whole


WORDS: Words = {
    "relative": "distance, in units of size",
    "relative_error": "standard error of relative",
    "moved_error": "standard error of size, in units of size",
}


EXPERIMENT = Experiment(
    name="sme",
    source="SME, figure 1",
    place=(2, 1),
    shows="where the stochastic equations predict the mean of dropout: a map over (lr, keep_prob)",
    minutes=0.5,
    full_minutes=15.0,
    run=run,
    draw=draw,
    panels=PANELS,
    words=WORDS,
)
