"""CUDA kernel of the stochastic equations: a block of lanes moves one path, its numbers in device memory.

A lane has neurons of its own, number lane, lane + lanes, ...: what concerns one neuron it does alone; only sums over
neurons and pairs of them need the others. X and all that has its shape lie as theta does.

Legend: that of the package; flat arrays begin at the places of `Places` in a block's part of `work`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ...contract.equation import NOISE_ALONE
from ...contract.step import limits
from ...mathematics.activations.table import scalars
from .. import machine
from .noise import make_fill
from .sums import make_finish, make_products


class Places(NamedTuple):
    """Where in a block's part of `work` arrays begin: shapes behind."""

    point: Any  # (P,) where a stage evaluates
    drift: Any  # (P,) k
    total: Any  # (P,)
    noise: Any  # (P,) N
    gradient: Any  # (P,)
    b: Any  # (c, m)
    db: Any  # (c, m)
    h: Any  # (n, m), as h1, h2, dh
    h1: Any
    h2: Any
    dh: Any
    e: Any  # (n, c)
    de: Any  # (n, c)
    u: Any  # (R, m)
    t: Any  # (R, m)
    common: Any  # (R,) Σ ξ_k u_ρk
    xi: Any  # (m,)
    pairs: Any  # (distances, m), or ζ_k and ζ_0
    end: Any


class Shape(NamedTuple):
    """n, c, D, m, samples of a group under one mask, whether a row ρ is by itself."""

    samples: Any
    outputs: Any
    inputs: Any
    width: Any
    grouped: Any
    single: Any


class Run(NamedTuple):
    """What all paths share; fields as those of `cpu.follow.workspace.Settings`."""

    first_step: Any
    steps: Any
    stages: Any
    noise_at: Any
    order: Any
    train: Any
    part: Any
    distances: Any  # of neurons whose numbers are drawn at a time


class Path(NamedTuple):
    """Numbers of one path, as in `contract.equation.Noises`; with the sign of its noise."""

    lr: Any
    sign: Any
    variance: Any
    single: Any
    pair: Any
    own: Any


FIELDS = len(Path._fields)


def places(shape: Shape, distances: int) -> Places:
    """The places for networks of this shape."""
    n, c, inputs, m, grouped, _ = shape
    sizes = [m * (c + inputs)] * 5 + [c * m] * 2 + [n * m] * 4 + [n * c] * 2
    sizes += [grouped * c * m] * 2 + [grouped * c, m, max(distances * m, m + 1)]
    return Places(0, *(int(place) for place in np.cumsum(sizes)))


def _make_forward(activation: str, lanes: int, real: type, products: Any) -> Any:
    act = scalars(activation, machine.scalar, real, machine.arithmetic(real))
    value, slope, curvature, zero = act.value, act.slope, act.curvature, real(0)

    @machine.device
    def forward(work, at, shape, x, y, scale):
        """Fill b, h, σ', σ'' and e at the stage's point."""
        n, c, inputs, width = shape.samples, shape.outputs, shape.inputs, shape.width
        for j in range(cuda.threadIdx.x, width, lanes):
            for o in range(c):
                work[at.b + o * width + j] = scale * work[at.point + o * width + j]
            weights = at.point + c * width + j * inputs
            for i in range(n):
                z = zero
                for d in range(inputs):
                    z += work[weights + d] * x[i * inputs + d]
                v = value(z)
                first = slope(z, v)
                work[at.h + i * width + j] = v
                work[at.h1 + i * width + j] = first
                work[at.h2 + i * width + j] = curvature(z, v, first)
        products(work, at.e, n * c, c, at.b, at.h, width, False)
        for q in range(cuda.threadIdx.x, n * c, lanes):
            work[at.e + q] -= y[q]
        cuda.syncthreads()

    return forward


