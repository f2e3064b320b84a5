"""CPU kernel of the stochastic equations: all steps of a path by one thread, in memory that stays in its cache.

Everything lies in rows over the neurons, padded with zeros to whole vectors: the weights as c + D rows (a_1, ..., a_c,
w_1, ..., w_D), h, σ' and σ'' a row for each sample, T and u a row for each ρ of a group of samples under one mask.
Loops run over whole rows; only the weights' own rows need end at the width, so that the padding stays zero.

Legend: that of the package.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from .. import formulas
from ..accelerate import inner, kernel, scalar
from ..draws import LANES, lanes_over
from .formulas import bend
from .normals import draw_normals
from .pairs import BACK, BATCH, FRONT, ROWS, add_pairs, copy, padded
from .spec import ROLE_BATCH, ROLE_LABEL, ROLE_MASK, ROLE_PARAMETER

DRIFT_ALONE, NOISE_ALONE = 1, 2
OUTPUT_ALONE, INPUT_ALONE = 1, 2
TRAIN = {"both": 0, "output": OUTPUT_ALONE, "input": INPUT_ALONE}
PART = {"both": 0, "drift": DRIFT_ALONE, "noise": NOISE_ALONE}
CHUNK = 4096  # normal numbers of pairs that are drawn at a time, at least a row of them


class Sizes(NamedTuple):
    """Numbers of samples n, outputs c, inputs D, neurons m; groups, samples of a group; whether a row is by itself."""

    samples: int
    outputs: int
    inputs: int
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
    """The numbers of one path: see `spec.Noises`."""

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


class Settings(NamedTuple):
    """What all paths share: how normal numbers are grouped and counted (`spec.Counts`), scheme and equation."""

    first_step: Any
    groups: Any
    single: Any
    mask: Any
    label: Any
    noise_at: Any  # the stage with noise
    gaussian: Any
    order: Any
    train: Any  # as TRAIN
    part: Any  # as PART


@inner
def as_numbers(v):
    """`Numbers` of an array."""
    return Numbers(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10])


@inner
def as_settings(v):
    """`Settings` of an array."""
    return Settings(v[0], v[1], v[2] == 1, v[3], v[4], v[5], v[6] == 1, v[7], v[8], v[9])


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


@inner
def draw_span(z, room, first, count, row, clock):
    """Draw the numbers first, ..., first + count - 1 of a row; returns where in z the first is."""
    block = first // 4
    for start in range(block, (first + count + 3) // 4, LANES):
        place = 4 * (start - block)
        tile = z[place : place + 4 * LANES]
        draw_normals(tile, room.words, room.lanes_long, start, row, clock.step, clock.member, clock.key)
    return first - 4 * block


@inner
def draw_row(z, room, lanes, count, role, row, clock):
    """The `count` numbers of a row, of rows that are asked for in order; returns where in z the first is.

    Where several rows fit the lanes they are drawn at once.
    """
    blocks = (count + 3) // 4
    if blocks > LANES:
        return draw_span(z, room, 0, count, role + row, clock)
    offset = row % (LANES // blocks)
    if offset == 0:
        draw_normals(z[: 4 * LANES], room.words, lanes, 0, role + row, clock.step, clock.member, clock.key)
    return 4 * blocks * offset


@inner
def dot(left, right):
    """Σ left right."""
    total = 0 * left[0]
    for j in range(left.size):
        total += left[j] * right[j]
    return total


@inner
def add(row, factor, other):
    """Add a multiple of another row."""
    for j in range(row.size):
        row[j] += factor * other[j]


@inner
def place(room, sizes, ahead):
    """Put a stage's point: X + `ahead` k + N."""
    for q in range(sizes.outputs + sizes.inputs):
        point, state, drift, noise = room.point[q], room.state[q], room.drift[q], room.noise[q]
        for j in range(sizes.width):
            point[j] = state[j] + ahead * drift[j] + noise[j]


