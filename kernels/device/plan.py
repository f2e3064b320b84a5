"""Which kernel trains a problem on a device, and in what shape. Nothing here needs a device.

The choice of kernel depends on the problem alone. The shape depends on the device and on the number of
members too, and changes no bit of the result (`team`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: registers of a lane beside the arrays of `team`, from the assembler's reports for compute capability 9.0
OVERHEAD = 56
MAX_REGISTERS = 255
REGISTERS = 65536  # of a multiprocessor
SCHEDULERS = 4  # of a multiprocessor
WARP = 32
BLOCK = 128  # lanes of a block that holds several members
#: values of σ that a pass may hold; the compiler unrolls no more, and arrays would leave the registers
UNROLLED = 32
#: independent chains of arithmetic that keep a scheduler busy
CHAINS = 24
#: shared memory of a block that needs no opting in
SHARED_BYTES = 48 << 10


class Size(NamedTuple):
    """What `team` has to hold: widths, numbers held for σ (2 where σ' is held too), 32-bit words of a number."""

    width: int
    inputs: int
    outputs: int
    moments: int
    held: int
    words: int


class TeamShape(NamedTuple):
    """How `team` cuts the work: lanes per member, neurons per lane, samples per pass; members of a block."""

    lanes: int
    neurons: int
    samples: int
    members: int


class WideShape(NamedTuple):
    """How `wide` cuts the work: lanes of a block, samples per pass, inputs per tile."""

    lanes: int
    samples: int
    depth: int


def registers(size: Size, neurons: int, samples: int) -> int:
    """Registers of a lane of `team`, as the assembler will find about."""
    numbers = size.inputs + size.outputs
    state = neurons * (numbers * (2 + size.moments) + size.outputs + 1)
    passed = samples * (neurons * size.held + size.outputs)
    return OVERHEAD + size.words * (state + passed)


def team_shapes(size: Size) -> list[TeamShape]:
    """The shapes in which `team` can train networks of this size; none if they do not fit in registers."""
    found = []
    for neurons in (4, 8, 16):
        lanes = 1 << (-(-size.width // neurons) - 1).bit_length()
        for samples in (1, 2, 4, 8):
            used = registers(size, neurons, samples)
            unrolled = neurons * samples * size.outputs <= UNROLLED
            if used <= MAX_REGISTERS and unrolled and max(lanes, WARP) * used <= REGISTERS:
                found.append(TeamShape(lanes, neurons, samples, max(1, BLOCK // lanes)))
    return found


def team_shape(size: Size, members: int, processors: int) -> TeamShape | None:
    """The shape expected to be fastest, None if there is none; the environment's SIMDROP_CUDA_SHAPE wins.

    SIMDROP_CUDA_SHAPE holds lanes, neurons, samples and members of `TeamShape`, separated by commas.
    """
    shapes = team_shapes(size)
    if not shapes:
        return None
    if forced := os.environ.get("SIMDROP_CUDA_SHAPE"):
        return TeamShape(*(int(number) for number in forced.split(",")))
    return min(shapes, key=lambda shape: _cost(size, shape, members, processors))


def _cost(size: Size, shape: TeamShape, members: int, processors: int) -> float:
    """Time of a step per sample, up to a factor: instructions issued, over the share of time they can issue."""
    numbers = size.inputs + size.outputs
    update = 3 * numbers + 13 + 3 * (size.held - 1)
    sums = 2 * size.outputs * min(shape.lanes, WARP).bit_length() + 4 * size.outputs * max(0, shape.lanes // WARP - 1)
    issued = shape.neurons * update + sums + numbers + 12 / shape.samples
    warps = -(-members // shape.members) * max(1, shape.members * shape.lanes // WARP)
    resident = REGISTERS // (WARP * registers(size, shape.neurons, shape.samples)) / SCHEDULERS
    schedulers = processors * SCHEDULERS
    at_once = min(resident, max(1.0, warps / schedulers))
    chains = at_once * shape.neurons * shape.samples / (1 + 0.1 * max(1, shape.lanes.bit_length()))
    return issued * max(1.0, warps / schedulers) / min(1.0, chains / CHAINS)


def wide_shape(outputs: int, itemsize: int) -> WideShape | None:
    """The shape of `wide`, or None for more outputs than shared memory holds. It depends on the problem alone."""
    for samples in (8, 4, 2, 1):
        shape = WideShape(lanes=128, samples=samples, depth=8)
        if (shape.lanes * (shape.depth + 1) + samples * outputs) * itemsize <= SHARED_BYTES:
            return shape
    return None


def simulated_shape(size: Size) -> TeamShape | WideShape:
    """A shape of few lanes, for the simulator: each is a thread of Python."""
    shapes = [shape for shape in team_shapes(size) if shape.samples <= 2]
    if not shapes:
        return WideShape(lanes=4, samples=2, depth=3)
    shape = min(shapes, key=lambda shape: (shape.lanes, -shape.samples))
    return shape._replace(members=max(1, 2 // shape.lanes))
