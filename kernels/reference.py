"""Backend "numpy": every step written as the formulas read, batched over members. The oracle of the others.

Legend: f outputs, e residuals f - y, h = σ(w·x), s the dropout factor (1/p kept, 0 dropped; 1 without
dropout), n samples of the batch, c outputs, m neurons, D inputs with bias, M members.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import closed_form, rng
from .activations import ACTIVATIONS
from .spec import Ensemble, Step, join, split, width_of

Array = NDArray[np.floating]

name = "numpy"


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    return None


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    if step.extras:
        return f"{', '.join(step.extras)} other than the default is not written for it"
    return None


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1.

    x (n, D) and y (n, c) have theta's dtype. `threads` changes nothing here: NumPy's BLAS has its own.
    """
    for number in range(first_step, first_step + steps):
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            gradient, loss = _gradient(step, x, y, ensemble, seed, number)
            alive = ensemble.diverged < 0
            ensemble.diverged[alive & ~np.isfinite(loss)] = number
            moving = ensemble.diverged < 0
            update(step, ensemble, gradient, number, moving)


def evaluate(step: Step, x: Array, theta: Array, outputs: int, *, threads: int = 1) -> Array:
    """Outputs (M, n, c) of the whole networks (no dropout) theta (M, P) at x (n, D)."""
    a, w = split(theta, outputs, x.shape[1])
    h = ACTIVATIONS[step.activation].value(x @ w.swapaxes(-1, -2))  # (M, n, m)
    return theta.dtype.type(step.output_scale) * (h @ a.swapaxes(-1, -2))


def update(step: Step, ensemble: Ensemble, gradient: Array, number: int, moving: NDArray[np.bool_]) -> None:
    """One step of the optimizer for the members in `moving` (M,), in place; `number` counts from 0."""
    real = ensemble.theta.dtype.type
    lr = ensemble.lr.astype(real)[:, None]
    old_theta, old_moments = ensemble.theta, ensemble.moments
    if step.optimizer == "sgd":
        new_theta, new_moments = old_theta - lr * gradient, old_moments
    elif step.optimizer == "momentum":
        speed = real(step.momentum) * old_moments[:, 0] + gradient
        new_theta, new_moments = old_theta - lr * speed, speed[:, None]
    else:
        first = real(step.beta1) * old_moments[:, 0] + real(1 - step.beta1) * gradient
        second = real(step.beta2) * old_moments[:, 1] + real(1 - step.beta2) * gradient * gradient
        # The corrections are numbers of the step alone: computed in double, then rounded once.
        unbias_first = real(1 / (1 - step.beta1 ** (number + 1)))
        unbias_second = real(1 / (1 - step.beta2 ** (number + 1)))
        size = np.sqrt(second * unbias_second) + real(step.epsilon)
        new_theta = old_theta - lr * (first * unbias_first) / size
        new_moments = np.stack([first, second], axis=1)
    np.copyto(ensemble.theta, new_theta, where=moving[:, None])
    np.copyto(ensemble.moments, new_moments, where=moving[:, None, None])


def _gradient(step: Step, x: Array, y: Array, ensemble: Ensemble, seed: int, number: int) -> tuple[Array, Array]:
    """Gradient (M, P) of the objective at step `number`, and the loss (M,) whose finiteness is watched."""
    if step.batch_size is not None:
        chosen = rng.batches(
            seed=seed,
            member=ensemble.member,
            step=number,
            samples=len(x),
            batch_size=step.batch_size,
            replace=step.replace,
        )
        x, y = x[chosen], y[chosen]  # (M, B, D), (M, B, c)
    if step.objective in ("dropout", "risk"):
        width = width_of(x, y, ensemble.theta)
        factor = dropout_factor(step, ensemble, samples=x.shape[-2], width=width, seed=seed, number=number)
        return dropout_gradient(step, x, y, ensemble.theta, factor)
    gradient = closed_form.gradient(
        step.objective,
        x,
        y,
        ensemble.theta,
        activation=step.activation,
        keep_prob=ensemble.keep_prob,
        output_scale=step.output_scale,
        mask=step.mask,
        lr=ensemble.lr,
    )
    return gradient, np.square(gradient).sum(axis=-1)


def dropout_factor(step: Step, ensemble: Ensemble, *, samples: int, width: int, seed: int, number: int) -> Array:
    """The factors s (M, 1, m) of step masks or (M, B, m) of sample masks: kept / keep_prob; 1 for "risk"."""
    real = ensemble.theta.dtype.type
    members = len(ensemble.theta)
    if not step.stochastic_mask:
        return np.ones((members, 1, width), dtype=real)
    per_sample = step.mask == "sample"
    kept = rng.masks(
        seed=seed,
        member=ensemble.member,
        step=np.full(members, number),
        width=width,
        keep_prob=ensemble.keep_prob,
        samples=samples if per_sample else None,
    ).reshape(members, -1, width)
    return np.where(kept, (1 / ensemble.keep_prob).astype(real)[:, None, None], real(0))


def dropout_gradient(step: Step, x: Array, y: Array, theta: Array, factor: Array) -> tuple[Array, Array]:
    """Gradient (M, P) and value (M,) of R_drop at theta (M, P) under factors s (M, 1 or B, m)."""
    real = theta.dtype.type
    activation = ACTIVATIONS[step.activation]
    samples = x.shape[-2]
    a, w = split(theta, y.shape[-1], x.shape[-1])  # (M, c, m), (M, m, D)
    z = x @ w.swapaxes(-1, -2)  # (M, B, m)
    h = activation.value(z) * factor
    scale = real(step.output_scale)
    e = scale * (h @ a.swapaxes(-1, -2)) - y  # (M, B, c)
    loss = np.square(e).sum(axis=(-1, -2)) / real(2 * samples)
    e = e * (scale / real(samples))
    grad_a = e.swapaxes(-1, -2) @ h  # (M, c, m)
    grad_z = (e @ a) * activation.first(z) * factor  # (M, B, m)
    grad_w = grad_z.swapaxes(-1, -2) @ x  # (M, m, D)
    return join(grad_a, grad_w), loss
