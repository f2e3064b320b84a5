"""What a step of a path of the stochastic equations costs, over the width, and how long 10⁴ paths take.

Step masks, one output, d = 1 with bias: normal numbers m (m + 1) / 2 a step, 2 n multiply-adds for each of them beside;
a path works in about 8 (4 n + 30) m bytes. Sample masks: n (2 m + 1) normal numbers. Drift: O(n m) a stage.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import numpy as np

import simdrop
from simdrop.provenance import cores


def problem_of(width: int, mask: str, samples: int = 15) -> simdrop.Problem:
    x = np.linspace(-12, 12, samples)
    y = np.tanh(x - 6) + np.tanh(x + 6)
    return simdrop.Problem(x, y, width=width, keep_prob=0.9, mask=mask, output_scale="1/sqrt(m)")


def measure(width: int, mask: str, order: int, threads: int) -> float:
    """Microseconds of one processor that one step of one path takes: best of three."""
    problem = problem_of(width, mask)
    theta0 = problem.init(seed=0)
    members = max(2 * threads, int(2e6 / width**2)) if mask == "step" else max(2 * threads, 20000 // width)
    options = {"lr": 0.01, "order": order, "substeps": 1, "backend": "numba", "threads": threads}
    simdrop.sme(problem, theta0, times=[0.02], members=2, **options)
    found = []
    for _ in range(3):
        began = time.process_time()
        data = simdrop.sme(problem, theta0, times=[0.2], members=members, **options)
        found.append((time.process_time() - began) / data.attrs["updates"] * 1e6)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32, 50, 128, 500, 1000])
    parser.add_argument("--paths", type=int, default=0, help="also time so many paths of width 50 over 1000 steps")
    parser.add_argument("--threads", type=int, default=cores())
    args = parser.parse_args()
    print("processor time of one step of one path, microseconds; n = 15, rk4, one step per lr, float64")
    print(f"{'width':>6} {'numbers':>8} {'step, order 1':>14} {'order 2':>8} {'sample, order 2':>16}")
    for width in args.widths:
        times = [measure(width, mask, order, args.threads) for mask, order in (("step", 1), ("step", 2), ("sample", 2))]
        print(f"{width:6} {width * (width + 1) // 2:8} {times[0]:14.1f} {times[1]:8.1f} {times[2]:16.1f}", flush=True)
    if args.paths:
        problem = problem_of(50, "step")
        for order, increments in product((1, 2), ("normal", "masks")):
            known = {"lr": 0.01, "order": order, "increments": increments, "backend": "numba", "threads": args.threads}
            simdrop.sme(problem, problem.init(seed=0), times=[0.02], members=2, **known)  # compiles
            began = time.perf_counter()
            data = simdrop.sme(problem, problem.init(seed=0), times=[10.0], members=args.paths, **known)
            seconds, substeps = time.perf_counter() - began, data.attrs["substeps"]
            what = f"{args.paths} paths, 1000 steps of lr, {substeps} each, order {order}, {increments}"
            print(f"{what}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
