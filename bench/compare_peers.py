"""How much faster is simdrop than PyTorch and JAX on this machine?

One process for each environment, all contenders timed in turn within one case, medians of several rounds, ratios
round by round. Every contender starts from the same parameters; mean and spread of its members' risks after training
must agree with the NumPy backend's within 5 standard errors (6e-7 each, if normal), or the script exits with status 1.

    python bench/compare_peers.py --quick           three minutes or four
    python bench/compare_peers.py --cases small     small networks, beside JAX in every layout
    python bench/compare_peers.py                   all cases, three quarters of an hour
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Case
from peers import grain

BOUND = 5.0
#: neuron·sample updates of one timing: about a second for the fastest, with fewer members for the slow ones
WORK = 2e9
#: neurons up to which networks count as small: they are timed with less work, beside more layouts of JAX's
SMALL = 50
#: members of a block of "tuned JAX": those of small networks, of which the best counts
SMALL_BLOCKS = (64, 512, 2048)


@dataclass(frozen=True)
class Contender:
    """A row of the table: how it is made, the share of the members it trains, and of which networks."""

    name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    devices: int = 1
    sizes: str = "all"

    def takes(self, case: Case) -> bool:
        """Whether it is timed on this case: some variants are for small or for large networks alone."""
        return self.sizes in ("all", "small" if is_small(case) else "large")


def is_small(case: Case) -> bool:
    """Whether the networks of a case are too small to fill vectors with their neurons."""
    return case.width <= SMALL and case.inputs == 1


def contenders(threads: int) -> list[Contender]:
    """simdrop's backends, then the peers in the variants that were the fastest, or that people write."""
    from simdrop_kernels import registry

    ours = [
        Contender(f"simdrop {name}", "simdrop_", {"backend": name}, share={"numpy": 0.02, "numba": 0.2}.get(name, 1.0))
        for name in registry.names()
        if registry.load(name).unavailable() is None
    ]
    return ours + _jax(threads) + _torch()


def _jax(threads: int) -> list[Contender]:
    """JAX as one writes it, and as a day of tuning made it; on one device and on several."""
    vmap, last = {"structure": "vmap"}, {"structure": "last"}
    # Blocks of members by hand, masks of 16 bits drawn eight steps ahead.
    tuned = {"structure": "block", "prng": "unrolled", "hoist": 8}
    variants = [
        ("JAX", "vmap, autodiff", vmap | {"gradient": "autodiff"}, "all"),
        ("JAX", "vmap, manual gradient", vmap, "all"),
        ("JAX", "vmap, manual, rbg", vmap | {"prng": "rbg"}, "all"),
        ("JAX", "members last, autodiff", last | {"gradient": "autodiff"}, "small"),
        ("JAX", "members last, manual", last, "small"),
        ("JAX", "members last, manual, rbg", last | {"prng": "rbg"}, "small"),
        ("JAX", "members last, manual, unsafe_rbg", last | {"prng": "unsafe_rbg"}, "small"),
        ("JAX", "lax.map, manual", {"structure": "map"}, "large"),
        ("tuned JAX", "block by width", tuned | {"block": 0}, "large"),
        *(("tuned JAX", f"block of {block}", tuned | {"block": block}, "small") for block in SMALL_BLOCKS),
    ]
    one = [Contender(f"{who}, {what}", "jax_scan", o, share=0.2, sizes=sizes) for who, what, o, sizes in variants]
    several = [
        Contender(f"{who} pmap, {what}", "jax_scan", o | {"devices": threads}, 0.3, threads, sizes)
        for who, what, o, sizes in variants
        if threads > 1
    ]
    return one + several


def _torch() -> list[Contender]:
    torch = [("nn.Module loop", "loop", 0.003), ("batched by hand", "batched", 0.1), ("torch.compile", "compiled", 0.2)]
    return [Contender(f"PyTorch {name}", "torch_", {"structure": s}, part, sizes="large") for name, s, part in torch]


