"""The work of a sweep: points that share shapes are trained together, in one launch for as many as fit.

Members of a point are numbered from 0 and their masks' seed is the point's, so that its numbers are those that
`simdrop.simulate` gives for the point alone, whatever it was launched with.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..activations import check_registered
from ..errors import Diverged, DivergenceWarning
from ..problem import Problem
from ..settings.fields import lr_of, risk_limit_of
from ..simulation.checkpoint import InUse, OtherRun, discard
from ..simulation.paths_plan import backend_name
from ..simulation.plan import TrainingPlan
from ..simulation.run import lost_steps
from ..simulation.simulate import simulate
from ..study.case import FAILURES, Case, Means, distance
from ..study.distances import root
from ..study.predictions import PREDICTIONS, check_noise_of, equations, predict
from .data import problem_of, test_of
from .design import Design
from .kept import observed
from .point import Point, groups_of

#: members of a launch: enough to keep every core busy, few enough to see progress and to lose little
LAUNCH_MEMBERS = 16_384
#: fields that may differ between the members of one launch
PER_MEMBER = ("lr", "keep_prob", "seed", "init_seed", "init_scale", "init_gamma")
SHARED = tuple(field.name for field in fields(Point) if field.name not in PER_MEMBER)
#: seconds between two checkpoints of a launch
CHECKPOINT_SECONDS = 30.0

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Resume:
    """Where a launch keeps its checkpoint, a file whose folder exists where it can, and how often."""

    path: Path
    seconds: float = CHECKPOINT_SECONDS


def launches(design: Design, *, most: int = LAUNCH_MEMBERS) -> list[list[int]]:
    """Numbers of the points of every launch: those that differ in PER_MEMBER alone, `most` members at a time."""
    together: dict[tuple[Any, ...], list[int]] = {}
    for number, point in enumerate(design.points):
        # seeds of one launch have the same upper halves, and learning rates that change are those of all its points
        alike = point.keep_prob if observed(point.keep) else None  # functions see the problem of all members
        changing = point.lr if isinstance(point.lr, str) else None
        key = (point.seed >> 32, alike, changing, *(getattr(point, name) for name in SHARED))
        together.setdefault(key, []).append(number)
    found = []
    for numbers in together.values():
        at_once = max(1, most // design.points[numbers[0]].members)
        found += [numbers[first : first + at_once] for first in range(0, len(numbers), at_once)]
    return sorted(found)


def with_backends(point: Point) -> Point:
    """The first point of a launch with the backends that take all of it on this machine."""
    problem = problem_of(point)
    training = TrainingPlan.check(
        problem, np.zeros(problem.n_params), lr=lr_of(point.lr), steps=point.steps, members=point.members,
        seed=point.seed, record=point.record, spacing=point.spacing, risk_limit=risk_limit_of(point.risk_limit),
        test=test_of(point), observe=observed(point.keep), **point.training(),
    )  # fmt: skip
    (trains,) = (phase.backend.name for phase in training.phases)
    check_noise_of(point.kinds, problem, point.noise())
    orders = equations(point.kinds)
    if not orders:
        return replace(point, backend=trains)
    follows = backend_name(
        problem, order=max(orders), noise=point.noise(), scheme=point.scheme, antithetic=True,
        backend=point.sme_backend, members=point.sme_members or point.members,
    )  # fmt: skip
    return replace(point, backend=trains, sme_backend=follows)


def work(points: Sequence[Point], threads: int | None = None, resume: Resume | None = None) -> Arrays:
    """Train the points of one launch, on the first's backends, from its checkpoint if there is one.

    Returns arrays with a row for each point:
    step (K, T), risk_mean and risk_error (K, T): mean R_S over the members and its standard error; diverged (K,):
    members lost; distance, distance_error (K, F): of the mean parameters from every theory at the end; NAME_mean,
    NAME_error (K, T) of the other quantities, and theta_mean (K, T, P) where `keep` names it.
    """
    first, count = points[0], points[0].members
    check_registered(first.activation)
    problem = problem_of(first)  # the same for all but for keep_prob, see PER_MEMBER
    kept = {p: replace(problem, keep_prob=p) for p in {point.keep_prob for point in points}}
    problems = [kept[point.keep_prob] for point in points]
    starts = [
        p.init(seed=q.init_seed, scale=q.init_scale, gamma=q.init_gamma) for p, q in zip(problems, points, strict=True)
    ]
    # predictions first: the checkpoint goes when the simulation is done
    predicted = [list(_predictions(first, *each, threads)) for each in zip(points, problems, starts, strict=True)]
    groups = groups_of(count) * len(points) if first.kinds or "theta_mean" in first.keep else 0
    runs = _simulated(
        resume, problems[0], np.repeat(starts, count, axis=0), lr=_rates(points, count),
        keep_prob=np.repeat([q.keep_prob for q in points], count), numbers=np.tile(np.arange(count), len(points)),
        seed=np.repeat([q.seed for q in points], count), steps=first.steps, record=first.record, spacing=first.spacing,
        quantiles=(), norms="norm" in first.keep, groups=groups if groups > 1 else 0, threads=threads,
        risk_limit=risk_limit_of(first.risk_limit), test=test_of(first), observe=observed(first.keep),
        **first.training(),
    )  # fmt: skip
    found: Arrays = {"step": np.tile(runs["step"].values, (len(points), 1))}
    for name in first.quantities:
        found[f"{name}_mean"], found[f"{name}_error"] = _over_members(runs[name].values, count)
    if "theta_mean" in first.keep:
        found["theta_mean"] = _means(runs, len(points))
    found["diverged"] = (lost_steps(runs).reshape(len(points), count) >= 0).sum(axis=1)
    return found | _distances(predicted, runs, len(first.kinds), found["diverged"] > 0)


def _rates(points: Sequence[Point], count: int) -> Any:
    """The learning rates of the members of a launch, or how they change."""
    first = points[0].lr
    return lr_of(first) if isinstance(first, str) else np.repeat([float(point.lr) for point in points], count)


def seconds_of_flows(point: Point) -> float:
    """Seconds that the flows of a point take, without compilation."""
    flows = replace(point, kinds=tuple(kind for kind in point.kinds if PREDICTIONS[kind].equation is None))
    problem = problem_of(point)
    theta0 = problem.init(seed=point.init_seed, scale=point.init_scale, gamma=point.init_gamma)
    list(_predictions(flows, replace(flows, steps=point.svag or 1), problem, theta0, None))
    began = time.perf_counter()
    list(_predictions(flows, flows, problem, theta0, None))
    return time.perf_counter() - began


def _simulated(resume: Resume | None, *arguments: Any, **options: Any) -> Any:
    """The results of simulate(), also where members were lost, which the results show for every point."""
    if resume is not None and not os.access(resume.path.parent, os.W_OK):
        _tell_once(f"{resume.path.parent} cannot be written to from here: launches run without checkpoints")
        resume = None
    held: dict[str, Any] = {}
    if resume is not None:
        held = {"checkpoint": resume.path, "resume": True, "checkpoint_seconds": resume.seconds}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            return simulate(*arguments, **(options | held))
    except Diverged as error:
        return error.partial  # type: ignore[attr-defined]
    except InUse:  # by a worker that was thought dead
        return _simulated(None, *arguments, **options)
    except OtherRun:  # of another sweep that was in this folder
        assert resume is not None
        discard(resume.path)
        return _simulated(resume, *arguments, **options)


@lru_cache
def _tell_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)


def _over_members(values: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means (K, T) over the `count` living members of every point, and standard errors, of values (T, K · count)."""
    of_points = values.astype(np.float64).reshape(len(values), -1, count)
    alive = np.isfinite(of_points).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.nansum(of_points, axis=2) / alive
        square = np.nansum(np.square(of_points - mean[..., None]), axis=2) / (alive - 1)
        error = np.sqrt(square / alive)
    return np.where(alive > 0, mean, np.nan).T, np.where(alive > 1, error, np.nan).T