def _make_gradient(lanes: int, real: type) -> Any:
    zero = real(0)

    @machine.device
    def gradient(work, at, shape, x, variance):
        """Fill the gradient of L, sums over samples, of the lane's own neurons."""
        n, c, inputs, width = shape.samples, shape.outputs, shape.inputs, shape.width
        for j in range(cuda.threadIdx.x, width, lanes):
            weights = at.gradient + c * width + j * inputs
            for o in range(c):
                work[at.gradient + o * width + j] = zero
            for d in range(inputs):
                work[weights + d] = zero
            for i in range(n):
                h, by_h = work[at.h + i * width + j], zero
                for o in range(c):
                    b = work[at.b + o * width + j]
                    r = work[at.e + i * c + o] + variance * b * h
                    work[at.gradient + o * width + j] += r * h
                    by_h += r * b
                by_z = by_h * work[at.h1 + i * width + j]
                for d in range(inputs):
                    work[weights + d] += by_z * x[i * inputs + d]

    return gradient


def _make_bend(lanes: int, real: type, products: Any) -> Any:
    zero, two = real(0), real(2)

    @machine.device
    def look_along(work, at, shape, x, scale):
        """Fill db, dh and de along the gradient."""
        n, c, inputs, width = shape.samples, shape.outputs, shape.inputs, shape.width
        for j in range(cuda.threadIdx.x, width, lanes):
            for o in range(c):
                work[at.db + o * width + j] = scale * work[at.gradient + o * width + j]
            for i in range(n):
                dz = zero
                for d in range(inputs):
                    dz += work[at.gradient + c * width + j * inputs + d] * x[i * inputs + d]
                work[at.dh + i * width + j] = dz  # times σ' below
        cuda.syncthreads()
        for j in range(cuda.threadIdx.x, width, lanes):
            for i in range(n):
                work[at.dh + i * width + j] *= work[at.h1 + i * width + j]
        products(work, at.de, n * c, c, at.db, at.h, width, False)
        products(work, at.de, n * c, c, at.b, at.dh, width, True)

    @machine.device
    def bend_drift(work, at, shape, x, scale, variance):
        """Fill k with the product of Hessian and gradient, sums over samples, for the lane's own neurons."""
        n, c, inputs, width = shape.samples, shape.outputs, shape.inputs, shape.width
        look_along(work, at, shape, x, scale)
        for j in range(cuda.threadIdx.x, width, lanes):
            weights = at.drift + c * width + j * inputs
            for o in range(c):
                work[at.drift + o * width + j] = zero
            for d in range(inputs):
                work[weights + d] = zero
            for i in range(n):
                row = i * width + j
                h, h1, dh, by_dh, by_h, dz = work[at.h + row], work[at.h1 + row], work[at.dh + row], zero, zero, zero
                for d in range(inputs):
                    dz += work[at.gradient + c * width + j * inputs + d] * x[i * inputs + d]
                for o in range(c):
                    b, db = work[at.b + o * width + j], work[at.db + o * width + j]
                    e, de, bh = work[at.e + i * c + o], work[at.de + i * c + o], b * h
                    work[at.drift + o * width + j] += de * h + e * dh + variance * (db * h * h + two * bh * dh)
                    by_dh += de * b + e * db + variance * (two * bh * db + b * b * dh)
                    by_h += (e + variance * bh) * b
                by_z = by_dh * h1 + by_h * work[at.h2 + row] * dz
                for d in range(inputs):
                    work[weights + d] += by_z * x[i * inputs + d]

    return bend_drift


def _make_drift(activation: str, lanes: int, real: type) -> Any:
    products, finish = make_products(lanes, real), make_finish(lanes, real)
    forward, gradient = _make_forward(activation, lanes, real, products), _make_gradient(lanes, real)
    bend_drift, one = _make_bend(lanes, real, products), real(1)

    @machine.device
    def fill_drift(work, at, shape, x, scale, variance, half_lr, weight, order, train):
        """Fill k with -∇L or -∇(L + half_lr/2 |∇L|²) and add it to the total; the forward pass has been."""
        params = shape.width * (shape.outputs + shape.inputs)
        gradient(work, at, shape, x, variance)
        finish(work, at.gradient, shape, scale, one / real(shape.samples), train)
        if order == 2:
            bend_drift(work, at, shape, x, scale, variance)
            finish(work, at.drift, shape, scale, one / real(shape.samples), train)
        for q in range(cuda.threadIdx.x, params, lanes):
            k = -work[at.gradient + q]
            if order == 2:
                k -= half_lr * work[at.drift + q]
            work[at.drift + q] = k
            work[at.total + q] += weight * k
        cuda.syncthreads()

    return forward, fill_drift


