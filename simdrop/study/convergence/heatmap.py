"""heat_map(): the error of each theory over learning rates and keep probabilities, on one grid.

All cells of the grid are trained in one call: every member has its own learning rate and keep probability, and is
compared at the record step at which its time lr · step has come. Distances are those of `order`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ... import provenance
from ...checks.numbers import check_count, check_finite, check_keep_prob, check_number, check_seed, check_threads
from ...checks.words import check_callable, check_names, shown
from ...errors import Diverged, DivergenceWarning, InvalidInput
from ...output.storage import texts
from ...problem import Problem
from ...simulation.interrupt import raising
from ...simulation.recording import RISK_LIMIT
from ...simulation.run import with_partial
from ...simulation.simulate import simulate
from ...theory.flows.mean_covariance import DENSE
from ..comparison.compare import check_start
from ..distances import Array, root
from ..predictions import (
    FAILURES,
    PATHWISE,
    QUANTITIES,
    THEORIES,
    Case,
    distance,
    grid_points,
    group_means,
    predict,
    still,
)
from ..result import Result
from .table import heat_map_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

#: up to where a step of the default problem is unstable, and down to one neuron in a hundred
LRS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
KEEP_PROBS = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: tolerance of the flows, well below what a cell's sampling resolves
RTOL = 1e-5
#: evaluations of a flow at most: one that needs more in a cell is on its way to infinity
EVALUATIONS = 2000
#: theories shown by default
KINDS = ("gradient", "averaged", "modified", "mean-covariance", "sme1", "sme2")


@dataclass(frozen=True)
class HeatMap(Result):
    """What heat_map() found.

    `errors` has `distance` and its standard error `error` over (theory, quantity, keep_prob, lr), NaN where a flow does
    not reach the time or all members diverged; `alive` (keep_prob, lr), the share of members that stayed finite; and
    `size` (quantity, keep_prob, lr), how far the ensemble's mean has moved from the start: the unit for the distances.
    Below three times `size_error` a few runaway members make the mean, and no theory is held against it.
    """

    study = "order"
    drawn = "heat-map"

    problem: Problem
    errors: xr.Dataset

    @property
    def summary(self) -> dict[str, Any]:  # type: ignore[override]  # the map is its own summary
        """Nothing: the numbers of a map are in `errors`."""
        return {}

    def table(self) -> str:
        """For each theory the distance of mean parameters as a share of how far the ensemble moved."""
        return heat_map_table(self.errors)

    def figure(self) -> Figure:
        """A map over (lr, keep_prob) for each theory."""
        from . import figure

        return figure.heat_map(self.errors)

    def datasets(self) -> dict[str, xr.Dataset]:
        """The distances."""
        return {"heat-map": self.errors}


@raising()
def heat_map(
    problem: Problem,
    theta0: ArrayLike | None = None,
    *,
    lrs: Sequence[float] = LRS,
    keep_probs: Sequence[float] = KEEP_PROBS,
    time: float = 1.0,
    members: int = 2000,
    sme_members: int = 400,
    theories: Sequence[str] = KINDS,
    groups: int = 20,
    seed: int = 0,
    grid: int | ArrayLike | None = None,
    risk_limit: float | None = RISK_LIMIT,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> HeatMap:
    """Measure the distance of every theory from the ensemble in every cell of lrs x keep_probs, `members` in each.

    A stochastic equation has `sme_members` paths in a cell, and no value where one of them goes to infinity.

    A cell is compared after round(time / lr) steps, one at least; risk_limit, backend and threads are as in `simulate`.
    Raises InvalidInput,
    BackendError; what stops it on the way has as `partial` the HeatMap of the cells that were done, if it came so far.
    """
    theta0 = check_start(problem, theta0)
    rates, kept = np.unique(check_finite("lrs", lrs)), np.unique(check_keep_prob(keep_probs, "keep_probs"))
    time = check_number("time", time)
    if not rates.size or not kept.size or rates[0] <= 0 or time <= 0:
        given = f"{shown(lrs)}, {shown(keep_probs)} and {time!r}"
        raise InvalidInput(f"lrs, keep_probs and time must be positive and there must be one, got {given}")
    if (time / rates >= 1 << 32).any():
        raise InvalidInput(f"lrs and time need {time / rates[0]:g} steps, more than 2**32")
    sme_members, seed = check_count("sme_members", sme_members, least=1, most=1 << 32), check_seed(seed)
    threads = None if threads is None else check_threads(threads)
    theories = check_names("theory of a heat map", theories, [name for name in THEORIES if name not in PATHWISE])
    groups = check_count("groups", groups, least=3, most=1 << 32)
    members = (
        check_count("members", members, least=groups, most=1 << 32) // groups * groups
    )  # groups must not cross cells
    points, tell = grid_points(problem, grid), check_callable("progress", progress) or (lambda stage, done, total: None)
    steps = np.maximum(np.rint(time / rates), 1).astype(int)
    cells = [(i, j) for i in range(len(kept)) for j in range(len(rates))]
    runs = _train(
        problem, theta0, rates, kept, steps, members, groups, seed, points, risk_limit, backend, threads, tell
    )
    shape = (len(theories), len(QUANTITIES), len(kept), len(rates))
    value, error = np.full(shape, np.nan), np.full(shape, np.nan)
    alive, size = np.full(shape[2:], np.nan), np.full((2, *shape[1:]), np.nan)  # distance and standard error

    def so_far() -> HeatMap:
        return HeatMap(problem, _dataset(problem, theories, rates, kept, value, error, alive, size, time, members))

    try:
        for cell, (i, j) in enumerate(cells):
            own = slice(cell * groups, (cell + 1) * groups)
            record = int(np.flatnonzero(runs["step"].values == steps[j])[0])
            alive[i, j] = runs["group_alive"].values[record, own].sum() / members
            case = Case(
                problem=replace(problem, keep_prob=float(kept[i])), theta0=theta0, lr=float(rates[j]),
                steps=int(steps[j]),
                points=points, members=members, groups=groups, seed=seed, threads=threads, rtol=RTOL,
                risk_limit=risk_limit,
                sme_members=sme_members, max_evaluations=EVALUATIONS if problem.n_params <= DENSE else None,
            )  # fmt: skip
            found = _cell(case, runs, record, own, theories)
            for (name, k), estimate in found.items():
                if name:
                    value[theories.index(name), k, i, j], error[theories.index(name), k, i, j] = estimate
                else:
                    size[:, k, i, j] = estimate
            tell("cells", cell + 1, len(cells))
    except BaseException as stopped:
        raise with_partial(stopped, so_far())  # noqa: B904
    return so_far()


def _train(
    problem: Problem, theta0: Array, rates: Array, kept: Array, steps: Any, members: int, groups: int, seed: int,
    points: Array, risk_limit: float | None, backend: str, threads: int | None, tell: Callable[[str, int, int], None],
) -> xr.Dataset:  # fmt: skip
    """One ensemble: the members of all cells, one cell after the other; those that diverge are expected to."""
    cells = len(kept) * len(rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        return simulate(
            problem, theta0, lr=np.repeat(np.tile(rates, len(kept)), members),
            keep_prob=np.repeat(np.repeat(kept, len(rates)), members), steps=int(steps.max()), record=np.unique(steps),
            seed=seed, groups=groups * cells, grid=points, quantiles=(), risk_limit=risk_limit, backend=backend,
            threads=threads,
            progress=tell,
        )  # fmt: skip


def _cell(
    case: Case, runs: xr.Dataset, record: int, own: slice, theories: Sequence[str]
) -> dict[tuple[str, int], tuple[float, float]]:
    """(theory, quantity) -> distance and standard error in one cell; the theory "" stays at the start."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    try:
        simulated = group_means(runs, record, own)
    except Diverged:
        return found
    for name in ("", *theories):
        try:
            prediction = predict(name, case) if name else still(case)
        except FAILURES:
            continue
        for k, quantity in enumerate(QUANTITIES):
            with np.errstate(over="ignore", invalid="ignore"):  # means on their way to infinity
                estimate = distance(simulated, prediction, quantity)
                value, error = root(estimate.value, estimate.error, lost=simulated.counts.sum() < case.members)
            if np.isfinite(value) and np.isfinite(error):
                found[name, k] = float(value), float(error)
    return found


def _dataset(
    problem: Problem, theories: Sequence[str], rates: Array, kept: Array, value: Array, error: Array, alive: Array,
    size: Array, time: float, members: int,
) -> xr.Dataset:  # fmt: skip
    import xarray as xr

    axes = ("theory", "quantity", "keep_prob", "lr")
    variables: dict[str, Any] = {
        "distance": (axes, value),
        "error": (axes, error, {"long_name": "standard error of distance"}),
        "alive": (axes[2:], alive, {"long_name": "share of members that stayed finite"}),
        "size": (axes[1:], size[0], {"long_name": "distance of the ensemble's mean from its start"}),
        "size_error": (axes[1:], size[1], {"long_name": "standard error of size"}),
    }
    coords = {"theory": texts(theories), "quantity": texts(QUANTITIES), "keep_prob": kept, "lr": rates}
    attrs = {"time": time, "members": members} | provenance.of_problem(problem) | provenance.versions()
    return xr.Dataset(variables, coords, attrs)
