"""Kernel for networks whose neurons fit in registers: a team of lanes trains one member.

A lane holds the parameters, gradients and optimizer state of K consecutive neurons in registers from the
first to the last step of a launch. A step passes over the samples, S at a time: outputs are summed over the
lanes, then the gradients of these S samples are added, so that nothing is kept for all samples.

Sums over neurons follow one tree whatever the lanes: four neurons in turn, then pairs of neighbours. Results
have the same bits for any shape.

Legend: c outputs, D inputs, R = c + D numbers per neuron: a (c), then w (D). Register arrays: p, g, u, v
(R · K): parameters, gradients, moments, number r of neuron k at r · K + k; b (c · K) the a that a sample sees;
h, d (S · K): σ and σ' with their dropout factors; f (S · c): outputs, then residuals e · scale / n.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ...contract.optimizer import CONSTANTS
from ...contract.step import limits
from ...mathematics.activations.base import Scalars
from ...mathematics.activations.table import scalars
from ...mathematics.optimizers.table import OPTIMIZERS
from .. import machine
from ..draws import LOW, make_draw_batch, make_fill, words_of
from .plan import TeamShape
from .rules import make_rate, make_residual, make_update

ALWAYS = LOW  # the threshold that keeps all


class Kind(NamedTuple):
    """What a kernel is compiled for, besides its shape. `ones`: the last input is 1 in every sample.

    `decays`: "", or how weight decay acts ("coupled", "decoupled").
    """

    activation: str
    sample_masks: bool
    r1: bool
    optimizer: str
    minibatch: bool
    real: type
    outputs: int
    inputs: int
    ones: bool
    loss: str = "squared"
    decays: str = ""
    scheduled: bool = False


def shared_bytes(kind: Kind, shape: TeamShape) -> int:
    """Shared memory that a block needs: the partial sums of its warps, in two turns."""
    if shape.lanes <= machine.WARP:
        return 8  # the simulator cannot have none
    warps = shape.members * shape.lanes // machine.WARP
    return 2 * warps * shape.samples * kind.outputs * np.dtype(kind.real).itemsize


def chosen_size(kind: Kind, shape: TeamShape, members: int, batch: int) -> int:
    """Numbers of samples that minibatches of all members take, whole passes and blocks."""
    if not kind.minibatch:
        return 1
    whole = -(-members // shape.members) * shape.members
    return whole * 2 * -(-batch // shape.samples) * shape.samples


def _make_sum(kind: Kind, shape: TeamShape) -> Any:
    """f (S · c) summed over the lanes of a team, in every lane."""
    count, warps = shape.samples * kind.outputs, max(1, shape.lanes // machine.WARP)
    stages = min(shape.lanes, machine.WARP).bit_length() - 1
    levels, per_block = warps.bit_length() - 1, warps * shape.members
    exchange, real = machine.exchange(kind.real), machine.TYPES[kind.real]
    lanes_of_warp = machine.WARP

    @machine.device
    def team_sum(f, team, lane, turn):
        """Warps leave their parts in one of two places by turns: one barrier a pass keeps readers from writers."""
        for q in range(count):
            total = f[q]
            for stage in range(stages):
                total += exchange(total, 1 << stage)
            f[q] = total
        if warps > 1:
            store = cuda.shared.array(0, real)
            first = (turn * per_block + team * warps) * count
            if lane % lanes_of_warp == 0:
                for q in range(count):
                    store[first + lane // lanes_of_warp * count + q] = f[q]
            cuda.syncthreads()
            tree = cuda.local.array(warps, real)
            for q in range(count):
                for w in range(warps):
                    tree[w] = store[first + w * count + q]
                for level in range(levels):
                    for w in range(warps >> (level + 1)):
                        tree[w] = tree[2 * w] + tree[2 * w + 1]
                f[q] = tree[0]

    return team_sum


def _make_forward(kind: Kind, shape: TeamShape, act: Scalars, keep_slope: bool) -> Any:
    value, slope = act.value, act.slope
    real, factored, ones = kind.real, kind.sample_masks, kind.ones
    outputs, inputs, neurons = kind.outputs, kind.inputs, shape.neurons
    products = inputs - 1 if ones else inputs
    last, quads = (outputs + inputs - 1) * neurons, neurons // 4
    levels = quads.bit_length() - 1

    @machine.device
    def forward(p, b, factors, x, row, s, h, d, f):
        """h, d and the lane's part of f for sample s of a pass, whose inputs are x[row:]."""
        for k in range(neurons):
            z = p[last + k] if ones else p[outputs * neurons + k] * x[np.uint64(row)]
            for i in range(0 if ones else 1, products):
                z += p[(outputs + i) * neurons + k] * x[np.uint64(row + i)]
            v = value(z)
            if keep_slope:
                d[s * neurons + k] = factors[k] * slope(z, v) if factored else slope(z, v)
            h[s * neurons + k] = factors[k] * v if factored else v
        tree = cuda.local.array(quads, real)
        for o in range(outputs):
            for q in range(quads):
                total = b[o * neurons + 4 * q] * h[s * neurons + 4 * q]
                for k in range(4 * q + 1, 4 * q + 4):
                    total += b[o * neurons + k] * h[s * neurons + k]
                tree[q] = total
            for level in range(levels):
                for q in range(quads >> (level + 1)):
                    tree[q] = tree[2 * q] + tree[2 * q + 1]
            f[s * outputs + o] = tree[0]

    return forward


