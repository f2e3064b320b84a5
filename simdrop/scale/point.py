"""The settings of one point of a sweep, and the tables of a file that hold them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from simdrop_kernels import registry
from simdrop_kernels.contract.equation import SCHEMES
from simdrop_kernels.contract.objectives import OBJECTIVES
from simdrop_kernels.mathematics.optimizers.table import OPTIMIZERS

from ..checks.numbers import check_keep_prob
from ..checks.words import check_choice
from ..errors import InvalidInput
from ..problem import Noise
from ..schedule import Schedule
from ..settings import defaults
from ..settings.defaults import BACKEND, DTYPE, RECORD, SPACING
from ..settings.fields import (
    ABOUT_LR,
    ABOUT_RISK_LIMIT,
    ABOUT_TEST,
    POINTS,
    RISK_LIMIT,
    SEED,
    STEPS,
    documented,
    lr_of,
    risk_limit_of,
    setting,
)
from ..settings.problem import ProblemSettings
from ..simulation.objective import ALIASES
from ..study.predictions import check_kinds, equations
from .kept import check_keep, quantities

_simulation = partial(setting, section="Simulation")
_noise = partial(setting, section="Noise")
_theory = partial(setting, section="Theory")
_FROM_1 = {"least": 1, "most": 1_000_000_000}
_FEW = {"least": 1, "most": 1_000_000}
_BELOW_1 = {"least": 0, "below": 1}

#: groups of a point's members, for standard errors
GROUPS = 20
#: options of an optimizer; None leaves its default
OPTIMIZER_OPTIONS = ("momentum", "beta1", "beta2", "epsilon", "decoupled")


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class Point(ProblemSettings):
    """All settings of one point of a sweep."""

    lr: float | str = _simulation(0.01, ABOUT_LR, bounds={"above": 0})
    steps: int = _simulation(1000, "training steps of each member", bounds=STEPS)
    members: int = _simulation(100, "networks of the ensemble", bounds={"least": 1, "most": 1 << 32})
    seed: int = _simulation(0, "seed of the masks", bounds=SEED)
    objective: str = _simulation("dropout", "what is trained")
    penalty: float | None = _simulation(None, "weight of objective dropout+r2", bounds={"least": 0})
    optimizer: str = _simulation("sgd", "optimizer")
    momentum: float | None = _simulation(None, "of optimizer momentum and nesterov", bounds=_BELOW_1)
    beta1: float | None = _simulation(None, "of optimizer adam", bounds=_BELOW_1)
    beta2: float | None = _simulation(None, "of optimizer adam", bounds=_BELOW_1)
    epsilon: float | None = _simulation(None, "of optimizer adam", bounds={"least": 0})
    decoupled: bool | None = _simulation(None, "of optimizer adam: weight decay apart from the gradient, AdamW")
    batch_size: int | None = _simulation(None, "samples of a minibatch", bounds=_FROM_1)
    replace: bool = _simulation(False, "draw minibatches with replacement")
    order: str = _simulation("independent", "minibatches drawn anew at every step, or every sample once in epochs")
    svag: int | None = _simulation(None, "l, for steps of lr / l with rescaled noise", bounds=_FEW)
    dtype: str = _simulation(DTYPE, "floating-point type", choices=":float32,float64")
    backend: str = _simulation(BACKEND, "kernels to run on")
    record: int = _simulation(RECORD, "number of record times", bounds=POINTS)
    spacing: str = _simulation(SPACING, "record times evenly or logarithmically spaced")
    risk_limit: float | str = _simulation(defaults.RISK_LIMIT, ABOUT_RISK_LIMIT, bounds=RISK_LIMIT)
    keep: tuple[str, ...] = _simulation(
        (), "what else is kept: theta_mean, norm, r1, accuracy, or functions module:name"
    )
    test: str | None = _simulation(None, ABOUT_TEST)
    masks: int = _noise(1, "masks over which the gradient of a step is averaged", bounds=_FEW)
    law: str = _noise("bernoulli", "law of the factors of dropout")
    label: float = _noise(0.0, "standard deviation of normal noise on every target", bounds={"least": 0})
    parameter: float = _noise(
        0.0, "standard deviation of normal noise on every component of the gradient", bounds={"least": 0}
    )
    connect: float = _noise(1.0, "DropConnect's probability to keep an input weight")
    part: str = _noise("both", "both, or the drift or the noise of a step alone")
    place: str = _noise("both", "where dropout acts: in the step (both), forward, on the update, or independent")
    kinds: tuple[str, ...] = _theory((), "predictions whose distance from the ensemble's mean is measured")
    rtol: float = _theory(1e-8, "relative tolerance of flows", bounds={"least": 1e-13, "below": 1})
    atol: float = _theory(1e-10, "absolute tolerance of flows", bounds={"least": 0})
    max_evaluations: int | None = _theory(None, "of a flow, which then counts as failed", bounds=_FROM_1)
    sme_members: int | None = _theory(
        None, "paths of a stochastic modified equation [default: members]", bounds={"least": 2, "most": 1 << 32}
    )
    substeps: int | None = _theory(None, "its steps per lr [default: by the curvature]", bounds=_FEW)
    scheme: str = _theory("rk4", "its scheme")
    sme_backend: str = _theory("auto", "kernels that it runs on")

    @property
    def quantities(self) -> tuple[str, ...]:
        """Numbers of members of which mean and error are kept, by their names in results of `simulate`."""
        return quantities(self.keep, tested=self.test is not None)

    @property
    def times(self) -> int:
        """Record times at most: no more than there are steps, with the start."""
        return min(self.record, self.steps + 1)

    def noise(self) -> Noise:
        """The noise of a step.

        Returns
        -------
        Noise
            What makes a step random besides the dropout of the problem.

        Raises
        ------
        InvalidInput
            A field is wrong.
        """
        return Noise(**{field.name: getattr(self, field.name) for field in fields(Noise)})

    def training(self) -> dict[str, Any]:
        """The arguments of `simulate` that define a step.

        Returns
        -------
        dict
            Arguments by name.
        """
        options = {name: getattr(self, name) for name in OPTIMIZER_OPTIONS if getattr(self, name) is not None}
        names = ("objective", "penalty", "optimizer", "svag", "dtype", "backend")
        return {name: getattr(self, name) for name in names} | {"optimizer_options": options, "noise": self.noise()}


def _fields(section: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(Point) if field.metadata["section"] == section)


#: table of a file -> the fields that it may hold
TABLES = {
    "problem": tuple(field.name for field in fields(ProblemSettings)),
    "simulate": _fields("Simulation"),
    "noise": _fields("Noise"),
    "theory": _fields("Theory"),
}


def groups_of(members: int) -> int:
    """The number of equal groups of a point's members, for standard errors: GROUPS at most."""
    return next(groups for groups in range(min(GROUPS, members), 0, -1) if members % groups == 0)


