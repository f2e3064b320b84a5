"""Members that are observed where they lie: risks, norms, running moments and single numbers come down, all else stays.

Means and sums of squares follow the recursion of `cpu.statistics.accumulate`, member after member, with the same bits:
a lane takes one column through all members.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from ...mathematics.losses.table import find
from .. import machine
from .outputs import build as build_outputs

if TYPE_CHECKING:
    from .program import Arrays, Program

Array = NDArray[np.floating]

#: outputs that are on the device at one time
EVALUATED = 1 << 24
#: members whose numbers a lane reads before it adds the first
AHEAD = 16


class Seen:
    """The members of a block, at rest on the current device; `alive` (M,) arrays tell which of them count."""

    def __init__(self, program: Program, arrays: Arrays, members: int, points: Any) -> None:
        self._program, self._arrays, self._points = program, arrays, points
        self._params, self._outputs = program.params, program.sizes[2]
        self.members = members
        self._others: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}  # by the identity of the samples
        self.risk, self.accuracy = self._scores(arrays.x, arrays.y, program.y)
        self._norm, finite = self._sizes()
        self.finite = np.isfinite(self.risk) & finite

    def norms(self) -> NDArray[np.float64]:
        """2-norms (M,) of the parameters."""
        found: NDArray[np.float64] = self._norm.copy_to_host()
        return found

    def add(
        self, what: str, rows: slice, alive: NDArray[np.bool_], count: NDArray[np.int64], mean: Array, m2: Array
    ) -> None:
        """As `statistics.accumulate`, for members `rows`; `what` is "theta" or, for outputs at the points, "values"."""
        alive = alive[rows]
        columns = self._params if what == "theta" else len(mean)
        mean_there, m2_there = cuda.to_device(mean), cuda.to_device(m2 if m2.size else np.zeros(1))
        kernel = _build_accumulate(self._program.real, bool(m2.size))
        lanes = min(_lanes(), machine.WARP)  # there are few columns: they go to many processors
        most = self.members if what == "theta" else max(1, EVALUATED // columns)
        for first in range(rows.start, rows.stop, most):
            last = min(first + most, rows.stop)
            here = alive[first - rows.start : last - rows.start]
            weights = np.zeros(len(here))
            weights[here] = 1.0 / np.arange(count[0] + 1, count[0] + 1 + here.sum())
            values, start = (
                (self._arrays.theta, first) if what == "theta" else (self._evaluate(self._points, first, last), 0)
            )
            machine.launch(kernel, -(-columns // lanes), lanes)(
                values, start, columns, cuda.to_device(weights), mean_there, m2_there
            )
            count[0] += int(here.sum())
        mean[:] = mean_there.copy_to_host()
        if m2.size:
            m2[:] = m2_there.copy_to_host()

    def theta(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
        """The parameters `columns` (k,) of members `rows` (r,): (r, k)."""
        chosen = cuda.device_array(len(rows) * len(columns), self._program.real)
        lanes = _lanes()
        machine.launch(_build_gather(), -(-chosen.size // lanes), lanes)(
            self._arrays.theta, self._params, cuda.to_device(rows), cuda.to_device(columns), chosen
        )
        return chosen.copy_to_host().reshape(len(rows), len(columns))

    def risk_at(self, x: Array, y: Array) -> NDArray[np.float64]:
        """R_S (M,) on other samples x (k, D), y (k, c), of the parameters' type."""
        return self._at(x, y)[0]

    def accuracy_at(self, x: Array, y: Array) -> NDArray[np.float64]:
        """Share (M,) of other samples that are put into their classes."""
        return self._at(x, y)[1]

    def _at(self, x: Array, y: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if id(x) not in self._others:
            there, targets = (cuda.to_device(np.ascontiguousarray(array).ravel()) for array in (x, y))
            self._others[id(x)] = self._scores(there, targets, y)
        return self._others[id(x)]

    def _scores(self, x: Any, y: Any, targets: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """R_S (M,) and the share (M,) of right classes, empty without classes; x, y lie flat on the device.

        Outputs come down for losses other than the squared one.
        """
        loss = find(self._program.step.network.loss)
        if loss.name == "squared":
            return self._risks(x, y, len(targets)), np.zeros(0)
        risk, right, most = np.empty(self.members), np.empty(self.members), max(1, EVALUATED // targets.size)
        for first in range(0, self.members, most):
            part = slice(first, min(first + most, self.members))
            f = self._evaluate(x, part.start, part.stop, len(targets)).copy_to_host().reshape(-1, *targets.shape)
            with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
                risk[part] = loss.value(f, targets).mean(axis=1, dtype=np.float64)
            right[part] = loss.right(f, targets).mean(axis=1)
        return risk, right if loss.probabilities is not None else np.zeros(0)

    def _risks(self, x: Any, y: Any, samples: int) -> NDArray[np.float64]:
        """R_S (M,) on samples whose inputs and targets lie flat on the device."""
        program, outputs = self._program, self._outputs
        risk = cuda.device_array(self.members, np.float64)
        most, lanes = max(1, EVALUATED // (samples * outputs)), _lanes()
        for first in range(0, self.members, most):
            last = min(first + most, self.members)
            f = self._evaluate(x, first, last, samples)
            machine.launch(_build_risk(program.real), -(-(last - first) // lanes), lanes)(
                f, y, samples * outputs, samples, risk[first:last]
            )
        return risk.copy_to_host()

    def _sizes(self) -> tuple[Any, NDArray[np.bool_]]:
        """Norms (M,), which stay on the device until they are wanted, and whether all parameters are finite (M,)."""
        norm, finite = cuda.device_array(self.members, np.float64), cuda.device_array(self.members, np.uint8)
        lanes = _lanes()
        machine.launch(_build_sizes(self._program.real), -(-self.members // lanes), lanes)(
            self._arrays.theta, self._params, norm, finite
        )
        return norm, finite.copy_to_host().astype(np.bool_)

    def _evaluate(self, points: Any, first: int, last: int, samples: int | None = None) -> Any:
        """Outputs of members first, ..., last - 1 at `points`, flat, on the device."""
        program = self._program
        width, inputs, outputs = program.sizes
        samples = points.size // inputs if samples is None else samples
        f = cuda.device_array((last - first) * samples * outputs, program.real)
        lanes = _lanes()
        kernel = build_outputs(program.step.network.activation, outputs, program.real)
        machine.launch(kernel, -(-(last - first) * samples // lanes), lanes)(
            self._arrays.theta[first * self._params : last * self._params], points, f,
            (samples, width, inputs, program.real(program.step.network.output_scale)),
        )  # fmt: skip
        return f


def _lanes() -> int:
    return 4 if machine.SIMULATED else 128


@cache
def _build_risk(real: type) -> Any:
    """The kernel risk(f, y, values, samples, out): R_S (M,) from outputs f (M · values,), values = n c."""

    def risk(f, y, values, samples, out):
        member = cuda.grid(1)
        if member >= out.size:
            return
        total = 0.0
        for k in range(values):
            e = f[member * values + k] - y[k]
            total += np.float64(e * e)
        out[member] = total / (2.0 * samples)

    return machine.kernel(risk)


@cache
def _build_sizes(real: type) -> Any:
    """The kernel sizes(theta, params, norm, finite): 2-norm of every member, and whether its parameters are finite."""
    largest = real(np.finfo(real).max)

    def sizes(theta, params, norm, finite):
        member = cuda.grid(1)
        if member >= norm.size:
            return
        total, good = 0.0, True
        for k in range(params):
            value = theta[member * params + k]
            good = good and abs(value) <= largest
            total += np.float64(value * value)
        norm[member] = math.sqrt(total)
        finite[member] = 1 if good else 0

    return machine.kernel(sizes)


@cache
def _build_gather() -> Any:
    """The kernel gather(theta, params, rows, columns, out): out (r · k,) are parameters `columns` of members `rows`."""

    def gather(theta, params, rows, columns, out):
        place = cuda.grid(1)
        if place < out.size:
            out[place] = theta[rows[place // columns.size] * params + columns[place % columns.size]]

    return machine.kernel(gather)


@cache
def _build_accumulate(real: type, squares: bool) -> Any:
    """The kernel accumulate(values, first, columns, weights, mean, m2): a lane for each column.

    values (.., columns) are rows from number `first` on; weights (B,): 1 over the members counted with each, 0 where
    one does not count.
    """
    times, plus = machine.rounded_product(), machine.rounded_sum()

    def accumulate(values, first, columns, weights, mean, m2):
        column = cuda.grid(1)
        if column >= columns:
            return
        centre, total = mean[column], m2[column] if squares else 0.0
        ahead = cuda.local.array(AHEAD, real)
        for start in range(0, weights.size, AHEAD):
            for k in range(AHEAD):  # the reads of several members are under way together
                row = min(start + k, weights.size - 1)
                ahead[k] = values[(first + row) * columns + column]
            for k in range(AHEAD):
                weight = weights[start + k] if start + k < weights.size else 0.0
                if weight > 0.0:
                    value = np.float64(ahead[k])
                    before = plus(value, -centre)
                    centre = plus(centre, times(before, weight))
                    if squares:
                        total = plus(total, times(before, plus(value, -centre)))
        mean[column] = centre
        if squares:
            m2[column] = total

    return machine.kernel(accumulate)
