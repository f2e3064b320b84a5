"""CPU kernel for networks of at most two inputs (the bias counts) and one output: the whole step fused.

A step works on the kept neurons alone, gathered into tiles that stay in the cache. A tile's neurons are
passed over with four samples at a time, so that each load feeds four independent chains.

Legend: a tile of `tiles` is ROWS rows of TILE numbers: a, w0, w1 (weights) and ga, g0, g1 (sums of e h,
e σ' x0, e σ' x1). `kept_rows` holds for every tile and sample `kinds` rows of TILE numbers: h; σ' where it
does not follow from h; the factors of sample masks. Rows lie in one flat array at distances known when
compiling: only then does the vectoriser see that they do not overlap. A member's `state` is one array of
rows: a, w0, w1, then the optimizer's vectors in the same order.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from ...contract.step import limits
from ...mathematics.activations.base import Scalars
from ...mathematics.activations.table import scalars
from ...mathematics.losses import table as losses
from ...mathematics.optimizers import table as optimizers
from ..compile import inner, kernel, scalar
from ..draws import LANES, TILE, MaskDraw, draw_batch, draw_epoch, draw_factors, draw_kept, lanes_over, order_blocks
from ..limits import within
from .arguments import chances_of, lr_of

ROWS = 6  # of a tile
VECTOR = 16  # neurons are computed in multiples of this


@inner
def row(flat, number):
    """Row `number` of rows of TILE numbers."""
    return flat[number * TILE : (number + 1) * TILE]


@inner
def padded(count):
    """`count` rounded up to whole vectors."""
    return (count + VECTOR - 1) // VECTOR * VECTOR


@inner
def gather(weights, kept, first, count, tiles, tile):
    """Copy the weights (3, m) of `count` neurons kept[first:] into a tile; zeros fill its last vector."""
    a, w0, w1 = row(tiles, tile * ROWS), row(tiles, tile * ROWS + 1), row(tiles, tile * ROWS + 2)
    for j in range(count):
        neuron = kept[first + j]
        a[j] = weights[0, neuron]
        w0[j] = weights[1, neuron]
        w1[j] = weights[2, neuron]
    for j in range(count, padded(count)):
        a[j] = 0
        w0[j] = 0
        w1[j] = 0


def _make_forward(act: Scalars, kinds: int) -> Any:
    value, slope = act.value, act.slope
    store_slope, factored = kinds > 1, kinds > 2

    @inner
    def forward(tiles, tile, count, x0, x1, kept_rows, f):
        """Add a tile's outputs to f (n,), keeping h and, where wanted, σ' of every sample."""
        a, w0, w1 = row(tiles, tile * ROWS), row(tiles, tile * ROWS + 1), row(tiles, tile * ROWS + 2)
        for i in range(0, f.size, 4):
            rows = kept_rows[(tile * f.size + i) * kinds * TILE : (tile * f.size + i + 4) * kinds * TILE]
            f0, f1, f2, f3 = f[i], f[i + 1], f[i + 2], f[i + 3]
            x00, x01, x02, x03 = x0[i], x0[i + 1], x0[i + 2], x0[i + 3]
            x10, x11, x12, x13 = x1[i], x1[i + 1], x1[i + 2], x1[i + 3]
            for j in range(count):
                z0 = w0[j] * x00 + w1[j] * x10
                z1 = w0[j] * x01 + w1[j] * x11
                z2 = w0[j] * x02 + w1[j] * x12
                z3 = w0[j] * x03 + w1[j] * x13
                v0, v1, v2, v3 = value(z0), value(z1), value(z2), value(z3)
                if factored:
                    m0, m1 = rows[2 * TILE + j], rows[(kinds + 2) * TILE + j]
                    m2, m3 = rows[(2 * kinds + 2) * TILE + j], rows[(3 * kinds + 2) * TILE + j]
                    rows[TILE + j] = m0 * slope(z0, v0)
                    rows[(kinds + 1) * TILE + j] = m1 * slope(z1, v1)
                    rows[(2 * kinds + 1) * TILE + j] = m2 * slope(z2, v2)
                    rows[(3 * kinds + 1) * TILE + j] = m3 * slope(z3, v3)
                    v0, v1, v2, v3 = m0 * v0, m1 * v1, m2 * v2, m3 * v3
                elif store_slope:
                    rows[TILE + j] = slope(z0, v0)
                    rows[(kinds + 1) * TILE + j] = slope(z1, v1)
                    rows[(2 * kinds + 1) * TILE + j] = slope(z2, v2)
                    rows[(3 * kinds + 1) * TILE + j] = slope(z3, v3)
                rows[j] = v0
                rows[kinds * TILE + j] = v1
                rows[2 * kinds * TILE + j] = v2
                rows[3 * kinds * TILE + j] = v3
                f0 += a[j] * v0
                f1 += a[j] * v1
                f2 += a[j] * v2
                f3 += a[j] * v3
            f[i], f[i + 1], f[i + 2], f[i + 3] = f0, f1, f2, f3

    return forward


def _make_backward(act: Scalars, kinds: int, r1: bool) -> Any:
    slope = act.slope
    store_slope = kinds > 1

    @inner
    def backward(tiles, tile, count, e, x0, x1, kept_rows, penalty):
        """Fill a tile's ga, g0, g1 from the residuals e (n,); with R_1, penalty (n,) is 0 on padded samples."""
        t = tiles[tile * ROWS * TILE : (tile + 1) * ROWS * TILE]
        for j in range(3 * TILE, ROWS * TILE):
            t[j] = 0
        for i in range(0, e.size, 4):
            rows = kept_rows[(tile * e.size + i) * kinds * TILE : (tile * e.size + i + 4) * kinds * TILE]
            e0, e1, e2, e3 = e[i], e[i + 1], e[i + 2], e[i + 3]
            x00, x01, x02, x03 = x0[i], x0[i + 1], x0[i + 2], x0[i + 3]
            x10, x11, x12, x13 = x1[i], x1[i + 1], x1[i + 2], x1[i + 3]
            p0, p1, p2, p3 = penalty[i], penalty[i + 1], penalty[i + 2], penalty[i + 3]
            for j in range(count):
                v0, v1 = rows[j], rows[kinds * TILE + j]
                v2, v3 = rows[2 * kinds * TILE + j], rows[3 * kinds * TILE + j]
                if store_slope:
                    d0, d1 = rows[TILE + j], rows[(kinds + 1) * TILE + j]
                    d2, d3 = rows[(2 * kinds + 1) * TILE + j], rows[(3 * kinds + 1) * TILE + j]
                else:
                    d0, d1, d2, d3 = slope(v0, v0), slope(v1, v1), slope(v2, v2), slope(v3, v3)
                if r1:
                    # R_1 adds v u_ij to the residual that neuron j sees
                    r0, r1_, r2, r3 = e0 + p0 * t[j] * v0, e1 + p1 * t[j] * v1, e2 + p2 * t[j] * v2, e3 + p3 * t[j] * v3
                else:
                    r0, r1_, r2, r3 = e0, e1, e2, e3
                t[3 * TILE + j] += (r0 * v0 + r1_ * v1) + (r2 * v2 + r3 * v3)
                d0, d1, d2, d3 = r0 * d0, r1_ * d1, r2 * d2, r3 * d3
                t[4 * TILE + j] += (d0 * x00 + d1 * x01) + (d2 * x02 + d3 * x03)
                t[5 * TILE + j] += (d0 * x10 + d1 * x11) + (d2 * x12 + d3 * x13)

    return backward


