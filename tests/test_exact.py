"""Models that are known exactly: by enumeration of all noise, and against simulated ensembles."""

import noise_enumeration
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import norm

import simdrop
from simdrop import theory
from simdrop.errors import InvalidInput
from simdrop.noise import Noise
from simdrop.theory.exact import Quadratic, linear_moments

#: knobs, settings of the problem, steps: as many as can be enumerated
CASES = [
    ({}, {"width": 4, "samples": 3}, 2),
    ({}, {"width": 6, "samples": 3}, 1),
    ({}, {"width": 2, "samples": 2, "outputs": 2}, 3),
    ({}, {"width": 2, "samples": 3, "mask": "sample"}, 2),
    ({"masks": 2}, {"width": 2, "samples": 2}, 2),
    ({"masks": 2}, {"width": 2, "samples": 1, "mask": "sample"}, 2),
    ({"law": "gaussian"}, {"width": 2, "samples": 2}, 2),
    ({"batch_size": 2}, {"width": 2, "samples": 3}, 2),
    ({"batch_size": 2, "replace": True, "masks": 2}, {"width": 2, "samples": 2}, 2),
    ({"batch_size": 1}, {"width": 3, "samples": 3, "mask": "sample"}, 2),
    ({"label": 0.4, "batch_size": 1}, {"width": 3, "samples": 2}, 2),
    ({"label": 0.4, "parameter": 0.3}, {"width": 3, "samples": 2}, 1),
    ({"batch_size": 2}, {"width": 3, "samples": 4, "keep_prob": 1.0}, 2),
]


def _enumerate(problem, theta, noise, lr, steps):
    """Mean (c, m) and second moment (c, m, m) of the output weights over all sequences of noise."""
    leaves = [(1.0, theta)]
    for _ in range(steps):
        grown = []
        for weight, point in leaves:
            for chances, _, gradients in noise_enumeration._all(problem, point, noise):
                moved = point - lr * np.where(np.arange(point.size) < problem.n_outputs * problem.width, gradients, 0)
                grown += list(zip(weight * chances, moved, strict=True))
        leaves = grown
    weights = np.array([weight for weight, _ in leaves])
    a = np.array([problem.split(point)[0] for _, point in leaves])
    mean = np.einsum("k,koj->oj", weights, a)
    return mean, np.einsum("k,koj,kol->ojl", weights, a - mean, a - mean)


@pytest.mark.parametrize(("knobs", "settings", "steps"), CASES, ids=[f"{k} {s}" for k, s, _ in CASES])
@pytest.mark.parametrize("lr", [0.1, 3.0])
def test_linear_moments_by_enumeration(knobs, settings, steps, lr):
    problem, noise = noise_enumeration.problem(train="output", **settings), Noise(**knobs)
    theta = problem.init(seed=2)
    found = linear_moments(problem, theta, lr=lr, steps=steps, noise=noise)
    mean, covariance = _enumerate(problem, theta, noise, lr, steps)
    if noise.parameter:
        assert steps == 1
        covariance += lr**2 * noise.parameter**2 * np.eye(problem.width)
    np.testing.assert_allclose(found.mean[-1], mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.covariance[-1], covariance, rtol=1e-10, atol=1e-12 * np.abs(covariance).max())
    assert list(found.steps) == list(range(steps + 1))
    assert np.abs(covariance).max() > 1e-5


def test_one_step_is_the_theory_of_the_step():
    """The covariance after one step from a point is lr² Cov G, for everything at once."""
    problem = noise_enumeration.problem(train="output", width=7, samples=5, outputs=2, inputs=3, mask="sample")
    noise = Noise(masks=3, law="gaussian", batch_size=3, replace=True, label=0.2, parameter=0.1)
    theta = problem.init(seed=3)
    found = linear_moments(problem, theta, lr=0.3, steps=1, noise=noise)
    whole = 0.09 * theory.noise_covariance(problem, theta, noise=noise)
    for o in range(2):
        own = slice(7 * o, 7 * o + 7)
        np.testing.assert_allclose(found.covariance[1, o], whole[own, own], rtol=1e-11, atol=1e-14)
