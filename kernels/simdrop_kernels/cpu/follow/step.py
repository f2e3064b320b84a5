"""CPU kernel of the stochastic equations: all steps of a path by one thread, in memory that stays in its cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from ...contract.equation import DRIFT_ALONE, NOISE_ALONE
from ...contract.step import limits
from ...mathematics.activations.table import scalars
from ..compile import inner, kernel, leaf, scalar
from .drift import fill_drift, make_forward
from .mask_noise import make_by_masks
from .normal_noise import fill_noise
from .workspace import Clock, Sizes, add, as_numbers, as_settings, load, make_room, store


@leaf
def place(room, sizes, ahead):
    """Put a stage's point: X + `ahead` k + N."""
    for q in range(sizes.outputs + sizes.inputs):
        point, state, drift, noise = room.point[q], room.state[q], room.drift[q], room.noise[q]
        for j in range(sizes.width):
            point[j] = state[j] + ahead * drift[j] + noise[j]


@leaf
def commit(room, sizes, h, limit):
    """Put X + h total + N in the place of X if none of it is beyond `limit`; returns whether none is."""
    place_of, finite = room.point, True
    for q in range(sizes.outputs + sizes.inputs):
        new, state, total, noise = place_of[q], room.state[q], room.total[q], room.noise[q]
        for j in range(sizes.width):
            new[j] = state[j] + h * total[j] + noise[j]
            finite &= abs(new[j]) <= limit  # `isfinite` subtracts, and sums may be reordered
    if finite:
        for q in range(sizes.outputs + sizes.inputs):
            for j in range(sizes.width):
                room.state[q, j] = place_of[q, j]
    return finite


SHARE = 8  # paths that one thread takes at a time, in the same arrays


def _make_normal() -> Any:
    """What a path needs by increments "normal"; see `mask_noise.make_by_masks`."""

    @inner
    def make_others(theta, x, y, knobs, drawing):
        return 0

    @inner
    def begin(others, path):
        pass

    @leaf
    def fill(room, others, sizes, x, scale, size, numbers, settings, clock, knobs, drawing, chances):
        counts = settings.mask, settings.label
        fill_noise(room, sizes, x, scale, size, numbers, settings.gaussian, settings.train, clock, counts)

    @leaf
    def connected(room, others, sizes, scale, numbers, settings, knobs, drawing):
        return False

    return make_others, begin, fill, connected


def _make_step(activation: str, real: type, fill: Any, connected: Any) -> Any:
    """The function that takes a path through one step and returns whether its end is finite."""
    forward = make_forward(scalars(activation, scalar, real))
    limit = limits(real)[0]

    @leaf
    def step(room, others, sizes, x, y, numbers, h, lr, clock, scheme, scale, settings, by):
        ahead, weight = scheme
        half_lr = real(lr / 2) if settings.order == 2 else real(0)
        knobs, drawing, chances = by
        room.total[:] = 0
        room.drift[:] = 0
        room.noise[:] = 0
        for stage in range(ahead.size):
            place(room, sizes, real(ahead[stage] * h))
            drifts = weight[stage] != 0 and settings.part != NOISE_ALONE
            forward(room, sizes, x, y, scale, drifts and settings.order == 2)
            if drifts:
                if not connected(room, others, sizes, scale, numbers, settings, knobs, drawing):
                    fill_drift(room, sizes, x, scale, numbers, settings.train, half_lr)
                for q in range(room.total.shape[0]):
                    add(room.total[q], real(weight[stage]), room.drift[q])
            if stage == settings.noise_at and settings.part != DRIFT_ALONE:
                size = numbers.sign * real(np.sqrt(lr * h))
                fill(room, others, sizes, x, scale, size, numbers, settings, clock, knobs, drawing, chances)
        return commit(room, sizes, real(h), limit)

    return step


@cache
def build(activation: str, real: type, increments: str) -> Any:
    """The kernel `follow(theta, diverged, members, data, settings_of, run, knobs, drawing, chances)`.

    theta (M, P), diverged (M,): changed in place. members: lr (M,) in double, numbers (M,), `Numbers` as (M, 13). data:
    x (n, D), with a column of zeros more where D is odd, y (n, c). settings_of: `Settings` as integers. run: key (2,),
    step sizes in double, `ahead` and `weight` of the stages, output scale. The last three are those of
    `mask_noise.drawing`, zeros for normal increments.
    """
    act = scalars(activation, scalar, real)
    make_others, begin, fill, connected = make_by_masks(act) if increments == "masks" else _make_normal()
    step = _make_step(activation, real, fill, connected)

    @leaf
    def follow_path(room, others, sizes, settings, theta, lr, member, drawn, data, run, by):
        """All steps of one path; returns the one that would have made it non-finite, or -1."""
        x, y = data
        key, step_sizes, ahead, weight, scale = run
        numbers = as_numbers(drawn)
        load(theta, sizes, room.state)
        lost = -1
        for t in range(step_sizes.size):
            clock = Clock(settings.first_step + t, member, key)
            scheme = ahead, weight
            if not step(room, others, sizes, x, y, numbers, step_sizes[t], lr, clock, scheme, scale, settings, by):
                lost = settings.first_step + t
                break
        store(theta, sizes, room.state)
        return lost

    @inner
    def follow_some(first, last, theta, diverged, members, data, settings_of, run, by):
        """Paths first, ..., last - 1, in one room."""
        x, y = data
        lr, member, drawn = members
        settings = as_settings(settings_of)
        width, grouped = theta.shape[1] // (settings.inputs + y.shape[1]), x.shape[0] // settings.groups
        sizes = Sizes(
            x.shape[0], y.shape[1], x.shape[1], settings.inputs, width, settings.groups, grouped, settings.single
        )
        room = make_room(sizes, real(0), (settings.mask, settings.label))
        others = make_others(theta[0], x, y, by[0], by[1])
        for m in range(first, last):
            if diverged[m] < 0:
                begin(others, m)
                diverged[m] = follow_path(
                    room, others, sizes, settings, theta[m], lr[m], member[m], drawn[m], data, run, by
                )

    @kernel("stochastic equations")
    def follow(theta, diverged, members, data, settings_of, run, knobs, drawing, chances):
        for share in numba.prange((len(theta) + SHARE - 1) // SHARE):
            last = min((share + 1) * SHARE, len(theta))
            by = knobs, drawing, chances
            follow_some(share * SHARE, last, theta, diverged, members, data, settings_of, run, by)

    return follow