#: fields that check() looks at
CHECKED = (
    "keep_prob", "loss", "objective", "optimizer", "backend", "svag", "keep", "members", "risk_limit", "steps",
    "spacing", "batch_size", "replace", "order", "lr", *TABLES["noise"], *TABLES["theory"],
)  # fmt: skip


def check(point: Point) -> None:
    """Raise InvalidInput for names that no launch would know, and where distances could have no errors."""
    check_keep_prob(point.keep_prob)
    check_kinds(point.kinds, where="a sweep")
    check_keep(point.keep, point.loss)
    check_choice("objective", point.objective, (*OBJECTIVES, *ALIASES))
    check_choice("optimizer", point.optimizer, OPTIMIZERS)
    check_choice("backend", point.backend, ("auto", *registry.names()))
    check_choice("sme_backend", point.sme_backend, ("auto", *registry.names(registry.FOLLOWING)))
    risk_limit_of(point.risk_limit)
    if isinstance(point.lr, str):
        schedule = lr_of(point.lr)
        if isinstance(schedule, Schedule):
            schedule.check(point.steps)
    check_choice("spacing", point.spacing, ("even", "log"))
    check_choice("scheme", point.scheme, SCHEMES)
    point.noise()
    if not point.kinds:
        return
    if groups_of(point.members) < 3:
        raise InvalidInput(
            f"members must be a multiple of a number from 3 to {GROUPS} for distances with errors, got {point.members}"
        )
    if point.svag is not None and point.steps % point.svag:
        raise InvalidInput(
            f"steps must be a multiple of svag for distances, which are taken at time lr · steps / svag,"
            f" got {point.steps} and {point.svag}"
        )
    if equations(point.kinds) and (point.objective, point.optimizer) != ("dropout", "sgd"):
        raise InvalidInput(
            "the stochastic modified equations are those of objective 'dropout' and optimizer 'sgd',"
            f" got {point.objective!r} and {point.optimizer!r}"
        )
