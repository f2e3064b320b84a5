"""Every backend against the NumPy one, and against what holds for any right backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import TOLERANCE
from oracles import steps

import simdrop
from simdrop_kernels.contract.network import MASKS, Network
from simdrop_kernels.contract.step import Ensemble, Step
from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS
from simdrop_kernels.reference import train as reference
from simdrop_kernels.registry import Backend

SEED = 2**40 + 17
KEEP = [0.3, 0.8, 1.0]  # one member each

#: (samples, width, inputs, outputs): one-dimensional, with widths and samples that fill no whole vector
THIN = (7, 150, 2, 1)
TINY = (8, 5, 1, 1)
WIDE = (6, 141, 4, 3)
#: inputs so many that `numba` computes dropped neurons as well, in more than one panel, where few are dropped
PANELS = (6, 531, 40, 3)


def _data(shape: tuple[int, int, int, int], dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples, width, inputs, outputs = shape
    random = np.random.default_rng(width)
    x, y = random.standard_normal((samples, inputs)), random.standard_normal((samples, outputs))
    theta = random.standard_normal((len(KEEP), width * (inputs + outputs))) / np.sqrt(width)
    return x.astype(dtype), y.astype(dtype), theta.astype(dtype)


def _train(
    backend: Backend, step: Step, shape: tuple[int, int, int, int], *, dtype: str = "float64", steps: int = 30,
    threads: int = 2, keep: list[float] | None = None, chunk: int | None = None, lr: float = 0.02,
) -> Ensemble:  # fmt: skip
    x, y, theta = _data(shape, dtype)
    ensemble = Ensemble.start(theta, moments=step.optimizer.moments, lr=[lr, lr, lr / 2], keep_prob=keep or KEEP)
    done = 0
    while done < steps:
        count = min(chunk or steps, steps - done)
        backend.advance(step, x, y, ensemble, seed=SEED, first_step=done, steps=count, threads=threads)
        done += count
    return ensemble


def _agree(backend: Backend, step: Step, shape: tuple[int, int, int, int], dtype: str = "float64") -> None:
    if reason := backend.refuses(step, np.dtype(dtype)):
        pytest.skip(f"{backend.name}: {reason}")
    ours, theirs = _train(backend, step, shape, dtype=dtype), _train(reference, step, shape, dtype=dtype)
    start = _data(shape, dtype)[2]
    assert np.abs(theirs.theta - start).max() > 1e-3, "nothing moved: the comparison would be empty"
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs.theta).max())
    if ours.moments.size:
        largest = np.abs(theirs.moments).max()
        np.testing.assert_allclose(ours.moments, theirs.moments, rtol=0, atol=TOLERANCE[dtype] * largest)
    assert (ours.diverged == -1).all()


FAST = [
    (Step(), THIN, "float64"),
    (Step(), THIN, "float32"),
    (steps.make(mask="sample", optimizer="adam", batch_size=5), THIN, "float64"),
    (steps.make(activation="gelu", objective="risk+r1", optimizer="momentum", output_scale=0.5), TINY, "float64"),
    (steps.make(mask="sample", batch_size=3, replace=True), WIDE, "float64"),
    (steps.make(activation="relu", optimizer="adam", output_scale=0.3), WIDE, "float64"),
    (Step(), PANELS, "float64"),
    (steps.make(mask="sample", batch_size=3, replace=True), PANELS, "float64"),
]


@pytest.mark.parametrize(("step", "shape", "dtype"), FAST)
def test_agrees_with_numpy(backend: Backend, step: Step, shape: tuple[int, int, int, int], dtype: str) -> None:
    if backend.name == "numba" and step.network.activation in ("gelu", "relu"):
        pytest.skip("tests/conformance has these among fewer kernels")
    _agree(backend, step, shape, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_agrees_with_numpy(
    backend: Backend, activation: str, shape: tuple[int, int, int, int]
) -> None:
    if backend.name == "numba" and shape is WIDE:
        pytest.skip("the scalar functions are those of the other shape; compiling takes a while")
    _agree(backend, steps.make(activation=activation, output_scale=0.5), shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("objective", ["dropout", "risk+r1"])
def test_every_combination_agrees_with_numpy(
    backend: Backend, objective: str, optimizer: str, mask: str, shape: tuple[int, int, int, int]
) -> None:
    if backend.name == "numba":
        pytest.skip("tests/conformance has every pair of these in fewer kernels")
    step = steps.make(activation="sigmoid", objective=objective, optimizer=optimizer, mask=mask, batch_size=4)
    _agree(backend, step, shape)


@pytest.mark.parametrize("shape", [THIN, WIDE, PANELS], ids=["thin", "wide", "panels"])
def test_masks_are_those_of_rng(backend: Backend, shape: tuple[int, int, int, int]) -> None:
    """One step of SGD moves the kept neurons and no other: it shows the mask bit by bit."""
    _, width, _, outputs = shape
    for number in (0, 3, 2**31 + 5):
        x, y, theta = _data(shape, "float64")
        ensemble = Ensemble.start(theta, lr=0.1, keep_prob=KEEP, first_member=7)
        backend.advance(Step(), x, y, ensemble, seed=SEED, first_step=number, steps=1, threads=1)
        moved = (ensemble.theta != theta)[:, : outputs * width].reshape(-1, outputs, width).any(axis=1)
        kept = rng.masks(seed=SEED, member=np.arange(7, 10), step=number, width=width, keep_prob=np.array(KEEP))
        assert (moved == kept).all()
        assert not kept.all()


@pytest.mark.parametrize("shape", [THIN, WIDE, PANELS], ids=["thin", "wide", "panels"])
def test_threads_and_chunks_change_no_bit(backend: Backend, shape: tuple[int, int, int, int]) -> None:
    whole = _train(backend, Step(), shape, threads=1)
    for threads, chunk in ((2, None), (1, 7), (3, 1), (4, None)):
        other = _train(backend, Step(), shape, threads=threads, chunk=chunk)
        assert np.array_equal(whole.theta, other.theta), (threads, chunk)


@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
def test_members_do_not_see_each_other(backend: Backend, shape: tuple[int, int, int, int]) -> None:
    x, y, theta = _data(shape, "float64")
    whole = _train(backend, Step(), shape)
    alone = Ensemble.start(theta[1:2], lr=0.02, keep_prob=KEEP[1], first_member=1)
    backend.advance(Step(), x, y, alone, seed=SEED, first_step=0, steps=30, threads=2)
    assert np.array_equal(alone.theta[0], whole.theta[1])


@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
@pytest.mark.parametrize(
    "step", [Step(), steps.make(mask="sample", batch_size=5, optimizer="adam")], ids=["step", "sample"]
)
def test_keep_prob_one_is_gradient_descent_bit_for_bit(
    backend: Backend, step: Step, shape: tuple[int, int, int, int]
) -> None:
    if backend.name == "numba" and step != Step() and shape is WIDE:
        pytest.skip("two kernels more, a minute of compiling; their masks are those of the other shape")
    kept = _train(backend, step, shape, keep=[1.0, 1.0, 1.0])
    plain = _train(backend, replace(step, objective="risk"), shape, keep=[0.2, 0.5, 1.0])
    assert np.array_equal(kept.theta, plain.theta)
    assert not np.array_equal(kept.theta, _train(backend, step, shape, keep=[1.0, 0.99, 1.0]).theta)


@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
def test_a_diverging_member_stops_and_no_other_does(backend: Backend, shape: tuple[int, int, int, int]) -> None:
    if backend.name == "numba" and shape is WIDE:
        pytest.skip("the slow tier compiles this shape in tests/conformance/test_diverged.py")
    x, y, theta = _data(shape, "float64")
    step = steps.make(activation="quadratic")
    rates = [1e-3, 50.0, 1e-3]
    ensemble = Ensemble.start(theta, lr=rates, keep_prob=0.9)
    backend.advance(step, x, y, ensemble, seed=SEED, first_step=0, steps=40, threads=2)
    oracle = Ensemble.start(theta, lr=rates, keep_prob=0.9)
    reference.advance(step, x, y, oracle, seed=SEED, first_step=0, steps=40)
    assert 0 < oracle.diverged[1] < 40
    assert list(ensemble.diverged) == list(oracle.diverged)
    assert np.isfinite(ensemble.theta[[0, 2]]).all()
    before = ensemble.theta[1].copy()
    backend.advance(step, x, y, ensemble, seed=SEED, first_step=40, steps=5, threads=2)
    assert np.array_equal(ensemble.theta[1], before, equal_nan=True)


@pytest.mark.parametrize("shape", [THIN, WIDE], ids=["thin", "wide"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_evaluate_is_the_whole_network(backend: Backend, shape: tuple[int, int, int, int], dtype: str) -> None:
    _, width, inputs, outputs = shape
    x = np.random.default_rng(0).standard_normal((300, inputs)).astype(dtype)  # more than one piece of samples
    theta = _data(shape, dtype)[2]
    values = backend.evaluate(Network(output_scale=0.7), x, theta, outputs, threads=2)
    a, w = theta[:, : outputs * width].reshape(-1, outputs, width), theta[:, outputs * width :]
    wanted = 0.7 * np.einsum("kom,knm->kno", a, np.tanh(np.einsum("nd,kmd->knm", x, w.reshape(-1, width, inputs))))
    assert values.dtype == np.dtype(dtype)
    np.testing.assert_allclose(values, wanted, rtol=0, atol=TOLERANCE[dtype] * np.abs(wanted).max())


def test_a_keep_prob_that_drops_none_still_divides_by_it() -> None:
    """p = 1 - 1e-10 is 1 to the words of a mask, and 1/p is not to double precision: outputs are larger by 1e-10."""
    x, y, theta = _data(PANELS, "float64")
    found = {}
    for name in ("numpy", "numba"):
        for keep_prob in (1 - 1e-10, 1.0):
            problem = simdrop.Problem(x, y, width=PANELS[1], mask="sample", keep_prob=keep_prob, bias=False)
            found[name, keep_prob] = simdrop.simulate(
                problem, theta[0], lr=0.05, steps=5, members=2, backend=name, record=2, keep_theta=True
            ).theta.to_numpy()
    change = found["numpy", 1 - 1e-10] - found["numpy", 1.0]
    assert abs(change).max() > 1e-12
    np.testing.assert_allclose(found["numba", 1 - 1e-10] - found["numba", 1.0], change, rtol=0, atol=1e-13)
