"""Kernel for networks of any size: a block of lanes trains one member whose parameters lie in device memory.

Slower than `in_registers`, which takes what fits in registers. A step passes over S samples at a time: inputs times
weights through `tiles`, then σ and the masks; outputs by one warp for each; errors of the neurons; at last errors times
inputs through `tiles`, the gradients, which wait in device memory for the end of the step.

Legend: c outputs, D inputs, m neurons, P = m (c + D). A block's `work` holds g (P,) gradients as theta lies,
h and d (S, m): σ and σ' with their dropout factors, where h is z = w·x and d becomes the error of each neuron for a
while, and e (S, c): outputs, then residuals.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ...contract.optimizer import CONSTANTS
from ...contract.step import limits
from ...mathematics.activations.table import scalars
from ...mathematics.optimizers.table import OPTIMIZERS
from .. import machine
from ..draws import make_draw_batch, make_fill, words_of
from .in_registers import ALWAYS
from .plan import WideShape
from .rules import make_rate, make_residual, make_update
from .tiles import TOGETHER, Tiling, make_add, make_load, make_load_chosen

#: registers of a lane: three blocks of 128 lanes find room on a multiprocessor
REGISTERS = 168
#: samples whose errors a lane holds at a time
GROUP = 8


class Kind(NamedTuple):
    """What a kernel is compiled for. `decays`: "", or how weight decay acts ("coupled", "decoupled")."""

    activation: str
    sample_masks: bool
    r1: bool
    optimizer: str
    minibatch: bool
    real: type
    loss: str = "squared"
    decays: str = ""
    scheduled: bool = False


def forward_tiling(shape: WideShape) -> Tiling:
    """Neurons times samples."""
    return Tiling(shape.lanes, shape.across, shape.neurons, shape.samples, shape.depth)


def backward_tiling(shape: WideShape) -> Tiling:
    """Neurons times inputs."""
    return Tiling(shape.lanes, shape.across, shape.neurons, shape.inputs, shape.depth)


def shared_bytes(kind: Kind, shape: WideShape) -> int:
    """Shared memory that a block needs: a tile."""
    return max(forward_tiling(shape).size, backward_tiling(shape).size) * np.dtype(kind.real).itemsize


def chosen_size(kind: Kind, blocks: int, batch: int) -> int:
    """Numbers of samples that the minibatches of all blocks take."""
    return blocks * 2 * batch if kind.minibatch else 1


def work_size(shape: WideShape, width: int, outputs: int, params: int) -> int:
    """Numbers of device memory that a block works in."""
    return params + shape.held * (2 * width + outputs)


def _make_load_samples(kind: Kind, count: int, step: int, hop: int) -> Any:
    """The device function that brings inputs of samples to a tile: those of a minibatch, or all in their order."""
    load, load_chosen = make_load(kind.real, count, step, hop), make_load_chosen(kind.real, count, step, hop)

    def of_all(x, store, chosen, inputs, column, index, last, spot):
        load(x, np.uint64(index * inputs + column), np.uint64(step * inputs), index, last, column < inputs, spot)

    def of_minibatch(x, store, chosen, inputs, column, index, last, spot):
        load_chosen(x, store, chosen, inputs, column, index, last, column < inputs, spot)

    return machine.device(of_minibatch if kind.minibatch else of_all)


def _make_products(kind: Kind, shape: WideShape) -> Any:
    """The device function that fills z of one pass, where h will be."""
    tiling, real, zero = forward_tiling(shape), kind.real, kind.real(0)
    lanes, across, depth, columns, neurons = shape.lanes, shape.across, shape.depth, shape.samples, shape.neurons
    rows, wide, pitch, other_pitch, second = tiling.places
    beside, group, held_sums, step = lanes // across, min(TOGETHER, columns), neurons * columns, lanes // depth
    load, add = make_load(real, rows * depth // lanes, step, step), make_add(real, tiling)
    load_samples = _make_load_samples(kind, wide * depth // lanes, step, step)

    @machine.device
    def products(theta, weights, x, store, chosen, work, base, first, left, held, width, inputs):
        """`weights`: where the member's w begins in theta; `base`: where z begins in work."""
        lane = cuda.threadIdx.x
        sums = cuda.local.array(held_sums, real)
        column, line = lane % depth, lane // depth
        r, c = lane // across * TOGETHER, lane % across * group
        for j0 in range(0, width, rows):
            for s0 in range(0, held, wide):
                for q in range(held_sums):
                    sums[q] = zero
                for d0 in range(0, inputs, depth):
                    i, j = d0 + column, j0 + line
                    place, stride = np.uint64(weights + j * inputs + i), np.uint64(step * inputs)
                    load(theta, place, stride, j, width, i < inputs, column * pitch + line)
                    s = first + s0 + line
                    load_samples(x, store, chosen, inputs, i, s, first + left, second + column * other_pitch + line)
                    cuda.syncthreads()
                    add(sums, r, c)
                    cuda.syncthreads()
                for k in range(neurons):
                    j = j0 + k // TOGETHER * TOGETHER * beside + r + k % TOGETHER
                    for o in range(columns):
                        s = s0 + o // group * group * across + c + o % group
                        if j < width and s < held:
                            work[np.uint64(base + s * width + j)] = sums[k * columns + o]
        cuda.syncthreads()

    return products