def _make_apply(update: Any, sgd: bool, decays: str) -> Any:
    coupled, decoupled = decays == "coupled", decays == "decoupled"

    @inner
    def apply(state, gradient, kept, count, tiles, lr, constants, decay):
        """One update of the optimizer from the gradients that the tiles hold for the kept neurons."""
        if not sgd:
            gradient[:] = 0
        for first in range(0, count, TILE):
            tile = first // TILE
            ga, g0, g1 = row(tiles, tile * ROWS + 3), row(tiles, tile * ROWS + 4), row(tiles, tile * ROWS + 5)
            for j in range(min(TILE, count - first)):
                neuron = kept[first + j]
                a = state[0, neuron]
                if sgd:
                    state[0, neuron] = a - lr * ga[j]
                    state[1, neuron] -= lr * (a * g0[j])
                    state[2, neuron] -= lr * (a * g1[j])
                else:
                    gradient[0, neuron] = ga[j]
                    gradient[1, neuron] = a * g0[j]
                    gradient[2, neuron] = a * g1[j]
        if not sgd:
            last = state.shape[0] - 3
            for k in range(3):
                theta, g, u, v = state[k], gradient[k], state[3 + k], state[last + k]
                if coupled:
                    for j in range(theta.size):
                        g[j] += decay * theta[j]
                if decoupled:
                    for j in range(theta.size):
                        theta[j] -= lr * decay * theta[j]
                for j in range(theta.size):
                    theta[j], u[j], v[j] = update(theta[j], u[j], v[j], g[j], lr, constants)

    return apply


