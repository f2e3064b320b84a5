"""simulate(): train an ensemble, member by member exactly as SGD with dropout does, and record it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.rng import MAX_STEPS, MAX_WIDTH
from simdrop_kernels.spec import MOMENTS, OPTIMIZERS, Ensemble, Objective, Optimizer, Step, for_kernels

from . import provenance
from .checks import (
    check_count,
    check_finite,
    check_flag,
    check_keep_prob,
    check_number,
    check_seeds,
    check_threads,
    check_whole,
)
from .ensemble import DEFAULT_MEMORY, Run, block_members, keep, look_here, report_end
from .errors import InvalidInput
from .labels import check_same
from .noise import Noise, check_batch
from .objective import Phase, check_objective, check_penalty
from .output.folder import opened
from .problem import Problem, check_problem
from .provenance import PER_MEMBER
from .recording import RISK_LIMIT, Seen, Wanted, record_steps
from .words import check_callable, check_choice, check_path, counted, shown

if TYPE_CHECKING:
    import xarray as xr


def simulate(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: ArrayLike,
    steps: int,
    members: int | None = None,
    seed: int | ArrayLike = 0,
    objective: Objective | Literal["L1"] | Mapping[int, str] = "dropout",
    penalty: float | None = None,
    optimizer: Optimizer = "sgd",
    optimizer_options: dict[str, float] | None = None,
    batch_size: int | None = None,
    replace: bool = False,
    noise: Noise | None = None,
    svag: int | None = None,
    keep_prob: ArrayLike | None = None,
    backend: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    record: int | ArrayLike = 50,
    spacing: Literal["even", "log"] = "even",
    keep_theta: bool | Sequence[int] = False,
    grid: ArrayLike | None = None,
    covariance: bool | Sequence[int] = False,
    norms: bool = False,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    groups: int = 0,
    risk_limit: float | None = RISK_LIMIT,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    numbers: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
) -> xr.Dataset:
    """Train `members` networks from theta0 and record them on the way.

    Parameters
    ----------
    theta0 : start, shape (P,) for all members or (members, P)
    lr : learning rate ε, a number or one for each member
    steps : number of training steps
    members : size of the ensemble; may be left out where an array over members tells it
    seed : of the masks and minibatches; member k draws those of number k whatever the block. One for each member may
        be given, with the same upper 32 bits: below 2**32, say
    objective : "dropout" trains R_drop under sampled masks; "risk", "risk+r1" and "risk+r1+r2" train
        the deterministic R_S, R_S + R_1 and R_S + R_1 + R_2. "L1" is R_S + R_1, "L2" R_S + R̃_2, "L3" R_drop - R̃_2,
        "L4" R_drop - R_1, with R̃_2 = (lr/4) |∇R_drop|² on the step's own masks (arXiv:2207.05952, section 5);
        "dropout+r2" is R_drop + (penalty/4) |∇R_drop|². {0: "risk", 2000: "dropout"} changes it at step 2000, where
        the optimizer's state goes on
    optimizer : "sgd", "momentum" or "adam"; `optimizer_options` may set momentum, beta1, beta2, epsilon
    batch_size : samples of one step's minibatch, None for all; `replace` draws them with replacement
    noise : further noise of a step, or another law of dropout: see `simdrop.noise.Noise`; batch_size and replace may
        be given there instead
    svag : l, for a step of lr / l along two draws of all noise weighted (1 ± √(2l - 1)) / 2 (Li, Malladi & Arora,
        arXiv:2102.12470): as l grows the ensemble becomes that of the stochastic modified equation of order 1
    keep_prob : in place of the problem's, a number or one for each member
    record : number of record times or an array of steps; 0 and `steps` are always among them
    keep_theta : True for the parameters of all members at every record time, or member numbers
    grid : points (k,) or (k, d) at which mean and spread of the outputs are recorded
    covariance : True for the covariance of all parameters, or parameter numbers
    norms : whether the 2-norm of the parameters of every member is recorded
    groups : number of consecutive groups of members whose means are kept, for jackknife errors
    risk_limit : a member has blown up, and is counted as diverged from there on, when at a record step its risk R_S is
        more than this many times the larger of its risk at the start and that of outputs 0, ½ mean |y|²; None: a member
        diverges only by its parameters
    memory : bytes for the state of the members trained at one time; `block_size` sets their number
    progress : called with (updates done, updates in all), an update being one step of one member
    out : folder that receives `results.zarr`, also when the run is stopped or diverges. It is tried before the run:
        one that holds another result is refused, or with `overwrite` that result is replaced; files that simdrop did
        not write stay in any case
    numbers : (members,) whole numbers below 2**32 by which the members draw, 0, 1, ... by default
    checkpoint : file that receives the state at a record step when the last one is `checkpoint_seconds` old, and goes
        when the run is done; `resume` continues from what is there, to the same bits on the same backend, and begins
        where there is nothing; another process that uses the file is refused

    Returns
    -------
    xarray.Dataset over time = lr · step (lr · step / l with SVAG; without that coordinate where lr differs between
    members), member and param; lr and keep_prob, and whatever was given for each member, are coordinates, on member
    where they differ. Members that diverge are NaN from there on and leave the means: `diverged` is the first
    step that took a parameter beyond 2**64 (float32) or 2**512 (float64), whatever is recorded; `blown_up` the first
    record step at which its risk was above the limit, while it trains on; both are -1 for the others. What Numba
    compiles on first use is told by `logging.getLogger("simdrop")` at level INFO, and its time is the attribute
    compile_seconds, which kernel_seconds leaves out.

    Raises
    ------
    InvalidInput : an argument is wrong
    simdrop_kernels.BackendError : the named backend cannot run this
    Diverged : all members diverged; the error's `partial` holds what was recorded
    KeyboardInterrupt : Ctrl-C, or as its subclass `simdrop.errors.Terminated` SIGTERM or SIGHUP, came: the recorded
        part was written; `partial` as above. A second one stops at once
    Any exception from `progress`, or where results cannot be written, has `partial` too.
    """
    settings = Settings.check(
        problem, lr=lr, steps=steps, members=members, seed=seed, keep_prob=keep_prob, dtype=dtype, theta0=theta0
    )
    objectives = check_objective(objective, settings.steps)
    noise = _check_noise(problem, noise, batch_size=batch_size, replace=replace, objectives=objectives)
    options = _check_optimizer(optimizer, optimizer_options) | {"penalty": check_penalty(penalty, objectives)}
    step = _check_step(problem, objectives, optimizer, options, noise, svag)
    _check_draws(step, settings.steps, problem.n_params)
    wanted = Wanted.check(
        problem,
        members=settings.members,
        steps=record_steps(settings.steps, record, spacing),
        keep_theta=keep_theta,
        grid=grid,
        covariance=covariance,
        norms=norms,
        quantiles=quantiles,
        groups=groups,
        risk_limit=risk_limit,
        dtype=settings.dtype,
    )
    phases = _phases(problem, objectives, step, backend, settings.dtype)
    threads = provenance.cores() if threads is None else check_threads(threads)
    drawn_by = _check_numbers(numbers, settings.members)
    training = _Training(problem=problem, settings=settings, phases=phases, threads=threads, numbers=drawn_by)
    samples = (step.batch_size or problem.n_samples) * step.masks * (2 if step.svag else 1)
    speed = min(getattr(phase.backend, "SPEED", 1) for phase in phases)
    block = block_members(
        settings.members,
        state=problem.n_params * settings.dtype.itemsize * (1 + MOMENTS[step.optimizer]),
        work=problem.width * samples * (problem.n_inputs + problem.n_outputs) / speed,
        memory=memory,
        given=block_size,
    )
    run = Run(training, wanted, members=settings.members, params=problem.n_params, block=block)
    check_callable("progress", progress)
    seconds = check_number("checkpoint_seconds", checkpoint_seconds, least=0)
    if checkpoint is not None:
        checkpoint = check_path("checkpoint", checkpoint)
    if check_flag("resume", resume) and checkpoint is None:
        raise InvalidInput("resume=True needs a checkpoint: the file to continue from")
    with ExitStack() as stack:
        folder = stack.enter_context(opened(out, "simulate", overwrite=check_flag("overwrite", overwrite)))
        if checkpoint is not None:
            from .checkpoint import Checkpoint

            identity = provenance.identity(problem, settings, training=training, run=run)
            held = Checkpoint(checkpoint, identity, resume=resume, seconds=seconds)
            run.checkpoint = stack.enter_context(held)
        stopped = run.go(progress)
        if stopped is not None and not run.updates:
            raise stopped
        attrs = provenance.of_run(problem, settings, training=training, run=run, interrupted=stopped is not None)
        times = settings.lr[0] * wanted.steps / (step.svag or 1) if (settings.lr == settings.lr[0]).all() else None
        points = None if wanted.points is None else wanted.points[:, : problem.x.shape[1]]
        data = _told(settings, run.dataset(times, grid=points, attrs=attrs))
        keep(data, folder, stopped)
        if run.checkpoint is not None and stopped is None:
            run.checkpoint.remove()
    report_end(data, stopped)
    return data


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked numbers of a run; lr, keep_prob and seeds have shape (members,), theta0 (P,) or (members, P)."""

    theta0: NDArray[np.float64]
    lr: NDArray[np.float64]
    keep_prob: NDArray[np.float64]
    seeds: NDArray[np.uint64]
    steps: int
    members: int
    dtype: np.dtype
    per_member: tuple[str, ...] = ()  # what was given for each member

    @cached_property
    def theta0_sha256(self) -> str:
        """Told with the results and with the checkpoint; theta0 of all members may be large."""
        return provenance.fingerprint(self.theta0)

    @property
    def seed(self) -> int:
        """That of the first member, which the kernels take; `start` tells how the others' differ."""
        return int(self.seeds[0])

    @classmethod
    def check(
        cls,
        problem: Problem,
        *,
        theta0: ArrayLike,
        lr: ArrayLike,
        steps: int,
        members: int | None,
        seed: int | ArrayLike,
        keep_prob: ArrayLike | None,
        dtype: str,
    ) -> Settings:
        """Validate; raises InvalidInput."""
        labelled = {"lr": lr, "keep_prob": keep_prob, "seed": seed}
        check_same(labelled if getattr(theta0, "ndim", 0) < 2 else {"theta0": theta0} | labelled)
        theta0 = check_problem(problem).check_theta(theta0, "theta0")
        lr = check_finite("lr", lr)
        if not (lr > 0).all():
            raise InvalidInput(f"lr must be positive, got {shown(lr if lr.ndim else lr.item())}")
        kept = check_keep_prob(problem.keep_prob if keep_prob is None else keep_prob)
        seeds = check_seeds(seed)
        lengths = {"lr": lr, "keep_prob": kept, "seed": seeds, "theta0": theta0[..., 0]}
        if members is None:
            members = next((len(value) for value in lengths.values() if value.ndim), None)
            if members is None:
                raise InvalidInput("members is missing: give it, or an array over members for theta0, lr or keep_prob")
        members = check_count("members", members, most=1 << 32)
        for name, value in lengths.items():
            if value.ndim > 1 or value.shape not in ((), (members,)):
                raise InvalidInput(
                    f"{name} must be the same for all or given for {counted(members, 'member')}, got {value.shape}"
                )
        steps = check_count("steps", steps)
        if steps > MAX_STEPS:
            raise InvalidInput(f"steps must be at most 2**32, got {steps}")
        with np.errstate(over="ignore"):
            duration = lr.max() * steps
        if not np.isfinite(duration):
            raise InvalidInput(f"lr · steps must be finite, got lr={lr.max():g} and steps={steps}")
        check_choice("dtype", dtype, ("float32", "float64"))
        return cls(
            theta0=theta0,
            lr=np.broadcast_to(lr, members),
            keep_prob=np.broadcast_to(kept, members),
            steps=steps,
            members=members,
            seeds=np.broadcast_to(seeds, members),
            dtype=np.dtype(dtype),
            per_member=tuple(name for name, value in lengths.items() if value.ndim),
        )


