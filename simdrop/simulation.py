"""simulate(): train an ensemble, member by member exactly as SGD with dropout does, and record it."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.rng import MAX_STEPS
from simdrop_kernels.spec import MOMENTS, OBJECTIVES, OPTIMIZERS, Ensemble, Objective, Optimizer, Step

from . import provenance
from .errors import Diverged, DivergenceWarning, InvalidInput, check_choice
from .interrupt import Interruptible
from .problem import Problem, check_count, check_finite, check_keep_prob, check_seed
from .recording import Recorder, Wanted

if TYPE_CHECKING:
    import xarray as xr

#: bytes of parameters and optimizer state that one block of members may take by default
DEFAULT_MEMORY = 512 << 20
#: neuron·sample updates of one step of one block at most, so that a kernel call stays well below a second
BLOCK_WORK = 500_000_000
#: seconds that one kernel call should last: long enough to cost nothing, short enough to stop soon
CALL_SECONDS = 0.2
#: bytes of parameters that are looked at in one piece when recording
SLICE_BYTES = 4 << 20


def simulate(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: ArrayLike,
    steps: int,
    members: int | None = None,
    seed: int = 0,
    objective: Objective = "dropout",
    optimizer: Optimizer = "sgd",
    optimizer_options: dict[str, float] | None = None,
    batch_size: int | None = None,
    replace: bool = False,
    keep_prob: ArrayLike | None = None,
    backend: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    record: int | ArrayLike = 50,
    spacing: Literal["even", "log"] = "even",
    keep_theta: bool | Sequence[int] = False,
    grid: ArrayLike | None = None,
    covariance: bool | Sequence[int] = False,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    groups: int = 0,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Train `members` networks from theta0 and record them on the way.

    Parameters
    ----------
    theta0 : start, shape (P,) for all members or (members, P)
    lr : learning rate ε, a number or one for each member
    steps : number of training steps
    members : size of the ensemble; may be left out where an array over members tells it
    seed : of the masks and minibatches; member k draws those of number k whatever the block
    objective : "dropout" trains R_drop under sampled masks; "risk", "risk+r1" and "risk+r1+r2" train
        the deterministic R_S, R_S + R_1 and R_S + R_1 + R_2
    optimizer : "sgd", "momentum" or "adam"; `optimizer_options` may set momentum, beta1, beta2, epsilon
    batch_size : samples of one step's minibatch, None for all; `replace` draws them with replacement
    keep_prob : in place of the problem's, a number or one for each member
    record : number of record times or an array of steps; 0 and `steps` are always among them
    keep_theta : True for the parameters of all members at every record time, or member numbers
    grid : points (k,) or (k, d) at which mean and spread of the outputs are recorded
    covariance : True for the covariance of all parameters, or parameter numbers
    groups : number of consecutive groups of members whose means are kept, for jackknife errors
    memory : bytes for the state of the members trained at one time; `block_size` sets their number
    progress : called with (updates done, updates in all), an update being one step of one member
    out : folder that receives `results.zarr`, also when the run is interrupted or diverges

    Returns
    -------
    xarray.Dataset over time = lr · step (without that coordinate where lr differs between members),
    member and param; members that become non-finite are NaN from there on and leave the means.

    Raises
    ------
    InvalidInput : an argument is wrong
    simdrop_kernels.BackendError : the named backend cannot run this
    Diverged : all members became non-finite; the error's `partial` holds what was recorded
    KeyboardInterrupt : after the recorded part was written; `partial` as above
    """
    settings = Settings.check(
        problem, lr=lr, steps=steps, members=members, seed=seed, keep_prob=keep_prob, dtype=dtype, theta0=theta0
    )
    step = _check_step(problem, objective, optimizer, optimizer_options, batch_size, replace)
    wanted = _check_wanted(problem, settings, record, spacing, keep_theta, grid, covariance, quantiles, groups)
    check_choice("backend", backend, ("auto", *registry.names()))
    chosen, reason = registry.choose(backend, step, np.dtype(dtype))
    run = _Run(
        problem=problem,
        settings=settings,
        step=step,
        wanted=wanted,
        backend=chosen,
        threads=provenance.cores() if threads is None else check_count("threads", threads),
        block=_block_size(problem, settings, step, memory, block_size),
        progress=progress or (lambda done, total: None),
    )
    started = clock.perf_counter()
    stopped = run.go()
    seconds = clock.perf_counter() - started
    attrs = provenance.of_run(problem, settings, step, run=run, reason=reason, seconds=seconds, interrupted=stopped)
    times = settings.lr[0] * wanted.steps if (settings.lr == settings.lr[0]).all() else None
    points = None if grid is None else problem.augment(grid)[:, : problem.x.shape[1]]
    data = run.recorder.dataset(time=times, grid=points, attrs=attrs)
    if out is not None:
        from .storage import save

        save(data, Path(out) / "results.zarr")
    _report_end(data, stopped)
    return data


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked numbers of a run; lr and keep_prob have shape (members,), theta0 (P,) or (members, P)."""

    theta0: NDArray[np.float64]
    lr: NDArray[np.float64]
    keep_prob: NDArray[np.float64]
    steps: int
    members: int
    seed: int
    dtype: np.dtype

    @classmethod
    def check(
        cls,
        problem: Problem,
        *,
        theta0: ArrayLike,
        lr: ArrayLike,
        steps: int,
        members: int | None,
        seed: int,
        keep_prob: ArrayLike | None,
        dtype: str,
    ) -> Settings:
        """Validate; raises InvalidInput."""
        theta0 = problem.check_theta(theta0, "theta0")
        lr = check_finite("lr", lr)
        if not (lr > 0).all():
            raise InvalidInput(f"lr must be positive, got {lr if lr.size > 1 else lr.item()!r}")
        kept = check_keep_prob(problem.keep_prob if keep_prob is None else keep_prob)
        lengths = {"lr": lr, "keep_prob": kept, "theta0": theta0[..., 0]}
        if members is None:
            members = next((len(value) for value in lengths.values() if value.ndim), None)
            if members is None:
                raise InvalidInput("members is missing: give it, or an array over members for theta0, lr or keep_prob")
        members = check_count("members", members)
        for name, value in lengths.items():
            if value.ndim > 1 or value.shape not in ((), (members,)):
                raise InvalidInput(f"{name} must be the same for all or given for {members} members, got {value.shape}")
        steps = check_count("steps", steps)
        if steps > MAX_STEPS:
            raise InvalidInput(f"steps must be at most 2**32, got {steps}")
        check_choice("dtype", dtype, ("float32", "float64"))
        return cls(
            theta0=theta0,
            lr=np.broadcast_to(lr, members),
            keep_prob=np.broadcast_to(kept, members),
            steps=steps,
            members=members,
            seed=check_seed(seed),
            dtype=np.dtype(dtype),
        )


@dataclass(kw_only=True)
class _Run:
    """One run: blocks of members, each taken from record step to record step by the backend."""

    problem: Problem
    settings: Settings
    step: Step
    wanted: Wanted
    backend: registry.Backend
    threads: int
    block: int
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        dtype, problem = self.settings.dtype, self.problem
        self.x = np.ascontiguousarray(problem.inputs, dtype=dtype)
        self.y = np.ascontiguousarray(problem.y, dtype=dtype)
        points = self.wanted.points
        self.points = None if points is None else np.ascontiguousarray(points, dtype=dtype)
        self.recorder = Recorder(
            self.wanted,
            members=self.settings.members,
            params=problem.n_params,
            outputs=problem.n_outputs,
            dtype=dtype,
        )
        self.call_steps = 1
        self.kernel_seconds = 0.0
        self.updates = 0

    def go(self) -> bool:
        """Run to the end or to an interrupt; returns whether it was interrupted."""
        with Interruptible() as interrupt:
            for first in range(0, self.settings.members, self.block):
                if not self._train_block(first, min(first + self.block, self.settings.members), interrupt):
                    return True
        return False

    def _train_block(self, first: int, last: int, interrupt: Interruptible) -> bool:
        settings = self.settings
        theta0 = settings.theta0 if settings.theta0.ndim == 1 else settings.theta0[first:last]
        ensemble = Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.problem.n_params)),
            optimizer=self.step.optimizer,
            lr=settings.lr[first:last],
            keep_prob=settings.keep_prob[first:last],
            first_member=first,
            dtype=settings.dtype,
        )
        done = 0
        for number, target in enumerate(self.wanted.steps):
            while done < target:
                if interrupt.requested:
                    return False
                done += self._advance(ensemble, done, int(target))
            self._observe(number, first, ensemble)
        return True

    def _advance(self, ensemble: Ensemble, done: int, target: int) -> int:
        """One kernel call; returns the steps it took. The number of steps of a call adapts to their cost."""
        steps = min(self.call_steps, target - done)
        started = clock.perf_counter()
        self.backend.advance(
            self.step,
            self.x,
            self.y,
            ensemble,
            seed=self.settings.seed,
            first_step=done,
            steps=steps,
            threads=self.threads,
        )
        seconds = clock.perf_counter() - started
        self.kernel_seconds += seconds
        if seconds < CALL_SECONDS / 2 and steps == self.call_steps:
            self.call_steps = min(2 * self.call_steps, 1 << 24)
        elif seconds > CALL_SECONDS:
            self.call_steps = max(self.call_steps // 2, 1)
        self.updates += steps * len(ensemble.theta)
        self.progress(self.updates, self.settings.steps * self.settings.members)
        return steps

    def _observe(self, number: int, first: int, ensemble: Ensemble) -> None:
        """Hand the block to the recorder in slices that stay small beside the state."""
        rows = max(1, SLICE_BYTES // ensemble.theta[0].nbytes)
        outputs = self.problem.n_outputs
        for start in range(0, len(ensemble.theta), rows):
            part = slice(start, start + rows)
            theta = ensemble.theta[part]
            values = None
            with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
                f = self.backend.evaluate(self.step, self.x, theta, outputs, threads=self.threads)
                risk = np.square(f - self.y).sum(axis=(1, 2), dtype=np.float64) / (2 * len(self.x))
                if self.points is not None:
                    values = self.backend.evaluate(self.step, self.points, theta, outputs, threads=self.threads)
            finite = np.isfinite(risk) & np.isfinite(theta).all(axis=1)
            diverged = ensemble.diverged[part]
            diverged[(diverged < 0) & ~finite] = self.wanted.steps[number]
            self.recorder.observe(number, first + start, theta, risk, values, diverged < 0)
        self.recorder.diverged[first : first + len(ensemble.theta)] = ensemble.diverged


def _check_step(
    problem: Problem,
    objective: str,
    optimizer: str,
    given: dict[str, float] | None,
    batch_size: int | None,
    replace: bool,
) -> Step:
    check_choice("objective", objective, OBJECTIVES)
    check_choice("optimizer", optimizer, OPTIMIZERS)
    options: dict[str, Any] = dict(given or {})
    known = {"sgd": (), "momentum": ("momentum",), "adam": ("beta1", "beta2", "epsilon")}[optimizer]
    for name, value in options.items():
        if name not in known:
            takes = ", ".join(known) or "none"
            raise InvalidInput(f"unknown optimizer option {name!r}: {optimizer} takes {takes}")
        upper = np.inf if name == "epsilon" else 1
        if not 0 <= value < upper:
            raise InvalidInput(f"{name} must lie in [0, {upper}), got {value!r}")
    if batch_size is not None:
        batch_size = check_count("batch_size", batch_size)
        if batch_size > problem.n_samples and not replace:
            raise InvalidInput(f"batch_size must be at most the {problem.n_samples} samples, got {batch_size}")
        if objective == "risk+r1+r2":
            raise InvalidInput("objective 'risk+r1+r2' needs batch_size=None: R_2 is defined for the full batch")
        if batch_size == problem.n_samples and not replace:
            batch_size = None
    return Step(
        activation=problem.activation,
        mask=problem.mask,
        objective=objective,  # type: ignore[arg-type]  # check_choice has narrowed it
        optimizer=optimizer,  # type: ignore[arg-type]
        output_scale=problem.scale,
        batch_size=batch_size,
        replace=replace,
        **options,
    )


def record_steps(steps: int, record: int | ArrayLike, spacing: str = "even") -> NDArray[np.int64]:
    """The record steps: `record` of them evenly or log-spaced, or those given; always 0 and `steps`."""
    check_choice("spacing", spacing, ("even", "log"))
    if np.ndim(record) == 0:
        count = check_count("record", record, least=2)
        if spacing == "even":
            chosen = np.linspace(0, steps, count)
        else:
            chosen = np.concatenate([[0], np.geomspace(1, steps, max(count - 1, 1))])
    else:
        chosen = check_finite("record", record)
        if chosen.ndim != 1 or not ((chosen >= 0) & (chosen <= steps) & (chosen == np.rint(chosen))).all():
            raise InvalidInput(f"record must be a count or a list of whole steps in 0 ... {steps}, got {record!r}")
    return np.unique(np.concatenate([[0, steps], np.rint(chosen)]).astype(np.int64))


def _check_wanted(
    problem: Problem,
    settings: Settings,
    record: int | ArrayLike,
    spacing: str,
    keep_theta: bool | Sequence[int],
    grid: ArrayLike | None,
    covariance: bool | Sequence[int],
    quantiles: Sequence[float],
    groups: int,
) -> Wanted:
    levels = tuple(float(q) for q in quantiles)
    if not all(0 <= q <= 1 for q in levels):
        raise InvalidInput(f"quantiles must lie in [0, 1], got {quantiles!r}")
    groups = check_count("groups", groups, least=0)
    if groups == 1 or groups > settings.members:
        raise InvalidInput(f"groups must be 0 or between 2 and the {settings.members} members, got {groups}")
    return Wanted(
        steps=record_steps(settings.steps, record, spacing),
        trajectories=_numbers("keep_theta", keep_theta, settings.members),
        points=None if grid is None else problem.augment(grid),
        covariance=_numbers("covariance", covariance, problem.n_params),
        quantiles=levels,
        groups=groups,
    )


def _numbers(name: str, value: bool | Sequence[int], limit: int) -> NDArray[np.int64]:
    """Numbers in [0, limit): all for True, none for False, else those given, sorted, without repetition."""
    if isinstance(value, (bool, np.bool_)):
        return np.arange(limit if value else 0)
    numbers = np.unique(np.asarray(value))
    if numbers.size == 0:
        return np.arange(0)
    if numbers.dtype.kind not in "iu" or numbers[0] < 0 or numbers[-1] >= limit:
        raise InvalidInput(f"{name} must be True, False or whole numbers from 0 to {limit - 1}, got {value!r}")
    return numbers.astype(np.int64)


def _block_size(problem: Problem, settings: Settings, step: Step, memory: int, block_size: int | None) -> int:
    if block_size is not None:
        return min(check_count("block_size", block_size), settings.members)
    state = problem.n_params * settings.dtype.itemsize * (1 + MOMENTS[step.optimizer])
    if check_count("memory", memory) < state:
        raise InvalidInput(f"memory must hold the {state} bytes of one member at least, got {memory}")
    samples = step.batch_size or problem.n_samples
    work = problem.width * samples * (problem.n_inputs + problem.n_outputs)
    return int(min(settings.members, memory // state, max(64, BLOCK_WORK // work)))


def _report_end(data: xr.Dataset, stopped: bool) -> None:
    diverged = data["diverged"].values
    lost = np.flatnonzero(diverged >= 0)
    if stopped:
        error: BaseException = KeyboardInterrupt("interrupted")
        error.partial = data  # type: ignore[attr-defined]
        raise error
    if not lost.size:
        return
    shown = ", ".join(f"{m} (step {diverged[m]})" for m in lost[:5]) + (", ..." if lost.size > 5 else "")
    text = f"{lost.size} of {diverged.size} members became non-finite and left the means: {shown}"
    if lost.size == diverged.size:
        error = Diverged(f"all members diverged; a smaller lr may help. {text}")
        error.partial = data  # type: ignore[attr-defined]
        raise error
    warnings.warn(text, DivergenceWarning, stacklevel=3)
