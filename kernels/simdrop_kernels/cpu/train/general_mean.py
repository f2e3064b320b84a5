"""Means over noise for the kernel `general`: the gradient of R_S + R_1, and the mean over DropConnect's masks.

Legend as in `general`; a room is its `Room`. `network.expected` and `connect` hold the formulas.
"""

from __future__ import annotations

from typing import Any

from ..compile import inlined, leaf
from ..products import by_columns, by_rows, multiply


@leaf
def copy_all(target, source):
    """Put a matrix into another: element by element, as copying slices allocates."""
    for i in range(target.shape[0]):
        for d in range(target.shape[1]):
            target[i, d] = source[i, d]


@leaf
def residuals(f, y, e, scale):
    """e = (scale · f - y) · scale / B."""
    share = scale / f.dtype.type(f.shape[0])
    for i in range(f.shape[0]):
        for o in range(f.shape[1]):
            e[i, o] = (scale * f[i, o] - y[i, o]) * share


@leaf
def add_average(room, a, scale, variance):
    """Add the gradients of R_S + R_1 to by_a and by_z."""
    h, s = room.h, room.s
    penalty = variance * scale * scale / h.dtype.type(h.shape[0])
    by_rows(h, a, room.f)
    residuals(room.f, room.y, room.e, scale)
    multiply(room.e, a, room.by_h)
    by_columns(room.e, h, room.part_a)
    for j in range(h.shape[1]):
        size, squares = 0 * penalty, 0 * penalty
        for o in range(a.shape[0]):
            size += a[o, j] * a[o, j]
        for i in range(h.shape[0]):
            room.by_z[i, j] += (room.by_h[i, j] + penalty * size * h[i, j]) * s[i, j]
            squares += h[i, j] * h[i, j]
        for o in range(a.shape[0]):
            room.by_a[o, j] += room.part_a[o, j] + penalty * a[o, j] * squares


@inlined
def collect(room, weight, connected):
    """Add `weight` times the gradient that by_a and by_z make up to the whole one."""
    outputs, width = room.by_a.shape
    inputs = room.x.shape[1]
    by_columns(room.by_z, room.x, room.by_w)
    for o in range(outputs):
        for j in range(width):
            room.gradient[o * width + j] += weight * room.by_a[o, j]
    for j in range(width):
        start = outputs * width + j * inputs
        for d in range(inputs):
            kept = room.kept[j, d] if connected else room.kept.dtype.type(1)
            room.gradient[start + d] += weight * (room.by_w[j, d] * kept)


@leaf
def _weigh(kept, number, inputs, factor):
    """Fill kept (m, D) with mask `number` of the 2^D of a neuron, for all neurons; returns its probability."""
    real = kept.dtype.type
    chance = 1.0
    for d in range(inputs):
        bit = number >> d & 1
        chance *= 1 / factor if bit else 1 - 1 / factor
        kept[:, d] = real(factor) if bit else real(0)
    return real(chance)


def make_mean(look: Any) -> Any:
    """`add_mean`, for the function `look` that fills the room's h and s for input weights."""

    @leaf
    def turn(room, w, number, factor):
        """Look with the input weights under mask `number`; returns its probability."""
        chance = _weigh(room.kept, number, w.shape[1], factor)
        for j in range(w.shape[0]):
            for d in range(w.shape[1]):
                room.w[j, d] = w[j, d] * room.kept[j, d]
        look(room, room.w)
        return chance

    @leaf
    def add_connected(room, gradient, a, w, weight, factor, scale, second):
        """Add `weight` times the mean over DropConnect's masks and dropout's, of second moment `second`."""
        mean, square, others = room.masked, room.factors, room.by_h
        masks = 1 << w.shape[1]
        mean[:] = 0
        square[:] = 0
        for number in range(masks):
            chance = turn(room, w, number, factor)
            for i in range(mean.shape[0]):
                for j in range(mean.shape[1]):
                    mean[i, j] += chance * room.h[i, j]
                    square[i, j] += chance * room.h[i, j] * room.h[i, j]
        size = square[0]  # a neuron's squares are done with when its size comes
        share = scale * scale / mean.dtype.type(mean.shape[0])
        by_rows(mean, a, room.f)
        residuals(room.f, room.y, room.e, scale)
        multiply(room.e, a, others)
        by_columns(room.e, mean, room.part_a)
        for j in range(mean.shape[1]):
            spread = 0 * share
            for i in range(mean.shape[0]):
                spread += second * square[i, j] - mean[i, j] * mean[i, j]
            size[j] = 0 * share
            for o in range(a.shape[0]):
                size[j] += a[o, j] * a[o, j]
                gradient[o * a.shape[1] + j] += weight * (room.part_a[o, j] + share * a[o, j] * spread)
            for i in range(mean.shape[0]):
                others[i, j] -= share * size[j] * mean[i, j]
        for number in range(masks):
            chance = turn(room, w, number, factor)
            for i in range(mean.shape[0]):
                for j in range(mean.shape[1]):
                    room.by_z[i, j] = (others[i, j] + second * share * size[j] * room.h[i, j]) * room.s[i, j]
            by_columns(room.by_z, room.x, room.by_w)
            for j in range(w.shape[0]):
                start = a.size + j * w.shape[1]
                for d in range(w.shape[1]):
                    gradient[start + d] += weight * chance * room.kept[j, d] * room.by_w[j, d]

    @leaf
    def add_mean(room, gradient, a, w, weight, data, knobs, scale, variance):
        """Add `weight` times the mean gradient on all samples, for which the room has space."""
        copy_all(room.x, data[0])
        copy_all(room.y, data[1])
        if knobs.connected:
            second = w.dtype.type(1) + variance
            add_connected(room, gradient, a, w, weight, knobs.connect_factor, scale, second)
            return
        room.gradient[:] = 0
        look(room, w)
        add_average(room, a, scale, variance)
        collect(room, weight, False)
        for k in range(gradient.size):
            gradient[k] += room.gradient[k]

    return add_mean
