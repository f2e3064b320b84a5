"""Data in every form that users have it: the same numbers from every backend, and no further compilation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.space import FORMS
from conftest import TOLERANCE
from oracles import steps

import simdrop
from simdrop_kernels import registry
from simdrop_kernels.contract.network import Network
from simdrop_kernels.contract.step import for_kernels
from simdrop_kernels.cpu.train import backend as parallel
from simdrop_kernels.registry import Backend

SAMPLES, WIDTH = 6, 9


def _run(backend: str, form: Any = FORMS["read-only"], *, inputs: int = 2, outputs: int = 3, bias: bool = True) -> Any:
    random = np.random.default_rng(inputs)
    x, y = (random.integers(-3, 4, (SAMPLES, columns)).astype(float) for columns in (inputs, outputs))
    problem = simdrop.Problem(form(x), form(y), width=WIDTH, keep_prob=0.7, mask="sample", bias=bias)
    return simdrop.simulate(
        problem, problem.init(seed=1, scale=0.3), lr=0.05, steps=5, members=3, batch_size=3, replace=True,
        backend=backend, record=2, keep_theta=True, grid=form(x),
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_the_data_changes_a_bit(backend: Backend, form: str) -> None:
    ours, plain = _run(backend.name, FORMS[form]), _run(backend.name, np.array)
    for name in ("theta", "risk", "f_mean"):
        assert np.array_equal(ours[name], plain[name]), name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (2, 1), (5, 3)])
def test_problems_of_all_sizes_agree_with_numpy(backend: Backend, inputs: int, outputs: int, bias: bool) -> None:
    if backend.name == "numba" and (inputs, outputs) == (1, 1):
        pytest.skip("another kernel, which the tests of agreement compile")
    sizes: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "bias": bias}
    ours, theirs = _run(backend.name, **sizes), _run("numpy", **sizes)
    for name in ("theta", "risk", "f_mean", "theta_std"):
        largest = np.abs(theirs[name]).max().item()
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=TOLERANCE["float64"] * largest)


def test_numba_compiles_once_for_all_forms() -> None:
    for form in (np.array, FORMS["read-only"]):
        _run("numba", form)
    step = steps.make(mask="sample", batch_size=3, replace=True)
    kernel, _ = parallel._kernel(step, np.ones((1, 3)), np.ones((1, 3)), np.float64, over="members")
    assert len(kernel.signatures) == 1


def test_what_kernels_take_already_is_not_copied() -> None:
    array = np.ones((3, 2))
    assert for_kernels(array) is array
    assert for_kernels(FORMS["read-only"](array)).flags.writeable


def test_backends_take_read_only_arrays(backend: Backend) -> None:
    x, theta = FORMS["read-only"](np.ones((4, 3))), FORMS["read-only"](np.ones((2, 10)))
    ours = backend.evaluate(Network(), x, theta, 2)
    theirs = registry.load("numpy").evaluate(Network(), x, theta, 2)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE["float64"])
