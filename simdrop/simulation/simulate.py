"""simulate(): train an ensemble, member by member exactly as SGD with dropout does, and record it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.noise import Place
from simdrop_kernels.contract.objectives import Objective
from simdrop_kernels.contract.optimizer import OptimizerName

from ..output.progress import Progress
from ..problem import Noise, Problem
from ..schedule import Schedule
from ..settings.defaults import BACKEND, MEMORY, QUANTILES, RECORD, RISK_LIMIT
from . import describe
from .carry_out import CHECKPOINT_SECONDS, Output, carry_out
from .continuation import complete
from .plan import TrainingPlan
from .run import Run
from .training import Training

if TYPE_CHECKING:
    import xarray as xr

    from simdrop_kernels.registry import BackendName


def simulate(
    problem: Problem,
    theta0: ArrayLike | xr.Dataset | str | os.PathLike[str],
    *,
    lr: ArrayLike | Mapping[int, ArrayLike] | Schedule | None = None,
    steps: int,
    members: int | None = None,
    seed: int | ArrayLike | None = None,
    objective: Objective | Literal["L1"] | Mapping[int, str] | None = None,
    penalty: float | None = None,
    optimizer: OptimizerName | None = None,
    optimizer_options: dict[str, float] | None = None,
    clip: float | None = None,
    batch_size: int | None = None,
    replace: bool | None = None,
    noise: Noise | None = None,
    svag: int | None = None,
    keep_prob: ArrayLike | None = None,
    place: Place | Sequence[Place] | None = None,
    backend: BackendName = BACKEND,
    dtype: Literal["float32", "float64"] | None = None,
    record: int | ArrayLike = RECORD,
    spacing: Literal["even", "log"] = "even",
    keep_theta: bool | Sequence[int] = False,
    grid: ArrayLike | None = None,
    covariance: bool | Sequence[int] = False,
    norms: bool = False,
    quantiles: Sequence[float] = QUANTILES,
    groups: int = 0,
    risk_limit: float | None = RISK_LIMIT,
    keep_risk: bool = True,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    observe: Mapping[str, Callable[[Problem, NDArray[np.floating]], Any]] | None = None,
    stop: Callable[[xr.Dataset], bool] | None = None,
    keep_state: bool = False,
    threads: int | None = None,
    memory: int = MEMORY,
    block_size: int | None = None,
    progress: Progress | bool | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    numbers: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> xr.Dataset:
    """Train an ensemble of networks with dropout and record it on the way.

    Every member is trained step by step as a single network would be: nothing is averaged or approximated. Member k
    draws the masks of number k, so that its numbers depend on neither the other members nor the threads.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,) or (members, P), or xarray.Dataset, or path
        Start, the same for all members or one for each; or the results of a run with `keep_state`, in memory, in a
        file, in a folder, or its checkpoint, to go on with: see Notes.
    lr : float, array_like of shape (members,), mapping or Schedule
        Learning rate ε > 0, one for all members or one for each. {0: 0.1, 2000: 0.01} changes it at step 2000, which
        may lie beyond `steps`, for a run that goes on;
        `simdrop.schedule` has decay by powers, cosines and exponentials, warm-up, and rates step by step. A run that
        goes on may leave it out, but for rates that were given as arrays, and counts steps from the first start.
    steps : int
        Number of training steps, of a run that goes on that of further ones.
    members : int, optional
        Size of the ensemble. It may be left out where an array over members says it.
    seed : int or array_like, shape (members,)
        Seed of the masks, minibatches and other noise, below 2**64; 0 by default. Seeds for each member must share
        their upper 32 bits, as all numbers below 2**32 do.
    objective : str or mapping from int to str
        What is trained. "dropout", the default, is R_drop under sampled masks; "risk", "risk+r1" and "risk+r1+r2" are
        the deterministic R_S, R_S + R_1 and R_S + R_1 + R_2. With R̃_2 = (lr/4) |∇R_drop|² on the masks of the step,
        "L1" is R_S + R_1, "L2" R_S + R̃_2, "L3" R_drop - R̃_2 and "L4" R_drop - R_1 (arXiv:2207.05952, section 5);
        "dropout+r2" is R_drop + (penalty/4) |∇R_drop|². A mapping changes the objective on the way: {0: "risk", 2000:
        "dropout"} trains R_drop from step 2000 on, and the state of the optimizer goes on.
    penalty : float, optional
        λ of objective "dropout+r2", 0 or more.
    optimizer : {"sgd", "momentum", "nesterov", "adam"}
        Update rule, "sgd" by default, with the definitions of PyTorch.
    optimizer_options : dict, optional
        `momentum` of "momentum" and "nesterov" (0.9); `beta1`, `beta2` and `epsilon` of "adam" (0.9, 0.999, 1e-8), and
        `decoupled` (False), with which the problem's weight decay λ multiplies θ by 1 - lr λ in place of adding λ θ to
        the gradient: AdamW.
    clip : None
        Gradients are not clipped: no theory is known for the mean of a clipped gradient over masks.
    batch_size : int, optional
        Samples of the minibatch of a step; all samples by default.
    replace : bool
        Whether minibatches are drawn with replacement.
    noise : Noise, optional
        Further noise of a step, or another law of dropout. `batch_size` and `replace` may be given there instead.
    svag : int, optional
        l of SVAG (Li, Malladi & Arora, arXiv:2102.12470): each step has the learning rate lr / l and weights two
        independent draws of all noise by (1 ± √(2l - 1)) / 2. As l grows, the ensemble approaches the stochastic
        modified equation of order 1.
    keep_prob : float or array_like, shape (members,), optional
        Probability to keep a neuron, in place of the problem's.
    place : {"both", "forward", "update", "independent"} or sequence of these, of length members, optional
        Where dropout acts, in place of `Noise(place=...)`, which tells what the words mean: one for all members or one
        for each. Members of all places share their masks, and have the bits of runs with one place each; one backend
        has to run all of the places.
    backend : {"auto", "cuda", "native", "numba", "numpy"}
        Kernels that train. "auto" takes the fastest that can; the result's attribute `backend_reason` says why.
    dtype : {"float64", "float32"}
        Floating-point type of the parameters, "float64" by default.
    record : int or array_like of int
        Number of record times, or the steps at which to record; 0 and `steps` are always among them.
    spacing : {"even", "log"}
        How a number of record times is spread.
    keep_theta : bool or sequence of int
        True records the parameters of all members; numbers those of these members alone.
    grid : array_like, shape (k,) or (k, d), optional
        Points at which mean and spread of the outputs are recorded.
    covariance : bool or sequence of int
        True records the covariance of all parameters over the members; numbers that of these parameters.
    norms : bool
        Whether the 2-norm of the parameters is recorded for every member.
    quantiles : sequence of float
        Levels in [0, 1] of the quantiles of the risk over members.
    groups : int
        Number of consecutive groups of members whose means (and covariances) are recorded, for jackknife errors; 0 for
        none.
    risk_limit : float, optional
        A member has blown up when its risk at a record step is more than this many times the larger of its risk at the
        start and the risk of outputs 0, ½ mean |y|². It leaves the means from there on. With None a member diverges
        only by its parameters.
    keep_risk : bool
        Whether the risks of every member are in the result. Without them it has their means, deviations and quantiles.
    test : tuple of array_like, optional
        Samples (x, y) of a test set, shapes as those of the problem's data. The risk on them is recorded too.
    observe : dict from str to callable, optional
        Functions function(problem, theta) of your own, evaluated at record times: theta has shape (B, P) and holds
        some of the members, in `dtype`; an array of shape (B, ...), or an `xarray.DataArray` whose dimensions have
        names, comes back. Each is called once before the run, with at most two members, to learn its shape. Members
        that diverged are left out.
    stop : callable, optional
        Function stop(now) that ends the run where it returns True. It is called after every record with that record, a
        dataset as the one below without the dimension time, so that `lambda now: now.risk_mean < 1e-3` is one. All
        members must fit in `memory` at one time.
    keep_state : bool
        Whether the result has what a run needs to go on, variables state_* and the attribute `state`: parameters and
        moments of all members after the last step. A checkpoint then stays when the run is done.
    threads : int, optional
        Processor threads; all cores by default.
    memory : int
        Bytes for the parameters and the optimizer's state of the members that are trained at one time.
    block_size : int, optional
        Number of members that are trained at one time, in place of `memory`.
    progress : bool or callable, optional
        True for a bar on stderr, or a function called as progress(stage, done, total) with stage "simulate" and
        numbers of updates; an update is one step of one member.
    out : path, optional
        Folder that receives `results.zarr`, also when the run is stopped or diverges. It is tried before the run. A
        folder that holds another result is refused.
    overwrite : bool
        Whether a result in `out` is replaced. Files that simdrop did not write always stay.
    numbers : array_like of int, shape (members,), optional
        Numbers below 2**32 by which the members draw their masks, in place of 0, 1, ...
    checkpoint : path, optional
        File that receives the state of the run at a record step when the last one is `checkpoint_seconds` old. It is
        removed when the run is done, without `keep_state`. A file that another process uses is refused.
    resume : bool
        Whether to continue from `checkpoint`, to the same bits on the same backend. Where there is no file, the run
        starts from theta0.
    checkpoint_seconds : float
        Shortest time between two checkpoints, in seconds.

    Returns
    -------
    xarray.Dataset
        Its dimensions are time (the record steps), member, param and, where asked for, kept, quantile, group, point,
        output, input and moment. Members that diverged are NaN from there on and left out of all means; means over no
        member, and deviations of fewer than two, are NaN. Variables:

        risk (time, member)
            R_S of each member, of the whole network without dropout, in `dtype`.
        risk_mean, risk_std (time)
            Mean and standard deviation of R_S over members (M - 1 in the denominator).
        risk_quantile (time, quantile)
            Quantiles of R_S over members.
        theta_mean, theta_std (time, param)
            Mean and standard deviation of each parameter over members, in float64.
        alive (time)
            Number of members in these means.
        diverged (member)
            First step that took a parameter beyond 2**64 (float32) or 2**512 (float64), whatever is recorded; -1 for
            none.
        blown_up (member)
            First record step with a risk above `risk_limit`, -1 for none. Such a member trains on.
        theta (time, member or kept, param)
            With `keep_theta`: parameters of members, over kept where only some are.
        theta_cov (time, param_i, param_j)
            With `covariance`: covariance over members.
        accuracy (time, member), accuracy_mean, accuracy_std (time), accuracy_quantile (time, quantile)
            With a loss that has classes: share of the samples that a member classifies right.
        test_accuracy (time, member), test_accuracy_mean, test_accuracy_std (time)
            With such a loss and `test`: the same on the test set.
        test_accuracy_quantile (time, quantile)
            Likewise.
        test_risk (time, member), test_risk_mean, test_risk_std (time), test_risk_quantile (time, quantile)
            With `test`: the same of the risk on the test set.
        NAME (time, member, NAME_dim_1, ...)
            With `observe`: what the function of that name returned, in its type; NAME_dim_1, ... are dimensions to
            which it gave no names. Where a member diverged it is NaN, for which whole numbers and booleans become
            float64.
        norm (time, member)
            With `norms`: 2-norm of the parameters.
        f_mean, f_std (time, point, output)
            With `grid`: mean and standard deviation over members of the outputs at the points.
        group_theta_mean (time, group, param), group_risk_mean, group_alive (time, group)
            With `groups`: means over the members of each group, and their number.
        group_f_mean (time, group, point, output)
            With `groups` and `grid`.
        group_theta_cov (time, group, param_i, param_j)
            With `groups` and `covariance`: covariance over the members of each group.
        state_theta (member, param), state_moment (member, moment, param)
            With `keep_state`: parameters, and moments of an optimizer that has some, after the last step, in `dtype`.
        state_risk_limit, state_number (member)
            With `keep_state`: the risk above which a member has blown up, and the number that its masks are drawn by.

        Coordinates:

        step (time)
            Record steps; 0 is the start.
        time (time)
            lr · step, the sum of the learning rates of the steps before where they change, with SVAG divided by l;
            absent where lr differs between members.
        member, param, quantile
            Numbers of members and parameters; levels of quantiles.
        param_kind, param_neuron, param_input, param_output (param)
            "a", "w" or "bias"; the hidden neuron; the input of an input weight and the output of an output weight, else
            -1: `runs.theta_mean.sel(param=runs.param_kind == "a")`.
        param_i, param_j
            Numbers of the parameters of `theta_cov`.
        kept (kept)
            Numbers of the members in `theta`.
        grid (point, input)
            The points of `grid`.
        lr, keep_prob
            Numbers, or arrays over member where they were given for each. A learning rate that changes, also from the
            run that this one goes on from, has time too.
        seed, place (member)
            Where they were given for each member.
        kept_lr, kept_keep_prob, kept_seed, kept_place (kept)
            Those of the members in `theta`, where they were given for each.

        Attributes: every setting, the backend and why it was taken, versions, machine, seconds. `compile_seconds` is
        the time that Numba compiled, which `kernel_seconds` leaves out; `stopped_at` the step at which `stop` ended the
        run, whose times end there.

    Raises
    ------
    InvalidInput
        An argument is wrong; nothing was run.
    BackendError
        The named backend cannot run this (`simdrop_kernels.BackendError`).
    Diverged
        All members diverged. The error's `partial` holds what was recorded.
    KeyboardInterrupt
        Ctrl-C was pressed, or SIGTERM or SIGHUP came (`simdrop.errors.Terminated`). What was recorded is in `out`, and
        `partial` of the exception. A second signal stops at once.

    Warns
    -----
    DivergenceWarning
        Some members diverged; the message names the first of them.

    Notes
    -----
    A run that goes on, `simulate(problem, runs, steps=...)`, has the bits of one that never stopped, on the same
    backend; on another it has its numbers to rounding. What is left out is as it was. `lr`, `objective`, `backend` and
    what is recorded may change, all else is refused with the difference. Steps of `record` and `objective` count from
    the start of the first run; `record=50` is 50 times after its end. With `more` its results, both are
    `xarray.concat([more, runs], "time", data_vars="minimal", coords="minimal", compat="override").sortby("step")`. Some
    members alone go on from `runs.isel(member=[0, 3])`.

    Any other exception, from `progress`, `observe` or `stop` or because results cannot be written, has `partial` too.
    Numba compiles a kernel on first use, for 5 to 60 seconds, and keeps it on disk; `logging.getLogger("simdrop")` says
    so at level INFO.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> theta0 = problem.init(seed=0)
    >>> runs = simdrop.simulate(problem, theta0, lr=0.1, steps=20, members=8, record=3, backend="numpy")
    >>> runs.theta_mean.dims, runs.theta_mean.shape
    (('time', 'param'), (3, 15))
    >>> runs.step.values.tolist(), runs.time.values.tolist()
    ([0, 10, 20], [0.0, 1.0, 2.0])
    >>> bool(runs.risk_mean[-1] < runs.risk_mean[0])
    True

    A test set, and a function of the parameters along the run:

    >>> def largest(problem, theta):
    ...     return abs(theta).max(axis=1)
    >>> test = np.linspace(-1, 1, 9), np.sin(3 * np.linspace(-1, 1, 9))
    >>> options = {"lr": 0.1, "members": 8, "test": test, "observe": {"largest": largest}, "backend": "numpy"}
    >>> runs = simdrop.simulate(problem, theta0, steps=10, record=2, keep_state=True, **options)
    >>> runs.test_risk.dims, runs.largest.dims
    (('time', 'member'), ('time', 'member'))

    Ten steps more, and a run that ends early:

    >>> simdrop.simulate(problem, runs, steps=10, record=1, backend="numpy").step.values.tolist()
    [20]
    >>> ended = simdrop.simulate(problem, theta0, steps=10**6, record=10**4, stop=lambda now: now.step > 99, **options)
    >>> int(ended.step[-1])
    100
    """
    output = Output.check(
        out=out, overwrite=overwrite, progress=progress, checkpoint=checkpoint, resume=resume,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    previous, completed = complete(problem, theta0, {
        "lr": lr, "members": members, "seed": seed, "keep_prob": keep_prob, "numbers": numbers, "objective": objective,
        "penalty": penalty, "optimizer": optimizer, "optimizer_options": optimizer_options, "batch_size": batch_size,
        "replace": replace, "noise": noise, "svag": svag, "dtype": dtype, "place": place,
    })  # fmt: skip
    plan = TrainingPlan.check(
        problem, theta0, previous=previous, **completed, clip=clip, steps=steps, backend=backend, threads=threads,
        memory=memory, block_size=block_size, record=record, spacing=spacing, keep_theta=keep_theta, grid=grid,
        covariance=covariance, norms=norms, quantiles=quantiles, groups=groups, risk_limit=risk_limit,
        keep_risk=keep_risk, test=test, observe=observe, stop=stop, keep_state=keep_state,
    )  # fmt: skip
    return train(plan, output)


def train(plan: TrainingPlan, output: Output) -> xr.Dataset:
    """Carry out a plan; returns and raises as `simulate`."""
    members, params = plan.settings.members, plan.problem.n_params
    run = Run(
        Training(plan), plan.wanted, members=members, params=params, block=plan.block, previous=plan.previous,
        state=plan.state,
    )  # fmt: skip
    run.state_settings = lambda number: describe.state(plan, plan.wanted.steps[number])
    if plan.stop is not None:
        run.stops_after = lambda number: describe.stops(plan, run, number)
    return carry_out(
        run,
        output,
        "simulate",
        identity=lambda: describe.identity(plan, run),
        describe=lambda interrupted: describe.result(plan, run, interrupted=interrupted),
    )
