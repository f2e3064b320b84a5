"""The step at which a member diverges is that of its parameters alone: the same on all backends, for any recording."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop.errors import Diverged, DivergenceWarning
from simdrop_kernels import registry
from simdrop_kernels.registry import Backend

STEPS = 300

CASES: dict[str, dict[str, Any]] = {
    "thin": {},
    "wide": {"inputs": 2, "outputs": 3},
    "quadratic": {"activation": "quadratic", "rates": [0.01, 0.5, 5.0, 50.0]},
    "relu": {"activation": "relu", "inputs": 3, "rates": [0.01, 3.0, 30.0, 3000.0]},
    "risk+r1": {"objective": "risk+r1"},
    "momentum": {"optimizer": "momentum", "dtype": "float32"},
    "adam": {"optimizer": "adam", "dtype": "float32", "target": 1e25},
    # the last rate is beyond all limits at the second step
    "noise": {"noise": simdrop.Noise(label=0.1), "activation": "tanh", "rates": [0.01, 3.0, 3000.0, 1e150]},
    "sample": {"mask": "sample"},
}


def _diverged(backend: str, record: Any, case: dict[str, Any]) -> list[int]:
    settings = {
        "inputs": 1, "outputs": 1, "activation": "linear", "mask": "step", "rates": [0.01, 3.0, 30.0, 3000.0],
        "target": 1.0,
    } | case  # fmt: skip
    random = np.random.default_rng(3)
    x, y = (random.standard_normal((5, settings.pop(columns))) for columns in ("inputs", "outputs"))
    problem = simdrop.Problem(
        x, y * settings.pop("target"), width=9, activation=settings.pop("activation"), mask=settings.pop("mask"),
        keep_prob=0.7,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        try:
            runs = simdrop.simulate(
                problem, problem.init(seed=1, scale=0.3), lr=settings.pop("rates"), steps=STEPS, record=record,
                backend=backend, **settings,
            )  # fmt: skip
        except Diverged as error:
            runs = error.partial
    return runs["diverged"].values.tolist()


@pytest.mark.parametrize("case", CASES)
def test_diverged_depends_neither_on_the_backend_nor_on_recording(backend: Backend, case: str) -> None:
    if backend.name == "numba" and case != "thin":
        pytest.skip("the check is the same code as in the other cases; the slow tier compiles more")
    _assert_equal(backend, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["wide", "risk+r1", "adam", "noise", "sample"])
def test_diverged_on_further_kernels_of_numba(case: str) -> None:
    _assert_equal(registry.load("numba"), case)


def _assert_equal(backend: Backend, case: str) -> None:
    settings = dict(CASES[case])
    if backend.name in ("native", "cuda") and "noise" in settings:
        pytest.skip("runs without further noise alone")
    wanted = _diverged("numpy", 2, settings)
    assert max(wanted) >= 0, "nothing diverged: the comparison would be empty"
    for record in (2, STEPS + 1, [3, 4, 5, 17]):
        assert _diverged(backend.name, record, settings) == wanted, record
