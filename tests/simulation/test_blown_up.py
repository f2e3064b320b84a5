"""Members that blow up without becoming infinite count as diverged, by a rule, and are in agreement with no theory."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop import scale, study
from simdrop.cli import run as main
from simdrop.cli.compare import CompareSettings
from simdrop.cli.order import OrderSettings
from simdrop.errors import Diverged, DivergenceWarning, InvalidInput
from simdrop.scale.launch import work
from simdrop.study.distances import root, squared_distance

X = np.linspace(-1, 1, 8)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.55)
THETA = PROBLEM.init(seed=3)
#: large enough to raise the risk, and not
RATES = [0.5] * 15 + [0.001] * 15
#: members 0 and 1 begin close to the data; 2 and 3 begin so far off that one step takes them a long way
FAR = {"lr": [0.01, 0.01, 1e7, 1e7], "steps": 2, "record": [1], "keep_prob": 0.9}


def risk_bound(problem: Any, theta: Any, limit: Any) -> Any:
    start = np.square(problem.predict(theta) - problem.y).sum() / (2 * problem.n_samples)
    return limit * max(start, np.square(problem.y).sum() / (2 * problem.n_samples))


def runs(**options: Any) -> Any:
    with pytest.warns(DivergenceWarning, match=r"2 of 4 members blew up \(risk above 1e\+08 times .*: 2 \(step 1\), 3"):
        return simdrop.simulate(PROBLEM, THETA, **FAR | options)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_risk_above_its_limit_counts_as_diverged(backend: Any, dtype: Any) -> None:
    if reason := simdrop_reason(backend):
        pytest.skip(reason)
    data = runs(backend=backend, dtype=dtype)
    assert data["blown_up"].values.tolist() == [-1, -1, 1, 1]
    assert data["alive"].values.tolist() == [4, 2, 2]
    assert data.attrs["risk_limit"] == 1e8
    assert np.isnan(data["risk"].values[1:, 2:]).all()
    assert np.isfinite(data["risk"].values[:, :2]).all()
    free = simdrop.simulate(PROBLEM, THETA, **FAR, backend=backend, dtype=dtype, risk_limit=None)
    assert free["blown_up"].values.tolist() == [-1] * 4
    assert free.attrs["risk_limit"] == "none"
    assert (free["risk"].values[1, 2:] > risk_bound(PROBLEM, THETA, 1e8)).all()
    np.testing.assert_array_equal(free["risk"].values[:, :2], data["risk"].values[:, :2])


def simdrop_reason(backend: Any) -> Any:
    from simdrop_kernels import registry

    return registry.load(backend).unavailable()


def test_the_limit_is_that_of_the_start_or_of_the_targets() -> None:
    theta = THETA * 0  # outputs 0: the unit is that of the targets
    problem = simdrop.Problem(X, X * 0, width=5)  # no unit at all
    assert (simdrop.simulate(problem, theta, lr=1, steps=2, members=4, record=2)["blown_up"] < 0).all()
    bound = risk_bound(PROBLEM, theta, 1.0)
    assert bound == np.square(PROBLEM.y).mean() / 2
    free = simdrop.simulate(PROBLEM, THETA, lr=RATES, steps=3, record=4, risk_limit=None)
    bound = risk_bound(PROBLEM, THETA, 1.0)
    above = free["risk"].values > bound
    assert above.any(axis=0).any()
    with pytest.warns(DivergenceWarning):
        data = simdrop.simulate(PROBLEM, THETA, lr=RATES, steps=3, record=4, risk_limit=1)
    first = np.where(above.any(axis=0), above.argmax(axis=0), -1)
    np.testing.assert_array_equal(data["blown_up"], first)
    assert (data["diverged"] < 0).all()  # they train on
    # those that came back stay out
    np.testing.assert_array_equal(np.isnan(data["risk"]), np.logical_or.accumulate(above, axis=0))


def test_blocks_and_resumes_change_nothing(tmp_path: Path) -> None:
    whole = runs()
    for size in (1, 3):
        xr.testing.assert_equal(whole, runs(block_size=size))

    def stop(stage: Any, done: Any, total: Any) -> None:
        if done >= total - 1:
            raise RuntimeError("stopped")

    settings = {"checkpoint": tmp_path / "state", "checkpoint_seconds": 0.0, "block_size": 3}
    with pytest.raises(RuntimeError, match="stopped"):
        simdrop.simulate(PROBLEM, THETA, **FAR, **settings, progress=stop)
    xr.testing.assert_equal(whole, runs(**settings, resume=True))


@pytest.mark.parametrize("value", [0, 0.5, -1, np.nan, "a", True, [1e8, 1e8]])
def test_a_limit_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="risk_limit"):
        simdrop.simulate(PROBLEM, THETA, lr=0.1, steps=1, members=2, risk_limit=value)
    with pytest.raises(InvalidInput, match="risk_limit"):
        simdrop.sme(PROBLEM, THETA, lr=0.1, times=[0.1], members=2, risk_limit=value)


def test_all_members_blown_up_is_an_error_that_says_so() -> None:
    with pytest.raises(Diverged, match=r"all members diverged.*blew up") as caught:
        simdrop.simulate(PROBLEM, THETA, lr=1e7, keep_prob=0.9, steps=1, members=3, record=2)
    assert (caught.value.partial["blown_up"].values == 1).all()


#: five of two thousand members blow up, none becomes infinite
LARGE = {"lr": 0.3, "steps": 300, "seed": 0}


@pytest.mark.filterwarnings("ignore::simdrop.errors.DivergenceWarning")
def test_compare_shows_members_that_blew_up_and_no_distance_of_zero() -> None:
    x = np.linspace(-1, 1, 20)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.55)
    found = simdrop.compare(problem, THETA, **LARGE, members=1000, record=5)
    lost = found.summary["diverged"]
    assert lost["members"] > 0
    assert lost["risk_limit"] == 1e8
    assert f"{lost['members']} of 1000 networks" in found.summary["verdict"][-1]
    away = found.distances.isel(time=slice(1, None))
    assert not (away["distance"] == 0).where(found.runs["alive"].isel(time=slice(1, None)) < 1000, False).any()
    for quantity in found.summary["quantities"].values():
        for numbers in quantity["flows"].values():
            assert numbers["final"]["distance"] != 0
    assert " 0 ± 0" not in found.table()
    assert "does too little" not in found.table()


def test_a_sweep_counts_members_that_blew_up(tmp_path: Path) -> None:
    tables = {
        "problem": {"data": "sin", "width": 5, "output_scale": 1.0, "init_seed": 3, "keep_prob": 0.55},
        "simulate": {"steps": 400, "members": 2000, "dtype": "float64", "record": 3},
        "theory": {"kinds": ["gradient"]},
        "sweep": {"lr": [0.01, 0.3]},
    }
    found = scale.sweep(scale.design(tables), tmp_path, threads=1)
    assert found["diverged"].values[0] == 0
    assert found["diverged"].values[1] > 0
    assert found["distance"].values[0, 0] > 3 * found["distance_error"].values[0, 0]
    assert not (found["distance"].values[1] == 0).any()


def test_order_goes_on_where_a_rung_diverges() -> None:
    small = {"members": 40, "sme_members": 40, "paths": 3, "groups": 4, "kinds": ("gradient",), "threads": 1}
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.55, activation="quadratic")
    found = study.order(problem, THETA, lrs=(50.0, 0.25, 0.125), time=100.0, **small)
    assert found.errors["diverged"].sel(lr=50.0) == 40
    assert found.summary["diverged"]["50"] == 40
    assert np.isnan(found.errors["distance"].sel(lr=50.0)).all()
    assert "lr 50: 40 of 40 networks diverged" in found.table()


def test_a_group_that_hides_all_others_has_a_distance_with_an_error() -> None:
    means = np.zeros((1, 20, 3))
    means[0] = np.random.default_rng(0).standard_normal((20, 3))
    means[0, 7] = 1e26
    found = squared_distance(means, np.full((1, 20), 5), np.zeros((1, 3)))
    distance, error = root(found.value, found.error)
    assert error[0] > 0
    exact = np.array([[a @ b for a in means[0]] for b in means[0]])
    np.fill_diagonal(exact, 0)
    np.testing.assert_allclose(found.value, exact.sum() / 380, rtol=1e-12)
    assert np.isnan(root(found.value, found.error, lost=True)).all() == (found.value[0] <= found.error[0])
    assert distance[0] <= 2 * error[0]


#: some members of twenty have a risk above that of the start after a step
RISING = {"lr": 3.0, "steps": 3, "members": 20, "record": 4, "backend": "numpy"}


@pytest.mark.parametrize(("limit", "blown_up"), [("1", True), ("none", False)])
def test_the_limit_is_a_setting_of_compare_and_sweep(limit: Any, blown_up: Any, tmp_path: Path) -> None:
    flags = [text for name, value in RISING.items() for text in (f"--{name}", str(value))]
    flags += ["--data", "sin", "--width", "3", "--kinds", "gradient", "--out", str(tmp_path / "a")]
    main(["compare", *flags, "--risk-limit", limit, "--quiet"])
    lost = json.loads((tmp_path / "a" / "summary.json").read_text())["diverged"]
    assert (lost["blown_up"] > 0) == blown_up
    assert lost["risk_limit"] == (1.0 if limit == "1" else "none")
    tables = {"problem": {"data": "sin", "width": 3}, "sweep": {"keep_prob": [0.5]}}
    tables["simulate"] = RISING | {"risk_limit": 1 if limit == "1" else limit}
    (found,) = work(scale.design(tables).points, threads=1)["diverged"]
    assert (found > 0) == blown_up


@pytest.mark.parametrize("value", ["0.5", "nan", "off", "-1", "true"])
def test_a_limit_that_is_none_is_refused_by_every_command(
    value: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in ("compare", "order"):
        assert main([command, "--risk-limit", value, "--out", str(tmp_path / "a")]) == 2
        assert "risk" in capsys.readouterr().err
    given = float(value) if value not in ("off", "true") else value
    with pytest.raises(InvalidInput, match="risk_limit"):
        scale.design({"simulate": {"risk_limit": given}, "sweep": {"lr": [0.1]}})


def test_every_door_has_the_same_limit_unless_told() -> None:
    doors = (simdrop.simulate, simdrop.sme, simdrop.compare, study.order, study.heat_map)
    defaults = {inspect.signature(door).parameters["risk_limit"].default for door in doors}
    classes = (CompareSettings, OrderSettings, scale.Point)
    assert defaults | {one.__dataclass_fields__["risk_limit"].default for one in classes} == {1e8}
