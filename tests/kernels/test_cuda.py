"""Backend "cuda" in Numba's simulator, and on a device where there is one, against NumPy and against itself."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE
from numpy.typing import NDArray
from oracles import compiled, simulator, steps

from simdrop_kernels import registry
from simdrop_kernels.contract.network import MASKS
from simdrop_kernels.contract.step import BackendError, Ensemble, Step
from simdrop_kernels.cpu import statistics
from simdrop_kernels.cuda.train import backend as cuda
from simdrop_kernels.cuda.train.plan import Size, TeamShape, WideShape, wide_shape
from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS
from simdrop_kernels.mathematics.losses.table import LOSSES
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS
from simdrop_kernels.reference import train as reference

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")

SEED = 2**40 + 17
FIRST = 2**31 + 5  # the first step, beyond 32 bits with a sign
KEEP = [0.3, 0.8, 1.0]  # one member each

#: (samples, width, inputs, outputs)
THIN = (7, 10, 2, 1)
SOME = (5, 9, 4, 3)

#: the simulator has warps of 2 lanes: a member within one, over two, over four
TEAMS = [TeamShape(1, 16, 1, 2), TeamShape(2, 8, 4, 2), TeamShape(4, 4, 2, 1), TeamShape(8, 4, 1, 1)]
WIDE = WideShape(lanes=8, across=4, neurons=4, samples=2, inputs=2, depth=4, held=4)


@pytest.fixture(
    scope="module",
    params=[
        "simulator",
        pytest.param("compiled", marks=pytest.mark.slow),
        pytest.param("device", marks=pytest.mark.gpu),
    ],
)
def call(request: pytest.FixtureRequest) -> Iterator[simulator.Call]:
    """Runs a job where CUDA is simulated, where compiled kernels are interpreted, or on a device."""
    if request.param == "simulator":
        with simulator.simulator() as run:
            yield run
    elif request.param == "compiled":
        with compiled.device() as run:
            yield run
    elif reason := cuda.unavailable():
        pytest.skip(reason)
    else:
        yield simulator.on_device


def _data(
    shape: tuple[int, int, int, int], dtype: str = "float64", ones: bool = False, targets: str = "numbers"
) -> tuple[NDArray, NDArray]:
    samples, width, inputs, outputs = shape
    random = np.random.default_rng(width)
    x: NDArray = random.standard_normal((samples, inputs))
    y: NDArray = random.standard_normal((samples, outputs))
    if targets == "binary":
        y = 1.0 * (y > 0)
    elif targets == "classes":
        y = np.eye(outputs)[y.argmax(axis=1)]
    if ones:
        x[:, -1] = 1
    return x.astype(dtype), y.astype(dtype)


def _ensemble(
    step: Step, shape: tuple[int, int, int, int], dtype: str = "float64", keep: Any = KEEP, lr: Any = (0.2, 0.3, 0.4)
) -> Ensemble:
    _, width, inputs, outputs = shape
    theta = np.random.default_rng(width).standard_normal((len(KEEP), width * (inputs + outputs))) / np.sqrt(width)
    ensemble = Ensemble.start(theta, moments=step.optimizer.moments, lr=lr, keep_prob=keep, first_member=7, dtype=dtype)
    ensemble.member[1::2] |= np.uint64(5 << 32)  # a seed of their own
    return ensemble


def _agree(
    call: simulator.Call, step: Step, problem: Any, *, dtype: str = "float64", ones: bool = False, **options: Any
) -> None:
    x, y = _data(problem, dtype, ones, LOSSES[step.network.loss].targets)
    start, theirs = _ensemble(step, problem, dtype), _ensemble(step, problem, dtype)
    if step.scheduled:
        start.rates = theirs.rates = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.2, 0.4]])
    ours = call(simulator.train, step, x, y, copy.deepcopy(start), seed=SEED, first_step=FIRST, **options)
    reference.advance(step, x, y, theirs, seed=SEED, first_step=FIRST, steps=options.get("steps", 3))
    assert np.abs(theirs.theta - start.theta).max() > 1e-2, "nothing moved: the comparison would be empty"
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs.theta).max())
    if ours.moments.size:
        largest = np.abs(theirs.moments).max()
        np.testing.assert_allclose(ours.moments, theirs.moments, rtol=0, atol=TOLERANCE[dtype] * largest)
    assert (ours.diverged == -1).all()


COVER = [
    (Step(), THIN, {"shape": TEAMS[2]}),
    (Step(), THIN, {"shape": TEAMS[1], "dtype": "float32"}),
    (steps.make(mask="sample", optimizer="adam", batch_size=5), THIN, {"shape": TEAMS[1], "ones": True}),
    (
        steps.make(activation="gelu", objective="risk+r1", optimizer="momentum", output_scale=0.5),
        THIN,
        {"shape": TEAMS[0]},
    ),
    (steps.make(batch_size=3, replace=True, activation="sigmoid"), SOME, {"shape": TEAMS[3]}),
    # with a small ε Adam makes steps of size lr of the rounding of a gradient near 0
    (steps.make(objective="risk+r1", optimizer="adam", epsilon=1e-2), SOME, {"shape": TEAMS[1], "dtype": "float32"}),
    (Step(), SOME, {"shape": WIDE}),
    (steps.make(mask="sample", optimizer="adam", batch_size=4), SOME, {"shape": WIDE}),
    (
        steps.make(objective="risk+r1", optimizer="momentum", output_scale=0.5),
        SOME,
        {"shape": WIDE, "dtype": "float32"},
    ),
    (steps.make(activation="relu", batch_size=3, replace=True), (4, 6, 1, 1), {"shape": WIDE}),
    # σ(0) is not 0 and the last pass is not full: what pads it must add nothing
    (steps.make(activation="sigmoid", objective="risk+r1"), THIN, {"shape": TEAMS[1]}),
    (steps.make(activation="sigmoid", objective="risk+r1", batch_size=3), SOME, {"shape": WIDE}),
    (Step(), THIN, {}),
    (Step(), (3, 4, 40, 2), {}),
    (steps.make(loss="softmax", weight_decay=0.1, scheduled=True), SOME, {"shape": WIDE}),
    (
        steps.make(loss="squared-softmax", weight_decay=0.1, optimizer="adam", decoupled=True, epsilon=1e-2),
        SOME,
        {"shape": TEAMS[1], "dtype": "float32"},
    ),
    (
        steps.make(loss="logistic", weight_decay=0.1, mask="sample", optimizer="nesterov", scheduled=True),
        THIN,
        {"shape": TEAMS[1]},
    ),
]


@pytest.mark.parametrize(("step", "problem", "options"), COVER)
def test_agrees_with_numpy(call: simulator.Call, step: Step, problem: Any, options: dict[str, Any]) -> None:
    _agree(call, step, problem, **options)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [TEAMS[1], WIDE], ids=["team", "wide"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_agrees_with_numpy(call: simulator.Call, activation: str, shape: Any) -> None:
    _agree(call, steps.make(activation=activation, output_scale=0.5), SOME, shape=shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [TEAMS[2], WIDE], ids=["team", "wide"])
@pytest.mark.parametrize("problem", [THIN, SOME], ids=["thin", "some"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("objective", ["dropout", "risk+r1"])
def test_every_combination_agrees_with_numpy(
    request: pytest.FixtureRequest, call: simulator.Call, objective: str, optimizer: str, mask: str, problem: Any,
    shape: Any,
) -> None:  # fmt: skip
    if request.node.callspec.params["call"] == "compiled" and (problem is THIN) == (shape is WIDE):
        pytest.skip("interpreting PTX takes a while: one problem for each kernel does there")
    step = steps.make(activation="sigmoid", objective=objective, optimizer=optimizer, mask=mask, batch_size=4)
    _agree(call, step, problem, shape=shape)


def test_hundred_steps_stay_within_rounding(call: simulator.Call) -> None:
    _agree(call, Step(), (3, 6, 2, 1), shape=TEAMS[1], steps=100)


@pytest.mark.parametrize("sample_masks", [False, True])
@pytest.mark.parametrize(("neurons", "width"), [(4, 13), (8, 16), (16, 5)])
@pytest.mark.parametrize("keep_prob", [0.5, 2**-32, 1.0])
def test_masks_are_those_of_rng(
    call: simulator.Call, sample_masks: bool, neurons: int, width: int, keep_prob: float
) -> None:
    steps = np.array([0, 3, 2**31 + 5, 2**32 - 1])
    drawn = call(simulator.drawn_masks, sample_masks, neurons, width, steps, keep_prob, SEED)
    sizes = {"width": width, "keep_prob": keep_prob, "samples": 4 if sample_masks else None}
    wanted = rng.masks(seed=SEED, member=np.full(4, 9), step=steps, **sizes)
    assert np.array_equal(drawn, 2.0 * (wanted[:, 3] if sample_masks else wanted))


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(("samples", "size"), [(9, 9), (9, 4), (1, 1), (50, 23)])
def test_minibatches_are_those_of_rng(call: simulator.Call, samples: int, size: int, replace: bool) -> None:
    steps = np.array([0, 1, 2, 2**32 - 1])
    for lanes in (2, 4):
        drawn = call(simulator.drawn_batches, lanes, samples, size, replace, steps, SEED)
        for row, step in zip(drawn, steps, strict=True):
            options = {"samples": samples, "batch_size": size, "replace": replace}
            assert np.array_equal(row, rng.batches(seed=SEED, member=9, step=int(step), **options)[0])


@pytest.mark.parametrize(
    "step", [Step(), steps.make(mask="sample", batch_size=5, optimizer="adam")], ids=["step", "sample"]
)
def test_no_shape_changes_a_bit(call: simulator.Call, step: Step) -> None:
    x, y = _data(THIN)
    thetas = [
        call(simulator.train, step, x, y, _ensemble(step, THIN), seed=SEED, shape=shape).theta
        for shape in [*TEAMS, TeamShape(4, 8, 1, 3), TeamShape(4, 4, 4, 1)]
    ]
    assert all(np.array_equal(theta, thetas[0]) for theta in thetas[1:])
    other = call(simulator.train, step, x, y, _ensemble(step, THIN), seed=SEED, shape=WIDE).theta
    assert not np.array_equal(other, thetas[0]), "another order of summation should show"


@pytest.mark.parametrize("shape", [TEAMS[1], WIDE], ids=["team", "wide"])
def test_no_division_of_the_work_changes_a_bit(call: simulator.Call, shape: Any) -> None:
    step, (x, y) = steps.make(optimizer="momentum", batch_size=4), _data(THIN)

    def theta(**options: Any) -> NDArray:
        return call(simulator.train, step, x, y, _ensemble(step, THIN), seed=SEED, shape=shape, **options).theta

    whole = theta()
    for options in ({"chunk": 1}, {"limit": 1}, {"limit": 2, "chunk": 2}, {"devices": [0, 0]}, {"devices": [0] * 5}):
        assert np.array_equal(theta(**options), whole), options
    alone = _ensemble(step, THIN).parts(3)[1]
    assert np.array_equal(call(simulator.train, step, x, y, alone, seed=SEED, shape=shape).theta[0], whole[1])


@pytest.mark.parametrize("shape", [TEAMS[1], WIDE], ids=["team", "wide"])
@pytest.mark.parametrize(
    "step", [Step(), steps.make(mask="sample", batch_size=5, optimizer="adam")], ids=["step", "sample"]
)
def test_keep_prob_one_is_gradient_descent_bit_for_bit(call: simulator.Call, step: Step, shape: Any) -> None:
    x, y = _data(THIN)

    def theta(step: Step, keep: list[float]) -> NDArray:
        return call(simulator.train, step, x, y, _ensemble(step, THIN, keep=keep), seed=SEED, shape=shape).theta

    kept = theta(step, [1.0, 1.0, 1.0])
    assert np.array_equal(kept, theta(replace(step, objective="risk"), [0.2, 0.5, 1.0]))
    one_mask = replace(step, objective="risk", network=replace(step.network, mask="step"))
    assert np.array_equal(kept, theta(one_mask, [0.2, 0.5, 1.0]))
    assert not np.array_equal(kept, theta(step, [1.0, 0.5, 1.0]))


@pytest.mark.parametrize("shape", [TEAMS[2], TEAMS[0], WIDE], ids=["team", "lane", "wide"])
def test_a_diverging_member_stops_and_no_other_does(call: simulator.Call, shape: Any) -> None:
    step, (x, y) = steps.make(activation="quadratic"), _data(THIN)
    rates = [1e-3, 50.0, 1e-3]
    ours = call(simulator.train, step, x, y, _ensemble(step, THIN, lr=rates), seed=SEED, steps=20, shape=shape)
    theirs = _ensemble(step, THIN, lr=rates)
    reference.advance(step, x, y, theirs, seed=SEED, first_step=0, steps=20)
    assert 0 < theirs.diverged[1] < 20
    assert list(ours.diverged) == list(theirs.diverged)
    assert np.isfinite(ours.theta[[0, 2]]).all()
    again = call(
        simulator.train, step, x, y, _ensemble(step, THIN, lr=rates), seed=SEED, steps=20, shape=shape, chunk=3
    )
    assert list(again.diverged) == list(theirs.diverged), "many calls between two fetches"
    assert np.array_equal(again.theta[[0, 2]], ours.theta[[0, 2]])
    later = call(simulator.train, step, x, y, copy.deepcopy(ours), seed=SEED, first_step=20, steps=2, shape=shape)
    assert np.array_equal(later.theta[1], ours.theta[1], equal_nan=True)
    assert not np.array_equal(later.theta[0], ours.theta[0])


def test_state_stays_on_the_device_until_it_is_fetched(call: simulator.Call) -> None:
    step, (x, y) = Step(), _data(THIN)
    start = _ensemble(step, THIN)
    during, fetched, later = call(simulator.host_between_calls, step, x, y, copy.deepcopy(start), SEED)
    assert np.array_equal(during, start.theta)
    assert (fetched != start.theta).any(axis=1).all()
    assert np.array_equal(later[0], fetched[0]), "a member that the caller marks as diverged stays as it is"
    assert (later[1:] != fetched[1:]).any(axis=1).all()


def test_members_go_in_blocks_where_memory_is_short(call: simulator.Call) -> None:
    step, (x, y) = steps.make(optimizer="adam"), _data(THIN)
    options: dict[str, Any] = {"seed": SEED, "shape": TEAMS[1], "chunk": 2}
    whole = call(simulator.train, step, x, y, _ensemble(step, THIN), **options)
    found_out = call(simulator.short_of_memory, 1, step, x, y, _ensemble(step, THIN), **options)
    foreseen = call(simulator.little_memory, 3000, step, x, y, _ensemble(step, THIN), **options)
    for other in (found_out, foreseen):
        assert np.array_equal(other.theta, whole.theta)
        assert np.array_equal(other.moments, whole.moments)
    with pytest.raises(MemoryError, match="does not hold one member"):
        call(simulator.short_of_memory, 0, step, x, y, _ensemble(step, THIN), **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("problem", [THIN, SOME], ids=["thin", "some"])
def test_evaluate_is_the_whole_network(call: simulator.Call, problem: Any, dtype: str) -> None:
    x, _ = _data(problem, dtype)
    theta = _ensemble(Step(), problem, dtype).theta
    step = steps.make(activation="gelu", output_scale=0.7)
    ours = call(simulator.evaluate, step, x, theta, problem[3])
    wanted = reference.evaluate(step.network, x.astype(np.float64), theta.astype(np.float64), problem[3])
    assert ours.dtype == np.dtype(dtype)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=TOLERANCE[dtype] * np.abs(wanted).max())


def test_advance_returns_current_arrays(call: simulator.Call) -> None:
    x, y = _data(THIN)
    ours = call(simulator.advance, Step(), x, y, _ensemble(Step(), THIN), seed=SEED, first_step=0, steps=3)
    theirs = _ensemble(Step(), THIN)
    reference.advance(Step(), x, y, theirs, seed=SEED, first_step=0, steps=3)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-12)


def test_simulate_runs_on_it(call: simulator.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: None)  # where kernels are interpreted there is no driver
    ours, theirs = call(simulator.simulated_run, backend="cuda"), simulator.simulated_run(backend="numpy")
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-10, atol=1e-14)


def test_all_that_is_recorded_agrees(call: simulator.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: None)
    ours, theirs = call(simulator.recorded_run, backend="cuda"), simulator.recorded_run(backend="numpy")
    assert list(ours) == list(theirs)
    assert {"norm", "theta_cov", "group_f_mean", "f_std", "theta", "risk_quantile"} <= set(ours)
    assert (theirs["diverged"] >= 0).tolist() == [False, True, False, False, False]
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-10, atol=1e-14, err_msg=name)


def test_simulate_opens_one_session_a_block_and_phase(call: simulator.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: None)
    assert call(simulator.sessions_opened) == 1
    assert call(simulator.sessions_opened, block_size=2) == 2
    assert call(simulator.sessions_opened, objective={0: "risk", 3: "dropout"}) == 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("devices", [[0], [0, 0]], ids=["one", "two"])
def test_members_are_observed_where_they_lie(call: simulator.Call, dtype: str, devices: list[int]) -> None:
    """Moments have the bits of the host's recursion over the same numbers; risks and norms agree to rounding."""
    x, y = _data(SOME, dtype)
    step, points, alive = (
        steps.make(output_scale=0.7),
        x[:3] + 1,
        np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1], dtype=bool),
    )
    theta = np.random.default_rng(3).standard_normal((len(alive), SOME[1] * (SOME[2] + SOME[3])))
    ensemble = Ensemble.start(theta, lr=0.01, keep_prob=0.7, dtype=dtype)
    found = call(simulator.observed, step, x, y, ensemble, points, alive, devices)
    theta = found["all"]
    f = reference.evaluate(step.network, x, theta, SOME[3])
    risk = np.square((f - y).astype(np.float64)).sum(axis=(1, 2)) / (2 * len(x))
    np.testing.assert_allclose(found["risk"], risk, rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(found["norm"], np.linalg.norm(theta.astype(np.float64), axis=1), rtol=TOLERANCE[dtype])
    assert found["finite"].all()
    last = len(alive) if len(devices) == 1 else -(-len(alive) // 2)
    assert np.array_equal(found["some"][:2], theta[[last - 1, 0]][:, [3, 1]])
    values = call(simulator.evaluate, step, points, theta, SOME[3]).reshape(len(theta), -1)
    for what, numbers in (("theta", theta), ("values", values)):
        count, mean, m2 = np.zeros(1, np.int64), np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
        statistics.accumulate(count, mean, m2, np.ascontiguousarray(numbers), alive)
        assert np.array_equal(found[f"{what}.count"], count)
        assert np.array_equal(found[f"{what}.mean"], mean)
        assert np.array_equal(found[f"{what}.m2"], m2)


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("outputs", [1, 10, 5000])
@pytest.mark.parametrize("inputs", [1, 15, 785, 20_000])
def test_tiles_are_such_as_lanes_can_share(words: int, outputs: int, inputs: int) -> None:
    from simdrop_kernels.cuda.train import tiles

    for width, batch in itertools.product((3, 64, 65, 1000, 30_000), (1, 7, 32, 256, 10_000)):
        shape = wide_shape(Size(width, inputs, outputs, 0, 1, words), batch)
        assert shape.held % shape.depth == 0
        for columns in (shape.samples, shape.inputs):
            tiling = tiles.Tiling(shape.lanes, shape.across, shape.neurons, columns, shape.depth)
            assert tiling.rows <= shape.lanes <= tiling.rows * shape.depth
            assert tiling.wide <= shape.lanes <= tiling.wide * shape.depth
            assert tiling.size * 4 * words <= 48 << 10, "no block asks for more shared memory than every device gives"


def test_auto_never_takes_the_simulator() -> None:
    with simulator.simulator() as run:
        why = run(simulator.auto_choice)
    assert "not 'cuda': it is the simulator of CUDA" in why
    assert not why.startswith("'cuda'")


def test_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    step, dtype = Step(), np.dtype("float64")
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(cuda, "_driver_found", lambda: False)
    with pytest.raises(BackendError, match="no NVIDIA driver was found"):
        registry.choose("cuda", step, dtype)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'simdrop\[cuda\]'"):
        registry.choose("cuda", step, dtype)
    assert "not R_S + R_1 + R_2" in str(cuda.refuses(replace(step, objective="risk+r1+r2"), dtype))
