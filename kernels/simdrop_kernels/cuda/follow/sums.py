"""What the drift and the noise of a path on a device have in common: sums over neurons, scaled gradients."""

from __future__ import annotations

from typing import Any

from numba import cuda

from ...contract.equation import INPUT_ALONE, OUTPUT_ALONE
from .. import machine


def make_products(lanes: int, real: type) -> Any:
    """The device function that fills work[out:] with products of rows: sums over neurons."""
    exchange, zero, lanes_of_warp = machine.exchange(real), real(0), machine.WARP
    warps, stages = lanes // machine.WARP, machine.WARP.bit_length() - 1

    @machine.device
    def products(work, out, count, per, left, right, width, adding):
        """Number q: row q % per at `left` times row q // per at `right`; added to what is there, or in its place."""
        lane, warp = cuda.threadIdx.x % lanes_of_warp, cuda.threadIdx.x // lanes_of_warp
        cuda.syncthreads()
        for start in range(0, count, warps):  # all lanes take part in all exchanges
            q, total = min(start + warp, count - 1), zero
            for j in range(lane, width, lanes_of_warp):
                total += work[left + q % per * width + j] * work[right + q // per * width + j]
            for stage in range(stages):
                total += exchange(total, 1 << stage)
            if lane == 0 and start + warp < count:
                work[out + q] = work[out + q] + total if adding else total
        cuda.syncthreads()

    return products


def make_finish(lanes: int, real: type) -> Any:
    """The device function that makes gradients of sums over samples."""
    zero = real(0)

    @machine.device
    def finish(work, start, shape, scale, factor, train):
        """Multiply by `factor`, output weights' by `scale` too, and by 0 those that are not trained."""
        c, inputs, width = shape.outputs, shape.inputs, shape.width
        by_a = zero if train == INPUT_ALONE else factor * scale
        by_w = zero if train == OUTPUT_ALONE else factor
        for j in range(cuda.threadIdx.x, width, lanes):
            for o in range(c):
                place = start + o * width + j
                work[place] = by_a * work[place] if by_a != zero else zero
            for d in range(inputs):
                place = start + c * width + j * inputs + d
                work[place] = by_w * work[place] if by_w != zero else zero
        cuda.syncthreads()

    return finish
