"""compare(): an ensemble trained with dropout against the theories that are to predict its mean."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ...checks.numbers import check_count, check_finite, check_flag
from ...errors import InvalidInput
from ...output.progress import Progress, telling
from ...problem import Noise, Problem, check_problem
from ...schedule.base import Schedule
from ...settings.defaults import BACKEND, MEMORY, RECORD, RISK_LIMIT
from ...simulation.carry_out import Output
from ...simulation.interrupt import raising
from ...simulation.paths_plan import backend_name
from ...simulation.plan import TrainingPlan
from ...simulation.run import with_partial
from ...simulation.simulate import train
from ...theory.flows.rates import check_rate
from ...theory.flows.scheduled import refuse_other_rates
from ..case import Case, grid_points
from ..distances import Array
from ..predictions import (
    FLOWS,
    PREDICTIONS,
    check_kinds,
    check_loss_of,
    check_noise_of,
    check_start_of,
    default_kinds,
    equations,
)
from ..result import Result
from .measure import as_dataset, follow_all, over_time, sizes, squared_distances
from .summary import summarize
from .table import table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from simdrop_kernels.registry import BackendName

    from ...output.folder import Folder
    from ..predictions import PredictionKind


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """What compare() found.

    Attributes
    ----------
    problem : Problem
        What was studied.
    runs : xarray.Dataset
        What `simulate` returned.
    flows : xarray.Dataset
        The predictions over (kind, time): theta, f on the grid and risk, and r1, r2 and, with classes, accuracy at
        theta.
    distances : xarray.Dataset
        Over (quantity, kind, time): `distance`, its standard error `error`, the `share` of the distance of plain
        gradient flow that a prediction removes, and `share_error`. Over (quantity, time): `noise`, the distance that
        sampling alone would give. Where a prediction is sampled itself, over (quantity, kind, time): `own_noise`, the
        same for its paths. Over (path, term, time): `value` and `gradient_norm` of R_S, R_1 and R_2 along the
        predictions and the mean parameters.
    summary : dict
        The same in short, with settings, verdict, timings and machine: plain numbers and texts.
    run_id : str
        By which a folder that holds `runs` already is known.
    """

    study = "compare"

    problem: Problem
    runs: xr.Dataset
    flows: xr.Dataset
    distances: xr.Dataset
    summary: dict[str, Any]
    run_id: str = ""

    def table(self) -> str:
        """The summary as text."""
        return table(self.summary)

    def figure(self) -> Figure:
        """Six panels: fit, distances over time, risk, sizes of the terms, shares removed."""
        from .figure import Data, comparison

        return comparison(Data.of(self))

    def datasets(self) -> dict[str, xr.Dataset]:
        """Predictions, distances, and what `simulate` returned."""
        return {"flows": self.flows, "distances": self.distances, "results": self.runs}


def compare(
    problem: Problem,
    theta0: ArrayLike | None = None,
    *,
    lr: float | Mapping[int, float] | Schedule,
    steps: int,
    members: int,
    seed: int = 0,
    noise: Noise | None = None,
    kinds: Sequence[PredictionKind] | Sequence[str] = FLOWS,
    sme_members: int | None = None,
    record: int | ArrayLike = RECORD,
    spacing: Literal["even", "log"] = "even",
    grid: int | ArrayLike | None = None,
    groups: int | None = None,
    risk_limit: float | None = RISK_LIMIT,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    backend: BackendName = BACKEND,
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
    memory: int = MEMORY,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Simulate dropout SGD from theta0 and measure how far each prediction is from the mean of the ensemble.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,), optional
        Start of all members; by default a draw of `problem.init()`.
    lr, steps, members, seed, record, spacing, risk_limit, test, backend, dtype, threads, memory
        As in `simulate`, with one learning rate for all members, which may change.
    noise : Noise, optional
        Noise of a step, of the ensemble and of what is to predict it alike: further noise, or dropout of another law
        or in another place. Each flow says in `flow` what it takes.
    kinds : sequence of str
        The predictions: any of "gradient", "averaged", "modified", "mean-covariance", "sme1", "sme2" and, where R_S is
        near zero at theta0, "manifold". "gradient", in whose distance the others are measured, is always among them.
        With a loss other than the squared one "gradient", "second-order" and, of at most 12 neurons, "averaged": by
        default all of them, "averaged" where samples times masks are at most 2^18. Where dropout's factors do not act
        in the whole step, "averaged" is "gradient", and is left out by default.
    sme_members : int, optional
        Paths of a stochastic modified equation, rounded to whole pairs in each group; by default as many as members.
    grid : int or array_like, shape (k,) or (k, d), optional
        Points at which functions are compared, or their number for one-dimensional data; by default 97 points over the
        range of one-dimensional data, and up to 200 of the data points otherwise.
    groups : int, optional
        Groups of members from which standard errors are estimated; by default 20, or all members if fewer.
    out, overwrite
        As in `simulate`, whose results go there as `results.zarr`; `Comparison.save` writes the rest.
    progress : bool or callable, optional
        True for bars on stderr, or a function called as progress(stage, done, total); stages are "simulate", "flows"
        and "distances".

    Returns
    -------
    Comparison
        With `.table()`, `.figure()`, `.summary` and `.save()`.

    Raises
    ------
    InvalidInput, BackendError, Diverged, KeyboardInterrupt
        As `simulate`. Whatever stops the comparison has what `simulate` recorded as `partial`.
    FlowFailed
        A flow could not be followed.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> found = simdrop.compare(problem, lr=0.1, steps=10, members=60, record=3, backend="numpy")
    >>> distance = found.distances.distance.sel(quantity="parameters").isel(time=-1)
    >>> bool(distance.sel(kind="averaged") < distance.sel(kind="gradient"))
    True
    """
    plan = Plan.check(
        problem,
        theta0,
        lr=lr,
        steps=steps,
        members=members,
        seed=seed,
        noise=noise,
        kinds=kinds,
        sme_members=sme_members,
        record=record,
        spacing=spacing,
        grid=grid,
        groups=groups,
        risk_limit=risk_limit,
        test=test,
        backend=backend,
        dtype=dtype,
        threads=threads,
        memory=memory,
    )
    return plan.run(out=out, overwrite=check_flag("overwrite", overwrite), progress=progress)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison whose arguments have been checked, ready to run."""

    training: TrainingPlan
    noise: Noise | None
    points: Array
    kinds: list[str]
    sme_members: int | None
    risk_limit: float | None

    @classmethod
    def check(
        cls, problem: Problem, theta0: ArrayLike | None, *, lr: Any, members: int, kinds: Sequence[str],
        sme_members: int | None, grid: int | ArrayLike | None, groups: int | None, risk_limit: float | None,
        noise: Noise | None = None, **training: Any,
    ) -> Plan:  # fmt: skip
        """Refuse, before any work, what `compare` cannot do; arguments as there. Raises InvalidInput, BackendError."""
        theta0 = check_start(problem, theta0)
        members = check_count("members", members, least=4)
        groups = min(20, members) if groups is None else check_count("groups", groups, least=3)
        if groups > members:
            raise InvalidInput(f"groups must be at most the {members} members, got {groups}")
        points = grid_points(problem, grid)
        plan = TrainingPlan.check(
            problem, theta0, lr=_check_lr(lr), members=members, groups=groups, grid=points, risk_limit=risk_limit,
            noise=noise, **training,
        )  # fmt: skip
        kinds = _check_kinds(problem, noise, kinds)
        check_noise_of(kinds, problem, noise)
        if plan.settings.schedule is not None:
            refuse_other_rates(kinds, plan.settings.schedule)
        check_start_of(kinds, problem, theta0)
        if sme_members is not None:
            check_count("sme_members", sme_members, least=2, most=1 << 32)
        if orders := equations(kinds):
            backend_name(
                problem, order=max(orders), noise=noise, scheme="rk4", antithetic=True, backend="auto",
                members=sme_members or members,
            )  # fmt: skip
        return cls(
            training=plan, noise=noise, points=points, kinds=kinds, sme_members=sme_members, risk_limit=risk_limit
        )

    def run(
        self,
        *,
        out: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        progress: Progress | bool | None = None,
    ) -> Comparison:
        """Simulate, follow the predictions, measure; arguments as in `compare`."""
        from ...output.folder import opened

        with telling(progress) as tell, opened(out, "compare", overwrite=overwrite) as folder, raising():
            watch = _Watch(tell)
            runs = self._simulate(watch, folder, tell)
            try:
                return self._measure(watch, runs, "" if folder is None else folder.run, tell)
            except BaseException as error:
                raise with_partial(error, runs)  # noqa: B904

    def _simulate(self, watch: _Watch, out: Folder | None, tell: Progress) -> xr.Dataset:
        settings = self.training.settings
        with watch("simulate", settings.steps * settings.members):
            runs = train(self.training, Output(out=out, progress=tell))
        compiled = watch.seconds["compile"] = runs.attrs["compile_seconds"]
        watch.seconds["simulate"] -= compiled
        return runs

    def _measure(self, watch: _Watch, runs: xr.Dataset, run_id: str, tell: Progress) -> Comparison:
        problem, case = self.training.problem, self._case(runs["time"].values)
        with watch("flows", len(self.kinds)):
            predicted = follow_all(case, self.kinds, tell)
            flows = as_dataset(predicted, case)
        with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
            with watch("distances", 1):
                squared = squared_distances(runs, predicted)
                distances = over_time(squared, runs, predicted).merge(sizes(case, runs, flows))
            summary = summarize(problem, runs, flows, distances, squared, seconds=watch.seconds)
        return Comparison(problem, runs, flows, distances, summary, run_id)

    def _case(self, times: Array) -> Case:
        plan, settings = self.training, self.training.settings
        return Case(
            problem=plan.problem, theta0=settings.theta0, lr=settings.schedule or float(settings.lr[0]),
            steps=settings.steps,
            points=self.points, times=times, members=settings.members, groups=plan.wanted.groups, seed=settings.seed,
            threads=plan.threads, sme_members=self.sme_members, risk_limit=self.risk_limit, noise=self.noise,
        )  # fmt: skip


def check_start(problem: Problem, theta0: ArrayLike | None) -> Array:
    """The start of all members (P,), by default a draw; raises InvalidInput."""
    check_problem(problem)
    theta0 = problem.check_theta(problem.init() if theta0 is None else theta0, "theta0")
    if theta0.ndim != 1:
        expected = f"shape ({problem.n_params},)"
        raise InvalidInput(f"theta0 must be one start for all members, {expected}, got {theta0.shape}")
    return theta0


def _check_lr(lr: Any) -> float | Schedule:
    if isinstance(lr, (Schedule, Mapping)) or callable(lr):
        return check_rate(lr)
    value = check_finite("lr", lr)
    if value.ndim:
        raise InvalidInput(
            f"lr must be one number here: the flows belong to one learning rate, got shape {value.shape}"
        )
    return float(value)


def _check_kinds(problem: Problem, noise: Noise | None, kinds: Sequence[str]) -> list[str]:
    """The kinds asked for and "gradient", in the order of the table."""
    known = check_kinds(kinds, where="compare")  # first: what is no sequence of names may not be compared
    chosen = default_kinds(problem, noise) if known == FLOWS else known
    check_loss_of(chosen, problem)
    return [kind for kind in PREDICTIONS if kind in chosen or kind == "gradient"]


class _Watch:
    """Seconds of each stage, reported to the caller at its start and end."""

    def __init__(self, tell: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = tell

    @contextmanager
    def __call__(self, stage: str, total: int) -> Iterator[None]:
        self._tell(stage, 0, total)
        started = clock.perf_counter()
        yield
        self.seconds[stage] = clock.perf_counter() - started
        self._tell(stage, total, total)
