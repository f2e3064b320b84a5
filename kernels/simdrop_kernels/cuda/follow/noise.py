"""The noise of a path on a device: normal numbers in the place of products of dropout factors; see `step`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from ...contract.equation import DRIFT_ALONE, SINGULAR
from ...mathematics.normals import make_circle
from ...mathematics.rng import STREAM_SDE
from .. import machine
from ..draws import philox, pick
from .sums import make_finish, make_products

_SDE = np.uint64(STREAM_SDE << 28)
_circle = make_circle(machine.scalar)


@machine.scalar
def box_muller(w0, w1):
    """`rng.box_muller`, without the reduction of huge angles."""
    r = math.sqrt(-2.0 * math.log((w0 + 0.5) * 2.0**-32))
    cosine, sine = _circle(w1)
    return r * cosine, r * sine


def _make_draw(lanes: int, real: type) -> Any:
    @machine.device
    def draw(work, start, first, count, row, drawn_by):
        """Put the numbers first, ..., first + count - 1 of a row of role MASK at work[start:]; without a barrier."""
        step, member, key0, key1 = drawn_by
        for block in range(first // 4 + cuda.threadIdx.x, (first + count + 3) // 4, lanes):
            w0, w1, w2, w3 = philox(np.uint64(block) | _SDE, np.uint64(row), step, member, key0, key1)
            z0, z1 = box_muller(w0, w1)
            z2, z3 = box_muller(w2, w3)
            for k in range(4):
                place = 4 * block + k - first
                if 0 <= place < count:
                    work[start + place] = real(pick(k, z0, z1, z2, z3))

    return draw


def _make_pairs(lanes: int, real: type) -> Any:
    draw, zero = _make_draw(lanes, real), real(0)

    @machine.device
    def add_distance(work, at, shape, numbers, apart):
        """Add to T what pairs `apart` neurons apart bring, for the lane's own; `numbers`: where theirs begin."""
        width = shape.width
        inside = width // 2 if 2 * apart == width else width  # the farthest are met twice
        for j in range(cuda.threadIdx.x, width, lanes):
            after, before = (j + apart) % width, (j - apart) % width
            here = work[numbers + j] if j < inside else zero
            there = work[numbers + before] if before < inside else zero
            for r in range(shape.grouped * shape.outputs):
                row = r * width
                work[at.t + row + j] += here * work[at.u + row + after] + there * work[at.u + row + before]

    @machine.device
    def pairs_by_distance(work, at, shape, group, distances, drawn_by):
        """Fill T with Σ_{k≠j} ξ_jk u_ρk and the place of ξ_k; u is there."""
        width, half = shape.width, shape.width // 2
        draw(work, at.xi, 0, width, group, drawn_by)
        for j in range(cuda.threadIdx.x, width, lanes):
            for r in range(shape.grouped * shape.outputs):
                work[at.t + r * width + j] = zero
        for first in range(1, half + 1, distances):
            count = min(distances, half + 1 - first)
            cuda.syncthreads()
            draw(work, at.pairs, first * width, count * width, group, drawn_by)
            cuda.syncthreads()
            for apart in range(first, first + count):
                add_distance(work, at, shape, at.pairs + (apart - first) * width, apart)
        cuda.syncthreads()

    return pairs_by_distance


def _make_row(lanes: int, real: type) -> Any:
    draw, zero, one, two = _make_draw(lanes, real), real(0), real(1), real(2)
    smallest, singular = real(np.finfo(real).eps), real(SINGULAR)

    @machine.device
    def pairs_of_a_row(work, at, shape, group, drawn_by):
        """Fill T with z of a row by itself and the place of ξ_k: every lane finds the sums over the row by itself."""
        width, u, t = shape.width, at.u, at.t
        draw(work, at.xi, 0, width, group, drawn_by)
        draw(work, at.pairs, width, width + 1, group, drawn_by)
        cuda.syncthreads()
        size, largest = zero, 0
        for j in range(width):
            size += work[u + j] * work[u + j]
            if abs(work[u + j]) > abs(work[u + largest]):
                largest = j
        common = work[at.pairs + width]
        for j in range(cuda.threadIdx.x, width, lanes):
            d = size - two * work[u + j] * work[u + j]
            root = real(math.sqrt(d if d > zero else zero))
            work[t + j] = root * work[at.pairs + j] + work[u + j] * common
        cuda.syncthreads()
        left = size - two * work[u + largest] * work[u + largest]
        if left < zero and cuda.threadIdx.x == 0:
            least, r, given = smallest * size, zero, zero
            for j in range(width):
                if j != largest:
                    d = size - two * work[u + j] * work[u + j]
                    per_d = work[u + j] / (d if d > least else least)
                    r += work[u + j] * per_d
                    given += work[t + j] * per_d
            rest = left + work[u + largest] * work[u + largest] / (one + r)
            rest = real(math.sqrt(rest if rest > singular * least else zero))
            work[t + largest] = work[u + largest] * given / (one + r) + rest * work[at.pairs + largest]
        cuda.syncthreads()

    return pairs_of_a_row


def make_fill(lanes: int, real: type) -> Any:
    """The device function that fills N."""
    products, finish, zero = make_products(lanes, real), make_finish(lanes, real), real(0)
    pairs_by_distance, pairs_of_a_row = _make_pairs(lanes, real), _make_row(lanes, real)

    @machine.device
    def pull(work, at, shape, x, first, path):
        """Complete T of the group that begins with sample `first`, and add its g_ρj T_ρj; own neurons."""
        c, inputs, width = shape.outputs, shape.inputs, shape.width
        for j in range(cuda.threadIdx.x, width, lanes):
            xi, weights = work[at.xi + j], at.noise + c * width + j * inputs
            for s in range(shape.grouped):
                i, by_h = first + s, zero
                for o in range(c):
                    r = s * c + o
                    own = xi * (
                        real(path.single) * work[at.e + i * c + o] + real(path.own) * work[at.u + r * width + j]
                    )
                    shared = real(path.single) * work[at.common + r]
                    t = real(path.pair) * work[at.t + r * width + j] + shared + own
                    work[at.noise + o * width + j] += work[at.h + i * width + j] * t
                    by_h += work[at.b + o * width + j] * t
                by_z = by_h * work[at.h1 + i * width + j]
                for d in range(inputs):
                    work[weights + d] += by_z * x[i * inputs + d]
        cuda.syncthreads()

    @machine.device
    def fill(work, at, shape, x, scale, size, path, run, drawn_by):
        """Fill N, which is empty, with `size` times the noise at the stage's point."""
        if run.part == DRIFT_ALONE or path.variance == 0:
            return
        c, width = shape.outputs, shape.width
        for first in range(0, shape.samples, shape.grouped):
            for j in range(cuda.threadIdx.x, width, lanes):
                for r in range(shape.grouped * c):
                    h = work[at.h + (first + r // c) * width + j]
                    work[at.u + r * width + j] = work[at.b + r % c * width + j] * h
            cuda.syncthreads()
            group = first // shape.grouped
            if shape.single:
                pairs_of_a_row(work, at, shape, group, drawn_by)
            else:
                pairs_by_distance(work, at, shape, group, run.distances, drawn_by)
            products(work, at.common, shape.grouped * c, 1, at.xi, at.u, width, False)
            pull(work, at, shape, x, first, path)
        finish(work, at.noise, shape, scale, size / real(shape.samples), run.train)

    return fill
