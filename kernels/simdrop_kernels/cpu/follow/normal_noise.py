"""The noise of a path: normal numbers in the place of products of dropout factors; formulas in the package's text."""

from __future__ import annotations

import numpy as np

from ...contract.equation import ROLE_BATCH, ROLE_LABEL, ROLE_MASK, ROLE_PARAMETER, SINGULAR
from ..compile import leaf
from ..draws import LANES
from ..normals import draw_normals
from .neuron_pairs import BATCH, FRONT, add_pairs, copy
from .workspace import CHUNK, dot, finish, through_inputs


@leaf
def draw_span(z, room, first, count, row, clock):
    """Draw the numbers first, ..., first + count - 1 of a row; returns where in z the first is."""
    block, end = first // 4, (first + count + 3) // 4
    for start in range(block, end, LANES):
        place = 4 * (start - block)
        tile = z[place : place + 4 * LANES]
        blocks = min(LANES, end - start)
        draw_normals(tile, room.words, room.lanes_long, blocks, start, row, clock.step, clock.member, clock.key)
    return first - 4 * block


@leaf
def draw_row(z, room, lanes, count, role, row, clock):
    """The `count` numbers of a row, of rows that are asked for in order; returns where in z the first is.

    Where several rows fit the lanes they are drawn at once.
    """
    blocks = (count + 3) // 4
    if blocks > LANES:
        return draw_span(z, room, 0, count, role + row, clock)
    offset = row % (LANES // blocks)
    if offset == 0:
        draw_normals(z[: 4 * LANES], room.words, lanes, LANES, 0, role + row, clock.step, clock.member, clock.key)
    return 4 * blocks * offset


@leaf
def load_group(room, sizes, first):
    """Put a group's u, each row twice, and T = 0."""
    width = sizes.width
    room.t[:] = 0
    for r in range(sizes.grouped * sizes.outputs):
        i, o = first + r // sizes.outputs, r % sizes.outputs
        u, b, h = room.u[r], room.b[o], room.h[i]
        for j in range(width):
            u[FRONT + j] = b[j] * h[j]
        copy(u, FRONT + width, u, FRONT, width)


@leaf
def spread(target, drawn, start, width, inside):
    """Put `inside` of the numbers drawn[start:] and zeros for the rest of the width into a row, twice."""
    copy(target, FRONT, drawn, start, inside)
    for j in range(inside, width):
        target[FRONT + j] = 0
    copy(target, FRONT + width, drawn, start, inside)
    for j in range(inside, width):
        target[FRONT + width + j] = 0


@leaf
def pairs_by_distance(room, sizes, row, clock):
    """Fill T with Σ_{k≠j} ξ_jk u_ρk, and the first of `rows` with ξ_k."""
    width, half = sizes.width, sizes.width // 2
    at = draw_span(room.z, room, 0, width, row, clock)
    for j in range(width):
        room.rows[0, j] = room.z[at + j]
    at_a_time = max(CHUNK // width // BATCH, 1) * BATCH
    for first in range(1, half + 1, at_a_time):
        last = min(first + at_a_time, half + 1)
        at = draw_span(room.z, room, first * width, (last - first) * width, row, clock)
        for begin in range(first, last, BATCH):
            for apart in range(begin, begin + BATCH):
                inside = 0 if apart > half else (half if 2 * apart == width else width)  # the farthest are met twice
                start = at + (min(apart, last - 1) - first) * width
                spread(room.pairs[apart - begin], room.z, start, width, inside)
            add_pairs(room.t, room.u, room.pairs, width, begin)


@leaf
def pairs_of_a_row(t, u, zeta, common):
    """Fill T with z of a row u (m,) by itself, from ζ_k and ζ_0."""
    size, largest = dot(u, u), 0
    for j in range(u.size):
        if abs(u[j]) > abs(u[largest]):
            largest = j
    zero, one = 0 * common, 0 * common + 1
    for j in range(u.size):
        t[j] = np.sqrt(max(size - 2 * u[j] * u[j], zero)) * zeta[j] + u[j] * common
    left = size - 2 * u[largest] * u[largest]
    if left < 0:
        least, r, given = u.dtype.type(np.finfo(u.dtype).eps) * size, zero, zero
        for j in range(u.size):
            per_d = zero if j == largest else u[j] / max(size - 2 * u[j] * u[j], least)
            r += u[j] * per_d
            given += t[j] * per_d
        rest = left + u[largest] * u[largest] / (one + r)
        rest = np.sqrt(rest if rest > SINGULAR * least else zero)
        t[largest] = u[largest] * given / (one + r) + rest * zeta[largest]


@leaf
def mask_noise(room, sizes, group, numbers, gaussian, clock, counts):
    """Fill T of a group with what stands for the products of its factors."""
    width, outputs = sizes.width, sizes.outputs
    xi, squares = room.rows[0], room.rows[2]
    if sizes.single:
        at = draw_row(room.z, room, room.lanes, counts[0], ROLE_MASK, group, clock)
        for j in range(width):
            xi[j] = room.z[at + j]
        zeta = room.z[at + width : at + 2 * width]
        pairs_of_a_row(room.t[0][:width], room.u[0, FRONT : FRONT + width], zeta, room.z[at + 2 * width])
        at += 2 * width + 1
    else:
        pairs_by_distance(room, sizes, ROLE_MASK + group, clock)
        if gaussian:
            at = draw_span(room.z, room, width * (width + 1) // 2, width, ROLE_MASK + group, clock)
    for j in range(width):
        squares[j] = numbers.square * room.z[at + j] if gaussian else 0 * numbers.square
    for r in range(sizes.grouped * outputs):
        e = room.e[group * sizes.grouped + r // outputs, r % outputs]
        t, u = room.t[r][:width], room.u[r, FRONT : FRONT + width]
        common, error = numbers.single * dot(u, xi[:width]), numbers.error * e
        for j in range(width):
            own = xi[j] * (error + numbers.own * u[j]) + squares[j] * u[j]
            t[j] = numbers.repeat * (numbers.pair * t[j] + common + own)


@leaf
def other_noise(room, sizes, group, numbers, clock, counts):
    """Add to T of a group what minibatches and noise on the targets bring."""
    width, outputs = sizes.width, sizes.outputs
    for s in range(sizes.grouped):
        i = group * sizes.grouped + s
        if numbers.label != 0:
            at = draw_row(room.z_label, room, room.lanes_label, counts[1], ROLE_LABEL, i, clock)
        for o in range(outputs):
            t, u = room.t[s * outputs + o][:width], room.u[s * outputs + o, FRONT : FRONT + width]
            if numbers.batch != 0:
                for j in range(width):
                    t[j] += room.omega[i] * (room.e[i, o] + numbers.variance * u[j])
            if numbers.label != 0:
                whole = numbers.label * room.z_label[at + o]
                start = at + outputs + o * width
                drawn = room.z_label[start : start + width]
                for j in range(width):
                    t[j] += numbers.repeat * (whole + numbers.label_factor * drawn[j])


@leaf
def draw_omega(room, sizes, batch, clock):
    """Fill c (ω_i - mean of all ω_i)."""
    total = 0 * batch
    for i in range(sizes.samples):
        room.omega[i] = room.z_label[draw_row(room.z_label, room, room.lanes_one, 1, ROLE_BATCH, i, clock)]
        total += room.omega[i]
    for i in range(sizes.samples):
        room.omega[i] = batch * (room.omega[i] - total / sizes.samples)


@leaf
def pull(room, sizes, x, first):
    """Add (Σ over a group of) g_ρj T_ρj to N."""
    pitch, outputs = room.h.shape[1], sizes.outputs
    by_z, zero = room.rows[0][:pitch], x.dtype.type(0)
    for s in range(sizes.grouped):
        h, h1 = room.h[first + s], room.h1[first + s]
        for o in range(outputs):
            t, b, target = room.t[s * outputs + o], room.b[o], room.noise[o]
            for j in range(pitch):
                target[j] += h[j] * t[j]
                by_z[j] = (by_z[j] if o > 0 else zero) + b[j] * t[j] * h1[j]
        through_inputs(room.noise, sizes, x, first + s, by_z)


@leaf
def parameter_noise(room, sizes, size, clock):
    """Add `size` ζ to N: numbers as theta lies."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.weights
    tile = room.z_label[: 4 * LANES]
    for start in range(0, width * (outputs + inputs), 4 * LANES):
        draw_span(tile, room, start, 4 * LANES, ROLE_PARAMETER, clock)
        for p in range(start, min(start + 4 * LANES, width * (outputs + inputs))):
            q, j = p // width, p % width
            if q >= outputs:
                p_w = p - width * outputs
                q, j = outputs + p_w % inputs, p_w // inputs
            room.noise[q, j] += size * tile[p - start]


@leaf
def fill_noise(room, sizes, x, scale, size, numbers, gaussian, train, clock, counts):
    """Fill N with `size` times the noise at the stage's point."""
    room.noise[:] = 0
    if numbers.batch != 0:
        draw_omega(room, sizes, numbers.batch, clock)
    if numbers.variance != 0 or numbers.batch != 0 or numbers.label != 0:
        for group in range(sizes.groups):
            load_group(room, sizes, group * sizes.grouped)
            if numbers.variance != 0:
                mask_noise(room, sizes, group, numbers, gaussian, clock, counts)
            other_noise(room, sizes, group, numbers, clock, counts)
            pull(room, sizes, x, group * sizes.grouped)
    one = room.noise.dtype.type(1)
    finish(room.noise, sizes, scale, size / sizes.samples, 0)
    if numbers.parameter != 0:
        parameter_noise(room, sizes, size * numbers.parameter, clock)
    finish(room.noise, sizes, one, one, train)
