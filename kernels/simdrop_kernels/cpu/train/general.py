"""CPU kernel for every step that `fused` and `tiled` do not run: all kinds of noise, and frozen weights.

One kernel for all of them: what varies is looked up while it runs (`Knobs`), and only the activation, the optimizer and
the precision are compiled in. `reference.train` tells what a step does; here it is done member by member.

Legend: B samples of the batch; x (B, D), y (B, c); w (m, D) the input weights under DropConnect; h, s (B, m) values and
slopes; factors (1 or B, m) of a dropout mask; e (B, c) residuals, scaled such that no further factor is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ...contract.layout import frozen
from ...contract.step import Step, limits, svag_weights
from ...mathematics import rng
from ...mathematics.activations.base import Scalars
from ...mathematics.activations.table import scalars
from ...mathematics.losses import table as losses
from ...mathematics.optimizers import table as optimizers
from ..compile import inlined, inner, kernel, leaf, scalar
from ..draws import LANES, draw_batch, draw_epoch, draw_normals, draw_rows, lanes_over
from ..limits import within
from ..products import by_columns, by_rows, multiply
from .arguments import chances_of, lr_of
from .general_mean import add_average, collect, make_mean, residuals

_STEP_MASK = np.uint64(rng.STREAM_STEP_MASK << 28)
_SAMPLE_MASK = np.uint64(rng.STREAM_SAMPLE_MASK << 28)
_STEP_NORMAL = np.uint64(rng.STREAM_STEP_NORMAL << 28)
_SAMPLE_NORMAL = np.uint64(rng.STREAM_SAMPLE_NORMAL << 28)
_STEP_FORWARD = np.uint64(rng.STREAM_STEP_FORWARD << 28)
_SAMPLE_FORWARD = np.uint64(rng.STREAM_SAMPLE_FORWARD << 28)
_STEP_FORWARD_NORMAL = np.uint64(rng.STREAM_STEP_FORWARD_NORMAL << 28)
_SAMPLE_FORWARD_NORMAL = np.uint64(rng.STREAM_SAMPLE_FORWARD_NORMAL << 28)
_LABEL = np.uint64(rng.STREAM_LABEL << 28)
_PARAMETER = np.uint64(rng.STREAM_PARAMETER << 28)
_CONNECT = np.uint64(rng.STREAM_CONNECT << 28)


class Knobs(NamedTuple):
    """A step as numbers."""

    sample: bool  # a mask for each sample
    gaussian: bool
    masked: bool  # dropout at all
    placed: bool  # other factors in the backward pass than in the forward pass
    independent: bool  # those of the forward pass being drawn for it
    on_update: bool  # instead of the forward pass
    averaged: bool  # R_1 in the place of masks
    masks: int
    label: float
    parameter: float
    connected: bool
    connect_threshold: np.uint64
    connect_factor: float
    random: bool  # draws at all, unless part "drift"
    centred: bool  # takes or subtracts the mean: part "drift" or "noise"
    draws: int
    weight: float
    other_weight: float  # of the second draw
    frozen_from: int
    frozen_to: int

    @classmethod
    def of(cls, step: Step, x: NDArray[Any], y: NDArray[Any], theta: NDArray[Any]) -> Knobs:
        """Those of `step` for x (n, D), y (n, c), theta (M, P)."""
        network, noise, fixed = step.network, step.noise, frozen(step.network, x, y, theta)
        weight, other_weight = svag_weights(step.svag) if step.svag else (1.0, 0.0)
        start, stop, _ = fixed.indices(theta.shape[1])
        return cls(
            sample=network.mask == "sample",
            gaussian=noise.gaussian,
            masked=step.objective == "dropout",
            placed=noise.place != "both",
            independent=noise.place == "independent",
            on_update=noise.place == "update",
            averaged=step.objective == "risk+r1",
            masks=noise.masks,
            label=float(noise.label),
            parameter=float(noise.parameter),
            connected=noise.connect < 1,
            connect_threshold=np.uint64(rng.keep_threshold(noise.connect)),
            connect_factor=1 / noise.connect,
            random=noise.part != "drift",
            centred=noise.part != "both",
            draws=2 if step.svag else 1,
            weight=weight,
            other_weight=other_weight,
            frozen_from=start,
            frozen_to=stop,
        )


class Room(NamedTuple):
    """The arrays that one member's training works in."""

    x: Any
    y: Any
    w: Any
    kept: Any  # (m, D) DropConnect's factors
    h: Any
    s: Any
    by_h: Any
    by_z: Any  # (B, m)
    masked: Any  # (B, m) h under a mask
    factors: Any
    backward: Any  # of the backward pass, where they are others
    e: Any
    f: Any
    by_a: Any
    part_a: Any  # (c, m)
    by_w: Any  # (m, D)
    gradient: Any  # (P,)
    chosen: Any  # (B,) the step's samples
    order: Any  # (n,)
    words: Any  # one draw of LANES blocks
    lanes: Any  # that the draw fills
    batch_lanes: Any
    drawn: Any  # words, then numbers made of them
    normal: Any


