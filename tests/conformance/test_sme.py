"""`sme` over its whole space: every backend gives NumPy's numbers, or says in one line why it does not run."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from conformance import compare, sme_space
from conformance.agreement import differences
from conformance.pairwise import Configuration
from conftest import TOLERANCE
from oracles import simulator

import simdrop
from simdrop_kernels import registry

SME = compare.Door(simdrop.sme, sme_space.call)


def _assert_agree(configurations: list[Configuration], backend: str) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(f"{backend}: {reason}")
    wrong, ended = compare.tally(configurations, backend, SME)
    assert not wrong, "\n".join(wrong)
    assert ended["ran"] > 0.9 * len(configurations), f"too few were compared within plain rounding: {ended}"


#: besides the first level of every axis; the kernel by normal increments that `sme` takes by itself in double precision
HANDFUL: list[Configuration] = [
    {"inputs": 2, "outputs": 1, "form": "read-only"},
    {"inputs": 1, "outputs": 2, "form": "pandas", "mask": "sample", "batch": "half", "law": "gaussian"},
    {"outputs": 3, "form": "list", "label": 0.3, "parameter": 0.2, "antithetic": True, "start": "members fortran"},
    {"outputs": 2, "form": "array", "weight_decay": 0.3, "train": "output"},
]
#: the same for increments by masks, whose kernel takes minutes to compile
BY_MASKS: list[Configuration] = [
    {"compiled": ("tanh", "float64", "masks"), "order": 1, "connect": 0.7, "batch": "half", "form": "xarray"},
    {"compiled": ("tanh", "float64", "masks"), "outputs": 2, "masks": 3, "scheme": "heun", "train": "input"},
    {"compiled": ("tanh", "float64", "masks"), "place": "independent", "mask": "sample", "weight_decay": 0.3},
    {"compiled": ("tanh", "float64", "masks"), "place": "update", "train": "output", "weight_decay": 0.3, "order": 1},
]


@pytest.mark.parametrize(
    "changes", [*HANDFUL, *(pytest.param(changes, marks=pytest.mark.exhaustive) for changes in BY_MASKS)]
)
def test_numba_agrees_with_numpy(changes: Configuration) -> None:
    chosen = {name: levels[0] for name, levels in (sme_space.AXES | sme_space.TAKEN["numba"]).items()}
    _assert_agree([chosen | {"samples": 7, "width": 16} | changes], "numba")


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_native_agrees_with_numpy_everywhere(every: int) -> None:
    _assert_agree(sme_space.covering("native")[::every], "native")


@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(one, marks=pytest.mark.slow if one == ("tanh", "float64", "normal") else pytest.mark.exhaustive)
        for one in sme_space.TAKEN["numba"]["compiled"]
    ],
    ids="-".join,
)
def test_numba_agrees_with_numpy_everywhere(compiled: tuple[str, str, str]) -> None:
    _assert_agree([chosen for chosen in sme_space.covering("numba") if chosen["compiled"] == compiled], "numba")


@pytest.mark.parametrize("backend", ["numba", pytest.param("numpy", marks=pytest.mark.slow)])
def test_numpy_runs_everything_that_a_backend_takes(backend: str) -> None:
    for chosen in sme_space.covering(backend):
        problem, options = sme_space.call(chosen)
        found = compare.run(problem, options, "numpy", SME)
        assert not isinstance(found, str), (found, chosen)
        assert (found["diverged"] == -1).all(), chosen
        assert np.isfinite(found["risk"]).all(), chosen


@pytest.mark.parametrize("backend", ["native", "numba", "cuda"])
def test_what_a_backend_does_not_take_is_refused_in_one_line(backend: str) -> None:
    refused: list[Configuration] = [{"compiled": ("tanh", "float64", "masks"), "order": 2, "connect": 0.7}]
    if backend != "native":
        refused.append({"mask": "step", "batch": "half"})
    if backend != "numba":
        refused.append({"weight_decay": 0.3})
    plain = {name: levels[0] for name, levels in (sme_space.AXES | sme_space.TAKEN["numba"]).items()} | {"samples": 7}
    for changes in refused:
        said = compare.run(*sme_space.call(plain | changes), backend, SME)
        assert isinstance(said, str), changes
        assert compare.is_refusal(said, backend), said


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_the_cuda_simulator_agrees_with_numpy() -> None:
    small = {"samples": (1, 2), "width": (1, 2, 3), "inputs": (1, 2), "outputs": (1, 2), "substeps": (1, None)}
    chosen = [one for one in sme_space.covering("cuda") if all(one[axis] in sizes for axis, sizes in small.items())]
    assert len(chosen) >= 4
    with simulator.simulator() as there:
        for one in chosen[:4]:
            problem, options = sme_space.call(one)
            ours = there(compare.run, problem, options, "cuda", SME)
            theirs: Any = compare.run(problem, options, "numpy", SME)
            off = differences(ours, theirs, float(np.square(problem.y).mean()))
            assert max(off.values()) <= TOLERANCE[options["dtype"]], (off, one)
