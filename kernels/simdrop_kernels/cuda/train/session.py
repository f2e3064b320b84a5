"""An ensemble on one or several devices, in blocks of members that fit in their memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from ...contract.step import Ensemble
from .. import devices
from .observe import Seen
from .program import Arrays, Program

#: share of a device's free memory that members may take
SHARE = 0.9
#: steps whose constants are on a device at one time
PREPARED = 1 << 16
#: the table of learning rates that do not change
_CONSTANT: NDArray[np.float64] = np.empty((0, 0))


class Block:
    """Members first, ..., last - 1 on one device, copied there when made."""

    def __init__(self, program: Program, ensemble: Ensemble, device: int, first: int, last: int) -> None:
        self._program, self._ensemble, self.device = program, ensemble, device
        self._part, self.members = slice(first, last), last - first
        with devices.on(device):
            chosen, work = program.room(self.members)
            theta, moments = ensemble.theta[self._part], ensemble.moments[self._part]
            x, y = program.data
            self._arrays = Arrays(
                theta=cuda.to_device(theta.ravel()),
                moments=cuda.to_device(moments.ravel() if moments.size else np.zeros(1, theta.dtype)),
                diverged=cuda.to_device(ensemble.diverged[self._part]),
                rates=cuda.to_device(program.rates(ensemble, self._part)),
                words=cuda.to_device(program.words(ensemble, self._part)),
                x=cuda.to_device(x),
                y=cuda.to_device(y),
                chosen=cuda.device_array(chosen, np.int32),
                work=cuda.device_array(work, theta.dtype),
            )

    def prepare(self, first_step: int, done: int, steps: int) -> None:
        """Copy there what differs from step to step, for `steps` steps after the first `done` of the call.

        A copy waits for what was started before: the launches that follow need none.
        """
        table = self._ensemble.rates[self._part, done : done + steps] if self._program.step.scheduled else _CONSTANT
        with devices.on(self.device):
            self._by_step = self._program.by_step(first_step + done, steps, table)

    def advance(self, first: int, steps: int) -> None:
        """Start steps first, ..., first + steps - 1 of those prepared; returns before they have ended."""
        with devices.on(self.device):
            self._program.launch(self._arrays, self.members, self._by_step, first, steps)

    def mark(self) -> None:
        """Take over the members that the caller found to have diverged."""
        with devices.on(self.device):
            self._arrays.diverged.copy_to_device(self._ensemble.diverged[self._part])

    def wait(self) -> None:
        """Return when the training has ended."""
        with devices.on(self.device):
            cuda.synchronize()

    def observe(self, points: NDArray[np.floating] | None) -> tuple[int, Seen]:
        """The number of the first member, and the members as they are, `points` (k, D) being those to evaluate at."""
        with devices.on(self.device):
            self._arrays.diverged.copy_to_host(self._ensemble.diverged[self._part])
            there = None if points is None else cuda.to_device(np.ascontiguousarray(points).ravel())
            return self._part.start, Seen(self._program, self._arrays, self.members, there)

    def fetch(self) -> None:
        """Copy the members back, when their training has ended."""
        ensemble, part = self._ensemble, self._part
        with devices.on(self.device):
            self._arrays.theta.copy_to_host(ensemble.theta[part].reshape(-1))
            if ensemble.moments.size:
                self._arrays.moments.copy_to_host(ensemble.moments[part].reshape(-1))
            self._arrays.diverged.copy_to_host(ensemble.diverged[part])


class Session:
    """Training of one ensemble, whose state stays on the devices between calls of `advance`.

    The host's arrays are current after `fetch`; of these only `diverged` may be changed meanwhile. Where the
    devices' memory does not hold all members they take turns in it, at the price of a copy each way per call.

    `on`: numbers of the devices, one block of members for each; those that `devices` chooses if None. `limit` bounds
    the members of a block.
    """

    def __init__(
        self, program: Program, ensemble: Ensemble, *, on: Sequence[int] | None = None, limit: int | None = None
    ) -> None:
        self._program, self._ensemble, self._members = program, ensemble, len(ensemble.theta)
        self._devices = devices.chosen() if on is None else list(on)
        self._limit = self._members if limit is None else limit
        share = -(-self._members // len(self._devices))
        for device in self._devices:
            self._limit = min(self._limit, self._capacity(device, share))
        self._resident: list[Block] | None = None
        self._host_current = False  # whether the host's `diverged` is current, and may have been changed
        if share <= self._limit:
            self._resident = self._load(0, share)

    def advance(self, *, first_step: int, steps: int) -> None:
        """Train all members; may return before all have got there."""
        if self._resident is not None:
            if self._host_current:
                for block in self._resident:
                    block.mark()
            self._host_current = False
            self._train(self._resident, first_step, steps)
            return
        first = 0
        while first < self._members:
            blocks = self._load(first, self._limit)
            if blocks is None:
                continue  # with less
            self._train(blocks, first_step, steps)
            for block in blocks:
                block.fetch()
            first += len(self._devices) * self._limit

    def _train(self, blocks: list[Block], first_step: int, steps: int) -> None:
        """Start the training of all blocks, launch by launch, so that all devices have work from the first on."""
        longest = min(self._program.launch_steps(block.members) for block in blocks)
        for done in range(0, steps, PREPARED):
            ahead = min(PREPARED, steps - done)
            for block in blocks:
                block.prepare(first_step, done, ahead)
            for first in range(0, ahead, longest):
                for block in blocks:
                    block.advance(first, min(longest, ahead - first))

    def wait(self) -> None:
        """Return when all devices have done what was started."""
        for block in self._resident or ():
            block.wait()

    def observe(self, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]] | None:
        """The blocks of members where they lie, each with its device current; None where they are on the host.

        The host's `diverged` is current then, and may be changed.
        """
        if self._resident is None:
            return None
        self._host_current = True
        return _observed(self._resident, points)

    def fetch(self) -> None:
        """Make the host's arrays current."""
        self._host_current = True
        for block in self._resident or ():
            block.fetch()

    def _load(self, first: int, share: int) -> list[Block] | None:
        """Blocks of `share` members on each device; None if memory was short: then the limit is lower."""
        starts = range(first, self._members, share)
        try:
            return [
                Block(self._program, self._ensemble, device, start, min(start + share, self._members))
                for device, start in zip(self._devices, starts, strict=False)
            ]
        except Exception as error:
            if "OUT_OF_MEMORY" not in str(error) and not isinstance(error, MemoryError):
                raise
            if share == 1:
                raise MemoryError("the device's memory does not hold one member") from error
            self._limit = share // 2
            return None

    def _capacity(self, device: int, wanted: int) -> int:
        """How many of `wanted` members a device has memory for; at least 1, that an error may tell."""
        with devices.on(device):
            free = memory_free() * SHARE
            if self._program.bytes(wanted) <= free:
                return wanted
            least, most = 1, wanted
            while most - least > 1:
                middle = (least + most) // 2
                if self._program.bytes(middle) <= free:
                    least = middle
                else:
                    most = middle
        return least


def _observed(blocks: list[Block], points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
    """What the blocks hold, one after the other."""
    for block in blocks:
        with devices.on(block.device):
            yield block.observe(points)


def memory_free() -> float:
    """Bytes that the current device has left; infinite in the simulator."""
    return float(cuda.current_context().get_memory_info()[0])
