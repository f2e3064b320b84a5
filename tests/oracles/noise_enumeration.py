"""All the noise of a step by brute force: every DropConnect mask, minibatch, dropout mask and sign of a target's noise.

Normal numbers are replaced by finitely many values with the same moments up to a degree that the covariance cannot see:
five for dropout factors (exact to degree 9), two for targets, on which gradients depend linearly. Slow, plain, and
sharing no formula with the package but the layout of theta and the activation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import numpy as np

import simdrop


def problem(
    *,
    mask: Any = "step",
    outputs: Any = 1,
    width: Any = 2,
    samples: Any = 2,
    inputs: Any = 1,
    keep_prob: Any = 0.7,
    train: Any = "both",
    seed: Any = 0,
) -> Any:
    """A small random problem with a bias."""
    rng = np.random.default_rng([seed, outputs, width, samples])
    return simdrop.Problem(
        rng.standard_normal((samples, inputs)),
        rng.standard_normal((samples, outputs)),
        width=width,
        keep_prob=keep_prob,
        mask=mask,
        output_scale=0.8,
        train=train,
    )


def moments(problem: Any, theta: Any, noise: Any) -> Any:
    """Mean loss, mean (P,) and covariance (P, P) of the gradient of one step."""
    total, mean, square = 0.0, 0.0, 0.0
    for weight, loss, gradient in _all(problem, theta, noise):
        total += weight @ loss
        mean += weight @ gradient
        square += (gradient.T * weight) @ gradient
    spread = square - np.outer(mean, mean)
    if noise.parameter:
        spread += noise.parameter**2 * np.eye(theta.size)
    trained = np.zeros(theta.size)
    cut = problem.n_outputs * problem.width
    trained[{"both": slice(None), "output": slice(cut), "input": slice(cut, None)}[problem.train]] = 1
    return total, trained * mean, spread * np.outer(trained, trained)


def _all(problem: Any, theta: Any, noise: Any) -> Iterator[Any]:
    """Batches of (probabilities (K,), losses (K,), gradients (K, P))."""
    n, m, c, d = problem.n_samples, problem.width, problem.n_outputs, problem.n_inputs
    batch, k = noise.batch_size or n, noise.masks
    values, chances = _factor(problem.keep_prob, noise.law)
    groups = 1 if problem.mask == "step" else batch
    passes = 2 if noise.place == "independent" else 1
    factors, factor_weights = _independent(values, chances, passes * k * groups * m)
    both = np.broadcast_to(
        factors.reshape(-1, passes, k, groups, m).swapaxes(0, 1), (passes, len(factors), k, batch, m)
    )
    forward = np.ones_like(both[0]) if noise.place == "update" else both[0]
    backward = np.ones_like(both[0]) if noise.place == "forward" else both[-1]
    signs, sign_weights = np.zeros((1, batch, c)), np.ones(1)
    if noise.label:
        signs, sign_weights = _independent([-noise.label, noise.label], [0.5, 0.5], batch * c)
        signs = signs.reshape(-1, batch, c)
    kept, kept_weights = np.ones((1, m, d)), np.ones(1)
    if noise.connect < 1:
        kept, kept_weights = _independent([0, 1 / noise.connect], [1 - noise.connect, noise.connect], m * d)
        kept = kept.reshape(-1, m, d)
    draws = list(product(range(n), repeat=batch) if noise.replace else permutations(range(n), batch))
    for one_kept, kept_weight in zip(kept, kept_weights, strict=True):
        for chosen in draws:
            for sign, sign_weight in zip(signs, sign_weights, strict=True):
                loss, gradient = _gradient(problem, theta, (forward, backward), one_kept, list(chosen), sign)
                yield factor_weights * kept_weight * sign_weight / len(draws), loss, gradient


def _factor(keep_prob: Any, law: Any) -> Any:
    """Values of a dropout factor and their probabilities."""
    if keep_prob == 1:
        return [1.0], [1.0]
    if law == "bernoulli":
        return [0.0, 1 / keep_prob], [1 - keep_prob, keep_prob]
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    return 1 + np.sqrt((1 - keep_prob) / keep_prob) * nodes, weights / weights.sum()


def _independent(values: Any, chances: Any, count: Any) -> Any:
    """All vectors (K, count) of independent values, with their probabilities (K,)."""
    index = np.array(list(product(range(len(values)), repeat=count)))
    return np.array(values)[index], np.prod(np.array(chances)[index], axis=1)


def _gradient(problem: Any, theta: Any, factors: Any, kept: Any, chosen: Any, sign: Any) -> Any:
    """Loss (K,) and gradient (K, P), averaged over k; factors (K, k, B, m) of the forward and the backward pass."""
    a, w = problem.split(theta)
    s, batch, k = problem.scale, len(chosen), factors[0].shape[1]
    loss = np.zeros(len(factors[0]))
    by_a, by_w = np.zeros((len(loss), *a.shape)), np.zeros((len(loss), *w.shape))
    for b, i in enumerate(chosen):
        x = problem.inputs[i]
        z = np.array([(w[j] * kept[j]) @ x for j in range(problem.width)])
        h, slope = problem.sigma.value(z), problem.sigma.first(z)
        for r in range(k):
            f, back = factors[0][:, r, b], factors[1][:, r, b]
            for o in range(problem.n_outputs):
                e = s * (f * a[o] * h).sum(axis=1) - problem.y[i, o] - sign[b, o]
                loss += e**2 / (2 * batch * k)
                for j in range(problem.width):
                    by_a[:, o, j] += e * s * back[:, j] * h[j] / (batch * k)
                    by_w[:, j] += np.outer(e * s * a[o, j] * back[:, j] * slope[j] / (batch * k), kept[j] * x)
    return loss, problem.join(by_a, by_w)
