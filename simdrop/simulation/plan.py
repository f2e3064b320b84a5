"""What simulate() is to do: all arguments checked once, the backends chosen, and handed down as one frozen plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Sizes, Step

from .. import provenance
from ..checks.numbers import check_threads
from ..checks.words import check_choice
from ..problem import Problem
from ..settings.defaults import BACKEND, DTYPE, MEMORY, QUANTILES, RECORD, RISK_LIMIT, SPACING
from .objective import Phase
from .recording import Wanted, record_steps
from .run import block_members
from .settings import Settings, checked_step


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training run, ready to be carried out.

    settings: the numbers of the run; phases: the steps with their backends; wanted: what is recorded; block: members
    that are trained at one time
    """

    problem: Problem
    settings: Settings
    phases: tuple[Phase, ...]
    wanted: Wanted
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
            problem, lr=lr, steps=steps, members=members, seed=seed, keep_prob=keep_prob, numbers=numbers, dtype=dtype,
            theta0=theta0,
        )  # fmt: skip
        objectives, first = checked_step(problem, settings.steps, **step)
        wanted = Wanted.check(
            problem, members=settings.members, steps=record_steps(settings.steps, record, spacing),
            keep_theta=keep_theta, grid=grid, covariance=covariance, norms=norms, quantiles=quantiles, groups=groups,
            risk_limit=risk_limit, dtype=settings.dtype,
        )  # fmt: skip
        phases = choose_backends(problem, objectives, first, backend, settings.dtype)
        return cls(
            problem=problem, settings=settings, phases=phases, wanted=wanted,
            threads=provenance.cores() if threads is None else check_threads(threads),
            block=_block(problem, settings, phases, memory, block_size),
        )  # fmt: skip


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
