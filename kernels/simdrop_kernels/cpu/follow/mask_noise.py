"""The noise of a path by two draws of all that a training step draws, and the drift under DropConnect.

The draws are those of `general`, the kernel that trains with every noise. A gradient is Σ_ρ g_ρj T_ρj too, with
T_ρj = t_ρj e_ρ, e the residuals under factors s and t those of the backward pass, s unless they have another place:
what the stage's forward pass left serves both draws, unless DropConnect is there. With it gradients are those of
`general`, which works on parameters as theta lies.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contract.equation import MASKS_KEY, Equation
from ...contract.step import Ensemble, for_kernels
from ...mathematics import rng
from ...mathematics.activations.base import Scalars
from ..compile import inner, leaf
from ..train.arguments import Chances, chances_of
from ..train.general import Knobs, draw_factors, draw_parameter, make_gradient, make_room, place_factors, take_samples
from .drift import add_decay
from .normal_noise import pull
from .workspace import add, dot, finish, load, store


class Drawing(NamedTuple):
    """What all paths are drawn by, besides `general.Knobs` and the chances of each path.

    The kernels of `general` read the same names of the `Run` of a training.
    """

    x: Any  # (n, D)
    y: Any  # (n, c)
    batch_size: Any
    replace: Any
    scale: Any  # of the outputs
    key: Any  # (2,)
    epochs: bool = False  # the increments of a path are independent: there are no epochs
    first_step: int = 0  # read where there are epochs


def drawing(equation: Equation, x: NDArray[Any], y: NDArray[Any], ensemble: Ensemble, seed: int) -> tuple[Any, ...]:
    """Knobs, `Drawing` and the chances of every path; for x (n, D), y (n, c)."""
    step, theta = equation.training_step, ensemble.theta
    real: Any = theta.dtype.type
    drawn_by = Drawing(
        x=for_kernels(x),
        y=for_kernels(y),
        batch_size=step.noise.batch_size or len(x),
        replace=step.noise.replace,
        scale=real(step.network.output_scale),
        key=np.array(rng.split_seed(seed ^ MASKS_KEY)),
    )
    return Knobs.of(step, x, y, theta), drawn_by, Chances.of(ensemble.keep_prob, real)


class Others(NamedTuple):
    """What a path works in besides its `workspace.Room`."""

    theta: Any  # (P,) the stage's point
    batch: Any  # `general.Room` for a batch
    full: Any  # for all samples
    path: Any  # (1,) which of the paths it is


@leaf
def add_sample(room, sizes, i, factors, backward, targets, weight):
    """Add to T of sample i `weight` times t e: e under factors s (m,), targets (c,), t those of the backward pass."""
    width, h = sizes.width, room.h[i]
    masked = room.rows[1][:width]
    for j in range(width):
        masked[j] = factors[j] * h[j]
    for o in range(sizes.outputs):
        t, b = room.t[i * sizes.outputs + o], room.b[o]
        e = weight * (dot(b[:width], masked) - targets[o])
        for j in range(width):
            t[j] += e * backward[j]


@leaf
def add_masks(room, others, sizes, weight, knobs, drawing, chance, number, member):
    """Add to T `weight` times what draw `number` brings."""
    real, batch = others.theta.dtype.type, others.batch
    whole = batch.chosen.size == batch.order.size and not drawing.replace
    take_samples(batch, drawing.x, drawing.y, knobs, whole, drawing, number, member)
    share = weight * real(sizes.samples) / real(batch.chosen.size * knobs.masks)
    for r in range(knobs.masks):
        draw_factors(batch, batch.factors, knobs, chance, number * knobs.masks + r, member, drawing.key, False)
        if knobs.placed:
            place_factors(batch, knobs, chance, number * knobs.masks + r, member, drawing.key)
        backward = batch.backward if knobs.placed else batch.factors
        for s in range(batch.chosen.size):
            add_sample(room, sizes, batch.chosen[s], batch.factors[s], backward[s], batch.y[s], share)


@leaf
def add_parameter(room, others, sizes, size, root_half, knobs, drawing, number, member):
    """Add noise on the gradient to N: room.gradient is free meanwhile."""
    batch = others.batch
    batch.gradient[:] = 0
    for q in range(2):
        draw_parameter(batch, knobs, -root_half if q else root_half, number + q, member, drawing.key)
    load(batch.gradient, sizes, room.gradient)
    for q in range(sizes.outputs + sizes.inputs):
        add(room.noise[q], size, room.gradient[q])


@inner
def make_others(theta, x, y, knobs, drawing):
    """What a thread works in, for paths of parameters like theta."""
    samples = drawing.x.shape[0] if knobs.connected else 1
    return Others(
        np.empty_like(theta),
        make_room(theta, drawing.x, drawing.y, drawing.batch_size),
        make_room(theta, drawing.x, drawing.y, samples),
        np.zeros(1, np.int64),
    )


@inner
def begin(others, path):
    """Go over to another path."""
    others.path[0] = path


@leaf
def parts(others, sizes):
    """The point's a (c, m) and w (m, D)."""
    cut = sizes.outputs * sizes.width
    return others.theta[:cut].reshape(sizes.outputs, -1), others.theta[cut:].reshape(-1, sizes.weights)


