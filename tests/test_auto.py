"""Which backend "auto" takes by size, and that its reason says what was measured, no more."""

from __future__ import annotations

import numpy as np
import pytest

import simdrop
from simdrop.theory.sme import backend_name
from simdrop_kernels import Step, registry, sde

DOUBLE = np.dtype("float64")


def _problem(width, samples, mask="step"):
    x = np.linspace(-1, 1, samples)
    return simdrop.Problem(x, np.sin(3 * x), width=width, mask=mask)


@pytest.mark.parametrize(
    ("width", "samples", "mask", "taken"),
    [(5, 4, "step", "numpy"), (10, 8, "step", "numpy"), (32, 16, "step", "numba"), (5, 4, "sample", "numba")],
)
def test_paths_of_small_networks_take_numpy_where_it_was_measured_faster(width, samples, mask, taken):
    problem = _problem(width, samples, mask)
    sizes = registry.Sizes(samples, width, problem.n_inputs, 1)
    backend, reason = sde.choose("auto", sde.Equation(mask=mask), DOUBLE, sizes)
    assert backend.name == taken
    assert ("not 'numba': 'numpy' was measured to be" in reason) == (taken == "numpy")
    assert "fastest" not in reason
    known = {"order": 1, "noise": None, "scheme": "rk4", "antithetic": False, "backend": "auto"}
    assert backend_name(problem, **known) == taken


def test_sme_tells_why_numpy():
    problem = _problem(5, 4)
    paths = simdrop.sme(problem, problem.init(seed=0), lr=0.1, times=[0.2], members=2)
    assert paths.attrs["backend"] == "numpy"
    assert "up to 10 neurons on 8 samples" in paths.attrs["backend_reason"]


def test_reason_claims_an_order_and_not_a_measurement_of_this_run():
    _, reason = registry.choose("auto", Step(masks=2), DOUBLE, sizes=registry.Sizes(4, 5, 2, 1))
    assert reason.startswith("'numba' comes first of those that run here, in the order of measured speed")
