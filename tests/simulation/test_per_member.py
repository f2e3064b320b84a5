"""Learning rates, keep probabilities and seeds of members: with the results, and in what theory makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr

import simdrop
import simdrop_kernels.registry
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.output.storage import load
from simdrop.simulation.checkpoint import OtherRun

X = np.linspace(-1, 1, 8)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=4, keep_prob=0.8)
THETA = PROBLEM.init()
LR, KEPT, SEED = [0.01, 0.02, 0.04], [0.2, 0.7, 0.7], [5, 6, 9]
DIFFERENT = {"lr": LR, "keep_prob": KEPT, "seed": SEED, "steps": 20, "record": 3}
PLACED: dict[str, Any] = {"place": ["both", "update", "update"]}


def test_what_differs_between_members_is_a_coordinate_and_in_the_file(tmp_path: Path) -> None:
    runs = simdrop.simulate(PROBLEM, THETA, **DIFFERENT, keep_theta=[0, 2], out=tmp_path)
    for data in (runs, load(tmp_path / "results.zarr")):
        for name, values in (("lr", LR), ("keep_prob", KEPT), ("seed", SEED)):
            assert data[name].dims == ("member",)
            assert data[name].values.tolist() == values
            assert data[f"kept_{name}"].dims == ("kept",)
            assert data[f"kept_{name}"].values.tolist() == [values[0], values[2]]
        assert data.attrs["lr"] == "per member: 0.01 ... 0.04"
        assert data.attrs["keep_prob"] == "per member: 0.2 ... 0.7"
        assert data.attrs["seed"] == "per member: 5 ... 9"
        assert float(data["risk"].isel(member=1, time=0)["lr"]) == 0.02


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "backend", [name for name in ("numpy", "native") if not simdrop_kernels.registry.load(name).unavailable()]
)
def test_arrays_of_any_byte_order_are_numbers(backend: Any, order: str) -> None:
    """Those of Zarr have a type with the mark of an order, even of the machine's own."""

    def ordered(values: Any, kind: str = "f8") -> np.ndarray:
        marked = np.dtype(kind).newbyteorder(order)
        return np.frombuffer(np.array(values, dtype=marked).tobytes(), dtype=marked).reshape(np.shape(values))

    known: dict[str, Any] = {"steps": 4, "record": 2, "keep_theta": True, "backend": backend}
    plain = simdrop.simulate(PROBLEM, THETA, lr=LR, keep_prob=KEPT, seed=SEED, **known)
    problem = simdrop.Problem(ordered(X), ordered(np.sin(3 * X)), width=4, keep_prob=0.8)
    each: dict[str, Any] = {"lr": ordered(LR), "keep_prob": ordered(KEPT), "seed": ordered(SEED, "i8")}
    runs = simdrop.simulate(problem, ordered(THETA), **each, **known)
    np.testing.assert_array_equal(runs["theta"], plain["theta"])
    assert problem.split(ordered(THETA))[0].dtype.isnative
    paths = [
        simdrop.sme(PROBLEM, theta, lr=0.1, times=[0.2], order=1, members=4, backend=backend)["theta_mean"]
        for theta in (THETA, ordered(THETA))
    ]
    np.testing.assert_array_equal(*paths)


def test_equal_numbers_given_for_each_member_are_coordinates_too() -> None:
    runs = simdrop.simulate(PROBLEM, THETA, lr=[0.01, 0.01], steps=2, record=2)
    assert runs["lr"].values.tolist() == [0.01, 0.01]
    assert "time" in runs.coords
    assert runs.attrs["lr"] == 0.01


def test_one_number_is_one_coordinate_and_runs_concatenate_along_it() -> None:
    one, two = (simdrop.simulate(PROBLEM, THETA, lr=lr, steps=4, members=2, record=2) for lr in (0.01, 0.02))
    assert float(one["lr"]) == 0.01
    assert float(one["keep_prob"]) == 0.8
    assert "seed" not in one.coords
    by_step = [runs["risk_mean"].swap_dims(time="step").drop_vars("time") for runs in (one, two)]
    together = xr.concat(by_step, dim="lr", coords="minimal", compat="override")
    assert together["lr"].values.tolist() == [0.01, 0.02]


@pytest.mark.parametrize("name", ["lr", "keep_prob", "seed", "place"])
def test_a_checkpoint_knows_the_numbers_of_all_members(tmp_path: Path, name: Any) -> None:
    """The second differs within the range that attributes tell."""

    def stop(stage: Any, done: Any, total: Any) -> None:
        if done == total:
            raise RuntimeError

    settings = {"checkpoint": tmp_path / "state", "checkpoint_seconds": 0.0}
    with pytest.raises(RuntimeError):
        simdrop.simulate(PROBLEM, THETA, **DIFFERENT, **PLACED, **settings, progress=stop)
    first, _, last = cast("list[Any]", (DIFFERENT | PLACED)[name])
    between = {"seed": 7, "place": "both"}[name] if name in ("seed", "place") else (first + last) / 2.3
    other = DIFFERENT | PLACED | {name: [first, between, last]}
    with pytest.raises(OtherRun, match="of_members was"):
        simdrop.simulate(PROBLEM, THETA, **other, **settings, resume=True)