def _make_forward(act: formulas.Activation, bent: Any) -> Any:
    value, slope = act.value, act.slope

    @inner
    def activate(h, h1, h2, bends):
        for j in range(h.size):
            z = h[j]
            v = value(z)
            h1[j] = slope(z, v)
            h[j] = v
            if bends:
                h2[j] = bent(z, v, h1[j])

    @inner
    def forward(room, sizes, x, y, scale, bends):
        """Fill b, h, σ', σ'' (where it `bends`) and e at the stage's point."""
        c = sizes.outputs
        for o in range(c):
            b, a = room.b[o], room.point[o]
            for j in range(b.size):
                b[j] = scale * a[j]
        for i in range(sizes.samples):
            h = room.h[i]
            h[:] = 0
            for d in range(sizes.inputs):
                add(h, x[i, d], room.point[c + d])
            if bends:
                activate(h, room.h1[i], room.h2[i], True)
            else:
                activate(h, room.h1[i], room.h2[i], False)
            for o in range(c):
                room.e[i, o] = dot(room.b[o], h) - y[i, o]

    return forward


@inner
def through_inputs(target, sizes, x, i, row):
    """Add what a row over the neurons, of sample i, is by the input weights."""
    for d in range(sizes.inputs):
        add(target[sizes.outputs + d], x[i, d], row)


@inner
def finish(target, sizes, scale, factor, train):
    """Scale sums over samples to gradients, and those of weights that are not trained to zero."""
    c = sizes.outputs
    for q in range(c + sizes.inputs):
        frozen = (train == OUTPUT_ALONE and q >= c) or (train == INPUT_ALONE and q < c)
        times = 0 * factor if frozen else (factor * scale if q < c else factor)
        row = target[q]
        for j in range(row.size):
            row[j] = 0 * factor if frozen else times * row[j]


@inner
def mean_gradient(room, sizes, x, scale, variance, train):
    """Fill the gradient of L."""
    room.gradient[:] = 0
    by_h = room.rows[0][: room.h.shape[1]]
    for i in range(sizes.samples):
        h, h1 = room.h[i], room.h1[i]
        by_h[:] = 0
        for o in range(sizes.outputs):
            e, b, g = room.e[i, o], room.b[o], room.gradient[o]
            for j in range(h.size):
                r = e + variance * b[j] * h[j]
                g[j] += r * h[j]
                by_h[j] += r * b[j]
        for j in range(h.size):
            by_h[j] *= h1[j]
        through_inputs(room.gradient, sizes, x, i, by_h)
    finish(room.gradient, sizes, scale, 1 / x.dtype.type(sizes.samples), train)


@inner
def along_output(h, dh, b, db, g, dc, c, numbers):
    """One output's part in the product of Hessian and gradient: by a, by h and the factor of σ'' dz."""
    e, de, v = numbers
    for j in range(h.size):
        bh = b[j] * h[j]
        g[j] += de * h[j] + e * dh[j] + v * (db[j] * h[j] * h[j] + 2 * bh * dh[j])
        dc[j] += de * b[j] + e * db[j] + v * (2 * bh * db[j] + b[j] * b[j] * dh[j])
        c[j] += e * b[j] + v * b[j] * bh


@inner
def bend_drift(room, sizes, x, scale, variance, train):
    """Fill the drift with the product of Hessian and gradient of L: the derivative of the gradient along itself."""
    room.drift[:] = 0
    pitch, outputs = room.h.shape[1], sizes.outputs
    dz, dh, dc = room.rows[0][:pitch], room.rows[1][:pitch], room.rows[2][:pitch]
    c, db = room.rows[3][:pitch], room.rows[4][:pitch]
    for i in range(sizes.samples):
        h, h1, h2 = room.h[i], room.h1[i], room.h2[i]
        dz[:] = 0
        for d in range(sizes.inputs):
            add(dz, x[i, d], room.gradient[outputs + d])
        for j in range(pitch):
            dh[j] = h1[j] * dz[j]
        dc[:] = 0
        c[:] = 0
        for o in range(outputs):
            b, g = room.b[o], room.gradient[o]
            for j in range(pitch):
                db[j] = scale * g[j]
            de = dot(dh, b) + dot(h, db)
            along_output(h, dh, b, db, room.drift[o], dc, c, (room.e[i, o], de, variance))
        for j in range(pitch):
            dc[j] = dc[j] * h1[j] + c[j] * h2[j] * dz[j]
        through_inputs(room.drift, sizes, x, i, dc)
    finish(room.drift, sizes, scale, 1 / x.dtype.type(sizes.samples), train)


