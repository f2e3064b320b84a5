"""Which kernel trains a problem on a device, and in what shape. Nothing here needs a device.

The choice of kernel depends on the problem alone. The shape depends on the device and on the number of
members too, and changes no bit of the result (`in_registers`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: registers of a lane besides the arrays of `in_registers`, by 32-bit words of a number; from the assembler's reports
#: for compute capability 9.0
OVERHEAD = {1: 56, 2: 96}
MAX_REGISTERS = 255
REGISTERS = 65536  # of a multiprocessor
SCHEDULERS = 4  # of a multiprocessor
WARP = 32
BLOCK = 128  # lanes of a block that holds several members
#: how far the compiler unrolls, beyond which arrays leave the registers: numbers of a lane's neurons, values that a
#: pass holds, products that it forms
UNROLLED_STATE, UNROLLED_VALUES, UNROLLED_PRODUCTS = 64, 32, 192
#: independent chains of arithmetic with which a scheduler is busy half of the time
CHAINS = 16
#: numbers of a pass that a block of `in_memory` keeps in device memory, about
HELD = 1 << 19


class Size(NamedTuple):
    """Contents of a lane: widths, numbers held for σ (2 where σ' is held too), 32-bit words of a number."""

    width: int
    inputs: int
    outputs: int
    moments: int
    held: int
    words: int


class TeamShape(NamedTuple):
    """How `in_registers` cuts the work: lanes per member, neurons per lane, samples per pass; members of a block."""

    lanes: int
    neurons: int
    samples: int
    members: int


class WideShape(NamedTuple):
    """How `in_memory` cuts the work: its tiles of neurons and samples, and of neurons and inputs.

    lanes: of a block, `across` of which lie along samples or inputs, the others along neurons
    neurons, samples, inputs: of a lane's tile; depth: of a piece of the sums (`tiles`)
    held: samples of a pass

    All but `held`, a multiple of depth, are powers of 2. A tile has no more rows or columns than a block has lanes, and
    lanes no more than its columns times depth.
    """

    lanes: int
    across: int
    neurons: int
    samples: int
    inputs: int
    depth: int
    held: int


def registers(size: Size, neurons: int, samples: int) -> int:
    """Registers of a lane of `in_registers`, as the assembler will find about."""
    numbers = size.inputs + size.outputs
    state = neurons * (numbers * (2 + size.moments) + size.outputs + 1)
    passed = samples * (neurons * size.held + size.outputs)
    return OVERHEAD[size.words] + size.words * (state + passed)


def team_shapes(size: Size) -> list[TeamShape]:
    """The shapes in which `in_registers` can train networks of this size; none if they do not fit in registers."""
    found = []
    for neurons in (4, 8, 16):
        lanes = 1 << (-(-size.width // neurons) - 1).bit_length()
        for samples in (1, 2, 4, 8):
            used = registers(size, neurons, samples)
            if used <= MAX_REGISTERS and lanes * used <= REGISTERS and _unrolled(size, neurons, samples):
                found.append(TeamShape(lanes, neurons, samples, max(1, BLOCK // lanes)))
    return found


def _unrolled(size: Size, neurons: int, samples: int) -> bool:
    numbers, passed = size.inputs + size.outputs, neurons * samples
    return (
        neurons * numbers <= UNROLLED_STATE
        and passed * size.outputs * size.held <= UNROLLED_VALUES
        and passed * numbers <= UNROLLED_PRODUCTS
    )


def register_limit(shape: TeamShape) -> int | None:
    """Registers that the assembler may give a lane, that a block finds room; None if any number does."""
    limit = REGISTERS // (shape.lanes * shape.members) // 8 * 8
    return limit if limit < MAX_REGISTERS else None


def team_shape(size: Size, members: int, processors: int, batch: int) -> TeamShape | None:
    """The shape expected to be fastest at `batch` samples a step, None if there is none.

    The environment's SIMDROP_CUDA_SHAPE wins.

    SIMDROP_CUDA_SHAPE holds lanes, neurons, samples and members of `TeamShape`, separated by commas.
    """
    shapes = team_shapes(size)
    if not shapes:
        return None
    if forced := os.environ.get("SIMDROP_CUDA_SHAPE"):
        return TeamShape(*(int(number) for number in forced.split(",")))
    shape = min(shapes, key=lambda shape: _cost(size, shape, members, processors) * padding(shape, batch))
    together, least = shape.members, max(1, WARP // shape.lanes)
    while together > least and members < together * processors * SCHEDULERS:
        together //= 2  # few members: every multiprocessor has some
    return shape._replace(members=together)


def padding(shape: TeamShape, batch: int) -> float:
    """Samples that whole passes compute, over those of a step."""
    return -(-batch // shape.samples) * shape.samples / batch


def _cost(size: Size, shape: TeamShape, members: int, processors: int) -> float:
    """Time of a step per sample, up to a factor: instructions of all warps, over the share of time they can issue."""
    numbers = size.inputs + size.outputs
    update = 3 * numbers + 13 + 3 * (size.held - 1)
    sums = size.outputs * (2 * min(shape.lanes, WARP).bit_length() + 4 * max(0, shape.lanes // WARP - 1))
    issued = shape.neurons * update + sums + numbers + 12 / shape.samples
    warps = members * shape.lanes / WARP / (processors * SCHEDULERS)  # of a scheduler
    resident = REGISTERS // (WARP * registers(size, shape.neurons, shape.samples)) / SCHEDULERS
    chains = min(resident, max(1.0, warps)) * shape.neurons * shape.samples
    return issued * max(1.0, warps) * (1 + CHAINS / chains)


def wide_shape(size: Size, batch: int) -> WideShape:
    """The shape of `in_memory` at `batch` samples a step. It depends on the problem alone.

    In double precision a lane has half the columns: there would not be registers for more.
    """
    across, depth, most = 8, 16, 8 // size.words
    samples, inputs = (min(most, _power(-(-count // across))) for count in (batch, size.inputs))
    held = max(depth, min(_whole(batch, depth), HELD // (2 * size.width + size.outputs) // depth * depth))
    return WideShape(128, across, 4 if size.width <= 64 else 8, samples, inputs, depth, held)


def _power(count: int) -> int:
    """The least power of 2 that is not below `count`."""
    return 1 << (count - 1).bit_length()


def _whole(count: int, part: int) -> int:
    """The least multiple of `part` that is not below `count`."""
    return -(-count // part) * part


def simulated_shape(size: Size) -> TeamShape | WideShape:
    """A shape of few lanes, for the simulator: each is a thread of Python."""
    shapes = [shape for shape in team_shapes(size) if shape.samples <= 2]
    if not shapes:
        return WideShape(lanes=4, across=4, neurons=4, samples=1, inputs=1, depth=4, held=4)
    shape = min(shapes, key=lambda shape: (shape.lanes, -shape.samples))
    return shape._replace(members=max(1, 2 // shape.lanes))
