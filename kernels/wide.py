"""CPU kernel for inputs and outputs of any dimension: BLAS on tiles of the kept neurons.

A tile holds up to TILE neurons. Its work depends on the mask alone, never on the number of threads:
results have the same bits whether members or, where those are few, tiles are spread over threads.

Legend of one tile of T neurons, B samples: w (T, D), a (c, T) gathered weights; h, s (B, T) values and
slopes, with the factors of sample masks in them; f (B, c) its part of the outputs; gw (T, D), ga (c, T)
gradients. e (B, c) are the residuals, scaled such that no further factor is needed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from . import formulas
from .accelerate import inner, kernel, scalar
from .draws import LANES, TILE, draw_batch, draw_factors, draw_kept, lanes_over, order_blocks

ROWS = 256  # samples that `evaluate` looks at in one piece


@inner
def matrix(flat, rows, columns):
    """The first rows · columns numbers of a flat array as a matrix."""
    return flat[: rows * columns].reshape(rows, columns)


@inner
def gather(a, w, a_all, w_all, kept, width):
    """Copy the weights of the neurons `kept` into a tile; those beyond the width are 0."""
    zero = 0 * a_all[0, 0]
    for j in range(w.shape[0]):
        neuron = kept[j]
        if neuron < width:
            w[j, :] = w_all[neuron, :]
            for o in range(a.shape[0]):
                a[o, j] = a_all[o, neuron]
        else:
            w[j, :] = zero
            a[:, j] = zero


def _make_forward(act: formulas.Activation) -> Any:
    value, slope = act.value, act.slope

    @inner
    def forward(x, a, w, h, s, f, factors):
        """Fill h, s and f; factors (B, T), or (0, T) where all are 1."""
        np.dot(x, w.T, h)
        for i in range(h.shape[0]):
            hi, si = h[i], s[i]
            for j in range(hi.size):
                z = hi[j]
                hi[j] = value(z)
                si[j] = slope(z, hi[j])
        for i in range(factors.shape[0]):
            hi, si, factor = h[i], s[i], factors[i]
            for j in range(hi.size):
                hi[j] *= factor[j]
                si[j] *= factor[j]
        np.dot(h, a.T, f)

    return forward


@inner
def backward(x, a, w, h, s, e, ga, gw, back, penalty):
    """Fill ga and gw; `back` (B, T) is room for ∂R/∂z. penalty: v · gain² / B where R_1 is trained, else 0."""
    np.dot(e, a, back)
    np.dot(e.T, h, ga)
    if penalty != 0:
        # R_1 adds v u_ij to the residual that neuron j sees
        for j in range(h.shape[1]):
            size = 0 * penalty
            for o in range(a.shape[0]):
                size += a[o, j] * a[o, j]
            squares = 0 * penalty
            for i in range(h.shape[0]):
                back[i, j] += penalty * size * h[i, j]
                squares += h[i, j] * h[i, j]
            for o in range(a.shape[0]):
                ga[o, j] += penalty * a[o, j] * squares
    for i in range(h.shape[0]):
        bi, si = back[i], s[i]
        for j in range(bi.size):
            bi[j] *= si[j]
    np.dot(back.T, x, gw)


def _make_apply(update: Any, sgd: bool) -> Any:
    @inner
    def apply(a_all, w_all, ga_all, gw_all, ga, gw, kept, width, lr):
        """SGD: update the neurons of a tile. Else: put their gradients into the whole one."""
        for j in range(gw.shape[0]):
            neuron = kept[j]
            if neuron >= width:
                continue
            row = gw[j]
            if sgd:
                weights = w_all[neuron]
                for d in range(row.size):
                    weights[d] -= lr * row[d]
                for o in range(ga.shape[0]):
                    a_all[o, neuron] -= lr * ga[o, j]
            else:
                gw_all[neuron, :] = row
                for o in range(ga.shape[0]):
                    ga_all[o, neuron] = ga[o, j]

    @inner
    def finish(theta, gradient, moments, lr, constants):
        """The optimizer's update of all parameters."""
        if not sgd:
            last = moments.shape[0] - 1
            u, v = moments[0], moments[last]
            for k in range(theta.size):
                before = v[k]
                theta[k], u[k], after = update(theta[k], u[k], before, gradient[k], lr, constants)
                if last > 0:
                    v[k] = after

    return apply, finish


