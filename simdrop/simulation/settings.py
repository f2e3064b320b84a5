"""The settings of a training run, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.optimizer import Optimizer
from simdrop_kernels.contract.step import Step
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS
from simdrop_kernels.mathematics.rng import MAX_STEPS, MAX_WIDTH

from .. import provenance
from ..checks.labels import check_same
from ..checks.numbers import (
    check_count,
    check_flag,
    check_keep_prob,
    check_number,
    check_seeds,
    check_whole,
)
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput
from ..problem import Problem, check_problem
from ..problem.noise import Noise, check_batch, check_drawn
from ..schedule.base import Schedule
from ..schedule.given import check_rates
from .objective import check_objective, check_penalty
from .places import check_places


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked numbers of a run; lr, keep_prob and seeds have shape (members,), theta0 (P,) or (members, P).

    schedule: learning rates that change from step to step, lr then being those of step 0; None where they do not
    """

    theta0: NDArray[np.float64]
    lr: NDArray[np.float64]
    keep_prob: NDArray[np.float64]
    seeds: NDArray[np.uint64]
    steps: int
    members: int
    dtype: np.dtype
    schedule: Schedule | None = None
    numbers: NDArray[np.uint64] | None = None  # (members,) that masks are drawn by, instead of 0, 1, ...
    place: NDArray[np.str_] | None = None  # (members,) where dropout acts, where that was given for each
    per_member: tuple[str, ...] = ()  # what was given for each member

    @cached_property
    def theta0_sha256(self) -> str:
        """Fingerprint of theta0 in results and checkpoints; theta0 itself may be large."""
        return provenance.fingerprint(self.theta0)

    @property
    def seed(self) -> int:
        """Seed of the first member. Kernels take this one; the other members' seeds are XORed into their numbers."""
        return int(self.seeds[0])

    def times(self, steps: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """The times (T,) at numbers of steps (T,), the sums of the learning rates before; None where members differ."""
        if self.schedule is not None:
            return None if self.schedule.members else self.schedule.times(steps)
        return self.lr[0] * steps if (self.lr == self.lr[0]).all() else None

    @classmethod
    def check(
        cls,
        problem: Problem,
        *,
        theta0: ArrayLike,
        lr: Any,
        steps: int,
        members: int | None,
        seed: int | ArrayLike,
        keep_prob: ArrayLike | None,
        numbers: ArrayLike | None,
        dtype: str,
        place: Any = None,
    ) -> Settings:
        """Validate; raises InvalidInput."""
        labelled = {"lr": lr, "keep_prob": keep_prob, "seed": seed, "place": place}
        check_same(labelled if getattr(theta0, "ndim", 0) < 2 else {"theta0": theta0} | labelled)
        theta0 = check_problem(problem).check_theta(theta0, "theta0")
        rates = check_rates(lr)
        schedule = rates if isinstance(rates, Schedule) else None
        lr = rates if schedule is None else schedule.rates(0, 1)[slice(schedule.members) if schedule.members else 0, 0]
        kept = check_keep_prob(problem.keep_prob if keep_prob is None else keep_prob)
        seeds = check_seeds(seed)
        lengths: dict[str, NDArray[Any]] = {"lr": lr, "keep_prob": kept, "seed": seeds, "theta0": theta0[..., 0]}
        places = check_places(place)
        lengths |= {} if places is None else {"place": places}
        if members is None:
            members = next((len(value) for value in lengths.values() if value.ndim), None)
            if members is None:
                raise InvalidInput("members is missing: give it, or an array over members for theta0, lr or keep_prob")
        members = check_count("members", members, most=1 << 32)
        for name, value in lengths.items():
            if value.ndim > 1 or value.shape not in ((), (members,)):
                advice = "; learning rates of steps are simdrop.schedule.of_steps(...)" if name == "lr" else ""
                raise InvalidInput(
                    f"{name} must be the same for all or given for {counted(members, 'member')}, got {value.shape}"
                    f"{advice}"
                )
        steps = check_count("steps", steps)
        if steps > MAX_STEPS:
            raise InvalidInput(f"steps must be at most 2**32, got {steps}")
        if schedule is not None:
            schedule.check(steps)
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
            schedule=schedule,
            numbers=_check_numbers(numbers, members),
            place=places if places is not None and places.ndim else None,
            per_member=tuple(name for name, value in lengths.items() if value.ndim),
        )


#: what users of other libraries would call options that this one has elsewhere, or not at all
_CLIPPING = (
    "clip",
    "clipnorm",
    "clipvalue",
    "clip_norm",
    "clip_value",
    "max_norm",
    "global_clipnorm",
    "gradient_clipping",
)
_DECAY = ("weight_decay", "l2", "decay", "weight_decay_rate")
NO_CLIPPING = (
    "gradients are not clipped: the mean of a clipped gradient over masks is the gradient of no loss that is known, so"
    " that no theory here would hold; a smaller lr, or one that warms up, keeps steps small"
)


