"""Handwritten digits with loss "softmax": the accuracy on a test set that training with dropout reaches."""

from __future__ import annotations

import numpy as np
import pytest

import simdrop


@pytest.mark.slow
def test_digits_are_learned_to_97_percent() -> None:
    """1,797 images of 8 x 8 pixels, the last third for the test; Adam, minibatches and a mask for each sample."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = x[order] / 16, labels[order]
    problem = simdrop.Problem(
        x[:1200], labels[:1200], width=256, keep_prob=0.8, activation="relu", mask="sample", loss="softmax",
        output_scale="1/sqrt(m)",
    )  # fmt: skip
    theta0 = problem.init(seed=0, scale=0.3)
    runs = simdrop.simulate(
        problem, theta0, lr=3e-3, steps=1500, members=2, batch_size=64, optimizer="adam", dtype="float32", record=4,
        test=(x[1200:], labels[1200:]), keep_theta=True,
    )  # fmt: skip
    assert float(runs.test_accuracy[-1].min()) >= 0.97
    assert float(runs.accuracy[-1].min()) > 0.99
    chosen = problem.probabilities(runs.theta.values[-1], x[1200:]).argmax(axis=-1)
    np.testing.assert_allclose((chosen == labels[1200:]).mean(axis=-1), runs.test_accuracy.values[-1], atol=2e-3)
