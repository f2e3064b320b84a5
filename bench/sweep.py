"""What does a sweep cost beyond its kernels, and how does that grow with members, points and workers?

tanh, width 32, 8 samples of one input, float32, one mask a step, backend native, one thread. A sweep is read, run and
stored as `simdrop sweep` does it. Processor time is the process's own, and of three kinds: in kernels, which are the
training calls; recording, which is the rest of `simulate`, as without a sweep; and the sweep itself: reading, planning,
reductions over members, checkpoints and the store. Workers are timed by the clock.

    python bench/sweep.py [--quick]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

from simdrop import scale
from simdrop.scale import launch
from simdrop.simulation.run import Run

#: the sizes that the project's target of 5 million member-steps a second and core is stated for
WIDTH, SAMPLES = 32, 8


def tables(folder: Path, *, points: int, members: int, steps: int) -> dict[str, Any]:
    """A grid over learning rates, on data that are written to `folder`."""
    data = folder / "data.npz"
    x = np.linspace(-1, 1, SAMPLES)
    np.savez(data, x=x, y=np.sin(3 * x))
    simulate = {"steps": steps, "members": members, "record": 11, "dtype": "float32", "backend": "native"}
    lr = {"from": 0.001, "to": 0.05, "count": points}
    return {"problem": {"data": str(data), "width": WIDTH, "keep_prob": 0.9}, "simulate": simulate, "sweep": {"lr": lr}}


class Timed:
    """Processor seconds spent in a function, by whoever calls it, while this is open."""

    def __init__(self, where: Any, name: str) -> None:
        self.where, self.name, self.real, self.seconds = where, name, getattr(where, name), 0.0

    def __enter__(self) -> Timed:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return self.real(*arguments, **options)
            finally:
                self.seconds += time.process_time() - began

        setattr(self.where, self.name, timed)
        return self

    def __exit__(self, *error: object) -> None:
        setattr(self.where, self.name, self.real)


def cost(*, points: int, members: int, steps: int) -> dict[str, float]:
    """One sweep, from its tables to the results on disk."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Timed(Run, "_advance") as kernels,
        Timed(launch, "simulate") as training,
    ):
        described = tables(Path(folder), points=points, members=members, steps=steps)
        began = time.process_time()
        scale.sweep(scale.design(described), Path(folder) / "out", threads=1)
        seconds = time.process_time() - began
    return {
        "points": points, "members": members, "steps": steps, "seconds": seconds, "kernel_seconds": kernels.seconds,
        "recording": (training.seconds - kernels.seconds) / kernels.seconds,
        "overhead": (seconds - training.seconds) / kernels.seconds,
        "member_steps_per_second": points * members * steps / seconds,
    }  # fmt: skip


def median(repeats: int, **sizes: int) -> dict[str, float]:
    """The run of median overhead."""
    return sorted((cost(**sizes) for _ in range(repeats)), key=lambda found: found["overhead"])[repeats // 2]


def peak(points: int) -> float:
    """Peak memory, in MiB, of a fresh process that runs a sweep of so many points."""
    command = [sys.executable, __file__, "--peak", str(points)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def clocked(workers: int, points: int, members: int, steps: int) -> float:
    """Seconds by the clock on so many local workers, 0 for none, their start included."""
    with tempfile.TemporaryDirectory() as folder:
        design = scale.design(tables(Path(folder), points=points, members=members, steps=steps))
        began = time.perf_counter()
        scale.sweep(design, Path(folder) / "out", threads=1, workers=workers)
        return time.perf_counter() - began


def report(found: dict[str, Any]) -> str:
    """Three tables."""
    rows = [
        [f"{r['points']:,}", f"{r['members']:,}", f"{r['steps']:,}", f"{r['seconds']:.3g}",
         f"{r['kernel_seconds'] / r['points']:.2g}", f"{100 * r['recording']:.1f} %", f"{100 * r['overhead']:.1f} %",
         f"{r['member_steps_per_second'] / 1e6:.2f}"]
        for r in found["cost"]
    ]  # fmt: skip
    head = [
        "points",
        "members",
        "steps",
        "processor s",
        "kernel s a point",
        "recording",
        "sweep",
        "10⁶ member·steps/s/core",
    ]
    memory = [[f"{points:,}", f"{size:.0f}"] for points, size in found["peak"].items()]
    workers = [[str(count) if count else "none", f"{seconds:.1f}"] for count, seconds in found["workers"].items()]
    return "\n\n".join(
        [common.table(head, rows), common.table(["points", "peak MiB"], memory),
         common.table(["workers", "s by the clock"], workers)]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, one run of each")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        cost(points=args.peak, members=8, steps=10)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    repeats, part = (1, 10) if args.quick else (3, 1)
    cost(points=1, members=8, steps=10)  # compiles, imports
    sizes = [(1, 1000, 8000), (1, 10_000, 800), (4, 2000, 4000), (40, 200, 4000), (400, 20, 4000), (4000, 2, 4000)]
    found: dict[str, Any] = {
        "cost": [median(repeats, points=p, members=m, steps=max(s // part, 1)) for p, m, s in sizes],
        "peak": {points: peak(points) for points in (1000, 10_000, 30_000)},
        "workers": {count: clocked(count, 8, 10_000, 4000 // part) for count in (0, 1, 2)},
    }
    info = common.machine()
    text = f"{info['processor']}, {info['date']}\n\n" + report(found)
    print(text)
    common.save(common.stem(info, "sweep"), {"machine": info, **found}, text)


if __name__ == "__main__":
    main()
