"""Activations: those of the table agree with themselves, and a user's own run wherever the project's do."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE
from oracles import compiled, enumeration, own_activations, simulator, steps
from oracles.own_activations import paths, problem, train

import simdrop
from simdrop import scale, theory
from simdrop.cli.compare import CompareSettings
from simdrop.errors import InvalidInput
from simdrop.scale.launch import work
from simdrop.settings.fields import resolve
from simdrop_kernels import BackendError, registry
from simdrop_kernels.contract.network import MASKS
from simdrop_kernels.contract.objectives import COMPILED
from simdrop_kernels.contract.step import Ensemble
from simdrop_kernels.mathematics.activations.functions import of_functions
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS, add, scalars
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS
from simdrop_kernels.reference import train as reference

PROJECT = tuple(ACTIVATIONS)
DOUBLE = np.dtype("float64")


def _register_again(name: str) -> str:
    """Register the scalars of a project's activation, as plain Python, under another name."""
    plain, again = scalars(name, lambda function: function, np.float64), f"{name}_again"

    def curvature(z: float) -> float:
        h = plain.value(z)
        return plain.curvature(z, h, plain.slope(z, h))

    def third(z: float) -> float:
        return float(ACTIVATIONS[name].derivatives(np.array([z]), 3)[3][0])

    simdrop.activations.register(again, plain.value, lambda z: plain.slope(z, plain.value(z)), curvature, third=third)
    return again


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROJECT)
def test_scalars_are_those_of_the_arrays(name: str, dtype: str) -> None:
    z = problem(name).inputs.astype(dtype)
    z.flags.writeable = False  # as what a problem holds
    found = scalars(name, lambda function: function, z.dtype.type)
    h = np.array([found.value(v) for v in z.flat])
    h1 = np.array([found.slope(*pair) for pair in zip(z.flat, h, strict=True)])
    h2 = np.array([found.curvature(*numbers) for numbers in zip(z.flat, h, h1, strict=True)])
    arrays = ACTIVATIONS[name].derivatives(z, 3)
    assert all(array.dtype == z.dtype and array.shape == z.shape for array in arrays)
    for ours, theirs in zip((h, h1, h2), arrays, strict=False):
        np.testing.assert_allclose(ours, theirs.ravel(), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", PROJECT)
def test_the_door_for_users_takes_the_projects_own(name: str) -> None:
    """Checked as a user's are, and the same in theory and on backend "numpy"."""
    again = _register_again(name)
    ours, theirs = problem(again), problem(name)
    theta = ours.init(seed=3)
    for function in (theory.risk, theory.r1, theory.mean_gradient, theory.hessian):
        np.testing.assert_allclose(function(ours, theta), function(theirs, theta), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(theory.r2(ours, theta, lr=0.1), theory.r2(theirs, theta, lr=0.1), rtol=1e-11)
    found, wanted = train(again, "numpy"), train(name, "numpy")
    np.testing.assert_allclose(found["theta"], wanted["theta"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["own_swish", pytest.param("leaky", marks=pytest.mark.slow)])
def test_numba_agrees_with_numpy(name: str) -> None:
    own_activations.register(name)
    ours, theirs = train(name, "numba"), train(name, "numpy")
    assert np.abs(theirs["theta"][-1] - theirs["theta"][0]).max() > 1e-3, "nothing moved"
    np.testing.assert_allclose(ours["theta"], theirs["theta"], rtol=0, atol=TOLERANCE["float64"] * 10)


@pytest.mark.slow
def test_numba_agrees_with_numpy_onpaths() -> None:
    own_activations.register("own_swish")
    ours, theirs = paths("own_swish", "numba")["theta"], paths("own_swish", "numpy")["theta"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_cuda_agrees_with_numpy_and_other_processes_say_what_is_missing() -> None:
    own_activations.register("own_swish")
    sent = pickle.dumps(problem("own_swish"))
    assert pickle.loads(sent).activation == "own_swish"
    with simulator.simulator() as call:
        with pytest.raises(
            InvalidInput, match=r"^activation 'own_swish' is not registered in this process: call [^\n]*$"
        ):
            call(pickle.loads, sent)
        for job in (train, paths):
            found = call(own_activations.after_registering, "own_swish", job, "own_swish", "cuda")["theta"]
            np.testing.assert_allclose(found, job("own_swish", "numpy")["theta"], rtol=0, atol=1e-11)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["own_swish", "leaky"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_compiled_for_a_device_it_agrees_with_numpy(name: str, dtype: str) -> None:
    step = steps.make(activation=name, output_scale=0.8)
    own_activations.register(name)
    here = problem(name)
    x, y = here.inputs.astype(dtype), here.y.astype(dtype)

    def start() -> Ensemble:
        theta = here.init(seed=1, members=3)
        return Ensemble.start(theta, lr=0.1, keep_prob=0.7, dtype=dtype)

    ours, theirs = start(), start()
    with compiled.device() as run:
        run(simulator.train, step, x, y, ours, seed=5)
    reference.advance(step, x, y, theirs, seed=5, first_step=0, steps=3)
    assert np.abs(theirs.theta - start().theta).max() > 1e-3, "nothing moved"
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=TOLERANCE[dtype] * np.abs(theirs.theta).max())


@pytest.mark.parametrize("outputs", [1, 2])
def test_theory_by_differences(outputs: int) -> None:
    own_activations.register("own_swish")
    here = enumeration.problem(activation="own_swish", outputs=outputs)
    theta = here.init(seed=1)
    slope = enumeration.central_difference(lambda points: theory.modified_loss(here, points, lr=0.2), theta)
    found = theory.gradient(here, theta, objective="risk+r1+r2", lr=0.2)
    np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-9)


def test_the_flow_of_mean_and_covariance_needs_the_third_derivative() -> None:
    own_activations.register("leaky")
    here = problem("leaky")
    theta = here.init(seed=1)
    with pytest.raises(
        InvalidInput, match=r"needs the third derivative of activation 'leaky': register it with third="
    ):
        simdrop.flow(here, theta, lr=0.1, times=[0.1], kind="mean-covariance")
    simdrop.flow(here, theta, lr=0.1, times=[0.1], kind="modified")
    again = _register_again("gelu")
    found, wanted = (
        simdrop.flow(problem(name), theta, lr=0.1, times=[0.3], kind="mean-covariance") for name in (again, "gelu")
    )
    np.testing.assert_allclose(found["theta"], wanted["theta"], rtol=1e-9)


def test_native_says_why_not_and_auto_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("cuda"), "unavailable", lambda: "no device here")
    own_activations.register("own_swish")
    native = registry.load("native")
    step = steps.make(activation="own_swish")
    assert native.refuses(step, DOUBLE) == "no C function is written for activation 'own_swish'"
    backend, reason = registry.choose("auto", step, DOUBLE)
    assert backend.name == "numba"
    assert "no C function" in reason or native.unavailable()
    if not native.unavailable():
        with pytest.raises(BackendError, match="backend 'native' cannot run this: no C function"):
            train("own_swish", "native")


def test_one_that_is_not_written_in_c_yet_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("cuda"), "unavailable", lambda: "no device here")
    add(dataclasses.replace(ACTIVATIONS["tanh"], name="tanh_anew"))
    assert registry.choose("auto", steps.make(activation="tanh_anew"), DOUBLE)[0].name == "numba"
    native = registry.load("native")
    if not native.unavailable():
        assert (
            native.refuses(steps.make(activation="tanh_anew"), DOUBLE)
            == "no C function is written for activation 'tanh_anew'"
        )


def test_what_c_has_is_what_python_has_names_for() -> None:
    written = registry.load("native").WRITTEN
    known = {"activation": PROJECT, "mask": MASKS, "objective": COMPILED, "optimizer": OPTIMIZERS}
    assert all(set(written[what]) <= set(names) for what, names in known.items())


def test_what_numba_cannot_compile_runs_on_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("cuda"), "unavailable", lambda: "no device here")
    own_activations.register("python_only")
    backend, reason = registry.choose("auto", steps.make(activation="python_only"), DOUBLE)
    assert backend.name == "numpy"
    assert "Numba does not compile activation 'python_only': " in reason
    assert "\n" not in reason
    equation = steps.equation(activation="python_only")
    assert registry.choose_follower("auto", equation, DOUBLE)[0].name == "numpy"
    assert np.isfinite(train("python_only", "auto")["theta"]).all()
    far = ACTIVATIONS["python_only"].value(np.array([1e4, 0.0]))
    np.testing.assert_array_equal(far, [np.nan, 1.0])


