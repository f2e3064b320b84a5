"""compare(): an ensemble trained with dropout against the flows that are to predict its mean."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import Step, registry

from ...checks.numbers import check_count, check_finite, check_flag, check_threads
from ...checks.words import check_callable, check_choice, check_names
from ...errors import InvalidInput
from ...problem import Problem, check_problem
from ...simulation.interrupt import raising
from ...simulation.recording import RISK_LIMIT, check_risk_limit, record_steps
from ...simulation.run import DEFAULT_MEMORY, with_partial
from ...simulation.settings import Settings
from ...simulation.simulate import simulate
from ...simulation.sme import sizes_of
from ..distances import Array
from ..predictions import KINDS, grid_points
from ..result import Result
from .measure import Progress, integrate_flows, over_time, sizes, squared_distances
from .summary import summarize
from .table import table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ...output.folder import Folder


@dataclass(frozen=True)
class Comparison(Result):
    """What compare() found.

    runs       what `simulate` returned
    flows      the predictions over (kind, time): theta, f on the grid, risk, r1, r2
    distances  over (quantity, kind, time): distance, its standard error `error`, `share` of the distance of plain
               gradient flow that a flow removes, `share_error`; noise(quantity, time), the distance that
               sampling alone would give; and over (path, term, time) the size of R_S, R_1 and R_2 along the flows
               and the mean parameters: `value`, `gradient_norm`
    summary    the same in short, with settings, verdict, timings and machine: plain numbers and texts
    run_id     by which a folder that holds `runs` already is known
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

        return comparison(Data(self.problem, self.runs, self.flows, self.distances, self.summary))

    def datasets(self) -> dict[str, xr.Dataset]:
        """Predictions, distances, and what `simulate` returned."""
        return {"flows": self.flows, "distances": self.distances, "results": self.runs}


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
    risk_limit: float | None = RISK_LIMIT,
    backend: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Simulate dropout SGD from theta0 and measure how far each flow is from the mean of the ensemble.

    Parameters
    ----------
    theta0 : start of all members, shape (P,); by default a draw of `problem.init()`
    lr, steps, members, seed, record, spacing, risk_limit, backend, dtype, threads, memory : as in `simulate`
    kinds : the flows, of "gradient", "averaged" and "modified"; "gradient" is always among them
    grid : points (k,) or (k, d) at which functions are compared, or their number for one-dimensional data; by
        default 97 points over the range of one-dimensional data, and up to 200 of the data points otherwise
    groups : groups of members from which standard errors are estimated; 20 by default, or all members if fewer
    out, overwrite : as in `simulate`, whose results go there as `results.zarr`; `Comparison.save` writes the rest
    progress : called with (stage, done, total); stages are "simulate", "flows" and "distances"

    Raises
    ------
    InvalidInput, Diverged, KeyboardInterrupt : as `simulate`. Whatever stops the comparison has what `simulate`
        recorded as `partial`
    """
    plan = Plan.check(
        problem,
        theta0,
        lr=lr,
        steps=steps,
        members=members,
        seed=seed,
        kinds=kinds,
        record=record,
        spacing=spacing,
        grid=grid,
        groups=groups,
        risk_limit=risk_limit,
        backend=backend,
        dtype=dtype,
        threads=threads,
        memory=memory,
    )
    return plan.run(out=out, overwrite=check_flag("overwrite", overwrite), progress=progress)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison whose arguments have been checked, ready to run; `common` are arguments of `simulate`."""

    problem: Problem
    theta0: Array
    steps: int
    members: int
    groups: int
    record: NDArray[np.int64]
    kinds: list[str]
    common: dict[str, Any]

    @classmethod
    def check(
        cls,
        problem: Problem,
        theta0: ArrayLike | None,
        *,
        steps: int,
        members: int,
        kinds: Sequence[str],
        record: int | ArrayLike,
        spacing: str,
        grid: int | ArrayLike | None,
        groups: int | None,
        **common: Any,
    ) -> Plan:
        """Refuse, before any work, what `compare` cannot do; arguments as there. Raises InvalidInput, BackendError."""
        theta0 = check_start(problem, theta0)
        if theta0.ndim != 1:
            expected = f"shape ({problem.n_params},)"
            raise InvalidInput(f"theta0 must be one start for all members, {expected}, got {theta0.shape}")
        common["lr"] = _check_lr(common["lr"])
        members = check_count("members", members, least=4)
        checked = {name: common[name] for name in ("lr", "seed", "dtype")}
        Settings.check(problem, theta0=theta0, steps=steps, members=members, keep_prob=None, **checked)
        check_choice("backend", common["backend"], ("auto", *registry.names()))
        step = Step(network=problem.network)
        registry.choose(common["backend"], step, np.dtype(common["dtype"]), sizes=sizes_of(problem))
        check_count("memory", common["memory"])
        check_risk_limit(common["risk_limit"])
        if common["threads"] is not None:
            check_threads(common["threads"])
        groups = min(20, members) if groups is None else check_count("groups", groups, least=3)
        if groups > members:
            raise InvalidInput(f"groups must be at most the {members} members, got {groups}")
        return cls(
            problem=problem,
            theta0=theta0,
            steps=steps,
            members=members,
            groups=groups,
            record=record_steps(steps, record, spacing),
            kinds=_check_kinds(kinds),
            common=common | {"grid": grid_points(problem, grid)},
        )

    def run(
        self, *, out: str | os.PathLike[str] | None = None, overwrite: bool = False, progress: Progress | None = None
    ) -> Comparison:
        """Simulate, integrate the flows, measure; arguments as in `compare`."""
        from ...output.folder import opened

        tell = check_callable("progress", progress) or (lambda stage, done, total: None)
        with opened(out, "compare", overwrite=overwrite) as folder, raising():
            watch = _Watch(tell)
            runs = self._simulate(watch, folder, tell)
            try:
                return self._measure(watch, runs, "" if folder is None else folder.run, tell)
            except BaseException as error:
                raise with_partial(error, runs)  # noqa: B904

    def _simulate(self, watch: _Watch, out: Folder | None, tell: Progress) -> xr.Dataset:
        with watch("simulate", self.steps * self.members):
            runs = simulate(
                self.problem,
                self.theta0,
                steps=self.steps,
                members=self.members,
                record=self.record,
                groups=self.groups,
                out=out,
                progress=tell,
                **self.common,
            )
        compiled = watch.seconds["compile"] = runs.attrs["compile_seconds"]
        watch.seconds["simulate"] -= compiled
        return runs

    def _measure(self, watch: _Watch, runs: xr.Dataset, run_id: str, tell: Progress) -> Comparison:
        problem, lr, points = self.problem, self.common["lr"], self.common["grid"]
        with watch("flows", len(self.kinds)):
            flows = integrate_flows(problem, self.theta0, lr, runs["time"].values, self.kinds, points, tell)
        with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
            with watch("distances", 1):
                squared = squared_distances(runs, flows)
                distances = over_time(squared, runs, flows).merge(sizes(problem, lr, runs, flows))
            summary = summarize(problem, runs, flows, distances, squared, seconds=watch.seconds)
        return Comparison(problem, runs, flows, distances, summary, run_id)


def check_start(problem: Problem, theta0: ArrayLike | None) -> Array:
    """theta0 (..., P), by default a draw; raises InvalidInput."""
    check_problem(problem)
    return problem.check_theta(problem.init() if theta0 is None else theta0, "theta0")


def _check_lr(lr: object) -> float:
    value = check_finite("lr", lr)  # type: ignore[arg-type]
    if value.ndim:
        raise InvalidInput(
            f"lr must be one number here: the flows belong to one learning rate, got shape {value.shape}"
        )
    return float(value)


def _check_kinds(kinds: Sequence[str]) -> list[str]:
    """The kinds asked for and "gradient", in the order of KINDS."""
    chosen = check_names("kind of flow", kinds, KINDS)
    return [kind for kind in KINDS if kind in chosen or kind == "gradient"]


class _Watch:
    """Seconds of each stage, told to the caller at its start and end."""

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
