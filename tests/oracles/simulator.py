"""A process in which Numba simulates CUDA, and what the tests of backend "cuda" run there.

The simulator is chosen when Numba is first imported, for all of a process: it cannot share one with the tests of
the other backends. On a machine with a device the same functions run in the process of the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from oracles import turns

from simdrop_kernels import registry
from simdrop_kernels.contract.step import BackendError, Ensemble, Step
from simdrop_kernels.cuda.train import backend as cuda

Call = Callable[..., Any]


@contextmanager
def simulator() -> Iterator[Call]:
    """The function (job, *arguments) -> what job returns in a process with the simulator."""
    before = os.environ.get("NUMBA_ENABLE_CUDASIM")
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start) as pool:
            pool.submit(int).result()  # the process starts with the first job
            if before is None:
                del os.environ["NUMBA_ENABLE_CUDASIM"]
            yield lambda job, *arguments, **options: pool.submit(job, *arguments, **options).result()
    finally:
        os.environ.pop("NUMBA_ENABLE_CUDASIM", None)
        if before is not None:
            os.environ["NUMBA_ENABLE_CUDASIM"] = before


def _start() -> None:
    turns.take_turns()
    np.seterr(all="ignore")


def on_device(job: Call, *arguments: Any, **options: Any) -> Any:
    """Run a job here, on a real device."""
    if reason := cuda.unavailable():
        raise RuntimeError(reason)
    return job(*arguments, **options)


def train(
    step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, *, seed: int, first_step: int = 0, steps: int = 3,
    chunk: int | None = None, shape: Any = None, devices: list[int] | None = None, limit: int | None = None,
) -> Ensemble:  # fmt: skip
    """Train on one session, `chunk` steps a call, and return the ensemble."""
    from simdrop_kernels.cuda.train.program import Program
    from simdrop_kernels.cuda.train.session import Session

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=seed, shape=_whole_warps(shape))
    session = Session(program, ensemble, on=devices, limit=limit)
    done = 0
    while done < steps:
        count = min(chunk or steps, steps - done)
        session.advance(first_step=first_step + done, steps=count)
        done += count
    session.fetch()
    return ensemble


def follow(
    equation: Any, x: NDArray, y: NDArray, ensemble: Ensemble, seed: int, first_step: int, sizes: list[float]
) -> Ensemble:
    """Take paths of a stochastic equation through their steps, each in a call of its own, and return them."""
    from simdrop_kernels.cuda.follow import backend as cuda

    for k, size in enumerate(sizes):
        cuda.advance(equation, x, y, ensemble, seed=seed, first_step=first_step + k, sizes=np.array([size]))
    return ensemble


def _whole_warps(shape: Any) -> Any:
    """The shape with as many members, or lanes, as whole warps of this machine need."""
    from simdrop_kernels.cuda import machine
    from simdrop_kernels.cuda.train import plan

    if isinstance(shape, plan.TeamShape):
        return shape._replace(members=max(shape.members, machine.WARP // shape.lanes))
    lanes = max(shape.lanes, 2 * machine.WARP) if shape else 0
    return shape._replace(lanes=lanes, across=min(8, lanes // 2)) if shape else None


def advance(step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, **options: Any) -> Ensemble:
    """The backend's own `advance`."""
    cuda.advance(step, x, y, ensemble, **options)
    return ensemble


def short_of_memory(holds: int, step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, **options: Any) -> Ensemble:
    """Train on a device that holds so many members in one block, and finds out only when it is full."""
    from simdrop_kernels.cuda.train import session

    make = session.Block.__init__

    def full(self: Any, program: Any, ensemble: Any, device: int, first: int, last: int) -> None:
        if last - first > holds:
            raise MemoryError
        make(self, program, ensemble, device, first, last)

    session.Block.__init__ = full  # type: ignore[method-assign]
    try:
        return train(step, x, y, ensemble, **options)
    finally:
        session.Block.__init__ = make  # type: ignore[method-assign]


def little_memory(numbers: int, step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, **options: Any) -> Ensemble:
    """Train on a device that reports so many bytes free."""
    from simdrop_kernels.cuda.train import session

    free = session.memory_free
    session.memory_free = lambda: float(numbers)
    try:
        return train(step, x, y, ensemble, **options)
    finally:
        session.memory_free = free


