"""Dropout by brute force: every mask with its probability. Slow, plain, and sharing no formula with the package.

Only the layout of theta and the values of the activation come from the package.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

import simdrop


def problem(
    *,
    activation: Any = "tanh",
    mask: Any = "step",
    outputs: Any = 1,
    width: Any = 4,
    samples: Any = 4,
    keep_prob: Any = 0.7,
    output_scale: Any = 0.8,
    seed: Any = 0,
) -> simdrop.Problem:
    """A small random problem with two inputs and a bias."""
    rng = np.random.default_rng([seed, outputs, width, samples])
    return simdrop.Problem(
        rng.standard_normal((samples, 2)),
        rng.standard_normal((samples, outputs)),
        width=width,
        keep_prob=keep_prob,
        activation=activation,
        mask=mask,
        output_scale=output_scale,
    )


def all_masks(count: int, keep_prob: float) -> Any:
    """All boolean vectors (2^count, count) with their probabilities."""
    masks = np.array(list(product([False, True], repeat=count)))
    return masks, np.prod(np.where(masks, keep_prob, 1 - keep_prob), axis=1)


def per_mask(problem: Any, theta: Any, kept: Any) -> Any:
    """Loss (K,) and gradient (K, P) of R_drop under masks kept (K, n, m), sample by sample, neuron by neuron."""
    a, w = problem.split(theta)
    n, m, c = problem.n_samples, problem.width, problem.n_outputs
    x, s = problem.inputs, problem.scale
    loss = np.zeros(len(kept))
    by_a, by_w = np.zeros((len(kept), c, m)), np.zeros((len(kept), m, problem.n_inputs))
    for i in range(n):
        z = np.array([w[j] @ x[i] for j in range(m)])
        h, slope = problem.sigma.value(z), problem.sigma.first(z)
        factor = kept[:, i] / problem.keep_prob  # (K, m)
        for o in range(c):
            r = s * sum(factor[:, j] * a[o, j] * h[j] for j in range(m)) - problem.y[i, o]
            loss += r**2 / (2 * n)
            for j in range(m):
                by_a[:, o, j] += r * s * factor[:, j] * h[j] / n
                by_w[:, j] += np.outer(r * s * a[o, j] * factor[:, j] * slope[j] / n, x[i])
    return loss, problem.join(by_a, by_w)


def moments(problem: Any, theta: Any) -> Any:
    """E R_drop, E ∇R_drop (P,), E|∇R_drop|² and Cov ∇R_drop (P, P) over all masks of all samples together."""
    n, m = problem.n_samples, problem.width
    if problem.mask == "step":
        masks, weight = all_masks(m, problem.keep_prob)
        masks = np.repeat(masks[:, None], n, axis=1)
    else:
        masks, weight = all_masks(n * m, problem.keep_prob)
        masks = masks.reshape(-1, n, m)
    loss, gradient = per_mask(problem, theta, masks)
    mean = weight @ gradient
    spread = gradient - mean
    return weight @ loss, mean, weight @ np.square(gradient).sum(axis=1), (spread.T * weight) @ spread


def moments_by_sample(problem: Any, theta: Any) -> Any:
    """The same for sample masks of any number of samples: their gradients are independent, so covariances add."""
    n = problem.n_samples
    total = [0.0, np.zeros_like(theta), 0.0, np.zeros((theta.size, theta.size))]
    for i in range(n):
        one = simdrop.Problem(
            problem.x[i : i + 1],
            problem.y[i : i + 1],
            width=problem.width,
            keep_prob=problem.keep_prob,
            activation=problem.activation,
            output_scale=problem.scale,
        )
        loss, mean, _, covariance = moments(one, theta)
        total[0] += loss / n
        total[1] += mean / n
        total[3] += covariance / n**2
    total[2] = total[1] @ total[1] + np.trace(total[3])
    return tuple(total)


def central_difference(function: Any, theta: Any, step: Any = 1e-4) -> Any:
    """Derivative of function (K, P) -> (K, ...) by each parameter, shape (P, ...), with an error of step⁴."""
    e = step * np.eye(theta.size)
    near, far = function(theta + e) - function(theta - e), function(theta + 2 * e) - function(theta - 2 * e)
    return (8 * near - far) / (12 * step)


def runge_kutta(slope: Any, theta: Any, times: Any, steps: Any) -> Any:
    """The classical fourth-order method at `times`, with `steps` steps between any two."""
    path = [theta]
    for h in np.diff(times) / steps:
        for _ in range(steps):
            k1 = slope(theta)
            k2 = slope(theta + h / 2 * k1)
            k3 = slope(theta + h / 2 * k2)
            k4 = slope(theta + h * k3)
            theta = theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(theta)
    return np.array(path)