@inner
def fill_drift(room, sizes, x, scale, variance, train, half_lr):
    """Fill k with -∇L or, where half_lr is not 0, with -∇(L + half_lr/2 |∇L|²)."""
    mean_gradient(room, sizes, x, scale, variance, train)
    if half_lr == 0:
        room.drift[:] = 0
    else:
        bend_drift(room, sizes, x, scale, variance, train)
    for q in range(sizes.outputs + sizes.inputs):
        drift, gradient = room.drift[q], room.gradient[q]
        for j in range(drift.size):
            drift[j] = -gradient[j] - half_lr * drift[j]


@inner
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


@inner
def spread(target, drawn, start, width, inside):
    """Put `inside` of the numbers drawn[start:] and zeros for the rest of the width into a row, twice."""
    copy(target, FRONT, drawn, start, inside)
    for j in range(inside, width):
        target[FRONT + j] = 0
    copy(target, FRONT + width, drawn, start, inside)
    for j in range(inside, width):
        target[FRONT + width + j] = 0


@inner
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


@inner
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
        rest = np.sqrt(max(left + u[largest] * u[largest] / (one + r), zero))
        t[largest] = u[largest] * given / (one + r) + rest * zeta[largest]


@inner
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


@inner
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


@inner
def draw_omega(room, sizes, batch, clock):
    """Fill c (ω_i - mean of all ω_i)."""
    total = 0 * batch
    for i in range(sizes.samples):
        room.omega[i] = room.z_label[draw_row(room.z_label, room, room.lanes_one, 1, ROLE_BATCH, i, clock)]
        total += room.omega[i]
    for i in range(sizes.samples):
        room.omega[i] = batch * (room.omega[i] - total / sizes.samples)


@inner
def pull(room, sizes, x, first):
    """Add (Σ over a group of) g_ρj T_ρj to N."""
    pitch, outputs = room.h.shape[1], sizes.outputs
    by_h = room.rows[0][:pitch]
    for s in range(sizes.grouped):
        h, h1 = room.h[first + s], room.h1[first + s]
        by_h[:] = 0
        for o in range(outputs):
            t, b, target = room.t[s * outputs + o], room.b[o], room.noise[o]
            for j in range(pitch):
                target[j] += h[j] * t[j]
                by_h[j] += b[j] * t[j]
        for j in range(pitch):
            by_h[j] *= h1[j]
        through_inputs(room.noise, sizes, x, first + s, by_h)


@inner
def parameter_noise(room, sizes, size, clock):
    """Add `size` ζ to N: numbers as theta lies."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.inputs
    tile = room.z_label[: 4 * LANES]
    for start in range(0, width * (outputs + inputs), 4 * LANES):
        draw_span(tile, room, start, 4 * LANES, ROLE_PARAMETER, clock)
        for p in range(start, min(start + 4 * LANES, width * (outputs + inputs))):
            q, j = p // width, p % width
            if q >= outputs:
                p_w = p - width * outputs
                q, j = outputs + p_w % inputs, p_w // inputs
            room.noise[q, j] += size * tile[p - start]


@inner
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
    one = size / size
    finish(room.noise, sizes, scale, size / sizes.samples, 0)
    if numbers.parameter != 0:
        parameter_noise(room, sizes, size * numbers.parameter, clock)
    finish(room.noise, sizes, one, one, train)


@inner
def load(theta, sizes, state):
    """Put theta (P,) into rows."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.inputs
    for o in range(outputs):
        for j in range(width):
            state[o, j] = theta[o * width + j]
    for d in range(inputs):
        for j in range(width):
            state[outputs + d, j] = theta[outputs * width + j * inputs + d]


