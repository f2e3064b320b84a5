"""What simulate() is to do: all arguments checked once, the backends chosen, and handed down as one frozen plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Sizes, Step

from .. import provenance
from ..checks.numbers import check_count, check_flag, check_threads
from ..checks.sizes import size
from ..checks.words import check_callable, check_choice
from ..errors import InvalidInput
from ..problem import Noise, Problem
from ..settings.defaults import BACKEND, DTYPE, MEMORY, QUANTILES, RECORD, RISK_LIMIT, SPACING
from .continuation import PreviousRun, State, refuse_other
from .objective import Phase
from .observers import check_observe
from .places import check_places, choose, distinct, in_place, noise_of
from .recording import Wanted, record_steps
from .run import block_members
from .settings import Settings, checked_step


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training run, ready to be carried out.

    settings: the numbers of the run; phases: the steps with their backends; wanted: what is recorded; block: members
    that are trained at one time; stop: the user's function that ends the run, or None;
    previous: the run that this one goes on with, or None; state: takes what the run leaves, where that is kept
    """

    problem: Problem
    settings: Settings
    phases: tuple[Phase, ...]
    wanted: Wanted
    threads: int
    block: int
    stop: Callable[..., Any] | None = None
    previous: PreviousRun | None = None
    state: State | None = None

    @property
    def step(self) -> Step:
        """The first step; those of later phases differ in their objective."""
        return self.phases[0].step

    @classmethod
    def check(
        cls, problem: Problem, theta0: Any, *, lr: Any, steps: int, members: int | None = None,
        seed: int | ArrayLike = 0, keep_prob: ArrayLike | None = None, numbers: ArrayLike | None = None,
        place: str | Sequence[str] | None = None, noise: Noise | None = None,
        dtype: str = DTYPE, backend: str = BACKEND, threads: int | None = None, memory: int = MEMORY,
        block_size: int | None = None, record: int | ArrayLike = RECORD, spacing: str = SPACING,
        keep_theta: bool | Sequence[int] = False, grid: ArrayLike | None = None,
        covariance: bool | Sequence[int] = False, norms: bool = False, quantiles: Sequence[float] = QUANTILES,
        groups: int = 0, risk_limit: float | None = RISK_LIMIT, test: object = None,
        observe: Mapping[str, Callable[..., Any]] | None = None, stop: Callable[..., Any] | None = None,
        keep_risk: bool = True, keep_state: bool = False, previous: PreviousRun | None = None, **step: Any,
    ) -> TrainingPlan:  # fmt: skip
        """Check the arguments of `simulate`, `step` being those of `checked_step`, and choose the backends.

        Where `previous` is a run to go on with, theta0 is not looked at. Raises InvalidInput and BackendError.
        """
        done = 0 if previous is None else previous.step
        settings = Settings.check(
            problem, lr=lr, steps=done + check_count("steps", steps) if done else steps, members=members, seed=seed,
            keep_prob=keep_prob, numbers=numbers, dtype=dtype, place=place,
            theta0=theta0 if previous is None else np.zeros(problem.n_params),
        )  # fmt: skip
        noise = noise_of(noise, check_places(place))
        objectives, first = checked_step(problem, settings.steps, noise=noise, **step)
        for word in [] if settings.place is None else distinct(settings.place):
            checked_step(problem, settings.steps, noise=in_place(noise or Noise(), word), **step)
        if previous is not None:
            refuse_other(previous, settings, first)
            settings = dataclasses.replace(settings, theta0=previous.theta)  # type: ignore[arg-type]  # in the run's dtype
        first = dataclasses.replace(first, scheduled=settings.schedule is not None)
        wanted = Wanted.check(
            problem, members=settings.members, steps=record_steps(settings.steps, record, spacing, done),
            keep_theta=keep_theta, grid=grid, covariance=covariance, norms=norms, quantiles=quantiles, groups=groups,
            risk_limit=risk_limit, test=test, keep_risk=keep_risk, dtype=settings.dtype,
            observers=check_observe(problem, observe, _first_members(settings, previous)),
        )  # fmt: skip
        stop = check_callable("stop", stop)
        phases = choose_backends(problem, objectives, first, backend, settings.dtype, settings.place)
        return cls(
            problem=problem, settings=settings, phases=phases, wanted=wanted,
            threads=provenance.cores() if threads is None else check_threads(threads),
            block=_block(problem, settings, phases, memory, block_size, together=stop is not None), stop=stop,
            previous=previous, state=State.of(settings, first) if check_flag("keep_state", keep_state) else None,
        )  # fmt: skip


def choose_backends(
    problem: Problem,
    objectives: Mapping[int, str],
    step: Step,
    backend: str,
    dtype: np.dtype,
    places: NDArray[np.str_] | None = None,
) -> tuple[Phase, ...]:
    """The phases of a run, each with its backend; raises InvalidInput and BackendError."""
    check_choice("backend", backend, ("auto", *registry.names()))
    samples = step.noise.batch_size or problem.n_samples
    sizes = Sizes(samples, problem.width, problem.n_inputs, problem.n_outputs)
    found = []
    for first, name in objectives.items():
        here = dataclasses.replace(step, objective=name)  # type: ignore[arg-type]  # check_objective has narrowed it
        found.append(Phase(first, here, *choose(backend, here, places, dtype, sizes)))
    return tuple(found)


def _first_members(settings: Settings, previous: PreviousRun | None) -> NDArray[np.floating]:
    """Up to two members at the start, (B, P): enough to see what a function returns for several."""
    rows = settings.theta0 if settings.theta0.ndim == 2 else settings.theta0[None]
    rows = rows if previous is None else rows[previous.alive]
    return np.broadcast_to(rows[:2], (min(2, settings.members), rows.shape[1])).astype(settings.dtype)


def _block(
    problem: Problem, settings: Settings, phases: Sequence[Phase], memory: int, given: int | None, *, together: bool
) -> int:
    """Members that are trained at one time; all of them where they are looked at `together`."""
    step = phases[0].step
    samples = (step.noise.batch_size or problem.n_samples) * step.noise.masks * (2 if step.svag else 1)
    speed = min(getattr(phase.backend, "SPEED", 1) for phase in phases)
    state = problem.n_params * settings.dtype.itemsize * (1 + step.optimizer.moments)
    found = block_members(
        settings.members,
        state=state,
        work=0 if together else problem.width * samples * (problem.n_inputs + problem.n_outputs) / speed,
        memory=memory,
        given=given,
    )
    if together and found < settings.members:
        raise InvalidInput(
            f"stop looks at all {settings.members} members at one time, and memory={memory} or block_size={given}"
            f" allows {found}: {size(state * settings.members)} of memory would do"
        )
    return found
