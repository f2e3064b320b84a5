"""Backend "native": the step as one C kernel, compiled for several instruction sets, chosen when it runs.

SIMDROP_ISA names the instruction set (avx512_intel, avx512, avx2, baseline); without it the best that the processor
has is taken. SIMDROP_LAYOUT names what lies in the lanes of its vectors (neurons, members); without it `layouts`
chooses by the size of the networks. Members are cut into blocks for a pool of threads; one call into C is bounded to a
fraction of a second, so that Ctrl-C is heard.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.network import Network
from ..contract.optimizer import Optimizer
from ..contract.step import Ensemble, Sizes, Step
from ..mathematics.activations.table import find
from . import layouts, noisy

_native: Any = None
try:
    _native = importlib.import_module("simdrop_kernels._native")
except ModuleNotFoundError:
    _missing = "was not built: install GCC or Clang, then reinstall simdrop, with pip's --no-cache-dir"
except ImportError as _error:
    _missing = f"does not load here ({_error}): reinstall simdrop, with pip's --no-cache-dir"
if _native is not None and not hasattr(_native, "train_noisy"):
    _native, _missing = None, "was built from older sources: reinstall simdrop"

Array = NDArray[np.floating]

name = "native"

#: any machine can have it: where it is missing, messages say what to do
expected = True

#: what a step asks for -> the names that C has for it; their places are their numbers there
WRITTEN: dict[str, tuple[str, ...]] = {
    what: getattr(_native, plural, ())
    for what, plural in (
        ("activation", "activations"), ("mask", "masks"), ("objective", "objectives"), ("optimizer", "optimizers"),
        ("loss", "losses"), ("place", "places"), ("layout", "layouts"),
    )
}  # fmt: skip

#: what it has besides dropout and minibatches: names of `Step.further`
FURTHER = ("place", "order", "weight_decay", "schedule of lr")

#: input weights of a network from which the BLAS of backend "numba" is faster
_LARGE_MATRIX = 500_000
#: neuron·sample updates, each weighted by its inputs and outputs, that one call into C may take on:
#: under 0.3 s on the slowest path
_WORK_PER_CALL = 3e8


class _Stopped(Exception):
    """Raised where the run must stop: a block failed or the user pressed Ctrl-C."""


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    if _native is None:
        return f"its C extension {_missing}"
    chosen = os.environ.get("SIMDROP_ISA")
    runs = dict(_native.instruction_sets())
    if chosen and chosen not in runs:
        return f"SIMDROP_ISA={chosen}: unknown; this build has {', '.join(runs)}"
    if chosen and not runs[chosen]:
        has = ", ".join(isa for isa, here in runs.items() if here)
        return f"SIMDROP_ISA={chosen}: this processor lacks it; it has {has}"
    layout = os.environ.get("SIMDROP_LAYOUT")
    if layout and layout not in WRITTEN["layout"]:
        return f"SIMDROP_LAYOUT={layout}: unknown; there are {', '.join(WRITTEN['layout'])}"
    return None


def instruction_set() -> str:
    """The instruction set that runs: SIMDROP_ISA, or the best one here."""
    return os.environ.get("SIMDROP_ISA") or next(isa for isa, here in _native.instruction_sets() if here)


def _asked(step: Step) -> dict[str, str]:
    """What a step asks for by names, in the order in which C takes their numbers."""
    network = step.network
    return {
        "activation": network.activation,
        "mask": network.mask,
        "objective": step.objective,
        "optimizer": step.optimizer.name,
        "loss": network.loss,
        "place": step.noise.place,
    }


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    if noisy.needed(step):
        return noisy.refuses(step) or unwritten(_asked(step), dtype)
    further = [name for name in step.further if name not in FURTHER]
    if further:
        return f"{', '.join(further)} other than the default is not written for it"
    if step.noise.place != "both" and step.network.mask == "sample":
        return f"place {step.noise.place!r} is not written for sample masks"
    return unwritten(_asked(step), dtype)


def unwritten(asked: dict[str, str], dtype: np.dtype) -> str | None:
    """What of `asked`, names by what they are of, is not written in C, in one line, or None."""
    if find(asked["activation"]).identity:  # a user's own, which is known where the extension is missing too
        return f"no C function is written for activation {asked['activation']!r}"
    for what, value in asked.items():
        if _native is not None and value not in WRITTEN[what]:
            return f"no C function is written for {what} {value!r}"
    if dtype not in (np.float32, np.float64):
        return f"dtype {dtype} is neither float32 nor float64"
    return None


def outrun(step: Step, dtype: np.dtype, sizes: Sizes) -> tuple[str, str] | None:
    """The backend that was measured to be faster at such sizes, with the reason, or None.

    Two cores of Zen 4, both dtypes and mask modes: 1.0 to 2.4 times Numba's throughput up to 1000 neurons of 65 inputs
    and 128 of 785, 0.72 to 1.03 times for 1000 of 785, where products of matrices too large for the cache rule.
    """
    if noisy.needed(step):
        return noisy.outrun(sizes, step.noise.part)
    if sizes.width * sizes.inputs < _LARGE_MATRIX:
        return None
    return "numba", f"BLAS, which 'numba' calls, is faster for weights of {sizes.width} x {sizes.inputs}"


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1, on `threads` threads."""
    samples, inputs = x.shape
    outputs = y.shape[1]
    width = ensemble.theta.shape[1] // (inputs + outputs)
    network, noise = step.network, step.noise
    numbers = {what: WRITTEN[what].index(value) for what, value in _asked(step).items()}
    isa, dtype, options = instruction_set(), ensemble.theta.dtype, _options(step.optimizer)
    group: int = layouts.lanes(isa, dtype)
    end: tuple[float, ...] = ()
    config: tuple[Any, ...]
    run: Callable[..., Any] = _native.advance
    if noisy.needed(step):
        run, config = _native.train_noisy, noisy.config(step, numbers, options, seed)
        end = (network.weight_decay, step.shrink != 0) if network.weight_decay else ()
    else:
        config = (
            *numbers.values(), noise.batch_size or 0, noise.replace, network.output_scale, *options, seed,
            noise.order == "epochs", network.weight_decay, step.shrink != 0,
        )  # fmt: skip
        layout = layouts.chosen(step, Sizes(noise.batch_size or samples, width, inputs, outputs), isa, dtype)
        group, end = group if layout == "members" else 1, (WRITTEN["layout"].index(layout),)
    repeats = noise.masks * (2 if step.svag else 1)
    work = repeats * (noise.batch_size or samples) * (width + 64) * (inputs + outputs + 8.0)  # of one member's step
    members = len(ensemble.theta)

    def train(first: int, last: int, stop: threading.Event) -> None:
        part = slice(first, last)
        at_once = max(1, int(_WORK_PER_CALL / (work * (last - first))))
        state, rates = (ensemble.theta[part], ensemble.moments[part]), ensemble.lr[part, None]
        others = (ensemble.keep_prob[part], ensemble.member[part], ensemble.diverged[part])
        for begin in range(first_step, first_step + steps, at_once):
            if stop.is_set():
                raise _Stopped
            count = min(at_once, first_step + steps - begin)
            if step.scheduled:
                rates = np.ascontiguousarray(ensemble.rates[part, begin - first_step : begin - first_step + count])
            run(isa, config, x, y, *state, rates, *others, begin, count, *end)

    _share(train, members, work * steps, threads, group)


