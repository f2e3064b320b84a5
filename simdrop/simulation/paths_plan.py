"""What sme() is to do: all arguments checked once, the backend chosen, and handed down as one frozen plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.equation import INCREMENTS, SCHEMES, Counts, Equation
from simdrop_kernels.contract.step import Sizes
from simdrop_kernels.mathematics.rng import MAX_STEPS, MAX_WIDTH

from .. import provenance
from ..checks.numbers import check_count, check_flag, check_seed, check_threads
from ..checks.sizes import check_memory
from ..checks.words import check_choice, shown
from ..errors import InvalidInput
from ..problem import Problem, check_problem
from ..problem.noise import Noise, check_connect, check_drawn
from ..schedule.base import Schedule
from ..settings.defaults import BACKEND, DTYPE, MEMORY, QUANTILES, RISK_LIMIT
from ..theory._input import Array, check_squared
from ..theory.flows.flow import check_times
from ..theory.flows.integration import largest_eigenvalue
from ..theory.flows.rates import Clock, check_rate
from ..theory.noise.step import checked
from .recording import Wanted
from .run import block_members

#: scheme -> the longest step by default, in units of 1/λ with λ the largest eigenvalue of the Hessian of L at theta0.
#: On the problem of tests/simulation/test_sme_order.py at lr 0.2, where that asks for 4 and 8 steps, doubling those of
#: rk4 changes the mean's error by less than 1 %, and heun is 1 % from rk4; that of euler is by its first order, not by
#: measurement.
LONGEST = {"rk4": 0.25, "heun": 0.125, "euler": 0.01}
MOST_SUBSTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class PathsPlan:
    """Paths of a stochastic equation, ready to be followed.

    theta0: (P,) or (members, P); times (T,); substeps: steps of the scheme per lr at least; sizes, rates: of all steps,
    in time, and the learning rates that they stand for; wanted: what is recorded; reason: why the backend was chosen;
    block: paths that are followed at one time
    """

    problem: Problem
    theta0: Array
    lr: float | Schedule
    times: Array
    members: int
    seed: int
    equation: Equation
    substeps: int
    sizes: Array
    rates: Array
    wanted: Wanted
    dtype: np.dtype
    backend: registry.Follower
    reason: str
    threads: int
    block: int

    @classmethod
    def check(
        cls, problem: Problem, theta0: ArrayLike, *, lr: Any, times: ArrayLike, order: int = 2,
        members: int | None = None, seed: int = 0, noise: Noise | None = None, antithetic: bool = False,
        increments: str | None = None, scheme: str = "rk4", substeps: int | None = None, backend: str = BACKEND,
        dtype: str = DTYPE, keep_theta: bool | Sequence[int] = False, grid: ArrayLike | None = None,
        covariance: bool | Sequence[int] = False, quantiles: Sequence[float] = QUANTILES, groups: int = 0,
        risk_limit: float | None = RISK_LIMIT, threads: int | None = None, memory: int = MEMORY,
        block_size: int | None = None, joined: int = 1,
    ) -> PathsPlan:  # fmt: skip
        """Check the arguments of `sme` and choose the backend. Raises InvalidInput and BackendError.

        joined : as of `Equation`
        """
        theta0, members = _check_start(problem, theta0, members)
        lr, times, noise = check_rate(lr), check_times(times), _check_noise(problem, noise)
        clock = Clock.of(lr, times[-1]) if isinstance(lr, Schedule) else None
        largest = float(lr) if clock is None else float(clock.rates.max())
        equation = replace(_check_equation(problem, noise, order, scheme, antithetic, increments), joined=joined)
        substeps = (
            default_substeps(problem, theta0, largest, scheme)
            if substeps is None
            else check_count("substeps", substeps)
        )
        most = _most_steps(problem, equation)
        if clock is None:
            steps, sizes = schedule(times, largest / substeps, most=most)
            rates = np.broadcast_to(largest, sizes.shape)
        else:
            steps, sizes, rates = clock.grid(times, substeps, most=most)
        check_choice("dtype", dtype, ("float32", "float64"))
        wanted = Wanted.check(
            problem, members=members, steps=steps, keep_theta=keep_theta, grid=grid, covariance=covariance,
            quantiles=quantiles, groups=groups, risk_limit=risk_limit, dtype=np.dtype(dtype),
        )  # fmt: skip
        if antithetic and members % (2 * max(wanted.groups, 1)):
            pair = 2 * max(wanted.groups, 1)
            raise InvalidInput(f"antithetic paths come in pairs: members must be a multiple of {pair}, got {members}")
        chosen, reason = choose_backend(problem, equation, backend, np.dtype(dtype), members)
        return cls(
            problem=problem, theta0=theta0, lr=lr, times=times, members=members, seed=check_seed(seed),
            equation=equation, substeps=substeps, sizes=sizes, rates=rates, wanted=wanted, dtype=np.dtype(dtype),
            backend=chosen, reason=reason, threads=provenance.cores() if threads is None else check_threads(threads),
            block=block_members(
                members, state=problem.n_params * np.dtype(dtype).itemsize, work=_work(problem, equation),
                memory=memory, given=block_size,
            ),
        )  # fmt: skip


def choose_backend(
    problem: Problem, equation: Equation, backend: str, dtype: np.dtype, members: int
) -> tuple[registry.Follower, str]:
    """The backend that follows the equation, and why; raises InvalidInput and BackendError."""
    check_choice("backend", backend, ("auto", *registry.names(registry.FOLLOWING)))
    return registry.choose_follower(backend, equation, dtype, sizes_of(problem, members))


def backend_name(
    problem: Problem, *, order: int, noise: Noise | None, scheme: str, antithetic: bool, backend: str, members: int,
    joined: int = 1,
) -> str:  # fmt: skip
    """The backend that `sme` takes here with these arguments; raises InvalidInput and BackendError as it would."""
    noise = _check_noise(problem, noise)
    equation = replace(_check_equation(problem, noise, order, scheme, antithetic, None), joined=joined)
    return choose_backend(problem, equation, backend, np.dtype(DTYPE), members)[0].name


def sizes_of(problem: Problem, members: int | None = None) -> Sizes:
    """The sizes by which `registry.choose_follower` chooses; the drift takes all samples, whatever the minibatch."""
    return Sizes(problem.n_samples, problem.width, problem.n_inputs, problem.n_outputs, members)


def default_substeps(problem: Problem, theta0: Array, lr: float, scheme: str) -> int:
    """Steps of a scheme per lr that are short compared with the time in which L's steepest direction relaxes."""
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


