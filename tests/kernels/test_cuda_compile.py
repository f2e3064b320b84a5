"""The kernels of backend "cuda" compiled and assembled for a device that need not be there.

The simulator runs Python: it shows neither a wrong type nor an array that leaves the registers. Numba-cuda compiles
to PTX without a device, and NVIDIA's linker assembles that, where both are installed (extra `cuda`). `test_cuda` runs
in full on interpreted PTX in the slow tier; two kernels do so here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import TOLERANCE
from oracles import compiled, ptx, sass, simulator, steps

from simdrop_kernels.contract.step import Ensemble, Step
from simdrop_kernels.cuda.train import plan
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS
from simdrop_kernels.reference import train as reference

pytestmark = pytest.mark.compiled

REALS = {"float32": np.float32, "float64": np.float64}


class Compiled(NamedTuple):
    """PTX, and what the assembler reports."""

    ptx: str
    registers: int
    spilled: int
    cubin: bytes


@pytest.fixture(scope="module")
def cuda() -> Iterator[Any]:
    """Numba's module, compiling for a device that need not be there."""
    with compiled.target() as module:
        pytest.importorskip("cuda.bindings.nvjitlink", reason="NVIDIA's linker is not installed")
        yield module


def _compile(cuda: Any, function: Any, signature: tuple[Any, ...], limit: int | None = None) -> Compiled:
    from cuda.bindings import nvjitlink

    ptx = compiled.compile_ptx(cuda, function, signature)
    code = ptx.encode() + b"\0"
    options = ["-arch=sm_90", "-verbose", *([f"-maxrregcount={limit}"] if limit else [])]
    link = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(link, nvjitlink.InputType.PTX, code, len(code), "kernel")
        nvjitlink.complete(link)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(link))
        nvjitlink.get_linked_cubin(link, cubin)
        log = bytearray(nvjitlink.get_info_log_size(link))
        nvjitlink.get_info_log(link, log)
    finally:
        nvjitlink.destroy(link)
    text = log.decode()
    spilled = sum(int(count) for count in re.findall(r"(\d+) bytes spill", text))
    return Compiled(ptx, int(re.findall(r"[Uu]sed (\d+) registers", text)[-1]), spilled, bytes(cubin))


def _arguments(cuda: Any, dtype: str, work: bool) -> tuple[Any, ...]:
    """Types of what `Program.launch` hands to a kernel."""
    from simdrop_kernels.cuda.train.arguments import Run

    types = cuda.types
    real, i64, u64 = getattr(types, dtype)[::1], types.int64, types.uint64
    run = types.NamedTuple((*[i64] * 10, u64, u64, real.dtype, real.dtype), Run)
    state = (real, real, i64[::1], real, u64[::1], real, real, real, real, types.int32[::1])
    return (*state, *([real] if work else []), run)


def _team(
    cuda: Any, size: plan.Size, shape: plan.TeamShape, *, dtype: str = "float32", activation: str = "tanh",
    sample_masks: bool = False, optimizer: str = "sgd", minibatch: bool = False, ones: bool = True, r1: bool = False,
    **further: Any,
) -> Compiled:  # fmt: skip
    from simdrop_kernels.cuda.train import in_registers

    kind = in_registers.Kind(
        activation, sample_masks, r1, optimizer, minibatch, REALS[dtype], size.outputs, size.inputs, ones, **further
    )
    limit = plan.register_limit(shape)
    return _compile(cuda, in_registers.build(kind, shape, limit).py_func, _arguments(cuda, dtype, False), limit)


