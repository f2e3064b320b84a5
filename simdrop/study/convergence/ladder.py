"""order(): to which order in the learning rate each prediction holds for an ensemble, with its uncertainty.

At every learning rate ε of a ladder an ensemble is trained for the same time, and the distance D of its mean from a
prediction is estimated without bias, with a standard error s by the jackknife over groups of members (`distances`).
Where a prediction is an ensemble itself (the SMEs), groups are paired and s holds the sampling of both. Pathwise flows
replay the masks of simulated members: D is the root mean square over members, with common random numbers throughout.
Errors of sampling fall like ε, not √ε: the ensemble has a control variate (`control_variate`), the SMEs have antithetic
paths.

Rungs are independent, each with a seed of its own. Those with D < 3 s are left out, as are those where a prediction has
no value. The line log D = a + q log ε goes through the finest `WINDOW` of the others, weighted by (D / s)². Its
standard error is that of the weights, or larger by the scatter about the line where that is larger (Birge's ratio): a
curve not straight yet widens the interval of q.
The order that an interval supports is the largest whole number at most 0.4 above its lower end that it does not
exclude, for higher terms in ε make slopes steeper; an interval wider than 1 supports none. A slope cannot exclude a
constant error that is small beside the distances: a claimed order is tested by what is left as ε → 0 (`fit`).
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ... import provenance, theory
from ...checks.numbers import check_count, check_seed, check_threads
from ...checks.words import shown
from ...errors import Diverged, InvalidInput
from ...output.progress import Progress, telling
from ...problem import Noise, Problem
from ...schedule.base import Schedule
from ...settings.defaults import BACKEND, RISK_LIMIT
from ...simulation.carry_out import Output
from ...simulation.interrupt import raising
from ...simulation.plan import TrainingPlan
from ...simulation.run import lost_steps
from ...simulation.simulate import train
from ...theory._input import check_squared
from ...theory.flows.scheduled import refuse_other_rates
from ...theory.noise.step import checked
from ..case import FAILURES, SEEDS, Case, distance, grid_points, group_means
from ..comparison.compare import check_start
from ..distances import Array, Estimate, root
from ..predictions import (
    ANYWHERE,
    PREDICTIONS,
    Prediction,
    check_kinds,
    check_noise_of,
    check_start_of,
    predict,
    renamed,
)
from ..result import Result
from .control_variate import affordable, controlled
from .rungs import TIME, Rungs, check_rungs
from .scheme import SchemeError, SchemeErrors
from .summary import MEASURED, distances_of, summary_of
from .table import table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from simdrop_kernels.registry import BackendName

    from ..predictions import PredictionKind

#: the most parameters whose covariance is compared
MOST_CROSSED = 64
#: members that pathwise flows follow, unless there are fewer
PATHS = 200
#: SME 1, whose error is the larger one, has this many times fewer paths than SME 2
FEWER = 4


@dataclass(frozen=True, repr=False)
class Order(Result):
    """What order() found.

    Attributes
    ----------
    problem : Problem
        What was studied.
    errors : xarray.Dataset
        Over (kind, quantity, lr): `distance`, its standard error `error`, and whether it is `resolved`. Over lr:
        `diverged`, the members lost.
    summary : dict
        The same in short, with slopes, intervals, verdicts, settings and machine: plain numbers and texts.
    """

    study = "order"

    problem: Problem
    errors: xr.Dataset
    summary: dict[str, Any]

    def table(self) -> str:
        """The summary as text: a block for each quantity, a column for each prediction."""
        return table(self.summary)

    def figure(self) -> Figure:
        """A panel for each quantity: distances with their errors over lr."""
        from . import figure

        return figure.order(self.errors, self.summary)

    def datasets(self) -> dict[str, xr.Dataset]:
        """The distances."""
        return {"errors": self.errors}


def order(
    problem: Problem,
    theta0: ArrayLike | None = None,
    *,
    lrs: Sequence[float] | None = None,
    time: float | None = None,
    lr: Mapping[int, float] | Schedule | None = None,
    steps: int | None = None,
    refine: Sequence[int] | None = None,
    members: int = 400_000,
    sme_members: int = 80_000,
    paths: int | None = None,
    kinds: Sequence[PredictionKind] | Sequence[str] | None = None,
    noise: Noise | None = None,
    seed: int = 0,
    grid: int | ArrayLike | None = None,
    groups: int = 40,
    risk_limit: float | None = RISK_LIMIT,
    backend: BackendName = BACKEND,
    threads: int | None = None,
    progress: Progress | bool | None = None,
    theories: Sequence[str] | None = None,
) -> Order:
    """Measure the error of every prediction over a ladder of learning rates, and its order.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,), optional
        Start of all members; by default a draw of `problem.init()`.
    lrs : sequence of float, optional
        Learning rates, at least three; each must divide `time` into whole steps. By default 0.2, halved down to
        0.00625.
    time : float, optional
        Time lr · step at which means are compared, 1 by default.
    lr : mapping or Schedule, optional
        A learning rate that changes, in place of `lrs` and `time`: that of the coarsest ensemble, which takes `steps`
        steps. The others have the same learning rate over time, divided by the numbers of `refine`.
    steps : int, optional
        Steps of the coarsest ensemble, with `lr`.
    refine : sequence of int, optional
        Steps of each ensemble in the place of one, with `lr`; 1, 2, 4, 8, 16 and 32 by default.
    members : int
        Networks of the ensemble at every learning rate.
    sme_members : int
        Paths of "sme2", in pairs; "sme1" has a quarter.
    paths : int, optional
        Members that pathwise flows follow, by default 200 or all where there are fewer.
    kinds : sequence of str, optional
        The predictions, by default "gradient", "averaged", "modified", "mean-covariance", "sme1", "sme2",
        "pathwise-plain" and "pathwise", the last two not with `noise`; "manifold" where R_S is near zero at theta0.
    noise : Noise, optional
        Noise of a step, of the ensembles and of what is to predict them alike, as in `compare`. The ensembles then have
        no control variate: errors of sampling fall like √lr.
    seed : int
        Of the masks at the largest learning rate; the next ones take the numbers that follow.
    grid
        As in `compare`.
    groups : int
        Groups of members for standard errors.
    risk_limit, backend, threads
        As in `simulate`.
    progress : bool or callable, optional
        True for bars on stderr, or a function called as progress(stage, done, total); the stage is "rungs".
    theories
        Old name of `kinds`.

    Returns
    -------
    Order
        With `.table()`, `.figure()`, `.summary` and `.save()`.

    Raises
    ------
    InvalidInput, BackendError, Diverged, KeyboardInterrupt
        As `simulate`. Whatever stops the study has as `partial` the Order of the learning rates that were done, the
        largest first.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> sizes = {"lrs": (0.25, 0.125, 0.0625), "members": 500, "kinds": ["gradient", "averaged"], "backend": "numpy"}
    >>> distance = simdrop.study.order(problem, **sizes).errors.distance.sel(quantity="parameters", lr=0.0625)
    >>> bool(distance.sel(kind="averaged") < distance.sel(kind="gradient"))
    True
    """
    kinds = check_kinds_under(renamed(kinds, theories), problem, noise)
    cases = check_cases(
        problem, theta0, rungs=check_rungs(lrs, time, lr=lr, steps=steps, refine=refine), noise=noise, members=members,
        sme_members=sme_members, paths=paths, seed=seed, grid=grid, groups=groups, risk_limit=risk_limit,
        backend=backend, threads=threads,
    )  # fmt: skip
    paths = followed(paths, members)
    if isinstance(cases[0].lr, Schedule):
        refuse_other_rates(kinds, cases[0].lr)
        over: dict[str, Any] = {"time": cases[-1].time, "lr": str(cases[0].lr)}
    else:
        over = {"time": TIME if time is None else time}
    over |= {} if noise is None else {"noise": provenance.of_noise(noise, problem)}
    ladder = _Ladder(problem, kinds, paths, cases, {
        **over, "members": members, "sme_members": sme_members,
        "paths": paths, "groups": groups, "risk_limit": risk_limit, "seed": seed,
    })  # fmt: skip
    check_start_of(ladder.kinds, problem, ladder.cases[0].theta0)
    with raising(), telling(progress) as tell:
        return ladder.climb(tell)


class _Ladder:
    """An order study on its way."""

    def __init__(
        self, problem: Problem, kinds: Sequence[str], paths: int, cases: Sequence[Case], settings: dict[str, Any]
    ) -> None:
        self.problem, self.kinds, self.paths, self.cases = problem, kinds, paths, cases
        self.started = clock.perf_counter()
        steps = [case.steps for case in cases]
        controlled = [case.noise is None and affordable(problem, case.steps) for case in cases]
        self.settings = settings | {"lrs": [case.first_rate for case in cases], "control_variate": controlled}
        self.distances = np.full((len(kinds), len(MEASURED), len(cases), 4), np.nan)
        self.schemes = {name: SchemeErrors() for name in kinds if PREDICTIONS[name].equation}
        self.lost = np.full(len(cases), -1, dtype=np.int64)  # -1: not measured
        self.failures: list[str] = []
        self.done, self.total = 0, (1 + len(kinds)) * sum(steps)

    def climb(self, tell: Progress) -> Order:
        """Measure all rungs; an error carries those that were done."""

        def advance(case: Case) -> None:
            self.done += case.steps
            tell("rungs", self.done, self.total)

        for column, case in enumerate(self.cases):
            try:
                found, self.lost[column] = _rung(case, self.kinds, self.paths, self.schemes, self.failures, advance)
            except BaseException as error:
                if column:
                    error.partial = self.so_far(column)  # type: ignore[attr-defined]
                raise
            for row, name in enumerate(self.kinds):
                for k, quantity in enumerate(MEASURED):
                    self.distances[row, k, column] = found.get((name, quantity), (np.nan,) * 4)
        return self.so_far(len(self.cases))

    def so_far(self, measured: int) -> Order:
        """The result where this many rungs are done."""
        lrs: list[float] = self.settings["lrs"]
        errors = distances_of(self.distances, self.kinds, lrs).assign(
            diverged=("lr", self.lost, {"long_name": "members lost", "units": "1"})
        )
        summary = summary_of(self.problem, errors, self.settings, self.failures, clock.perf_counter() - self.started)
        summary |= {"interrupted": measured < len(lrs), "measured_lrs": lrs[:measured]}
        return Order(self.problem, errors, summary)


def check_cases(
    problem: Problem,
    theta0: ArrayLike | None,
    *,
    rungs: Rungs,
    noise: Noise | None = None,
    members: int,
    sme_members: int,
    paths: int | None,
    seed: int,
    grid: int | ArrayLike | None,
    groups: int,
    risk_limit: float | None,
    backend: BackendName,
    threads: int | None,
) -> list[Case]:
    """The cases of the ladder, from the largest learning rate down; rungs: from `check_rungs`, else as in `order`.

    Raises InvalidInput and BackendError.
    """
    theta0 = check_start(problem, theta0)
    check_squared(problem, "the order of a theory's error")
    members = check_count("members", members, least=3, most=1 << 32)
    groups = check_count("groups", groups, least=3)
    paths = check_count("paths", followed(paths, members), least=3)
    for name, value in {"groups": groups, "paths": paths}.items():
        if value > members:
            raise InvalidInput(f"{name} must be at most the {members} members, got {shown(value)}")
    sme_members = check_count("sme_members", sme_members, least=groups, most=1 << 32)
    points, seed = grid_points(problem, grid), check_seed(seed)
    threads = None if threads is None else check_threads(threads)
    cases = [
        Case(problem=problem, theta0=theta0, lr=lr, steps=count, points=points, members=members, groups=groups,
             seed=(seed + number) % SEEDS, threads=threads, backend=backend, sme_members=sme_members,
             risk_limit=risk_limit, covariance=problem.n_params <= MOST_CROSSED, noise=noise)
        for number, (lr, count) in enumerate(rungs)
    ]  # fmt: skip
    for case in cases:
        _training(case, paths)
    return cases


def check_kinds_under(kinds: Sequence[str] | None, problem: Problem, noise: Noise | None) -> tuple[str, ...]:
    """The predictions to measure, by default all that a step of this noise has; raises InvalidInput."""
    if noise is None:
        return check_kinds(ANYWHERE if kinds is None else kinds)
    checked(problem, noise, any_place=True)
    along = [name for name in ANYWHERE if PREDICTIONS[name].members is not None]
    if kinds is None:
        return tuple(name for name in ANYWHERE if name not in along)
    known = check_kinds(kinds)
    for name in known:
        if name in along:
            raise InvalidInput(f"kind {name!r} follows the masks of the problem's dropout alone: leave it or noise out")
    check_noise_of(known, problem, noise)
    return known


def followed(paths: int | None, members: int) -> int:
    """Members that pathwise flows follow where none are asked for."""
    return min(PATHS, members) if paths is None else paths


def _training(case: Case, paths: int) -> TrainingPlan:
    """The ensemble of a rung, of which `paths` members are kept. Raises InvalidInput and BackendError."""
    return TrainingPlan.check(
        case.problem, case.theta0, lr=case.lr, steps=case.steps, members=case.members, seed=case.seed, noise=case.noise,
        record=[case.steps], groups=case.groups, grid=case.points, quantiles=(), backend=case.backend,
        threads=case.threads, risk_limit=case.risk_limit, keep_theta=list(range(paths)), covariance=case.covariance,
    )  # fmt: skip


def _rung(
    case: Case,
    kinds: Sequence[str],
    paths: int,
    schemes: dict[str, SchemeErrors],
    failures: list[str],
    advance: Callable[[Case], None],
) -> tuple[dict[tuple[str, str], Any], int]:
    """Distances at one lr, (kind, quantity) -> (D, s, the scheme's part of s and its steps), and members lost."""
    found: dict[tuple[str, str], Any] = {}
    try:
        runs = train(_training(case, paths), Output())
        simulated = controlled(group_means(runs, -1, slice(None)), case)
    except Diverged as error:
        failures.append(f"lr {case.first_rate:g}: {error}")
        for _ in range(1 + len(kinds)):
            advance(case)
        return found, case.members
    lost = int((lost_steps(runs) >= 0).sum())
    for name in kinds:
        advance(case)
        one = PREDICTIONS[name]
        try:
            schemes_own: dict[str, SchemeError] = {}
            if one.members is not None:
                estimates = _along_paths(one, case, runs["theta"].values[-1])
            else:
                fewer = FEWER if one.equation == 1 else 1
                own = replace(case, sme_members=(case.sme_members or case.members) // fewer)
                if name in schemes:
                    prediction, schemes_own = schemes[name].follow(name, own)
                else:
                    prediction = predict(name, own)
                both = [quantity for quantity in simulated.values if quantity in prediction.values]
                estimates = {quantity: distance(simulated, prediction, quantity) for quantity in both}
        except FAILURES as error:
            failures.append(f"{name} at lr {case.first_rate:g}: {error}")
            continue
        for quantity, estimate in estimates.items():
            value, sampling = (float(v) for v in root(estimate.value, estimate.error, lost=lost > 0))
            scheme = schemes_own.get(quantity, SchemeError(0.0, 0))
            found[name, quantity] = value, float(np.hypot(sampling, scheme.value)), *scheme
    advance(case)
    return found, lost


def _along_paths(one: Prediction, case: Case, theta: Array) -> dict[str, Estimate]:
    """Mean squared distances of members theta (paths, P) from their own flows; replicates leave one member out."""
    assert one.members is not None
    lost = np.flatnonzero(~np.isfinite(theta).all(axis=1))
    if lost.size:
        raise Diverged(f"member {lost[0]}, whose path is followed, diverged")
    problem, flow = case.problem, one.members(case, len(theta))
    f = problem.predict(theta, case.points) - problem.predict(flow, case.points)
    away = {
        "parameters": np.square(theta - flow).sum(axis=1),
        "function": np.square(f).mean(axis=(1, 2)),
        "risk": np.square(theory.risk(problem, theta) - theory.risk(problem, flow)),
    }
    return {quantity: _mean(values) for quantity, values in away.items()}


def _mean(values: Array) -> Estimate:
    return Estimate(values.mean(), (values.sum() - values) / (len(values) - 1))
