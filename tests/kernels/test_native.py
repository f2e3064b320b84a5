"""Backend "native" against backend "numpy", on every instruction set of this processor, in both layouts."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from oracles import steps

from simdrop_kernels import native, registry
from simdrop_kernels.contract.objectives import COMPILED
from simdrop_kernels.contract.step import PARAMETER_LIMIT, BackendError, Ensemble, Sizes, Step
from simdrop_kernels.reference import train as reference

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

RUNNING = [name for name, here in native._native.instruction_sets() if here] if native._native else []

#: (samples, inputs, outputs, width): fused code with and without bias, general code, less than a vector,
#: whole vectors and more, one neuron, one sample
SHAPES = [(5, 2, 1, 7), (7, 3, 1, 33), (4, 1, 1, 16), (9, 4, 1, 40), (6, 12, 3, 21), (13, 2, 5, 50), (1, 2, 1, 1)]

#: relative to the largest parameter: float64 is the contract; float32 is rounding, amplified by 20 steps
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


@pytest.fixture(params=RUNNING)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SIMDROP_ISA", request.param)
    return request.param


@pytest.fixture(params=native.WRITTEN["layout"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SIMDROP_LAYOUT", request.param)
    return str(request.param)


def setting(
    shape: Any,
    *,
    moments: Any = 0,
    members: Any = 4,
    dtype: Any = np.float64,
    lr: Any = 0.05,
    seed: Any = 0,
    keep_prob: Any = (0.5, 0.8, 0.95, 1.0),
) -> Any:
    """Data x, y and an ensemble for one of SHAPES; inputs end in a bias where there is more than one."""
    samples, inputs, outputs, width = shape
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, inputs)).astype(dtype)
    if inputs > 1:
        x[:, -1] = 1
    y = random.standard_normal((samples, outputs)).astype(dtype)
    theta = (random.standard_normal((members, width * (inputs + outputs))) / np.sqrt(width)).astype(dtype)
    return x, y, lambda: Ensemble.start(theta, moments=moments, lr=lr, keep_prob=np.resize(keep_prob, members))


def trained(
    backend: Any, step: Any, x: Any, y: Any, ensemble: Any, *, steps: Any = 20, first_step: Any = 3, threads: Any = 1
) -> Any:
    backend.advance(step, x, y, ensemble, seed=2**40 + 5, first_step=first_step, steps=steps, threads=threads)
    return ensemble


@functools.cache
def numpys(step: Step, shape: Any, *, steps: int = 20, **known: Any) -> Any:
    """The ensemble of `setting` as NumPy trains it, once for all instruction sets and layouts."""
    x, y, start = setting(shape, **known)
    return trained(reference, step, x, y, start(), steps=steps)


def distance(one: Any, other: Any) -> Any:
    """Largest difference of any array of two ensembles, relative to its largest number."""
    pairs = [(one.theta, other.theta), (one.moments, other.moments)]
    return max(np.abs(a - b).max() / max(np.abs(a).max(), 1e-300) for a, b in pairs if a.size)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", native.WRITTEN["activation"])
def test_equals_numpy(isa: Any, layout: Any, activation: Any, dtype: Any) -> None:
    for shape, mask, objective in itertools.product(SHAPES, ("step", "sample"), COMPILED):
        if activation == "quadratic" and shape[1] > 4:
            continue  # diverges within the steps: rounding differences become large ones
        step = steps.make(activation=activation, mask=mask, objective=objective, output_scale=0.7)
        x, y, start = setting(shape, dtype=dtype)
        expected, found = numpys(step, shape, dtype=dtype), trained(native, step, x, y, start())
        assert distance(expected, found) < TOLERANCE[dtype], (shape, mask, objective)
        np.testing.assert_array_equal(expected.diverged, -1)
        np.testing.assert_array_equal(found.diverged, -1)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("batch_size", "replace"), [(None, False), (3, False), (3, True), (8, False), (12, True)])
def test_optimizers_and_minibatches_equal_numpy_after_100_steps(
    isa: Any, layout: Any, optimizer: Any, batch_size: Any, replace: Any
) -> None:
    for mask, shape in itertools.product(("step", "sample"), [(8, 2, 1, 19), (8, 6, 3, 37)]):
        step = steps.make(optimizer=optimizer, mask=mask, batch_size=batch_size, replace=replace)
        known = {"moments": step.optimizer.moments, "lr": 0.01}
        x, y, start = setting(shape, **known)
        expected = numpys(step, shape, steps=100, **known)
        found = trained(native, step, x, y, start(), steps=100)
        assert distance(expected, found) < TOLERANCE[np.float64], (mask, shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_evaluate_equals_numpy(isa: Any, dtype: Any) -> None:
    for activation, shape in itertools.product(native.WRITTEN["activation"], [*SHAPES, (700, 2, 1, 9), (300, 5, 2, 9)]):
        x, _, start = setting(shape, dtype=dtype)
        theta = start().theta
        step = steps.make(activation=activation, output_scale=0.3)
        expected = reference.evaluate(step.network, x, theta, shape[2])
        found = native.evaluate(step.network, x, theta, shape[2], threads=2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize("mask", ["step", "sample"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_keeping_all_is_the_risk_bit_for_bit(isa: Any, layout: Any, mask: Any, dtype: Any) -> None:
    for shape, activation in itertools.product(SHAPES, ("tanh", "gelu")):
        x, y, start = setting(shape, dtype=dtype, keep_prob=1.0)
        dropout = trained(native, steps.make(activation=activation, mask=mask), x, y, start())
        risk = trained(native, steps.make(activation=activation, objective="risk"), x, y, start())
        np.testing.assert_array_equal(dropout.theta, risk.theta)


@pytest.mark.parametrize(
    "step", [Step(), steps.make(mask="sample", batch_size=3, optimizer="adam")], ids=["step", "adam"]
)
def test_threads_blocks_and_pauses_change_nothing(
    isa: Any, layout: Any, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, start = setting((6, 2, 1, 40), members=23, moments=step.optimizer.moments)
    once = trained(native, step, x, y, start(), steps=12)
    monkeypatch.setattr(native, "_WORK_PER_CALL", 1e4)  # many calls for one run
    for threads in (1, 2, 5):
        again = trained(native, step, x, y, start(), steps=12, threads=threads)
        np.testing.assert_array_equal(again.theta, once.theta)
    paused = trained(native, step, x, y, start(), steps=5)
    trained(native, step, x, y, paused, steps=7, first_step=8)
    np.testing.assert_array_equal(paused.theta, once.theta)
    np.testing.assert_array_equal(paused.moments, once.moments)
    alone = start()
    part = slice(17, 18)
    one = Ensemble(
        *(np.ascontiguousarray(getattr(alone, name)[part]) for name in ("theta", "moments", "lr", "keep_prob")),
        alone.member[part],
        alone.diverged[part],
    )
    np.testing.assert_array_equal(trained(native, step, x, y, one, steps=12).theta, once.theta[part])


@pytest.mark.parametrize("objective", COMPILED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_diverging_member_trains_no_more(isa: Any, layout: Any, objective: Any, dtype: Any) -> None:
    step = steps.make(activation="linear", objective=objective)
    x, y, start = setting((5, 2, 1, 40), dtype=dtype)
    ensemble = start()
    ensemble.lr[:] = [0.01, 300.0, 0.01, 3000.0]
    expected = Ensemble.start(ensemble.theta, lr=ensemble.lr, keep_prob=ensemble.keep_prob)
    trained(reference, step, x, y, expected, steps=200)
    trained(native, step, x, y, ensemble, steps=200)
    np.testing.assert_array_equal(ensemble.diverged, expected.diverged)
    assert (ensemble.diverged >= 0).tolist() == [False, True, False, True]
    assert np.isfinite(ensemble.theta[[0, 2]]).all()
    held = ensemble.theta.copy()
    trained(native, step, x, y, ensemble, steps=5, first_step=203)
    np.testing.assert_array_equal(ensemble.theta[[1, 3]], held[[1, 3]])
    assert not np.array_equal(ensemble.theta[[0, 2]], held[[0, 2]])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_start_beyond_the_limit_has_diverged(dtype: Any) -> None:
    limit = PARAMETER_LIMIT[dtype]
    for value, begun in ((limit, True), (np.nextafter(np.array(limit, dtype), np.inf), False), (np.nan, False)):
        theta = setting((5, 2, 1, 40), keep_prob=0.3, dtype=np.dtype(dtype).type)[2]().theta
        theta[0, 43] = value
        ensemble = Ensemble.start(theta, lr=1e-3, keep_prob=0.3)
        assert ensemble.diverged.tolist() == [-1 if begun else 0, *[-1] * (len(theta) - 1)]


def test_large_matrices_are_left_to_blas() -> None:
    """What was measured decides; nothing else than speed may: by name the backend runs them all the same."""
    large, step = Sizes(256, 1000, 785, 10), Step()
    chosen, reason = registry.choose("auto", step, np.dtype("float32"), sizes=large)
    if chosen.name == "cuda":
        pytest.skip("the device takes it")
    assert chosen.name == "numba"
    assert "not 'native': BLAS, which 'numba' calls, is faster for weights of 1000 x 785" in reason
    assert registry.choose("auto", step, np.dtype("float32"), sizes=large._replace(inputs=2))[0].name == "native"
    assert registry.choose("native", step, np.dtype("float32"), sizes=large)[0].name == "native"


def test_refusals_name_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "risk+r1+r2" in native.refuses(steps.make(objective="risk+r1+r2"), np.dtype(np.float64))
    assert "float16" in native.refuses(Step(), np.dtype(np.float16))
    assert native.refuses(Step(), np.dtype(np.float32)) is None
    monkeypatch.setenv("SIMDROP_ISA", "avx1024")
    with pytest.raises(BackendError, match=r"SIMDROP_ISA=avx1024: unknown; this build has .*baseline"):
        registry.choose("native", Step(), np.dtype(np.float64))
    monkeypatch.setenv("SIMDROP_ISA", RUNNING[0])
    monkeypatch.setenv("SIMDROP_LAYOUT", "samples")
    with pytest.raises(BackendError, match="SIMDROP_LAYOUT=samples: unknown; there are neurons, members"):
        registry.choose("native", Step(), np.dtype(np.float64))
    monkeypatch.delenv("SIMDROP_LAYOUT")
    monkeypatch.setattr(native._native, "instruction_sets", lambda: ((RUNNING[0], False), ("baseline", True)))
    with pytest.raises(BackendError, match="this processor lacks it; it has baseline"):
        registry.choose("native", Step(), np.dtype(np.float64))


def test_a_build_without_the_extension_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_native", None)
    monkeypatch.setattr(native, "_missing", "was not built: install GCC", raising=False)
    with pytest.raises(BackendError, match="cannot run this: its C extension was not built: install GCC"):
        registry.choose("native", Step(), np.dtype(np.float64))


@pytest.mark.parametrize("threads", [1, 2])
def test_interrupts_are_heard_within_a_second(threads: Any) -> None:
    x, y, start = setting((400, 3, 1, 2000), members=2, lr=1e-4)
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        trained(native, steps.make(mask="sample"), x, y, start(), steps=100_000, threads=threads)
    assert time.perf_counter() - begun < 1.3
    timer.join()