def _size(width: int, inputs: int, outputs: int, optimizer: str, held: int, dtype: str) -> plan.Size:
    return plan.Size(width, inputs, outputs, OPTIMIZERS[optimizer].moments, held, np.dtype(dtype).itemsize // 4)


def test_the_headline_kernel_stays_in_registers_and_in_single_precision(cuda: Any) -> None:
    size = _size(128, 2, 1, "sgd", 1, "float32")
    shape = plan.team_shape(size, 100_000, 132, 32)
    assert shape is not None
    result = _team(cuda, size, shape)
    assert ".local" not in result.ptx
    assert ".f64" not in result.ptx
    assert "call" not in result.ptx
    assert result.spilled == 0
    assert 0.7 < plan.registers(size, shape.neurons, shape.samples) / result.registers < 1.3
    # one exchange per sample and stage of the sum over lanes: passes are not unrolled
    assert len(re.findall(r"shfl\.sync", result.ptx)) == shape.samples * (shape.lanes.bit_length() - 1)


def _wide(cuda: Any, dtype: str, **further: Any) -> tuple[Compiled, plan.WideShape]:
    """The kernel for 1000 neurons, 784 inputs and a bias, 10 outputs at 256 samples, and its shape."""
    from simdrop_kernels.cuda.train import in_memory

    shape = plan.wide_shape(_size(1000, 785, 10, "sgd", 1, dtype), 256)
    given = {"activation": "tanh", "sample_masks": False, "r1": False, "optimizer": "sgd", "minibatch": False}
    kind = in_memory.Kind(**given | further, real=REALS[dtype])
    function = in_memory.build(kind, shape).py_func
    return _compile(cuda, function, _arguments(cuda, dtype, True), in_memory.REGISTERS), shape


@pytest.mark.parametrize(
    ("dtype", "further", "most"),
    [
        ("float32", {}, 2.0),
        ("float32", {"sample_masks": True, "optimizer": "adam", "minibatch": True, "loss": "softmax"}, 2.2),
        # each takes the place of two: a multiprocessor has half as many units for them
        ("float64", {"scheduled": True, "decays": "coupled"}, 3.0),
    ],
    ids=["float32", "minibatch", "float64"],
)
def test_wide_products_take_two_instructions_a_multiply_add(
    cuda: Any, dtype: str, further: dict[str, Any], most: float
) -> None:
    """Loads to shared memory, and from there to registers, are counted too; 16 to 17 without tiles of registers."""
    result, shape = _wide(cuda, dtype, **further)
    assert dtype == "float64" or ".f64" not in result.ptx
    assert ".local" not in result.ptx
    assert result.registers <= 168, "three blocks find room on a multiprocessor"
    found = sass.loops(result.cubin)
    products = [loop for loop in found if loop.fused == shape.neurons * shape.samples and loop.size < 2 * loop.fused]
    assert len(products) == 2, "activations times samples, and errors times inputs"
    for inner in products:
        assert inner.stack == 0
        piece = sass.around(inner, found)
        instructions = piece.size + (shape.depth - 1) * inner.size
        assert instructions / (shape.depth * inner.fused) < most


def test_outputs_of_networks_compile(cuda: Any) -> None:
    from simdrop_kernels.cuda.train import outputs

    real, i64 = cuda.types.float64[::1], cuda.types.int64
    run = cuda.types.Tuple((i64, i64, i64, real.dtype))
    _compile(cuda, outputs.build("gelu", 3, np.float64).py_func, (real, real, real, run))


@pytest.mark.parametrize(
    ("dtype", "most"),
    # with the division of the compiler there are 93 in double precision
    [("float32", 28), ("float64", 62)],
)
def test_instructions_of_an_update(cuda: Any, dtype: str, most: float) -> None:
    """Of the headline's: 128 neurons of one input and a bias, tanh, step masks, 32 samples."""
    size = _size(128, 2, 1, "sgd", 1, dtype)
    shape = plan.team_shape(size, 100_000, 132, 32)
    assert shape is not None
    result = _team(cuda, size, shape, dtype=dtype)
    assert ".local" not in result.ptx
    assert result.spilled == 0
    passes = max(sass.loops(result.cubin), key=lambda loop: loop.fused / loop.size)
    assert passes.fused > 10 * shape.neurons * shape.samples, "the loop over passes"
    assert passes.size / (shape.neurons * shape.samples) <= most


def test_losses_decay_and_schedules_stay_in_registers(cuda: Any) -> None:
    size = _size(50, 4, 3, "adam", 1, "float32")
    shape = plan.team_shape(size, 100_000, 132, 32)
    assert shape is not None
    further = {"optimizer": "adam", "loss": "softmax", "decays": "decoupled", "scheduled": True}
    result = _team(cuda, size, shape, ones=False, **further)
    assert ".local" not in result.ptx
    assert ".f64" not in result.ptx
    assert result.spilled == 0


@pytest.mark.parametrize(
    ("step", "shape", "dtype"),
    [
        (steps.make(mask="sample", optimizer="adam", batch_size=5), plan.TeamShape(64, 4, 2, 1), "float64"),
        (Step(), plan.TeamShape(4, 4, 2, 8), "float32"),
        (
            steps.make(optimizer="momentum", batch_size=3, replace=True),
            plan.WideShape(lanes=64, across=8, neurons=4, samples=2, inputs=2, depth=8, held=8),
            "float64",
        ),
    ],
)
def test_compiled_kernels_agree_with_numpy_and_have_no_races(cuda: Any, step: Step, shape: Any, dtype: str) -> None:
    random = np.random.default_rng(5)
    x, y = random.standard_normal((7, 3)).astype(dtype), random.standard_normal((7, 1)).astype(dtype)
    start = random.standard_normal((3, 13 * 4)) / 4
    theirs, ours = (
        Ensemble.start(start, moments=step.optimizer.moments, lr=0.3, keep_prob=[0.3, 0.8, 1.0], dtype=dtype)
        for _ in range(2)
    )
    for ensemble in (theirs, ours):
        ensemble.member[1] |= np.uint64(5 << 32)  # a seed of its own
    with compiled.device() as call:
        call(simulator.train, step, x, y, ours, seed=2**40, first_step=2**31, steps=3, shape=shape)
    reference.advance(step, x, y, theirs, seed=2**40, first_step=2**31, steps=3)
    assert np.abs(theirs.theta - start).max() > 1e-2
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs.theta).max())


