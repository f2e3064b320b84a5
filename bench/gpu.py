"""Is the CUDA backend right on this GPU, which shapes are the fastest, and how fast is it next to JAX?

Parts, one after the other; a wrong result ends the script with status 1. Results are saved after every line.

check    every kernel and shape against the NumPy backend: float64 parameters to 1e-12 after 100 steps, float32 to 1e-3;
         the same bits for every shape
tune     all shapes at each width and number of members, next to the one that the plan takes: state on the device
product  `simdrop.simulate` as users call it, from theta0 on the host to the dataset: first call, next call, kernels
sme      paths of the stochastic equations
jax      JAX on the same GPU, state on the device, in a process of its own: vmap and a variant tuned by hand

    python bench/gpu.py [--only check,tune,product,sme,jax] [--seconds 600] [--small]

--small has sizes for Numba's simulator (NUMBA_ENABLE_CUDASIM=1), where it tries the script and times nothing of use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Case
from numba import cuda  # the simulator looks for this name

from simdrop_kernels import Adam, Momentum
from simdrop_kernels.contract.network import Network
from simdrop_kernels.contract.noise import Noise
from simdrop_kernels.contract.step import Ensemble, Step
from simdrop_kernels.cuda.train import backend
from simdrop_kernels.reference import train as reference

#: arithmetic instructions of a neuron·sample update of the team kernel, tanh, one input and a bias: 2 of the clamp, 1
#: for x², 8 for numerator and denominator, 3 for the quotient; 1 for w·x, 1 for a h; e h, its sum, slope (2), two sums
OPERATIONS = 22
STEPS = 100
TOLERANCE = {"float64": 1e-12, "float32": 1e-3}


def settings(small: bool) -> list[tuple[Step, tuple[int, int, int, int]]]:
    """(step, (samples, width, inputs, outputs)) of the check: both kernels, both mask modes, all optimizers."""
    thin, several, wide = (32, 128, 2, 1), (16, 40, 5, 3), (32, 256, 785, 10)
    if small:
        thin, several, wide = (5, 8, 2, 1), (3, 8, 3, 2), (3, 4, 40, 2)
    by_sample = Network(mask="sample")
    return [
        (Step(), thin),
        (Step(network=by_sample, optimizer=Adam()), thin),
        (Step(network=Network(activation="gelu"), objective="risk+r1", optimizer=Momentum()), thin),
        (Step(noise=Noise(batch_size=3)), several),
        (Step(network=by_sample, noise=Noise(batch_size=3, replace=True)), several),
        (Step(network=by_sample), wide),
        (Step(optimizer=Adam()), wide),
    ]


def start(sizes: tuple[int, int, int, int], moments: int, dtype: str) -> tuple[np.ndarray, np.ndarray, Ensemble]:
    """Data and an ensemble of members that differ in lr and keep_prob."""
    samples, width, inputs, outputs = sizes
    random = np.random.default_rng(width)
    x, y = random.standard_normal((samples, inputs)) / np.sqrt(inputs), random.standard_normal((samples, outputs))
    x[:, -1] = 1
    theta = random.standard_normal((5, width * (inputs + outputs))) / np.sqrt(width)
    lr = np.array([0.5, 0.4, 0.3, 0.2, 0.1]) / width
    ensemble = Ensemble.start(
        theta, moments=moments, lr=lr, keep_prob=[0.2, 0.5, 0.7, 0.9, 1.0], first_member=3, dtype=dtype
    )
    return x.astype(dtype), y.astype(dtype), ensemble


def advance(step: Step, x: Any, y: Any, ensemble: Ensemble, steps: int, shape: Any = None) -> float:
    """Train on the device in place; the seconds of a run whose state was there already."""
    from simdrop_kernels.cuda.train.program import Program
    from simdrop_kernels.cuda.train.session import Session

    session = Session(Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=11, shape=shape), ensemble)
    begun = time.perf_counter()
    session.advance(first_step=0, steps=steps)
    session.wait()
    seconds = time.perf_counter() - begun
    session.fetch()
    return seconds


def check(small: bool) -> bool:
    """Run the check; print a line for each setting."""
    good, steps = True, 3 if small else STEPS
    for step, sizes in settings(small):
        for dtype in ("float64", "float32"):
            x, y, theirs = start(sizes, step.optimizer.moments, dtype)
            reference.advance(step, x, y, theirs, seed=11, first_step=0, steps=steps)
            found = []
            for shape in [None, *shapes(step, x, y, theirs)]:
                ours = start(sizes, step.optimizer.moments, dtype)[2]
                advance(step, x, y, ours, steps, shape)
                found.append(ours.theta)
            off = np.abs(found[0] - theirs.theta).max() / np.abs(theirs.theta).max()
            same = all(np.array_equal(found[0], theta) for theta in found)
            good &= bool(off <= TOLERANCE[dtype]) and same
            bits = f"{len(found)} shapes, {'the same bits' if same else 'DIFFERENT BITS'}"
            print(f"{dtype} {sizes} {step.network.mask} {step.optimizer.name}: off by {off:.1e}; {bits}", flush=True)
    return good


def shapes(step: Step, x: Any, y: Any, ensemble: Ensemble) -> list[Any]:
    """All shapes of the team kernel for a problem, none where the wide kernel takes it."""
    from simdrop_kernels.cuda import machine
    from simdrop_kernels.cuda.train import plan
    from simdrop_kernels.cuda.train.program import Program

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=0)
    found = plan.team_shapes(program.size)
    return found[:2] if machine.SIMULATED else found


def tune(small: bool, left: Any) -> list[dict[str, Any]]:
    """Time all shapes; the rows of the table."""
    rows = []
    for width in (8, 16) if small else (32, 128, 1000):
        for members in (4,) if small else (10_000, 100_000):
            if left() < 60:
                return rows
            case = Case(width=width, steps=2 if small else max(20, int(2e10 / (members * width * 32))))
            x, y = case.data()
            rates: dict[str, float] = {}
            ensemble = ensemble_of(case, members)
            for shape in shapes(Step(), x, y, ensemble):
                seconds = [advance(Step(), x, y, ensemble_of(case, members), case.steps, shape) for _ in range(4)]
                rates[" ".join(map(str, shape))] = case.updates(members) / min(seconds[1:])
            seconds = [advance(Step(), x, y, ensemble_of(case, members), case.steps) for _ in range(4)]
            planned = case.updates(members) / min(seconds[1:])
            best = max(rates, key=lambda name: rates[name])
            rows.append({"width": width, "members": members, "planned": planned, "rates": rates})
            print(f"width {width}, {members} members: plan {planned / 1e9:.4g}, best {rates[best] / 1e9:.4g} ({best})")
    return rows


def ensemble_of(case: Case, members: int) -> Ensemble:
    """The members of a case at their common start."""
    theta = np.broadcast_to(case.theta0(), (members, case.theta0().size))
    return Ensemble.start(theta, lr=case.lr, keep_prob=case.keep_prob)


def peak() -> float:
    """Multiply-adds per second in float32 at the highest clock: 128 lanes a multiprocessor, 64 on capability 8.0."""
    from simdrop_kernels.cuda import machine

    if machine.SIMULATED:
        return float("nan")
    device = cuda.get_current_device()
    lanes = 64 if device.compute_capability == (8, 0) else 128
    return float(device.MULTIPROCESSOR_COUNT * lanes * device.CLOCK_RATE * 1e3)


#: (name, settings of `timed_simulate`): headline sizes, often recorded, double precision, the sizes of `simdrop order`
PRODUCT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("m=128, n=32, 10^5 members", {"width": 128, "members": 100_000, "steps": 2000}),
    ("the same, 50 records", {"width": 128, "members": 100_000, "steps": 2000, "record": 50}),
    ("m=32, n=32, 10^6 members", {"width": 32, "members": 1_000_000, "steps": 400}),
    ("m=128, float64", {"width": 128, "members": 20_000, "steps": 1000, "dtype": "float64"}),
    ("m=5, n=4, 10^6 members, float64", {"width": 5, "n": 4, "members": 1_000_000, "steps": 400, "dtype": "float64"}),
    ("m=1000, n=15, Adam, float64", {"width": 1000, "n": 15, "members": 5000, "steps": 200, "dtype": "float64",
                                     "optimizer": "adam", "lr": 1e-3}),
)  # fmt: skip


def timed_simulate(
    *, width: int, members: int, steps: int, n: int = 32, record: int = 2, dtype: str = "float32",
    optimizer: str = "sgd", lr: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of a first call of `simulate`, which compiles, and of a second one."""
    import simdrop

    x = np.linspace(-1, 1, n)
    problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.9)
    theta0 = problem.init(seed=0, scale=width**-0.5)
    options = {"lr": lr or 0.5 / (width + 1), "steps": steps, "members": members, "record": record, "dtype": dtype}
    seconds = []
    for seed in (0, 1):
        begun = time.perf_counter()
        runs = simdrop.simulate(problem, theta0, seed=seed, backend="cuda", optimizer=optimizer, **options)
        seconds.append(time.perf_counter() - begun)
    updates = float(members) * width * n * steps
    return {
        "first": seconds[0],
        "second": seconds[1],
        "updates_per_second": updates / seconds[1],
        "kernel_updates_per_second": updates / runs.attrs["kernel_seconds"],
    }


