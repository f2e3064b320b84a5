"""A training run made ready: its backend, its session, and the step at each moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Ensemble, Sizes, Step, for_kernels
from simdrop_kernels.mathematics.rng import MAX_STEPS

from ..checks.words import check_choice
from ..problem import Noise, Problem
from ..provenance import PER_MEMBER
from .objective import Phase, check_objective, check_penalty
from .recording import Seen
from .run import look_here
from .settings import Settings, _check_noise, _check_optimizer, _check_step

if TYPE_CHECKING:
    import xarray as xr


class _Open(NamedTuple):
    """A session that is open, and what it trains."""

    session: registry.Session
    phase: Phase
    ensemble: Ensemble


@dataclass(kw_only=True)
class _Training:
    """The backend that trains the members, as an `ensemble.Mover`."""

    problem: Problem
    settings: Settings
    phases: Sequence[Phase]
    threads: int
    numbers: NDArray[np.uint64] | None = None  # (members,) that masks are drawn by, instead of 0, 1, ...

    def __post_init__(self) -> None:
        self.x = for_kernels(self.problem.inputs, self.settings.dtype)
        self.y = for_kernels(self.problem.y, self.settings.dtype)
        self._open: _Open | None = None

    def start(self, first: int, last: int) -> Ensemble:
        settings, step = self.settings, self.phases[0].step
        theta0 = settings.theta0 if settings.theta0.ndim == 1 else settings.theta0[first:last]
        ensemble = Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.problem.n_params)),
            moments=step.optimizer.moments,
            lr=settings.lr[first:last] / (step.svag or 1),
            keep_prob=settings.keep_prob[first:last],
            first_member=first,
            dtype=settings.dtype,
        )
        if self.numbers is not None:
            ensemble.member[:] = self.numbers[first:last]
        ensemble.member |= (settings.seeds[first:last] ^ settings.seeds[0]) << np.uint64(32)
        return ensemble

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """One session lasts as long as block and phase: state that lies on a device stays there between calls."""
        ends = [*(phase.first for phase in self.phases[1:]), first_step + steps]
        for phase, end in zip(self.phases, ends, strict=True):
            start, stop = max(phase.first, first_step), min(end, first_step + steps)
            if start < stop:
                self._session_of(phase, ensemble).advance(first_step=start, steps=stop - start)
        if self._open is not None:
            self._open.session.wait()

    def _session_of(self, phase: Phase, ensemble: Ensemble) -> registry.Session:
        """The session that is open, or a new one where another phase or block begins."""
        if self._open is None or self._open.phase is not phase or self._open.ensemble is not ensemble:
            self.fetch(ensemble)
            self._open = None  # its memory is free before the next takes some
            session = registry.session(
                phase.backend, phase.step, self.x, self.y, ensemble, seed=self.settings.seed, threads=self.threads
            )
            self._open = _Open(session, phase, ensemble)
        return self._open.session

    def look(self, ensemble: Ensemble, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
        """Where a session keeps the members on devices they are observed there."""
        if self._open is None or self._open.ensemble is not ensemble:
            self._session_of(self.phases[0], ensemble)
        session = self._open.session if self._open is not None else None
        if isinstance(session, registry.Observing) and session.resident:
            return session.observe(points)
        self.fetch(ensemble)
        return look_here(self, ensemble, points)

    def fetch(self, ensemble: Ensemble) -> None:
        if self._open is not None and self._open.ensemble is ensemble:
            self._open.session.fetch()

    def evaluate(self, x: NDArray[np.floating], theta: NDArray[np.floating]) -> NDArray[np.floating]:
        phase = self.phases[0]
        return phase.backend.evaluate(phase.step.network, x, theta, self.problem.n_outputs, threads=self.threads)


def _told(settings: Settings, data: xr.Dataset) -> xr.Dataset:
    """The results with lr, keep_prob and seeds as coordinates.

    They are numbers, or, where they were given for each member, on `member`, and as kept_lr, kept_keep_prob, kept_seed
    on `kept`.
    """
    numbers = {"lr": settings.lr, "keep_prob": settings.keep_prob, "seed": settings.seeds}
    for name, values in numbers.items():
        if name in settings.per_member:
            data = data.assign_coords({name: ("member", np.array(values))})
            if "kept" in data.coords:
                data = data.assign_coords({f"kept_{name}": ("kept", values[data["kept"].values])})
        elif name != "seed":
            data = data.assign_coords({name: float(values[0])})
    if (settings.keep_prob != settings.keep_prob[0]).any():
        for name in ("theta_mean", "group_theta_mean"):
            if name in data:
                data[name].attrs["keep_prob"] = PER_MEMBER
    return data


def backend_names(
    problem: Problem, *, objective: Any, penalty: float | None, optimizer: str, optimizer_options: dict[str, float],
    noise: Noise, svag: int | None, dtype: str, backend: str,
) -> list[str]:  # fmt: skip
    """The backends that `simulate` takes here with these arguments, one for each phase of the objective.

    Raises InvalidInput and BackendError as `simulate` would.
    """
    objectives = check_objective(objective, MAX_STEPS)
    noise = _check_noise(problem, noise, batch_size=None, replace=False, objectives=objectives)
    how = _check_optimizer(optimizer, optimizer_options)
    step = _check_step(problem, objectives, how, noise, check_penalty(penalty, objectives), svag)
    return [phase.backend.name for phase in _phases(problem, objectives, step, backend, np.dtype(dtype))]


def _phases(problem: Problem, objectives: Mapping[int, str], step: Step, backend: str, dtype: np.dtype) -> list[Phase]:
    """The phases of a run, each with its backend; raises InvalidInput and BackendError."""
    check_choice("backend", backend, ("auto", *registry.names()))
    sizes = Sizes(step.noise.batch_size or problem.n_samples, problem.width, problem.n_inputs, problem.n_outputs)
    found = []
    for first, name in objectives.items():
        here = dataclasses.replace(step, objective=name)  # type: ignore[arg-type]  # check_objective has narrowed it
        found.append(Phase(first, here, *registry.choose(backend, here, dtype, sizes=sizes)))
    return found
