"""Masks and minibatches on the device: the numbers of `rng`, drawn in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..mathematics import rng
from . import machine

STEP = np.uint64(rng.STREAM_STEP_MASK << 28)
SAMPLE = np.uint64(rng.STREAM_SAMPLE_MASK << 28)
_BATCH = np.uint64(rng.STREAM_BATCH << 28)

#: a word
LOW = np.uint64(0xFFFFFFFF)


def _make_philox() -> Any:
    """`rng.philox` with words of 32 bits, which the simulator's plain numbers would overflow."""
    product, shift = machine.product(), np.uint64(32)
    first, second, weyl0, weyl1 = (np.uint32(word) for word in rng.CONSTANTS)

    def philox(c0, c1, c2, c3, k0, k1):
        c0, c1, c2, c3, k0, k1 = (
            np.uint32(c0),
            np.uint32(c1),
            np.uint32(c2),
            np.uint32(c3),
            np.uint32(k0),
            np.uint32(k1),
        )
        for _ in range(10):
            p0, p1 = product(first, c0), product(second, c2)
            c0, c2 = np.uint32(np.uint32(p1 >> shift) ^ c1 ^ k0), np.uint32(np.uint32(p0 >> shift) ^ c3 ^ k1)
            c1, c3 = np.uint32(p1), np.uint32(p0)
            k0, k1 = np.uint32(k0 + weyl0), np.uint32(k1 + weyl1)
        return c0, c1, c2, c3

    return philox


philox = machine.scalar(rng.philox if machine.SIMULATED else _make_philox())
bounded = machine.scalar(rng.bounded)


@machine.scalar
def pick(k, w0, w1, w2, w3):
    """Word k of four."""
    return w0 if k == 0 else (w1 if k == 1 else (w2 if k == 2 else w3))


@machine.device
def words_of(words, member, key0):
    """Threshold, number and low word of the key (`rng`) of a member; each is known to take one register."""
    threshold, number = words[2 * member], words[2 * member + 1]
    return threshold & LOW, number & LOW, (key0 ^ (number >> np.uint64(32))) & LOW


@machine.scalar
def is_kept(neuron, stream, sample, step, threshold, member, key0, key1):
    """Whether one neuron is kept, drawn by itself."""
    block = np.uint64(neuron // 4) | stream
    w0, w1, w2, w3 = philox(block, np.uint64(sample), np.uint64(step), member, key0, key1)
    return pick(neuron % 4, w0, w1, w2, w3) <= np.uint32(threshold)


def make_fill(neurons: int, sample_masks: bool, real: type) -> Any:
    """The device function that fills factors (K,) of the K consecutive neurons of a lane, whole blocks of four."""
    quads, zero = neurons // 4, real(0)
    stream = SAMPLE if sample_masks else STEP

    @machine.scalar
    def fill(factors, lane, width, threshold, factor, sample, step, member, key0, key1):
        """`factor` where the mask keeps, 0 elsewhere and beyond the width; `sample` is 0 for step masks."""
        for q in range(quads):
            block, most = np.uint64(lane * quads + q), np.uint32(threshold)
            w0, w1, w2, w3 = philox(block | stream, np.uint64(sample), np.uint64(step), member, key0, key1)
            first = lane * neurons + 4 * q
            factors[4 * q] = factor if w0 <= most and first < width else zero
            factors[4 * q + 1] = factor if w1 <= most and first + 1 < width else zero
            factors[4 * q + 2] = factor if w2 <= most and first + 2 < width else zero
            factors[4 * q + 3] = factor if w3 <= most and first + 3 < width else zero

    return fill


def make_draw_batch(lanes: int) -> Any:
    """The device function by which a team of `lanes` draws a minibatch into device memory."""
    barrier = machine.barrier(lanes)

    @machine.device
    def draw_batch(store, others, chosen, size, samples, replace, lane, step, member, key0, key1):
        """Put `size` sample numbers at store[chosen:]; store[others:] is room for as many.

        Exchange b of the shuffle swaps places b and o_b >= b. So the number that ends in place b is found by
        walking the exchanges before it backwards from o_b: one that has touched the place at hand brought there
        what stood in its own.
        """
        for quad in range(lane, (size + 3) // 4, lanes):
            block = np.uint64(quad) | _BATCH
            w0, w1, w2, w3 = philox(block, np.uint64(0), np.uint64(step), member, key0, key1)
            for b in range(4 * quad, min(4 * quad + 4, size)):
                word = pick(b % 4, w0, w1, w2, w3)
                if replace:
                    store[others + b] = np.int64(bounded(word, samples))
                else:
                    store[others + b] = b + np.int64(bounded(word, samples - b))
        barrier()
        for b in range(lane, size, lanes):
            place = np.int64(store[others + b])
            if not replace:
                for earlier in range(b - 1, -1, -1):
                    if store[others + earlier] == place:
                        place = np.int64(earlier)
            store[chosen + b] = place
        barrier()

    return draw_batch