def _make_backward(kind: Kind, shape: TeamShape, act: Scalars, keep_slope: bool) -> Any:
    slope, r1, ones, zero = act.slope, kind.r1, kind.ones, kind.real(0)
    outputs, inputs, neurons = kind.outputs, kind.inputs, shape.neurons
    products = inputs - 1 if ones else inputs
    last = (outputs + inputs - 1) * neurons

    @machine.device
    def backward(b, x, row, s, h, d, f, penalty, g):
        """Add sample s of a pass to the gradients; with one output its factor b is left to `apply`."""
        for k in range(neurons):
            v = h[s * neurons + k]
            error = zero
            for o in range(outputs):
                r = f[s * outputs + o]
                if r1:
                    r += penalty * b[o * neurons + k] * v  # R_1 adds v u_ij to the residual that neuron j sees
                g[o * neurons + k] += r * v
                if outputs == 1:
                    error = r
                else:
                    error += r * b[o * neurons + k]
            error *= d[s * neurons + k] if keep_slope else slope(v, v)
            for i in range(products):
                g[(outputs + i) * neurons + k] += error * x[np.uint64(row + i)]
            if ones:
                g[last + k] += error

    return backward


def _make_prepare(kind: Kind, shape: TeamShape) -> Any:
    fill, zero = make_fill(shape.neurons, kind.sample_masks, kind.real), kind.real(0)
    step_masks, neurons, outputs = not kind.sample_masks, shape.neurons, kind.outputs
    held = neurons * (kind.inputs + kind.outputs)

    @machine.scalar
    def prepare(p, b, g, factors, lane, width, always, drawn):
        """Draw a step mask, take its factor into b, empty g."""
        threshold, factor, step, member, key0, key1 = drawn
        if step_masks and not always:
            fill(factors, lane, width, threshold, factor, 0, step, member, key0, key1)
        for q in range(outputs * neurons):
            b[q] = factors[q % neurons] * p[q] if step_masks else p[q]
        for q in range(held):
            g[q] = zero

    return prepare


def _make_apply(kind: Kind, shape: TeamShape) -> Any:
    update = make_update(kind)
    moments, step_masks, real, zero = OPTIMIZERS[kind.optimizer].moments, not kind.sample_masks, kind.real, kind.real(0)
    outputs, numbers, neurons = kind.outputs, kind.outputs + kind.inputs, shape.neurons
    limit, largest = limits(kind.real)

    @machine.device
    def apply(p, g, u, v, b, factors, lr, constants, t, decay):
        """One step of the optimizer; a neuron that a step mask drops has gradient 0, whatever h was.

        Returns whether the lane's neurons are within the limits of a member that has not diverged.
        """
        good = True
        settings = cuda.local.array(CONSTANTS, real)
        for q in range(CONSTANTS):
            settings[q] = constants[t * CONSTANTS + q] if moments > 0 else zero
        for q in range(numbers * neurons):
            k, slope = q % neurons, g[q]
            if q < outputs * neurons:
                slope = factors[k] * slope if step_masks else slope
            elif outputs == 1:
                slope = b[k] * slope
            slope = zero if step_masks and factors[k] == zero else slope
            if moments == 0:
                p[q] = update(p[q], zero, zero, slope, lr, settings, decay)[0]
            elif moments == 1:
                p[q], u[q], _ = update(p[q], u[q], zero, slope, lr, settings, decay)
            else:
                p[q], u[q], v[q] = update(p[q], u[q], v[q], slope, lr, settings, decay)
                good = good and v[q] <= largest
            good = good and abs(p[q]) <= limit
        return good

    return apply


