"""Is what "auto" takes the fastest? Every backend that takes a configuration is timed beside it, in turn.

Noises and stochastic equations from 5 neurons on 4 samples up, tanh, one input and a bias unless said otherwise.
What compiles does so before. Medians of the repetitions: processor time on one thread, which other programs disturb
little; wall time of the kernels where two threads are asked for. Exit status 1 where "auto" is more than FACTOR times
slower than the best.

    python bench/auto.py [--repeats 3] [--only TEXT] [--save]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import common
import numpy as np

import simdrop
from simdrop_kernels import BackendError, registry
from simdrop_kernels.contract.equation import INCREMENTS

#: how much slower than the best "auto" may be: the order of magnitude is what is held, timings here vary by as much
FACTOR = 1.5
#: samples, neurons, members, steps
SIZES = [(4, 5, 500, 60), (8, 32, 200, 30), (16, 100, 100, 20), (32, 1000, 12, 8)]
NOISES: dict[str, dict[str, Any]] = {
    "plain": {},
    "svag": {"svag": 20},
    "2 masks": {"noise": simdrop.Noise(masks=2)},
    "gaussian": {"noise": simdrop.Noise(law="gaussian")},
    "minibatch": {"noise": simdrop.Noise(batch_size=2, replace=True)},
    "label": {"noise": simdrop.Noise(label=0.1)},
    "parameter": {"noise": simdrop.Noise(parameter=0.1)},
    "connect": {"noise": simdrop.Noise(connect=0.8)},
    "drift": {"noise": simdrop.Noise(part="drift")},
    "noise alone": {"noise": simdrop.Noise(part="noise")},
    "output weights": {"train": "output"},
}
SOME = ("plain", "svag", "gaussian", "minibatch")
#: samples, neurons of stochastic equations
SME_SIZES = [(4, 5), (8, 10), (8, 20), (16, 32), (15, 50)]

Work = Callable[[str, bool], Any]


class Case(NamedTuple):
    """What is timed: work(backend, short) returns the results of a run, a short one to warm up."""

    name: str
    backends: tuple[str, ...]
    threads: int
    work: Work


def problem_of(samples: int, width: int, **options: Any) -> tuple[simdrop.Problem, Any]:
    """A problem of one input, with a start."""
    x = np.linspace(-1, 1, samples)
    problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7, **options)
    return problem, problem.init(seed=3, scale=1 / np.sqrt(width))


def training(problem: simdrop.Problem, theta: Any, *, members: int, steps: int, **options: Any) -> Work:
    """A simulation of so many members and steps."""

    def work(backend: str, short: bool) -> Any:
        count = min(members, 2) if short else members
        length = 2 if short else steps
        return simdrop.simulate(
            problem, theta, lr=0.01, steps=length, members=count, record=2, backend=backend, **options
        )

    return work


def following(problem: simdrop.Problem, theta: Any, *, members: int, **options: Any) -> Work:
    """Ten steps of so many paths."""

    def work(backend: str, short: bool) -> Any:
        count, end = (min(members, 2), 0.1) if short else (members, 0.5)
        return simdrop.sme(
            problem, theta, lr=0.05, times=[0, end], members=count, substeps=1, backend=backend, **options
        )

    return work


def noises() -> Iterator[Case]:
    """All noises at all sizes in float64, some in float32 too, and sample masks."""
    for (samples, width, members, steps), (name, given) in product(SIZES, NOISES.items()):
        options = dict(given)
        problem, theta = problem_of(samples, width, train=options.pop("train", "both"))
        for dtype in ("float64", "float32") if name in SOME else ("float64",):
            known = options | {"members": members, "steps": steps, "threads": 1, "dtype": dtype}
            yield Case(
                f"{name}, {dtype}, n={samples} m={width}", registry.names(), 1, training(problem, theta, **known)
            )
    for samples, width, members, steps in SIZES:
        problem, theta = problem_of(samples, width, mask="sample")
        known = {"members": members, "steps": steps, "threads": 1}
        for name in ("plain", "2 masks"):
            work = training(problem, theta, **NOISES[name], **known)
            yield Case(f"{name}, sample masks, n={samples} m={width}", registry.names(), 1, work)


def wide() -> Iterator[Case]:
    """784 inputs, 10 outputs, 1000 neurons, minibatches of 64."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((256, 784)), np.eye(10)[rng.integers(0, 10, 256)]
    problem = simdrop.Problem(x, y, width=1000, keep_prob=0.7, output_scale="1/sqrt(m)")
    theta = problem.init(seed=3, scale=0.03)
    given = {"plain": {"batch_size": 64}, "gaussian": {"noise": simdrop.Noise(law="gaussian", batch_size=64)}}
    for (name, options), dtype in product(given.items(), ("float64", "float32")):
        work = training(problem, theta, members=1, steps=6, threads=1, dtype=dtype, **options)
        yield Case(f"{name}, {dtype}, B=64 m=1000 d=784 c=10", registry.names(), 1, work)


