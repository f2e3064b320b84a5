"""Backend "numpy": every step written as the formulas read, batched over members. The oracle of the others.

Legend: f outputs, e residuals f - y, h = σ(w·x), s the dropout factor (1/p kept, 0 dropped; 1 without
dropout; normal of mean 1 for Gaussian dropout), n samples of the batch, c outputs, m neurons, D inputs with bias,
M members.

The gradient of a step under a `contract.noise.Noise`: draw number d of all noise is a minibatch, one DropConnect mask,
noise on its targets, `masks` dropout masks (numbers d · masks + r) whose gradients are averaged, and noise on
the gradient. A step takes the draw of its own number; with SVAG two, of numbers 2 · step and 2 · step + 1, weighted
(1 ± √(2l - 1)) / 2. Of that, `part` leaves the mean over all noise or the deviation from it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.layout import frozen, split, trained, width_of
from ..contract.network import Network
from ..contract.objectives import draws_masks
from ..contract.optimizer import Optimizer
from ..contract.step import PARAMETER_LIMIT, Ensemble, Step, svag_weights
from ..mathematics import rng
from ..mathematics.activations.table import find
from ..mathematics.network import dropconnect, expected, penalized
from ..mathematics.network.forward import dropout_gradient
from ..threads import one_thread

Array = NDArray[np.floating]

name = "numpy"


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    return None


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    return None


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1.

    x (n, D) and y (n, c) have theta's dtype. Members are shared out among `threads` threads, which NumPy lets run
    at the same time.
    """

    def train(part: Ensemble) -> None:
        _train(step, x, y, part, seed, range(first_step, first_step + steps))

    with one_thread():
        parts = [part for part in ensemble.parts(threads) if len(part.theta)]
        if len(parts) == 1:
            train(parts[0])
            return
        with ThreadPoolExecutor(len(parts)) as pool:
            for _ in pool.map(train, parts):
                pass


def _train(step: Step, x: Array, y: Array, ensemble: Ensemble, seed: int, numbers: range) -> None:
    for number in numbers:
        if step.scheduled:
            ensemble.lr[:] = ensemble.rates[:, number - numbers.start]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            moving = ensemble.diverged < 0
            gradient = _gradient(step, x, y, ensemble, seed, number)
            update(step.optimizer, ensemble, gradient, number, moving, decoupled=_decoupled(step, x, y, ensemble))
            within = np.abs(ensemble.theta) <= PARAMETER_LIMIT[ensemble.theta.dtype.name]
            good = within.all(axis=1) & np.isfinite(ensemble.moments).all(axis=(1, 2))
            ensemble.diverged[moving & ~good] = number


def evaluate(network: Network, x: Array, theta: Array, outputs: int, *, threads: int = 1) -> Array:
    """Outputs (M, n, c) of the whole networks (no dropout) theta (M, P) at x (n, D)."""
    a, w = split(theta, outputs, x.shape[1])
    with one_thread():
        h = find(network.activation).value(x @ w.swapaxes(-1, -2))  # (M, n, m)
        return theta.dtype.type(network.output_scale) * (h @ a.swapaxes(-1, -2))


def _decoupled(step: Step, x: Array, y: Array, ensemble: Ensemble) -> Array | None:
    """What weight decay takes of theta (M, P) in a step apart from the gradient, None where it does not."""
    if not step.shrink or step.noise.part == "noise":
        return None
    shrink = ensemble.lr.astype(ensemble.theta.dtype) * ensemble.theta.dtype.type(step.shrink)
    return trained(step.network, x, y, shrink[:, None] * ensemble.theta)


def update(
    kind: Optimizer, ensemble: Ensemble, gradient: Array, number: int, moving: NDArray[np.bool_],
    decoupled: Array | None = None,
) -> None:  # fmt: skip
    """One step of the optimizer for the members in `moving` (M,), in place; `number` counts from 0.

    `decoupled` (M, P) is taken off theta before the step.
    """
    lr = ensemble.lr.astype(ensemble.theta.dtype)[:, None]
    old_theta = ensemble.theta if decoupled is None else ensemble.theta - decoupled
    new_theta, new_moments = kind.update(old_theta, ensemble.moments, gradient, lr, number)
    np.copyto(ensemble.theta, new_theta, where=moving[:, None])
    np.copyto(ensemble.moments, new_moments, where=moving[:, None, None])


def _gradient(step: Step, x: Array, y: Array, ensemble: Ensemble, seed: int, number: int) -> Array:
    """Gradient (M, P) that step `number` takes."""
    if not step.further:
        return draw_gradient(step, x, y, ensemble, seed, number)
    real = ensemble.theta.dtype.type
    gradient = np.zeros_like(ensemble.theta)
    if step.noise.part != "drift":
        draws = {2 * number + q: w for q, w in enumerate(svag_weights(step.svag))} if step.svag else {number: 1.0}
        for draw, weight in draws.items():
            gradient += real(weight) * draw_gradient(step, x, y, ensemble, seed, draw)
    if step.noise.part != "both":
        mean = mean_gradient(step, x, y, ensemble)
        gradient = mean if step.noise.part == "drift" else gradient - mean
    if step.decay and step.noise.part != "noise":
        gradient += real(step.decay) * ensemble.theta
    gradient[:, frozen(step.network, x, y, ensemble.theta)] = 0
    return gradient


