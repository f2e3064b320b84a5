"""Members in the lanes of vectors, as backend "native" trains small networks: through `simulate`, in both layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import steps

import simdrop
from simdrop.errors import DivergenceWarning
from simdrop_kernels import native
from simdrop_kernels.contract.step import Sizes, Step
from simdrop_kernels.native import layouts

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

RUNNING = [name for name, here in native._native.instruction_sets() if here] if native._native else []
MEMBERS = 37  # whole vectors of every instruction set, and some more


PAIRS = [(isa, layout) for isa in RUNNING for layout in native.WRITTEN["layout"]]


@pytest.fixture(params=[pytest.param(pair, id="-".join(pair)) for pair in PAIRS])
def inside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The instruction set and the layout in force."""
    for name, value in zip(("SIMDROP_ISA", "SIMDROP_LAYOUT"), request.param, strict=True):
        monkeypatch.setenv(name, value)
    return request.param


def _small(
    *, samples: int = 4, width: int = 5, mask: Any = "step", activation: str = "tanh", keep_prob: float = 0.4
) -> simdrop.Problem:
    x = np.linspace(-1, 1, samples)
    return simdrop.Problem(x, np.sin(3 * x), width=width, keep_prob=keep_prob, mask=mask, activation=activation)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_a_neuron_moves_where_its_mask_keeps_it(inside: Any, mask: str, dtype: str) -> None:
    problem = _small(samples=2, width=7, mask=mask)
    theta0 = problem.init(seed=3)
    seeds = 2**40 + np.arange(MEMBERS) * 1000
    runs = simdrop.simulate(
        problem, theta0, lr=1e-3, steps=20, members=MEMBERS, seed=seeds, dtype=dtype, record=np.arange(21),
        keep_theta=True, backend="native", threads=1,
    )  # fmt: skip
    moved = (np.diff(runs.theta.transpose("time", "member", "param").values, axis=0) != 0)[..., : problem.width]
    for k in range(MEMBERS):
        for step in range(20):
            kept = simdrop.masks(
                seed=int(seeds[k]), member=k, step=step, width=7, keep_prob=0.4, samples=2 if mask == "sample" else None
            )
            np.testing.assert_array_equal(moved[step, k], kept if mask == "step" else kept.any(axis=0))


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "batch_size": 3}], ids=["sgd", "adam"])
def test_members_blocks_and_threads_change_no_bit(inside: Any, options: dict[str, Any]) -> None:
    problem = _small(mask="sample" if options else "step")
    theta0 = problem.init(seed=1, members=MEMBERS)
    known: dict[str, Any] = {
        "lr": 0.05,
        "steps": 30,
        "seed": 9,
        "backend": "native",
        "keep_theta": True,
        "record": 3,
    } | options
    whole = simdrop.simulate(problem, theta0, members=MEMBERS, threads=1, **known)
    for members, block, threads in ((MEMBERS, 5, 2), (MEMBERS, 1, 1), (17, None, 2), (1, None, 1)):
        part = simdrop.simulate(
            problem, theta0[:members], members=members, block_size=block, threads=threads, **known
        )  # fmt: skip
        np.testing.assert_array_equal(part.theta, whole.theta.isel(member=slice(members)))


def test_hundreds_of_steps_stay_at_numpys_numbers(inside: Any) -> None:
    problem = _small(samples=8, width=8, keep_prob=0.8)
    theta0 = problem.init(seed=2)
    known: dict[str, Any] = {
        "lr": np.linspace(0.001, 0.02, MEMBERS),
        "steps": 400,
        "members": MEMBERS,
        "keep_theta": True,
        "record": 2,
    }
    ours, theirs = (simdrop.simulate(problem, theta0, backend=name, **known).theta for name in ("native", "numpy"))
    assert abs(ours - theirs).max() < 1e-12 * abs(theirs).max()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_member_that_diverges_leaves_its_neighbours_alone(inside: Any, optimizer: str) -> None:
    problem = _small(activation="quadratic", keep_prob=0.9)
    rates = np.where(np.arange(MEMBERS) % 5 == 2, 30.0 if optimizer == "sgd" else 1e160, 0.01)
    known: dict[str, Any] = {"steps": 60, "optimizer": optimizer, "keep_theta": True, "record": 4, "risk_limit": None}
    theta0 = problem.init(seed=2)
    with pytest.warns(DivergenceWarning, match="7 of 37 members diverged"):
        ours, theirs = (
            simdrop.simulate(problem, theta0, lr=rates, members=MEMBERS, backend=name, **known)
            for name in ("native", "numpy")
        )
    np.testing.assert_array_equal(ours.diverged, theirs.diverged)
    gone = rates > 0.01
    np.testing.assert_array_equal(ours.diverged >= 0, gone)
    quiet = simdrop.simulate(problem, theta0, lr=0.01, members=MEMBERS, backend="native", **known)
    np.testing.assert_array_equal(ours.theta[:, ~gone], quiet.theta[:, ~gone])


