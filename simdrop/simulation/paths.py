"""The paths of a stochastic equation: what moves them, and how their results are described."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Ensemble, for_kernels
from simdrop_kernels.mathematics.losses.table import find as find_loss

from .. import provenance
from . import describe
from .paths_plan import PathsPlan
from .run import Run, look_here
from .seen import Seen

if TYPE_CHECKING:
    import xarray as xr


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
            lr=self.plan.lr,
            keep_prob=self.plan.problem.keep_prob,
            first_member=first,
            dtype=self.plan.dtype,
        )

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """See `run.Mover`."""
        self.plan.backend.advance(
            self.plan.equation,
            self.x,
            self.y,
            ensemble,
            seed=self.plan.seed,
            first_step=first_step,
            sizes=self.plan.sizes[first_step : first_step + steps],
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
    return data.assign_coords(lr=plan.lr, keep_prob=plan.problem.keep_prob)


def _attrs(plan: PathsPlan, run: Run, *, interrupted: bool) -> dict[str, Any]:
    equation = plan.equation
    return {
        "kind": "sme",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.of_problem(plan.problem),
        "lr": plan.lr,
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