def product(small: bool, left: Any) -> list[dict[str, Any]]:
    """`simulate` at the sizes of PRODUCT."""
    rows = []
    for name, settings in PRODUCT:
        if left() < 20:
            break
        small_settings = {"members": 4, "steps": 2, "width": 8, "n": 4, "record": 2} if small else {}
        row = {"name": name} | timed_simulate(**settings | small_settings)
        rows.append(row)
        rates = row["updates_per_second"] / 1e9, row["kernel_updates_per_second"] / 1e9
        print(
            f"{name}: {rates[0]:.4g} 10^9 updates/s ({rates[1]:.4g} in kernels);"
            f" first call {row['first']:.1f} s, second {row['second']:.2f} s", flush=True,
        )  # fmt: skip
    return rows


def sme(small: bool, left: Any) -> list[dict[str, Any]]:
    """Paths of the stochastic equations of both orders: microseconds a step of a path, kernels alone."""
    import simdrop

    rows = []
    for width, n, paths in [(5, 4, 8)] if small else [(5, 4, 100_000), (50, 15, 20_000)]:
        x = np.linspace(-1, 1, n)
        problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7)
        theta0, steps = problem.init(seed=3, scale=width**-0.5), 2 if small else 100
        for order in (1, 2):
            if left() < 40:
                return rows
            for _ in range(2):  # the first call compiles
                found = simdrop.sme(
                    problem, theta0, lr=0.05, times=[0, 0.05 * steps], members=paths, order=order, backend="cuda",
                    substeps=1,
                )  # fmt: skip
            cost = found.attrs["kernel_seconds"] / (paths * steps) * 1e6
            rows.append({"width": width, "samples": n, "paths": paths, "order": order, "microseconds": cost})
            print(f"SME {order}, m={width} n={n}, {paths} paths: {cost:.4g} us a step of a path", flush=True)
    return rows