def _options(kind: Optimizer) -> tuple[float, ...]:
    """The four numbers that a task in C has for the options of any optimizer; 0 where this one has no such option."""
    return tuple(getattr(kind, name, 0.0) for name in ("momentum", "beta1", "beta2", "epsilon"))


def evaluate(network: Network, x: Array, theta: Array, outputs: int, *, threads: int = 1) -> Array:
    """Outputs (M, n, c) of the whole networks (no dropout) theta (M, P) at x (n, D)."""
    out = np.empty((len(theta), len(x), outputs), dtype=theta.dtype)
    activation, isa = WRITTEN["activation"].index(network.activation), instruction_set()

    def run(first: int, last: int, stop: threading.Event) -> None:
        if stop.is_set():
            raise _Stopped
        _native.evaluate(isa, activation, network.output_scale, x, theta[first:last], out[first:last])

    _share(run, len(theta), len(x) * (theta.shape[1] + 8.0 * theta.shape[1] / (x.shape[1] + outputs)), threads)
    return out


def operations(network: Network, dtype: np.dtype, inputs: int, outputs: int) -> int | None:
    """Arithmetic vector instructions of a neuron·sample update under a kept mask, counted in fused.h, or None.

    tanh (`act_tanh`): 5 to find the nearest table entry and the distance from it (3 in float32 with AVX-512), its
    square, the polynomial (2 in float32, 8 in float64), numerator, denominator, quotient. On processors of Intel with
    AVX-512 the polynomial has 3 in float32, and the quotient is a reciprocal and 3 more. Forward: products with the
    inputs, the bias where it is one being the first addend, and with a. Backward: e h, its sum, the slope, sums of g x.
    Signs, lookups, loads and stores are left out. The counts are those of processors that fuse multiplication and
    addition.
    """
    if network.activation != "tanh" or outputs != 1 or inputs > 3:
        return None
    single = dtype == np.float32
    isa = instruction_set() if single else ""
    tanh = (3 if isa.startswith("avx512") else 5) + 1 + (2 if single else 8) + 3 + (4 if isa == "avx512_intel" else 0)
    forward = max(inputs - 1, 1) + 1 + (1 if network.mask == "sample" else 0)
    return forward + tanh + 3 + inputs


def operations_by_members(network: Network, dtype: np.dtype, sizes: Sizes) -> float | None:
    """The same where members lie in the lanes: kept or not, with the masks that a step draws; None elsewhere."""
    of_update = operations(network, dtype, sizes.inputs, sizes.outputs)
    if of_update is None:
        return None
    return layouts.operations(Step(network=network), sizes, instruction_set(), dtype, of_update)


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Kept from call to call; a forked process gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="simdrop")


def _blocks(members: int, work: float, threads: int, group: int) -> Iterable[tuple[int, int]]:
    """Members first, ..., last - 1 for each task: several tasks a thread, whole groups, few enough for one call."""
    size = max(1, min(-(-members // (threads * 8)), int(_WORK_PER_CALL / max(work, 1.0))))
    size = -(-size // group) * group
    return ((first, min(first + size, members)) for first in range(0, members, size))


def _share(
    run: Callable[[int, int, threading.Event], Any], members: int, work: float, threads: int, group: int = 1
) -> None:
    """Call run(first, last, stop) for blocks of all members, each of which takes `work`, on a pool of threads.

    group: members that are trained side by side, and not cut apart
    """
    stop = threading.Event()
    if threads <= 1 or members <= 1:
        for first, last in _blocks(members, work, 1, group):
            run(first, last, stop)
        return
    blocks = _blocks(members, work, threads, group)
    futures = [_pool(threads, os.getpid()).submit(run, *block, stop) for block in blocks]
    try:
        running = set(futures)
        while running:  # woken now and then, for a signal that came to another thread
            done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
    finally:
        stop.set()
        wait(futures)
