"""Does the cost of simdrop's backends grow linearly in members, steps, samples and width, and with the threads?

Along each axis the time of a run is measured over a ladder of sizes, all rungs in turn, least of several rounds. The
fit log time = a + b log size over the upper half of the ladder has b = 1 where the cost is linear; its standard error
comes from the scatter about the line.

    python bench/scaling.py [--backends native,numba] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

import common
import numpy as np

from simdrop.study.throughput.measure import Point, Stopwatch, check_backends

#: axis -> sizes; the lower half shows where fixed costs end
LADDERS: dict[str, list[int]] = {
    "members": [16, 64, 256, 1024, 4096, 16384, 65536, 262144],
    "steps": [1, 4, 16, 64, 256, 1024, 4096, 16384],
    "samples": [8, 16, 32, 64, 128, 256, 512, 1024],
    "width": [16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
}
BASE = {
    "members": Point(backend="", width=32),
    "steps": Point(backend="", width=32, members=64),
    "samples": Point(backend="", members=64),
    "width": Point(backend="", members=64),
}
STEPS = {"members": 20, "samples": 50, "width": 50}


def ladder(axis: str, backend: str, rounds: int, quick: bool, threads: int) -> dict[str, Any]:
    """Least seconds at every rung of an axis, and the slope of their fit."""
    sizes = LADDERS[axis][: len(LADDERS[axis]) - 2 * quick]
    watches = []
    for size in sizes:
        point = replace(BASE[axis], backend=backend, threads=threads)
        point = point if axis == "steps" else replace(point, **{axis: size})
        watch = Stopwatch(point, 0.0)
        watch.steps = size if axis == "steps" else STEPS[axis]
        watches.append(watch)
    seconds = np.min([[w.point.updates(w.steps) / w.rate() for w in watches] for _ in range(rounds)], axis=0)
    upper = len(sizes) // 2
    x, y = np.log(sizes[upper:]), np.log(seconds[upper:])
    away = x - x.mean()
    slope = away @ y / (away @ away)
    scatter = y - y.mean() - slope * away
    error = np.sqrt(scatter @ scatter / (len(x) - 2) / (away @ away))
    return {
        "axis": axis,
        "backend": backend,
        "sizes": sizes,
        "seconds": seconds.tolist(),
        "slope": slope,
        "error": error,
    }


def speedups(backend: str, rounds: int, threads: int) -> dict[str, Any]:
    """Rate on 1 … `threads` threads to that on one, round by round."""
    point = Point(backend=backend, members=512)
    counts = sorted({1, threads, *(2**k for k in range(10) if 2**k < threads)})
    watches = [Stopwatch(replace(point, threads=count), 0.3) for count in counts]
    rates = np.array([[watch.rate() for watch in watches] for _ in range(rounds)])
    ratios = rates / rates[:, :1]
    return {"backend": backend, "threads": counts, "speedup": np.median(ratios, axis=0).tolist()}


def draw(found: dict[str, Any], path: str) -> None:
    """A panel for each axis: time over size, with a line of slope 1 through the last rung."""
    from matplotlib.figure import Figure

    from simdrop.study.throughput.figure import COLORS, MARKERS

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for panel, axis in zip(figure.subplots(1, len(LADDERS)), LADDERS, strict=True):
        for row in (row for row in found["axes"] if row["axis"] == axis):
            label = f"{row['backend']}: slope {row['slope']:.2f} ± {row['error']:.2f}"
            color, marker = COLORS.get(row["backend"], "#CC79A7"), MARKERS.get(row["backend"], "v")
            panel.loglog(row["sizes"], row["seconds"], marker + "-", color=color, ms=4, lw=1.2, label=label)
            line = np.array(row["sizes"]) / row["sizes"][-1] * row["seconds"][-1]
            panel.loglog(row["sizes"], line, ":", color=color, lw=1)
        panel.set(xlabel=axis, ylabel="seconds")
        panel.legend(fontsize=7)
    figure.suptitle(f"Time of a run on {found['machine']['processor']}; dotted: linear", x=0.01, ha="left", fontsize=10)
    figure.savefig(path, dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="native,numba")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="without the two largest sizes")
    given = parser.parse_args()
    threads, info = common.cores(), common.machine()
    backends = check_backends(given.backends.split(","))
    axes = [ladder(axis, name, given.rounds, given.quick, threads) for axis in LADDERS for name in backends]
    found = {"machine": info, "axes": axes, "threads": [speedups(name, given.rounds, threads) for name in backends]}
    rows = [[row["backend"], row["axis"], f"{row['slope']:.3f} ± {row['error']:.3f}"] for row in axes]
    rows += [
        [row["backend"], f"{row['threads'][-1]} threads", f"{row['speedup'][-1]:.2f} ×"] for row in found["threads"]
    ]
    text = f"{info['processor']}, {info['cores']} cores, {info['date']}\n\n" + common.table(
        ["", "axis", "exponent, or speed-up over one thread"], rows
    )
    print(text)
    path = common.stem(info, "scaling")
    common.save(path, found, text)
    draw(found, str(path) + ".png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
