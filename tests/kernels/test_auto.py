"""Which backend "auto" takes by size, and that its reason says what was measured, no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import steps

import simdrop
from simdrop.simulation.paths_plan import backend_name, sizes_of
from simdrop_kernels import registry
from simdrop_kernels.contract.equation import INCREMENTS
from simdrop_kernels.contract.step import BackendError, Sizes
from simdrop_kernels.native import follow as native

DOUBLE = np.dtype("float64")


def _problem(width: Any, samples: Any, mask: Any = "step") -> Any:
    x = np.linspace(-1, 1, samples)
    return simdrop.Problem(x, np.sin(3 * x), width=width, mask=mask)


@pytest.mark.parametrize(
    ("samples", "width", "mask", "order", "members", "taken"),
    [
        (4, 5, "step", 1, 2000, "numpy"),
        (4, 5, "step", 1, 2, "numba"),
        (4, 5, "step", 2, 2000, "numba"),
        (4, 5, "sample", 1, 2000, "numba"),
        (8, 10, "step", 1, 2000, "numba"),
        (8, 20, "step", 1, 2000, "numba"),
        (16, 32, "step", 1, 2000, "numba"),
        (15, 50, "step", 1, 2000, "numba"),
    ],
)
@pytest.mark.parametrize("increments", INCREMENTS)
def test_without_c_paths_take_numpy_only_where_it_was_measured_faster(
    samples: Any, width: Any, mask: Any, order: Any, members: Any, increments: Any, taken: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(native, "unavailable", lambda: "it is hidden")
    problem = _problem(width, samples, mask)
    equation = steps.equation(mask=mask, order=order, increments=increments)
    backend, reason = registry.choose_follower("auto", equation, DOUBLE, sizes_of(problem, members))
    assert backend.name == taken
    assert ("not 'numba': 'numpy' was measured to be" in reason) == (taken == "numpy")
    assert "fastest" not in reason
    known = {"order": order, "noise": None, "scheme": "rk4", "antithetic": False, "backend": "auto"}
    assert backend_name(problem, **known, members=members) == taken


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
@pytest.mark.parametrize("increments", INCREMENTS)
def test_paths_take_c_where_it_was_measured_faster(increments: Any) -> None:
    for samples, width, order, mask in ((4, 5, 1, "step"), (15, 50, 2, "step"), (8, 20, 1, "sample")):
        equation = steps.equation(mask=mask, order=order, increments=increments)
        backend, _ = registry.choose_follower("auto", equation, DOUBLE, sizes_of(_problem(width, samples, mask), 2000))
        assert backend.name == "native"


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
@pytest.mark.parametrize(
    ("samples", "width", "members", "taken"),
    [(4, 5, 500, "native"), (16, 100, 500, "native"), (32, 1000, 500, "numba"), (16, 100, 1, "numba")],
)
def test_noises_take_c_where_networks_are_small(samples: int, width: int, members: int, taken: str) -> None:
    sizes = Sizes(samples, width, 2, 1, members)
    backend, reason = registry.choose("auto", steps.make(svag=3), DOUBLE, sizes=sizes)
    assert backend.name == taken
    assert (f"neurons are faster for {'1 of ' * (members == 1)}{width} neurons" in reason) == (taken == "numba")


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
@pytest.mark.parametrize("part", ["drift", "noise"])
def test_a_part_of_a_step_takes_c_for_larger_networks_too(part: str) -> None:
    assert registry.choose("auto", steps.make(part=part), DOUBLE, sizes=Sizes(32, 1000, 2, 1, 500))[0].name == "native"


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built")
def test_c_names_the_noise_that_it_would_run_alone() -> None:
    step = steps.make(order="epochs", batch_size=2, label=0.1)
    with pytest.raises(BackendError, match="order other than the default is not written for it beside label"):
        registry.choose("native", step, DOUBLE)


def test_sme_tells_why_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "unavailable", lambda: "it is hidden")
    problem = _problem(5, 4)
    paths = simdrop.sme(problem, problem.init(seed=0), lr=0.1, times=[0.2], members=2000, order=1)
    assert paths.attrs["backend"] == "numpy"
    assert "2000 paths of 5 neurons on 4 samples" in paths.attrs["backend_reason"]


def test_reason_claims_an_order_and_not_a_measurement_of_this_run() -> None:
    _, reason = registry.choose("auto", steps.make(connect=0.5), DOUBLE, sizes=Sizes(4, 5, 2, 1))
    assert reason.startswith("'numba' comes first of those that run here, in the order of measured speed")