@inner
def make_room(theta, x, y, batch_size):
    """Room for parameters theta (P,)."""
    real = theta.dtype
    samples, inputs, outputs = x.shape[0], x.shape[1], y.shape[1]
    width = theta.size // (inputs + outputs)
    most = max(theta.size + 4, batch_size * max(width + 4, outputs + 4))
    square = (batch_size, width)
    return Room(
        np.empty((batch_size, inputs), real),
        np.empty((batch_size, outputs), real),
        np.empty((width, inputs), real),
        np.ones((width, inputs), real),
        np.empty(square, real),
        np.empty(square, real),
        np.empty(square, real),
        np.empty(square, real),
        np.empty(square, real),
        np.ones(square, real),
        np.ones(square, real),
        np.empty((batch_size, outputs), real),
        np.empty((batch_size, outputs), real),
        np.empty((outputs, width), real),
        np.empty((outputs, width), real),
        np.empty((width, inputs), real),
        np.empty(theta.size, real),
        np.arange(batch_size),
        np.arange(samples),
        np.empty(4 * LANES, np.uint64),
        np.zeros(3 * LANES, np.uint64),
        lanes_over(LANES, 1),
        np.empty(most, np.uint64),
        np.empty(most),
    )


@leaf
def copy_rows(target, source, chosen):
    """Put the chosen rows of `source` into `target`: element by element, as copying slices allocates."""
    for i in range(chosen.size):
        for d in range(source.shape[1]):
            target[i, d] = source[chosen[i], d]


@inlined
def take_samples(room, x, y, knobs, whole, run, number, member):
    """The minibatch and its targets' noise of draw `number`."""
    real, key = room.x.dtype.type, run.key
    if run.epochs:  # one draw a step
        fresh = number == run.first_step
        draw_epoch(room.chosen, room.order, room.words, room.batch_lanes, number, fresh, member, key)
    elif not whole:
        draw_batch(room.chosen, room.order, room.words, room.batch_lanes, run.replace, number, member, key)
    copy_rows(room.x, x, room.chosen)
    copy_rows(room.y, y, room.chosen)
    if knobs.label > 0:
        rows, outputs = room.y.shape
        columns = draw_normals(
            room.normal, room.drawn, room.words, room.lanes, rows, outputs, _LABEL, number, member, key
        )
        for i in range(rows):
            for o in range(outputs):
                room.y[i, o] += real(knobs.label * room.normal[i * columns + o])


@leaf
def drop_inputs(room, w, knobs, number, member, key):
    """The input weights under the DropConnect mask of draw `number`."""
    real = w.dtype.type
    inputs = w.shape[1]
    draw_rows(room.drawn, room.words, room.lanes, 1, w.size, _CONNECT, number, member, key)
    for j in range(w.shape[0]):
        for d in range(inputs):
            kept = room.drawn[j * inputs + d] <= knobs.connect_threshold
            room.kept[j, d] = real(knobs.connect_factor) if kept else real(0)
            room.w[j, d] = w[j, d] * room.kept[j, d]


@inlined
def draw_factors(room, factors, knobs, chances, number, member, key, own):
    """Fill factors (B, m) of dropout mask `number`, the same in all rows for step masks.

    own: those of the forward pass, where it has masks of its own
    """
    real = room.h.dtype.type
    samples, width = factors.shape
    rows = samples if knobs.sample else 1
    if knobs.gaussian:
        stream = _SAMPLE_NORMAL if knobs.sample else _STEP_NORMAL
        if own:
            stream = _SAMPLE_FORWARD_NORMAL if knobs.sample else _STEP_FORWARD_NORMAL
        columns = draw_normals(
            room.normal, room.drawn, room.words, room.lanes, rows, width, stream, number, member, key
        )
        for i in range(rows):
            for j in range(width):
                factors[i, j] = real(1 + chances.deviation * room.normal[i * columns + j])
    else:
        threshold, factor = chances.threshold, chances.factor
        stream = _SAMPLE_MASK if knobs.sample else _STEP_MASK
        if own:
            stream = _SAMPLE_FORWARD if knobs.sample else _STEP_FORWARD
        columns = draw_rows(room.drawn, room.words, room.lanes, rows, width, stream, number, member, key)
        for i in range(rows):
            for j in range(width):
                factors[i, j] = factor if room.drawn[i * columns + j] <= threshold else real(0)
    for i in range(rows, samples):
        for j in range(width):
            factors[i, j] = factors[0, j]


