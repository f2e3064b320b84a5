"""The work of a sweep: points that share shapes are trained together, in one launch for as many as fit.

Members of a point are numbered from 0 and the mask's seed is the point's, so that its numbers are those that
`simdrop.simulate` gives for the point alone, whatever it was launched with.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import problem_of
from ..errors import Diverged, DivergenceWarning, FlowFailed
from ..problem import Problem
from ..simulation import backend_names, simulate
from ..study.distances import root, squared_distance
from ..theory import flow
from .design import PER_MEMBER, Design, Point, groups_of

#: members of a launch: enough to keep every core busy, few enough to see progress and to lose little
LAUNCH_MEMBERS = 16_384

Arrays = dict[str, NDArray[Any]]


def launches(design: Design, *, most: int = LAUNCH_MEMBERS) -> list[list[int]]:
    """Numbers of the points of every launch: those that differ in PER_MEMBER alone, `most` members at a time."""
    together: dict[tuple[Any, ...], list[int]] = {}
    for number, point in enumerate(design.points):
        key = tuple(value for name, value in asdict(point).items() if name not in PER_MEMBER)
        together.setdefault(key, []).append(number)
    found = []
    for numbers in together.values():
        at_once = max(1, most // design.points[numbers[0]].members)
        found += [numbers[first : first + at_once] for first in range(0, len(numbers), at_once)]
    return sorted(found)


def backend_of(point: Point) -> str:
    """The backend that trains this point, and all of its launch, on this machine."""
    return backend_names(
        problem_of(point)[0], objective=point.objective, optimizer=point.optimizer, batch_size=point.batch_size,
        dtype=point.dtype, backend=point.backend,
    )[0]  # fmt: skip


def work(points: Sequence[Point], threads: int | None = None) -> Arrays:
    """Train the points of one launch; arrays with a row for each point.

    step (K, T), risk_mean and risk_error (K, T): mean R_S over the members and its standard error; diverged (K,):
    members lost; distance, distance_error (K, F): of the mean parameters from every flow at the end.
    """
    first, count = points[0], points[0].members
    problem = problem_of(first)[0]  # the same for all but for keep_prob, see PER_MEMBER
    problems = [replace(problem, keep_prob=point.keep_prob) for point in points]
    starts = [
        p.init(seed=q.init_seed, scale=q.init_scale, gamma=q.init_gamma) for p, q in zip(problems, points, strict=True)
    ]
    groups = groups_of(count) if first.kinds else 0  # distances alone need them
    runs = _simulated(
        problems[0], np.repeat(starts, count, axis=0), lr=np.repeat([q.lr for q in points], count),
        keep_prob=np.repeat([q.keep_prob for q in points], count), numbers=np.tile(np.arange(count), len(points)),
        steps=first.steps, seed=first.seed, objective=first.objective, optimizer=first.optimizer,
        batch_size=first.batch_size, dtype=first.dtype, backend=first.backend, record=first.record,
        quantiles=(), groups=max(2, groups * len(points)) if groups * len(points) > 1 else 0, threads=threads,
    )  # fmt: skip
    risk = runs["risk"].values.astype(np.float64).reshape(-1, len(points), count)  # (T, K, M)
    alive = np.isfinite(risk).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.nansum(risk, axis=2) / alive
        square = np.nansum(np.square(risk - mean[..., None]), axis=2) / (alive - 1)
        error = np.sqrt(square / alive)
    lost = (runs["diverged"].values.reshape(len(points), count) >= 0).sum(axis=1)
    found: Arrays = {
        "step": np.tile(runs["step"].values, (len(points), 1)),
        "risk_mean": np.where(alive > 0, mean, np.nan).T,
        "risk_error": np.where(alive > 1, error, np.nan).T,
        "diverged": lost.astype(np.int64),
    }
    return found | _distances(points, problems, starts, runs, groups)


def _simulated(*arguments: Any, **options: Any) -> Any:
    """What simulate() recorded, also where members were lost, which the results tell for every point."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            return simulate(*arguments, **options)
    except Diverged as error:
        return error.partial  # type: ignore[attr-defined]


def _distances(points: Sequence[Point], problems: list[Problem], starts: list[Any], runs: Any, groups: int) -> Arrays:
    """Distances (K, F) between mean parameters and flows at the end, with standard errors; NaN where not known."""
    kinds = points[0].kinds
    distance, error = (np.full((len(points), len(kinds)), np.nan) for _ in range(2))
    for k, (point, problem, theta0) in enumerate(zip(points, problems, starts, strict=True)):
        if groups < 3:
            break
        mine = slice(k * groups, (k + 1) * groups)
        means, counts = runs["group_theta_mean"].values[-1:, mine], runs["group_alive"].values[-1:, mine]
        for row, kind in enumerate(kinds):
            try:
                end = flow(problem, theta0, lr=point.lr, times=[point.lr * point.steps], kind=kind)["theta"].values
            except FlowFailed:
                continue
            squared = squared_distance(means, counts, end)
            found = root(squared.value, squared.error)
            distance[k, row], error[k, row] = found[0][0], found[1][0]
    return {"distance": distance, "distance_error": error}