@inner
def residuals(f, y, samples, gain, share):
    """Turn f (padded) into e · gain · share."""
    for i in range(samples):
        f[i] = (gain * f[i] - y[i]) * gain * share
    for i in range(samples, f.size):
        f[i] = 0


def _make_residuals(loss: str, real: type) -> Any:
    """`residuals` for any loss."""
    if loss == "squared":
        return residuals
    of_sample = losses.residual(loss, inner, real)

    @inner
    def residuals_of(f, y, samples, gain, share):
        for i in range(samples):
            e = f[i : i + 1]
            e[0] *= gain
            of_sample(e, y[i : i + 1], e)
            e[0] *= gain * share
        for i in range(samples, f.size):
            f[i] = 0

    return residuals_of


@inner
def load(theta, moments, inputs, state):
    """Put theta (P,) and moments (k, P) of m neurons into the rows of `state`."""
    width = theta.size // (1 + inputs)
    for j in range(width):
        state[0, j] = theta[j]
        for k in range(moments.shape[0]):
            state[3 * k + 3, j] = moments[k, j]
    for d in range(inputs):
        for j in range(width):
            state[1 + d, j] = theta[width + j * inputs + d]
            for k in range(moments.shape[0]):
                state[3 * k + 4 + d, j] = moments[k, width + j * inputs + d]


@inner
def store(theta, moments, inputs, state):
    """The inverse of `load`."""
    width = theta.size // (1 + inputs)
    for j in range(width):
        theta[j] = state[0, j]
        for k in range(moments.shape[0]):
            moments[k, j] = state[3 * k + 3, j]
    for d in range(inputs):
        for j in range(width):
            theta[width + j * inputs + d] = state[1 + d, j]
            for k in range(moments.shape[0]):
                moments[k, width + j * inputs + d] = state[3 * k + 4 + d, j]


class Room(NamedTuple):
    """The arrays that one member's training works in."""

    state: Any  # (9, m rounded up to blocks of 4)
    gradient: Any  # (3, m), empty for SGD
    tiles: Any
    rows: Any
    kept: Any  # (m + 4,) numbers of the kept neurons
    words: Any  # drawn for masks
    lanes: Any
    batch_words: Any  # drawn for minibatches
    batch_lanes: Any
    chosen: Any  # (B,) the step's samples
    order: Any  # (n,)
    y: Any  # (B,), then rows of B rounded up to 4:
    x0: Any
    x1: Any
    f: Any  # outputs, then scaled residuals
    penalty: Any  # weight of R_1 in the residuals


