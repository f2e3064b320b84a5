"""Is the CUDA backend right on this GPU, which shapes are the fastest, and how fast is it next to JAX?

Parts, one after the other, in eight minutes; a wrong result ends the script with status 1. Results are saved after
every line of a table, so that a run that is cut off leaves what it has.

check    every kernel and shape against the NumPy backend: float64 parameters to 1e-12 after 100 steps, float32 to 1e-3;
         the same bits for every shape, and for members split over several blocks or devices
tune     all shapes at each width and number of members, next to the one that the plan takes
wide     784 inputs, 10 outputs: products of matrices, in tiles of registers
several  all devices (SIMDROP_CUDA_DEVICES names some) next to the first alone
product  `simdrop.simulate` as users call it, from theta0 on the host to the dataset: first call, next call, kernels
sme      paths of the stochastic equations
jax      JAX on the same GPU, in a process of its own: vmap with either gradient and both generators, and a variant
         tuned by hand, its members last, in one block or several

In tune, wide, several and jax the state stays on the device; kernels are timed by CUDA's events.

    python bench/gpu.py [--only check,tune,wide,several,product,sme,jax] [--seconds 480] [--small]

--small has sizes for Numba's simulator (NUMBA_ENABLE_CUDASIM=1), where it tries the script and times nothing of use.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
    thin, several, wide, passes = (32, 128, 2, 1), (16, 40, 5, 3), (32, 256, 785, 10), (300, 1000, 785, 10)
    if small:
        thin, several, wide, passes = (5, 8, 2, 1), (3, 8, 3, 2), (3, 4, 40, 2), (6, 4, 40, 2)
    by_sample, classes = Network(mask="sample"), Network(loss="softmax", weight_decay=0.01)
    # with a small epsilon Adam makes steps of size lr of the rounding of a gradient near 0
    return [
        (Step(), wide),
        (Step(), passes),
        (Step(network=by_sample), wide),
        (Step(optimizer=Adam(epsilon=1e-2), noise=Noise(batch_size=3)), wide),
        (Step(network=classes, scheduled=True), wide),
        (Step(noise=Noise(batch_size=3)), several),
        (Step(network=by_sample, noise=Noise(batch_size=3, replace=True)), several),
        (Step(network=classes, optimizer=Adam(decoupled=True, epsilon=1e-2), scheduled=True), several),
        (Step(), thin),
        (Step(network=by_sample, optimizer=Adam()), thin),
        (Step(network=Network(activation="gelu"), objective="risk+r1", optimizer=Momentum()), thin),
    ]


def start(
    step: Step, sizes: tuple[int, int, int, int], dtype: str, steps: int
) -> tuple[np.ndarray, np.ndarray, Ensemble]:
    """Data and an ensemble of members that differ in lr and keep_prob; rates of `steps` steps where they change."""
    samples, width, inputs, outputs = sizes
    random = np.random.default_rng(width)
    x, y = random.standard_normal((samples, inputs)) / np.sqrt(inputs), random.standard_normal((samples, outputs))
    x[:, -1] = 1
    if step.network.loss == "softmax":
        y = np.eye(outputs)[y.argmax(axis=1)]
    theta = random.standard_normal((5, width * (inputs + outputs))) / np.sqrt(width)
    lr = np.array([0.5, 0.4, 0.3, 0.2, 0.1]) / width
    ensemble = Ensemble.start(
        theta, moments=step.optimizer.moments, lr=lr, keep_prob=[0.2, 0.5, 0.7, 0.9, 1.0], first_member=3, dtype=dtype
    )
    if step.scheduled:
        ensemble.rates = lr[:, None] / np.sqrt(1 + np.arange(steps))
    return x.astype(dtype), y.astype(dtype), ensemble


def open_session(step: Step, x: Any, y: Any, ensemble: Ensemble, shape: Any = None, **options: Any) -> Any:
    """The members on the device."""
    from simdrop_kernels.cuda.train.program import Program
    from simdrop_kernels.cuda.train.session import Session

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=11, shape=shape)
    return Session(program, ensemble, **options)


def advance(step: Step, x: Any, y: Any, ensemble: Ensemble, steps: int, shape: Any = None, **options: Any) -> None:
    """Train on the device in place."""
    session = open_session(step, x, y, ensemble, shape, **options)
    session.advance(first_step=0, steps=steps)
    session.fetch()


def seconds_of(session: Any, steps: int, repeats: int = 3) -> float:
    """Least seconds of `steps` steps of members that are on the first device already, after a first call that compiles.

    By events of that device; by the clock where there are several, and in the simulator, whose events know no time.
    """
    from simdrop_kernels.cuda import devices

    numbers, found = sorted({block.device for block in session._resident}), []
    session.advance(first_step=0, steps=steps)
    session.wait()
    for turn in range(1, repeats + 1):
        with devices.on(numbers[0]):
            before, after, begun = cuda.event(), cuda.event(), time.perf_counter()
            before.record()
            session.advance(first_step=turn * steps, steps=steps)
            after.record()
            session.wait()
            passed = time.perf_counter() - begun
            one = len(numbers) == 1 and not devices.simulated()
            found.append(cuda.event_elapsed_time(before, after) / 1e3 if one else passed)
    return min(found)


def check(small: bool, left: Any, keep: Any) -> None:
    """Compare with NumPy; a row for each setting."""
    for step, sizes in settings(small):
        steps = 3 if small else 10 if sizes[0] * sizes[1] * sizes[2] > 10_000_000 else STEPS
        for dtype in ("float64", "float32"):
            x, y, theirs = start(step, sizes, dtype, steps)
            reference.advance(step, x, y, theirs, seed=11, first_step=0, steps=steps)
            found = []
            tried = [(shape, {}) for shape in [None, *shapes(step, x, y, theirs)]]
            for shape, options in [*tried, (None, {"on": [0, 0]}), (None, {"limit": 2})]:
                ours = start(step, sizes, dtype, steps)[2]
                advance(step, x, y, ours, steps, shape, **options)
                found.append(ours.theta)
            off = float(np.abs(found[0] - theirs.theta).max() / np.abs(theirs.theta).max())
            same = all(np.array_equal(found[0], theta) for theta in found)
            what = f"{dtype} {sizes} {step.network.loss} {step.network.mask} {step.optimizer.name}"
            keep({"name": what, "off": off, "same": same, "good": bool(off <= TOLERANCE[dtype]) and same})
            bits = f"{len(found)} ways, {'the same bits' if same else 'DIFFERENT BITS'}"
            print(f"{what}: off by {off:.1e}{'' if off <= TOLERANCE[dtype] else ', WRONG'}; {bits}", flush=True)
            if left() < 0:
                print("not all is checked: the time is up", flush=True)
                return


def shapes(step: Step, x: Any, y: Any, ensemble: Ensemble) -> list[Any]:
    """All shapes of the team kernel for a problem, none where the wide kernel takes it."""
    from simdrop_kernels.cuda import machine
    from simdrop_kernels.cuda.train import plan
    from simdrop_kernels.cuda.train.program import Program

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=0)
    found = plan.team_shapes(program.size)
    return found[:2] if machine.SIMULATED else found


def tune(small: bool, left: Any, keep: Any) -> None:
    """Time all shapes."""
    for width in (8, 16) if small else (128, 32, 1000):
        for members in (4,) if small else (100_000, 10_000):
            if left() < 0:
                return
            case = Case(width=width, steps=2 if small else max(20, int(2e10 / (members * width * 32))))
            x, y = case.data()
            rates: dict[str, float] = {}
            ensemble = ensemble_of(case, members)
            for shape in [None, *shapes(Step(), x, y, ensemble)]:
                session = open_session(Step(), x, y, ensemble, shape)
                name = "plan" if shape is None else " ".join(map(str, shape))
                rates[name] = case.updates(members) / seconds_of(session, case.steps)
                del session  # its memory is free for the next
            planned = rates.pop("plan")
            best = max(rates, key=lambda name: rates[name])
            keep({"width": width, "members": members, "planned": planned, "rates": rates})
            print(f"width {width}, {members} members: plan {planned / 1e9:.4g}, best {rates[best] / 1e9:.4g} ({best})")


#: (samples, width, members) with 784 inputs and 10 outputs
WIDE = ((256, 1000, 528), (32, 1000, 528), (64, 4000, 132), (256, 256, 2000))


#: (registers of a lane, blocks of a multiprocessor) of the kernel: those that it takes, and another choice
ROOM = ((None, None), (128, 4))


def wide(small: bool, left: Any, keep: Any) -> None:
    """Time the kernel for wide inputs; multiply-adds are those of the four products."""
    sizes = ((6, 4, 2),) if small else WIDE
    for (registers, blocks), (samples, width, members) in itertools.product(ROOM, sizes):
        for dtype in ("float32", "float64"):
            if left() < 0:
                return
            inputs, outputs = (40, 2) if small else (784, 10)
            case = Case(width=width, samples=samples, inputs=inputs, outputs=outputs, dtype=dtype, steps=2)
            with _room(registers, blocks):
                session = open_session(Step(), *case.data(), ensemble_of(case, members))
                rate = case.updates(members) / seconds_of(session, case.steps)
                del session
            row = {"samples": samples, "width": width, "members": members, "dtype": dtype, "registers": registers}
            fused = rate * 2 * (inputs + 1 + outputs)
            keep(row | {"rate": rate, "fused": fused})
            what = f"wide {dtype} n={samples} m={width}, registers {registers or 'as planned'}"
            print(f"{what}: {rate / 1e9:.4g} 10^9 updates/s, {fused / 1e12:.3g} 10^12 FMA/s", flush=True)


@contextlib.contextmanager
def _room(registers: int | None, blocks: int | None) -> Iterator[None]:
    """The wide kernel with other limits."""
    from simdrop_kernels.cuda.train import in_memory, program

    before = in_memory.REGISTERS, program.WIDE_BLOCKS
    if registers is not None:
        in_memory.REGISTERS, program.WIDE_BLOCKS = registers, blocks
        in_memory._build.cache_clear()
    try:
        yield
    finally:
        in_memory.REGISTERS, program.WIDE_BLOCKS = before
        if registers is not None:
            in_memory._build.cache_clear()


def several(small: bool, left: Any, keep: Any) -> None:
    """All devices next to the first alone; on a machine with one, two blocks of it next to one."""
    from simdrop_kernels.cuda import devices

    numbers = devices.chosen()
    together = numbers if len(numbers) > 1 else numbers * 2
    case = Case(width=8 if small else 128, steps=2 if small else 200)
    x, y = case.data()
    ensemble = ensemble_of(case, 4 if small else 100_000)
    rates = []
    for on in (numbers[:1], together):
        session = open_session(Step(), x, y, ensemble, on=on)
        rates.append(case.updates(len(ensemble.theta)) / seconds_of(session, case.steps))
        del session
    keep({"devices": together, "alone": rates[0], "together": rates[1]})
    print(f"devices {together}: {rates[1] / 1e9:.4g}, the first alone {rates[0] / 1e9:.4g} 10^9 updates/s", flush=True)


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


def product(small: bool, left: Any, keep: Any) -> None:
    """`simulate` at the sizes of PRODUCT."""
    for name, settings in PRODUCT:
        if left() < 0:
            return
        small_settings = {"members": 4, "steps": 2, "width": 8, "n": 4, "record": 2} if small else {}
        row = {"name": name} | timed_simulate(**settings | small_settings)
        keep(row)
        rates = row["updates_per_second"] / 1e9, row["kernel_updates_per_second"] / 1e9
        print(
            f"{name}: {rates[0]:.4g} 10^9 updates/s ({rates[1]:.4g} in kernels);"
            f" first call {row['first']:.1f} s, second {row['second']:.2f} s", flush=True,
        )  # fmt: skip


def sme(small: bool, left: Any, keep: Any) -> None:
    """Paths of the stochastic equations of both orders: microseconds a step of a path, kernels alone."""
    import simdrop

    for width, n, paths in [(5, 4, 8)] if small else [(5, 4, 100_000), (50, 15, 20_000)]:
        x = np.linspace(-1, 1, n)
        problem = simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=0.7)
        theta0, steps = problem.init(seed=3, scale=width**-0.5), 2 if small else 100
        for order in (1, 2):
            if left() < 0:
                return
            for _ in range(2):  # the first call compiles
                found = simdrop.sme(
                    problem, theta0, lr=0.05, times=[0, 0.05 * steps], members=paths, order=order, backend="cuda",
                    substeps=1,
                )  # fmt: skip
            cost = found.attrs["kernel_seconds"] / (paths * steps) * 1e6
            keep({"width": width, "samples": n, "paths": paths, "order": order, "microseconds": cost})
            print(f"SME {order}, m={width} n={n}, {paths} paths: {cost:.4g} us a step of a path", flush=True)


#: name -> options of `peers.jax_scan`, the most promising first; "block" 0 is all members in one
JAX: dict[str, dict[str, Any]] = {
    "vmap, manual gradient": {"structure": "vmap"},
    "tuned by hand, one block": {"structure": "block", "prng": "unrolled", "hoist": 20, "block": 0},
    "vmap, manual gradient, rbg": {"structure": "vmap", "prng": "rbg"},
    "tuned by hand, blocks of 10,000": {"structure": "block", "prng": "unrolled", "hoist": 20, "block": 10_000},
    "vmap, autodiff": {"structure": "vmap", "gradient": "autodiff"},
}
#: (fields of the case, members)
JAX_SIZES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"width": 128}, 100_000),
    ({"width": 32}, 100_000),
    ({"width": 1000, "samples": 256, "inputs": 784, "outputs": 10, "steps": 2}, 528),
    ({"width": 1000}, 10_000),
    ({"width": 5, "samples": 4, "dtype": "float64"}, 1_000_000),
)


def jax(small: bool, left: Any, keep: Any) -> None:
    """JAX's rates at the headline sizes and those of `simdrop order`; one that fails or lasts is left out.

    All sizes have the first variant before any has the second.
    """
    sizes = (({"width": 8, "samples": 4, "steps": 20}, 4),) if small else JAX_SIZES
    for name, options in JAX.items():
        for fields, members in sizes:
            if left() < 0:
                return
            case = {"samples": 32, "dtype": "float32", "steps": 100} | fields
            block = options.get("block")
            if block is not None and (members % max(block, 1) or "inputs" in fields):
                continue
            ours = options if block is None else options | {"block": block or members}
            if row := _jax_row({"case": case, "members": members, "options": ours}, timeout=min(60, max(20, left()))):
                keep({"name": name, "members": members} | case | row)
                sizes_text = f"m={case['width']} n={case['samples']}"
                print(f"JAX, {name}, {sizes_text}: {row['updates_per_second'] / 1e9:.4g} 10^9 updates/s", flush=True)


def _jax_row(request: dict[str, Any], timeout: float) -> dict[str, Any] | None:
    """What a process with JAX alone finds, None where it fails or takes too long."""
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment |= {"JAX_ENABLE_X64": "1"} if request["case"]["dtype"] == "float64" else {}
    command = [sys.executable, __file__, "--worker", json.dumps(request)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=True)
        return dict(json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"JAX, {request['options']}, m={request['case']['width']} did not run: {said}", file=sys.stderr)
        return None


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
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--small", action="store_true", help="sizes for the simulator")
    parser.add_argument("--seconds", type=float, default=480, help="no part begins a line beyond its share of these")
    parser.add_argument("--out", type=Path, help="folder for the results [default: bench/results]")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        jax_worker(json.loads(given.worker))
        return 0
    if reason := backend.unavailable():
        print(f"no table: {reason}", file=sys.stderr)
        return 1
    begun = time.monotonic()
    kept: dict[str, Any] = {"machine": common.machine() | {"gpu": device_name()}, "peak": peak()}
    head = f"{kept['peak'] / 1e12:.3g} 10^12 multiply-adds per second in float32, by its clock"
    print(f"{kept['machine']['gpu']}: {head}", flush=True)
    place = common.stem(kept["machine"] | {"processor": kept["machine"]["gpu"]}, "gpu")
    place = (given.out or place.parent) / place.name
    parts = given.only.split(",")
    for number, part in enumerate(parts):
        rows = kept.setdefault(part, [])

        def keep(row: dict[str, Any], rows: list[Any] = rows) -> None:
            rows.append(row)
            kept["seconds"] = time.monotonic() - begun
            if given.out or not given.small:
                with contextlib.redirect_stderr(io.StringIO()):
                    common.save(place, kept, text(kept))

        # of the time that is left, the part's share among those to come; what it leaves goes to them
        shares = [PARTS[name].share for name in parts[number:]]
        end = time.monotonic() + (begun + given.seconds - time.monotonic()) * shares[0] / sum(shares)
        PARTS[part].run(given.small, lambda end=end: end - time.monotonic(), keep)
        if part == "check" and not all(row["good"] for row in rows):
            print("the device disagrees: no timing counts", file=sys.stderr)
            return 1
    if given.out or not given.small:
        print(f"wrote {place}.json and .md", file=sys.stderr)
    return 0


def text(kept: dict[str, Any]) -> str:
    """The results as tables of Markdown."""
    about = kept["machine"]
    parts = [f"{about['gpu']}, {about['date']}, revision {about['revision']}\n"]
    parts.append(f"Peak: {kept['peak'] / 1e12:.3g} 10^12 multiply-adds per second in float32, by the clock\n")
    if rows := kept.get("check"):
        parts.append(f"Right: {sum(row['good'] for row in rows)} of {len(rows)} settings that were checked\n")
    if rows := kept.get("tune"):
        cells = [
            [f"m={r['width']}, {r['members']} members", *map(_billions, (r["planned"], max(r["rates"].values()))),
             f"{r['planned'] * OPERATIONS / kept['peak']:.0%}"]
            for r in rows
        ]  # fmt: skip
        parts.append(common.table(["kernels, 10^9 updates/s", "plan", "best shape", "share of the peak"], cells))
    if rows := kept.get("wide"):
        cells = [
            [f"{r['dtype']}, n={r['samples']}, m={r['width']}, {r['members']}, registers {r['registers'] or '-'}",
             _billions(r["rate"]),
             f"{r['fused'] / kept['peak'] * (1 if r['dtype'] == 'float32' else 2):.0%}"]
            for r in rows
        ]  # fmt: skip
        parts.append(common.table(["784 inputs, 10 outputs", "10^9 updates/s", "share of the peak"], cells))
    if rows := kept.get("several"):
        cells = [[f"devices {r['devices']}", _billions(r["together"]), _billions(r["alone"])] for r in rows]
        parts.append(common.table(["m=128, 10^5 members", "10^9 updates/s", "the first alone"], cells))
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


class Part(NamedTuple):
    """A part, and its share of the time."""

    run: Callable[[bool, Callable[[], float], Callable[[dict[str, Any]], None]], None]
    share: float


PARTS = {
    "check": Part(check, 100), "tune": Part(tune, 60), "wide": Part(wide, 45), "several": Part(several, 20),
    "product": Part(product, 80), "sme": Part(sme, 35), "jax": Part(jax, 140),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
