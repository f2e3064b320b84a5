"""The loop that simulate() and sme() share: blocks of members, each taken from record step to record step.

What moves a block is a `Mover`; here are the bound on memory, the length of a call, progress, interrupts, members
that diverge.
"""

from __future__ import annotations

import sys
import time as clock
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels.contract.step import Ensemble, for_kernels
from simdrop_kernels.mathematics.losses.base import Loss

from ..checks.numbers import check_count
from ..errors import Diverged, DivergenceWarning, InvalidInput
from .interrupt import Interruptible, stop
from .recording import Recorder, Wanted
from .seen import Here, Scores, Seen

if TYPE_CHECKING:
    import xarray as xr

    from ..output.folder import Folder
    from ..output.progress import Progress
    from .checkpoint import Checkpoint, Restored
    from .continuation import PreviousRun, State

Array = NDArray[np.floating]

#: neuron·sample updates of one step of one block at most, so that a kernel call stays well below a second
BLOCK_WORK = 500_000_000
#: seconds that one kernel call should last: long enough to cost nothing, short enough to stop soon
CALL_SECONDS = 0.2
#: bytes of parameters that are looked at in one piece when recording
SLICE_BYTES = 4 << 20
#: activations and outputs on a test set that are computed in one piece
TEST_NUMBERS = 1 << 22


class Mover(Protocol):
    """What moves members, on data x (n, D) and y (n, c) in the dtype of the run, whose loss is `loss`."""

    x: Array
    y: Array
    loss: Loss

    def start(self, first: int, last: int) -> Ensemble:
        """Members first, ..., last - 1 before their first step."""

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """Take them through steps first_step, ..., first_step + steps - 1."""

    def look(self, ensemble: Ensemble, points: Array | None) -> Iterator[tuple[int, Seen]]:
        """The members in parts, each with the number of its first member; `points` (k, D): the grid, or None.

        The ensemble's `diverged` is current then, and may be changed; its other arrays need not be.
        """
        ...

    def fetch(self, ensemble: Ensemble) -> None:
        """Make all arrays of the ensemble current."""

    def evaluate(self, x: Array, theta: Array) -> Array:
        """Outputs (B, k, c) of the whole networks theta (B, P) at x (k, D)."""