class _Open(NamedTuple):
    """A session that is open, and what it trains."""

    session: registry.Session
    phase: Phase
    ensemble: Ensemble


@dataclass(kw_only=True)
class _Training:
    """The backend that trains the members, as an `ensemble.Mover`."""

    problem: Problem
    settings: Settings
    phases: Sequence[Phase]
    threads: int
    numbers: NDArray[np.uint64] | None = None  # (members,) that masks are drawn by, instead of 0, 1, ...

    def __post_init__(self) -> None:
        self.x = for_kernels(self.problem.inputs, self.settings.dtype)
        self.y = for_kernels(self.problem.y, self.settings.dtype)
        self._open: _Open | None = None

    def start(self, first: int, last: int) -> Ensemble:
        settings, step = self.settings, self.phases[0].step
        theta0 = settings.theta0 if settings.theta0.ndim == 1 else settings.theta0[first:last]
        ensemble = Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.problem.n_params)),
            optimizer=step.optimizer,
            lr=settings.lr[first:last] / (step.svag or 1),
            keep_prob=settings.keep_prob[first:last],
            first_member=first,
            dtype=settings.dtype,
        )
        if self.numbers is not None:
            ensemble.member[:] = self.numbers[first:last]
        ensemble.member |= (settings.seeds[first:last] ^ settings.seeds[0]) << np.uint64(32)
        return ensemble

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """One session lasts as long as block and phase: state that lies on a device stays there between calls."""
        ends = [*(phase.first for phase in self.phases[1:]), first_step + steps]
        for phase, end in zip(self.phases, ends, strict=True):
            start, stop = max(phase.first, first_step), min(end, first_step + steps)
            if start < stop:
                self._session_of(phase, ensemble).advance(first_step=start, steps=stop - start)
        if self._open is not None:
            self._open.session.wait()

    def _session_of(self, phase: Phase, ensemble: Ensemble) -> registry.Session:
        """The session that is open, or a new one where another phase or block begins."""
        if self._open is None or self._open.phase is not phase or self._open.ensemble is not ensemble:
            self.fetch(ensemble)
            self._open = None  # its memory is free before the next takes some
            session = registry.session(
                phase.backend, phase.step, self.x, self.y, ensemble, seed=self.settings.seed, threads=self.threads
            )
            self._open = _Open(session, phase, ensemble)
        return self._open.session

    def look(self, ensemble: Ensemble, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
        """Where a session keeps the members on devices they are observed there."""
        if self._open is None or self._open.ensemble is not ensemble:
            self._session_of(self.phases[0], ensemble)
        session = self._open.session if self._open is not None else None
        if isinstance(session, registry.Observing) and session.resident:
            return session.observe(points)
        self.fetch(ensemble)
        return look_here(self, ensemble, points)

    def fetch(self, ensemble: Ensemble) -> None:
        if self._open is not None and self._open.ensemble is ensemble:
            self._open.session.fetch()

    def evaluate(self, x: NDArray[np.floating], theta: NDArray[np.floating]) -> NDArray[np.floating]:
        phase = self.phases[0]
        return phase.backend.evaluate(phase.step, x, theta, self.problem.n_outputs, threads=self.threads)


def _told(settings: Settings, data: xr.Dataset) -> xr.Dataset:
    """The results with lr, keep_prob and seeds as coordinates.

    They are numbers, or, where they were given for each member, on `member`, and as kept_lr, kept_keep_prob, kept_seed
    on `kept`.
    """
    numbers = {"lr": settings.lr, "keep_prob": settings.keep_prob, "seed": settings.seeds}
    for name, values in numbers.items():
        if name in settings.per_member:
            data = data.assign_coords({name: ("member", np.array(values))})
            if "kept" in data.coords:
                data = data.assign_coords({f"kept_{name}": ("kept", values[data["kept"].values])})
        elif name != "seed":
            data = data.assign_coords({name: float(values[0])})
    if (settings.keep_prob != settings.keep_prob[0]).any():
        for name in ("theta_mean", "group_theta_mean"):
            if name in data:
                data[name].attrs["keep_prob"] = PER_MEMBER
    return data


def backend_names(
    problem: Problem, *, objective: Any, penalty: float | None, optimizer: str, optimizer_options: dict[str, float],
    noise: Noise, svag: int | None, dtype: str, backend: str,
) -> list[str]:  # fmt: skip
    """The backends that `simulate` takes here with these arguments, one for each phase of the objective.

    Raises InvalidInput and BackendError as `simulate` would.
    """
    objectives = check_objective(objective, MAX_STEPS)
    noise = _check_noise(problem, noise, batch_size=None, replace=False, objectives=objectives)
    options = _check_optimizer(optimizer, optimizer_options) | {"penalty": check_penalty(penalty, objectives)}
    step = _check_step(problem, objectives, optimizer, options, noise, svag)
    return [phase.backend.name for phase in _phases(problem, objectives, step, backend, np.dtype(dtype))]


def _phases(problem: Problem, objectives: Mapping[int, str], step: Step, backend: str, dtype: np.dtype) -> list[Phase]:
    """The phases of a run, each with its backend; raises InvalidInput and BackendError."""
    check_choice("backend", backend, ("auto", *registry.names()))
    sizes = registry.Sizes(step.batch_size or problem.n_samples, problem.width, problem.n_inputs, problem.n_outputs)
    found = []
    for first, name in objectives.items():
        here = dataclasses.replace(step, objective=name)  # type: ignore[arg-type]  # check_objective has narrowed it
        found.append(Phase(first, here, *registry.choose(backend, here, dtype, sizes=sizes)))
    return found


def _check_numbers(numbers: ArrayLike | None, members: int) -> NDArray[np.uint64] | None:
    """The members' numbers (members,); raises InvalidInput."""
    if numbers is None:
        return None
    array = check_whole("numbers", numbers, most=(1 << 32) - 1)
    if array.shape != (members,):
        raise InvalidInput(f"numbers must be {members} whole numbers from 0 to 2**32 - 1, got {shown(numbers)}")
    return array.astype(np.uint64)


def _check_noise(
    problem: Problem, noise: Noise | None, *, batch_size: Any, replace: bool, objectives: Mapping[int, str]
) -> Noise:
    """The noise of the run, with the minibatch that was given beside it; raises InvalidInput."""
    replace = check_flag("replace", replace)
    if noise is None:
        noise = Noise()
    elif not isinstance(noise, Noise):
        raise InvalidInput(f"noise must be a simdrop.Noise or None, got {shown(noise)}")
    if batch_size is not None or replace:
        if noise.batch_size is not None or noise.replace:
            raise InvalidInput("batch_size and replace are given twice: as arguments and in noise; leave one out")
        noise = dataclasses.replace(
            noise, batch_size=check_batch(problem, batch_size, replace=replace), replace=replace
        )
    if "risk+r1+r2" in objectives.values() and noise.batch_size is not None:
        raise InvalidInput("objective 'risk+r1+r2' needs batch_size=None: R_2 is defined for the full batch")
    minibatches = Noise(batch_size=noise.batch_size, replace=noise.replace)
    others = sorted(set(objectives.values()) - {"dropout"})
    if others and noise != minibatches:
        raise InvalidInput(
            f"noise beyond minibatches belongs to objective 'dropout', got {others[0]!r};"
            " keep_prob=1 trains R_S under the other noises, part='drift' their mean alone"
        )
    return noise.check(problem)


def _check_optimizer(optimizer: str, given: dict[str, float] | None) -> dict[str, Any]:
    """The options of the optimizer that are given; raises InvalidInput."""
    check_choice("optimizer", optimizer, OPTIMIZERS)
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInput(f"optimizer_options must be a dict such as {{'momentum': 0.9}}, got {shown(given)}")
    options: dict[str, Any] = dict(given or {})
    known = {"sgd": (), "momentum": ("momentum",), "adam": ("beta1", "beta2", "epsilon")}[optimizer]
    for name, value in options.items():
        if name not in known:
            takes = ", ".join(known) or "none"
            raise InvalidInput(f"unknown optimizer option {shown(name)}: {optimizer} takes {takes}")
        upper = np.inf if name == "epsilon" else 1
        options[name] = check_number(name, value)
        if not 0 <= options[name] < upper:
            raise InvalidInput(f"{name} must lie in [0, {upper}), got {shown(value)}")
    return options


def _check_step(
    problem: Problem,
    objectives: Mapping[int, str],
    optimizer: str,
    options: dict[str, Any],
    noise: Noise,
    svag: int | None,
) -> Step:
    """The step of the run, but for its objective, which may change; raises InvalidInput."""
    if svag is not None:
        svag = check_count("svag", svag)
        other = next((name for name in objectives.values() if name != "dropout"), None)
        if other:
            raise InvalidInput(f"svag needs objective 'dropout', got {other!r}: it rescales the noise of the masks")
        if optimizer != "sgd":
            raise InvalidInput(f"svag needs optimizer 'sgd', got {optimizer!r}: its steps are those of no other")
        if noise.part == "drift":
            raise InvalidInput("svag needs noise, but part 'drift' has none; a smaller lr takes smaller steps")
    return Step(
        activation=problem.activation,
        mask=problem.mask,
        optimizer=optimizer,  # type: ignore[arg-type]
        output_scale=problem.scale,
        svag=svag or 0,
        train=problem.train,
        **noise.fields(),
        **options,
    )


def _check_draws(step: Step, steps: int, params: int) -> None:
    """Raise InvalidInput where the masks of a run, or the draws of a step, have more numbers than their counters."""
    each = step.masks * (2 if step.svag else 1)
    if steps * each > MAX_STEPS:
        raise InvalidInput(f"steps · masks of a step must be at most 2**32, got {steps} · {each}")
    if (step.parameter_noise or step.connect < 1) and params > MAX_WIDTH:
        raise InvalidInput(f"noise on parameters or input weights allows at most {MAX_WIDTH} of them, got {params}")
