"""sweep(): all launches of a design, here or on a Dask cluster, into a store that survives what happens to it."""

from __future__ import annotations

import itertools
import os
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simdrop_kernels.contract.step import BackendError

from ..checks.numbers import check_count, check_flag, check_number, check_threads
from ..checks.words import check_path, shown
from ..errors import InvalidInput
from ..output.progress import Progress, check_progress, telling
from ..settings.problem import start_of
from ..simulation.interrupt import raising
from ..study.predictions import equations
from .data import problem_of
from .design import Design, check_design
from .launch import CHECKPOINT_SECONDS, Arrays, Resume, launches, seconds_of_flows, with_backends, work
from .point import Point
from .store import Store, load

if TYPE_CHECKING:
    import xarray as xr

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

    Parameters
    ----------
    points : int
        Number of points.
    launches : int
        Number of launches: points that share shapes are trained together.
    equations : bool
        Whether there are stochastic equations, whose work is not counted.
    updates : float
        Neuron·sample updates.
    seconds : float
        Estimated time, from a short run of the first point and the flows of the first and the last.
    memory : float
        Bytes of parameters and optimizer state of the largest launch.
    disk : float
        Bytes of the results before compression.
    """

    points: int
    launches: int
    equations: bool
    updates: float
    seconds: float
    memory: float
    disk: float


def plan(design: Design, *, threads: int | None = None) -> Plan:
    """Count the work of a sweep, and time a little of it.

    Parameters
    ----------
    design : Design
        The points.
    threads : int, optional
        Processor threads; all cores by default.

    Returns
    -------
    Plan
        Points, launches, updates, seconds, bytes.

    Raises
    ------
    InvalidInput, BackendError
        A point cannot be run.
    """
    check_design(design)
    threads = None if threads is None else check_threads(threads)
    parts, updates, memory, largest = launches(design), 0.0, 0.0, 0
    _firsts(design, parts)  # refuses what could not be run
    for part in parts:
        points = [design.points[number] for number in part]
        problem = problem_of(points[0])
        samples = points[0].batch_size or problem.n_samples
        updates += sum(p.members * p.steps for p in points) * float(problem.width * samples)
        largest = max(largest, problem.n_params)
        memory = max(memory, 4.0 * 8 * problem.n_params * sum(p.members for p in points))
    times = max(point.times for point in design.points)
    first = design.points[0]
    row = times + 1 + 2 * len(first.kinds) + 2 * times * len(first.quantities)
    if "theta_mean" in first.keep:
        row += times * largest
    disk = 8.0 * row * len(design.points)
    flows = np.mean([seconds_of_flows(point) for point in {first, design.points[-1]}])
    seconds = updates / _rate(design, threads) + float(flows) * len(design.points)
    stochastic = bool(equations(first.kinds))
    return Plan(len(design.points), len(parts), stochastic, updates, seconds, memory, disk)


def _firsts(design: Design, parts: Sequence[Sequence[int]]) -> list[Point]:
    """The first point of every launch with its backends; raises InvalidInput and BackendError for any."""
    found = []
    try:
        for part in parts:
            first = design.points[part[0]]
            found.append(with_backends(first))
            starts = {(point.init_scale, point.init_gamma): point for point in (design.points[k] for k in part)}
            if starts.keys() != {(1.0, 0.0)}:  # those cannot overflow
                problem = problem_of(first)
                for point in starts.values():
                    start_of(problem, point)
    except (InvalidInput, BackendError) as error:
        raise type(error)(f"{design.where}: {error}") from None
    return found


def _rate(design: Design, threads: int | None) -> float:
    """Updates per second in a short run of the first point."""
    first = design.points[0]
    problem = problem_of(first)
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
    progress: Progress | bool | None = None,
) -> xr.Dataset:
    """Run a sweep and keep its results in a folder; what was done there before is not done again.

    Parameters
    ----------
    design : Design
        The points.
    out : path
        Folder of the results; `load` reads it, also while it grows.
    resume : bool
        Whether to continue a sweep that is in `out`.
    threads : int, optional
        Processor threads of a launch; all cores by default, 1 on a cluster.
    workers : int
        Processes of a local Dask cluster; 0 for none.
    scheduler : str, optional
        Address of a Dask scheduler, such as "tcp://host:8786".
    checkpoint_seconds : float
        Launches that take longer keep their state this often, in seconds, and continue from it.
    progress : bool or callable, optional
        True for a bar on stderr, or a function called as progress(stage, done, total) with stage "launches" and their
        numbers.

    Returns
    -------
    xarray.Dataset
        `load(out)`.

    Raises
    ------
    InvalidInput
        An argument is wrong, or the folder is in use, holds another sweep or another version's, or cannot be written
        to.
    BackendError
        A named backend cannot run a point.
    KeyboardInterrupt
        As in `simdrop.simulate`. Whatever stops the sweep has the results so far as `partial`.
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
    progress = check_progress(progress)
    parts = launches(design)
    firsts = _firsts(design, parts)  # here: a worker's choice might be another
    used = [name for first in firsts for name in (first.backend, first.sme_backend) if name != "auto"]
    with Store(path, design, backends=used, resume=resume) as store, telling(progress) as tell:
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
    tell("launches", done, len(parts))
    jobs = {number: _Job(
        [firsts[number], *(store.design.points[k] for k in parts[number][1:])],
        Resume(store.checkpoint(number).absolute(), checkpoint_seconds),
    ) for number in left}  # fmt: skip
    for number, arrays in _results(jobs, **where):
        store.write(number, parts[number], arrays)
        done += 1
        tell("launches", done, len(parts))


@dataclass(frozen=True)
class _Job:
    """A launch that is to be run: its points, and the checkpoint from which it resumes."""

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
            try:
                cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            except RuntimeError as error:
                raise InvalidInput(
                    f"workers={workers} could not be started: {error}; a script that starts some has its work below"
                    " if __name__ == '__main__', for they load it again"
                ) from None
            stack.enter_context(cluster)
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
