"""What simulate() is to do: all arguments checked once, the backends chosen, and handed down as one frozen plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Sizes, Step

from .. import provenance
from ..checks.numbers import check_threads
from ..checks.words import check_choice
from ..problem import Noise, Problem
from ..settings.defaults import BACKEND, DTYPE, MEMORY, QUANTILES, RECORD, RISK_LIMIT, SPACING
from .objective import Phase, check_objective, check_penalty
from .recording import Wanted, record_steps
from .run import block_members
from .settings import Settings, check_draws, check_noise, check_numbers, check_optimizer, check_step


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training run, ready to be carried out.

    settings: numbers of the members; phases: the steps with their backends; wanted: what is recorded; numbers
    (members,): those that masks are drawn by, instead of 0, 1, ...; block: members that are trained at one time
    """

    problem: Problem
    settings: Settings
    phases: tuple[Phase, ...]
    wanted: Wanted
    numbers: NDArray[np.uint64] | None
    threads: int
    block: int

    @property
    def step(self) -> Step:
        """The first step; those of later phases differ in their objective."""
        return self.phases[0].step

    @classmethod
    def check(
        cls, problem: Problem, theta0: ArrayLike, *, lr: ArrayLike, steps: int, members: int | None = None,
        seed: int | ArrayLike = 0, keep_prob: ArrayLike | None = None, numbers: ArrayLike | None = None,
        dtype: str = DTYPE, backend: str = BACKEND, threads: int | None = None, memory: int = MEMORY,
        block_size: int | None = None, record: int | ArrayLike = RECORD, spacing: str = SPACING,
        keep_theta: bool | Sequence[int] = False, grid: ArrayLike | None = None,
        covariance: bool | Sequence[int] = False, norms: bool = False, quantiles: Sequence[float] = QUANTILES,
        groups: int = 0, risk_limit: float | None = RISK_LIMIT, **step: Any,
    ) -> TrainingPlan:  # fmt: skip
        """Check the arguments of `simulate`, `step` being those of `checked_step`, and choose the backends.

        Raises InvalidInput and BackendError.
        """
        settings = Settings.check(
            problem, lr=lr, steps=steps, members=members, seed=seed, keep_prob=keep_prob, dtype=dtype, theta0=theta0
        )
        objectives, first = checked_step(problem, settings.steps, **step)
        wanted = Wanted.check(
            problem, members=settings.members, steps=record_steps(settings.steps, record, spacing),
            keep_theta=keep_theta, grid=grid, covariance=covariance, norms=norms, quantiles=quantiles, groups=groups,
            risk_limit=risk_limit, dtype=settings.dtype,
        )  # fmt: skip
        phases = choose_backends(problem, objectives, first, backend, settings.dtype)
        return cls(
            problem=problem, settings=settings, phases=phases, wanted=wanted,
            numbers=check_numbers(numbers, settings.members),
            threads=provenance.cores() if threads is None else check_threads(threads),
            block=_block(problem, settings, phases, memory, block_size),
        )  # fmt: skip


def checked_step(
    problem: Problem, steps: int, *, objective: str | Mapping[int, str] = "dropout", penalty: float | None = None,
    optimizer: str = "sgd", optimizer_options: dict[str, float] | None = None, batch_size: int | None = None,
    replace: bool = False, noise: Noise | None = None, svag: int | None = None,
) -> tuple[dict[int, str], Step]:  # fmt: skip
    """The objective of every phase, and the step but for it. Raises InvalidInput."""
    objectives = check_objective(objective, steps)
    step = check_step(
        problem,
        objectives,
        check_optimizer(optimizer, optimizer_options),
        check_noise(problem, noise, batch_size=batch_size, replace=replace, objectives=objectives),
        check_penalty(penalty, objectives),
        svag,
    )
    check_draws(step, steps, problem.n_params)
    return objectives, step


def choose_backends(
    problem: Problem, objectives: Mapping[int, str], step: Step, backend: str, dtype: np.dtype
) -> tuple[Phase, ...]:
    """The phases of a run, each with its backend; raises InvalidInput and BackendError."""
    check_choice("backend", backend, ("auto", *registry.names()))
    samples = step.noise.batch_size or problem.n_samples
    sizes = Sizes(samples, problem.width, problem.n_inputs, problem.n_outputs)
    found = []
    for first, name in objectives.items():
        here = dataclasses.replace(step, objective=name)  # type: ignore[arg-type]  # check_objective has narrowed it
        found.append(Phase(first, here, *registry.choose(backend, here, dtype, sizes=sizes)))
    return tuple(found)


def _block(problem: Problem, settings: Settings, phases: Sequence[Phase], memory: int, given: int | None) -> int:
    """Members that are trained at one time."""
    step = phases[0].step
    samples = (step.noise.batch_size or problem.n_samples) * step.noise.masks * (2 if step.svag else 1)
    speed = min(getattr(phase.backend, "SPEED", 1) for phase in phases)
    return block_members(
        settings.members,
        state=problem.n_params * settings.dtype.itemsize * (1 + step.optimizer.moments),
        work=problem.width * samples * (problem.n_inputs + problem.n_outputs) / speed,
        memory=memory,
        given=given,
    )
