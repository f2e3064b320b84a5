"""CPU kernel for inputs and outputs of any dimension: BLAS on tiles of the kept neurons, or on panels of all of them.

A tile holds up to TILE neurons, whose weights are gathered; see `panels` for the other way and for which is taken. Its
work depends on the mask alone, never on the number of threads: results have the same bits whether members or, where
those are few, tiles are spread over threads.

Legend of one tile of T neurons, B samples: w (T, D), a (c, T) gathered weights; h, s (B, T) values and slopes; f (B, c)
its part of the outputs; gw (T, D), ga (c, T) gradients. e (B, c) are the residuals, scaled such
that no further factor is needed.
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
from ..blas import gemm
from ..compile import inner, kernel, scalar
from ..draws import LANES, TILE, MaskDraw, draw_batch, draw_epoch, draw_kept, lanes_over
from ..limits import within
from . import panels
from .arguments import chances_of, lr_of
from .panels import PANEL

ROWS = 256  # samples that `evaluate` looks at in one piece


@inner
def matrix(flat, rows, columns):
    """The first rows · columns numbers of a flat array as a matrix."""
    return flat[: rows * columns].reshape(rows, columns)


@inner
def gather(a, w, a_all, w_all, kept):
    """Copy the weights of the neurons `kept` into a tile."""
    for j in range(w.shape[0]):
        w[j, :] = w_all[kept[j], :]
        for o in range(a.shape[0]):
            a[o, j] = a_all[o, kept[j]]


@inner
def backward(x, a, h, s, e, ga, gw, back):
    """Fill ga and gw; `back` (B, T) is room for ∂R/∂z."""
    np.dot(e, a, back)
    np.dot(e.T, h, ga)
    for i in range(h.shape[0]):
        bi, si = back[i], s[i]
        for j in range(bi.size):
            bi[j] *= si[j]
    np.dot(back.T, x, gw)


def _make_apply(update: Any, sgd: bool, decays: str) -> Any:
    coupled, decoupled = decays == "coupled", decays == "decoupled"

    @inner
    def apply(a_all, w_all, gradient, ga, gw, kept, lr):
        """SGD: update the neurons of a tile. Else: put their gradients into the whole one (P,)."""
        outputs, width, inputs = a_all.shape[0], w_all.shape[0], w_all.shape[1]
        for j in range(gw.shape[0]):
            neuron = kept[j]
            if sgd:
                for d in range(inputs):
                    w_all[neuron, d] -= lr * gw[j, d]
                for o in range(outputs):
                    a_all[o, neuron] -= lr * ga[o, j]
            else:
                start = (outputs * width) + neuron * inputs
                gradient[start : start + inputs] = gw[j]
                for o in range(outputs):
                    gradient[o * width + neuron] = ga[o, j]

    @inner
    def finish(theta, gradient, moments, lr, constants, decay):
        """The update of all parameters where the optimizer has moments or they decay; the gradient is 0 afterwards."""
        if coupled:
            for k in range(theta.size):
                gradient[k] += decay * theta[k]
        if decoupled:
            for k in range(theta.size):
                theta[k] -= lr * decay * theta[k]
        if not sgd and moments.shape[0] == 0:
            for k in range(theta.size):
                theta[k] -= lr * gradient[k]
                gradient[k] = 0
        elif not sgd:
            last = moments.shape[0] - 1
            u, v = moments[0], moments[last]
            for k in range(theta.size):
                before = v[k]
                theta[k], u[k], after = update(theta[k], u[k], before, gradient[k], lr, constants)
                if last > 0:
                    v[k] = after
                gradient[k] = 0

    return apply, finish


@inner
def residuals(parts, count, y, e, gain, share):
    """Sum the tiles' outputs into e = (f - y) · gain · share."""
    for i in range(e.shape[0]):
        for o in range(e.shape[1]):
            total = 0 * gain
            for tile in range(count):
                total += parts[tile, i, o]
            e[i, o] = (gain * total - y[i, o]) * gain * share


def _make_residuals(loss: str, real: type) -> Any:
    """`residuals` for any loss."""
    if loss == "squared":
        return residuals
    of_sample = losses.residual(loss, inner, real)

    @inner
    def residuals_of(parts, count, y, e, gain, share):
        for i in range(e.shape[0]):
            for o in range(e.shape[1]):
                total = 0 * gain
                for tile in range(count):
                    total += parts[tile, i, o]
                e[i, o] = gain * total
            of_sample(e[i], y[i], e[i])
            for o in range(e.shape[1]):
                e[i, o] *= gain * share

    return residuals_of