def _make_copies(kind: Kind, shape: TeamShape) -> tuple[Any, Any]:
    outputs, inputs, neurons, zero = kind.outputs, kind.inputs, shape.neurons, kind.real(0)

    @machine.scalar
    def load(registers, numbers, start, lane, width):
        """Take the lane's neurons from numbers[start:], laid out as theta; 0 beyond the width."""
        for k in range(neurons):
            j = lane * neurons + k
            for o in range(outputs):
                registers[o * neurons + k] = numbers[start + o * width + j] if j < width else zero
            for i in range(inputs):
                place = start + outputs * width + j * inputs + i
                registers[(outputs + i) * neurons + k] = numbers[place] if j < width else zero

    @machine.scalar
    def save(registers, numbers, start, lane, width):
        """The inverse of `load`."""
        for k in range(neurons):
            j = lane * neurons + k
            if j < width:
                for o in range(outputs):
                    numbers[start + o * width + j] = registers[o * neurons + k]
                for i in range(inputs):
                    place = start + outputs * width + j * inputs + i
                    numbers[place] = registers[(outputs + i) * neurons + k]

    return load, save


def _make_residuals(kind: Kind) -> Any:
    """The device function that makes residuals of the outputs f[first:] of one sample, whose targets are y[place:]."""
    residual, outputs, real = make_residual(kind), kind.outputs, kind.real

    def squared(f, first, y, place, scale):
        for o in range(outputs):
            f[first + o] = scale * f[first + o] - y[np.uint64(place + o)]

    def any_loss(f, first, y, place, scale):
        e, aim = cuda.local.array(outputs, real), cuda.local.array(outputs, real)
        for o in range(outputs):
            e[o], aim[o] = scale * f[first + o], y[np.uint64(place + o)]
        residual(e, aim, e)
        for o in range(outputs):
            f[first + o] = e[o]

    return machine.device(squared if kind.loss == "squared" else any_loss)


def _make_gradient(kind: Kind, shape: TeamShape) -> Any:
    act = scalars(kind.activation, machine.scalar, kind.real, machine.arithmetic(kind.real))
    keep_slope = kind.sample_masks or not act.from_value
    forward, backward = _make_forward(kind, shape, act, keep_slope), _make_backward(kind, shape, act, keep_slope)
    team_sum, fill = _make_sum(kind, shape), make_fill(shape.neurons, kind.sample_masks, kind.real)
    residuals = _make_residuals(kind)
    outputs, inputs, samples, real, zero = kind.outputs, kind.inputs, shape.samples, kind.real, kind.real(0)
    held, sums = samples * shape.neurons, samples * outputs
    slopes = held if keep_slope else 1
    minibatch, sample_masks = kind.minibatch, kind.sample_masks

    @machine.device
    def gradient(p, b, g, factors, x, y, store, chosen, turn, team, lane, width, batch, scale, penalty, always, drawn):
        """Add the gradients of all samples to g. `turn` is that of the first pass."""
        h, d = cuda.local.array(held, real), cuda.local.array(slopes, real)
        f, rows = cuda.local.array(sums, real), cuda.local.array(samples, np.int64)
        threshold, factor, step, member, key0, key1 = drawn
        share = scale / real(batch)
        for first in range(0, batch, samples):
            for s in range(samples):
                rows[s] = np.int64(store[chosen + first + s]) if minibatch else first + s
                if sample_masks and not always:
                    fill(factors, lane, width, threshold, factor, first + s, step, member, key0, key1)
                forward(p, b, factors, x, rows[s] * inputs, s, h, d, f)
            team_sum(f, team, lane, turn)
            turn = 1 - turn
            for s in range(samples):
                residuals(f, s * outputs, y, rows[s] * outputs, scale)
                for o in range(outputs):
                    e = f[s * outputs + o] if first + s < batch else zero
                    f[s * outputs + o] = share * e
                backward(b, x, rows[s] * inputs, s, h, d, f, penalty if first + s < batch else zero, g)

    return gradient


