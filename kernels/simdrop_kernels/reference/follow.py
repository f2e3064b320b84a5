"""Backend "numpy" of the stochastic equations: formulas as they read, batched over paths. The oracle of the others.

Legend: that of the package; M paths, G groups of R rows ρ = (sample, output) under one mask each, n samples, m neurons.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.equation import (
    MASKS_KEY,
    ROLE_BATCH,
    ROLE_LABEL,
    ROLE_MASK,
    ROLE_PARAMETER,
    SCHEMES,
    SINGULAR,
    Counts,
    Equation,
    Noises,
)
from ..contract.layout import trained
from ..contract.step import Ensemble, limits
from ..mathematics.network import dropconnect
from ..mathematics.network.forward import ForwardPass
from ..mathematics.rng import STREAM_SDE, normals
from . import train as training

Array = NDArray[np.floating]

name = "numpy"


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    return None


def refuses(equation: Equation, dtype: np.dtype) -> str | None:
    """Why this backend does not run `equation`, or None."""
    return None


def advance(
    equation: Equation,
    x: Array,
    y: Array,
    ensemble: Ensemble,
    *,
    seed: int,
    first_step: int,
    sizes: NDArray[np.float64],
    threads: int = 1,
) -> None:
    """Take all paths through the steps first_step, first_step + 1, ..., of sizes h (steps,), in place.

    x (n, D) and y (n, c) have theta's dtype. A path of which a step would take a parameter beyond
    `contract.step.PARAMETER_LIMIT` stays where it was before it, and `diverged` holds that step.
    """
    for number, h in enumerate(sizes, first_step):
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            moved = _step(equation, x, y, ensemble, seed=seed, number=number, h=float(h))
        alive, finite = ensemble.diverged < 0, (np.abs(moved) <= limits(moved.dtype.type)[0]).all(axis=1)
        ensemble.diverged[alive & ~finite] = number
        np.copyto(ensemble.theta, moved, where=(alive & finite)[:, None])


def _step(equation: Equation, x: Array, y: Array, ensemble: Ensemble, *, seed: int, number: int, h: float) -> Array:
    """Where a step of size h takes all paths: (M, P)."""
    theta, real = ensemble.theta, ensemble.theta.dtype.type
    noises = Noises.of(equation, ensemble.keep_prob, len(x))
    k, total, noise = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for stage in SCHEMES[equation.scheme]:
        point = theta + real(stage.ahead * h) * k + noise
        bends = bool(stage.weight) and equation.order == 2
        net = ForwardPass.at(x, y, point, equation.network.activation, equation.network.output_scale, order=1 + bends)
        if stage.weight and equation.noise.part != "noise":
            if equation.noise.connect < 1:
                k = connected_drift(equation, x, y, point, ensemble)
            else:
                k = drift(equation, net, point, ensemble.lr, noises.variance * (equation.noise.place == "both"))
            total += real(stage.weight) * k
        if stage.noise and equation.noise.part != "drift":
            size = (equation.signs(ensemble.member) * np.sqrt(ensemble.lr * h)).astype(real)[:, None]
            drawn_by = equation.drawn_by(ensemble.member)
            if equation.increments == "masks":
                noise = size * masks_noise(equation, x, y, point, ensemble, step=number, seed=seed)
            else:
                noise = size * gradient_noise(equation, net, noises, member=drawn_by, step=number, seed=seed)
    return theta + real(h) * total + noise


def drift(
    equation: Equation, net: ForwardPass, theta: Array, lr: NDArray[np.float64], variance: NDArray[np.float64]
) -> Array:
    """-∇L or -∇(L + (lr/4)|∇L|²), (M, P), at theta, where the net is."""
    network, v = equation.network, net.column(variance)
    decay = theta.dtype.type(network.weight_decay)
    gradient = net.mean_gradient(net.e, v)
    gradient = trained(network, net.x, net.e, gradient + decay * theta if decay else gradient)
    if equation.order == 1:
        return -gradient
    bent = net.mean_gradient_along(gradient, v)
    bent = trained(network, net.x, net.e, bent + decay * gradient if decay else bent)
    return -gradient - net.column(lr / 2)[:, 0] * bent


def connected_drift(equation: Equation, x: Array, y: Array, point: Array, ensemble: Ensemble) -> Array:
    """-∇L or -∇(L + (lr/4)|∇L|²), (M, P), where DropConnect takes part in L."""
    known: dict[str, Any] = {
        "activation": equation.network.activation,
        "keep_prob": ensemble.keep_prob,
        "output_scale": equation.network.output_scale,
        "connect": equation.noise.connect,
    }
    decay = point.dtype.type(equation.network.weight_decay)
    gradient = dropconnect.mean_gradient(x, y, point, **known)
    gradient = trained(equation.network, x, y, gradient + decay * point if decay else gradient)
    if equation.order == 1:
        return -gradient
    half_lr = (ensemble.lr / 2).astype(point.dtype)[:, None]
    bent = dropconnect.mean_gradient_along(x, y, point, gradient, **known)
    bent = bent + decay * gradient if decay else bent
    return -gradient - half_lr * trained(equation.network, x, y, bent)


def masks_noise(
    equation: Equation, x: Array, y: Array, point: Array, ensemble: Ensemble, *, step: int, seed: int
) -> Array:
    """(G - G')/√2 (M, P), G and G' the gradients at `point` (M, P) under draws 2 · step and 2 · step + 1."""
    here = replace(ensemble, theta=point, member=equation.drawn_by(ensemble.member))
    first, second = (
        training.draw_gradient(equation.training_step, x, y, here, seed ^ MASKS_KEY, 2 * step + q) for q in range(2)
    )
    return trained(equation.network, x, y, (first - second) * point.dtype.type(math.sqrt(0.5)))


def gradient_noise(
    equation: Equation, net: ForwardPass, noises: Noises, *, member: NDArray[np.uint64], step: int, seed: int
) -> Array:
    """A Gaussian vector (M, P) with the covariance of a step's gradient."""
    (outputs, width), samples, real = net.b.shape[-2:], net.e.shape[-2], net.b.dtype.type
    counts = Counts.of(equation, samples, outputs, width)

    def draw(role: int, rows: int, count: int) -> Array:
        """(M, rows, count)."""
        rows_of = (role + np.arange(rows)).astype(np.uint64)
        drawn = [normals(STREAM_SDE, count, rows_of, at, member[:, None], seed) for at in equation.drawn_at(step)]
        return (sum(drawn[1:], drawn[0]) / math.sqrt(len(drawn))).astype(real)

    u = net.h[..., None, :] * net.b[..., None, :, :]  # (M, n, c, m)
    e = net.e[..., None]  # (M, n, c, 1)
    y = np.zeros_like(u)
    minibatch = equation.noise.batch_size is not None
    drawn = draw(ROLE_MASK, counts.groups, counts.mask) if noises.variance.any() else None
    if minibatch:
        apart = draw(ROLE_BATCH, samples, counts.batch if drawn is not None else 1)
        apart = real(noises.batch) * (apart - apart.mean(axis=1, keepdims=True))
        y += apart[..., :1, None] * (e + net.column(noises.variance)[..., None] * u)
    if drawn is not None:
        if equation.network.mask == "sample":
            drawn *= real(noises.repeat)
        elif minibatch:
            drawn = drawn + apart[..., 1:]
        groups = (len(member), drawn.shape[1], -1)
        y += mask_noise(u.reshape(*groups, width), e.reshape(*groups, 1), drawn, noises, single=counts.single).reshape(
            y.shape
        )
    if equation.noise.label:
        drawn = real(noises.repeat) * draw(ROLE_LABEL, samples, counts.label)
        whole, by_neuron = drawn[..., :outputs, None], drawn[..., outputs:].reshape(y.shape)
        y += _weight(noises.label, y) * whole + _weight(noises.label_factor, y) * by_neuron
    noise = net.pull(y)
    if equation.noise.isotropic:
        noise += real(equation.noise.isotropic) * draw(ROLE_PARAMETER, 1, noise.shape[-1])[:, 0]
    return trained(equation.network, net.x, net.e, noise)


def mask_noise(u: Array, e: Array, drawn: Array, noises: Noises, *, single: bool) -> Array:
    """T (M, G, R, m) of u (M, G, R, m) and e (M, G, R, 1), from the numbers of role MASK (M, G, count)."""
    width = u.shape[-1]
    plain = 2 * width + 1 if single else width * (width + 1) // 2
    if single:
        first, z = drawn[..., None, :width], _pairs_of_a_row(u[..., 0, :], drawn[..., width:plain])[..., None, :]
    else:
        weights = np.zeros((*drawn.shape[:-1], width, width), dtype=drawn.dtype)
        apart, k = np.divmod(np.arange(plain), width)
        weights[..., k, (k + apart) % width] = drawn[..., :plain]
        first = np.diagonal(weights, axis1=-2, axis2=-1)[..., None, :].copy()
        weights[..., range(width), range(width)] = 0
        z = u @ (weights + weights.swapaxes(-1, -2))
    found: Array = _weight(noises.single, u) * (u * first).sum(axis=-1, keepdims=True) + _weight(noises.pair, u) * z
    found += first * (_weight(noises.error, u) * e + _weight(noises.own, u) * u)
    if drawn.shape[-1] > plain:
        found += _weight(noises.square, u) * drawn[..., None, plain:] * u
    return found


def _pairs_of_a_row(u: Array, drawn: Array) -> Array:
    """z (..., m) for a row u (..., m) by itself, from ζ_k and ζ_0 (..., m + 1)."""
    zeta, common = drawn[..., :-1], drawn[..., -1:]
    size = np.square(u).sum(axis=-1, keepdims=True)
    d = size - 2 * np.square(u)
    z = np.sqrt(np.maximum(d, 0)) * zeta + u * common
    largest = np.argmin(d, axis=-1, keepdims=True)
    d_largest, u_largest = (np.take_along_axis(a, largest, axis=-1) for a in (d, u))
    negative = d_largest < 0
    others = np.where(np.arange(u.shape[-1]) == largest, 0, u)
    per_d = np.where(negative, others, 0) / np.maximum(d, np.where(negative, np.finfo(u.dtype).eps * size, 1))
    r = (others * per_d).sum(axis=-1, keepdims=True)
    left = d_largest + np.square(u_largest) / (1 + r)
    rest = np.sqrt(np.where(left > SINGULAR * np.finfo(u.dtype).eps * size, left, 0))
    given = u_largest * (per_d * z).sum(axis=-1, keepdims=True) / (1 + r)
    z_largest = given + rest * np.take_along_axis(zeta, largest, axis=-1)
    return np.where(negative & (np.arange(u.shape[-1]) == largest), z_largest, z)


def _weight(value: NDArray[np.float64], like: Array) -> Array:
    """A number for each path (M,) as (M, 1, 1, 1) in the dtype of `like`."""
    return value.astype(like.dtype)[:, None, None, None]