GOOD = own_activations.swish()
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "tanh"}, "activation 'tanh' is there already, with other functions: take another name"),
    ({"name": "leaky-relu"}, "name must be letters, digits and underscores, such as 'swish', got 'leaky-relu'"),
    ({"name": ""}, "name must be letters"),
    ({"name": "lambda"}, "name must be letters"),
    ({"name": 3}, "name must be letters"),
    ({"value": 1.0}, "value must be a function, got 1.0"),
    ({"curvature": None}, "curvature must be a function, got None"),
    ({"third": "x"}, "third must be a function, got 'x'"),
    ({"value": math.log}, "value of activation 'mine' at z = -4.22291 raises ValueError"),
    ({"value": lambda z: math.inf}, "value of activation 'mine' at z = "),
    ({"value": lambda z: z > 0}, "value of activation 'mine' at z = "),
    ({"value": lambda z: None}, "value of activation 'mine' at z = "),
    ({"value": lambda z: np.array([z])}, "value of activation 'mine' at z = "),
    ({"value": lambda z: 1j * z}, "value of activation 'mine' at z = "),
    ({"slope": lambda z: 1 / (1 + math.exp(-z))}, "slope of activation 'mine' is "),
    ({"curvature": lambda z: 1.0001 * GOOD[2](z)}, "curvature of activation 'mine' is "),
    ({"third": lambda z: -GOOD[3](z)}, "third of activation 'mine' is "),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_is_wrong_is_refused(changes: dict[str, Any], message: str) -> None:
    given = dict(zip(("value", "slope", "curvature", "third"), GOOD, strict=True)) | {"name": "mine"} | changes
    with pytest.raises(InvalidInput) as raised:
        simdrop.activations.register(**given)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert tuple(ACTIVATIONS) == PROJECT


