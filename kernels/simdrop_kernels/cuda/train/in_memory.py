"""Kernel for networks of any size: a block of lanes trains one member whose parameters lie in device memory.

Slower than `in_registers`, which takes what fits in registers. Samples are passed over S at a time: inputs times
weights through tiles in shared memory, residuals by one warp for each output, then gradients, which wait in
device memory for the end of the step.

Legend: c outputs, D inputs, m neurons, P = m (c + D). A block's `work` holds g (P,) gradients as theta lies,
h and d (S, m): σ and σ' with their dropout factors; d becomes the error of each neuron. `space` is
where the residuals e (S, c) begin in shared memory, after a tile (lanes, depth + 1).
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ...contract.optimizer import CONSTANTS
from ...contract.step import limits
from ...mathematics.activations.table import scalars
from ...mathematics.optimizers import table as optimizers
from .. import machine
from ..draws import SAMPLE, STEP, is_kept, make_draw_batch, words_of
from .in_registers import ALWAYS
from .plan import WideShape


class Kind(NamedTuple):
    """What a kernel is compiled for."""

    activation: str
    sample_masks: bool
    r1: bool
    optimizer: str
    minibatch: bool
    real: type


def shared_bytes(kind: Kind, shape: WideShape, outputs: int) -> int:
    """Shared memory that a block needs: a tile and the residuals of a pass."""
    return (shape.lanes * (shape.depth + 1) + shape.samples * outputs) * np.dtype(kind.real).itemsize


def chosen_size(kind: Kind, shape: WideShape, blocks: int, batch: int) -> int:
    """Numbers of samples that the minibatches of all blocks take."""
    return blocks * 2 * (batch + shape.samples) if kind.minibatch else 1


def work_size(shape: WideShape, width: int, params: int) -> int:
    """Numbers of device memory that a block works in."""
    return params + 2 * shape.samples * width


def _make_forward(kind: Kind, shape: WideShape) -> Any:
    act = scalars(kind.activation, machine.scalar, kind.real, machine.arithmetic(kind.real))
    value, slope, real, zero = act.value, act.slope, kind.real, kind.real(0)
    lanes, samples, depth, pitch = shape.lanes, shape.samples, shape.depth, shape.depth + 1
    stream, sample_masks = SAMPLE if kind.sample_masks else STEP, kind.sample_masks
    shared = machine.TYPES[real]

    @machine.device
    def forward(theta, weights, x, rows, work, held, first, width, inputs, always, drawn):
        """Fill h and d of one pass; weights: where the member's w begins in theta."""
        tile, lane = cuda.shared.array(0, shared), cuda.threadIdx.x
        z = cuda.local.array(samples, real)
        threshold, factor, step, member, key0, key1 = drawn
        for start in range(0, width, lanes):
            for s in range(samples):
                z[s] = zero
            for d0 in range(0, inputs, depth):
                for place in range(lane, lanes * depth, lanes):
                    j, i = start + place // depth, d0 + place % depth
                    inside = j < width and i < inputs
                    tile[place // depth * pitch + place % depth] = theta[weights + j * inputs + i] if inside else zero
                cuda.syncthreads()
                for i in range(depth):
                    weight = tile[lane * pitch + i]
                    for s in range(samples):
                        z[s] += weight * x[np.uint64(rows[s] * inputs + d0 + i)]
                cuda.syncthreads()
            j = start + lane
            if j < width:
                for s in range(samples):
                    scaled = factor
                    if not always:
                        sample = first + s if sample_masks else 0
                        if not is_kept(j, stream, sample, step, threshold, member, key0, key1):
                            scaled = zero
                    v = value(z[s])
                    work[held + s * width + j] = scaled * v
                    work[held + (samples + s) * width + j] = scaled * slope(z[s], v)
        cuda.syncthreads()

    return forward


def _make_residuals(kind: Kind, shape: WideShape) -> Any:
    exchange, real, zero = machine.exchange(kind.real), kind.real, kind.real(0)
    warps, stages = shape.lanes // machine.WARP, machine.WARP.bit_length() - 1
    lanes_of_warp, samples, shared = machine.WARP, shape.samples, machine.TYPES[real]

    @machine.device
    def residuals(theta, a, y, rows, work, held, space, left, width, outputs, scale):
        """Fill e = scale · f - y, 0 for samples beyond the `left` that remain."""
        e, here = cuda.shared.array(0, shared), cuda.threadIdx.x
        lane, warp = here % lanes_of_warp, here // lanes_of_warp
        pairs = samples * outputs
        for start in range(0, pairs, warps):  # all lanes take part in all exchanges
            pair = min(start + warp, pairs - 1)
            s, o = pair // outputs, pair % outputs
            total = zero
            for j in range(lane, width, lanes_of_warp):
                total += theta[a + o * width + j] * work[held + s * width + j]
            for stage in range(stages):
                total += exchange(total, 1 << stage)
            if lane == 0 and start + warp < pairs:
                e[space + pair] = scale * total - y[rows[s] * outputs + o] if s < left else zero
        cuda.syncthreads()

    return residuals


def _make_backward(kind: Kind, shape: WideShape) -> Any:
    real, zero, r1, shared = kind.real, kind.real(0), kind.r1, machine.TYPES[kind.real]
    lanes, samples = shape.lanes, shape.samples

    @machine.device
    def backward(theta, a, x, rows, work, base, held, space, left, width, inputs, outputs, share, penalty, across):
        """Add one pass, of `left` samples at most, to g at work[base:].

        `across` of the lanes lie along the inputs, the others along the neurons.
        """
        e, lane = cuda.shared.array(0, shared), cuda.threadIdx.x
        v, error = cuda.local.array(samples, real), cuda.local.array(samples, real)
        for j in range(lane, width, lanes):
            for s in range(samples):
                v[s] = work[held + s * width + j]
                error[s] = zero
            for o in range(outputs):
                weight, total = theta[a + o * width + j], zero
                for s in range(samples):
                    r = share * e[space + s * outputs + o]
                    if r1 and s < left:
                        r += penalty * weight * v[s]
                    total += r * v[s]
                    error[s] += r * weight
                work[base + o * width + j] += total
            for s in range(samples):
                work[held + (samples + s) * width + j] *= error[s]
        cuda.syncthreads()
        for i in range(lane % across, inputs, across):
            for s in range(samples):
                v[s] = x[rows[s] * inputs + i]
            for j in range(lane // across, width, lanes // across):
                total = zero
                for s in range(samples):
                    total += work[held + (samples + s) * width + j] * v[s]
                work[base + outputs * width + j * inputs + i] += total
        cuda.syncthreads()

    return backward


def _make_apply(kind: Kind, shape: WideShape) -> Any:
    update = optimizers.update(kind.optimizer, machine.scalar, machine.over_root(kind.real))
    lanes, moments, zero = shape.lanes, optimizers.OPTIMIZERS[kind.optimizer].moments, kind.real(0)
    limit, largest = limits(kind.real)

    @machine.device
    def apply(theta, moment, weights, vectors, work, base, params, lr, constants):
        """One step of the optimizer; theta[weights:] and moment[vectors:] are the member's. Whether it has diverged."""
        bad = 0
        for q in range(cuda.threadIdx.x, params, lanes):
            p, g = theta[weights + q], work[base + q]
            if moments == 0:
                p = update(p, zero, zero, g, lr, constants)[0]
            elif moments == 1:
                p, moment[vectors + q], _ = update(p, moment[vectors + q], zero, g, lr, constants)
            else:
                u, v = moment[vectors + q], moment[vectors + params + q]
                p, u, v = update(p, u, v, g, lr, constants)
                moment[vectors + q], moment[vectors + params + q] = u, v
                bad += not v <= largest
            bad += not abs(p) <= limit
            theta[weights + q] = p
        return cuda.syncthreads_or(bad) != 0

    return apply


def _make_gradient(kind: Kind, shape: WideShape) -> Any:
    forward, residuals, backward = _make_forward(kind, shape), _make_residuals(kind, shape), _make_backward(kind, shape)
    lanes, samples, real, zero = shape.lanes, shape.samples, kind.real, kind.real(0)
    area, minibatch = shape.lanes * (shape.depth + 1), kind.minibatch

    @machine.device
    def gradient(theta, weights, x, y, work, base, store, chosen, sizes, batch, scale, penalty, always, drawn):
        """Fill g."""
        width, inputs, outputs = sizes
        params = width * (inputs + outputs)
        held, share = base + params, scale / real(batch)
        rows = cuda.local.array(samples, np.int64)
        across = 1
        while across < lanes and across < inputs:
            across *= 2
        for q in range(cuda.threadIdx.x, params, lanes):
            work[base + q] = zero
        for first in range(0, batch, samples):
            for s in range(samples):
                rows[s] = np.int64(store[chosen + first + s]) if minibatch else first + s
            hidden = weights + outputs * width
            forward(theta, hidden, x, rows, work, held, first, width, inputs, always, drawn)
            left = batch - first
            residuals(theta, weights, y, rows, work, held, area, left, width, outputs, scale)
            backward(
                theta, weights, x, rows, work, base, held, area, left, width, inputs, outputs, share, penalty, across
            )

    return gradient


@cache
def build(kind: Kind, shape: WideShape) -> Any:
    """The kernel train(theta, moments, diverged, rates, words, x, y, constants, store, work, run).

    Arrays as in `in_registers.build`, and x longer by one tile's depth; work (blocks · work_size,). Blocks take turns
    on members.
    """
    gradient, apply, draw_batch = _make_gradient(kind, shape), _make_apply(kind, shape), make_draw_batch(shape.lanes)
    real, minibatch = kind.real, kind.minibatch
    lanes, samples, vectors = shape.lanes, shape.samples, optimizers.OPTIMIZERS[kind.optimizer].moments

    def train(theta, moments, diverged, rates, words, x, y, constants, store, work, run):
        width, inputs, outputs, batch, scale = run.width, run.inputs, run.outputs, run.batch, run.scale
        key1, in_all, replace = run.key1, run.samples, run.replace
        params, lane = width * (inputs + outputs), cuda.threadIdx.x
        base = cuda.blockIdx.x * (params + 2 * samples * width)
        settings = cuda.local.array(CONSTANTS, real)
        others = cuda.blockIdx.x * 2 * (batch + samples)
        chosen = others + batch + samples
        if minibatch:
            for i in range(batch + lane, batch + samples, lanes):
                store[chosen + i] = 0
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
                    draw_batch(store, others, chosen, batch, in_all, replace, lane, step, number, low, key1)
                drawn, sizes = (threshold, factor, step, number, low, key1), (width, inputs, outputs)
                gradient(theta, weights, x, y, work, base, store, chosen, sizes, batch, scale, penalty, always, drawn)
                for q in range(CONSTANTS):
                    settings[q] = constants[t * CONSTANTS + q]
                if apply(theta, moments, weights, weights * vectors, work, base, params, lr, settings):
                    if lane == 0:
                        diverged[member] = step
                    break

    return machine.kernel(train)


@cache
def build_outputs(activation: str, outputs: int, real: type) -> Any:
    """The kernel evaluate(theta, x, f, run): outputs f (M · n · c,) of whole networks; run: n, m, D, output scale."""
    value = scalars(activation, machine.scalar, real, machine.arithmetic(real)).value
    zero = real(0)

    def evaluate(theta, x, f, run):
        samples, width, inputs, scale = run
        place = cuda.grid(1)
        if place * outputs >= f.size:
            return
        member, row = place // samples, place % samples * inputs
        start = member * width * (inputs + outputs)
        totals = cuda.local.array(outputs, real)
        for o in range(outputs):
            totals[o] = zero
        for j in range(width):
            z = zero
            for i in range(inputs):
                z += theta[start + (outputs * width + j * inputs) + i] * x[row + i]
            h = value(z)
            for o in range(outputs):
                totals[o] += theta[start + o * width + j] * h
        for o in range(outputs):
            f[place * outputs + o] = scale * totals[o]

    return machine.kernel(evaluate)