@cache
def build(kind: Kind, shape: TeamShape, max_registers: int | None = None) -> Any:
    """The kernel train(theta, moments, diverged, rates, words, x, y, constants, lrs, store, run).

    theta (M · P,), moments (M · k · P,), diverged (M,): as in an `Ensemble`, changed in place. rates (M · 3,):
    lr, 1/p, v. words (M · 2,): threshold, number of the member. x (n · D,) and y (n · c,), with zeros up to whole
    passes of S samples. constants (steps · CONSTANTS,). lrs (M · steps,) or (steps,): learning rates that change,
    `run.pitch` from member to member. store (chosen_size,) int32: room for minibatches. run: a `Run`. The grid covers
    the members, `shape.members` a block.
    """
    prepare, gradient, apply = _make_prepare(kind, shape), _make_gradient(kind, shape), _make_apply(kind, shape)
    (load, save), opaque, draw_batch = _make_copies(kind, shape), machine.opaque(), make_draw_batch(shape.lanes)
    lanes, neurons, samples, members = shape
    real, zero, lost, minibatch, lr_of = kind.real, kind.real(0), kind.real(np.nan), kind.minibatch, make_rate(kind)
    numbers, vectors = kind.outputs + kind.inputs, OPTIMIZERS[kind.optimizer].moments
    held, seen = numbers * neurons, kind.outputs * neurons
    first_held, second_held = held if vectors > 0 else 1, held if vectors > 1 else 1

    def train(theta, moments, diverged, rates, words, x, y, constants, lrs, store, run):
        first_step, width, batch, scale = run.first_step, run.width, run.batch, run.scale
        key1, in_all, replace = run.key1, run.samples, run.replace
        lane, team, params = cuda.threadIdx.x % lanes, cuda.threadIdx.x // lanes, width * numbers
        member = cuda.blockIdx.x * members + team
        padded = (batch + samples - 1) // samples * samples
        others, chosen = member * 2 * padded, (member * 2 + 1) * padded
        mine = member < diverged.size
        # a team without a member goes along, as one of no neurons: all lanes take part in all exchanges
        member, own_width = (member, width) if mine else (0, 0)
        p, g = cuda.local.array(held, real), cuda.local.array(held, real)
        u, v = cuda.local.array(first_held, real), cuda.local.array(second_held, real)
        b, factors = cuda.local.array(seen, real), cuda.local.array(neurons, real)
        load(p, theta, member * params, lane, own_width)
        if vectors > 0:
            load(u, moments, member * vectors * params, lane, own_width)
        if vectors > 1:
            load(v, moments, (member * vectors + 1) * params, lane, own_width)
        lr, factor, penalty = rates[3 * member], rates[3 * member + 1], rates[3 * member + 2]
        penalty *= scale * scale / real(batch)
        threshold, number, low = words_of(words, member, run.key0)
        always, alive = threshold == ALWAYS, mine and diverged[member] < 0
        for k in range(neurons):
            factors[k] = factor if lane * neurons + k < own_width else zero
        for i in range(batch + lane, padded if minibatch else 0, lanes):
            store[chosen + i] = 0
        for t in range(run.steps):
            drawn = threshold, factor, first_step + t, number, low, key1
            if minibatch:
                draw_batch(store, others, chosen, batch, in_all, replace, lane, first_step + t, number, low, key1)
            prepare(p, b, g, factors, lane, own_width, always, drawn)
            turn = t * (padded // samples) % 2  # on from the last pass before
            gradient(
                p, b, g, factors, x, y, store, chosen, turn, team, lane, own_width, batch, scale, penalty, always, drawn
            )
            here = lr_of(lrs, member * run.pitch + t, lr)
            if alive and not apply(p, g, u, v, b, factors, here, constants, t, run.decay):
                # the other lanes find out by the outputs of the next step, which are NaN then
                alive = False
                if diverged[member] < 0:
                    diverged[member] = first_step + t
                for q in range(seen):
                    p[q] = lost
        if mine:
            start = opaque(member * params)  # else the addresses would take registers all along
            save(p, theta, start, lane, own_width)
            if vectors > 0:
                save(u, moments, start * vectors, lane, own_width)
            if vectors > 1:
                save(v, moments, start * vectors + params, lane, own_width)

    return machine.kernel(train, max_registers)
