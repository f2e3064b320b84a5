"""A training step made ready for devices: the kernel that runs it, its data, its launches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from ...contract.network import Network
from ...contract.objectives import draws_masks
from ...contract.step import Ensemble, Step
from ...mathematics import rng
from ...mathematics.activations.table import scalars
from ...mathematics.optimizers import table as optimizers
from .. import machine
from . import in_memory, in_registers, plan
from .arguments import Run

Array = NDArray[np.floating]

#: steps of one launch at most, and its multiply-adds: a second on a slow device, a hundredth of one on a fast one; a
#: longer launch would hold up a display, and Ctrl-C
LAUNCH_STEPS = 4096
LAUNCH_WORK = 1 << 37
#: blocks per multiprocessor among which `in_memory` shares the members
WIDE_BLOCKS = 8
#: samples are padded with zeros to a multiple of every shape's pass
PASS = 8
#: outputs that are evaluated in one launch
EVALUATED = 1 << 24


class Arrays(NamedTuple):
    """Arrays of a block of members on its device; flat, as the kernels take them."""

    theta: Any
    moments: Any
    diverged: Any
    rates: Any
    words: Any
    x: Any
    y: Any
    chosen: Any
    work: Any


@dataclass(frozen=True, kw_only=True)
class Program:
    """The constants of all launches; x (n, D) and y (n, c) have the parameters' dtype.

    `shape` forces a `plan.TeamShape` or `plan.WideShape`, and with it the kernel.
    """

    step: Step
    x: Array
    y: Array
    params: int
    seed: int
    shape: plan.TeamShape | plan.WideShape | None = None

    @cached_property
    def real(self) -> Any:
        """np.float32 or np.float64."""
        return self.x.dtype.type

    @cached_property
    def batch(self) -> int:
        """Samples of a step."""
        return self.step.noise.batch_size or len(self.x)

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Neurons m, inputs D, outputs c."""
        inputs, outputs = self.x.shape[1], self.y.shape[1]
        return self.params // (inputs + outputs), inputs, outputs

    @cached_property
    def vectors(self) -> int:
        """Moment vectors of a member."""
        return self.step.optimizer.moments

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """x and y, flat, with zeros up to whole passes; x with zeros for a tile that reaches beyond."""
        missing = -len(self.x) % PASS
        x = np.concatenate([self.x.ravel(), np.zeros(missing * self.x.shape[1] + 64, self.real)])
        return x, np.concatenate([self.y.ravel(), np.zeros(missing * self.y.shape[1], self.real)])

    def shape_for(self, members: int) -> plan.TeamShape | plan.WideShape:
        """The shape in which the current device trains this number of members."""
        if self.shape is not None:
            return self.shape
        if machine.SIMULATED:
            return plan.simulated_shape(self.size)
        in_registers = plan.team_shape(self.size, members, processors(), self.batch)
        shape = in_registers or plan.wide_shape(self.size.outputs, self.x.dtype.itemsize)
        if shape is None:
            raise ValueError(f"{self.size.outputs} outputs are more than a block's shared memory holds")
        return shape

    @cached_property
    def size(self) -> plan.Size:
        """Contents of a lane in the kernel that holds parameters in registers."""
        held = 2 if self.step.network.mask == "sample" or not self._from_value else 1
        return plan.Size(*self.sizes, self.vectors, held, self.x.dtype.itemsize // 4)

    @cached_property
    def _from_value(self) -> bool:
        return scalars(self.step.network.activation, lambda function: function, self.real).from_value

    def rates(self, ensemble: Ensemble, part: slice) -> Array:
        """(M · 3,): lr, dropout factor, variance v."""
        keep = ensemble.keep_prob[part]
        factor = 1 / keep if draws_masks(self.step.objective) else np.ones_like(keep)
        return np.stack([ensemble.lr[part], factor, (1 - keep) / keep], axis=1).astype(self.real).ravel()

    def words(self, ensemble: Ensemble, part: slice) -> NDArray[np.uint64]:
        """(M · 2,): threshold, member's number. Without dropout all is kept, by the same kernel: the same bits."""
        threshold = rng.keep_threshold(ensemble.keep_prob[part])
        if not draws_masks(self.step.objective):
            threshold = np.full_like(threshold, in_registers.ALWAYS)
        return np.stack([threshold, ensemble.member[part]], axis=1).ravel()

    def room(self, members: int) -> tuple[int, int]:
        """Numbers of int32 for minibatches and of reals to work in that a launch for this number of members takes."""
        shape = self.shape_for(members)
        if isinstance(shape, plan.TeamShape):
            return in_registers.chosen_size(self._team_kind, shape, members, self.batch), 1
        blocks = self._wide_blocks(members)
        work = blocks * in_memory.work_size(shape, self.sizes[0], self.params)
        return in_memory.chosen_size(self._wide_kind, shape, blocks, self.batch), work

    def bytes(self, members: int) -> int:
        """Device memory that this number of members takes."""
        chosen, work = self.room(members)
        numbers = members * (self.params * (1 + self.vectors) + 3) + work + sum(part.size for part in self.data)
        return numbers * self.x.dtype.itemsize + 24 * members + 4 * chosen

    def launch_steps(self, members: int) -> int:
        """The steps that one launch of this number of members may take."""
        each = 3 * members * self.params * self.batch
        return int(max(1, min(LAUNCH_STEPS, LAUNCH_WORK // each)))

    def launch(self, arrays: Arrays, members: int, first_step: int, steps: int) -> None:
        """Start `steps` steps, no more than `launch_steps`, on the current device; on members in `arrays`."""
        constants = optimizers.constants(self.step.optimizer, first_step, steps, self.real)
        self._launch(arrays, members, cuda.to_device(constants.ravel()), self._run(first_step, steps))

    def _launch(self, arrays: Arrays, members: int, constants: Any, run: Run) -> None:
        shape = self.shape_for(members)
        state = (arrays.theta, arrays.moments, arrays.diverged, arrays.rates, arrays.words, arrays.x, arrays.y)
        if isinstance(shape, plan.TeamShape):
            grid, lanes = -(-members // shape.members), shape.members * shape.lanes
            kernel = in_registers.build(self._team_kind, shape, plan.register_limit(shape))
            shared = in_registers.shared_bytes(self._team_kind, shape)
            machine.launch(kernel, grid, lanes, shared)(*state, constants, arrays.chosen, run)
        else:
            grid, lanes = self._wide_blocks(members), shape.lanes
            kernel, shared = (
                in_memory.build(self._wide_kind, shape),
                in_memory.shared_bytes(self._wide_kind, shape, run.outputs),
            )
            machine.launch(kernel, grid, lanes, shared)(*state, constants, arrays.chosen, arrays.work, run)

    def _run(self, first_step: int, steps: int) -> Run:
        samples, replace = (self.batch, len(self.x)), int(self.step.noise.replace)
        scale = self.real(self.step.network.output_scale)
        return Run(first_step, steps, *self.sizes, *samples, replace, *rng.split_seed(self.seed), scale)

    def _wide_blocks(self, members: int) -> int:
        return min(members, processors() * WIDE_BLOCKS)

    @cached_property
    def _wide_kind(self) -> in_memory.Kind:
        step = self.step
        r1, sample_masks = step.objective == "risk+r1", step.network.mask == "sample"
        minibatch = step.noise.batch_size is not None
        return in_memory.Kind(step.network.activation, sample_masks, r1, step.optimizer.name, minibatch, self.real)

    @cached_property
    def _team_kind(self) -> in_registers.Kind:
        _, inputs, outputs = self.sizes
        ones = bool((self.x[:, -1] == 1).all())
        return in_registers.Kind(*self._wide_kind, outputs=outputs, inputs=inputs, ones=ones)


def processors() -> int:
    """Multiprocessors of the current device; 1 in the simulator."""
    return 1 if machine.SIMULATED else int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def evaluate(network: Network, x: Array, theta: Array, outputs: int) -> Array:
    """Outputs (M, n, c) of the networks theta (M, P) at x (n, D), on the current device."""
    samples, inputs = x.shape
    width = theta.shape[1] // (inputs + outputs)
    real: Any = theta.dtype.type
    kernel = in_memory.build_outputs(network.activation, outputs, real)
    run = samples, width, inputs, real(network.output_scale)
    values = np.empty((len(theta), samples, outputs), theta.dtype)
    lanes = 4 if machine.SIMULATED else 128
    rows = max(1, EVALUATED // (samples * outputs))
    points = cuda.to_device(np.ascontiguousarray(x).ravel())
    for first in range(0, len(theta), rows):
        part = slice(first, first + rows)
        f = cuda.device_array(values[part].size, theta.dtype)
        grid = -(-len(values[part]) * samples // lanes)
        parameters = cuda.to_device(np.ascontiguousarray(theta[part]).ravel())
        machine.launch(kernel, grid, lanes)(parameters, points, f, run)
        f.copy_to_host(values[part].reshape(-1))
    return values
