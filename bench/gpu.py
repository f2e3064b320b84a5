"""Is the CUDA backend right on this GPU, which shapes are the fastest, and how fast is it beside JAX?

Three parts, one after the other; any that fails ends the script with status 1.

check   every kernel and shape against the NumPy backend: float64 parameters to 1e-12 after 100 steps, float32 to 1e-3;
        the same bits for every shape
tune    all shapes at each width and number of members, beside the one that the plan takes
peers   JAX's `vmap` and its hand-tuned variant on the same GPU, in turn, and the share of the float32 roofline, a peak
        of fused multiply-adds measured here

    python bench/gpu.py [--only check|tune|peers] [--small]

--small has sizes for Numba's simulator (NUMBA_ENABLE_CUDASIM=1), where it tries the script and times nothing of use.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import common
import numpy as np
from common import Case
from numba import cuda  # the simulator looks for this name

from simdrop_kernels import cuda as backend
from simdrop_kernels import reference
from simdrop_kernels.spec import Ensemble, Step

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
    return [
        (Step(), thin),
        (Step(mask="sample", optimizer="adam"), thin),
        (Step(activation="gelu", objective="risk+r1", optimizer="momentum"), thin),
        (Step(batch_size=3), several),
        (Step(mask="sample", batch_size=3, replace=True), several),
        (Step(mask="sample"), wide),
        (Step(optimizer="adam"), wide),
    ]


def start(sizes: tuple[int, int, int, int], optimizer: str, dtype: str) -> tuple[np.ndarray, np.ndarray, Ensemble]:
    """Data and an ensemble of members that differ in lr and keep_prob."""
    samples, width, inputs, outputs = sizes
    random = np.random.default_rng(width)
    x, y = random.standard_normal((samples, inputs)) / np.sqrt(inputs), random.standard_normal((samples, outputs))
    x[:, -1] = 1
    theta = random.standard_normal((5, width * (inputs + outputs))) / np.sqrt(width)
    lr = np.array([0.5, 0.4, 0.3, 0.2, 0.1]) / width
    ensemble = Ensemble.start(
        theta, optimizer=optimizer, lr=lr, keep_prob=[0.2, 0.5, 0.7, 0.9, 1.0], first_member=3, dtype=dtype
    )
    return x.astype(dtype), y.astype(dtype), ensemble


def advance(step: Step, x: Any, y: Any, ensemble: Ensemble, steps: int, shape: Any = None) -> float:
    """Train on the device in place; the seconds of a run whose state was there already."""
    from simdrop_kernels.device.program import Program
    from simdrop_kernels.device.session import Session

    session = Session(Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=11, shape=shape), ensemble)
    begun = time.perf_counter()
    session.advance(first_step=0, steps=steps)
    session.fetch()
    return time.perf_counter() - begun


def check(small: bool) -> bool:
    """Run the check; print a line for each setting."""
    good, steps = True, 3 if small else STEPS
    for step, sizes in settings(small):
        for dtype in ("float64", "float32"):
            x, y, theirs = start(sizes, step.optimizer, dtype)
            reference.advance(step, x, y, theirs, seed=11, first_step=0, steps=steps)
            found = []
            for shape in [None, *shapes(step, x, y, theirs)]:
                ours = start(sizes, step.optimizer, dtype)[2]
                advance(step, x, y, ours, steps, shape)
                found.append(ours.theta)
            off = np.abs(found[0] - theirs.theta).max() / np.abs(theirs.theta).max()
            same = all(np.array_equal(found[0], theta) for theta in found)
            good &= bool(off <= TOLERANCE[dtype]) and same
            bits = f"{len(found)} shapes, {'the same bits' if same else 'DIFFERENT BITS'}"
            print(f"{dtype} {sizes} {step.mask} {step.optimizer}: off by {off:.1e}; {bits}", flush=True)
    return good


def shapes(step: Step, x: Any, y: Any, ensemble: Ensemble) -> list[Any]:
    """All shapes of the team kernel for a problem, none where the wide kernel takes it."""
    from simdrop_kernels.device import machine, plan
    from simdrop_kernels.device.program import Program

    program = Program(step=step, x=x, y=y, params=ensemble.theta.shape[1], seed=0)
    found = plan.team_shapes(program.size)
    return found[:2] if machine.SIMULATED else found


def tune(small: bool) -> list[dict[str, Any]]:
    """Time all shapes; the rows of the table."""
    rows = []
    for width in (8, 16) if small else (32, 128, 1000):
        for members in (4,) if small else (1000, 10_000, 100_000):
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
    return Ensemble.start(theta, optimizer="sgd", lr=case.lr, keep_prob=case.keep_prob)


def peak(small: bool) -> float:
    """Fused multiply-adds per second in float32: eight independent chains in each of many lanes."""
    from simdrop_kernels.device import machine

    rounds, lanes = (4, 4) if small else (1 << 16, 256)

    def chains(out, factor, term):
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = np.float32(cuda.threadIdx.x)
        for _ in range(rounds):
            a0, a1, a2, a3 = a0 * factor + term, a1 * factor + term, a2 * factor + term, a3 * factor + term
            a4, a5, a6, a7 = a4 * factor + term, a5 * factor + term, a6 * factor + term, a7 * factor + term
        out[cuda.grid(1)] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7

    blocks = 1 if machine.SIMULATED else 16 * cuda.get_current_device().MULTIPROCESSOR_COUNT
    out, run = cuda.device_array(blocks * lanes, np.float32), machine.launch(machine.kernel(chains), blocks, lanes)
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        run(out, np.float32(0.999), np.float32(0.001))
        cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return 8.0 * rounds * blocks * lanes / min(seconds)


def peers(small: bool, rounds: int) -> tuple[list[dict[str, Any]], bool]:
    """The comparison with JAX; its results, and whether all trained to the same risks."""
    import compare_peers
    from compare_peers import Contender

    tuned = {"structure": "block", "prng": "unrolled", "hoist": 8, "block": 1000}
    rows = [
        Contender("simdrop cuda", "simdrop_", {"backend": "cuda"}),
        Contender("simdrop numpy", "simdrop_", {"backend": "numpy"}, share=0.01),
        Contender("JAX vmap, autodiff", "jax_scan", {"structure": "vmap", "gradient": "autodiff"}),
        Contender("JAX vmap, manual gradient", "jax_scan", {"structure": "vmap"}),
        Contender("JAX vmap, manual, rbg", "jax_scan", {"structure": "vmap", "prng": "rbg"}),
        Contender("JAX tuned by hand", "jax_scan", tuned),
    ]
    results, good = [], True
    for width, members in ((32, 100_000), (128, 10_000), (128, 100_000), (1000, 10_000)):
        case, whole = Case(width=width), float(members)
        if small:
            case, whole = Case(width=8, samples=4, steps=8), 200.0
        platform = "cpu" if small else "cuda"
        result = compare_peers.compare(case, rows, rounds, 1, whole=whole, platform=platform)
        results.append(result)
        print(compare_peers.markdown([result], common.machine()), flush=True)
        good &= all(max(c["mean_z"], c["deviation_z"]) <= compare_peers.BOUND for c in result["check"].values())
        for name, reason in result["failed"].items():
            print(f"{name} did not run: {reason}", file=sys.stderr)
        if small:
            break
    return results, good


def device_name() -> str:
    """The device's name; the simulator says so."""
    from simdrop_kernels.device import machine

    return "simulator" if machine.SIMULATED else cuda.get_current_device().name.decode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("check", "tune", "peers"))
    parser.add_argument("--small", action="store_true", help="sizes for the simulator")
    parser.add_argument("--rounds", type=int, default=5, help="timings of every contender")
    given = parser.parse_args()
    if reason := backend.unavailable():
        print(f"no table: {reason}", file=sys.stderr)
        return 1
    kept: dict[str, Any] = {"machine": common.machine() | {"gpu": device_name()}}
    if given.only in (None, "check") and not check(given.small):
        print("the device disagrees: no timing counts", file=sys.stderr)
        return 1
    if given.only in (None, "tune"):
        kept["tune"] = tune(given.small)
    good = True
    if given.only in (None, "peers"):
        kept["peak"] = peak(given.small)
        kept["peers"], good = peers(given.small, given.rounds)
        for result in kept["peers"]:
            ours = result["rates"].get("simdrop cuda", [])
            if ours:
                share = statistics.median(ours) * OPERATIONS / kept["peak"]  # dropped neurons are computed too
                print(f"{result['name']}: {share:.0%} of {kept['peak'] / 1e12:.3g} 10¹² multiply-adds per second")
    if not given.small:
        import compare_peers

        text = compare_peers.markdown(kept["peers"], kept["machine"]) if "peers" in kept else ""
        common.save(common.stem(kept["machine"] | {"processor": kept["machine"]["gpu"]}, "gpu"), kept, text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