@leaf
def place_factors(room, knobs, chances, number, member, key):
    """The factors of forward and backward pass where they differ; those of dropout are in the room."""
    one, on_update = room.h.dtype.type(1), knobs.on_update or knobs.independent
    for i in range(room.factors.shape[0]):
        for j in range(room.factors.shape[1]):
            room.backward[i, j] = room.factors[i, j] if on_update else one
            room.factors[i, j] = one if on_update else room.factors[i, j]
    if knobs.independent:
        draw_factors(room, room.factors, knobs, chances, number, member, key, True)


@leaf
def draw_parameter(room, knobs, weight, number, member, key):
    """Add `weight` times the noise on the gradient of draw `number`."""
    real, count = room.gradient.dtype.type, room.gradient.size
    draw_normals(room.normal, room.drawn, room.words, room.lanes, 1, count, _PARAMETER, number, member, key)
    for k in range(count):
        room.gradient[k] += weight * real(knobs.parameter * room.normal[k])


def _make_residuals(loss: str, real: type) -> Any:
    """`general_mean.residuals` for any loss."""
    if loss == "squared":
        return residuals
    of_sample = losses.residual(loss, leaf, real)

    @leaf
    def residuals_of(f, y, e, scale):
        share = scale / f.dtype.type(f.shape[0])
        for i in range(f.shape[0]):
            for o in range(f.shape[1]):
                e[i, o] = scale * f[i, o]
            of_sample(e[i], y[i], e[i])
            for o in range(f.shape[1]):
                e[i, o] *= share

    return residuals_of


def _make_add_mask(loss: str, real: type) -> Any:
    residuals_of = _make_residuals(loss, real)

    @inlined
    def add_mask(room, a, scale, backward, placed):
        """Add the gradients of one mask, whose factors are in the room, to by_a and by_z.

        backward (B, m): the factors of the backward pass; placed: whether they are others than the forward pass has
        """
        h, s, masked, factors = room.h, room.s, room.masked, room.factors
        for i in range(h.shape[0]):
            for j in range(h.shape[1]):
                masked[i, j] = h[i, j] * factors[i, j]
        by_rows(masked, a, room.f)
        residuals_of(room.f, room.y, room.e, scale)
        multiply(room.e, a, room.by_h)
        if placed:
            for i in range(h.shape[0]):
                for j in range(h.shape[1]):
                    masked[i, j] = h[i, j] * backward[i, j]
        by_columns(room.e, masked, room.part_a)
        for o in range(a.shape[0]):
            for j in range(a.shape[1]):
                room.by_a[o, j] += room.part_a[o, j]
        for i in range(h.shape[0]):
            for j in range(h.shape[1]):
                room.by_z[i, j] += room.by_h[i, j] * s[i, j] * backward[i, j]

    @leaf
    def add_placed_mask(room, a, scale):
        add_mask(room, a, scale, room.backward, True)

    return add_mask, add_placed_mask