def _check_start(problem: Problem, theta0: ArrayLike, members: int | None) -> tuple[Array, int]:
    check_squared(check_problem(problem), "the noise of a stochastic equation")
    array = problem.check_theta(theta0, "theta0")
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
    noise = checked(problem, noise, any_place=True)
    if noise.connect < 1:
        check_connect(problem, noise, "the drift under DropConnect is")
    return noise


def _check_equation(
    problem: Problem, noise: Noise, order: int, scheme: str, antithetic: bool, increments: str | None
) -> Equation:
    order = check_count("order", order, most=2)
    check_choice("scheme", scheme, SCHEMES)
    if increments is None:
        increments = "masks" if noise.connect < 1 or noise.place != "both" else "normal"
    check_choice("increments", increments, INCREMENTS)
    if increments == "normal" and noise.place != "both":
        raise InvalidInput(f"increments 'normal' are not written for place {noise.place!r}: choose 'masks'")
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


def _most_steps(problem: Problem, equation: Equation) -> int:
    """The steps of which all noise can be drawn; raises InvalidInput where a step has more of it than its counters."""
    noise, counts = equation.noise, Counts.of(equation, problem.n_samples, problem.n_outputs, problem.width)
    if equation.increments == "masks":
        check_drawn(noise)
        if 2 * noise.masks > MAX_STEPS:
            raise InvalidInput(f"increments 'masks' allow at most {MAX_STEPS // 2} masks a step, got {noise.masks}")
        return MAX_STEPS // (2 * noise.masks)
    if problem.keep_prob < 1 and counts.mask > MAX_WIDTH:
        raise InvalidInput(
            f"increments 'normal' take {counts.mask} numbers a step of width {problem.width}, more than {MAX_WIDTH}:"
            " choose 'masks'"
        )
    return MAX_STEPS // equation.joined


def _work(problem: Problem, equation: Equation) -> int:
    """Multiply-adds of one step of one path, about."""
    counts = Counts.of(equation, problem.n_samples, problem.n_outputs, problem.width)
    numbers = problem.n_inputs + problem.n_outputs
    stages = len(SCHEMES[equation.scheme])
    if equation.increments == "masks":
        return (2 * equation.noise.masks + stages) * problem.n_samples * problem.width * numbers
    return 2 * counts.groups * counts.rows * counts.mask + stages * problem.n_samples * problem.width * numbers
