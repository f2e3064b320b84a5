"""Backend "cuda" in Numba's simulator: a test set and functions of the user's, and runs that stop there and go on."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conformance import compare, space
from conftest import TOLERANCE
from oracles import simulator

import simdrop

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")

DRAWN = np.random.default_rng(0)
X, Y = DRAWN.standard_normal((6, 2)), DRAWN.standard_normal((6, 2))
PROBLEM = simdrop.Problem(X[:4], Y[:4], width=5, keep_prob=0.7)


WATCHED: dict[str, Any] = {"test": (X[4:], Y[4:]), "observe": {"mean": space.mean_weights}, "keep_theta": True}


def _run(start: Any, there: Any = None, **options: Any) -> xr.Dataset:
    """What `simulate` returns here on numpy, or on cuda in another process."""
    given = WATCHED | options | {"theta0": start}
    found = compare.run(PROBLEM, given, "numpy") if there is None else there(compare.run, PROBLEM, given, "cuda")
    assert isinstance(found, xr.Dataset), found
    return found


def test_is_watched_and_goes_on() -> None:
    start = PROBLEM.init(seed=1)
    options: dict[str, Any] = {"lr": 0.05, "members": 3, "optimizer": "adam", "keep_state": True}
    whole = _run(start, steps=4, record=3, **options)
    with simulator.simulator() as there:
        half = _run(start, there, steps=2, record=2, **options)
        more = _run(half, there, steps=2, record=1)
        other = _run(_run(start, steps=2, record=2, **options), there, steps=2, record=1)
    assert half.attrs["backend"] == "cuda"
    for name in ("theta", "test_risk", "mean", "risk"):
        close: dict[str, Any] = {"rtol": TOLERANCE["float64"], "atol": TOLERANCE["float64"], "err_msg": name}
        np.testing.assert_allclose(half[name], whole[name][:2], **close)
        np.testing.assert_allclose(more[name], whole[name][2:], **close)
        np.testing.assert_allclose(other[name], whole[name][2:], **close)
    on_host = _run(half, steps=2, record=1)
    np.testing.assert_allclose(on_host["theta"], whole["theta"][2:], rtol=1e-11, atol=1e-13)