#: name -> options of `peers.jax_scan`
JAX = {
    "vmap, autodiff": {"structure": "vmap", "gradient": "autodiff"},
    "vmap, manual gradient": {"structure": "vmap"},
    "tuned by hand": {"structure": "block", "prng": "unrolled", "hoist": 20},
}


def jax(small: bool, left: Any) -> list[dict[str, Any]]:
    """JAX's rates at the headline sizes and those of `simdrop order`; one that fails or lasts is left out."""
    rows = []
    sizes = [(32, 32, 100_000, "float32"), (128, 32, 100_000, "float32"), (1000, 32, 10_000, "float32")]
    for width, samples, members, dtype in [(8, 4, 4, "float32")] if small else [*sizes, (5, 4, 1_000_000, "float64")]:
        for name, options in JAX.items():
            if left() < 60:
                return rows
            case = {"width": width, "samples": samples, "dtype": dtype, "steps": 20 if small else 100}
            blocks = {"block": members} if options["structure"] == "block" else {}
            request = {"case": case, "members": members, "options": options | blocks}
            environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
            environment |= {"JAX_ENABLE_X64": "1"} if dtype == "float64" else {}
            command = [sys.executable, __file__, "--worker", json.dumps(request)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=55, env=environment, check=True
                ).stdout  # fmt: skip
            except subprocess.SubprocessError as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
                print(f"JAX, {name}, m={width} did not run: {said}", file=sys.stderr)
                continue
            row = {"name": name, "width": width, "samples": samples, "members": members} | json.loads(done)
            rows.append(row)
            print(
                f"JAX, {name}, m={width} n={samples}: {row['updates_per_second'] / 1e9:.4g} 10^9 updates/s", flush=True
            )
    return rows


