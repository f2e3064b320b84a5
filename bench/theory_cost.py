"""What does each theory cost over the width, in time and in memory, beside the operations that it is stated to take?

15 points of tanh(x-6) + tanh(x+6), one output, step masks, keep_prob 0.9, output scale 1/√m, lr 0.01: n = 15 samples,
D = 2 inputs, P = 3 m parameters. Flows: processor time of one evaluation of their right-hand side, the integrator
included, over t = 1; pathwise per step of lr. SMEs: processor time of one step of lr of one path, Numba, one thread;
increments "normal" where none are named.
Memory: what a state takes, computed.

    python bench/theory_cost.py [--widths 8 32 128 500 1000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np

import simdrop
from simdrop import theory

LR, SAMPLES, RANK = 0.01, 15, 60
#: name -> operations of an evaluation up to a factor, numbers that a state holds; n samples, m neurons, P = 3 m, rank r
STATED = {
    "risk, r1": ("n m", "1"),
    "r2": ("min(n, m) n m", "1"),
    "noise_covariance": ("n P²", "P²"),
    "gradient": ("n m", "P"),
    "averaged": ("n m", "P"),
    "modified": ("min(n, m) n m", "P"),
    "pathwise": ("n m", "P"),
    "mean-covariance, dense": ("n m P + P²", "P² + P"),
    f"mean-covariance, rank {RANK}": ("n m r + P r²", "P r + 9 m"),
    "sme 1": ("n m²", "P a path"),
    "sme 2": ("n m²", "P a path"),
    "sme 1, masks": ("n m", "P a path"),
    "sme 2, masks": ("n m", "P a path"),
}
#: up to so many parameters flow() takes a matrix for the covariance by default
DENSE_MOST = 600


def problem_of(width: int) -> simdrop.Problem:
    x = np.linspace(-12, 12, SAMPLES)
    return simdrop.Problem(x, np.tanh(x - 6) + np.tanh(x + 6), width=width, keep_prob=0.9, output_scale="1/sqrt(m)")


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Least processor time of several calls, after one that is not counted."""
    work()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def flow_cost(problem: simdrop.Problem, theta0: np.ndarray, repeats: int, **options: Any) -> float:
    """Seconds of one evaluation; of one step of lr for a pathwise flow."""
    data: list[Any] = []
    seconds = timed(lambda: data.append(simdrop.flow(problem, theta0, lr=LR, times=[0.0, 1.0], **options)), repeats)
    return seconds * LR if options["kind"] == "pathwise" else seconds / data[-1].attrs["nfev"]


def sme_cost(problem: simdrop.Problem, theta0: np.ndarray, order: int, increments: str, repeats: int) -> float:
    """Seconds of one step of one path."""
    paths = max(2, int(4e5 / problem.width**2)) if increments == "normal" else max(8, 20_000 // problem.width)
    options = {"lr": LR, "order": order, "substeps": 1, "backend": "numba", "threads": 1, "members": paths}
    options["increments"] = increments
    return timed(lambda: simdrop.sme(problem, theta0, times=[20 * LR], **options), repeats) / (20 * paths)


def measure(width: int, repeats: int) -> dict[str, float]:
    """Seconds of everything at one width."""
    problem = problem_of(width)
    theta0 = problem.init(seed=0)
    found = {
        "risk, r1": timed(lambda: (theory.risk(problem, theta0), theory.r1(problem, theta0)), repeats),
        "r2": timed(lambda: theory.r2(problem, theta0, lr=LR), repeats),
        "noise_covariance": timed(lambda: theory.noise_covariance(problem, theta0), repeats),
    }
    for kind in ("gradient", "averaged", "modified", "pathwise"):
        found[kind] = flow_cost(problem, theta0, repeats, kind=kind)
    if problem.n_params <= DENSE_MOST:
        found["mean-covariance, dense"] = flow_cost(problem, theta0, 1, kind="mean-covariance")
    if problem.n_params > RANK:
        found[f"mean-covariance, rank {RANK}"] = flow_cost(problem, theta0, 1, kind="mean-covariance", rank=RANK)
    for order in (1, 2):
        found[f"sme {order}"] = sme_cost(problem, theta0, order, "normal", repeats)
        found[f"sme {order}, masks"] = sme_cost(problem, theta0, order, "masks", repeats)
    return found


def table(widths: list[int], found: dict[int, dict[str, float]]) -> str:
    """Microseconds over the width, and what is stated."""
    rows = []
    for name, stated in STATED.items():
        cells = (f"{1e6 * found[m][name]:.3g}" if name in found[m] else "–" for m in widths)
        rows.append([name, *stated, *cells])
    return common.table(["theory", "operations", "numbers held", *(f"m = {m}" for m in widths)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32, 128, 500, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    found = {}
    for width in args.widths:
        found[width] = measure(width, args.repeats)
        print(f"width {width} done", file=sys.stderr, flush=True)
    info = common.machine()
    text = f"{info['processor']}, {info['date']}; microseconds of processor time\n\n" + table(args.widths, found)
    print(text)
    result = {"machine": info, "seconds": {str(width): rows for width, rows in found.items()}}
    common.save(common.stem(info, "theory-cost"), result, text)


if __name__ == "__main__":
    main()