@inner
def make_room(theta, inputs, samples, batch_size, kinds, sgd, sample):
    """Room for a member of parameters theta (P,)."""
    real = theta.dtype
    width = theta.size // (1 + inputs)
    padded_width, padded_batch = (width + 3) // 4 * 4, (batch_size + 3) // 4 * 4
    tiles = (padded_width + TILE - 1) // TILE
    columns = np.zeros((4, padded_batch), real)
    return Room(
        np.zeros((9, padded_width), real),
        np.zeros((0 if sgd else 3, padded_width), real),
        np.zeros(tiles * ROWS * TILE, real),
        np.zeros(tiles * padded_batch * kinds * TILE, real),
        np.arange(width + 4),
        np.empty(4 * LANES, np.uint64),
        lanes_over(min(padded_width // 4, LANES), 1 if sample else 2),
        np.empty(4 * LANES, np.uint64),
        lanes_over(LANES, 1),
        np.arange(batch_size),
        np.arange(samples),
        np.zeros(batch_size, real),
        columns[0],
        columns[1],
        columns[2],
        columns[3],
    )


@inner
def draw_samples(room, run, t, member):
    """Choose the samples of step t of this call."""
    words, lanes, step = room.batch_words, room.batch_lanes, run.first_step + t
    if run.epochs:
        draw_epoch(room.chosen, room.order, words, lanes, step, t == 0, member, run.key)
    else:
        draw_batch(room.chosen, room.order, words, lanes, run.replace, step, member, run.key)


@inner
def take_batch(x, y, room):
    """Copy the chosen samples, of one or two inputs, into the room."""
    for i in range(room.chosen.size):
        sample = room.chosen[i]
        room.y[i] = y[sample]
        room.x0[i] = x[sample, 0]
        if x.shape[1] == 2:
            room.x1[i] = x[sample, 1]


@inner
def fill_factors(room, width, mask):
    """The sample-mask factors of all tiles, 0 for neurons beyond the width; its factor for all if `mask` draws none."""
    padded_width = (width + 3) // 4 * 4
    for first in range(0, padded_width, TILE):
        blocks = min(TILE, padded_width - first) // 4
        ahead = LANES // blocks if padded_width <= TILE else 1  # samples drawn at a time
        for i in range(room.chosen.size):
            factors = row(room.rows, (first // TILE * room.f.size + i) * 3 + 2)
            if mask.drawn:
                draw_factors(factors, room.words, room.lanes, blocks, first // 4, i, i % ahead, mask)
            else:
                factors[: 4 * blocks] = mask.factor
            for k in range(width - (first + 4 * blocks - 4), 4):
                factors[k * blocks + blocks - 1] = 0


@cache
def build(
    activation: str, loss: str, mask: str, objective: str, optimizer: str, minibatch: bool, real: type, decays: str = ""
) -> Any:
    """The kernel of one configuration: `train(theta, moments, diverged, members, data, run)`.

    theta (M, P), moments (M, k, P), diverged (M,): as in `contract.step.Ensemble`, changed in place. members,
    run: `arguments.Members` and `Run`. data: x (n, D), y (n,).
    """
    act = scalars(activation, scalar, real)
    sample, draws = mask == "sample", objective == "dropout"
    sgd = optimizer == "sgd" and not decays  # the neurons that are dropped stay as they are
    kinds = 3 if sample else (1 if act.from_value else 2)
    forward, backward = _make_forward(act, kinds), _make_backward(act, kinds, objective == "risk+r1")
    apply, adam = _make_apply(optimizers.update(optimizer, scalar), sgd, decays), optimizer == "adam"
    residuals_of = _make_residuals(loss, real)
    limit, largest = limits(real)

    @inner
    def good(state):
        """Whether a member with these rows has not diverged."""
        return within(state[:3].reshape(-1), limit) and (not adam or within(state[6:].reshape(-1), largest))

    @inner
    def train_member(theta, moments, rates, chances, member, data, run):
        """All steps of one member; returns the step at which it diverged, or -1."""
        x, y = data
        threshold, factor, key, batch_size = chances.threshold, chances.factor, run.key, run.batch_size
        inputs, width = x.shape[1], theta.size // (1 + x.shape[1])
        room = make_room(theta, inputs, x.shape[0], batch_size, kinds, sgd, sample)
        load(theta, moments, inputs, room.state)
        always = threshold == np.uint64(0xFFFFFFFF) or not draws
        gain = run.scale if sample or not draws else run.scale * factor
        share = real(1) / real(batch_size)
        room.penalty[:batch_size] = chances.variance * gain * gain * share
        ahead = LANES // min((width + 3) // 4, LANES) if width <= TILE else 1  # steps drawn at a time
        count = order_blocks(room.kept, width) if sample else width
        if sample and always:
            fill_factors(room, width, MaskDraw(threshold, real(1), False, 0, member, key))
        take_batch(x, y, room)
        for t in range(run.constants.shape[0]):
            step, lr = run.first_step + t, lr_of(rates, t)
            if minibatch:
                draw_samples(room, run, t, member)
                take_batch(x, y, room)
            if sample and not always:
                fill_factors(room, width, MaskDraw(threshold, factor, True, step, member, key))
            elif not always:
                count = draw_kept(room.kept, room.words, room.lanes, width, threshold, step, t % ahead, member, key)
            room.f[:] = 0
            for first in range(0, count, TILE):
                inside = min(TILE, count - first)
                gather(room.state, room.kept, first, inside, room.tiles, first // TILE)
                forward(room.tiles, first // TILE, padded(inside), room.x0, room.x1, room.rows, room.f)
            residuals_of(room.f, room.y, batch_size, gain, share)
            for first in range(0, count, TILE):
                inside = padded(min(TILE, count - first))
                backward(room.tiles, first // TILE, inside, room.f, room.x0, room.x1, room.rows, room.penalty)
            apply(room.state, room.gradient, room.kept, count, room.tiles, lr, run.constants[t], run.decay)
            if not good(room.state):
                store(theta, moments, inputs, room.state)
                return step
        store(theta, moments, inputs, room.state)
        return -1

    @kernel("training")
    def train(theta, moments, diverged, members, data, run):
        for k in numba.prange(theta.shape[0]):
            if diverged[k] < 0:
                chances = chances_of(members, k)
                diverged[k] = train_member(theta[k], moments[k], members.lr[k], chances, members.number[k], data, run)

    return train
