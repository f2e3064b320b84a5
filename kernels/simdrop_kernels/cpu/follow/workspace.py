"""Where a path's steps work, and what they have in common: rows over the neurons, settings, sums.

Everything lies in rows over the neurons, padded with zeros to whole vectors: the weights as c + D rows (a_1, ..., a_c,
w_1, ..., w_D), h, σ' and σ'' a row for each sample, T and u a row for each ρ of a group of samples under one mask.
Loops run over whole rows; only the weights' own rows need end at the width, so that the padding stays zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contract.equation import INPUT_ALONE, OUTPUT_ALONE
from ..compile import inner, leaf
from ..draws import LANES, lanes_over
from .neuron_pairs import BACK, BATCH, FRONT, ROWS, padded

CHUNK = 4096  # normal numbers of pairs that are drawn at a time, at least a row of them


class Sizes(NamedTuple):
    """Numbers of samples n, outputs c, inputs D, neurons m; groups, samples of a group; whether a row is by itself.

    inputs: D, made even by an input that is always 0; weights: D itself
    """

    samples: int
    outputs: int
    inputs: int
    weights: int
    width: int
    groups: int
    grouped: int
    single: bool


class Room(NamedTuple):
    """The arrays that one path's steps work in; rows as the module's text says."""

    state: Any  # X (c + D, pitch); then, of the same shape,
    point: Any  # where a stage evaluates
    drift: Any  # k, the last one
    total: Any  # Σ weight k
    noise: Any  # N
    gradient: Any
    b: Any  # (c, pitch)
    db: Any  # its derivative along the gradient
    h: Any  # (n, pitch), as h1 and h2
    h1: Any
    h2: Any
    e: Any  # (n, c)
    t: Any  # (R, pitch)
    u: Any  # (R, 2 m and more): FRONT zeros, and each row twice
    rows: Any  # (5, 2 m and more) to work in
    pairs: Any  # (BATCH, 2 m and more): ξ of pairs of neurons, as u
    z: Any  # normal numbers of role MASK
    z_label: Any
    words: Any
    lanes: Any  # of rows of numbers of role MASK
    lanes_label: Any
    lanes_one: Any  # of rows of one number
    lanes_long: Any
    omega: Any  # (n,)


class Numbers(NamedTuple):
    """The numbers of one path: see `contract.equation.Noises`."""

    single: Any
    pair: Any
    error: Any
    own: Any
    square: Any
    label: Any
    label_factor: Any
    variance: Any
    batch: Any
    repeat: Any
    parameter: Any
    sign: Any  # of the noise: -1 on the second path of a pair
    decay: Any  # λ of weight decay


class Settings(NamedTuple):
    """What all paths share: how normal numbers are grouped and counted (`Counts`), scheme and equation."""

    first_step: Any
    inputs: Any  # D: x may have one more
    groups: Any
    single: Any
    mask: Any
    label: Any
    noise_at: Any  # the stage with noise
    gaussian: Any
    order: Any
    train: Any  # as TRAIN
    part: Any  # as PART


@leaf
def as_numbers(v):
    """`Numbers` of an array."""
    return Numbers(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12])


@leaf
def as_settings(v):
    """`Settings` of an array."""
    return Settings(v[0], v[1], v[2], v[3] == 1, v[4], v[5], v[6], v[7] == 1, v[8], v[9], v[10])


class Clock(NamedTuple):
    """What normal numbers are drawn by."""

    step: Any
    member: Any
    key: Any


@inner
def make_room(sizes, real_zero, counts):
    """Room for one path; counts: normal numbers of rows of role MASK and LABEL."""
    n, c, width = sizes.samples, sizes.outputs, sizes.width
    real, pitch, long = np.asarray(real_zero).dtype, padded(width), FRONT + 2 * width + BACK
    rows = (sizes.grouped * c + ROWS - 1) // ROWS * ROWS
    weights = np.zeros((6, c + sizes.inputs, pitch), real)
    passed = np.zeros((3, n, pitch), real)
    mask, label = counts
    return Room(
        weights[0],
        weights[1],
        weights[2],
        weights[3],
        weights[4],
        weights[5],
        np.zeros((c, pitch), real),
        np.zeros((c, pitch), real),
        passed[0],
        passed[1],
        passed[2],
        np.zeros((n, c), real),
        np.zeros((rows, pitch), real),
        np.zeros((rows, long), real),
        np.zeros((5, long), real),
        np.zeros((BATCH, long), real),
        np.zeros((mask if sizes.single else max(CHUNK, BATCH * width)) + 8 * LANES, real),
        np.zeros(label + 8 * LANES, real),
        np.empty(4 * LANES, np.uint64),
        lanes_over(min((mask + 3) // 4, LANES), 1),
        lanes_over(min((label + 3) // 4, LANES), 1),
        lanes_over(1, 1),
        lanes_over(LANES, 1),
        np.zeros(n, real),
    )


@leaf
def dot(left, right):
    """Σ left right."""
    total = 0 * left[0]
    for j in range(left.size):
        total += left[j] * right[j]
    return total


@leaf
def add(row, factor, other):
    """Add a multiple of another row."""
    for j in range(row.size):
        row[j] += factor * other[j]


@leaf
def mix(row, sizes, weights, x, i):
    """Fill a row with Σ_d x_id w_d."""
    zero = x.dtype.type(0)
    for d in range(0, sizes.inputs, 2):
        x0, x1, w0, w1 = x[i, d], x[i, d + 1], weights[sizes.outputs + d], weights[sizes.outputs + d + 1]
        for j in range(row.size):
            row[j] = (row[j] if d > 0 else zero) + x0 * w0[j] + x1 * w1[j]


@leaf
def through_inputs(target, sizes, x, i, by_z):
    """Add what a row of derivatives by the neurons' sums, of sample i, is by the input weights."""
    for d in range(0, sizes.inputs, 2):
        x0, x1, w0, w1 = x[i, d], x[i, d + 1], target[sizes.outputs + d], target[sizes.outputs + d + 1]
        for j in range(by_z.size):
            w0[j] += x0 * by_z[j]
            w1[j] += x1 * by_z[j]


@leaf
def is_frozen(q, sizes, train):
    """Whether row q of the weights is not trained."""
    return (train == OUTPUT_ALONE and q >= sizes.outputs) or (train == INPUT_ALONE and q < sizes.outputs)


@leaf
def finish(target, sizes, scale, factor, train):
    """Scale sums over samples to gradients, and those of weights that are not trained to zero."""
    c = sizes.outputs
    for q in range(c + sizes.inputs):
        frozen = is_frozen(q, sizes, train)
        times = 0 * factor if frozen else (factor * scale if q < c else factor)
        row = target[q]
        for j in range(row.size):
            row[j] = 0 * factor if frozen else times * row[j]


@leaf
def load(theta, sizes, state):
    """Put theta (P,) into rows."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.weights
    for o in range(outputs):
        for j in range(width):
            state[o, j] = theta[o * width + j]
    for d in range(inputs):
        for j in range(width):
            state[outputs + d, j] = theta[outputs * width + j * inputs + d]


@leaf
def store(theta, sizes, state):
    """The inverse of `load`."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.weights
    for o in range(outputs):
        for j in range(width):
            theta[o * width + j] = state[o, j]
    for d in range(inputs):
        for j in range(width):
            theta[outputs * width + j * inputs + d] = state[outputs + d, j]
