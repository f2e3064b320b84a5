"""Backend "native" under noises: what a member's numbers may depend on, and members that diverge in a lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop_kernels import native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
THETA0 = PROBLEM.init(seed=3)


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_threads_and_blocks_change_no_number(mask: Any) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, mask=mask)
    noise = simdrop.Noise(masks=2, label=0.1, batch_size=3, parameter=0.1)
    known: dict[str, Any] = {"lr": 0.05, "steps": 20, "members": 37, "record": 2, "keep_theta": True, "noise": noise}
    once = simdrop.simulate(problem, THETA0, threads=1, backend="native", **known)
    for limits in ({"threads": 3, "block_size": 5}, {"threads": 2}, {"threads": 1, "block_size": 1}):
        again = simdrop.simulate(problem, THETA0, backend="native", **known, **limits)
        np.testing.assert_array_equal(again.theta, once.theta)


def test_a_member_that_diverges_touches_no_other() -> None:
    starts = np.stack([THETA0, np.full_like(THETA0, 1e200), THETA0])
    known: dict[str, Any] = {"lr": 0.05, "steps": 20, "record": 2, "keep_theta": True, "noise": simdrop.Noise(masks=2)}
    with pytest.warns(simdrop.errors.DivergenceWarning):
        ours = simdrop.simulate(PROBLEM, starts, members=3, backend="native", **known)
    alone = simdrop.simulate(PROBLEM, THETA0, members=3, backend="native", **known)
    assert list(ours.diverged) == [-1, 0, -1]
    np.testing.assert_array_equal(ours.theta[:, [0, 2]], alone.theta[:, [0, 2]])