#: what depends on the keep probability: name -> function(problem, theta (..., P), **keep_prob)
MANY = {
    "r1": theory.r1,
    "r2": lambda *a, **k: theory.r2(*a, lr=0.1, **k),
    "modified_loss": lambda *a, **k: theory.modified_loss(*a, lr=0.1, **k),
    "loss": lambda *a, **k: theory.loss(*a, objective="risk+r1", **k),
    "gradient": lambda *a, **k: theory.gradient(*a, objective="risk+r1+r2", lr=0.1, **k),
    "gradient under noise": lambda *a, **k: theory.gradient(*a, objective="r1", noise=simdrop.Noise(connect=0.9), **k),
    "mean_gradient": theory.mean_gradient,
    "second_moment": theory.second_moment,
    "second_moment under noise": lambda *a, **k: theory.second_moment(*a, noise=simdrop.Noise(masks=2), **k),
    "hessian_trace": theory.hessian_trace,
}
ONE = {
    "noise_covariance": theory.noise_covariance,
    "covariance_product": lambda p, t, **k: theory.covariance_product(p, t, np.ones(p.n_params), **k),
    "hessian": theory.hessian,
    "hessian_product": lambda p, t, **k: theory.hessian_product(p, t, np.ones(p.n_params), **k),
    "dropout_gradient": lambda p, t, **k: theory.dropout_gradient(p, t, np.array([True, False, True, True]), **k),
}


@pytest.fixture(scope="module")
def runs() -> Any:
    return simdrop.simulate(PROBLEM, THETA, **DIFFERENT, keep_theta=True)


@pytest.mark.parametrize("name", MANY)
def test_theory_takes_the_keep_prob_of_every_member_or_refuses(runs: Any, name: Any) -> None:
    function, theta = MANY[name], runs["theta"]
    alone = [function(replace(PROBLEM, keep_prob=p), theta.values[:, k]) for k, p in enumerate(KEPT)]
    expected = np.stack(alone, axis=1)
    for given in (runs["keep_prob"], np.array(KEPT), KEPT):
        np.testing.assert_allclose(function(PROBLEM, theta, keep_prob=given), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(function(PROBLEM, theta.values, keep_prob=KEPT), expected, rtol=1e-12, atol=1e-15)
    one = function(PROBLEM, theta[-1, 1], keep_prob=0.7)
    np.testing.assert_allclose(one, expected[-1, 1], rtol=1e-12, atol=1e-15)
    with pytest.raises(
        InvalidInput, match=r"theta comes from a run with keep_prob 0\.2 \.\.\. 0\.7, the problem has 0\.8"
    ):
        function(PROBLEM, theta)
    with pytest.raises(InvalidInput, match=r"keep_prob 0\.7, the problem has 0\.8"):
        function(PROBLEM, theta[-1, 1])
    with pytest.raises(InvalidInput, match="a mean over members with different keep_prob"):
        function(PROBLEM, runs["theta_mean"])
    for wrong in ([0.5, 0.5], 0.0, np.nan, "a", True, 2.0, [[[0.5]] * 3] * 3):
        with pytest.raises(InvalidInput, match="keep_prob"):
            function(PROBLEM, theta, keep_prob=wrong)


@pytest.mark.parametrize("name", ONE)
def test_theory_of_one_point_takes_its_keep_prob_or_refuses(runs: Any, name: Any) -> None:
    function, theta = ONE[name], runs["theta"][-1, 1]
    expected = function(replace(PROBLEM, keep_prob=0.7), theta.values)
    np.testing.assert_allclose(function(PROBLEM, theta, keep_prob=theta.keep_prob), expected, rtol=1e-13)
    np.testing.assert_array_equal(function(replace(PROBLEM, keep_prob=0.7), theta), expected)
    with pytest.raises(InvalidInput, match=r"keep_prob 0\.7, the problem has 0\.8"):
        function(PROBLEM, theta)
    for wrong in ([0.5, 0.5], 0.0, np.nan, "a", True):
        with pytest.raises(InvalidInput, match="keep_prob"):
            function(PROBLEM, theta, keep_prob=wrong)


def test_kept_members_and_runs_of_one_other_keep_prob_are_told_apart() -> None:
    some = simdrop.simulate(PROBLEM, THETA, **DIFFERENT, keep_theta=[1, 2])
    with pytest.raises(InvalidInput, match=r"keep_prob=theta\.kept_keep_prob"):
        theory.r1(PROBLEM, some["theta"])
    expected = theory.r1(replace(PROBLEM, keep_prob=0.7), some["theta"].values)
    np.testing.assert_array_equal(theory.r1(PROBLEM, some["theta"], keep_prob=some["kept_keep_prob"]), expected)
    scalar = simdrop.simulate(PROBLEM, THETA, lr=0.1, members=2, steps=2, record=2, keep_prob=0.5)
    with pytest.raises(InvalidInput, match=r"keep_prob 0\.5, the problem has 0\.8"):
        theory.r1(PROBLEM, scalar["theta_mean"])
    for data in (scalar, theory.flow(replace(PROBLEM, keep_prob=0.5), THETA, lr=0.1, times=[0, 1])):
        theta = data["theta" if "theta" in data else "theta_mean"]
        theory.r1(replace(PROBLEM, keep_prob=0.5), theta)
        theory.risk(PROBLEM, theta)  # has no keep probability in it
        with pytest.raises(InvalidInput, match="keep_prob"):
            theory.mean_gradient(PROBLEM, theta)


def test_r2_takes_the_lr_of_every_member(runs: Any) -> None:
    theta = runs["theta"]
    expected = [
        theory.r2(replace(PROBLEM, keep_prob=p), theta.values[:, k], lr=lr)
        for k, (p, lr) in enumerate(zip(KEPT, LR, strict=True))
    ]
    found = theory.r2(PROBLEM, theta, lr=runs["lr"], keep_prob=runs["keep_prob"])
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-13)
    for wrong in ([0.1, 0.1], -1, 0, [0.1, 0.1, 0.0], "a", True, np.nan):
        with pytest.raises(InvalidInput, match="lr"):
            theory.r2(PROBLEM, theta.values, lr=wrong)
