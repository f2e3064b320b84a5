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
from ...contract.optimizer import CONSTANTS
from ...contract.step import Ensemble, Step
from ...mathematics import rng
from ...mathematics.activations.table import scalars
from ...mathematics.optimizers import table as optimizers
from .. import machine
from . import in_memory, in_registers, plan
from .arguments import Run
from .outputs import build as build_outputs

Array = NDArray[np.floating]

#: steps of one launch at most, and its multiply-adds: a second on a slow device, a hundredth of one on a fast one; a
#: longer launch would hold up a display, and Ctrl-C
LAUNCH_STEPS = 4096
LAUNCH_WORK = 1 << 37
#: blocks per multiprocessor among which `in_memory` shares the members: as many as have registers
WIDE_BLOCKS = 3
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


class ByStep(NamedTuple):
    """What differs from step to step, on a device: steps first_step, first_step + 1, ...

    constants (steps · CONSTANTS,) of the optimizer; lrs: learning rates that change, `pitch` from member to member
    """

    constants: Any
    lrs: Any
    pitch: int
    first_step: int


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
        """x and y, flat, with zeros up to whole passes."""
        missing = -len(self.x) % PASS
        x, y = (np.concatenate([z, np.zeros((missing, z.shape[1]), self.real)]) for z in (self.x, self.y))
        return x.ravel(), y.ravel()

    def shape_for(self, members: int) -> plan.TeamShape | plan.WideShape:
        """The shape in which the current device trains this number of members."""
        if self.shape is not None:
            return self.shape
        if machine.SIMULATED:
            return plan.simulated_shape(self.size)
        return plan.team_shape(self.size, members, processors(), self.batch) or plan.wide_shape(self.size, self.batch)

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
        width, _, outputs = self.sizes
        work = blocks * in_memory.work_size(shape, width, outputs, self.params)
        return in_memory.chosen_size(self._wide_kind, blocks, self.batch), work

    def bytes(self, members: int) -> int:
        """Device memory that this number of members takes."""
        chosen, work = self.room(members)
        numbers = members * (self.params * (1 + self.vectors) + 3) + work + sum(part.size for part in self.data)
        return numbers * self.x.dtype.itemsize + 24 * members + 4 * chosen

    def launch_steps(self, members: int) -> int:
        """The steps that one launch of this number of members may take."""
        each = 3 * members * self.params * self.batch
        return int(max(1, min(LAUNCH_STEPS, LAUNCH_WORK // each)))

    def by_step(self, first_step: int, steps: int, table: NDArray[np.float64]) -> ByStep:
        """What steps first_step, ..., first_step + steps - 1 need, on the current device.

        table (members, steps): learning rates that change, else (members, 0).
        """
        constants = optimizers.constants(self.step.optimizer, first_step, steps, self.real)
        lrs, pitch = np.zeros(1, self.real), 0
        if table.size:
            shared = bool((table == table[:1]).all())  # so that one row goes to the device
            lrs, pitch = (table[:1] if shared else table).astype(self.real).ravel(), 0 if shared else table.shape[1]
        return ByStep(cuda.to_device(constants.ravel()), cuda.to_device(lrs), pitch, first_step)

    def launch(self, arrays: Arrays, members: int, by_step: ByStep, first: int, steps: int) -> None:
        """Start `steps` steps, no more than `launch_steps`, of `arrays`, from number `first` of by_step on."""
        run = self._run(by_step.first_step + first, steps)._replace(pitch=by_step.pitch)
        numbers = CONSTANTS
        constants = by_step.constants[first * numbers : (first + steps) * numbers]
        lrs = by_step.lrs[first:] if self.step.scheduled else by_step.lrs
        self._launch(arrays, members, (constants, lrs), run)

    def _launch(self, arrays: Arrays, members: int, by_step: tuple[Any, Any], run: Run) -> None:
        shape = self.shape_for(members)
        state = (arrays.theta, arrays.moments, arrays.diverged, arrays.rates, arrays.words, arrays.x, arrays.y)
        if isinstance(shape, plan.TeamShape):
            grid, lanes = -(-members // shape.members), shape.members * shape.lanes
            kernel = in_registers.build(self._team_kind, shape, plan.register_limit(shape))
            shared = in_registers.shared_bytes(self._team_kind, shape)
            machine.launch(kernel, grid, lanes, shared)(*state, *by_step, arrays.chosen, run)
        else:
            kernel, shared = in_memory.build(self._wide_kind, shape), in_memory.shared_bytes(self._wide_kind, shape)
            launch = machine.launch(kernel, self._wide_blocks(members), shape.lanes, shared)
            launch(*state, *by_step, arrays.chosen, arrays.work, run._replace(held=shape.held))

    def _run(self, first_step: int, steps: int) -> Run:
        """What all launches have, for no learning rates that change and passes of no samples."""
        network, noise = self.step.network, self.step.noise
        width, inputs, outputs = self.sizes
        key0, key1 = rng.split_seed(self.seed)
        return Run(
            first_step=first_step, steps=steps, width=width, inputs=inputs, outputs=outputs, batch=self.batch,
            samples=len(self.x), replace=int(noise.replace), pitch=0, held=0, key0=key0, key1=key1,
            scale=self.real(network.output_scale), decay=self.real(network.weight_decay),
        )  # fmt: skip

    def _wide_blocks(self, members: int) -> int:
        return min(members, processors() * WIDE_BLOCKS)

    @cached_property
    def _wide_kind(self) -> in_memory.Kind:
        step, network = self.step, self.step.network
        return in_memory.Kind(
            activation=network.activation, sample_masks=network.mask == "sample", r1=step.objective == "risk+r1",
            optimizer=step.optimizer.name, minibatch=step.noise.batch_size is not None, real=self.real,
            loss=network.loss, decays=self._decays, scheduled=step.scheduled,
        )  # fmt: skip

    @property
    def _decays(self) -> str:
        """See `in_memory.Kind`."""
        return "" if not self.step.network.weight_decay else "coupled" if self.step.decay else "decoupled"

    @cached_property
    def _team_kind(self) -> in_registers.Kind:
        _, inputs, outputs = self.sizes
        ones = bool((self.x[:, -1] == 1).all())
        return in_registers.Kind(**self._wide_kind._asdict(), outputs=outputs, inputs=inputs, ones=ones)


def processors() -> int:
    """Multiprocessors of the current device; 1 in the simulator."""
    return 1 if machine.SIMULATED else int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def evaluate(network: Network, x: Array, theta: Array, outputs: int) -> Array:
    """Outputs (M, n, c) of the networks theta (M, P) at x (n, D), on the current device."""
    samples, inputs = x.shape
    width = theta.shape[1] // (inputs + outputs)
    real: Any = theta.dtype.type
    kernel = build_outputs(network.activation, outputs, real)
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
