"""heat_map(): the error of each prediction over learning rates and keep probabilities, on one grid.

All cells of the grid are trained in one call: every member has its own learning rate and keep probability, and is
compared at the record step at which its time lr · step has come. Distances are those of `order`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ... import provenance
from ...checks.numbers import check_count, check_finite, check_keep_prob, check_number, check_seed, check_threads
from ...checks.words import shown
from ...errors import Diverged, DivergenceWarning, InvalidInput
from ...output.progress import Progress, telling
from ...output.storage import texts
from ...output.variables import described
from ...problem import Problem
from ...schedule.given import refuse_changing
from ...settings.defaults import BACKEND, RISK_LIMIT
from ...simulation.carry_out import Output
from ...simulation.interrupt import raising
from ...simulation.plan import TrainingPlan
from ...simulation.run import with_partial
from ...simulation.simulate import train
from ...theory.flows.mean_covariance import DENSE
from ..case import FAILURES, QUANTITIES, Case, distance, grid_points, group_means, still
from ..comparison.compare import check_start
from ..distances import WORDS, Array, root
from ..predictions import ANYWHERE, OF_MEANS, check_kinds, predict, renamed
from ..result import Result
from .table import heat_map_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from simdrop_kernels.registry import BackendName

    from ..predictions import PredictionKind

#: up to where a step of the default problem is unstable, and down to one neuron in a hundred
LRS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
KEEP_PROBS = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: cells that are compared one after the other in a day
MOST_CELLS = 100_000
#: tolerance of the flows, well below what a cell's sampling resolves
RTOL = 1e-5
#: evaluations of a flow at most: one that needs more in a cell is on its way to infinity
EVALUATIONS = 2000
#: a prediction is close where it misses by less than this share of the way that the ensemble moved
CLOSE = 0.1


@dataclass(frozen=True, repr=False)
class HeatMap(Result):
    """What heat_map() found.

    Attributes
    ----------
    problem : Problem
        What was studied.
    errors : xarray.Dataset
        Over (kind, quantity, keep_prob, lr): `distance` and its standard error `error`, NaN where a prediction does not
        reach the time or all members diverged. Over (keep_prob, lr): `alive`, the share of members that stayed finite.
        Over (quantity, keep_prob, lr): `size`, how far the ensemble's mean has moved from the start, which is the unit
        for the distances, and `size_error`; below three times that a few runaway members make the mean, and no
        prediction is held against it.
    """

    study = "order"
    drawn = described = "heat-map"

    problem: Problem
    errors: xr.Dataset

    @property
    def summary(self) -> dict[str, Any]:  # type: ignore[override]  # made from the distances
        """Settings, and for each prediction in how many cells it has a value, and in how many it is close."""
        found, plain = self.errors.sel(quantity="parameters"), self.errors.attrs
        relative = found["distance"] / found["size"]
        kinds = {
            str(kind): {
                "cells": int(np.isfinite(relative.sel(kind=kind)).sum()),
                "close": int((relative.sel(kind=kind) < CLOSE).sum()),
            }
            for kind in found["kind"].values
        }
        axes = {name: found[name].values.tolist() for name in ("lr", "keep_prob")}
        settings = axes | {name: plain[name] for name in ("time", "members")}
        rule = f"close: distance of the mean parameters below {CLOSE:g} of the way that the ensemble's mean has moved"
        return {
            "problem": provenance.of_problem(self.problem),
            "settings": settings,
            "rule": rule,
            "kinds": kinds,
            "versions": provenance.versions(),
        }

    def table(self) -> str:
        """For each prediction the distance of mean parameters as a share of how far the ensemble moved."""
        return heat_map_table(self.errors)

    def figure(self) -> Figure:
        """A map over (lr, keep_prob) for each prediction."""
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
    kinds: Sequence[PredictionKind] | Sequence[str] | None = None,
    groups: int = 20,
    seed: int = 0,
    grid: int | ArrayLike | None = None,
    risk_limit: float | None = RISK_LIMIT,
    backend: BackendName = BACKEND,
    threads: int | None = None,
    progress: Progress | bool | None = None,
    theories: Sequence[str] | None = None,
) -> HeatMap:
    """Measure the distance of every prediction from the ensemble in every cell of lrs x keep_probs.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout; its keep_prob is not used.
    theta0 : array_like, shape (P,), optional
        Start of all members; by default a draw of `problem.init()`.
    lrs, keep_probs : sequence of float
        Learning rates and keep probabilities of the cells.
    time : float
        A cell is compared after round(time / lr) steps, one at least.
    members : int
        Networks in each cell, rounded down to whole groups.
    sme_members : int
        Paths of a stochastic equation in each cell; it has no value where one of them goes to infinity.
    kinds : sequence of str, optional
        The predictions, by default all of means: "gradient", "averaged", "modified", "mean-covariance", "sme1" and
        "sme2".
    groups : int
        Groups of a cell's members, for standard errors.
    seed : int
        Of the masks.
    grid
        As in `compare`.
    risk_limit, backend, threads
        As in `simulate`.
    progress : bool or callable, optional
        True for bars on stderr, or a function called as progress(stage, done, total); stages are "simulate" and
        "cells".
    theories
        Old name of `kinds`.

    Returns
    -------
    HeatMap
        With `.table()`, `.figure()`, `.summary` and `.save()`.

    Raises
    ------
    InvalidInput, BackendError, KeyboardInterrupt
        As `simulate`. Whatever stops it on the way has as `partial` the HeatMap of the cells that were done, if it
        came so far.
    """
    kinds = renamed(kinds, theories)
    cells = _Cells.check(
        problem, theta0, lrs=lrs, keep_probs=keep_probs, time=time, members=members, sme_members=sme_members,
        kinds=[kind for kind in OF_MEANS if kind in ANYWHERE] if kinds is None else kinds, groups=groups, seed=seed,
        grid=grid, risk_limit=risk_limit, backend=backend, threads=threads,
    )  # fmt: skip
    with telling(progress) as tell:
        return cells.measure(tell)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """The cells of a map whose arguments have been checked; `common` are arguments of `simulate`."""

    problem: Problem
    theta0: Array
    rates: Array
    kept: Array
    time: float
    members: int
    sme_members: int
    kinds: tuple[str, ...]
    groups: int
    points: Array
    common: dict[str, Any]

    @classmethod
    def check(
        cls, problem: Problem, theta0: ArrayLike | None, *, lrs: ArrayLike, keep_probs: ArrayLike, time: float,
        members: int, sme_members: int, kinds: Sequence[str], groups: int, seed: int, grid: int | ArrayLike | None,
        risk_limit: float | None, backend: BackendName, threads: int | None,
    ) -> _Cells:  # fmt: skip
        """Refuse, before any work, what `heat_map` cannot do; arguments as there. Raises InvalidInput."""
        theta0 = check_start(problem, theta0)
        refuse_changing("lrs", lrs, "an axis of the map is one learning rate, the same at every step")
        rates, kept = np.unique(check_finite("lrs", lrs)), np.unique(check_keep_prob(keep_probs, "keep_probs"))
        time = check_number("time", time)
        if not rates.size or not kept.size or rates[0] <= 0 or time <= 0:
            given = f"{shown(lrs)}, {shown(keep_probs)} and {time!r}"
            raise InvalidInput(f"lrs, keep_probs and time must be positive and there must be one, got {given}")
        if (time / rates >= 1 << 32).any():
            raise InvalidInput(f"lrs and time need {time / rates[0]:g} steps, more than 2**32")
        if rates.size * kept.size > MOST_CELLS:
            raise InvalidInput(f"lrs and keep_probs make {rates.size * kept.size} cells, more than {MOST_CELLS}")
        sme_members, seed = check_count("sme_members", sme_members, least=1, most=1 << 32), check_seed(seed)
        threads = None if threads is None else check_threads(threads)
        kinds = check_kinds(kinds, where="heat_map")
        groups = check_count("groups", groups, least=3, most=1 << 32)
        members = check_count("members", members, least=groups, most=1 << 32) // groups * groups  # not across cells
        cells = cls(
            problem=problem, theta0=theta0, rates=rates, kept=kept, time=time, members=members, sme_members=sme_members,
            kinds=kinds, groups=groups, points=grid_points(problem, grid),
            common={"seed": seed, "risk_limit": risk_limit, "backend": backend, "threads": threads},
        )  # fmt: skip
        cells.training()
        return cells

    @property
    def steps(self) -> Any:
        """Training steps at each learning rate."""
        return np.maximum(np.rint(self.time / self.rates), 1).astype(int)

    def measure(self, tell: Progress) -> HeatMap:
        """Train all cells and compare one after the other; an error carries those that were done."""
        runs = self._train(tell)
        shape = (len(self.kinds), len(QUANTITIES), len(self.kept), len(self.rates))
        found = {"distance": np.full(shape, np.nan), "error": np.full(shape, np.nan)}
        found |= {"alive": np.full(shape[2:], np.nan)}
        found |= {"size": np.full(shape[1:], np.nan), "size_error": np.full(shape[1:], np.nan)}
        cells = [(i, j) for i in range(len(self.kept)) for j in range(len(self.rates))]
        try:
            for number, (i, j) in enumerate(cells):
                own = slice(number * self.groups, (number + 1) * self.groups)
                record = int(np.flatnonzero(runs["step"].values == self.steps[j])[0])
                found["alive"][i, j] = runs["group_alive"].values[record, own].sum() / self.members
                for (name, k), estimate in _cell(self._case(i, j), runs, record, own, self.kinds).items():
                    if name:
                        row = self.kinds.index(name)
                        found["distance"][row, k, i, j], found["error"][row, k, i, j] = estimate
                    else:
                        found["size"][k, i, j], found["size_error"][k, i, j] = estimate
                tell("cells", number + 1, len(cells))
        except BaseException as stopped:
            raise with_partial(stopped, self._map(found))  # noqa: B904
        return self._map(found)

    def training(self) -> TrainingPlan:
        """One ensemble: the members of all cells, one cell after the other. Raises InvalidInput and BackendError."""
        rates, kept = self.rates, self.kept
        return TrainingPlan.check(
            self.problem, self.theta0, lr=np.repeat(np.tile(rates, len(kept)), self.members),
            keep_prob=np.repeat(np.repeat(kept, len(rates)), self.members), steps=int(self.steps.max()),
            record=np.unique(self.steps), groups=self.groups * len(kept) * len(rates), grid=self.points,
            quantiles=(), **self.common,
        )  # fmt: skip

    def _train(self, tell: Progress) -> xr.Dataset:
        """The ensemble, trained; that members diverge is expected."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            return train(self.training(), Output(progress=tell))

    def _case(self, i: int, j: int) -> Case:
        """The ensemble of one cell."""
        return Case(
            problem=replace(self.problem, keep_prob=float(self.kept[i])), theta0=self.theta0, lr=float(self.rates[j]),
            steps=int(self.steps[j]), points=self.points, members=self.members, groups=self.groups,
            seed=self.common["seed"], threads=self.common["threads"], rtol=RTOL, risk_limit=self.common["risk_limit"],
            sme_members=self.sme_members, max_evaluations=EVALUATIONS if self.problem.n_params <= DENSE else None,
        )  # fmt: skip

    def _map(self, found: dict[str, Array]) -> HeatMap:
        import xarray as xr

        axes = ("kind", "quantity", "keep_prob", "lr")
        variables: dict[str, Any] = {
            "distance": (axes, found["distance"]),
            "error": (axes, found["error"]),
            "alive": (axes[2:], found["alive"], {"long_name": "share of members that stayed finite"}),
            "size": (axes[1:], found["size"]),
            "size_error": (axes[1:], found["size_error"]),
        }
        coords = {
            "kind": texts(self.kinds), "quantity": texts(QUANTITIES), "keep_prob": self.kept, "lr": self.rates,
        }  # fmt: skip
        attrs = {"time": self.time, "members": self.members}
        attrs |= provenance.of_problem(self.problem) | provenance.versions()
        return HeatMap(self.problem, described(xr.Dataset(variables, coords, attrs), WORDS))


def _cell(
    case: Case, runs: xr.Dataset, record: int, own: slice, kinds: Sequence[str]
) -> dict[tuple[str, int], tuple[float, float]]:
    """(kind, quantity) -> distance and standard error in one cell; the kind "" stays at the start."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    try:
        simulated = group_means(runs, record, own)
    except Diverged:
        return found
    for name in ("", *kinds):
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
