"""Backend "cuda" in Numba's simulator: losses, weight decay, schedules of lr, several devices, and what is copied."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conformance import compare
from conftest import TOLERANCE
from oracles import simulator

import simdrop

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")

DRAWN = np.random.default_rng(2)
X, LABELS = DRAWN.standard_normal((6, 2)), np.array([0, 2, 1, 1, 0, 2])
SOFTMAX = simdrop.Problem(X[:4], LABELS[:4], width=5, keep_prob=0.7, loss="softmax", weight_decay=0.1)
LOGISTIC = simdrop.Problem(X[:4], LABELS[:4] % 2, width=5, keep_prob=0.7, loss="logistic", weight_decay=0.2)


@pytest.fixture(scope="module")
def there() -> Iterator[simulator.Call]:
    """A process with the simulator."""
    with simulator.simulator() as run:
        yield run


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        (SOFTMAX, {"lr": simdrop.schedule.cosine(0.5, steps=4), "test": (X[4:], LABELS[4:])}),
        (LOGISTIC, {"lr": {0: [0.1, 0.2, 0.3], 2: [0.3, 0.1, 0.2]}, "optimizer": "adam",
                    "optimizer_options": {"decoupled": True}, "batch_size": 3}),
    ],
    ids=["softmax", "adamw"],
)  # fmt: skip
def test_trains_as_numpy_does(there: simulator.Call, problem: simdrop.Problem, options: dict[str, Any]) -> None:
    given = options | {"theta0": problem.init(seed=1), "steps": 4, "members": 3, "record": 3, "keep_theta": True}
    ours, theirs = there(compare.run, problem, given, "cuda"), compare.run(problem, given, "numpy")
    assert isinstance(ours, xr.Dataset), ours
    assert isinstance(theirs, xr.Dataset), theirs
    assert ours.attrs["backend"] == "cuda"
    assert set(ours) == set(theirs)
    assert "accuracy" in ours
    assert np.abs(theirs["theta"][-1] - theirs["theta"][0]).max() > 0.01
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=TOLERANCE["float64"], atol=1e-13, err_msg=str(name))


def test_what_is_not_written_is_refused_in_one_line(there: simulator.Call) -> None:
    given = {
        "theta0": SOFTMAX.init(seed=1),
        "members": 3,
        "steps": 2,
        "lr": 0.1,
        "noise": simdrop.Noise(place="update"),
    }
    said = there(compare.run, SOFTMAX, given, "cuda")
    assert "place other than the default is not written for it" in str(said)


def test_members_are_split_over_devices(there: simulator.Call) -> None:
    """Old cards are left out, SIMDROP_CUDA_DEVICES names others; no bit depends on it; all work from the first on."""
    new, old = (9, 0), (7, 0)
    one, order = there(simulator.on_devices, [new], None)
    assert order == [0] * 4
    for capabilities, named, used in (
        ([new, old, (8, 6)], None, [0, 2]),
        ([new] * 3, "2, 1", [2, 1]), ([old, new], "1", [1]), ([new] * 7, None, [0, 1, 2, 3, 4]),
    ):  # fmt: skip
        theta, order = there(simulator.on_devices, capabilities, named)
        assert order == used * 4, "launches outside, devices inside"
        assert np.array_equal(theta, one)
    for named in ("3", "0,0", "0,", "x", "-1"):
        said = there(simulator.on_devices, [new] * 3, named)
        assert "SIMDROP_CUDA_DEVICES must hold numbers of devices (0 to 2)" in said, named
    assert "compute capability 7.0, 8.0 is needed" in there(simulator.on_devices, [new, old], "0,1")
    assert "compute capability 7.0, 8.0 is needed" in there(simulator.on_devices, [old], None)


def test_paths_are_split_over_devices(there: simulator.Call) -> None:
    one, used = there(simulator.sme_on_devices, [(9, 0)])
    assert used == [0]
    mean, used = there(simulator.sme_on_devices, [(9, 0), (7, 0), (8, 6)])
    assert used == [0, 2]
    assert np.array_equal(mean, one)


def test_a_record_copies_risks_and_moments(there: simulator.Call) -> None:
    members, width = 40, 6
    few, many = (there(simulator.bytes_copied, members, width, records) for records in ([4], [1, 2, 4]))
    params, theta = width * 3, few[2]
    up, down = ((many[way] - few[way]) / 2 for way in (0, 1))
    # of each member the risk, whether it is finite, and since when not; mean and squares of each parameter
    assert down == members * (8 + 1 + 8) + 2 * 8 * params
    assert up < theta / 4
    assert few[0] < 2 * theta, "all members go up once, and come down only where they are kept"
    assert few[1] < theta