def test_a_wrong_slope_is_told_with_both_numbers() -> None:
    with pytest.raises(InvalidInput) as raised:
        simdrop.activations.register("mine", math.sin, math.sin, math.cos)
    words = str(raised.value).replace(",", "").split()
    z, told, found = (float(words[words.index(word) + 1]) for word in ("=", "is", "give"))
    assert told == pytest.approx(math.sin(z), rel=1e-4)
    assert found == pytest.approx(math.cos(z), rel=1e-4)


def test_the_same_twice_is_nothing_new_and_others_are_refused() -> None:
    own_activations.register("own_swish")
    own_activations.register("own_swish")
    assert tuple(ACTIVATIONS) == (*PROJECT, "own_swish")
    with pytest.raises(InvalidInput, match="is there already"):
        simdrop.activations.register("own_swish", *own_activations.leaky())


def test_results_tell_functions_of_one_name_apart() -> None:
    """What a checkpoint must share with the run that goes on from it is what the result tells."""
    told = []
    for beta in (1.0, 1.5):
        ACTIVATIONS.pop("mine", None)
        simdrop.activations.register("mine", lambda z, b=beta: b * z, lambda z, b=beta: b, lambda z: 0)
        told.append(train("mine", "numpy").attrs)
    assert [attrs["activation"] for attrs in told] == ["mine", "mine"]
    assert told[0]["activation_sha256"] != told[1]["activation_sha256"]
    assert "activation_sha256" not in train("tanh", "numpy").attrs


def test_a_sweep_says_which_functions_it_is_of(tmp_path: Path) -> None:
    """Its results are not mixed with those of other functions; and a worker says what it lacks."""
    tables = {"problem": {"data": "sin", "width": 3, "activation": "own_swish"}, "simulate": {"steps": 3, "members": 4}}
    own_activations.register("own_swish")
    design = scale.design(tables | {"sweep": {"lr": [0.1, 0.05]}})
    scale.sweep(design, tmp_path / "sweep")
    ACTIVATIONS.pop("own_swish")
    with pytest.raises(InvalidInput, match=r"^activation 'own_swish' is not registered in this process: call [^\n]*$"):
        work(design.points)
    simdrop.activations.register("own_swish", *own_activations.leaky())
    with pytest.raises(InvalidInput, match="belongs to another run: activations_sha256 was "):
        scale.sweep(design, tmp_path / "sweep", resume=True)


def test_settings_take_a_registered_name() -> None:
    with pytest.raises(InvalidInput, match="unknown activation 'own_swish'"):
        resolve(CompareSettings, {}, assignments=["activation=own_swish"])
    own_activations.register("own_swish")
    assert resolve(CompareSettings, {}, assignments=["activation=own_swish"]).activation == "own_swish"


def test_kernels_on_disk_are_not_those_of_an_older_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba takes a kernel from its cache on disk where what the kernel calls has the same bytes."""
    from numba.core.serialize import dumps

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    seen = []
    for number in (1, 2):
        (tmp_path / "my_functions.py").write_text(f"def value(z):\n    return {number} * z\n")
        sys.modules.pop("my_functions", None)
        importlib.invalidate_caches()
        value = importlib.import_module("my_functions").value
        made = of_functions("mine", (value, value, value), identity="same").scalars(lambda f: f, np.float64)
        assert made.value(3.0) == 3 * number
        seen.append(dumps(made.value))
    assert seen[0] != seen[1]
    other = of_functions("mine", (value, value, value), identity="other").scalars(lambda f: f, np.float64)
    assert dumps(other.value) != seen[1]