def few() -> Iterator[Case]:
    """One and two members on two threads."""
    for members, (samples, width, steps) in product((1, 2), [(4, 5, 20000), (32, 1000, 200)]):
        problem, theta = problem_of(samples, width)
        for name in ("plain", "gaussian"):
            length = steps // (1 if name == "plain" else 4)
            work = training(problem, theta, members=members, steps=length, threads=2, **NOISES[name])
            yield Case(f"{name}, {members} of 2 threads, n={samples} m={width}", registry.names(), 2, work)


def equations() -> Iterator[Case]:
    """Stochastic equations of both orders, increments, kinds of mask and precisions, and of few paths."""
    for (samples, width), mask in product(SME_SIZES, ("step", "sample")):
        problem, theta = problem_of(samples, width, mask=mask)
        members = max(50, 40000 // (samples * width))
        for order, increments in product((1, 2), INCREMENTS):
            work = following(problem, theta, members=members, order=order, increments=increments, threads=1)
            yield Case(
                f"sme {order}, {increments}, {mask} masks, n={samples} m={width}",
                registry.names(registry.FOLLOWING),
                1,
                work,
            )
    for samples, width in SME_SIZES[:1]:
        problem, theta = problem_of(samples, width)
        for increments in INCREMENTS:
            for dtype, members, threads in (("float32", 2000, 1), ("float64", 1, 2), ("float64", 2, 2)):
                options = {"order": 1, "increments": increments, "threads": threads, "dtype": dtype}
                work = following(problem, theta, members=members, **options)
                name = f"sme 1, {increments}, {dtype}, {members} paths, n={samples} m={width}"
                yield Case(name, registry.names(registry.FOLLOWING), threads, work)


def measure(case: Case, repeats: int) -> tuple[str, dict[str, float]]:
    """The backend that "auto" takes, and median seconds by backend."""
    taken = case.work("auto", False).attrs["backend"]  # the choice may go by the number of members
    seconds: dict[str, list[float]] = {}
    for backend in case.backends:
        try:
            case.work(backend, True)  # compiles
        except BackendError:
            continue
        seconds[backend] = []
    for _ in range(repeats if case.threads == 1 else 2 * repeats - 1):
        for backend, found in seconds.items():
            began = time.process_time()
            data = case.work(backend, False)
            found.append(time.process_time() - began if case.threads == 1 else data.attrs["kernel_seconds"])
    return taken, {backend: statistics.median(found) for backend, found in seconds.items()}


def main() -> int:
    """Print a line for each case, and say by the exit status whether "auto" holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed (default 3)")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    parser.add_argument("--note", default="", help="a remark about this run, kept with it")
    arguments = parser.parse_args()
    info, rows = common.machine(), []
    for case in (case for part in (noises, wide, few, equations) for case in part() if arguments.only in case.name):
        taken, seconds = measure(case, arguments.repeats)
        ratio = seconds[taken] / min(seconds.values())
        rows.append({"case": case.name, "auto": taken, "ratio": ratio, "seconds": seconds})
        told = "  ".join(f"{backend} {value:.4f} s" for backend, value in seconds.items())
        print(f"{case.name:<48} auto: {taken:<7} {ratio:5.2f} times the best   {told}", flush=True)
    slow = sum(row["ratio"] > FACTOR for row in rows)
    end = f"{slow} of {len(rows)} cases beyond {FACTOR} times the best."
    print(end)
    if arguments.save:
        backends = list(dict.fromkeys(backend for row in rows for backend in row["seconds"]))
        cells = [
            [row["case"], row["auto"], f"{row['ratio']:.2f}"]
            + [f"{row['seconds'][b]:.4f}" if b in row["seconds"] else "–" for b in backends]
            for row in rows
        ]
        head = f"{info['processor']}, {info['cores']} cores, {info['simd']}, {info['date']}. {arguments.note}".rstrip()
        text = common.table(["", "auto", "times the best", *(f"{b}, s" for b in backends)], cells)
        result = {"machine": info, "note": arguments.note, "factor": FACTOR, "cases": rows}
        common.save(common.stem(info, "auto"), result, f"{head}\n\n{end}\n\n{text}")
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
