"""Kernel for the outputs of whole networks, without dropout: a lane for each member and sample."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import cuda

from ...mathematics.activations.table import scalars
from .. import machine


@cache
def build(activation: str, outputs: int, real: type) -> Any:
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
