"""sme(): paths of the stochastic modified equations of dropout, an ensemble of them (arXiv:2305.15850).

With L = R_S + R_1, lr = ε and Σ the covariance of a step's gradient under the noise of `simdrop.Noise`

    order 1   dΘ = -∇L dt + √ε Σ^½ dW                    the ensemble's law at time t = ε · step up to an error O(ε)
    order 2   dΘ = -∇(L + (ε/4)|∇L|²) dt + √ε Σ^½ dW     O(ε²)

`simdrop_kernels.contract.equation` draws the noise exactly, without Σ, and says how the schemes approach the equations.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.equation import INCREMENTS, SCHEMES, Counts, Equation, Increments, Scheme
from simdrop_kernels.contract.step import Ensemble, Sizes, for_kernels
from simdrop_kernels.mathematics.rng import MAX_STEPS

from .. import provenance
from ..checks.numbers import check_count, check_flag, check_lr, check_seed, check_threads
from ..checks.sizes import check_memory
from ..checks.words import check_choice, shown
from ..errors import InvalidInput
from ..output.folder import opened
from ..output.progress import Progress, check_progress, telling
from ..problem import Problem, check_problem
from ..problem.noise import Noise, check_connect
from ..theory._input import Array
from ..theory.flows.flow import check_times
from ..theory.flows.integration import largest_eigenvalue
from ..theory.noise.step import checked
from . import describe
from .recording import RISK_LIMIT, Seen, Wanted
from .run import DEFAULT_MEMORY, Run, block_members, keep, look_here, report_end

if TYPE_CHECKING:
    import xarray as xr

#: scheme -> the longest step by default, in units of 1/λ with λ the largest eigenvalue of the Hessian of L at theta0.
#: On the problem of tests/simulation/test_sme_order.py at lr 0.2, where that asks for 4 and 8 steps, doubling those of
#: rk4 changes the mean's error by less than 1 %, and heun is 1 % from rk4; that of euler is by its first order, not by
#: measurement.
LONGEST = {"rk4": 0.25, "heun": 0.125, "euler": 0.01}
MOST_SUBSTEPS = 1000


def sme(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float,
    times: ArrayLike,
    order: Literal[1, 2] = 2,
    members: int | None = None,
    seed: int = 0,
    noise: Noise | None = None,
    antithetic: bool = False,
    increments: Increments | None = None,
    scheme: Scheme = "rk4",
    substeps: int | None = None,
    backend: str = "auto",
    dtype: Literal["float32", "float64"] = "float64",
    keep_theta: bool | Sequence[int] = False,
    grid: ArrayLike | None = None,
    covariance: bool | Sequence[int] = False,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    groups: int = 0,
    risk_limit: float | None = RISK_LIMIT,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    block_size: int | None = None,
    progress: Progress | bool | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Follow paths of a stochastic modified equation of dropout and report them at `times`.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,) or (members, P)
        Start at time 0, the same for all paths or one for each.
    lr : float
        Learning rate ε of the run that the equation stands for.
    times : float or array_like, shape (T,)
        Increasing times, 0 or more; compare with a simulation at lr · step.
    order : {2, 1}
        Weak order in lr of the equation.
    members : int, optional
        Number of paths. It may be left out where theta0 has one row for each.
    seed : int
        Seed of the Brownian motion, below 2**64. Path k draws the numbers of member k.
    noise : Noise, optional
        Further noise of a step, or another law of dropout.
    antithetic : bool
        Drive paths 2k and 2k + 1 by W_k and -W_k. The law of each path stays the same, and in means over pairs all odd
        orders of the noise cancel. Standard errors are then those of `groups`, which hold whole pairs.
    increments : {"normal", "masks"}, optional
        What the noise of a step is made of. "normal", the default without DropConnect, takes normal numbers, m(m + 1)/2
        for a group of samples under one mask. "masks" takes scaled differences of two gradients under masks, with
        exactly the same covariance; means differ by O(lr² h) for steps h of the scheme. They are cheaper for networks
        wider than about 100 and serve every noise. With DropConnect "normal" is refused, and Numba runs order 1 only.
    scheme : {"rk4", "heun", "euler"}
        "rk4" and "heun" treat the noise as small compared with the drift; "euler" is Euler-Maruyama. See
        `simdrop_kernels.contract.equation`.
    substeps : int, optional
        Smallest number of steps of the scheme per lr: steps between two times are equal and at most lr / substeps long.
        By default the curvature of R_S + R_1 at theta0 sets it so that the error of the scheme is small compared with
        that of order 2.
    backend : {"auto", "cuda", "numba", "numpy"}
        Kernels that follow the paths.
    dtype, keep_theta, grid, covariance, quantiles, groups, risk_limit
        As in `simdrop.simulate`.
    threads, memory, block_size, progress, out, overwrite
        As in `simdrop.simulate`.

    Returns
    -------
    xarray.Dataset
        Variables and coordinates as those of `simdrop.simulate`; the coordinate step counts steps of the scheme.

    Raises
    ------
    InvalidInput, BackendError, Diverged, KeyboardInterrupt
        As in `simdrop.simulate`.

    Notes
    -----
    With L = R_S + R_1 and Σ the covariance of the gradient of a step (arXiv:2305.15850),

        order 1   dΘ = -∇L dt + √ε Σ^½ dW
        order 2   dΘ = -∇(L + (ε/4)|∇L|²) dt + √ε Σ^½ dW

    A step costs O(n m D) operations for each evaluation of the drift. Its noise costs, with increments "normal",
    O(n c m²) operations and m(m + 1)/2 normal numbers under step masks, O(n m) of both under sample masks with one
    output; with "masks" O(n m) for each of 2 k masks. Memory is that of `simdrop.simulate`. Numba compiles a kernel on
    first use, for half a minute or more.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> paths = simdrop.sme(problem, problem.init(seed=0), lr=0.1, times=[0, 1], members=8, backend="numpy")
    >>> paths.theta_mean.shape, paths.time.values.tolist()
    ((2, 15), [0.0, 1.0])
    """
    theta0, members = _check_start(problem, theta0, members)
    lr, times, noise = check_lr(lr), check_times(times), _check_noise(problem, noise)
    equation = _check_equation(problem, noise, order, scheme, antithetic, increments)
    if antithetic and members % (2 * max(groups, 1)):
        raise InvalidInput(
            f"antithetic paths come in pairs: members must be a multiple of {2 * max(groups, 1)}, got {members}"
        )
    substeps = default_substeps(problem, theta0, lr, scheme) if substeps is None else check_count("substeps", substeps)
    draws = 2 * noise.masks if equation.increments == "masks" else 1
    steps, sizes = schedule(times, lr / substeps, most=MAX_STEPS // draws)
    check_choice("dtype", dtype, ("float32", "float64"))
    wanted = Wanted.check(
        problem,
        members=members,
        steps=steps,
        keep_theta=keep_theta,
        grid=grid,
        covariance=covariance,
        quantiles=quantiles,
        groups=groups,
        risk_limit=risk_limit,
        dtype=np.dtype(dtype),
    )
    progress = check_progress(progress)
    check_choice("backend", backend, ("auto", *registry.names(registry.FOLLOWING)))
    chosen, reason = registry.choose_follower(backend, equation, np.dtype(dtype), sizes_of(problem, members))
    threads = provenance.cores() if threads is None else check_threads(threads)
    paths = _Paths(problem, equation, theta0, lr, sizes, check_seed(seed), np.dtype(dtype), chosen, threads)
    block = block_members(
        members,
        state=problem.n_params * np.dtype(dtype).itemsize,
        work=_work(problem, equation),
        memory=memory,
        given=block_size,
    )
    run = Run(paths, wanted, members=members, params=problem.n_params, block=block)
    overwrite = check_flag("overwrite", overwrite)
    with opened(out, "sme", overwrite=overwrite) as folder, telling(progress) as tell:
        stopped = run.go("sme", tell)
        if stopped is not None and not run.updates:
            raise stopped
        attrs = _attrs(
            paths, members=members, substeps=substeps, reason=reason, interrupted=stopped is not None, run=run
        )
        points = None if wanted.points is None else wanted.points[:, : problem.x.shape[1]]
        data = run.dataset(times, grid=points, attrs=attrs).assign_coords(lr=lr, keep_prob=problem.keep_prob)
        keep(data, folder, stopped)
    report_end(data, stopped)
    return data


def backend_name(
    problem: Problem, *, order: int, noise: Noise | None, scheme: str, antithetic: bool, backend: str, members: int
) -> str:
    """The backend that `sme` takes here with these arguments; raises InvalidInput and BackendError as it would."""
    noise = _check_noise(problem, noise)
    equation = _check_equation(problem, noise, order, scheme, antithetic, None)
    return registry.choose_follower(backend, equation, np.dtype(np.float64), sizes_of(problem, members))[0].name


def sizes_of(problem: Problem, members: int | None = None) -> Sizes:
    """What `registry.choose_follower` goes by: a drift is that of all samples, whatever the minibatch."""
    return Sizes(problem.n_samples, problem.width, problem.n_inputs, problem.n_outputs, members)


def default_substeps(problem: Problem, theta0: Array, lr: float, scheme: str) -> int:
    """Steps of a scheme per lr that are short beside the time in which L's steepest direction relaxes."""
    with np.errstate(over="ignore", invalid="ignore"):  # a start that is about to diverge
        largest = largest_eigenvalue(problem, theta0 if theta0.ndim == 1 else theta0.mean(axis=0), "risk+r1")
    wanted = lr * largest / LONGEST[scheme]
    return math.ceil(min(max(wanted, 1), MOST_SUBSTEPS)) if math.isfinite(wanted) else 1


def schedule(times: Array, longest: float, *, most: int = MAX_STEPS) -> tuple[NDArray[np.int64], Array]:
    """The numbers of steps (T,) done at `times` and the sizes of all steps, none longer than `longest`."""
    spans = np.diff(times, prepend=0.0)
    with np.errstate(over="ignore"):
        counts = np.ceil(spans / longest - 1e-6)  # rounding of a whole ratio makes no further step
    if counts.sum() > most:
        raise InvalidInput(f"times up to {times[-1]:g} need {counts.sum():g} steps of {longest:g}, more than {most}")
    check_memory({f"the sizes of {counts.sum():g} steps": 8 * counts.sum()})
    counts = counts.astype(np.int64)
    counts[(counts == 0) & (spans > 0)] = 1
    return np.cumsum(counts), np.repeat(spans / np.maximum(counts, 1), counts)


@dataclass
class _Paths:
    """The backend that moves the paths, as an `ensemble.Mover`."""

    problem: Problem
    equation: Equation
    theta0: Array
    lr: float
    sizes: Array
    seed: int
    dtype: np.dtype
    backend: registry.Follower
    threads: int

    def __post_init__(self) -> None:
        self.x = for_kernels(self.problem.inputs, self.dtype)
        self.y = for_kernels(self.problem.y, self.dtype)

    def start(self, first: int, last: int) -> Ensemble:
        theta0 = self.theta0 if self.theta0.ndim == 1 else self.theta0[first:last]
        return Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.problem.n_params)),
            lr=self.lr,
            keep_prob=self.problem.keep_prob,
            first_member=first,
            dtype=self.dtype,
        )

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        self.backend.advance(
            self.equation,
            self.x,
            self.y,
            ensemble,
            seed=self.seed,
            first_step=first_step,
            sizes=self.sizes[first_step : first_step + steps],
            threads=self.threads,
        )

    def look(self, ensemble: Ensemble, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
        return look_here(self, ensemble, points)

    def fetch(self, ensemble: Ensemble) -> None:
        """Nothing to do: every call of a backend leaves the paths in the ensemble's arrays."""

    def evaluate(self, x: NDArray[np.floating], theta: NDArray[np.floating]) -> NDArray[np.floating]:
        outputs = registry.load(self.backend.name)
        return outputs.evaluate(self.problem.network, x, theta, self.problem.n_outputs, threads=self.threads)


def _check_start(problem: Problem, theta0: ArrayLike, members: int | None) -> tuple[Array, int]:
    array = check_problem(problem).check_theta(theta0, "theta0")
    if members is None:
        if array.ndim == 1:
            raise InvalidInput("members is missing: give it, or a theta0 for each path")
        members = len(array)
    members = check_count("members", members, most=1 << 32)
    if array.ndim > 2 or array.shape[:-1] not in ((), (members,)):
        raise InvalidInput(f"theta0 must be the same for all or given for {members} members, got shape {array.shape}")
    return array, members


def _check_noise(problem: Problem, noise: Noise | None) -> Noise:
    if noise is not None and not isinstance(noise, Noise):
        raise InvalidInput(f"noise must be a simdrop.Noise or None, got {shown(noise)}")
    noise = checked(problem, noise)
    if noise.connect < 1:
        check_connect(problem, noise, "the drift under DropConnect is")
    return noise


def _check_equation(
    problem: Problem, noise: Noise, order: int, scheme: str, antithetic: bool, increments: str | None
) -> Equation:
    order = check_count("order", order, most=2)
    check_choice("scheme", scheme, SCHEMES)
    if increments is None:
        increments = "masks" if noise.connect < 1 else "normal"
    check_choice("increments", increments, INCREMENTS)
    if increments == "normal" and noise.connect < 1:
        raise InvalidInput("increments 'normal' are not written for DropConnect (connect < 1): choose 'masks'")
    return Equation(
        network=problem.network,
        noise=noise,
        order=order,  # type: ignore[arg-type]  # narrowed above
        scheme=scheme,  # type: ignore[arg-type]  # check_choice has narrowed it
        antithetic=check_flag("antithetic", antithetic),
        increments=increments,  # type: ignore[arg-type]
    )


def _work(problem: Problem, equation: Equation) -> int:
    """Multiply-adds of one step of one path, about."""
    counts = Counts.of(equation, problem.n_samples, problem.n_outputs, problem.width)
    numbers = problem.n_inputs + problem.n_outputs
    stages = len(SCHEMES[equation.scheme])
    if equation.increments == "masks":
        return (2 * equation.noise.masks + stages) * problem.n_samples * problem.width * numbers
    return 2 * counts.groups * counts.rows * counts.mask + stages * problem.n_samples * problem.width * numbers


def _attrs(paths: _Paths, *, members: int, substeps: int, reason: str, interrupted: bool, run: Run) -> dict[str, Any]:
    equation = paths.equation
    return {
        "kind": "sme",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.of_problem(paths.problem),
        "lr": paths.lr,
        "order": equation.order,
        "scheme": equation.scheme,
        "antithetic": int(equation.antithetic),
        "substeps": substeps,
        "increments": equation.increments,
        **provenance.of_noise(equation.noise, paths.problem),
        "members": members,
        "seed": str(paths.seed),  # up to 2**64 - 1, more than a signed integer holds
        "dtype": str(paths.dtype),
        "theta0_sha256": provenance.fingerprint(paths.theta0),
        "backend": paths.backend.name,
        "backend_reason": reason,
        "threads": paths.threads,
        "interrupted": int(interrupted),
        "risk_limit": run.wanted.risk_limit_told,
        **describe.of_work(run),
        **provenance.versions(),
        **provenance.machine(),
    }
