"""What arrays of pandas and xarray say of themselves agrees with how they are used, or they are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput

X = np.linspace(-1, 1, 4)
Y = np.sin(X)
#: 9 parameters
PROBLEM = simdrop.Problem(X, Y, width=3, keep_prob=0.7)
THETA = PROBLEM.init(seed=0)
HOW = {"steps": 4, "record": 3, "backend": "numpy", "threads": 1}


@pytest.fixture(scope="module")
def runs() -> Any:
    """As many members as parameters, so that shapes tell nothing."""
    kept = np.linspace(0.3, 0.9, 9)
    return simdrop.simulate(
        PROBLEM, THETA, lr=np.linspace(0.1, 0.2, 9), keep_prob=kept, keep_theta=True, covariance=True, **HOW
    )


def test_samples_in_another_order_are_refused() -> None:
    x, y = pd.Series(X, index=[3, 2, 1, 0]), pd.Series(Y)
    with pytest.raises(InvalidInput, match="x and y have different labels, the first, 3 and 0, in row 0"):
        simdrop.Problem(x, y, width=3)
    np.testing.assert_array_equal(simdrop.Problem(x, y.to_numpy(), width=3).y, PROBLEM.y)
    again = simdrop.Problem(pd.DataFrame({"x": x}), pd.Series(Y, index=x.index), width=3)
    np.testing.assert_array_equal(again.x, PROBLEM.x)
    shifted = pd.DataFrame({"x": X}).iloc[1:], pd.Series(Y).iloc[:-1]
    with pytest.raises(InvalidInput, match="1 and 0, in row 0"):
        simdrop.Problem(*shifted, width=3)


def test_samples_along_another_axis_are_refused() -> None:
    x, y = xr.DataArray(np.outer(X, X), dims=("feature", "sample")), xr.DataArray(Y, dims="sample")
    with pytest.raises(InvalidInput, match="x go along 'feature', those of y along 'sample': transpose"):
        simdrop.Problem(x, y, width=3)
    np.testing.assert_array_equal(simdrop.Problem(x.T, y, width=3).x, np.outer(X, X))
    labelled = xr.DataArray(X, coords={"sample": [3, 2, 1, 0]}, dims="sample")
    with pytest.raises(InvalidInput, match="x and y have different labels"):
        simdrop.Problem(labelled, y.assign_coords(sample=[0, 1, 2, 3]), width=3)


@pytest.mark.parametrize(
    "function",
    [
        lambda theta: theory.risk(PROBLEM, theta),
        lambda theta: theory.r1(PROBLEM, theta, keep_prob=0.7),
        PROBLEM.predict,
        PROBLEM.split,
        lambda theta: simdrop.simulate(PROBLEM, theta, lr=0.1, **HOW),
    ],
)
def test_parameters_are_last(runs: Any, function: Any) -> None:
    theta = runs.theta[-1]
    with pytest.raises(InvalidInput, match="must have 'param' last, got param, member"):
        function(theta.T)
    with pytest.raises(InvalidInput, match="must be parameters, with 'param' last, got an array over time, member"):
        function(runs.risk)
    with pytest.raises(InvalidInput, match="over param_i, param_j"):
        function(runs.theta_cov[-1])
    function(theta)


def test_a_dataset_in_the_place_of_an_array_is_told_its_variables(runs: Any) -> None:
    with pytest.raises(InvalidInput, match=r"theta must be an array, got a dataset: pass one of its variables .*theta"):
        theory.risk(PROBLEM, runs)


def test_numbers_of_members_go_by_their_labels(runs: Any) -> None:
    theta = runs.theta[-1]
    turned = theta.isel(member=slice(None, None, -1))
    with pytest.raises(InvalidInput, match=r"write keep_prob.sel\(member=theta.member\)"):
        theory.r1(PROBLEM, turned, keep_prob=runs.keep_prob)
    there = theory.r1(PROBLEM, turned, keep_prob=runs.keep_prob.sel(member=turned.member))
    np.testing.assert_array_equal(there, theory.r1(PROBLEM, theta, keep_prob=runs.keep_prob)[::-1])
    with pytest.raises(InvalidInput, match=r"write lr.sel\(member=theta0.member\)"):
        simdrop.simulate(PROBLEM, turned, lr=runs.lr, **HOW)
    lr, turned = pd.Series([0.1, 0.2], index=[0, 1]), pd.Series([0.5, 0.6], index=[1, 0])
    with pytest.raises(InvalidInput, match="keep_prob and lr have different labels"):
        simdrop.simulate(PROBLEM, THETA, lr=lr, keep_prob=turned, **HOW)


def test_times_are_those_of_a_run_that_has_them(runs: Any) -> None:
    with pytest.raises(InvalidInput, match="this run has no times"):
        simdrop.flow(PROBLEM, THETA, lr=0.1, times=runs.time)
    with pytest.raises(InvalidInput, match=r"got a run's steps: pass runs.time"):
        simdrop.flow(PROBLEM, THETA, lr=0.1, times=runs.step)


def test_a_duration_that_overflows_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"lr · steps must be finite, got lr=1e[+]308 and steps=4"):
        simdrop.simulate(PROBLEM, THETA, lr=1e308, members=2, **HOW)
    with pytest.raises(InvalidInput, match="times up to"):
        simdrop.sme(PROBLEM, THETA, lr=0.1, times=[1e308], members=2)


def test_masks_that_this_machine_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidInput, match="neurons' masks"):
        simdrop.masks(seed=0, member=range(1000), step=0, width=1 << 30, keep_prob=0.5)


def test_a_whole_number_that_would_be_rounded_is_refused_in_any_list() -> None:
    with pytest.raises(InvalidInput, match=r"x has whole numbers beyond 2\*\*53"):
        simdrop.Problem([2**70, 1], [0, 1], width=3)