#: what a step may have besides dropout, by what it is: options of the problem, of simulate
FURTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "schedule": ({}, {"lr": {0: 0.05, 7: 0.02, 20: 0.002}}),
    "rates of members": ({"mask": "sample"}, {"lr": np.linspace(0.01, 0.05, MEMBERS), "optimizer": "nesterov"}),
    "cosine": ({"activation": "erf"}, {"lr": simdrop.schedule.cosine(0.05, steps=30), "batch_size": 3}),
    "decay": ({"weight_decay": 0.1}, {"lr": 0.05}),
    "decay, momentum": ({"weight_decay": 0.1, "mask": "sample"}, {"lr": 0.02, "optimizer": "momentum"}),
    "AdamW": ({"weight_decay": 0.1}, {"lr": 0.01, "optimizer": "adam", "optimizer_options": {"decoupled": True}}),
    "logistic": ({"loss": "logistic", "weight_decay": 0.01}, {"lr": 0.1}),
    "softmax": ({"loss": "softmax", "mask": "sample"}, {"lr": 0.1, "batch_size": 2}),
    "squared-softmax": ({"loss": "squared-softmax"}, {"lr": {0: 0.1, 9: 0.02}, "optimizer": "momentum"}),
    "decay, svag": ({"weight_decay": 0.1}, {"lr": {0: 0.02, 11: 0.01}, "svag": 3}),
    "AdamW, gaussian": (
        {"weight_decay": 0.1, "train": "input"},
        {
            "lr": simdrop.schedule.cosine(0.02, steps=30),
            "noise": simdrop.Noise(law="gaussian"),
            "optimizer": "adam",
            "optimizer_options": {"decoupled": True},
        },
    ),
    "decay, drift": ({"weight_decay": 0.1}, {"lr": {0: 0.02, 11: 0.01}, "noise": simdrop.Noise(part="drift")}),
    "decay, noise": ({"weight_decay": 0.1}, {"lr": {0: 0.02, 11: 0.01}, "noise": simdrop.Noise(part="noise")}),
}


@pytest.mark.parametrize("what", FURTHER)
def test_what_changes_a_step_besides_dropout_is_numpys(inside: Any, what: str) -> None:
    """Members that are no whole vectors, in calls that end within a schedule."""
    options, known = FURTHER[what]
    x = np.linspace(-1, 1, 6)
    classes = np.arange(6) % 3
    y = {"logistic": (classes > 0) * 1.0}.get(options.get("loss", ""), np.sin(3 * x))
    if "softmax" in options.get("loss", ""):
        y = np.eye(3)[classes]
    problem = simdrop.Problem(x, y, width=5, keep_prob=0.6, **options)
    theta0 = problem.init(seed=4, members=MEMBERS)
    found = {
        name: simdrop.simulate(
            problem, theta0, steps=30, members=MEMBERS, backend=name, keep_theta=True, record=[0, 5, 13, 30], **known
        ).theta
        for name in ("native", "numpy")
    }
    assert abs(found["native"] - found["numpy"]).max() < 1e-12 * abs(found["numpy"]).max()
    assert abs(found["numpy"][-1] - found["numpy"][0]).max() > 1e-4


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)])
@pytest.mark.parametrize("isa", ["avx512_intel", "avx512", "avx2", "baseline"])
def test_small_networks_and_no_others_are_trained_by_members(
    monkeypatch: pytest.MonkeyPatch, isa: str, dtype: np.dtype
) -> None:
    monkeypatch.delenv("SIMDROP_LAYOUT", raising=False)
    for samples, width in ((4, 5), (4, 16), (8, 8), (32, 8)):
        assert layouts.chosen(Step(), Sizes(samples, width, 2, 1), isa, dtype) == "members", (samples, width)
    for samples, width, inputs in ((32, 1000, 2), (256, 128, 2), (32, 64, 100)):
        assert layouts.chosen(Step(), Sizes(samples, width, inputs, 1), isa, dtype) == "neurons", (samples, width)
    decayed = steps.make(weight_decay=0.1, loss="logistic", scheduled=True, optimizer="nesterov")
    assert layouts.chosen(decayed, Sizes(4, 5, 2, 1), isa, dtype) == "members"
    assert layouts.chosen(steps.make(place="update"), Sizes(4, 5, 2, 1), isa, dtype) == "neurons"
    shuffled, drawn = (steps.make(batch_size=1000, replace=replace) for replace in (False, True))
    assert layouts.chosen(shuffled, Sizes(1000, 5, 2, 1), isa, dtype) == "neurons"
    assert layouts.chosen(drawn, Sizes(1000, 5, 2, 1), isa, dtype) == "members"


def test_operations_of_an_update_have_the_masks_and_changes_of_its_step() -> None:
    """Five neurons take two blocks of 62 instructions for 16 members: 15 products and sums of 2 vectors, 2 sums."""
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    by_step, by_sample = Step(), steps.make(mask="sample")
    assert layouts.operations(by_step, Sizes(4, 5, 2, 1), "avx512", single, 18) == 18 + (2 * 62 / 5 + 1 + 8) / 4
    assert layouts.operations(by_sample, Sizes(4, 5, 2, 1), "avx512", double, 24) == 24 + 2 * 32 / 5 + 1 + 8 / 4
    assert layouts.operations(by_step, Sizes(32, 1000, 2, 1), "avx512", single, 18) is None


@pytest.mark.parametrize("replace", [False, True])
def test_minibatches_are_those_of_every_backend(inside: Any, replace: bool) -> None:
    """One linear neuron of two inputs learns from a sample what its number is: each has a direction of its own."""
    samples = 23
    angle = np.arange(samples)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    problem = simdrop.Problem(x, np.ones(samples), width=1, keep_prob=1.0, activation="linear", bias=False)
    theta0 = np.array([1.0, 0.0, 0.0])
    known: dict[str, Any] = {"lr": 0.01, "steps": 25, "members": MEMBERS, "seed": 11, "keep_theta": True, "record": 26}
    ours, theirs = (
        simdrop.simulate(problem, theta0, backend=name, batch_size=13, replace=replace, **known).theta
        for name in ("native", "numpy")
    )
    assert abs(ours - theirs).max() < 1e-12
    assert abs(theirs.isel(time=1) - theirs.isel(time=1, member=0)).max() > 1e-4  # every member has its own