@cache
def build(activation: str, lanes: int, real: type) -> Any:
    """The kernel follow(theta, diverged, rates, member, x, y, sizes, scheme, work, at, shape, run, key, scale).

    theta (M · P,), diverged (M,): changed in place. rates (M · FIELDS,): `Path` in double; member (M,): numbers that
    are drawn by. x (n · D,), y (n · c,). sizes (steps,) in double; scheme (stages · 2,): ahead, weight. work: at.end
    for every block. at, shape, run: `Places`, `Shape`, `Run`; key: its two words.
    """
    (forward, fill_drift), fill_noise = _make_drift(activation, lanes, real), make_fill(lanes, real)
    zero, limit = real(0), limits(real)[0]

    @machine.device
    def empty(work, start, count):
        for q in range(cuda.threadIdx.x, count, lanes):
            work[start + q] = zero

    @machine.device
    def step(theta, mine, work, at, shape, path, data, h, scheme, run, scale, drawn_by):
        """One step of the path at theta[mine:]; returns whether its end is finite."""
        x, y = data
        params = shape.width * (shape.outputs + shape.inputs)
        for start in (at.drift, at.total, at.noise):
            empty(work, start, params)
        cuda.syncthreads()
        for stage in range(run.stages):
            ahead, weight = real(scheme[2 * stage] * h), real(scheme[2 * stage + 1])
            for q in range(cuda.threadIdx.x, params, lanes):
                work[at.point + q] = theta[mine + q] + ahead * work[at.drift + q] + work[at.noise + q]
            cuda.syncthreads()
            forward(work, at, shape, x, y, scale)
            if weight != zero and run.part != NOISE_ALONE:
                half_lr = real(path.lr / 2)
                fill_drift(work, at, shape, x, scale, real(path.variance), half_lr, weight, run.order, run.train)
            if stage == run.noise_at:
                size = real(path.sign * math.sqrt(path.lr * h))
                fill_noise(work, at, shape, x, scale, size, path, run, drawn_by)
        bad = 0
        for q in range(cuda.threadIdx.x, params, lanes):
            end = theta[mine + q] + real(h) * work[at.total + q] + work[at.noise + q]
            work[at.point + q] = end
            bad += not abs(end) <= limit
        if cuda.syncthreads_or(bad) != 0:
            return False
        for q in range(cuda.threadIdx.x, params, lanes):
            theta[mine + q] = work[at.point + q]
        cuda.syncthreads()
        return True

    def follow(theta, diverged, rates, member, x, y, sizes, scheme, work, at, shape, run, key, scale):
        at, shape, run = Places(*at), Shape(*shape), Run(*run)  # kernels are not given named tuples
        params = shape.width * (shape.outputs + shape.inputs)
        own = work[cuda.blockIdx.x * at.end : (cuda.blockIdx.x + 1) * at.end]
        for m in range(cuda.blockIdx.x, diverged.size, cuda.gridDim.x):
            r = m * FIELDS
            path = Path(rates[r], rates[r + 1], rates[r + 2], rates[r + 3], rates[r + 4], rates[r + 5])
            alive = diverged[m] < 0
            cuda.syncthreads()
            for t in range(run.steps if alive else 0):
                drawn_by = np.uint64(run.first_step + t), member[m], key[0], key[1]
                if not step(theta, m * params, own, at, shape, path, (x, y), sizes[t], scheme, run, scale, drawn_by):
                    if cuda.threadIdx.x == 0:
                        diverged[m] = run.first_step + t
                    break

    return machine.kernel(follow)
