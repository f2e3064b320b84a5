"""simulate(): train an ensemble, member by member exactly as SGD with dropout does, and record it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from simdrop_kernels.contract.step import MOMENTS, Objective, Optimizer

from .. import provenance
from ..checks.numbers import (
    check_flag,
    check_number,
    check_threads,
)
from ..checks.words import check_callable, check_path
from ..errors import InvalidInput
from ..output.folder import opened
from ..problem import Noise, Problem
from . import describe
from .objective import check_objective, check_penalty
from .recording import RISK_LIMIT, Wanted, record_steps
from .run import DEFAULT_MEMORY, Run, block_members, keep, report_end
from .settings import Settings, _check_draws, _check_noise, _check_numbers, _check_optimizer, _check_step
from .training import _phases, _told, _Training

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
    noise : further noise of a step, or another law of dropout: see `simdrop.Noise`; batch_size and replace may be
        given there instead
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

            identity = describe.identity(problem, settings, training=training, run=run)
            held = Checkpoint(checkpoint, identity, resume=resume, seconds=seconds)
            run.checkpoint = stack.enter_context(held)
        stopped = run.go(progress)
        if stopped is not None and not run.updates:
            raise stopped
        attrs = describe.of_run(problem, settings, training=training, run=run, interrupted=stopped is not None)
        times = settings.lr[0] * wanted.steps / (step.svag or 1) if (settings.lr == settings.lr[0]).all() else None
        points = None if wanted.points is None else wanted.points[:, : problem.x.shape[1]]
        data = _told(settings, run.dataset(times, grid=points, attrs=attrs))
        keep(data, folder, stopped)
        if run.checkpoint is not None and stopped is None:
            run.checkpoint.remove()
    report_end(data, stopped)
    return data
