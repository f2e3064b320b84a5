"""sweep(): all launches of a design, here or on a Dask cluster, into a store that survives what happens to it."""

from __future__ import annotations

import itertools
import os
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simdrop_kernels.contract.step import BackendError

from ..checks.numbers import check_count, check_flag, check_number, check_threads
from ..checks.words import check_callable, check_path, shown
from ..errors import InvalidInput
from ..settings.problem import problem_of, start_of
from ..simulation.interrupt import raising
from ..study.predictions import EQUATIONS
from .design import Design, check_design
from .launch import CHECKPOINT_SECONDS, Arrays, Resume, launches, seconds_of_flows, with_backends, work
from .point import Point
from .store import Store, load

if TYPE_CHECKING:
    import xarray as xr

Progress = Callable[[int, int], None]

#: launches that wait at the scheduler for every worker: it never holds more results than that
AHEAD = 2
#: times that a launch is begun again after an error; of dead workers Dask takes care itself
RETRIES = 2
#: processes of a local cluster
MOST_WORKERS = 10_000
LOST = "the scheduler was lost; what is done is kept: --resume continues"


@dataclass(frozen=True)
class Plan:
    """What a sweep will take.

    updates: neuron·sample updates; seconds: from a short calibration of the first point and, for flows, of it and
    the last; equations: whether there are stochastic ones, which are not counted; memory: bytes of the largest launch's
    parameters and optimizer state; disk: bytes of the results before compression.
    """

    points: int
    launches: int
    equations: bool
    updates: float
    seconds: float
    memory: float
    disk: float


def plan(design: Design, *, threads: int | None = None) -> Plan:
    """Count the work of a design, and time a little of it. Raises InvalidInput for settings that do not fit."""
    check_design(design)
    threads = None if threads is None else check_threads(threads)
    parts, updates, memory, largest = launches(design), 0.0, 0.0, 0
    _firsts(design, parts)  # refuses what could not be run
    for part in parts:
        points = [design.points[number] for number in part]
        problem = problem_of(points[0])[0]
        samples = points[0].batch_size or problem.n_samples
        updates += sum(p.members * p.steps for p in points) * float(problem.width * samples)
        largest = max(largest, problem.n_params)
        memory = max(memory, 4.0 * 8 * problem.n_params * sum(p.members for p in points))
    times = max(point.record for point in design.points)
    first = design.points[0]
    row = 3 * times + 1 + 2 * len(first.kinds) + 2 * times * ("norm" in first.keep)
    if "theta_mean" in first.keep:
        row += times * largest
    disk = 8.0 * row * len(design.points)
    flows = np.mean([seconds_of_flows(point) for point in {first, design.points[-1]}])
    seconds = updates / _rate(design, threads) + float(flows) * len(design.points)
    equations = any(kind in EQUATIONS for kind in first.kinds)
    return Plan(len(design.points), len(parts), equations, updates, seconds, memory, disk)


def _firsts(design: Design, parts: Sequence[Sequence[int]]) -> list[Point]:
    """The first point of every launch with its backends; raises InvalidInput and BackendError for any."""
    found = []
    try:
        for part in parts:
            first = design.points[part[0]]
            found.append(with_backends(first))
            starts = {(point.init_scale, point.init_gamma): point for point in (design.points[k] for k in part)}
            if starts.keys() != {(1.0, 0.0)}:  # those cannot overflow
                problem = problem_of(first)[0]
                for point in starts.values():
                    start_of(problem, point)
    except (InvalidInput, BackendError) as error:
        raise type(error)(f"{design.where}: {error}") from None
    return found


def _rate(design: Design, threads: int | None) -> float:
    """Updates per second in a short run of the first point."""
    first = design.points[0]
    problem = problem_of(first)[0]
    short = replace(first, kinds=(), keep=(), record=2, steps=1)
    work([short], threads)  # compiles
    while True:
        began = clock.perf_counter()
        work([short], threads)
        seconds = clock.perf_counter() - began
        if seconds > 0.1 or short.steps >= first.steps:
            updates = short.members * short.steps * problem.width * (first.batch_size or problem.n_samples)
            return updates / seconds
        short = replace(short, steps=min(first.steps, 4 * short.steps))


