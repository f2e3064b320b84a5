"""Philox4x32-10 (Salmon et al., SC'11) and everything that is drawn from it.

A counter-based generator makes randomness a pure function: the mask of (seed, member, step, sample,
neuron) has the same bits on every backend, for any number of threads and any order of evaluation.

The 128-bit counter is four 32-bit words, the key is the 64-bit seed as (low, high):

    word 0   stream << 28 | block       one block yields four words: neuron j reads word j % 4 of block j // 4
    word 1   sample                     position in the batch for sample masks, 0 otherwise
    word 2   step                       counted from 0; where a step takes k masks, step · k + number of the mask
    word 3   member                     number of the member in the whole ensemble

Members whose seeds differ can be drawn together: a member's number has 64 bits, of which the upper 32, 0 otherwise,
change (xor) the low word of the key.

Functions marked "scalar" hold for NumPy scalars and arrays, Numba and CUDA alike: words are np.uint64
with values below 2**32, so that nothing ever overflows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

STREAM_STEP_MASK = 0
STREAM_SAMPLE_MASK = 1
STREAM_BATCH = 2
STREAM_STEP_NORMAL = 3  # Gaussian dropout, one factor for all samples
STREAM_SAMPLE_NORMAL = 4  # Gaussian dropout, a factor for each sample
STREAM_LABEL = 5  # noise on the targets: outputs in the place of neurons
STREAM_PARAMETER = 6  # noise on the gradient: parameters in the place of neurons
STREAM_CONNECT = 7  # DropConnect: input weights, row by row, in the place of neurons
STREAM_SDE = 8  # Brownian increments of the stochastic modified equations
STREAM_STEP_FORWARD = 9  # masks of the forward pass, where it has masks of its own: as streams 0, 1, 3 and 4
STREAM_SAMPLE_FORWARD = 10
STREAM_STEP_FORWARD_NORMAL = 11
STREAM_SAMPLE_FORWARD_NORMAL = 12

MAX_WIDTH = 1 << 30  # blocks of four neurons, numbered by 28 bits
MAX_STEPS = 1 << 32

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
#: the multipliers and the increments of the key
CONSTANTS = (_MULTIPLIER_0, _MULTIPLIER_1, _WEYL_0, _WEYL_1)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox(c0, c1, c2, c3, k0, k1):
    """Scalar: the four output words of one counter and key.

    All are np.uint64 below 2**32. The masks of the first and third word change nothing: they tell a
    compiler that the next products are of 32 by 32 bits, without which it makes no vectors of them.
    """
    for _ in range(10):
        p0 = _MULTIPLIER_0 * c0
        p1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = ((p1 >> _32) ^ c1 ^ k0) & _LOW, p1 & _LOW, ((p0 >> _32) ^ c3 ^ k1) & _LOW, p0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


def bounded(word, bound):
    """Scalar: a number in [0, bound), np.uint64, from one 32-bit word (bias at most bound / 2**32)."""
    return (np.uint64(word) * np.uint64(bound)) >> _32


def split_seed(seed: int) -> tuple[np.uint64, np.uint64]:
    """The key words (low, high) of a 64-bit seed."""
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


def keep_threshold(keep_prob: ArrayLike) -> NDArray[np.uint64]:
    """The largest word that keeps a neuron: kept iff word <= threshold.

    P(kept) = round(keep_prob * 2**32) / 2**32 to the nearest word, never 0; keep_prob = 1 keeps always.
    """
    words = np.rint(np.asarray(keep_prob, dtype=np.float64) * 2.0**32)
    return (np.maximum(words, 1.0) - 1.0).astype(np.uint64)


def words(stream: int, count: int, sample, step, member, seed: int) -> NDArray[np.uint64]:
    """The first `count` words at a counter; `sample`, `step`, `member` broadcast: shape (..., count)."""
    blocks = np.arange(-(-count // 4), dtype=np.uint64) | np.uint64(stream << 28)
    sample, step, member = (np.asarray(v, dtype=np.uint64)[..., None] for v in (sample, step, member))
    low, high = split_seed(seed)
    drawn = philox(blocks, sample, step, member, low ^ (member >> _32), high)
    drawn = np.stack(np.broadcast_arrays(*drawn), axis=-1)
    return drawn.reshape(*drawn.shape[:-2], -1)[..., :count]


def box_muller(w0, w1):
    """Scalar: two independent standard normal numbers, float64, from two words (Box & Muller, 1958).

    r = √(-2 log u) with u = (w0 + 1/2) 2^-32, φ = 2π w1 2^-32; r cos φ and r sin φ. They are bounded by 6.77.
    """
    r = np.sqrt(-2.0 * np.log((w0 + 0.5) * 2.0**-32))
    phi = w1 * (2.0 * np.pi * 2.0**-32)
    return r * np.cos(phi), r * np.sin(phi)


def normals(stream: int, count: int, sample, step, member, seed: int) -> NDArray[np.float64]:
    """The first `count` standard normal numbers at a counter, two of every two words; arguments as in `words`."""
    drawn = words(stream, count + count % 2, sample, step, member, seed)
    pairs = box_muller(drawn[..., ::2], drawn[..., 1::2])
    return np.stack(pairs, axis=-1).reshape(drawn.shape)[..., :count]


def masks(
    *, seed: int, member, step, width: int, keep_prob, samples: int | None = None, own: bool = False
) -> NDArray[np.bool_]:
    """The masks that every backend uses: True where a neuron is kept; `own`: of a forward pass alone.

    `member` and `step` are numbers or arrays that broadcast; `keep_prob` is a number or has their shape.
    Returns shape (..., width) for step masks (`samples=None`), else (..., samples, width).
    """
    threshold = keep_threshold(keep_prob)[..., None]
    if samples is None:
        stream = STREAM_STEP_FORWARD if own else STREAM_STEP_MASK
        return words(stream, width, 0, step, member, seed) <= threshold
    step, member = np.asarray(step)[..., None], np.asarray(member)[..., None]
    stream = STREAM_SAMPLE_FORWARD if own else STREAM_SAMPLE_MASK
    return words(stream, width, np.arange(samples), step, member, seed) <= threshold[..., None]


def batches(*, seed: int, member, step: int, samples: int, batch_size: int, replace: bool) -> NDArray[np.int64]:
    """The sample numbers of one step's minibatch: shape (members, batch_size).

    Without replacement: the first `batch_size` exchanges of a Fisher-Yates shuffle of 0 .. samples - 1,
    from the same order at every step.
    """
    drawn = words(STREAM_BATCH, batch_size, 0, step, np.atleast_1d(member), seed)
    if replace:
        return bounded(drawn, samples).astype(np.int64)
    order = np.tile(np.arange(samples), (len(drawn), 1))
    rows = np.arange(len(drawn))
    for b in range(batch_size):
        other = b + bounded(drawn[:, b], samples - b).astype(np.int64)
        order[rows, b], order[rows, other] = order[rows, other], order[rows, b]
    return order[:, :batch_size]


def epoch_batches(*, seed: int, member, step: int, samples: int, batch_size: int) -> NDArray[np.int64]:
    """The sample numbers of one step's minibatch where every sample comes once in an epoch: (members, batch_size).

    An epoch is `samples // batch_size` steps. Its order is the whole shuffle that `batches` draws at the step whose
    number is that of the epoch, and step after step takes the next `batch_size` of it.
    """
    epoch, place = divmod(step, samples // batch_size)
    whole = _shuffled(seed, np.atleast_1d(np.asarray(member, dtype=np.uint64)).tobytes(), epoch, samples)
    return whole[:, place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=8)
def _shuffled(seed: int, member: bytes, epoch: int, samples: int) -> NDArray[np.int64]:
    """The order (members, samples) of an epoch, kept for its other steps; `member`: the bytes of their numbers."""
    numbers = np.frombuffer(member, dtype=np.uint64)
    return batches(seed=seed, member=numbers, step=epoch, samples=samples, batch_size=samples, replace=False)