@inner
def draw_tile(factors, words, lanes, first, width, threshold, factor, drawn, step, member, key):
    """The sample-mask factors (B, T) of a tile whose neurons start at `first`; 0 beyond the width."""
    blocks = factors.shape[1] // 4
    ahead = LANES // blocks if width <= TILE else 1
    for i in range(factors.shape[0]):
        row = factors[i]
        if drawn:
            draw_factors(row, words, lanes, blocks, first // 4, threshold, factor, i, i % ahead, step, member, key)
        else:
            row[:] = factor
        for k in range(max(width - (first + 4 * blocks - 4), 0), 4):
            row[k * blocks + blocks - 1] = 0


@inner
def residuals(parts, count, y, e, gain, share):
    """Sum the tiles' outputs into e = (f - y) · gain · share; returns the sum of squared residuals."""
    loss = 0 * gain
    for i in range(e.shape[0]):
        for o in range(e.shape[1]):
            total = 0 * gain
            for tile in range(count):
                total += parts[tile, i, o]
            residual = gain * total - y[i, o]
            loss += residual * residual
            e[i, o] = residual * gain * share
    return loss


def _make_train_member(act: formulas.Activation, mask: str, objective: str, optimizer: str, real: type) -> Any:
    """The plain function that trains one member; compiled by `build` in one of two ways."""
    sample, draws, r1, sgd = mask == "sample", objective == "dropout", objective == "risk+r1", optimizer == "sgd"
    forward = _make_forward(act)
    apply, finish = _make_apply(formulas.optimizer(optimizer, scalar), sgd)

    def train_member(theta, moments, lr, threshold, factor, variance, member, data, run):
        """All steps of one member; returns the step with a non-finite loss, or -1."""
        x_all, y_all = data
        key, first_step, constants, scale, batch_size, replace = run
        inputs, outputs = x_all.shape[1], y_all.shape[1]
        width = theta.size // (inputs + outputs)
        split = outputs * width
        a_all, w_all = theta[:split].reshape(outputs, width), theta[split:].reshape(width, inputs)
        gradient = np.zeros(0 if sgd else theta.size, real)
        ga_all = gradient[: split * (not sgd)].reshape(outputs, width * (not sgd))
        gw_all = gradient[split * (not sgd) :].reshape(width * (not sgd), inputs)
        tiles = (width + TILE - 1) // TILE
        big = batch_size * TILE
        a, ga = np.empty((tiles, outputs * TILE), real), np.empty((tiles, outputs * TILE), real)
        w, gw = np.empty((tiles, inputs * TILE), real), np.empty((tiles, inputs * TILE), real)
        h, s, back = np.empty((tiles, big), real), np.empty((tiles, big), real), np.empty((tiles, big), real)
        masked = np.empty((tiles, big if sample else 0), real)
        parts = np.empty((tiles, batch_size, outputs), real)
        e = np.empty((batch_size, outputs), real)
        words = np.empty((tiles, 4 * LANES), np.uint64)
        blocks = min((width + 3) // 4, LANES)
        lanes, batch_lanes = lanes_over(blocks, 1 if sample else 2), lanes_over(LANES, 1)
        ahead = LANES // blocks if width <= TILE else 1  # steps drawn at a time
        kept = np.arange(width + 4)
        always = threshold == np.uint64(0xFFFFFFFF) or not draws
        count = order_blocks(kept, width) if sample else width
        gain = real(scale) if sample or not draws else real(scale) * factor
        share = real(1) / real(batch_size)
        penalty = variance * gain * gain * share if r1 else real(0)
        whole = batch_size == x_all.shape[0] and not replace
        x, y = (x_all, y_all) if whole else (x_all[:batch_size].copy(), y_all[:batch_size].copy())
        chosen, order = np.arange(batch_size), np.arange(x_all.shape[0])
        batch_words = np.empty(4 * LANES, np.uint64)
        for t in range(constants.shape[0]):
            step = first_step + t
            if not whole:
                draw_batch(chosen, order, batch_words, batch_lanes, replace, step, member, key)
                for i in range(batch_size):
                    x[i, :] = x_all[chosen[i], :]
                    y[i, :] = y_all[chosen[i], :]
            if not sample and not always:
                count = draw_kept(kept, words[0], lanes, width, threshold, step, t % ahead, member, key)
            used = (count + TILE - 1) // TILE
            for tile in numba.prange(used):
                first = tile * TILE
                size = min(TILE, count - first)
                neurons = kept[first : first + size]
                a_tile, w_tile = matrix(a[tile], outputs, size), matrix(w[tile], size, inputs)
                gather(a_tile, w_tile, a_all, w_all, neurons, width)
                factors = matrix(masked[tile], batch_size if sample else 0, size)
                if sample:
                    draw_tile(
                        factors, words[tile], lanes, first, width, threshold,
                        factor if draws else real(1), not always, step, member, key,
                    )  # fmt: skip
                h_tile, s_tile = matrix(h[tile], batch_size, size), matrix(s[tile], batch_size, size)
                forward(x, a_tile, w_tile, h_tile, s_tile, parts[tile], factors)
            loss = residuals(parts, used, y, e, gain, share)
            if not np.isfinite(loss):
                return step
            for tile in numba.prange(used):
                first = tile * TILE
                size = min(TILE, count - first)
                neurons = kept[first : first + size]
                a_tile, w_tile = matrix(a[tile], outputs, size), matrix(w[tile], size, inputs)
                ga_tile, gw_tile = matrix(ga[tile], outputs, size), matrix(gw[tile], size, inputs)
                h_tile, s_tile = matrix(h[tile], batch_size, size), matrix(s[tile], batch_size, size)
                back_tile = matrix(back[tile], batch_size, size)
                backward(x, a_tile, w_tile, h_tile, s_tile, e, ga_tile, gw_tile, back_tile, penalty)
                apply(a_all, w_all, ga_all, gw_all, ga_tile, gw_tile, neurons, width, lr)
            finish(theta, gradient, moments, lr, constants[t])
            if not sgd:
                gradient[:] = 0
        return -1

    return train_member


@lru_cache(maxsize=None)
def build(activation: str, mask: str, objective: str, optimizer: str, real: type, over: str) -> Any:
    """The kernel of one configuration, parallel over "members" or over "tiles"; arguments as `thin.build`'s.

    data: x (n, D) and y (n, c).
    """
    act = formulas.activation(activation, scalar, real)
    plain = _make_train_member(act, mask, objective, optimizer, real)
    train_member = kernel(plain) if over == "tiles" else inner(plain)
    many = numba.prange if over == "members" else range

    def train(theta, moments, diverged, members, data, run):
        lr, thresholds, factors, variances, numbers = members
        for k in many(theta.shape[0]):
            if diverged[k] < 0:
                diverged[k] = train_member(
                    theta[k], moments[k], lr[k], thresholds[k], factors[k], variances[k], numbers[k], data, run
                )

    return kernel(train) if over == "members" else train


@lru_cache(maxsize=None)
def build_evaluate(activation: str, real: type) -> Any:
    """`evaluate(theta, x, out)`: outputs (M, n, c) of whole networks theta (M, P), without the output scale."""
    value = formulas.activation(activation, scalar, real).value

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

    @kernel
    def evaluate(theta, x, out):
        for k in numba.prange(theta.shape[0]):
            evaluate_member(theta[k], x, out[k])

    return evaluate
