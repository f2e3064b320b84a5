"""compare(): an ensemble trained with dropout against the flows that are to predict its mean."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .. import theory
from ..errors import Diverged, DivergenceWarning, InvalidInput, check_choice
from ..problem import Problem, check_count, check_finite
from ..simulation import DEFAULT_MEMORY, Settings, record_steps, simulate
from .distances import Array, Estimate, root, share_removed, squared_distance
from .summary import summarize

if TYPE_CHECKING:
    import xarray as xr

#: flow -> the loss it descends, in the papers' symbols
KINDS = {"gradient": "R_S", "averaged": "R_S + R_1", "modified": "R_S + R_1 + R_2"}
#: what is held against the flows -> how its distance is defined
QUANTITIES = {
    "parameters": "2-norm of the difference between the mean parameters and the flow's",
    "function": "root mean square difference, over the grid and the outputs, between the mean output and the flow's",
    "risk": "difference between the mean risk R_S of the networks and the flow's",
}
#: grid points taken between the ends of one-dimensional data, and data points taken at most otherwise
GRID_POINTS, GRID_SAMPLES = 97, 200

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Comparison:
    """What compare() found.

    runs       what `simulate` returned
    flows      the predictions over (kind, time): theta, f on the grid, risk, r1, r2
    distances  over (quantity, kind, time): distance, its standard error `error`, `share` of the distance of plain
               gradient flow that a flow removes, `share_error`; noise(quantity, time), the distance that
               sampling alone would give; and over (path, term, time) the size of R_S, R_1 and R_2 along the flows
               and the mean parameters: `value`, `gradient_norm`
    summary    the same in short, with settings, verdict, timings and machine: plain numbers and texts
    """

    problem: Problem
    runs: xr.Dataset
    flows: xr.Dataset
    distances: xr.Dataset
    summary: dict[str, Any]

    def table(self) -> str:
        """The summary as text."""
        from ..report import table

        return table(self.summary)

    def save(self, out: str | Path) -> None:
        """Write everything to the folder `out`: summary.json, three Zarr stores and the figure."""
        from ..report import write_comparison

        write_comparison(self, Path(out))


def compare(
    problem: Problem,
    theta0: ArrayLike | None = None,
    *,
    lr: float,
    steps: int,
    members: int,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    record: int | ArrayLike = 50,
    spacing: Literal["even", "log"] = "even",
    grid: int | ArrayLike | None = None,
    groups: int | None = None,
    backend: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Simulate dropout SGD from theta0 and measure how far each flow is from the mean of the ensemble.

    Parameters
    ----------
    theta0 : start of all members, shape (P,); by default a draw of `problem.init()`
    lr, steps, members, seed, record, spacing, backend, dtype, threads, memory : as in `simulate`
    kinds : the flows, of "gradient", "averaged" and "modified"; "gradient" is always among them
    grid : points (k,) or (k, d) at which functions are compared, or their number for one-dimensional data; by
        default 97 points over the range of one-dimensional data, and up to 200 of the data points otherwise
    groups : groups of members from which standard errors are estimated; 20 by default, or all members if fewer
    out : folder that receives the simulation as `results.zarr`, also when it is interrupted or diverges;
        `Comparison.save` writes the rest
    progress : called with (stage, done, total); stages are "compile", "simulate", "flows" and "distances"

    Raises
    ------
    InvalidInput, Diverged, KeyboardInterrupt : as `simulate`
    """
    theta0 = problem.check_theta(problem.init() if theta0 is None else theta0, "theta0")
    if theta0.ndim != 1:
        raise InvalidInput(f"theta0 must be one start for all members, shape ({problem.n_params},), got {theta0.shape}")
    lr = _check_lr(lr)
    kinds = _check_kinds(kinds)
    members = check_count("members", members, least=4)
    groups = min(20, members) if groups is None else check_count("groups", groups, least=3)
    points = grid_points(problem, grid)
    Settings.check(
        problem, theta0=theta0, lr=lr, steps=steps, members=members, seed=seed, keep_prob=None, dtype=dtype
    )
    record = record_steps(steps, record, spacing)
    tell = progress or (lambda stage, done, total: None)
    common = {"lr": lr, "seed": seed, "grid": points, "backend": backend, "dtype": dtype, "threads": threads}
    common |= {"memory": memory}
    watch = _Watch(tell)

    with watch("compile", 1), warnings.catch_warnings(), suppress(Diverged):
        warnings.simplefilter("ignore", DivergenceWarning)
        simulate(problem, theta0, steps=1, members=4, record=2, groups=3, **common)  # type: ignore[arg-type]
    with watch("simulate"):
        runs = simulate(
            problem,
            theta0,
            steps=steps,
            members=members,
            record=record,
            groups=groups,
            out=out,
            progress=lambda done, total: tell("simulate", done, total),
            **common,  # type: ignore[arg-type]
        )
    with watch("flows", len(kinds)):
        flows = _flows(problem, theta0, lr, runs["time"].values, kinds, points, tell)
    with watch("distances", 1):
        squared = squared_distances(runs, flows)
        distances = _over_time(squared, runs, flows).merge(_sizes(problem, lr, runs, flows))
    summary = summarize(problem, runs, flows, distances, squared, seconds=watch.seconds)
    return Comparison(problem, runs, flows, distances, summary)