@raising()
def sweep(
    design: Design,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    threads: int | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Run a design and keep its results in the folder `out`; what was done there before is not done again.

    resume: continue a sweep that is in `out`; workers: processes of a local Dask cluster, 0 for none; scheduler: the
    address of a Dask scheduler; checkpoint_seconds: launches that take longer keep their states, from which they go on;
    progress: called with (launches done, launches in all). Returns `load(out)`, which whatever stops the sweep has as
    `partial`.
    Raises InvalidInput for a folder in use, of another sweep or version, or that cannot be written to.
    """
    check_design(design)
    workers, resume = check_count("workers", workers, least=0, most=MOST_WORKERS), check_flag("resume", resume)
    threads = None if threads is None else check_threads(threads)
    checkpoint_seconds = check_number("checkpoint_seconds", checkpoint_seconds, least=0)
    if workers and scheduler is not None:
        raise InvalidInput("workers make a local cluster, scheduler names another: leave one out")
    if scheduler is not None and not (isinstance(scheduler, str) and scheduler.strip()):
        raise InvalidInput(f"scheduler must be an address such as tcp://host:8786, got {shown(scheduler)}")
    path = check_path("out", out)
    tell = check_callable("progress", progress) or (lambda done, total: None)
    parts = launches(design)
    firsts = _firsts(design, parts)  # here: a worker's choice might be another
    used = [name for first in firsts for name in (first.backend, first.sme_backend) if name != "auto"]
    with Store(path, design, backends=used, resume=resume) as store:
        try:
            _run(store, parts, firsts, tell, checkpoint_seconds, threads=threads, workers=workers, scheduler=scheduler)
        except BaseException as error:
            with suppress(Exception):  # of a folder that has gone
                error.partial = load(path)  # type: ignore[attr-defined]
            raise
    return load(path)


def _run(
    store: Store, parts: Sequence[list[int]], firsts: Sequence[Point], tell: Progress, checkpoint_seconds: float,
    **where: Any,
) -> None:  # fmt: skip
    """Run the launches that are not done yet."""
    left = [number for number, part in enumerate(parts) if not store.done(number, part)]
    done = len(parts) - len(left)
    tell(done, len(parts))
    jobs = {number: _Job(
        [firsts[number], *(store.design.points[k] for k in parts[number][1:])],
        Resume(store.checkpoint(number).absolute(), checkpoint_seconds),
    ) for number in left}  # fmt: skip
    for number, arrays in _results(jobs, **where):
        store.write(number, parts[number], arrays)
        done += 1
        tell(done, len(parts))


@dataclass(frozen=True)
class _Job:
    """What a launch needs."""

    points: Sequence[Point]
    resume: Resume


def _results(
    jobs: Mapping[int, _Job], *, threads: int | None, workers: int, scheduler: str | None
) -> Iterator[tuple[int, Arrays]]:
    """Numbers and results of launches, as they finish."""
    if not jobs:
        return
    if not workers and scheduler is None:
        for number, job in jobs.items():
            yield number, work(job.points, threads, job.resume)
        return
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise InvalidInput("a cluster needs Dask: pip install 'simdrop[cluster]'") from None
    with ExitStack() as stack:
        cluster: Any = scheduler
        if workers:
            cluster = stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
        try:
            client = stack.enter_context(Client(cluster))
        except (OSError, ValueError) as error:  # nobody answers; no address
            raise InvalidInput(f"scheduler {scheduler!r} cannot be reached: {error}") from None
        waiting, known = iter(jobs.items()), dict[str, int]()
        queue = as_completed()

        def fill() -> None:
            """Send launches for the workers that there are now."""
            try:
                room = AHEAD * max(1, len(client.nthreads()), workers) - len(known)
            except OSError:
                raise ConnectionError(LOST) from None
            for number, job in itertools.islice(waiting, max(room, 0)):
                future = client.submit(work, job.points, threads or 1, job.resume, pure=False, retries=RETRIES)
                known[future.key] = number
                queue.add(future)

        fill()
        for future in queue:
            try:
                arrays = future.result()
            except CancelledError:  # without a connection to the scheduler
                raise ConnectionError(LOST) from None
            yield known.pop(future.key), arrays
            fill()