def checked_step(
    problem: Problem, steps: int, *, objective: str | Mapping[int, str] = "dropout", penalty: float | None = None,
    optimizer: str = "sgd", optimizer_options: dict[str, float] | None = None, clip: None = None,
    batch_size: int | None = None, replace: bool = False, noise: Noise | None = None, svag: int | None = None,
) -> tuple[dict[int, str], Step]:  # fmt: skip
    """The objective of every phase, and the step but for it. Raises InvalidInput."""
    if clip is not None:
        raise InvalidInput(f"clip={shown(clip)}: {NO_CLIPPING}")
    objectives = check_objective(objective, steps)
    step = _check_step(
        problem,
        objectives,
        _check_optimizer(optimizer, optimizer_options),
        _check_noise(problem, noise, batch_size=batch_size, replace=replace, objectives=objectives),
        check_penalty(penalty, objectives),
        svag,
    )
    _check_draws(step, steps, problem.n_params)
    return objectives, step


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
    """The noise of the run, with the minibatch of the other arguments; raises InvalidInput."""
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
    minibatches = Noise(batch_size=noise.batch_size, replace=noise.replace, order=noise.order)
    others = sorted(set(objectives.values()) - {"dropout"})
    if others and noise != minibatches:
        raise InvalidInput(
            f"noise beyond minibatches belongs to objective 'dropout', got {others[0]!r};"
            " keep_prob=1 trains R_S under the other noises, part='drift' their mean alone"
        )
    return noise.check(problem)


def _check_optimizer(optimizer: str, given: dict[str, float] | None) -> Optimizer:
    """The optimizer with its options; raises InvalidInput."""
    if isinstance(optimizer, str) and optimizer.lower() == "adamw":
        raise InvalidInput(
            f"unknown optimizer {optimizer!r}: it is optimizer='adam' with optimizer_options={{'decoupled': True}} and"
            " Problem(..., weight_decay=...)"
        )
    check_choice("optimizer", optimizer, OPTIMIZERS)
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInput(f"optimizer_options must be a dict such as {{'momentum': 0.9}}, got {shown(given)}")
    options: dict[str, Any] = dict(given or {})
    kind = next(kind for name, kind in OPTIMIZERS.items() if name == optimizer)
    known = {field.name: field.metadata for field in dataclasses.fields(kind)}
    for name, value in options.items():
        if name in _CLIPPING:
            raise InvalidInput(f"{name}: {NO_CLIPPING}")
        if name not in known and name in _DECAY:
            raise InvalidInput(f"{name} belongs to the problem: Problem(..., weight_decay=...)")
        if name not in known:
            takes = ", ".join(known) or "none"
            raise InvalidInput(f"unknown optimizer option {shown(name)}: {optimizer} takes {takes}")
        if known[name].get("flag"):
            options[name] = check_flag(name, value)
            continue
        upper = np.inf if known[name]["below"] is None else known[name]["below"]
        options[name] = check_number(name, value)
        if not 0 <= options[name] < upper:
            raise InvalidInput(f"{name} must lie in [0, {upper}), got {shown(value)}")
    return kind(**options)


def _check_step(
    problem: Problem,
    objectives: Mapping[int, str],
    optimizer: Optimizer,
    noise: Noise,
    penalty: float,
    svag: int | None,
) -> Step:
    """The step of the run, but for its objective, which may change; raises InvalidInput."""
    _check_loss(problem, objectives, noise)
    if svag is not None:
        svag = check_count("svag", svag)
        other = next((name for name in objectives.values() if name != "dropout"), None)
        if other:
            raise InvalidInput(f"svag needs objective 'dropout', got {other!r}: it rescales the noise of the masks")
        if optimizer.name != "sgd":
            raise InvalidInput(f"svag needs optimizer 'sgd', got {optimizer.name!r}: its steps are those of no other")
        if noise.part == "drift":
            raise InvalidInput("svag needs noise, but part 'drift' has none; a smaller lr takes smaller steps")
        if noise.order == "epochs":
            raise InvalidInput("svag weights two independent draws of a step: order='epochs' has none")
    if getattr(optimizer, "decoupled", False) and not problem.weight_decay:
        raise InvalidInput("decoupled=True is about weight decay: the problem has weight_decay=0")
    return Step(network=problem.network, noise=noise, optimizer=optimizer, penalty=penalty, svag=svag or 0)


def _check_loss(problem: Problem, objectives: Mapping[int, str], noise: Noise) -> None:
    """Raise InvalidInput where what is trained needs a closed form that the loss of the problem has not."""
    if problem.loss == "squared":
        return
    other = next((name for name in objectives.values() if name not in ("dropout", "risk")), None)
    if other:
        raise InvalidInput(f"objective {other!r} needs loss 'squared': R_1 and R_2 are known for it alone")
    if noise.part != "both":
        raise InvalidInput(f"part {noise.part!r} needs loss 'squared': the mean gradient is known for it alone")
    if noise.label:
        raise InvalidInput(f"label noise needs loss 'squared': targets of loss {problem.loss!r} are classes")


def _check_draws(step: Step, steps: int, params: int) -> None:
    """Raise InvalidInput where the masks of a run, or the draws of a step, have more numbers than their counters."""
    check_drawn(step.noise)
    each = step.noise.masks * (2 if step.svag else 1)
    if steps * each > MAX_STEPS:
        raise InvalidInput(f"steps · masks of a step must be at most 2**32, got {steps} · {each}")
    if (step.noise.parameter or step.noise.connect < 1) and params > MAX_WIDTH:
        raise InvalidInput(f"noise on parameters or input weights allows at most {MAX_WIDTH} of them, got {params}")