#: by name: networks of a few neurons, those of the table, and what else is compared
CASES = {
    "small": [
        Case(samples=samples, width=width) for samples, width in ((4, 5), (4, 16), (8, 8), (8, 32), (15, 50), (32, 8))
    ],
    "thin": [Case(width=width) for width in (32, 128, 1000)],
    "further": [
        Case(width=128, mask="sample"),
        Case(width=128, dtype="float64"),
        Case(width=128, keep_prob=0.5),
        Case(width=1000, samples=256, inputs=784, outputs=10, steps=8),
    ],
}


class Worker:
    """A process of contenders of one environment; see worker.py."""

    def __init__(self, devices: int, platform: str) -> None:
        flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
        if platform == "cpu" and "avx512" in common.machine()["simd"]:
            flags += " --xla_cpu_prefer_vector_width=512"  # a fifth faster
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": platform}
        script = str(Path(__file__).with_name("worker.py"))
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=env,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            return {"error": "the worker died"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def options_for(row: Contender, case: Case) -> dict[str, Any]:
    """The options of a contender, with the block that is the fastest at this width where it names none."""
    options = dict(row.options)
    if options.get("block") == 0:
        options["block"] = 64 if case.width < 64 else 32 if case.width < 500 else 4
    if row.module == "numpy_":
        options["block"] = 16
    return options


def compare(
    case: Case, rows: list[Contender], rounds: int, threads: int, *, whole: float | None = None, platform: str = "cpu"
) -> dict[str, Any]:
    """Time all contenders on one case in turn; rates in updates per second, risks for the verification.

    `whole` is the number of members of a contender whose share is 1.
    """
    rows = [row for row in rows if row.takes(case)]
    pools = {key: Worker(key[1], platform) for key in {(row.module, row.devices) for row in rows}}
    workers = {row.name: pools[row.module, row.devices] for row in rows}
    whole = whole or WORK / case.updates(1) * (0.1 if case.inputs > 1 else 0.2 if is_small(case) else 1)
    ready: dict[str, int] = {}
    failed: dict[str, str] = {}
    for row in rows:
        options = options_for(row, case)
        step = grain(options)
        members = max(1, round(whole * row.share / step)) * step
        worker = workers[row.name]
        answer = worker.ask(
            prepare=row.name, case=case.to_json(), module=row.module, members=members, threads=threads,
            options=options,
        )  # fmt: skip
        if "error" in answer:
            failed[row.name] = answer["error"]
        else:
            ready[row.name] = members
    rates: dict[str, list[float]] = {name: [] for name in ready}
    busy: dict[str, list[float]] = {name: [] for name in ready}
    risks: dict[str, list[float]] = {name: [] for name in ready}
    for number in range(rounds):
        for name, members in ready.items():
            answer = workers[name].ask(run=name, seed=number + 1)
            rates[name].append(case.updates(members) / answer["seconds"])
            busy[name].append(case.updates(members) / answer["cpu"])
            risks[name] += answer["risks"]
    for worker in pools.values():
        worker.close()
    return {
        "case": case.to_json(),
        "name": case.name,
        "rates": rates,
        "rates by processor time": busy,
        "failed": failed,
        "check": agreement(risks),
    }


def agreement(risks: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each contender's risks, and how many standard errors off NumPy's backend."""
    oracle = np.array(risks["simdrop numpy"])
    found = {}
    for name, values in risks.items():
        mine = np.array(values)
        if mine.size < 8:
            continue  # one network at a time: too few for a test of the law
        mean_error = np.sqrt(mine.var(ddof=1) / mine.size + oracle.var(ddof=1) / oracle.size)
        spread_error = np.hypot(_error_of_deviation(mine), _error_of_deviation(oracle))
        found[name] = {
            "members": mine.size,
            "mean": mine.mean(),
            "deviation": mine.std(ddof=1),
            "mean_z": abs(mine.mean() - oracle.mean()) / mean_error,
            "deviation_z": abs(mine.std(ddof=1) - oracle.std(ddof=1)) / spread_error,
        }
    return found


def _error_of_deviation(values: np.ndarray) -> float:
    """The standard error of a sample's standard deviation, from its fourth moment."""
    away = values - values.mean()
    kurtosis = (away**4).mean() / (away**2).mean() ** 2
    return float(values.std() * np.sqrt(max(kurtosis - 1, 0) / (4 * values.size)))


def markdown(results: list[dict[str, Any]], info: dict[str, Any]) -> str:
    """The table, with the ratio of simdrop's backends to the fastest JAX and to each PyTorch row, round by round."""
    lines = [f"{info['processor']}, {info['cores']} cores, {info['date']}, load before {info['load before']}", ""]
    lines.append("10⁹ neuron·sample updates per second: median (least … largest)")
    names = list(dict.fromkeys(name for result in results for name in result["rates"]))
    rows = []
    for name in names:
        cells = [[r / 1e9 for r in result["rates"].get(name, [])] for result in results]
        rows.append([name, *(f"{statistics.median(c):.3g} ({min(c):.3g} … {max(c):.3g})" if c else "–" for c in cells)])
    lines += ["", common.table(["", *(result["name"] for result in results)], rows), ""]
    peers = ("JAX", "tuned JAX", "PyTorch nn.Module loop", "PyTorch batched by hand", "PyTorch torch.compile")
    head = ["", *(r["name"] for r in results)]
    ours = [name for name in names if name.startswith("simdrop") and name != "simdrop numpy"]
    for field_, by in (("rates", "time"), ("rates by processor time", "processor time")):
        ratios = [
            [f"{mine} / best {peer}" if "JAX" in peer else f"{mine} / {peer}"]
            + [ratio(result, mine, peer, field_) for result in results]
            for mine in ours
            for peer in peers
            if any(name.startswith(peer) for name in names)
        ]
        lines += [f"Ratios by {by}, round by round: median (least … largest)", "", common.table(head, ratios), ""]
    return "\n".join(lines)


def ratio(result: dict[str, Any], ours: str, peer: str, field_: str = "rates") -> str:
    """Over rounds: our rate to that of the best peer whose name begins with `peer`."""
    rates = result[field_]
    theirs = [name for name in rates if name.startswith(peer)]
    if ours not in rates or not theirs:
        return "–"
    best = max(theirs, key=lambda name: statistics.median(rates[name]))
    found = [a / b for a, b in zip(rates[ours], rates[best], strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} … {max(found):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three widths only, fewer rounds")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which groups of cases")
    parser.add_argument("--rounds", type=int, default=None, help="timings of every contender (5; quick: 3)")
    parser.add_argument("--only", default="", help="contenders whose name contains this, beside simdrop's")
    parser.add_argument(
        "--backends", nargs="+", default=None, help="simdrop's backends (all; numpy verifies the others)"
    )
    given = parser.parse_args()
    threads = common.cores()
    info = common.machine()
    backends = None if given.backends is None else {"numpy", *given.backends}
    rows = [
        row
        for row in contenders(threads)
        if (row.module != "simdrop_" and given.only in row.name)
        or (row.module == "simdrop_" and (backends is None or row.options["backend"] in backends))
    ]
    results = []
    chosen = [case for name in given.cases for case in CASES[name]]
    for case in [replace(case, steps=96) for case in CASES["thin"]] if given.quick else chosen:
        results.append(compare(case, rows, given.rounds or (3 if given.quick else 5), threads))
        print(markdown(results[-1:], info), flush=True)
        common.save(common.stem(info, "peers"), {"machine": info, "results": results}, markdown(results, info))
    wrong = [
        (r["name"], name, c)
        for r in results
        for name, c in r["check"].items()
        if max(c["mean_z"], c["deviation_z"]) > BOUND
    ]
    for case_name, name, check in wrong:
        print(f"{case_name}: {name} trains to another risk: {check}", file=sys.stderr)
    for result in results:
        for name, reason in result["failed"].items():
            print(f"{result['name']}: {name} did not run: {reason}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