def jax_worker(request: dict[str, Any]) -> None:
    """Time one variant of JAX in this process."""
    from peers import jax_scan

    case = Case(**request["case"])
    trainer = jax_scan.prepare(case, request["members"], 1, **request["options"])
    seconds = []
    for seed in range(4):
        begun = time.perf_counter()
        trainer.run(seed)
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"updates_per_second": case.updates(request["members"]) / min(seconds[1:]), "first": seconds[0]}))


def device_name() -> str:
    """The device's name; the simulator says so."""
    from simdrop_kernels.cuda import machine

    if machine.SIMULATED:
        return "simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="check,tune,product,sme,jax", help="parts, separated by commas")
    parser.add_argument("--small", action="store_true", help="sizes for the simulator")
    parser.add_argument("--seconds", type=float, default=900, help="no part goes on beyond")
    parser.add_argument("--out", type=Path, help="folder for the results [default: bench/results]")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        jax_worker(json.loads(given.worker))
        return 0
    if reason := backend.unavailable():
        print(f"no table: {reason}", file=sys.stderr)
        return 1
    end = time.monotonic() + given.seconds
    kept: dict[str, Any] = {"machine": common.machine() | {"gpu": device_name()}, "peak": peak()}
    print(
        f"{kept['machine']['gpu']}: {kept['peak'] / 1e12:.3g} 10^12 multiply-adds per second in float32, by its clock",
        flush=True,
    )
    for part in given.only.split(","):
        if part == "check":
            kept[part] = check(given.small)
        else:
            kept[part] = PARTS[part](given.small, lambda: end - time.monotonic())
        if not given.small:
            place = common.stem(kept["machine"] | {"processor": kept["machine"]["gpu"]}, "gpu")
            common.save((given.out or place.parent) / place.name, kept, text(kept))
    if not kept.get("check", True):
        print("the device disagrees: no timing counts", file=sys.stderr)
        return 1
    return 0


def text(kept: dict[str, Any]) -> str:
    """The results as tables of Markdown."""
    about = kept["machine"]
    parts = [f"{about['gpu']}, {about['date']}, revision {about['revision']}\n"]
    parts.append(f"Peak: {kept['peak'] / 1e12:.3g} 10^12 multiply-adds per second in float32, by the clock\n")
    if rows := kept.get("tune"):
        cells = [
            [f"m={r['width']}, {r['members']} members", *map(_billions, (r["planned"], max(r["rates"].values()))),
             f"{r['planned'] * OPERATIONS / kept['peak']:.0%}"]
            for r in rows
        ]  # fmt: skip
        parts.append(common.table(["kernels, 10^9 updates/s", "plan", "best shape", "share of the peak"], cells))
    if rows := kept.get("product"):
        rates = "updates_per_second", "kernel_updates_per_second"
        cells = [
            [r["name"], *(_billions(r[rate]) for rate in rates), f"{r['first']:.1f}", f"{r['second']:.2f}"]
            for r in rows
        ]  # fmt: skip
        head = ["simulate(), 10^9 updates/s", "whole call", "in kernels", "first call, s", "second call, s"]
        parts.append(common.table(head, cells))
    if rows := kept.get("sme"):
        cells = [[f"SME {r['order']}: m={r['width']}, n={r['samples']}", f"{r['microseconds']:.4g}"] for r in rows]
        parts.append(common.table(["float64, rk4, one step per lr", "us a step of a path"], cells))
    if rows := kept.get("jax"):
        cells = [
            [f"{r['name']}: m={r['width']}, n={r['samples']}, {r['members']}", _billions(r["updates_per_second"])]
            for r in rows
        ]  # fmt: skip
        parts.append(common.table(["JAX: sizes and members", "10^9 updates/s"], cells))
    return "\n".join(parts)


def _billions(rate: float) -> str:
    return f"{rate / 1e9:.4g}"


PARTS = {"tune": tune, "product": product, "sme": sme, "jax": jax}

if __name__ == "__main__":
    sys.exit(main())