def _means(runs: Any, points: int) -> NDArray[Any]:
    """Mean parameters (K, T, P) of the living members of every point, from those of its groups."""
    if "group_theta_mean" not in runs:  # one point whose members make one group
        return runs["theta_mean"].values[None]
    means, alive = runs["group_theta_mean"].values, runs["group_alive"].values
    sums = np.where(alive[..., None] > 0, means * alive[..., None], 0).reshape(len(means), points, -1, means.shape[-1])
    count = alive.reshape(len(means), points, -1).sum(axis=2)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums.sum(axis=2) / count).swapaxes(0, 1)


def _predictions(
    first: Point, point: Point, problem: Problem, theta0: NDArray[Any], threads: int | None
) -> Iterator[Means | None]:
    """Mean parameters of every theory at the end; None where it says nothing."""
    if not point.kinds:
        return
    case = Case(
        problem=problem, theta0=theta0, lr=lr_of(point.lr), steps=point.steps // (point.svag or 1), points=problem.x,
        members=point.members, groups=groups_of(point.members), seed=point.seed, threads=threads, rtol=point.rtol,
        atol=point.atol, max_evaluations=point.max_evaluations, noise=point.noise(), sme_members=point.sme_members,
        substeps=point.substeps, risk_limit=risk_limit_of(point.risk_limit),
        scheme=point.scheme, sme_backend=first.sme_backend,  # type: ignore[arg-type]
    )  # fmt: skip
    for kind in point.kinds:
        try:
            yield predict(kind, case)
        except FAILURES:
            yield None


def _distances(predicted: list[list[Means | None]], runs: Any, kinds: int, lost: NDArray[np.bool_]) -> Arrays:
    """Distances (K, F) of mean parameters from predictions at the end, with standard errors; NaN where not known.

    lost (K,): whether a point's members diverged.
    """
    value, error = (np.full((len(predicted), kinds), np.nan) for _ in range(2))
    for k, of_point in enumerate(predicted if kinds else []):
        groups = runs.sizes["group"] // len(predicted)
        mine = slice(k * groups, (k + 1) * groups)
        counts, means = runs["group_alive"].values[-1, mine], runs["group_theta_mean"].values[-1, mine]
        simulated = Means(counts.astype(np.float64), {"parameters": means})
        for row, prediction in enumerate(of_point):
            if prediction is not None:
                squared = distance(simulated, prediction, "parameters")
                value[k, row], error[k, row] = root(squared.value, squared.error, lost=lost[k])
    return {"distance": value, "distance_error": error}