def grid_points(problem: Problem, grid: int | ArrayLike | None) -> Array:
    """The points (k, d) that `grid` stands for; raises InvalidInput."""
    x, samples = problem.x, problem.n_samples
    one_dimensional = x.shape[1] == 1
    if grid is None and not one_dimensional:
        return x[np.unique(np.linspace(0, samples - 1, min(samples, GRID_SAMPLES)).astype(int))]
    if grid is None or np.ndim(grid) == 0:
        count = GRID_POINTS if grid is None else check_count("grid", grid, least=2)
        if not one_dimensional:
            raise InvalidInput(f"grid can be a number of points for 1-D data only; these have {x.shape[1]} columns")
        return np.linspace(x.min(), x.max(), count)[:, None]
    return problem.augment(grid)[:, : x.shape[1]]


def squared_distances(runs: xr.Dataset, flows: xr.Dataset) -> dict[tuple[str, str], Estimate]:
    """The unbiased squared distance (T,) of every flow in every quantity: (quantity, kind) -> Estimate."""
    counts = runs["group_alive"].values
    points = np.sqrt(flows["f"][0, 0].size)
    found = {}
    for quantity, simulated, predicted, unit in (
        ("parameters", "group_theta_mean", "theta", 1.0),
        ("function", "group_f_mean", "f", points),
        ("risk", "group_risk_mean", "risk", 1.0),
    ):
        means = runs[simulated].values.reshape(*counts.shape, -1) / unit
        for kind in flows["kind"].values:
            prediction = flows[predicted].sel(kind=kind).values.reshape(len(counts), -1) / unit
            found[quantity, str(kind)] = squared_distance(means, counts, prediction)
    return found


def _over_time(squared: dict[tuple[str, str], Estimate], runs: xr.Dataset, flows: xr.Dataset) -> xr.Dataset:
    """Distances, shares and the sampling noise at every record time."""
    import xarray as xr

    kinds = [str(kind) for kind in flows["kind"].values]
    estimates = [[squared[quantity, kind] for kind in kinds] for quantity in QUANTITIES]
    plain = kinds.index("gradient")
    roots = np.array([[root(e.value, e.error) for e in row] for row in estimates])  # (quantity, kind, 2, T)
    shares = np.array([[share_removed(e, row[plain]) for e in row] for row in estimates])
    axes = ("quantity", "kind", "time")
    return xr.Dataset(
        {
            "distance": (axes, roots[:, :, 0]),
            "error": (axes, roots[:, :, 1], {"long_name": "standard error of distance"}),
            "share": (axes, shares[:, :, 0], {"long_name": "share of plain gradient flow's distance removed"}),
            "share_error": (axes, shares[:, :, 1], {"long_name": "standard error of share"}),
            "noise": (("quantity", "time"), _noise(runs), {"long_name": "distance that sampling alone would give"}),
        },
        {"quantity": list(QUANTITIES), "kind": kinds, "time": runs["time"]},
    )


