"""`simulate(place=...)`: where dropout acts, one for all members or one for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import simdrop
from simdrop.errors import InvalidInput
from simdrop.output.storage import load
from simdrop_kernels import BackendError, registry

X = np.linspace(-1, 1, 6)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
START = PROBLEM.init(seed=1)
PLACES: list[Any] = ["update", "both", "update", "forward", "independent", "both"]
KNOWN: dict[str, Any] = {"lr": {0: 0.2, 5: 0.1}, "steps": 12, "record": 4, "keep_theta": True, "covariance": [0, 1]}
BACKENDS = [
    pytest.param(name, marks=pytest.mark.slow if name == "numba" else ())  # compiles for half a minute
    for name in ("numpy", "native", "numba")
    if not registry.load(name).unavailable()
]


@pytest.mark.parametrize("options", [{}, {"block_size": 4, "threads": 1}, {"batch_size": 2, "optimizer": "adam"}])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_member_has_the_bits_of_a_run_of_its_place_alone(backend: Any, options: dict[str, Any]) -> None:
    known = KNOWN | options | {"backend": backend}
    if backend == "numba" and options.get("optimizer"):
        pytest.skip("a further kernel, which takes its place in the same call")
    keep_prob = [0.7, 1.0, 0.4, 0.7, 0.7, 0.7]
    runs = simdrop.simulate(PROBLEM, START, place=PLACES, keep_prob=keep_prob, **known)
    assert len(np.unique(runs["theta"].values[-1], axis=0)) == len(PLACES), "all places make a difference"
    for place in set(PLACES):
        rows = [k for k, one in enumerate(PLACES) if one == place]
        alone = simdrop.simulate(
            PROBLEM, START, noise=simdrop.Noise(place=place), numbers=rows, keep_prob=np.array(keep_prob)[rows], **known
        )
        for name in ("theta", "risk"):
            np.testing.assert_array_equal(runs[name].isel(member=rows), alone[name])
        np.testing.assert_array_equal(simdrop.simulate(
            PROBLEM, START, place=place, numbers=rows, keep_prob=np.array(keep_prob)[rows], **known
        )["theta"], alone["theta"])  # fmt: skip


def test_places_are_in_the_results_and_in_the_file(tmp_path: Path) -> None:
    """And members are selected by them, from a pandas column as well."""
    runs = simdrop.simulate(PROBLEM, START, place=pd.Series(PLACES), **KNOWN | {"keep_theta": [1, 3]}, out=tmp_path)
    for data in (runs, load(tmp_path / "results.zarr")):
        assert data["place"].dims == ("member",)
        assert data["place"].values.tolist() == PLACES
        assert data["kept_place"].values.tolist() == ["both", "forward"]
        assert data.attrs["place"] == "per member: both, forward, update, independent"
        assert data["risk"].sel(member=data["place"] == "both").sizes["member"] == 2
    assert simdrop.simulate(PROBLEM, START, place="update", members=2, **KNOWN).attrs["place"] == "update"


def test_members_that_diverge_leave_alone() -> None:
    """Those of other places, which lie between them, go on."""
    lr = np.array([0.1, 1e200, 0.1, 0.1, 1e200, 0.1])
    with pytest.warns(simdrop.errors.DivergenceWarning):
        runs = simdrop.simulate(PROBLEM, START, place=PLACES, **KNOWN | {"lr": lr})
    assert (runs["diverged"].values >= 0).tolist() == (lr > 1).tolist()
    assert np.isfinite(runs["theta"].values[-1][lr < 1]).all()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": ({"place": "updat"}, "unknown place 'updat': did you mean 'update'"),
    "misspelt of one": ({"place": ["both", "updat"]}, "unknown place 'updat'"),
    "a number": (
        {"place": 1},
        "place must be one of both, forward, update, independent, or one for each member, got 1",
    ),
    "none": ({"place": []}, "or one for each member, got \\[\\]"),
    "a table": ({"place": [["both"], ["update"]]}, "or one for each member"),
    "too many": ({"place": ["both"] * 3}, "place must be the same for all or given for 2 members"),
    "twice": ({"place": "both", "noise": simdrop.Noise(place="update")}, "place is given twice"),
    "other objective": ({"place": ["both", "update"], "objective": "risk"}, "belongs to objective 'dropout'"),
    "DropConnect": ({"place": ["both", "update"], "noise": simdrop.Noise(connect=0.5)}, "connect < 1 needs place"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_in_one_line(name: str) -> None:
    given, message = REFUSED[name]
    with pytest.raises(InvalidInput, match=message) as refused:
        simdrop.simulate(PROBLEM, START, **({"lr": 0.1, "steps": 2, "members": 2} | given))
    assert "\n" not in str(refused.value)
    labels = xr.DataArray(["both", "update"], {"member": [3, 4]}, "member")
    lr = xr.DataArray([0.1, 0.2], {"member": [4, 3]}, "member")
    with pytest.raises(InvalidInput, match="member"):
        simdrop.simulate(PROBLEM, START, lr=lr, place=labels, steps=2)


def test_one_backend_runs_all_places_or_says_why_not() -> None:
    sample = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, mask="sample")
    known: dict[str, Any] = {"lr": 0.1, "steps": 1}
    if not registry.load("native").unavailable():
        with pytest.raises(BackendError, match="place 'update' is not written for sample masks"):
            simdrop.simulate(sample, START, place=["both", "update"], backend="native", **known)
        assert simdrop.simulate(PROBLEM, START, place=PLACES, **known).attrs["backend"] == "native"
    theory_only = pytest.raises(InvalidInput, match=r"one for each member is an argument of simulate")
    with theory_only:
        simdrop.Noise(place=["both", "update"])
