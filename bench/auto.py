"""Is what "auto" takes the fastest here? Every backend that takes a configuration is timed, interleaved.

Noises and stochastic equations at sizes from 5 neurons on 4 samples up, float64, tanh. Processor time of the process,
median of the repetitions; compilation is left out. Exit status 1 where "auto" is more than FACTOR times slower than
the best.

    python bench/auto.py [--quick] [--no-sme]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import common
import numpy as np

import simdrop
from simdrop import provenance
from simdrop_kernels import BackendError, registry, sde

#: how much slower than the best "auto" may be: timings on a shared machine differ by as much
FACTOR = 1.3
#: neurons, samples, members, steps
SIZES = [(5, 4, 1000, 200), (32, 8, 300, 100), (100, 16, 100, 100)]
NOISES: dict[str, dict[str, Any]] = {
    "plain": {},
    "svag": {"svag": 20},
    "2 masks": {"noise": simdrop.Noise(masks=2)},
    "gaussian": {"noise": simdrop.Noise(law="gaussian")},
    "minibatch": {"noise": simdrop.Noise(batch_size=2)},
    "label": {"noise": simdrop.Noise(label=0.1)},
    "parameter": {"noise": simdrop.Noise(parameter=0.1)},
    "connect": {"noise": simdrop.Noise(connect=0.8)},
    "drift": {"noise": simdrop.Noise(part="drift")},
    "noise alone": {"noise": simdrop.Noise(part="noise")},
}
Work = Callable[[str, bool], Any]


def works(*, smes: bool) -> dict[str, tuple[Work, tuple[str, ...]]]:
    """What is timed, work(backend, short), by name, with the backends to try."""
    found: dict[str, tuple[Work, tuple[str, ...]]] = {}
    for width, samples, members, steps in SIZES:
        x = np.linspace(-1, 1, samples)
        problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7)
        theta = problem.init(seed=3, scale=1 / np.sqrt(width))
        for name, options in NOISES.items():

            def train(backend: str, short: bool, problem=problem, theta=theta, size=(members, steps), options=options):
                count, length = (2, 2) if short else size
                return simdrop.simulate(
                    problem,
                    theta,
                    lr=0.02,
                    steps=length,
                    members=count,
                    record=2,
                    threads=1,
                    backend=backend,
                    **options,
                )

            found[f"{name}, m={width} n={samples}"] = train, registry.names()
        for increments in sde.INCREMENTS if smes else ():

            def follow(backend: str, short: bool, problem=problem, theta=theta, size=members, increments=increments):
                return simdrop.sme(
                    problem, theta, lr=0.05, times=[0, 0.1 if short else 1], members=2 if short else size, order=1,
                    substeps=1, increments=increments, threads=1, backend=backend,
                )  # fmt: skip

            found[f"sme, {increments}, m={width} n={samples}"] = follow, sde.names()
    return found


def measure(work: Work, backends: tuple[str, ...], repetitions: int) -> tuple[str, dict[str, float]]:
    """The backend that "auto" takes, and seconds by backend."""
    taken = work("auto", True).attrs["backend"]
    seconds: dict[str, list[float]] = {}
    for backend in backends:
        try:
            work(backend, True)  # compiles
        except BackendError:
            continue
        seconds[backend] = []
    for _ in range(repetitions):
        for backend, found in seconds.items():
            started = time.process_time()
            work(backend, False)
            found.append(time.process_time() - started)
    return taken, {backend: statistics.median(found) for backend, found in seconds.items()}


def main() -> int:
    """Print a line for each case, save all, and say by the exit status whether "auto" holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three repetitions in the place of seven")
    parser.add_argument("--no-sme", action="store_true", help="leave out the stochastic equations, slow to compile")
    arguments = parser.parse_args()
    rows, slow = [], 0
    for name, (work, backends) in works(smes=not arguments.no_sme).items():
        taken, seconds = measure(work, backends, 3 if arguments.quick else 7)
        ratio = seconds[taken] / min(seconds.values())
        slow += ratio > FACTOR
        rows.append({"case": name, "auto": taken, "ratio": ratio, "seconds": seconds})
        told = "  ".join(f"{backend} {value:.3f} s" for backend, value in seconds.items())
        print(f"{name:<28} auto: {taken:<7} {ratio:5.2f} times the best   {told}", flush=True)
    path = common.RESULTS / f"auto-{date.today().isoformat()}.json"
    path.write_text(json.dumps({"factor": FACTOR, "machine": provenance.machine(), "rows": rows}, indent=1))
    print(f"{slow} of {len(rows)} cases beyond {FACTOR} times the best; {path}")
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
