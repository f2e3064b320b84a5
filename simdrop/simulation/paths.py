"""The paths of a stochastic equation: what moves them, and how their results are described."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Ensemble, for_kernels
from simdrop_kernels.mathematics.losses.table import find as find_loss

from .. import provenance
from ..schedule.base import Schedule
from ..theory.flows.rates import Clock
from . import describe
from .paths_plan import PathsPlan
from .run import Run, look_here
from .seen import Seen

if TYPE_CHECKING:
    import xarray as xr


#: how near, relative to each other, learning rates are that differ by rounding
_SAME = 1e-12


class Paths:
    """The paths of a plan and the backend that follows them, as a `run.Mover`."""

    def __init__(self, plan: PathsPlan) -> None:
        self.plan = plan
        self.x = for_kernels(plan.problem.inputs, plan.dtype)
        self.y = for_kernels(plan.problem.y, plan.dtype)
        self.loss = find_loss(plan.problem.loss)

    def start(self, first: int, last: int) -> Ensemble:
        """See `run.Mover`."""
        theta0 = self.plan.theta0 if self.plan.theta0.ndim == 1 else self.plan.theta0[first:last]
        return Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.plan.problem.n_params)),
            lr=self.plan.rates[0] if len(self.plan.rates) else 0.0,
            keep_prob=self.plan.problem.keep_prob,
            first_member=first,
            dtype=self.plan.dtype,
        )

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """See `run.Mover`; a call of a backend has one learning rate."""
        stop = first_step + steps
        rates = self.plan.rates[first_step:stop]
        changes = np.flatnonzero(np.abs(np.diff(rates)) > _SAME * rates[1:]) + first_step + 1
        for first, last in pairwise([first_step, *changes.tolist(), stop]):
            ensemble.lr[:] = self.plan.rates[first]
            self.plan.backend.advance(
                self.plan.equation,
                self.x,
                self.y,
                ensemble,
                seed=self.plan.seed,
                first_step=first,
                sizes=self.plan.sizes[first:last],
                threads=self.plan.threads,
            )

    def look(self, ensemble: Ensemble, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
        """See `run.Mover`."""
        return look_here(self, ensemble, points)

    def fetch(self, ensemble: Ensemble) -> None:
        """Nothing to do: every call of a backend leaves the paths in the ensemble's arrays."""

    def evaluate(self, x: NDArray[np.floating], theta: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `run.Mover`."""
        outputs = registry.load(self.plan.backend.name)
        return outputs.evaluate(
            self.plan.problem.network, x, theta, self.plan.problem.n_outputs, threads=self.plan.threads
        )


def result(plan: PathsPlan, run: Run, *, interrupted: bool) -> xr.Dataset:
    """What was recorded of the paths, with its coordinates and attributes."""
    attrs = _attrs(plan, run, interrupted=interrupted)
    data = run.dataset(plan.times, grid=plan.wanted.grid_of(plan.problem), attrs=attrs)
    lr: Any = plan.lr
    if isinstance(plan.lr, Schedule):
        lr = ("time", Clock.of(plan.lr, plan.times[-1]).at(plan.times))
    return describe.in_words(data.assign_coords(lr=lr, keep_prob=plan.problem.keep_prob), plan.problem, plan.wanted)


def _attrs(plan: PathsPlan, run: Run, *, interrupted: bool) -> dict[str, Any]:
    equation = plan.equation
    return {
        "kind": "sme",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.of_problem(plan.problem),
        "lr": str(plan.lr) if isinstance(plan.lr, Schedule) else plan.lr,
        "order": equation.order,
        "scheme": equation.scheme,
        "antithetic": int(equation.antithetic),
        "substeps": plan.substeps,
        "increments": equation.increments,
        **provenance.of_noise(equation.noise, plan.problem),
        "members": plan.members,
        "seed": str(plan.seed),  # up to 2**64 - 1, more than a signed integer holds
        "dtype": str(plan.dtype),
        "theta0_sha256": provenance.fingerprint(plan.theta0),
        "backend": plan.backend.name,
        "backend_reason": plan.reason,
        "threads": plan.threads,
        "interrupted": int(interrupted),
        "risk_limit": plan.wanted.risk_limit_told,
        **describe.of_work(run),
        **provenance.versions(),
        **provenance.machine(),
    }
