"""Products of matrices by a block of lanes: a lane keeps a tile of the result in registers.

C = A B with A (rows, K) and B (K, columns) goes tile by tile. K goes in pieces of `depth`: the block brings them to
shared memory, then every lane adds to its own part of the tile, `neurons` rows times `columns` columns. So a number
that is read from shared memory, four at a time, takes part in up to eight multiply-adds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from .. import machine

#: numbers that a lane reads from shared memory at a time, where its tile has so many beside each other
TOGETHER = 4


class Tiling(NamedTuple):
    """A block's tile in shared memory: number k of row j at k · pitch + j, of column i at second + k · other_pitch + i.

    across: lanes along columns; the others lie along rows. Pitches keep groups of four aligned, and lanes that write
    one column out of each other's banks.
    """

    lanes: int
    across: int
    neurons: int
    columns: int
    depth: int

    @property
    def rows(self) -> int:
        """Rows of the block's tile."""
        return self.neurons * (self.lanes // self.across)

    @property
    def wide(self) -> int:
        """Columns of the block's tile."""
        return self.columns * self.across

    @property
    def pitch(self) -> int:
        """Distance of numbers of one row."""
        return self.rows + TOGETHER

    @property
    def other_pitch(self) -> int:
        """Distance of numbers of one column."""
        return self.wide + TOGETHER

    @property
    def second(self) -> int:
        """Where the columns begin."""
        return self.depth * self.pitch

    @property
    def places(self) -> tuple[int, int, int, int, int]:
        """Rows, columns, the distances of numbers of one row and of one column, where the columns begin."""
        return self.rows, self.wide, self.pitch, self.other_pitch, self.second

    @property
    def size(self) -> int:
        """Numbers of shared memory."""
        return self.second + self.depth * self.other_pitch


def make_load(real: type, count: int, step: int, hop: int) -> Any:
    """The device function by which a lane brings `count` numbers to shared memory, `hop` apart there."""
    shared, aligned, zero = machine.TYPES[real], machine.ALIGNED, real(0)

    @machine.device
    def load(numbers, place, stride, index, last, inside, spot):
        """numbers[place], numbers[place + stride], ...; 0 if not `inside`, and where index, index + step, ... >= last.

        place and stride are unsigned: a compiler then knows that no index counts from the end.
        """
        tile = cuda.shared.array(0, shared, aligned)
        for t in range(count):
            tile[np.uint64(spot + t * hop)] = numbers[place] if inside and index + t * step < last else zero
            place += stride

    return load


def make_load_chosen(real: type, count: int, step: int, hop: int) -> Any:
    """As `make_load`, for rows of x that a minibatch has drawn."""
    shared, aligned, zero = machine.TYPES[real], machine.ALIGNED, real(0)

    @machine.device
    def load(x, store, chosen, inputs, column, index, last, inside, spot):
        """x[row, column] of the rows whose numbers are store[chosen + index], store[chosen + index + step], ..."""
        tile = cuda.shared.array(0, shared, aligned)
        for t in range(count):
            value = zero
            if inside and index + t * step < last:
                value = x[np.uint64(np.int64(store[chosen + index + t * step]) * inputs + column)]
            tile[np.uint64(spot + t * hop)] = value

    return load


def make_add(real: type, tiling: Tiling) -> Any:
    """The device function add(sums, r, c): the products of one piece of K added to a lane's sums (neurons · columns,).

    r, c: the first row and column of the lane; it has every fourth group of rows, and of columns (`row_of`).
    """
    shared, aligned = machine.TYPES[real], machine.ALIGNED
    neurons, columns, depth, across = tiling.neurons, tiling.columns, tiling.depth, tiling.across
    (_, _, pitch, other_pitch, second), beside = tiling.places, tiling.lanes // across
    group = min(TOGETHER, columns)
    groups, other_groups = neurons // TOGETHER, columns // group

    @machine.device
    def add(sums, r, c):
        tile = cuda.shared.array(0, shared, aligned)
        u, v = cuda.local.array(neurons, real), cuda.local.array(columns, real)
        for k in range(depth):
            for q in range(groups):
                for i in range(TOGETHER):
                    u[TOGETHER * q + i] = tile[np.uint64(k * pitch + q * TOGETHER * beside + r + i)]
            for q in range(other_groups):
                for i in range(group):
                    v[group * q + i] = tile[np.uint64(second + k * other_pitch + q * group * across + c + i)]
            for i in range(neurons):
                for o in range(columns):
                    sums[i * columns + o] += u[i] * v[o]

    return add