def make_gradient(act: Scalars, loss: str = "squared", real: type = np.float64) -> Any:
    """The functions that add the gradient under one draw of all noise, and the mean gradient."""
    value, slope = act.value, act.slope
    add_mask, add_placed_mask = _make_add_mask(loss, real)

    @leaf
    def pass_on(x, w, h, s):
        by_rows(x, w, h)
        for i in range(h.shape[0]):
            for j in range(h.shape[1]):
                z = h[i, j]
                h[i, j] = value(z)
                s[i, j] = slope(z, h[i, j])

    @inlined
    def look(room, w):
        """Fill h and s for the input weights w, and empty by_a and by_z."""
        pass_on(room.x, w, room.h, room.s)
        room.by_a[:] = 0
        room.by_z[:] = 0

    @inlined
    def add_draw(room, a, w, weight, data, knobs, chances, number, member, run):
        """Add `weight` times the gradient under draw `number` of all noise."""
        key, scale = run.key, run.scale
        real = w.dtype.type
        whole = room.chosen.size == room.order.size and not run.replace
        take_samples(room, data[0], data[1], knobs, whole, run, number, member)
        if knobs.connected:
            drop_inputs(room, w, knobs, number, member, key)
            look(room, room.w)
        else:
            look(room, w)
        if knobs.averaged:
            add_average(room, a, scale, chances.variance)
        else:
            for r in range(knobs.masks):
                if knobs.masked:
                    which = number * knobs.masks + r
                    draw_factors(room, room.factors, knobs, chances, which, member, key, False)
                if knobs.placed:
                    place_factors(room, knobs, chances, number * knobs.masks + r, member, key)
                    add_placed_mask(room, a, scale)
                else:
                    add_mask(room, a, scale, room.factors, False)
        collect(room, weight / real(knobs.masks), knobs.connected)
        if knobs.parameter > 0:
            draw_parameter(room, knobs, weight, number, member, key)

    return add_draw, make_mean(look)


def _make_apply(update: Any, vectors: int, real: type) -> Any:
    limit, largest = limits(real)

    @inlined
    def apply(theta, moments, gradient, lr, constants):
        """The update of all parameters; returns whether the member has not diverged."""
        u, v = 0 * lr, 0 * lr
        for k in range(theta.size):
            if vectors > 0:
                u, v = moments[0, k], moments[vectors - 1, k]
            theta[k], u, v = update(theta[k], u, v, gradient[k], lr, constants)
            if vectors > 0:
                moments[0, k] = u
            if vectors > 1:
                moments[1, k] = v
        return within(theta, limit) and (vectors < 2 or within(moments[vectors - 1], largest))

    return apply


@cache
def build(activation: str, loss: str, optimizer: str, real: type, decays: str = "") -> Any:
    """The kernel: `train(theta, moments, diverged, members, data, knobs, run)`.

    Arguments as `tiled.build`'s, and `Knobs`.
    """
    add_draw, add_mean = make_gradient(scalars(activation, scalar, real), loss, real)
    apply = _make_apply(optimizers.update(optimizer, scalar), optimizers.OPTIMIZERS[optimizer].moments, real)
    coupled, decoupled = decays == "coupled", decays == "decoupled"

    @leaf
    def decay_trained(theta, gradient, knobs, lr, decay):
        """What weight decay changes before the update, of the weights that are trained."""
        for k in range(theta.size):
            if knobs.frozen_from <= k < knobs.frozen_to:
                continue
            if coupled:
                gradient[k] += decay * theta[k]
            else:
                theta[k] -= lr * decay * theta[k]

    @inner
    def train_member(theta, moments, rates, chances, member, data, knobs, run):
        """All steps of one member; returns the step at which it diverged, or -1."""
        x, y = data
        cut = theta.size // (x.shape[1] + y.shape[1]) * y.shape[1]
        a, w = theta[:cut].reshape(y.shape[1], -1), theta[cut:].reshape(-1, x.shape[1])
        room = make_room(theta, x, y, run.batch_size)
        full = make_room(theta, x, y, x.shape[0] if knobs.centred else 1)
        for t in range(run.constants.shape[0]):
            room.gradient[:] = 0
            lr = lr_of(rates, t)
            if knobs.random:
                for q in range(knobs.draws):
                    number = knobs.draws * (run.first_step + t) + q
                    weight = real(knobs.other_weight if q else knobs.weight)
                    add_draw(room, a, w, weight, data, knobs, chances, number, member, run)
            if knobs.centred:
                sign = real(-1 if knobs.random else 1)
                variance = 0 * chances.variance if knobs.placed else chances.variance  # there is no R_1 then
                add_mean(full, room.gradient, a, w, sign, data, knobs, run.scale, variance)
            room.gradient[knobs.frozen_from : knobs.frozen_to] = 0
            if (coupled or decoupled) and not (knobs.random and knobs.centred):  # the noise alone has none
                decay_trained(theta, room.gradient, knobs, lr, run.decay)
            if not apply(theta, moments, room.gradient, lr, run.constants[t]):
                return run.first_step + t
        return -1

    @kernel("training")
    def train(theta, moments, diverged, members, data, knobs, run):
        for k in numba.prange(theta.shape[0]):
            if diverged[k] < 0:
                chances = chances_of(members, k)
                diverged[k] = train_member(
                    theta[k], moments[k], members.lr[k], chances, members.number[k], data, knobs, run
                )

    return train