def _make_activate(kind: Kind, shape: WideShape) -> Any:
    """The device function that makes h and d of z."""
    act = scalars(kind.activation, machine.scalar, kind.real, machine.arithmetic(kind.real))
    value, slope, real, lanes = act.value, act.slope, kind.real, shape.lanes
    fill, sample_masks = make_fill(TOGETHER, kind.sample_masks, real), kind.sample_masks

    @machine.device
    def activate(work, base, first, held, width, always, drawn, side):
        """`side` of the lanes lie along the neurons, in fours that share a draw, the others along the samples."""
        factors = cuda.local.array(TOGETHER, real)
        threshold, factor, step, member, key0, key1 = drawn
        lane, fours = cuda.threadIdx.x, (width + TOGETHER - 1) // TOGETHER
        for i in range(TOGETHER):
            factors[i] = factor
        for quad in range(lane % side, fours, side):
            if not always and not sample_masks:
                fill(factors, quad, width, threshold, factor, 0, step, member, key0, key1)
            for s in range(lane // side, held, lanes // side):
                if not always and sample_masks:
                    fill(factors, quad, width, threshold, factor, first + s, step, member, key0, key1)
                for i in range(TOGETHER):
                    j = quad * TOGETHER + i
                    if j < width:
                        place = np.uint64(base + s * width + j)
                        z = work[place]
                        v = value(z)
                        work[place] = factors[i] * v
                        work[np.uint64(base + (held + s) * width + j)] = factors[i] * slope(z, v)
        cuda.syncthreads()

    return activate


def _make_outputs(kind: Kind, shape: WideShape) -> Any:
    """The device function that fills e with the outputs f; a warp sums one output of four samples at a time."""
    exchange, real, zero = machine.exchange(kind.real), kind.real, kind.real(0)
    warps, stages = shape.lanes // machine.WARP, machine.WARP.bit_length() - 1
    lanes_of_warp, stride = machine.WARP, np.uint64(machine.WARP)

    @machine.device
    def outputs_of(theta, a, work, base, errors, held, width, outputs, scale):
        here, totals = cuda.threadIdx.x, cuda.local.array(TOGETHER, real)
        lane, warp = here % lanes_of_warp, here // lanes_of_warp
        parts, apart = held // TOGETHER * outputs, np.uint64(width)
        for start in range(0, parts, warps):  # all lanes take part in all exchanges
            part = min(start + warp, parts - 1)
            s, o = part // outputs * TOGETHER, part % outputs
            for q in range(TOGETHER):
                totals[q] = zero
            weight, first = np.uint64(a + o * width + lane), np.uint64(base + s * width + lane)
            for _ in range(lane, width, lanes_of_warp):
                place = first
                for q in range(TOGETHER):
                    totals[q] += theta[weight] * work[place]
                    place += apart
                weight, first = weight + stride, first + stride
            for q in range(TOGETHER):
                total = totals[q]
                for stage in range(stages):
                    total += exchange(total, 1 << stage)
                if lane == 0 and start + warp < parts:
                    work[np.uint64(errors + (s + q) * outputs + o)] = scale * total
        cuda.syncthreads()

    return outputs_of


def _make_residuals(kind: Kind, shape: WideShape) -> Any:
    """The device function that makes residuals · share of the outputs in e, 0 beyond the `left` samples that remain."""
    residual, lanes, zero, minibatch = make_residual(kind), shape.lanes, kind.real(0), kind.minibatch

    @machine.device
    def residuals(y, store, chosen, work, errors, first, left, held, outputs, share):
        for s in range(cuda.threadIdx.x, held, lanes):
            begin = errors + s * outputs
            if s < left:
                row = np.int64(store[chosen + first + s]) if minibatch else first + s
                e = work[begin : begin + outputs]
                residual(e, y[row * outputs : (row + 1) * outputs], e)
            for o in range(outputs):
                work[begin + o] = share * work[begin + o] if s < left else zero
        cuda.syncthreads()

    return residuals


def _make_neurons(kind: Kind, shape: WideShape) -> Any:
    """The device function that makes errors of d, and the gradients of the output weights."""
    real, zero, r1, lanes = kind.real, kind.real(0), kind.r1, shape.lanes
    group = min(GROUP, shape.depth)

    @machine.device
    def neurons_of(theta, a, work, gradient, base, errors, first, left, held, width, outputs, penalty):
        v, error = cuda.local.array(group, real), cuda.local.array(group, real)
        apart, other_apart = np.uint64(width), np.uint64(outputs)
        for j in range(cuda.threadIdx.x, width, lanes):
            for s0 in range(0, held, group):
                place = np.uint64(base + s0 * width + j)
                for s in range(group):
                    v[s], error[s] = work[place], zero
                    place += apart
                for o in range(outputs):
                    weight, total = theta[np.uint64(a + o * width + j)], zero
                    place = np.uint64(errors + s0 * outputs + o)
                    for s in range(group):
                        r = work[place]
                        place += other_apart
                        if r1 and s0 + s < left:
                            r += penalty * weight * v[s]
                        total += r * v[s]
                        error[s] += r * weight
                    place = np.uint64(gradient + o * width + j)
                    work[place] = total + (work[place] if first + s0 > 0 else zero)
                place = np.uint64(base + (held + s0) * width + j)
                for s in range(group):
                    work[place] *= error[s]
                    place += apart
        cuda.syncthreads()

    return neurons_of


def _make_weights(kind: Kind, shape: WideShape) -> Any:
    """The device function that adds one pass to the gradients of the input weights."""
    tiling, real, zero = backward_tiling(shape), kind.real, kind.real(0)
    lanes, across, depth, columns, neurons = shape.lanes, shape.across, shape.depth, shape.inputs, shape.neurons
    rows, wide, pitch, other_pitch, second = tiling.places
    beside, group, held_sums = lanes // across, min(TOGETHER, columns), neurons * columns
    step, other_step = lanes // rows, lanes // wide
    load, add = make_load(real, rows * depth // lanes, step, step * pitch), make_add(real, tiling)
    load_samples = _make_load_samples(kind, wide * depth // lanes, other_step, other_step * other_pitch)

    @machine.device
    def weights_of(x, store, chosen, work, gradient, base, first, left, held, width, inputs):
        """`gradient`: where that of w begins in work; `base`: where the errors begin."""
        lane = cuda.threadIdx.x
        sums = cuda.local.array(held_sums, real)
        row, line, column, other_line = lane % rows, lane // rows, lane % wide, lane // wide
        r, c = lane // across * TOGETHER, lane % across * group
        for j0 in range(0, width, rows):
            for i0 in range(0, inputs, wide):
                for q in range(held_sums):
                    sums[q] = zero
                for s0 in range(0, left, depth):
                    j, s = j0 + row, s0 + line
                    place, stride = np.uint64(base + s * width + j), np.uint64(step * width)
                    load(work, place, stride, s, held, j < width, line * pitch + row)
                    s = first + s0 + other_line
                    spot = second + other_line * other_pitch + column
                    load_samples(x, store, chosen, inputs, i0 + column, s, first + left, spot)
                    cuda.syncthreads()
                    add(sums, r, c)
                    cuda.syncthreads()
                for k in range(neurons):
                    j = j0 + k // TOGETHER * TOGETHER * beside + r + k % TOGETHER
                    for o in range(columns):
                        i = i0 + o // group * group * across + c + o % group
                        if j < width and i < inputs:
                            place = np.uint64(gradient + j * inputs + i)
                            before = work[place] if first > 0 else zero
                            work[place] = before + sums[k * columns + o]
        cuda.syncthreads()

    return weights_of


def _make_gradient(kind: Kind, shape: WideShape) -> Any:
    products, activate, outputs_of = (
        _make_products(kind, shape),
        _make_activate(kind, shape),
        _make_outputs(kind, shape),
    )
    residuals, neurons_of, weights_of = (
        _make_residuals(kind, shape),
        _make_neurons(kind, shape),
        _make_weights(kind, shape),
    )
    lanes, real = shape.lanes, kind.real

    @machine.device
    def gradient(theta, a, x, y, work, base, store, chosen, sizes, run, penalty, always, drawn):
        """Fill g at work[base:]; a: where the member begins in theta."""
        width, inputs, outputs = sizes
        batch, held, scale = run.batch, run.held, run.scale
        values = base + width * (inputs + outputs)
        errors, side = values + 2 * held * width, 1
        while side < lanes and side * TOGETHER < width:
            side *= 2
        for first in range(0, batch, held):
            left = min(held, batch - first)
            products(theta, a + outputs * width, x, store, chosen, work, values, first, left, held, width, inputs)
            activate(work, values, first, held, width, always, drawn, side)
            outputs_of(theta, a, work, values, errors, held, width, outputs, scale)
            residuals(y, store, chosen, work, errors, first, left, held, outputs, scale / real(batch))
            neurons_of(theta, a, work, base, values, errors, first, left, held, width, outputs, penalty)
            weights_of(
                x, store, chosen, work, base + outputs * width, values + held * width, first, left, held, width, inputs
            )

    return gradient


def _make_apply(kind: Kind, shape: WideShape) -> Any:
    update, lanes, zero = make_update(kind), shape.lanes, kind.real(0)
    moments, (limit, largest) = OPTIMIZERS[kind.optimizer].moments, limits(kind.real)

    @machine.device
    def apply(theta, moment, weights, vectors, work, base, params, lr, constants, decay):
        """One step of the optimizer; theta[weights:] and moment[vectors:] are the member's. Whether it has diverged."""
        bad = 0
        for q in range(cuda.threadIdx.x, params, lanes):
            place, first, second = np.uint64(weights + q), np.uint64(vectors + q), np.uint64(vectors + params + q)
            p, g = theta[place], work[np.uint64(base + q)]
            if moments == 0:
                p = update(p, zero, zero, g, lr, constants, decay)[0]
            elif moments == 1:
                p, moment[first], _ = update(p, moment[first], zero, g, lr, constants, decay)
            else:
                u, v = moment[first], moment[second]
                p, u, v = update(p, u, v, g, lr, constants, decay)
                moment[first], moment[second] = u, v
                bad += not v <= largest
            bad += not abs(p) <= limit
            theta[place] = p
        return cuda.syncthreads_or(bad) != 0

    return apply


def build(kind: Kind, shape: WideShape) -> Any:
    """The kernel train(theta, moments, diverged, rates, words, x, y, constants, lrs, store, work, run).

    Arrays as in `in_registers.build`; work (blocks · work_size,). Blocks take turns on members. It is the same for any
    number of samples that a pass holds.
    """
    return _build(kind, shape._replace(held=0))


@cache
def _build(kind: Kind, shape: WideShape) -> Any:
    gradient, apply, draw_batch = _make_gradient(kind, shape), _make_apply(kind, shape), make_draw_batch(shape.lanes)
    real, minibatch, lr_of, vectors = kind.real, kind.minibatch, make_rate(kind), OPTIMIZERS[kind.optimizer].moments

    def train(theta, moments, diverged, rates, words, x, y, constants, lrs, store, work, run):
        sizes = width, inputs, outputs = run.width, run.inputs, run.outputs
        batch, scale, key1 = run.batch, run.scale, run.key1
        params, lane = width * (inputs + outputs), cuda.threadIdx.x
        base = cuda.blockIdx.x * (params + run.held * (2 * width + outputs))
        settings = cuda.local.array(CONSTANTS, real)
        others = cuda.blockIdx.x * 2 * batch
        chosen = others + batch
        for member in range(cuda.blockIdx.x, diverged.size, cuda.gridDim.x):
            lr, factor, variance = rates[3 * member], rates[3 * member + 1], rates[3 * member + 2]
            threshold, number, low = words_of(words, member, run.key0)
            always, alive = threshold == ALWAYS, diverged[member] < 0
            penalty = variance * scale * scale / real(batch)
            weights = member * params
            cuda.syncthreads()
            for t in range(run.steps if alive else 0):
                step = run.first_step + t
                if minibatch:
                    draw_batch(store, others, chosen, batch, run.samples, run.replace, lane, step, number, low, key1)
                drawn = threshold, factor, step, number, low, key1
                gradient(theta, weights, x, y, work, base, store, chosen, sizes, run, penalty, always, drawn)
                for q in range(CONSTANTS):
                    settings[q] = constants[t * CONSTANTS + q]
                here = lr_of(lrs, member * run.pitch + t, lr)
                if apply(theta, moments, weights, weights * vectors, work, base, params, here, settings, run.decay):
                    if lane == 0:
                        diverged[member] = step
                    break

    return machine.kernel(train, REGISTERS)
