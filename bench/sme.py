"""What a step of a path of the stochastic equations costs, over the width, beside JAX and diffrax; how long many take.

Step masks, one output, d = 1 with bias: normal numbers m (m + 1) / 2 a step, 2 n multiply-adds for each of them beside;
a path works in about 8 (4 n + 30) m bytes. Sample masks: n (2 m + 1) normal numbers. Drift: O(n m) a stage.
"""

from __future__ import annotations

import argparse
import statistics
import time
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np

import simdrop
from simdrop.provenance import cores

#: samples, neurons, paths, steps of the comparison with JAX
BESIDE_JAX = [(4, 5, 20000, 50), (15, 50, 1000, 20)]


def problem_of(width: int, mask: str, samples: int = 15) -> simdrop.Problem:
    x = np.linspace(-12, 12, samples)
    y = np.tanh(x - 6) + np.tanh(x + 6)
    return simdrop.Problem(x, y, width=width, keep_prob=0.9, mask=mask, output_scale="1/sqrt(m)")


def beside_jax(threads: int, repeats: int = 5) -> None:
    """Order 1, Euler, one step per lr, in turn with JAX and diffrax: medians, and how far the means are from theirs."""
    from peers import jax_sme

    lr = 0.02
    for samples, width, paths, steps in BESIDE_JAX:
        x = np.linspace(-1, 1, samples)
        problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7)
        theta0 = problem.init(seed=3, scale=1 / np.sqrt(width))
        known = {"order": 1, "scheme": "euler", "substeps": 1, "threads": threads, "members": paths, "lr": lr}
        peers = {
            name: jax_sme.make(
                problem.inputs, problem.y[:, 0], theta0, keep_prob=0.7, lr=lr, steps=steps, paths=paths,
                devices=threads, diffrax=name == "diffrax",
            )
            for name in ("JAX", "diffrax")
            if name == "JAX" or find_spec("diffrax")
        }  # fmt: skip
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in (*peers, "native", "numpy")}
        means: dict[str, Any] = {}
        for seed in range(repeats + 1):  # the first compiles
            for name, found in seconds.items():
                began = time.perf_counter(), time.process_time()
                if name in peers:
                    theirs = peers[name](seed)
                    means[name] = theirs.mean(axis=0), theirs.std(axis=0) * np.sqrt(2 / paths)
                else:
                    data = simdrop.sme(problem, theta0, times=[lr * steps], backend=name, seed=seed, **known)
                found.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        off = [(mean - data.theta_mean.values[-1]) / error for mean, error in means.values()]
        wall, processor = (
            {
                name: statistics.median(pair[k] for pair in found[1:]) / paths / steps * 1e6
                for name, found in seconds.items()
            }
            for k in (0, 1)
        )
        told = ", ".join(f"{name} {wall[name]:.3f} ({processor[name]:.3f})" for name in seconds)
        print(f"n = {samples}, m = {width}, microseconds a step of a path (of processors): {told}; ", end="")
        for name in peers:
            ratio, of_processors = (by[name] / by["native"] for by in (wall, processor))
            print(f"{name} / native {ratio:.1f} ({of_processors:.1f}); ", end="")
        print(f"means differ by {np.abs(off).max():.1f} standard errors at most", flush=True)


def measure(width: int, mask: str, order: int, threads: int, backend: str = "auto") -> float:
    """Microseconds of one processor that one step of one path takes: best of three."""
    problem = problem_of(width, mask)
    theta0 = problem.init(seed=0)
    members = max(2 * threads, int(2e6 / width**2)) if mask == "step" else max(2 * threads, 20000 // width)
    options = {"lr": 0.01, "order": order, "substeps": 1, "backend": backend, "threads": threads}
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
    parser.add_argument("--jax", action="store_true", help="only small networks, beside JAX and diffrax")
    args = parser.parse_args()
    if args.jax:
        beside_jax(args.threads)
        return
    print("processor time of one step of one path, microseconds; n = 15, rk4, one step per lr, float64")
    print(f"{'width':>6} {'numbers':>8} {'step, order 1':>14} {'order 2':>8} {'sample, order 2':>16}")
    for width in args.widths:
        times = [measure(width, mask, order, args.threads) for mask, order in (("step", 1), ("step", 2), ("sample", 2))]
        print(f"{width:6} {width * (width + 1) // 2:8} {times[0]:14.1f} {times[1]:8.1f} {times[2]:16.1f}", flush=True)
    if args.paths:
        problem = problem_of(50, "step")
        for order, increments in product((1, 2), ("normal", "masks")):
            known = {"lr": 0.01, "order": order, "increments": increments, "backend": "auto", "threads": args.threads}
            simdrop.sme(problem, problem.init(seed=0), times=[0.02], members=2, **known)  # compiles
            began = time.perf_counter()
            data = simdrop.sme(problem, problem.init(seed=0), times=[10.0], members=args.paths, **known)
            seconds, substeps = time.perf_counter() - began, data.attrs["substeps"]
            what = f"{args.paths} paths, 1000 steps of lr, {substeps} each, order {order}, {increments}"
            print(f"{what}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