class Room(NamedTuple):
    """The arrays that one member's training works in; the first axis of the larger ones is the tile."""

    a: Any
    w: Any
    ga: Any
    gw: Any
    h: Any
    s: Any
    back: Any
    factors: Any  # of sample masks
    parts: Any  # (tiles, B, c) outputs
    e: Any  # (B, c)
    gradient: Any  # (P,), empty for SGD
    kept: Any  # (m + 4,) numbers of the kept neurons
    dropped: Any  # (m,) whether a step mask drops a neuron; for panels alone
    words: Any  # (tiles, 4 · LANES) drawn for masks
    lanes: Any
    batch_words: Any
    batch_lanes: Any
    chosen: Any  # (B,) the step's samples
    order: Any  # (n,)
    x: Any  # (B, D)
    y: Any  # (B, c)


@inner
def make_room(theta, x, y, batch_size, whole, sgd, sample):
    """The fields of Room for parameters theta (P,); the batch is the data itself where that is `whole`.

    A plain tuple: only such a one passes into a parallel loop.
    """
    real = theta.dtype
    samples, inputs, outputs = x.shape[0], x.shape[1], y.shape[1]
    width = theta.size // (inputs + outputs)
    tiles, big = (width + TILE - 1) // TILE, batch_size * TILE
    return (
        np.empty((tiles, outputs * TILE), real),
        np.empty((tiles, inputs * TILE), real),
        np.empty((tiles, outputs * TILE), real),
        np.empty((tiles, inputs * TILE), real),
        np.empty((tiles, big), real),
        np.empty((tiles, big), real),
        np.empty((tiles, big), real),
        np.empty((tiles, big if sample else 0), real),
        np.empty((tiles, batch_size, outputs), real),
        np.empty((batch_size, outputs), real),
        np.zeros(0 if sgd else theta.size, real),
        np.arange(width + 4),
        np.zeros(width, np.bool_),
        np.empty((tiles, 4 * LANES), np.uint64),
        lanes_over(min((width + 3) // 4, LANES), 1 if sample else 2),
        np.empty(4 * LANES, np.uint64),
        lanes_over(LANES, 1),
        np.arange(batch_size),
        np.arange(samples),
        x if whole else np.empty((batch_size, inputs), real),
        y if whole else np.empty((batch_size, outputs), real),
    )


@inner
def take_batch(x, y, room, run, t, member):
    """Draw the minibatch of step t of this call into the room."""
    words, lanes, step = room.batch_words, room.batch_lanes, run.first_step + t
    if run.epochs:
        draw_epoch(room.chosen, room.order, words, lanes, step, t == 0, member, run.key)
    else:
        draw_batch(room.chosen, room.order, words, lanes, run.replace, step, member, run.key)
    for i in range(room.chosen.size):
        room.x[i, :] = x[room.chosen[i], :]
        room.y[i, :] = y[room.chosen[i], :]


def _make_tile_passes(activate: Any, apply: Any) -> Any:
    """The passes over one tile of the kept neurons."""

    @inner
    def forward_tile(room, tile, count, a_all, w_all):
        """Gather one tile and compute its outputs."""
        inputs, outputs, samples = w_all.shape[1], a_all.shape[0], room.e.shape[0]
        first = tile * TILE
        size = min(TILE, count - first)
        a, w = matrix(room.a[tile], outputs, size), matrix(room.w[tile], size, inputs)
        gather(a, w, a_all, w_all, room.kept[first : first + size])
        h, s = matrix(room.h[tile], samples, size), matrix(room.s[tile], samples, size)
        np.dot(room.x, w.T, h)
        activate(h, s)
        np.dot(h, a.T, room.parts[tile])

    @inner
    def backward_tile(room, tile, count, a_all, w_all, lr):
        """The gradient of one tile, handed to the optimizer."""
        inputs, outputs, samples = w_all.shape[1], a_all.shape[0], room.e.shape[0]
        first = tile * TILE
        size = min(TILE, count - first)
        a, ga = matrix(room.a[tile], outputs, size), matrix(room.ga[tile], outputs, size)
        gw = matrix(room.gw[tile], size, inputs)
        h, s = matrix(room.h[tile], samples, size), matrix(room.s[tile], samples, size)
        backward(room.x, a, h, s, room.e, ga, gw, matrix(room.back[tile], samples, size))
        apply(a_all, w_all, room.gradient, ga, gw, room.kept[first : first + size], lr)

    return forward_tile, backward_tile


def _make_panel_passes(activate: Any, sample: bool, sgd: bool) -> Any:
    """The passes over one panel of neurons, kept or not."""

    @inner
    def forward_panel(room, panel, a_all, w_all, mask):
        """The outputs of one panel; `mask` is a `MaskDraw`."""
        width, samples = w_all.shape[0], room.e.shape[0]
        first = panel * PANEL
        last = min(first + PANEL, width)
        one, zero = a_all.dtype.type(1), a_all.dtype.type(0)
        h, s = panels.rows(room.h, first, last, samples), panels.rows(room.s, first, last, samples)
        gemm(h, one, w_all[first:last], False, room.x, True, zero)
        activate(h, s)
        if sample:
            panels.draw(h, s, room.factors, room.words, room.lanes, first, width, mask)
        else:
            panels.drop(h, room.dropped[first:last])
            panels.drop(s, room.dropped[first:last])
        gemm(room.parts[panel], one, h, True, a_all[:, first:last], True, zero)

    @inner
    def backward_panel(room, panel, theta, a_all, w_all, lr, penalty):
        """Update the neurons of one panel (SGD), or add their gradients to the whole one."""
        width, samples, split = w_all.shape[0], room.e.shape[0], a_all.size
        first = panel * PANEL
        last = min(first + PANEL, width)
        into = theta if sgd else room.gradient
        into_a, into_w = into[:split].reshape(a_all.shape), into[split:].reshape(w_all.shape)
        panels.backward(
            panels.rows(room.h, first, last, samples),
            panels.rows(room.s, first, last, samples),
            panels.rows(room.back, first, last, samples),
            room.x,
            room.e,
            a_all[:, first:last],
            into_a[:, first:last],
            into_w[first:last],
            room.dropped[first:last],
            -lr if sgd else a_all.dtype.type(1),
            penalty,
        )

    return forward_panel, backward_panel


def _make_passes(act: Scalars, sample: bool, every: bool, sgd: bool, apply: Any) -> Any:
    """The passes over one part of the neurons: a tile of those that are kept, or where `panelled` a panel.

    Where `every` neuron is visited at every step, there are panels alone.
    """
    activate = panels.make_activate(act)
    forward_panel, backward_panel = _make_panel_passes(activate, sample, sgd)
    if every:

        @inner
        def forward_every(fields, part, count, panelled, a_all, w_all, mask):
            forward_panel(Room(*fields), part, a_all, w_all, mask)

        @inner
        def backward_every(fields, part, count, panelled, theta, a_all, w_all, lr, penalty):
            backward_panel(Room(*fields), part, theta, a_all, w_all, lr, penalty)

        return forward_every, backward_every
    forward_tile, backward_tile = _make_tile_passes(activate, apply)

    @inner
    def forward(fields, part, count, panelled, a_all, w_all, mask):
        if panelled:
            forward_panel(Room(*fields), part, a_all, w_all, mask)
        else:
            forward_tile(Room(*fields), part, count, a_all, w_all)

    @inner
    def backward(fields, part, count, panelled, theta, a_all, w_all, lr, penalty):
        if panelled:
            backward_panel(Room(*fields), part, theta, a_all, w_all, lr, penalty)
        else:
            backward_tile(Room(*fields), part, count, a_all, w_all, lr)

    return forward, backward


def _make_train_member(
    act: Scalars, loss: str, mask: str, objective: str, optimizer: str, real: type, decays: str
) -> Any:
    """The plain function that trains one member; compiled by `build` in one of two ways."""
    sample, draws, r1 = mask == "sample", objective == "dropout", objective == "risk+r1"
    sgd = optimizer == "sgd" and not decays  # the neurons that are dropped stay as they are
    apply, finish = _make_apply(optimizers.update(optimizer, scalar), sgd, decays)
    every = sample or not draws
    forward, backward = _make_passes(act, sample, every, sgd, apply)
    residuals_of = _make_residuals(loss, real)
    (limit, largest), adam = limits(real), optimizer == "adam"

    @inner
    def good(theta, moments):
        """Whether a member with these parameters (P,) and moments (k, P) has not diverged."""
        return within(theta, limit) and (not adam or within(moments[1], largest))

    def train_member(theta, moments, rates, chances, member, data, run):
        """All steps of one member; returns the step at which it diverged, or -1."""
        x, y = data
        threshold, factor, key, batch_size = chances.threshold, chances.factor, run.key, run.batch_size
        inputs, outputs = x.shape[1], y.shape[1]
        width = theta.size // (inputs + outputs)
        split = outputs * width
        a_all, w_all = theta[:split].reshape(outputs, width), theta[split:].reshape(width, inputs)
        whole = batch_size == x.shape[0] and not run.replace
        fields = make_room(theta, x, y, batch_size, whole, sgd, sample)
        room = Room(*fields)
        always = threshold == np.uint64(0xFFFFFFFF) or not draws
        gain = run.scale if sample or not draws else run.scale * factor
        share = real(1) / real(batch_size)
        penalty = chances.variance * gain * gain * share if r1 else real(0)
        ahead = LANES // min((width + 3) // 4, LANES) if width <= TILE else 1  # steps drawn at a time
        count, panelled = width, every or panels.taken(threshold, batch_size, inputs)
        for t in range(run.constants.shape[0]):
            step, lr = run.first_step + t, lr_of(rates, t)
            if not whole:
                take_batch(x, y, room, run, t, member)
            if not sample and not always:
                count = draw_kept(room.kept, room.words[0], room.lanes, width, threshold, step, t % ahead, member, key)
                if panelled:
                    panels.mark(room.dropped, room.kept, count)
            parts = (width + PANEL - 1) // PANEL if panelled else (count + TILE - 1) // TILE
            for part in numba.prange(parts):
                mask = MaskDraw(threshold, factor if draws else real(1), not always, step, member, key)
                forward(fields, part, count, panelled, a_all, w_all, mask)
            residuals_of(room.parts, parts, room.y, room.e, gain, share)
            for part in numba.prange(parts):
                backward(fields, part, count, panelled, theta, a_all, w_all, lr, penalty)
            finish(theta, room.gradient, moments, lr, run.constants[t], run.decay)
            if not good(theta, moments):
                return step
        return -1

    return train_member


@cache
def build(
    activation: str, loss: str, mask: str, objective: str, optimizer: str, real: type, over: str, decays: str = ""
) -> Any:
    """The kernel of one configuration, parallel over "members" or over "tiles"; arguments as `fused.build`'s.

    data: x (n, D) and y (n, c).
    """
    act = scalars(activation, scalar, real)
    plain = _make_train_member(act, loss, mask, objective, optimizer, real, decays)
    train_member = kernel("training")(plain) if over == "tiles" else inner(plain)
    many = numba.prange if over == "members" else range

    def train(theta, moments, diverged, members, data, run):
        for k in many(theta.shape[0]):
            if diverged[k] < 0:
                chances = chances_of(members, k)
                diverged[k] = train_member(theta[k], moments[k], members.lr[k], chances, members.number[k], data, run)

    return kernel("training")(train) if over == "members" else train


@cache
def build_evaluate(activation: str, real: type) -> Any:
    """`evaluate(theta, x, out)`: outputs (M, n, c) of whole networks theta (M, P), without the output scale."""
    value = scalars(activation, scalar, real).value

    @inner
    def evaluate_member(theta, x, out):
        outputs, inputs = out.shape[1], x.shape[1]
        width = theta.size // (inputs + outputs)
        split = outputs * width
        a, w = theta[:split].reshape(outputs, width), theta[split:].reshape(width, inputs)
        h = np.empty((min(ROWS, x.shape[0]), width), real)
        for first in range(0, x.shape[0], ROWS):
            rows = min(ROWS, x.shape[0] - first)
            np.dot(x[first : first + rows], w.T, h[:rows])
            for i in range(rows):
                hi = h[i]
                for j in range(width):
                    hi[j] = value(hi[j])
            np.dot(h[:rows], a.T, out[first : first + rows])

    @kernel("the outputs of networks")
    def evaluate(theta, x, out):
        for k in numba.prange(theta.shape[0]):
            evaluate_member(theta[k], x, out[k])

    return evaluate
