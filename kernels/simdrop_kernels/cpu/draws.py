"""Compiled draws of masks, minibatches and normal numbers: the numbers of `rng`, in the form the CPU kernels use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from ..mathematics.rng import STREAM_BATCH, STREAM_SAMPLE_MASK, STREAM_STEP_MASK, bounded, box_muller, philox
from .compile import inner, leaf, scalar

scalar(bounded)
scalar(box_muller)

_STEP = np.uint64(STREAM_STEP_MASK << 28)
_SAMPLE = np.uint64(STREAM_SAMPLE_MASK << 28)
_BATCH = np.uint64(STREAM_BATCH << 28)
_LOW = np.uint64(0xFFFFFFFF)

#: blocks drawn at a time, whole vectors of them on every processor
LANES = 32
#: neurons of those blocks: the kernels work on tiles of as many
TILE = 4 * LANES


class _Vector:
    """A vector of 64-bit words under construction: operators emit instructions.

    Compilers judge Philox too dear to turn into vectors by themselves; `rng.philox` applied to these
    objects writes it out as such.
    """

    __array_ufunc__ = None  # let NumPy's scalars leave the operators to this class

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, emit: Callable[[Any, Any], Any], other: Any) -> _Vector:
        if not isinstance(other, _Vector):
            other = _splat(self.builder, ir.Constant(ir.IntType(64), int(other)))
        return _Vector(self.builder, emit(self.value, other.value))

    def __add__(self, other: Any) -> _Vector:
        return self._with(self.builder.add, other)

    def __mul__(self, other: Any) -> _Vector:
        return self._with(self.builder.mul, other)

    def __xor__(self, other: Any) -> _Vector:
        return self._with(self.builder.xor, other)

    def __and__(self, other: Any) -> _Vector:
        return self._with(self.builder.and_, other)

    def __rshift__(self, other: Any) -> _Vector:
        return self._with(self.builder.lshr, other)

    __rmul__ = __mul__


_WORDS = ir.VectorType(ir.IntType(64), 8)


def _splat(builder: Any, scalar_value: Any) -> _Vector:
    """The vector that holds one 64-bit word in all places."""
    vector = ir.Constant(_WORDS, ir.Undefined)
    for place in range(_WORDS.count):
        vector = builder.insert_element(vector, scalar_value, ir.Constant(ir.IntType(32), place))
    return _Vector(builder, vector)


@intrinsic
def _philox_of_eight(typing, words, lanes, start, c0, c1, c2, c3, k0, k1):
    """Draw the lanes start ... start + 7 of `draw_words`."""

    def place(context, builder, array_type, array, index):
        data = make_array(array_type)(context, builder, array).data
        return builder.bitcast(builder.gep(data, [index]), _WORDS.as_pointer())

    def emit(context, builder, signature, args):
        offset = ir.Constant(ir.IntType(64), LANES)
        counters = []
        index = args[2]
        for counter in args[3:6]:
            added = builder.load(place(context, builder, signature.args[1], args[1], index), align=8, typ=_WORDS)
            counters.append((_Vector(builder, added) + _splat(builder, counter)) & _LOW)
            index = builder.add(index, offset)
        rest = [_splat(builder, word) & _LOW for word in args[6:]]
        index = args[2]
        for word in philox(*counters, *rest):
            builder.store(word.value, place(context, builder, signature.args[0], args[0], index), align=8)
            index = builder.add(index, offset)
        return context.get_dummy_value()

    u64 = types.uint64
    return types.void(words, lanes, types.int64, u64, u64, u64, u64, u64, u64), emit


@leaf
def draw_words(words, lanes, stream, first, sample, step, member, key):
    """Draw LANES blocks into words (4 · LANES,): word k of lane l at k · LANES + l.

    lanes (3 · LANES,): what each lane adds to block number, sample and step.
    """
    draw_lanes(words, lanes, LANES, stream, first, sample, step, member, key)


@leaf
def draw_lanes(words, lanes, count, stream, first, sample, step, member, key):
    """The first `count` lanes of `draw_words`, and those that share a vector with them."""
    c0 = np.uint64(first) | stream
    low = key[0] ^ (np.uint64(member) >> np.uint64(32))  # see rng
    for start in range(0, count, 8):
        _philox_of_eight(words, lanes, start, c0, np.uint64(sample), np.uint64(step), member, low, key[1])


@inner
def lanes_over(blocks, counted):
    """Lanes (3 · LANES,) that hold `blocks` blocks each of consecutive samples (counted = 1) or steps (2)."""
    lanes = np.zeros(3 * LANES, np.uint64)
    fill_lanes(lanes, blocks, counted)
    return lanes


@leaf
def fill_lanes(lanes, blocks, counted):
    """Make `lanes`, whose other numbers are 0, those of `lanes_over`."""
    block, number = 0, 0
    for lane in range(LANES):
        lanes[lane] = block
        lanes[counted * LANES + lane] = number
        block += 1
        if block == blocks:
            block, number = 0, number + 1


@leaf
def draw_kept(kept, words, lanes, width, threshold, step, offset, member, key):
    """Put the numbers of the neurons that a step mask keeps into `kept` (width + 3,); returns how many.

    Where several steps fit the lanes, `words` holds them all: `offset` says which is wanted, 0 draws.
    """
    count = 0
    all_blocks = (width + 3) // 4
    for first in range(0, all_blocks, LANES):
        blocks = min(LANES, all_blocks - first)
        if offset == 0:
            draw_words(words, lanes, _STEP, first, 0, step, member, key)
        for block in range(blocks):
            neuron = 4 * (first + block)
            for k in range(4):
                kept[count] = neuron + k
                count += words[k * LANES + offset * blocks + block] <= threshold
    while count > 0 and kept[count - 1] >= width:
        count -= 1
    return count


class MaskDraw(NamedTuple):
    """What the sample masks of one member at one step are drawn by."""

    threshold: Any
    factor: Any  # of the kept neurons
    drawn: Any  # False: all are kept
    step: Any
    member: Any
    key: Any


@leaf
def draw_factors(factors, words, lanes, blocks, first, sample, offset, mask):
    """Fill factors (4 · blocks,), all words 0 first, with the factor where a `MaskDraw` keeps, else 0.

    `offset` is that of `draw_kept`, of samples.
    """
    threshold, factor = mask.threshold, mask.factor
    if offset == 0:
        draw_words(words, lanes, _SAMPLE, first, sample, mask.step, mask.member, mask.key)
    zero = 0 * factor
    for k in range(4):
        start = k * LANES + offset * blocks
        row, drawn = factors[k * blocks : (k + 1) * blocks], words[start : start + blocks]
        for block in range(blocks):
            row[block] = factor if drawn[block] <= threshold else zero


@leaf
def draw_tile(factors, words, lanes, first, width, mask):
    """The sample-mask factors (B, 4 · blocks) of a tile whose neurons start at `first`; words as in `draw_factors`."""
    blocks = factors.shape[1] // 4
    ahead = LANES // blocks if width <= TILE else 1
    for i in range(factors.shape[0]):
        draw_factors(factors[i], words, lanes, blocks, first // 4, i, i % ahead, mask)


@leaf
def order_blocks(kept, width):
    """The neurons in the order in which sample masks are drawn: tile by tile, word by word; returns how many."""
    padded_width = (width + 3) // 4 * 4
    for first in range(0, padded_width, TILE):
        blocks = min(TILE, padded_width - first) // 4
        for k in range(4):
            for block in range(blocks):
                kept[first + k * blocks + block] = first + 4 * block + k
    return padded_width


@leaf
def draw_batch(chosen, order, words, lanes, replace, step, member, key):
    """Fill chosen (B,) with sample numbers; order (n,) holds 0 ... n - 1 and does so again afterwards."""
    samples = order.size
    for b in range(chosen.size):
        if b % (4 * LANES) == 0:
            draw_words(words, lanes, _BATCH, b // 4, 0, step, member, key)
        word = words[b % 4 * LANES + b // 4 % LANES]
        if replace:
            chosen[b] = np.int64(bounded(word, samples))
            continue
        other = b + np.int64(bounded(word, samples - b))
        order[b], order[other] = order[other], order[b]
        chosen[b] = order[b]
    if not replace:
        for i in range(samples):
            order[i] = i


@leaf
def draw_epoch(chosen, order, words, lanes, step, fresh, member, key):
    """The minibatch of a step where every sample comes once in an epoch, as `rng.epoch_batches` has it.

    order (n,) holds that of the epoch, which is drawn at its first step, and where it is not there yet (`fresh`).
    """
    steps = order.size // chosen.size
    place = step % steps
    if fresh or place == 0:
        for i in range(order.size):
            order[i] = i
        for b in range(order.size):
            if b % (4 * LANES) == 0:
                draw_words(words, lanes, _BATCH, b // 4, 0, step // steps, member, key)
            other = b + np.int64(bounded(words[b % 4 * LANES + b // 4 % LANES], order.size - b))
            order[b], order[other] = order[other], order[b]
    for b in range(chosen.size):
        chosen[b] = order[place * chosen.size + b]


@leaf
def draw_rows(drawn, words, lanes, rows, count, stream, step, member, key):
    """The first `count` words, rounded up to blocks of four, of samples 0 ... rows - 1: row by row in `drawn`.

    words (4 · LANES,) and lanes (3 · LANES,), the last third 0, are room to work in. Returns the length of a row.
    """
    blocks = (count + 3) // 4
    together = min(blocks, LANES)
    ahead = LANES // blocks if blocks <= LANES else 1  # rows drawn at a time
    fill_lanes(lanes, together, 1)
    offset = 0  # of the row among those
    for i in range(rows):
        row = drawn[i * 4 * blocks : (i + 1) * 4 * blocks]
        for first in range(0, blocks, LANES):
            inside = min(LANES, blocks - first)
            if offset == 0:
                draw_lanes(words, lanes, inside * min(ahead, rows - i), stream, first, i, step, member, key)
            for block in range(inside):
                for k in range(4):
                    row[4 * (first + block) + k] = words[k * LANES + offset * together + block]
        offset = 0 if offset + 1 == ahead else offset + 1
    return 4 * blocks


@leaf
def draw_normals(normal, drawn, words, lanes, rows, count, stream, step, member, key):
    """Standard normal numbers in the places of the words of `draw_rows`; returns the length of a row."""
    columns = draw_rows(drawn, words, lanes, rows, count, stream, step, member, key)
    for k in range(0, rows * columns, 2):
        normal[k], normal[k + 1] = box_muller(drawn[k], drawn[k + 1])
    return columns