def make_by_masks(act: Scalars) -> Any:
    """The functions that make `Others`, begin a path, fill N, and fill k under DropConnect, returning whether it is."""
    add_draw, add_mean = make_gradient(act)
    root_half = math.sqrt(0.5)

    @leaf
    def fill_connected(room, others, sizes, x, scale, size, numbers, settings, clock, knobs, drawing, chances):
        """`fill` under DropConnect."""
        real = others.theta.dtype.type
        store(others.theta, sizes, room.point)
        a, w = parts(others, sizes)
        gradient = others.batch.gradient
        gradient[:] = 0
        chance = chances_of(chances, others.path[0])
        for q in range(2):
            weight = real(-root_half if q else root_half)
            add_draw(
                others.batch, a, w, weight, (drawing.x, drawing.y), knobs, chance,
                2 * clock.step + q, clock.member, drawing,
            )  # fmt: skip
        load(gradient, sizes, room.noise)
        finish(room.noise, sizes, real(1), size, settings.train)

    @leaf
    def fill(room, others, sizes, x, scale, size, numbers, settings, clock, knobs, drawing, chances):
        """Fill N with `size` times (G - G')/√2 at the stage's point."""
        if knobs.connected:
            fill_connected(room, others, sizes, x, scale, size, numbers, settings, clock, knobs, drawing, chances)
            return
        real, number, chance = others.theta.dtype.type, 2 * clock.step, chances_of(chances, others.path[0])
        room.t[:] = 0
        room.noise[:] = 0
        for q in range(2):
            weight = real(-root_half if q else root_half)
            add_masks(room, others, sizes, weight, knobs, drawing, chance, number + q, clock.member)
        pull(room, sizes, x, 0)
        finish(room.noise, sizes, scale, size / real(sizes.samples), 0)
        if knobs.parameter > 0:
            add_parameter(room, others, sizes, size, real(root_half), knobs, drawing, number, clock.member)
        finish(room.noise, sizes, real(1), real(1), settings.train)

    @leaf
    def connected(room, others, sizes, scale, numbers, settings, knobs, drawing):
        """Fill k with minus the mean gradient."""
        if not knobs.connected:
            return False
        real = others.theta.dtype.type
        store(others.theta, sizes, room.point)
        a, w = parts(others, sizes)
        gradient = others.full.gradient
        gradient[:] = 0
        data = drawing.x, drawing.y
        add_mean(others.full, gradient, a, w, real(-1), data, knobs, drawing.scale, numbers.variance)
        load(gradient, sizes, room.drift)
        add_decay(room.drift, room.point, sizes, -numbers.decay, settings.train)
        finish(room.drift, sizes, real(1), real(1), settings.train)
        return True

    return make_others, begin, fill, connected
