"""The drift of a path: forward pass, gradient of L, and its derivative along itself."""

from __future__ import annotations

from typing import Any

from ...mathematics.activations.base import Scalars
from ..compile import leaf
from .workspace import add, dot, finish, is_frozen, mix, through_inputs


def make_forward(act: Scalars) -> Any:
    """The function that fills h, σ', σ'' and the residuals."""
    value, slope, curvature = act.value, act.slope, act.curvature

    @leaf
    def activate(h, h1, h2, bends):
        for j in range(h.size):
            z = h[j]
            v = value(z)
            h1[j] = slope(z, v)
            h[j] = v
            if bends:
                h2[j] = curvature(z, v, h1[j])

    @leaf
    def forward(room, sizes, x, y, scale, bends):
        """Fill b, h, σ', σ'' (where it `bends`) and e at the stage's point."""
        c = sizes.outputs
        for o in range(c):
            b, a = room.b[o], room.point[o]
            for j in range(b.size):
                b[j] = scale * a[j]
        for i in range(sizes.samples):
            h = room.h[i]
            mix(h, sizes, room.point, x, i)
            if bends:
                activate(h, room.h1[i], room.h2[i], True)
            else:
                activate(h, room.h1[i], room.h2[i], False)
            for o in range(c):
                room.e[i, o] = dot(room.b[o], h) - y[i, o]

    return forward


@leaf
def mean_gradient(room, sizes, x, scale, variance, train):
    """Fill the gradient of L."""
    real = x.dtype.type
    room.gradient[:] = 0
    by_z = room.rows[0][: room.h.shape[1]]
    for i in range(sizes.samples):
        h, h1 = room.h[i], room.h1[i]
        for o in range(sizes.outputs):
            e, b, g = room.e[i, o], room.b[o], room.gradient[o]
            for j in range(h.size):
                r = e + variance * b[j] * h[j]
                g[j] += r * h[j]
                by_z[j] = (by_z[j] if o > 0 else real(0)) + r * b[j] * h1[j]
        through_inputs(room.gradient, sizes, x, i, by_z)
    finish(room.gradient, sizes, scale, 1 / real(sizes.samples), train)


@leaf
def along_output(h, h1, h2, dh, dz, b, db, g, by_z, numbers):
    """One output's part in the product of Hessian and gradient: by a, and by the neurons' sums."""
    e, de, v = numbers
    for j in range(h.size):
        bh = b[j] * h[j]
        g[j] += de * h[j] + e * dh[j] + v * (db[j] * h[j] * h[j] + 2 * bh * dh[j])
        by_dh = de * b[j] + e * db[j] + v * (2 * bh * db[j] + b[j] * b[j] * dh[j])
        by_z[j] += by_dh * h1[j] + (e + v * bh) * b[j] * h2[j] * dz[j]


@leaf
def bend_drift(room, sizes, x, scale, variance, train):
    """Fill the drift with the product of Hessian and gradient of L: the derivative of the gradient along itself."""
    real = x.dtype.type
    room.drift[:] = 0
    pitch, outputs = room.h.shape[1], sizes.outputs
    dz, dh, by_z = room.rows[0][:pitch], room.rows[1][:pitch], room.rows[2][:pitch]
    for o in range(outputs):
        db, g = room.db[o], room.gradient[o]
        for j in range(pitch):  # nothing in what pads the width, where h need not be 0
            db[j] = scale * g[j] if j < sizes.width else 0
    for i in range(sizes.samples):
        h, h1, h2 = room.h[i], room.h1[i], room.h2[i]
        mix(dz, sizes, room.gradient, x, i)
        for j in range(pitch):
            dh[j] = h1[j] * dz[j]
            by_z[j] = 0
        for o in range(outputs):
            b, db, de = room.b[o], room.db[o], 0 * scale
            for j in range(pitch):
                de += dh[j] * b[j] + h[j] * db[j]
            numbers = room.e[i, o], de, variance
            along_output(h, h1, h2, dh, dz, b, db, room.drift[o], by_z, numbers)
        through_inputs(room.drift, sizes, x, i, by_z)
    finish(room.drift, sizes, scale, 1 / real(sizes.samples), train)


@leaf
def add_decay(target, source, sizes, decay, train):
    """Add `decay` times the rows of another array, of the weights that are trained."""
    for q in range(sizes.outputs + sizes.inputs):
        if not is_frozen(q, sizes, train):
            add(target[q], decay, source[q])


@leaf
def fill_drift(room, sizes, x, scale, numbers, train, half_lr):
    """Fill k with -∇L or, where half_lr is not 0, with -∇(L + half_lr/2 |∇L|²)."""
    mean_gradient(room, sizes, x, scale, numbers.variance, train)
    if numbers.decay != 0:
        add_decay(room.gradient, room.point, sizes, numbers.decay, train)
    if half_lr == 0:
        room.drift[:] = 0
    else:
        bend_drift(room, sizes, x, scale, numbers.variance, train)
        if numbers.decay != 0:
            add_decay(room.drift, room.gradient, sizes, numbers.decay, train)
    for q in range(sizes.outputs + sizes.inputs):
        drift, gradient = room.drift[q], room.gradient[q]
        for j in range(drift.size):
            drift[j] = -gradient[j] - half_lr * drift[j]