@inner
def store(theta, sizes, state):
    """The inverse of `load`."""
    width, outputs, inputs = sizes.width, sizes.outputs, sizes.inputs
    for o in range(outputs):
        for j in range(width):
            theta[o * width + j] = state[o, j]
    for d in range(inputs):
        for j in range(width):
            theta[outputs * width + j * inputs + d] = state[outputs + d, j]


@inner
def commit(room, sizes, h):
    """Put X + h total + N in the place of X if it is finite; returns whether it is."""
    place_of, finite = room.point, True
    for q in range(sizes.outputs + sizes.inputs):
        new, state, total, noise = place_of[q], room.state[q], room.total[q], room.noise[q]
        for j in range(sizes.width):
            new[j] = state[j] + h * total[j] + noise[j]
            finite &= np.isfinite(new[j])
    if finite:
        for q in range(sizes.outputs + sizes.inputs):
            for j in range(sizes.width):
                room.state[q, j] = place_of[q, j]
    return finite


@cache
def build(activation: str, real: type) -> Any:
    """The kernel `follow(theta, diverged, members, data, run)`.

    theta (M, P), diverged (M,): changed in place. members: lr (M,) in double, numbers (M,), `Numbers` as (M, 11). data:
    x (n, D), y (n, c). run: `Settings` as integers, key (2,), step sizes in double, `ahead` and `weight` of the stages,
    output scale.
    """
    act = formulas.activation(activation, scalar, real)
    forward = _make_forward(act, bend(activation, scalar, real))

    @inner
    def step(room, sizes, x, y, numbers, h, lr, clock, scheme, scale, settings):
        """One step; returns whether its end is finite."""
        ahead, weight = scheme
        half_lr = real(lr / 2) if settings.order == 2 else real(0)
        counts, gaussian, train = (settings.mask, settings.label), settings.gaussian, settings.train
        room.total[:] = 0
        room.drift[:] = 0
        room.noise[:] = 0
        for stage in range(ahead.size):
            place(room, sizes, real(ahead[stage] * h))
            drifts = weight[stage] != 0 and settings.part != NOISE_ALONE
            forward(room, sizes, x, y, scale, drifts and settings.order == 2)
            if drifts:
                fill_drift(room, sizes, x, scale, numbers.variance, train, half_lr)
                for q in range(room.total.shape[0]):
                    add(room.total[q], real(weight[stage]), room.drift[q])
            if stage == settings.noise_at and settings.part != DRIFT_ALONE:
                size = real(np.sqrt(lr * h))
                fill_noise(room, sizes, x, scale, size, numbers, gaussian, train, clock, counts)
        return commit(room, sizes, real(h))

    @inner
    def follow_path(theta, lr, member, drawn, data, run):
        """All steps of one path; returns the one that would have made it non-finite, or -1."""
        x, y = data
        numbers_of, key, step_sizes, ahead, weight, scale = run
        settings = as_settings(numbers_of)
        width = theta.size // (x.shape[1] + y.shape[1])
        grouped = x.shape[0] // settings.groups
        sizes = Sizes(x.shape[0], y.shape[1], x.shape[1], width, settings.groups, grouped, settings.single)
        room, numbers = make_room(sizes, real(0), (settings.mask, settings.label)), as_numbers(drawn)
        load(theta, sizes, room.state)
        lost = -1
        for t in range(step_sizes.size):
            clock = Clock(settings.first_step + t, member, key)
            if not step(room, sizes, x, y, numbers, step_sizes[t], lr, clock, (ahead, weight), scale, settings):
                lost = settings.first_step + t
                break
        store(theta, sizes, room.state)
        return lost

    @kernel
    def follow(theta, diverged, members, data, run):
        lr, member, drawn = members
        for m in numba.prange(len(theta)):
            if diverged[m] < 0:
                diverged[m] = follow_path(theta[m], lr[m], member[m], drawn[m], data, run)

    return follow
