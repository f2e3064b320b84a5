"""Options of training beside one another, on every backend that takes them: weight decay, epochs, places, schedules."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from conftest import TOLERANCE

import simdrop
from simdrop_kernels import BackendError

Noise = simdrop.Noise
X = np.linspace(-1, 1, 6)
#: arguments of Problem, and of simulate; one kernel of Numba trains all of them
COMBINED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "decay, labels": ({"weight_decay": 0.1}, {"noise": Noise(label=0.1)}),
    "decay, Gaussian": ({"weight_decay": 0.1, "mask": "sample"}, {"noise": Noise(law="gaussian")}),
    "decay, DropConnect": ({"weight_decay": 0.2}, {"noise": Noise(connect=0.6)}),
    "decay, drift": ({"weight_decay": 0.2}, {"noise": Noise(part="drift")}),
    "decay, noise alone": ({"weight_decay": 0.2}, {"noise": Noise(part="noise")}),
    "decay, output weights": ({"weight_decay": 0.2, "train": "output"}, {}),
    "decay, update": ({"weight_decay": 0.2}, {"noise": Noise(place="update")}),
    "epochs, labels": ({}, {"noise": Noise(label=0.1, batch_size=2, order="epochs")}),
    "epochs, two masks": ({"mask": "sample"}, {"noise": Noise(masks=2, batch_size=3, order="epochs")}),
    "cosine, Gaussian": ({}, {"noise": Noise(law="gaussian"), "lr": simdrop.schedule.cosine(0.1, steps=12)}),
    "pieces, svag": ({}, {"svag": 4, "lr": {0: 0.1, 5: 0.02}}),
    "forward": ({"mask": "sample"}, {"noise": Noise(place="forward")}),
    "update": ({"mask": "sample"}, {"noise": Noise(place="update")}),
    "independent, minibatches": ({"mask": "sample"}, {"noise": Noise(place="independent", batch_size=3)}),
}


def _theta(backend: str, name: str) -> np.ndarray:
    problem, options = COMBINED[name]
    made = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, **problem)
    known = {"lr": 0.1, "steps": 12, "members": 5, "record": 3, "keep_theta": True, "backend": backend}
    found: np.ndarray = simdrop.simulate(made, made.init(seed=1, scale=0.5), **(known | options)).theta.values
    return found


@pytest.mark.parametrize("name", COMBINED)
@pytest.mark.parametrize("backend", ["native", pytest.param("numba", marks=pytest.mark.slow)])
def test_agrees_with_numpy(backend: str, name: str) -> None:
    ours = None
    with contextlib.suppress(BackendError):
        ours = _theta(backend, name)
    if ours is None:  # what C does not run is refused with the reason, and nothing is refused by Numba
        with pytest.raises(BackendError, match="backend 'native' cannot run this: "):
            _theta(backend, name)
        return
    theirs = _theta("numpy", name)
    assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3, "nothing moved: the comparison would be empty"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE["float64"] * np.abs(theirs).max())
