"""The kernel of paths for CUDA against NumPy: in Numba's simulator, compiled, and on a device where there is one."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE
from numpy.typing import NDArray
from oracles import compiled, simulator, steps

from simdrop_kernels import registry
from simdrop_kernels.contract.equation import Equation
from simdrop_kernels.contract.step import Ensemble
from simdrop_kernels.cuda.follow import backend as cuda
from simdrop_kernels.reference import follow as reference

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")

SEED, FIRST = 2**40 + 17, 2**31 + 5
#: the third path is without dropout, the fourth has diverged before
KEEP = [0.3, 0.8, 1.0, 0.5]
SIZES = [0.02, 0.05]

#: settings, (samples, width, inputs, outputs), dtype
CASES = {
    "step masks": ({}, (4, 6, 2, 1), "float64"),
    "two outputs, odd width": ({"activation": "gelu", "output_scale": 0.7}, (3, 5, 3, 2), "float64"),
    "sample masks": ({"mask": "sample", "order": 1}, (4, 6, 2, 1), "float64"),
    "sample masks, two outputs": ({"mask": "sample", "scheme": "heun"}, (3, 5, 2, 2), "float64"),
    "wide": ({"scheme": "euler", "order": 1}, (2, 19, 2, 1), "float64"),
    "single precision": ({"activation": "relu", "antithetic": True}, (4, 6, 2, 1), "float32"),
    "masks, output weights": ({"masks": 3, "train": "output"}, (4, 6, 2, 1), "float64"),
    "noise alone, input weights": ({"part": "noise", "train": "input", "scheme": "euler"}, (4, 6, 2, 1), "float64"),
    "drift alone": ({"part": "drift"}, (4, 6, 2, 1), "float64"),
}


@pytest.fixture(
    scope="module",
    params=["simulator", pytest.param("device", marks=pytest.mark.gpu)],
)
def call(request: pytest.FixtureRequest) -> Iterator[simulator.Call]:
    """Runs a job where CUDA is simulated, or on a device."""
    if request.param == "simulator":
        with simulator.simulator() as run:
            yield run
    elif reason := cuda.unavailable():
        pytest.skip(reason)
    else:
        yield simulator.on_device


def _case(case: str) -> tuple[Equation, NDArray, NDArray, Ensemble]:
    settings, (samples, width, inputs, outputs), dtype = CASES[case]
    random = np.random.default_rng([samples, width])
    x, y = (random.standard_normal((samples, size)).astype(dtype) for size in (inputs, outputs))
    theta = random.standard_normal((len(KEEP), width * (inputs + outputs)))
    theta[0, 0] *= 9  # a neuron whose u² exceeds the sum of all others'
    lr = [0.3, 0.1, 0.2, 0.1]
    ensemble = Ensemble.start(theta, lr=lr, keep_prob=KEEP, first_member=6, dtype=dtype)
    ensemble.diverged[3] = 1
    return steps.equation(**settings), x, y, ensemble


def _agree(ours: Ensemble, case: str) -> None:
    equation, x, y, theirs = _case(case)
    start = theirs.theta.copy()
    reference.advance(equation, x, y, theirs, seed=SEED, first_step=FIRST, sizes=np.array(SIZES))
    # the path that has diverged stays where it was; but for noise alone without dropout all others move
    moved = [True, True, equation.noise.part != "noise", False]
    np.testing.assert_array_equal((theirs.theta != start).any(axis=1), moved)
    np.testing.assert_array_equal(ours.diverged, theirs.diverged)
    tolerance = TOLERANCE[str(theirs.theta.dtype)] * np.abs(theirs.theta).max()
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_cuda_agrees_with_numpy(case: str, call: simulator.Call) -> None:
    _agree(call(simulator.follow, *_case(case), SEED, FIRST, SIZES), case)


def test_a_path_that_diverges_stays_and_is_told(call: simulator.Call) -> None:
    equation, x, y, ensemble = _case("step masks")
    ensemble.theta[1] = 1e200
    start = copy.deepcopy(ensemble)
    found = call(simulator.follow, equation, x, y, ensemble, SEED, FIRST, SIZES)
    np.testing.assert_array_equal(found.diverged, [-1, FIRST, -1, 1])
    np.testing.assert_array_equal(found.theta[[1, 3]], start.theta[[1, 3]])


@pytest.mark.compiled
@pytest.mark.parametrize("case", ["step masks", "sample masks", "single precision"])
def test_the_compiled_kernel_agrees_with_numpy_and_has_no_races(case: str) -> None:
    with compiled.device() as run:
        _agree(run(simulator.follow, *_case(case), SEED, FIRST, SIZES), case)


@pytest.mark.parametrize(
    "settings",
    [{"law": "gaussian"}, {"label": 0.1}, {"batch_size": 2}, {"connect": 0.5, "increments": "masks"}],
)
def test_what_it_does_not_run_is_refused(settings: dict[str, Any]) -> None:
    equation = steps.equation(**settings)
    assert "not written for it" in str(cuda.refuses(equation, np.dtype("float32")))
    assert registry.choose_follower("auto", equation, np.dtype("float32"))[0].name != "cuda"
