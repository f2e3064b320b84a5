"""How fast each flow's error falls with the learning rate, against large ensembles: its order, measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop

RATES = (0.1, 0.05, 0.025)
MEMBERS = 400_000
KINDS = ("gradient", "averaged", "modified", "mean-covariance")


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_orders_of_the_flows(mask: Any) -> None:
    """Slopes between learning rates, of the distance from the mean parameters at time 1.

    Every error counted is at least 4 standard errors of the ensemble's mean, in any direction: such a slope is off by
    less than 0.36 for each deviation, and the windows below leave out the order below. The plain gradient flow is the
    negative control: its error does not fall.
    """
    rng = np.random.default_rng(3)
    theta0 = np.concatenate([rng.standard_normal(5), rng.standard_normal(10)])
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7, mask=mask)
    errors = []
    for lr in RATES:
        steps = round(1 / lr)
        runs = simdrop.simulate(problem, theta0, lr=lr, steps=steps, members=MEMBERS, seed=2, record=[steps])
        mean, noise = runs.theta_mean[-1], np.linalg.norm(runs.theta_std[-1]) / np.sqrt(MEMBERS)
        errors.append(
            [
                float(np.linalg.norm(simdrop.flow(problem, theta0, lr=lr, times=1.0, kind=kind).theta[-1] - mean))
                for kind in KINDS
            ]
        )
        assert min(errors[-1]) > 4 * noise
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))  # (rung, kind)
    assert (np.abs(slopes[:, 0]) < 0.1).all()
    assert ((slopes[-1, 1:3] > 0.8) & (slopes[-1, 1:3] < 1.3)).all()
    assert (slopes[:, 3] > 1.6).all()
    assert np.array(errors)[-1, 3] < 0.1 * np.array(errors)[-1, 1]