def host_between_calls(step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, seed: int) -> list[NDArray]:
    """The host's theta before the fetch, after it, and after more steps with member 0 marked as diverged."""
    session = cuda.open(step, x, y, ensemble, seed=seed)
    session.advance(first_step=0, steps=2)
    seen = [ensemble.theta.copy()]
    session.fetch()
    seen.append(ensemble.theta.copy())
    ensemble.diverged[0] = 2
    session.advance(first_step=2, steps=2)
    session.fetch()
    return [*seen, ensemble.theta.copy()]


def evaluate(step: Step, x: NDArray, theta: NDArray, outputs: int) -> NDArray:
    """The backend's own `evaluate`, two members a launch."""
    from simdrop_kernels.cuda.train import program

    before, program.EVALUATED = program.EVALUATED, 2 * len(x) * outputs
    try:
        return cuda.evaluate(step.network, x, theta, outputs)
    finally:
        program.EVALUATED = before


def drawn_masks(*arguments: Any) -> NDArray:
    """See `cuda_draws`."""
    from oracles import cuda_draws

    return cuda_draws.masks(*arguments)


def drawn_batches(*arguments: Any) -> NDArray:
    """See `cuda_draws`."""
    from oracles import cuda_draws

    return cuda_draws.batches(*arguments)


def recorded_run(**options: Any) -> dict[str, NDArray]:
    """All that `simdrop.simulate` records, of members of which one diverges."""
    import simdrop

    x = np.linspace(-1, 1, 8).reshape(4, 2)
    problem = simdrop.Problem(x, np.sin(3 * x), width=6, keep_prob=0.8, activation="quadratic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", simdrop.errors.DivergenceWarning)
        data = simdrop.simulate(
            problem, problem.init(seed=1, scale=0.3), lr=[0.1, 50.0, 0.05, 0.1, 0.02], steps=6, record=4,
            keep_theta=[0, 3], grid=x[:3], covariance=[1, 4, 5], norms=True, groups=2, **options,
        )  # fmt: skip
    return {str(name): values.values for name, values in data.data_vars.items()}


def simulated_run(**options: Any) -> dict[str, NDArray]:
    """A whole `simdrop.simulate` on the papers' problem."""
    import simdrop

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem = simdrop.Problem(np.linspace(-1, 1, 4), np.sin(np.linspace(-3, 3, 4)), width=6, keep_prob=0.8)
        data = simdrop.simulate(problem, problem.init(seed=1), lr=0.1, steps=4, members=3, record=3, **options)
    return {name: data[name].values for name in ("risk", "theta_mean", "theta_std")}


def sessions_opened(**options: Any) -> int:
    """How many sessions a whole `simdrop.simulate` opens: each copies all state to the device."""
    import simdrop.simulation.run
    from simdrop_kernels.cuda.train import session

    opened, make, seconds = [], session.Session.__init__, simdrop.simulation.run.CALL_SECONDS

    def count(self: Any, *arguments: Any, **options: Any) -> None:
        opened.append(self)
        make(self, *arguments, **options)

    session.Session.__init__ = count  # type: ignore[method-assign]
    simdrop.simulation.run.CALL_SECONDS = 0.0  # every call of the kernel takes one step
    try:
        simulated_run(backend="cuda", **options)
    finally:
        session.Session.__init__ = make  # type: ignore[method-assign]
        simdrop.simulation.run.CALL_SECONDS = seconds
    return len(opened)


def observed(
    step: Step, x: NDArray, y: NDArray, ensemble: Ensemble, points: NDArray, alive: NDArray, devices: list[int],
) -> dict[str, NDArray]:  # fmt: skip
    """What a recorder takes from members that lie on devices, after two steps, and the members themselves."""
    from simdrop_kernels.cuda.train import observe
    from simdrop_kernels.cuda.train.program import Program
    from simdrop_kernels.cuda.train.session import Session

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=5)
    session = Session(program, ensemble, on=devices)
    session.advance(first_step=0, steps=2)
    sizes = {"theta": ensemble.theta.shape[1], "values": len(points) * y.shape[1]}
    sums = {what: (np.zeros(1, np.int64), np.zeros(size), np.zeros(size)) for what, size in sizes.items()}
    found: dict[str, list[NDArray]] = {"risk": [], "norm": [], "finite": [], "some": []}
    before, observe.EVALUATED = observe.EVALUATED, 4 * len(points) * y.shape[1]  # values of four members at a time
    for first, seen in session.observe(points):
        for what, running in sums.items():
            seen.add(what, slice(0, seen.members), alive[first : first + seen.members], *running)
        rows = np.array([seen.members - 1, 0])
        parts = {"risk": seen.risk, "norm": seen.norms(), "finite": seen.finite}
        parts["some"] = seen.theta(rows, np.array([3, 1]))
        for name, part in parts.items():
            found[name].append(part)
    observe.EVALUATED = before
    session.fetch()
    result = {name: np.concatenate(parts) for name, parts in found.items()} | {"all": ensemble.theta}
    for what, (count, mean, m2) in sums.items():
        result |= {f"{what}.count": count, f"{what}.mean": mean, f"{what}.m2": m2}
    return result