def mean_gradient(step: Step, x: Array, y: Array, ensemble: Ensemble) -> Array:
    """The mean (M, P) of the gradient of objective "dropout" over all noise: that of R_S + R_1 but for DropConnect."""
    network, connect = step.network, step.noise.connect
    known: dict[str, Any] = {
        "activation": network.activation,
        "keep_prob": ensemble.keep_prob,
        "output_scale": network.output_scale,
    }
    if connect < 1:
        return dropconnect.mean_gradient(x, y, ensemble.theta, connect=connect, **known)
    objective = "risk+r1" if step.noise.place == "both" else "risk"  # elsewhere the factors' means are 1 alone
    return expected.gradient(objective, x, y, ensemble.theta, mask=network.mask, lr=0.0, **known)


def draw_gradient(step: Step, x: Array, y: Array, ensemble: Ensemble, seed: int, number: int) -> Array:
    """Gradient (M, P) of the objective under draw `number` of all noise."""
    real, member = ensemble.theta.dtype.type, ensemble.member
    network, noise = step.network, step.noise
    if noise.batch_size is not None:
        drawn_for: dict[str, Any] = {"seed": seed, "member": member, "step": number, "samples": len(x)}
        if noise.order == "epochs":
            chosen = rng.epoch_batches(batch_size=noise.batch_size, **drawn_for)
        else:
            chosen = rng.batches(batch_size=noise.batch_size, replace=noise.replace, **drawn_for)
        x, y = x[chosen], y[chosen]  # (M, B, D), (M, B, c)
    if step.objective in ("risk+r1", "risk+r1+r2"):
        return expected.gradient(
            step.objective,
            x,
            y,
            ensemble.theta,
            activation=network.activation,
            keep_prob=ensemble.keep_prob,
            output_scale=network.output_scale,
            mask=network.mask,
            lr=ensemble.lr,
            train=network.train,
            decay=step.decay,
        )
    samples, width = x.shape[-2], width_of(x, y, ensemble.theta)
    if step.objective not in ("dropout", "risk"):
        factor = dropout_factor(step, ensemble, samples=samples, width=width, seed=seed, number=number)
        return penalized.gradient(step, x, y, ensemble, factor)
    if noise.label:
        drawn = rng.normals(rng.STREAM_LABEL, y.shape[-1], np.arange(samples), number, member[:, None], seed)
        y = y + (noise.label * drawn).astype(real)  # (M, B, c)
    kept = connect_factor(noise.connect, ensemble, width=width, inputs=x.shape[-1], seed=seed, number=number)
    gradient = np.zeros_like(ensemble.theta)
    for r in range(noise.masks):
        which = number * noise.masks + r
        factor, backward = placed_factors(step, ensemble, samples=samples, width=width, seed=seed, number=which)
        gradient = gradient + dropout_gradient(network, x, y, ensemble.theta, factor, kept, backward)
    gradient = gradient / real(noise.masks)
    if noise.parameter:
        drawn = rng.normals(rng.STREAM_PARAMETER, gradient.shape[-1], 0, number, member, seed)
        gradient += (noise.parameter * drawn).astype(real)
    return gradient


def placed_factors(step: Step, ensemble: Ensemble, **drawn_by: Any) -> tuple[Array, Array | None]:
    """The factors of the forward pass, and those of the backward pass where they are others."""
    place, factor = step.noise.place, dropout_factor(step, ensemble, **drawn_by)
    if place == "both":
        return factor, None
    if place == "independent":
        return dropout_factor(step, ensemble, **drawn_by, own=True), factor
    ones = np.ones_like(factor)
    return (factor, ones) if place == "forward" else (ones, factor)


def dropout_factor(
    step: Step, ensemble: Ensemble, *, samples: int, width: int, seed: int, number: int, own: bool = False
) -> Array:
    """The factors s (M, 1, m) of step masks or (M, B, m) of sample masks under mask `number`; 1 for "risk".

    own: those of the forward pass, where it has masks of its own
    """
    real, keep_prob = ensemble.theta.dtype.type, ensemble.keep_prob
    members = len(ensemble.theta)
    if not draws_masks(step.objective):
        return np.ones((members, 1, width), dtype=real)
    per_sample = step.network.mask == "sample"
    if step.noise.gaussian:
        both = rng.STREAM_SAMPLE_NORMAL if per_sample else rng.STREAM_STEP_NORMAL
        alone = rng.STREAM_SAMPLE_FORWARD_NORMAL if per_sample else rng.STREAM_STEP_FORWARD_NORMAL
        stream = alone if own else both
        position = np.arange(samples if per_sample else 1)
        drawn = rng.normals(stream, width, position, number, ensemble.member[:, None], seed)
        deviation = np.sqrt((1 - keep_prob) / keep_prob)[:, None, None]
        return np.asarray((1 + deviation * drawn).astype(real))
    kept = rng.masks(
        seed=seed,
        member=ensemble.member,
        step=np.full(members, number),
        width=width,
        keep_prob=keep_prob,
        samples=samples if per_sample else None,
        own=own,
    ).reshape(members, -1, width)
    return np.where(kept, (1 / keep_prob).astype(real)[:, None, None], real(0))


def connect_factor(
    connect: float, ensemble: Ensemble, *, width: int, inputs: int, seed: int, number: int
) -> Array | None:
    """DropConnect's factors (M, m, D) of the input weights in draw `number`, kept / connect; None where all are 1."""
    if connect == 1:
        return None
    real = ensemble.theta.dtype.type
    drawn = rng.words(rng.STREAM_CONNECT, width * inputs, 0, number, ensemble.member, seed)
    kept = (drawn <= rng.keep_threshold(connect)).reshape(-1, width, inputs)
    return np.where(kept, real(1 / connect), real(0))
