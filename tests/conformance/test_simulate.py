"""`simulate` over its whole space: every backend gives NumPy's numbers, or says in one line why it does not run."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np
import pytest
from conformance import compare, space
from conformance.agreement import beyond, differences
from conformance.pairwise import Configuration
from conftest import TOLERANCE
from oracles import simulator

from simdrop_kernels import registry

CHUNKS = 8  # that tests run side by side
NATIVE_CHUNKS = 2  # finding the sample takes longer than a chunk of it


def _assert_agree(configurations: list[Configuration], backend: str) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(f"{backend}: {reason}")
    wrong, ended = compare.tally(configurations, backend)
    assert not wrong, "\n".join(wrong)
    assert ended["ran"] > 0.9 * len(configurations), f"too few were compared within plain rounding: {ended}"


def test_the_sample_covers_all_allowed_pairs_of_levels() -> None:
    axes = list(space.AXES)
    for k, one in enumerate(axes):
        for other in axes[k + 1 :]:
            seen = {(repr(chosen[one]), repr(chosen[other])) for chosen in space.covering()}
            for a in space.AXES[one]:
                for b in space.AXES[other]:
                    assert not space.allowed({one: a, other: b}) or (repr(a), repr(b)) in seen, (one, a, other, b)


@pytest.mark.parametrize("chunk", range(NATIVE_CHUNKS))
def test_native_agrees_with_numpy(chunk: int) -> None:
    _assert_agree(space.covering("native")[chunk::NATIVE_CHUNKS], "native")


def test_native_takes_every_level_and_numba_everything() -> None:
    """What is compared goes by what backends say that they run: here is what they have to."""
    for axis, levels in (space.AXES | space.TAKEN["native"]).items():
        seen = {repr(chosen[axis]) for chosen in space.covering("native")}
        assert seen == set(map(repr, levels)), axis
    numba = registry.load("numba")
    for chosen in space.covering():
        if chosen["objective"] in space.TAKEN["numba"]["objective"]:
            assert not any(numba.refuses(step, dtype) for step, dtype in space.steps_of(chosen)), chosen


#: one of each kernel, in sizes and forms that users have
HANDFUL: list[Configuration] = [
    {"inputs": 2, "outputs": 1, "form": "read-only"},
    {"inputs": 1, "outputs": 2, "form": "list", "bias": False},
    {"inputs": 2, "outputs": 2, "form": "array", "noise": "independent", "mask": "sample"},
    {"inputs": 2, "outputs": 1, "form": "array", "noise": "update"},
    {"inputs": 2, "outputs": 1, "form": "array", "lr": "pieces"},
    {"inputs": 1, "outputs": 2, "form": "array", "lr": "cosine", "batch": "epochs"},
]
#: those whose kernels no other test of the fast tier compiles
FURTHER: list[Configuration] = [
    {"inputs": 1, "outputs": 1, "form": "xarray", "noise": "several"},
    {"inputs": 5, "outputs": 3, "form": "pandas", "dtype": "float32", "mask": "sample", "batch": "half"},
    {"inputs": 1, "outputs": 1, "form": "integer", "optimizer": "adam", "bias": False},
    {"inputs": 1, "outputs": 1, "optimizer": "nesterov", "weight_decay": 0.1, "lr": "pieces"},
    {"inputs": 1, "outputs": 1, "weight_decay": 0.1, "lr": "cosine", "batch": "epochs"},
    {"inputs": 5, "outputs": 2, "optimizer": "adamw", "weight_decay": 0.1, "lr": "members", "mask": "sample"},
    {"inputs": 2, "outputs": 1, "noise": "masks", "weight_decay": 0.1, "train": "output", "batch": "epochs"},
]


@pytest.mark.parametrize("changes", [*HANDFUL, *(pytest.param(one, marks=pytest.mark.slow) for one in FURTHER)])
def test_numba_agrees_with_numpy(changes: Configuration) -> None:
    chosen: Configuration = {name: levels[0] for name, levels in space.AXES.items()}
    _assert_agree([chosen | {"samples": 7, "width": 16} | changes], "numba")


def test_the_sample_for_few_kernels_leaves_no_pair_out() -> None:
    """All allowed ones of tanh and gelu, and those of noise, svag and frozen weights with tanh and SGD."""
    axes = space.AXES | space.TAKEN["numba"]
    seen = {pair for chosen in space.covering("numba", space.few_kernels) for pair in _pairs(chosen)}

    def wanted(chosen: Configuration) -> bool:
        if chosen.get("weight_decay"):  # and of these FURTHER has some
            return False
        if chosen.get("loss", "squared") != "squared":  # kernels of their own: the tests of losses compile some
            return False
        noisy = chosen.get("noise", "none") != "none" or chosen.get("svag") or chosen.get("train", "both") != "both"
        activations, optimizers = (("tanh",), ("sgd",)) if noisy else (("tanh", "gelu"), space.PLAIN)
        return chosen.get("activation", "tanh") in activations and chosen.get("optimizer", "sgd") in optimizers

    for one, other in itertools.combinations(axes, 2):
        for a, b in itertools.product(axes[one], axes[other]):
            pair: Configuration = {one: a, other: b}
            assert not (space.allowed(pair) and wanted(pair)) or _pairs(pair) <= seen, pair


def _pairs(chosen: Configuration) -> set[tuple[str, str]]:
    return set(itertools.combinations((f"{name}: {level!r}" for name, level in chosen.items()), 2))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_numba_agrees_with_numpy_everywhere(chunk: int) -> None:
    """All pairs of levels that need few kernels, and 60 random ones of these kernels.

    `python -m conformance.compare` runs pairs and random ones of all kernels.
    """
    pairs = space.covering("numba", space.few_kernels)
    compiled = {space.by_kernel(chosen) for chosen in pairs}
    drawn = space.random("numba", 200, 6, space.few_kernels)
    further = (chosen for chosen in drawn if space.by_kernel(chosen) in compiled)
    ordered = sorted([*pairs, *itertools.islice(further, 60)], key=space.by_kernel)
    share = -(-len(ordered) // CHUNKS)  # neighbours: two processes seldom compile the same
    _assert_agree(ordered[chunk * share : (chunk + 1) * share], "numba")


@pytest.mark.slow
def test_native_agrees_with_numpy_at_random() -> None:
    _assert_agree(list(space.random("native", 200, seed=5)), "native")


@pytest.mark.parametrize("backend", ["numba", "native", "cuda"])
def test_what_a_backend_does_not_take_is_refused_in_one_line(backend: str) -> None:
    taken = space.TAKEN[backend]
    refused = [
        chosen for chosen in space.covering() if any(chosen[axis] not in levels for axis, levels in taken.items())
    ]
    assert refused
    for chosen in refused:
        said = compare.run(*space.call(chosen), backend)
        assert isinstance(said, str), chosen
        assert compare.is_refusal(said, backend), said


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_the_cuda_simulator_agrees_with_numpy() -> None:
    small = {"samples": (1, 2, 7), "width": (1, 3, 16), "inputs": (1, 2, 5), "outputs": (1, 2, 3)}
    chosen = [one for one in space.covering("cuda") if all(one[axis] in sizes for axis, sizes in small.items())]
    with simulator.simulator() as there:
        for one in chosen[:6]:
            problem, options = space.call(one)
            ours = there(compare.run, problem, options, "cuda")
            theirs: Any = compare.run(problem, options, "numpy")
            off = differences(ours, theirs, float(np.square(problem.y).mean()))
            assert max(off.values()) <= TOLERANCE[one["dtype"]], (off, one)


def test_the_comparison_sees_what_differs() -> None:
    chosen: Configuration = {name: levels[0] for name, levels in space.AXES.items()} | {"samples": 7}
    problem, options = space.call(chosen)
    one: Any = compare.run(problem, options, "numpy")
    other: Any = compare.run(problem, options | {"lr": options["lr"] * (1 + 1e-9)}, "numpy")
    assert beyond(other, one, "float64", 1.0, lambda k: one)[0]
    assert max(differences(one, one, 1.0).values()) == 0