def test_division_in_double_precision_rounds_to_the_nearest(cuda: Any) -> None:
    """Against exact fractions, from a reciprocal of 20 bits: at most 0.501 units in the last place off."""
    from simdrop_kernels.cuda import machine

    divide = machine.arithmetic(np.float64).divide

    def quotients(p: Any, q: Any, out: Any) -> None:
        place = cuda.grid(1)
        if place < out.size:
            out[place] = divide(p[place], q[place])

    random = np.random.default_rng(0)
    q = 2.0 ** random.uniform(0, 25, 512) * random.choice([1, 1 + 2.0**-52, 2 - 2.0**-52], 512)
    p = q * random.uniform(-1, 1, 512)
    out = np.zeros(512)
    reals = cuda.types.float64[::1]
    code = compiled.compile_ptx(cuda, quotients, (reals, reals, reals))
    assert "call" not in code
    ptx.run(code, [p, q, out], 4, 128, 0)
    for over, under, found in zip(p, q, out, strict=True):
        exact = Fraction(over) / Fraction(under)
        assert abs(Fraction(found) - exact) <= Fraction(501, 1000) * Fraction(math.ulp(float(exact)))


def test_the_plan_counts_what_passes_pad() -> None:
    """Four samples go in passes of four or fewer, not in half of one of eight; from measurements on an H100."""
    for words in (1, 2):
        shape = plan.team_shape(plan.Size(5, 2, 1, 0, 1, words), 1_000_000, 132, 4)
        assert shape is not None
        assert plan.padding(shape, 4) == 1
    headline = plan.team_shape(plan.Size(128, 2, 1, 0, 1, 1), 100_000, 132, 32)
    assert headline == plan.TeamShape(16, 8, 4, 8)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("sample_masks", [False, True])
@pytest.mark.parametrize(("width", "inputs", "outputs"), [(128, 2, 1), (50, 4, 3), (1000, 2, 1)])
def test_what_the_plan_takes_stays_in_registers(
    cuda: Any, dtype: str, optimizer: str, sample_masks: bool, width: int, inputs: int, outputs: int
) -> None:
    size = _size(width, inputs, outputs, optimizer, 2 if sample_masks else 1, dtype)
    shape = plan.team_shape(size, 100_000, 132, 32)
    if shape is None:
        pytest.skip("this does not fit in registers: the wide kernel trains it")
    options = {"sample_masks": sample_masks, "optimizer": optimizer, "minibatch": True, "dtype": dtype}
    result = _team(cuda, size, shape, **options)
    assert ".local" not in result.ptx
    assert result.spilled <= 64, "more than some words, outside the loops"
    assert result.registers * shape.lanes * shape.members <= plan.REGISTERS


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "softplus", "gelu", "erf", "sin", "linear", "quadratic"])
def test_every_activation_stays_in_single_precision(cuda: Any, activation: str) -> None:
    size = _size(64, 3, 1, "sgd", 2, "float32")
    result = _team(cuda, size, plan.TeamShape(16, 4, 2, 8), activation=activation, ones=False, r1=True)
    # the reduction of a sine's huge argument by 2/π keeps a table in local memory and multiplies in double
    assert activation == "sin" or (".f64" not in result.ptx and ".local" not in result.ptx)