def _noise(runs: xr.Dataset) -> Array:
    """(quantity, T): √(tr Cov / M), the root mean square distance of the sample mean from the mean."""
    alive = runs["alive"].values
    variances = (
        np.square(runs["theta_std"].values).sum(axis=1),
        np.square(runs["f_std"].values).mean(axis=(1, 2)),
        np.square(runs["risk_std"].values),
    )
    return np.sqrt(np.array(variances) / np.maximum(alive, 1))


def _flows(
    problem: Problem,
    theta0: Array,
    lr: float,
    times: Array,
    kinds: Sequence[str],
    points: Array,
    tell: Progress,
) -> xr.Dataset:
    """The flows, with their functions on the grid, along a dimension `kind`."""
    import xarray as xr

    found = []
    for number, kind in enumerate(kinds):
        one = theory.flow(problem, theta0, lr=lr, times=times, kind=kind)
        f = problem.predict(one["theta"].values, points)
        work = {name: one.attrs.get(name, np.nan) for name in ("nfev", "seconds")}
        found.append(one.assign(f=(("time", "point", "output"), f), **work).drop_attrs())
        tell("flows", number + 1, len(kinds))
    both = xr.concat(found, xr.Variable("kind", list(kinds)), data_vars="all", coords="minimal", compat="override")
    return both.assign_coords(grid=(("point", "input"), points))


def _sizes(problem: Problem, lr: float, runs: xr.Dataset, flows: xr.Dataset) -> xr.Dataset:
    """Value and norm of the gradient of R_S, R_1 and R_2 along each flow and the mean parameters."""
    import xarray as xr

    paths = {str(kind): flows["theta"].sel(kind=kind).values for kind in flows["kind"].values}
    paths["mean of the ensemble"] = runs["theta_mean"].values
    terms = ("risk", "r1", "r2")
    value = np.full((len(paths), len(terms), runs.sizes["time"]), np.nan)
    norm = value.copy()
    for i, theta in enumerate(paths.values()):
        for k in np.flatnonzero(np.isfinite(theta).all(axis=1)):
            for j, term in enumerate(terms):
                # One point at a time: R_2 holds n² numbers for each.
                value[i, j, k] = theory.loss(problem, theta[k], objective=term, lr=lr)
                norm[i, j, k] = np.linalg.norm(theory.gradient(problem, theta[k], objective=term, lr=lr))
    axes = ("path", "term", "time")
    return xr.Dataset(
        {
            "value": (axes, value, {"long_name": "R_S, R_1 or R_2"}),
            "gradient_norm": (axes, norm, {"long_name": "2-norm of its gradient"}),
        },
        {"path": list(paths), "term": list(terms), "time": runs["time"]},
    )


def _check_lr(lr: object) -> float:
    value = check_finite("lr", lr)  # type: ignore[arg-type]
    if value.ndim:
        raise InvalidInput(f"lr must be one number here: the flows belong to one learning rate, got shape {value.shape}")
    return float(value)


def _check_kinds(kinds: Sequence[str]) -> list[str]:
    """The kinds asked for and "gradient", in the order of KINDS."""
    for kind in kinds:
        check_choice("kind of flow", kind, KINDS)
    return [kind for kind in KINDS if kind in kinds or kind == "gradient"]


class _Watch:
    """Seconds of each stage, told to the caller at its start and end."""

    def __init__(self, tell: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = tell

    @contextmanager
    def __call__(self, stage: str, total: int = 0) -> Iterator[None]:
        self._tell(stage, 0, total)
        started = clock.perf_counter()
        yield
        self.seconds[stage] = clock.perf_counter() - started
        self._tell(stage, total, total)