class Run:
    """A run of `members` members of `params` parameters in blocks of `block`, what it recorded and how long it took."""

    def __init__(
        self, mover: Mover, wanted: Wanted, *, members: int, params: int, block: int,
        previous: PreviousRun | None = None, state: State | None = None,
    ) -> None:  # fmt: skip
        """previous: the run to go on with; state: takes what this run leaves at its end."""
        self.mover, self.wanted, self.members, self.block = mover, wanted, members, block
        dtype = mover.x.dtype
        self.points = None if wanted.points is None else for_kernels(wanted.points, dtype)
        outputs = mover.y.shape[1]
        self.recorder = Recorder(wanted, members=members, params=params, outputs=outputs, dtype=dtype)
        self.previous, self.state = previous, state
        self.first_step = 0 if previous is None else previous.step
        if previous is not None:
            self.recorder.diverged[:], self.recorder.blown_up[:] = previous.diverged, previous.blown_up
        self.call_steps = 1
        self.seconds = self.kernel_seconds = self.compile_seconds = 0.0
        self.updates = 0
        self.checkpoint: Checkpoint | None = None
        #: whether the run ends after the record of this number; asked when all members are at it
        self.stops_after: Callable[[int], bool] | None = None
        self.stopped_at: int | None = None
        #: the settings of the state after the record of this number, as plain values
        self.state_settings: Callable[[int], dict[str, Any]] = lambda number: {}

    def go(self, stage: str, tell: Progress) -> BaseException | None:
        """Run to the end; returns what stopped the run on the way: a signal, or an exception from inside.

        A second signal is raised at once. `tell` is called with `stage` and the updates done and in all.
        """
        self.progress = partial(tell, stage)
        started, compiled = clock.perf_counter(), _compiled()
        error: BaseException | None = None
        with Interruptible() as interrupt:
            try:
                restored = self._restored()
                begin = restored.first if restored else 0
                for first in range(begin, self.members, self.block):
                    if not self._take_block(first, min(first + self.block, self.members), interrupt, restored):
                        error = stop(interrupt.requested)
                        break
            except BaseException as raised:
                if interrupt.at_once:
                    raise
                error = raised
        self.seconds, self.compile_seconds = clock.perf_counter() - started, _compiled() - compiled
        return error

    def dataset(self, time: NDArray[np.float64] | None, *, grid: Array | None, attrs: dict[str, Any]) -> xr.Dataset:
        """What was recorded; `time` (T,) of the record steps or None, grid (k, d) the points of the user or None."""
        return self.recorder.dataset(time=time, grid=grid, attrs=attrs)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was recorded, and the state that is left, by name: the arrays themselves."""
        return self.recorder.state() | ({} if self.state is None else self.state.arrays())

    def _restored(self) -> Restored | None:
        """What the checkpoint holds, its records in the recorder; None without one."""
        restored = self.checkpoint.load(self.arrays) if self.checkpoint else None
        if restored is not None:
            steps, members = self.wanted.steps - self.first_step, len(restored.moved["theta"])
            self.updates = int(steps[-1]) * restored.first + int(steps[restored.number]) * members
        return restored

    def _take_block(self, first: int, last: int, interrupt: Interruptible, restored: Restored | None = None) -> bool:
        """Take one block through all steps, or those after it was `restored`; returns whether it came to the end."""
        ensemble, done, number = self.mover.start(first, last), self.first_step, -1
        limits = self._limits(ensemble.theta) if self.previous is None else self.previous.risk_limit[first:last]
        if restored is not None and restored.first == first:
            number, done = restored.number, int(self.wanted.steps[restored.number])
            restored.into(ensemble)
        stops = number >= 0 and self._stops(number)
        while not stops and number + 1 < len(self.wanted.steps):
            number += 1
            target = int(self.wanted.steps[number])
            while done < target:
                if interrupt.requested:
                    return False
                done += self._advance(ensemble, done, target)
            self._observe(number, first, ensemble, limits)
            stops = self._stops(number)
            if self.checkpoint is not None and self.checkpoint.due():
                self.mover.fetch(ensemble)
                self.checkpoint.save(self.arrays, first, number, ensemble)
        self._leave(first, number, ensemble, limits)
        return True

    def _stops(self, number: int) -> bool:
        """Whether the run ends after record `number`."""
        return self.stops_after is not None and self.stops_after(number)

    def _leave(self, first: int, number: int, ensemble: Ensemble, limits: NDArray[np.float64]) -> None:
        """Keep the state of a block after its last record, and of the last block what all have left."""
        if self.state is not None:
            self.mover.fetch(ensemble)
            self.state.take(first, ensemble, limits)
            if self.checkpoint is not None and first + len(ensemble.theta) == self.members:
                self.checkpoint.save(self.arrays, first, number, ensemble, state=self.state_settings(number))
        if number + 1 < len(self.wanted.steps):
            self.stopped_at = int(self.wanted.steps[number])
            self.recorder = self.recorder.part(slice(0, number + 1))

    def _advance(self, ensemble: Ensemble, done: int, target: int) -> int:
        """One kernel call; returns the steps it took. The number of steps of a call adapts to their cost."""
        steps = min(self.call_steps, target - done)
        started, compiled = clock.perf_counter(), _compiled()
        self.mover.advance(ensemble, done, steps)
        seconds = clock.perf_counter() - started - (_compiled() - compiled)
        self.kernel_seconds += seconds
        if seconds < CALL_SECONDS / 2 and steps == self.call_steps:
            self.call_steps = min(2 * self.call_steps, 1 << 24)
        elif seconds > CALL_SECONDS:
            self.call_steps = max(self.call_steps // 2, 1)
        self.updates += steps * len(ensemble.theta)
        self.progress(self.updates, (int(self.wanted.steps[-1]) - self.first_step) * self.members)
        return steps

    def _limits(self, theta: Array) -> NDArray[np.float64]:
        """The risk (B,) above which each member, at its start theta (B, P), has blown up; infinite for none."""
        if np.isinf(self.wanted.risk_limit):
            return np.full(len(theta), np.inf)
        starts = theta[:1] if (theta == theta[0]).all() else theta
        y = self.mover.y.astype(np.float64)  # squares of large targets overflow in single precision
        zero = risks(self.mover.loss, np.zeros((1, *y.shape)), y)[0]
        with np.errstate(over="ignore", invalid="ignore"):  # a start on its way to infinity
            unit = np.maximum(
                np.concatenate([_scores(self.mover, starts[part]).risk for part in _slices(starts)]), zero
            )
            limits = np.where(unit > 0, self.wanted.risk_limit * unit, np.inf)
        return np.broadcast_to(limits, len(theta))

    def _observe(self, number: int, first: int, ensemble: Ensemble, limits: NDArray[np.float64]) -> None:
        """Hand the block to the recorder, with the members that count."""
        step = self.wanted.steps[number]
        blown_up = self.recorder.blown_up[first : first + len(ensemble.theta)]
        for start, seen in self.mover.look(ensemble, self.points):
            part = slice(start, start + seen.members)
            diverged, blown = ensemble.diverged[part], blown_up[part]
            blown[(blown < 0) & (diverged < 0) & ~(seen.risk <= limits[part])] = step
            self.recorder.observe(number, first + start, seen, (diverged < 0) & (blown < 0) & seen.finite)
        self.recorder.diverged[first : first + len(ensemble.theta)] = ensemble.diverged


def _compiled() -> float:
    """Seconds that this process has compiled kernels; 0 where nothing loaded what compiles."""
    compiling = sys.modules.get("simdrop_kernels.compiling")
    return 0.0 if compiling is None else float(compiling.seconds())


def look_here(mover: Mover, ensemble: Ensemble, points: Array | None) -> Iterator[tuple[int, Here]]:
    """The members of a block whose arrays are current, in slices that are small compared with the state."""
    for part in _slices(ensemble.theta):
        theta = ensemble.theta[part]
        with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
            scores = _scores(mover, theta)
            values = None if points is None else mover.evaluate(points, theta)
        yield part.start, Here(theta, scores, values, partial(_scores_at, mover))


def _scores(mover: Mover, theta: Array) -> Scores:
    """Scores of the networks theta (B, P) on the data of the run."""
    return _scored(mover.loss, mover.evaluate(mover.x, theta), mover.y)


def _scored(loss: Loss, f: Array, y: Array) -> Scores:
    """Scores of outputs f (B, k, c) against targets y (k, c)."""
    right = np.zeros((0, 1)) if loss.probabilities is None else loss.right(f, y)
    return Scores(risks(loss, f, y), right.mean(axis=1))


def risks(loss: Loss, f: Array, y: Array) -> NDArray[np.float64]:
    """R_S (B,) of outputs f (B, k, c) against targets y (k, c), added up in double precision."""
    if loss.name == "squared":  # sums that keep their last bits
        risk: NDArray[np.float64] = np.square(f - y).sum(axis=(1, 2), dtype=np.float64)
        return risk / (2 * len(y))
    return np.asarray(loss.value(f, y).mean(axis=1, dtype=np.float64))


def _scores_at(mover: Mover, theta: Array, x: Array, y: Array) -> Scores:
    """Scores of the networks theta (B, P) on other samples x (k, D), y (k, c), few members at a time."""
    with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
        some = max(1, TEST_NUMBERS // (len(x) * (theta.shape[1] // (x.shape[1] + y.shape[1]) + y.shape[1])))
        parts = (theta[start : start + some] for start in range(0, len(theta), some))
        found = [_scored(mover.loss, mover.evaluate(x, part), y) for part in parts]
        return Scores(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _slices(theta: Array) -> Iterator[slice]:
    """Slices of members that are small compared with the state."""
    rows = max(1, SLICE_BYTES // theta[0].nbytes)
    return (slice(start, start + rows) for start in range(0, len(theta), rows))


def block_members(members: int, *, state: int, work: float, memory: int, given: int | None) -> int:
    """Members of a block: `given`, or as many of `state` bytes and `work` updates a step as fit the bounds.

    With `work` 0 memory alone bounds them.
    """
    if given is not None:
        return min(check_count("block_size", given), members)
    if check_count("memory", memory) < state:
        raise InvalidInput(f"memory must hold the {state} bytes of one member at least, got {memory}")
    return int(min(members, memory // state, max(64, BLOCK_WORK // work) if work else members))


def keep(data: xr.Dataset, out: Folder | None, error: BaseException | None) -> None:
    """Write what was recorded, also where `error` stopped the run; an error while writing has the data as `partial`."""
    if out is None:
        return
    from ..output.storage import save

    try:
        out.write("results.zarr", lambda path: save(data, path))
    except BaseException as failed:
        with_partial(failed, data)
        if error is None:
            raise
        error.add_note(f"what was recorded could not be written: {failed}")


def with_partial(error: BaseException, data: object) -> BaseException:
    """The error, with what was computed before it as `partial`, unless it carries that already."""
    if getattr(error, "partial", None) is None:
        with suppress(AttributeError, TypeError):  # a class of the user's that takes no attributes
            error.partial = data  # type: ignore[attr-defined]
    return error


def lost_steps(data: xr.Dataset) -> NDArray[np.int64]:
    """For each member the step at which it diverged, -1 where it did not.

    It is the first that took a parameter beyond its limit, or else the record step at which its risk was above its own.
    """
    diverged, blown_up = data["diverged"].values, data["blown_up"].values
    return np.where(diverged >= 0, diverged, blown_up)


def report_end(data: xr.Dataset, stopped: BaseException | None) -> None:
    """Raise for a run that was stopped or lost all members, with `partial`; warn if it lost some."""
    steps = lost_steps(data)
    lost = np.flatnonzero(steps >= 0)
    if stopped is not None:
        raise with_partial(stopped, data)
    if not lost.size:
        return
    shown = ", ".join(f"{m} (step {steps[m]})" for m in lost[:5]) + (", ..." if lost.size > 5 else "")
    text = f"{lost.size} of {steps.size} members {_how(data)} and left the means: {shown}"
    if lost.size == steps.size:
        raise with_partial(Diverged(f"all members diverged; {_remedy(data)}. {text}"), data)
    try:
        warnings.warn(text, DivergenceWarning, stacklevel=5)  # where simulate() or sme() was called
    except DivergenceWarning as error:  # where warnings are errors
        raise with_partial(error, data)  # noqa: B904


def _remedy(data: xr.Dataset) -> str:
    """What may help where all members diverged."""
    if np.isnan(data["risk_mean"].values[0]):  # before any step
        dtype = data.attrs["dtype"]
        return f"theta0 itself has parameters or a risk too large for {dtype}: a smaller theta0 or scaled data may help"
    if data.attrs.get("optimizer") == "adam" and data.attrs["epsilon"] == 0:
        return (
            "epsilon=0 divides 0 by 0 where a gradient is 0, as those of dropped neurons: a positive epsilon may help"
        )
    return "a smaller lr may help"


def _how(data: xr.Dataset) -> str:
    """What became of the members that were lost."""
    beyond = data["diverged"].values >= 0
    blown_up = int(((data["blown_up"].values >= 0) & ~beyond).sum())
    if not blown_up:
        return "diverged"
    words = f"blew up (risk above {data.attrs['risk_limit']:g} times that at the start)"
    return f"diverged ({beyond.sum()}) or {words}" if beyond.any() else words