def auto_choice() -> str:
    """What "auto" takes, and why."""
    return registry.choose("auto", Step(), np.dtype("float64"))[1]


def on_devices(
    capabilities: list[tuple[int, int]], named: str | None, **options: Any
) -> tuple[NDArray, list[int]] | str:
    """The last theta of a run of `simdrop.simulate` on devices of these capabilities, and the order of their launches.

    Or what it says where it refuses. A launch takes one step.
    """
    import simdrop
    from simdrop_kernels.cuda import devices
    from simdrop_kernels.cuda.train import program, session

    launched: list[int] = []
    advance = session.Block.advance

    def note(self: Any, *arguments: Any) -> None:
        launched.append(self.device)
        advance(self, *arguments)

    there = {} if named is None else {devices.VARIABLE: named}
    with (
        mock.patch.dict(os.environ, there),
        mock.patch.object(devices, "capabilities", return_value=capabilities),
        mock.patch.object(program, "LAUNCH_STEPS", 1),
        mock.patch.object(session.Block, "advance", note),
    ):
        problem = simdrop.Problem(np.linspace(-1, 1, 4), np.ones(4), width=6, keep_prob=0.8)
        try:
            data = simdrop.simulate(
                problem, problem.init(seed=1), lr=0.1, steps=4, members=5, record=[4], keep_theta=True, backend="cuda",
                **options,
            )  # fmt: skip
        except BackendError as error:
            return str(error)
    return data["theta"].values[-1], launched


def sme_on_devices(capabilities: list[tuple[int, int]]) -> tuple[NDArray, list[int]]:
    """Means of paths of `simdrop.sme` on devices of these capabilities, and which devices took some."""
    import simdrop
    from simdrop_kernels.cuda import devices

    problem = simdrop.Problem(np.linspace(-1, 1, 3), np.ones(3), width=3, keep_prob=0.8)
    with (
        mock.patch.object(devices, "capabilities", return_value=capabilities),
        mock.patch.object(devices, "on", side_effect=devices.on) as on,
    ):
        data = simdrop.sme(problem, problem.init(seed=1), lr=0.1, times=[0, 0.2], members=5, substeps=1, backend="cuda")
    return data["theta_mean"].values, sorted({call.args[0] for call in on.call_args_list})


def bytes_copied(members: int, width: int, records: list[int]) -> tuple[int, int, int]:
    """Bytes that a run of `simdrop.simulate` copies to a device and from it, and those of all theta."""
    from numba import cuda as numba_cuda
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    import simdrop

    counted = {"up": 0, "down": 0}
    up, down = numba_cuda.to_device, FakeCUDAArray.copy_to_host

    def count_up(array: NDArray, *arguments: Any) -> Any:
        counted["up"] += array.nbytes
        return up(array, *arguments)

    def count_down(self: Any, *arguments: Any) -> Any:
        counted["down"] += self.size * self.dtype.itemsize
        return down(self, *arguments)

    problem = simdrop.Problem(np.linspace(-1, 1, 4), np.ones(4), width=width, keep_prob=0.8)
    with (
        mock.patch.object(numba_cuda, "to_device", count_up),
        mock.patch.object(FakeCUDAArray, "copy_to_host", count_down),
    ):
        simdrop.simulate(
            problem, problem.init(seed=1), lr=0.1, steps=4, members=members, record=records, backend="cuda"
        )
    return counted["up"], counted["down"], members * problem.n_params * 8
