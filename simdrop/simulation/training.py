"""What moves the members of a training run: a session of the backend of each phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract.step import Ensemble, for_kernels
from simdrop_kernels.mathematics.losses.table import find as find_loss

from .objective import Phase
from .places import ByPlace
from .plan import TrainingPlan
from .run import look_here
from .seen import Seen

#: learning rates of members and steps that one call is handed at most
_TABLE = 1 << 20


class _Open(NamedTuple):
    """A session that is open, and what it trains."""

    session: registry.Session
    phase: Phase
    ensemble: Ensemble


class Training:
    """The members of a plan and the backends that train them, as a `run.Mover`."""

    def __init__(self, plan: TrainingPlan) -> None:
        self.plan = plan
        self.x = for_kernels(plan.problem.inputs, plan.settings.dtype)
        self.y = for_kernels(plan.problem.y, plan.settings.dtype)
        self.loss = find_loss(plan.problem.loss)
        self._open: _Open | None = None
        self._first = 0  # number of the first member of the block

    def start(self, first: int, last: int) -> Ensemble:
        """See `run.Mover`."""
        settings, step, self._first = self.plan.settings, self.plan.step, first
        theta0 = settings.theta0 if settings.theta0.ndim == 1 else settings.theta0[first:last]
        ensemble = Ensemble.start(
            np.broadcast_to(theta0, (last - first, self.plan.problem.n_params)),
            moments=step.optimizer.moments,
            lr=settings.lr[first:last] / (step.svag or 1),
            keep_prob=settings.keep_prob[first:last],
            first_member=first,
            dtype=settings.dtype,
        )
        if self.plan.previous is not None:
            self.plan.previous.into(first, ensemble)
        if settings.numbers is not None:
            ensemble.member[:] = settings.numbers[first:last]
        ensemble.member |= (settings.seeds[first:last] ^ settings.seeds[0]) << np.uint64(32)
        return ensemble

    def advance(self, ensemble: Ensemble, first_step: int, steps: int) -> None:
        """One session lasts as long as block and phase: state that lies on a device stays there between calls."""
        ends = [*(phase.first for phase in self.plan.phases[1:]), first_step + steps]
        for phase, end in zip(self.plan.phases, ends, strict=True):
            start, stop = max(phase.first, first_step), min(end, first_step + steps)
            if start < stop:
                self._advance(phase, ensemble, start, stop)
        if self._open is not None:
            self._open.session.wait()

    def _advance(self, phase: Phase, ensemble: Ensemble, start: int, stop: int) -> None:
        """Steps start, ..., stop - 1 of one phase, with a table of their learning rates where these change."""
        schedule, svag = self.plan.settings.schedule, phase.step.svag or 1
        session = self._session_of(phase, ensemble)
        if schedule is None:
            session.advance(first_step=start, steps=stop - start)
            return
        rows = slice(self._first, self._first + len(ensemble.theta))
        at_once = max(1, _TABLE // len(ensemble.theta))
        for first in range(start, stop, at_once):
            last = min(first + at_once, stop)
            rates = schedule.rates(first, last, rows) / svag
            ensemble.rates = np.ascontiguousarray(np.broadcast_to(rates, (len(ensemble.theta), last - first)))
            session.advance(first_step=first, steps=last - first)

    def _session_of(self, phase: Phase, ensemble: Ensemble) -> registry.Session:
        """The session that is open, or a new one where another phase or block begins."""
        if self._open is None or self._open.phase is not phase or self._open.ensemble is not ensemble:
            self.fetch(ensemble)
            self._open = None  # its memory is free before the next takes some
            self._open = _Open(self._new_session(phase, ensemble), phase, ensemble)
        return self._open.session

    def _new_session(self, phase: Phase, ensemble: Ensemble) -> registry.Session:
        settings = self.plan.settings
        known: dict[str, Any] = {"seed": settings.seed, "threads": self.plan.threads}
        if settings.place is None:
            return registry.session(phase.backend, phase.step, self.x, self.y, ensemble, **known)
        places = settings.place[self._first : self._first + len(ensemble.theta)]
        return ByPlace(phase.backend, phase.step, self.x, self.y, ensemble, places, **known)

    def look(self, ensemble: Ensemble, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Seen]]:
        """Where a session keeps the members on devices they are observed there."""
        if self._open is None or self._open.ensemble is not ensemble:
            self._session_of(self.plan.phases[0], ensemble)
        there = None if self._open is None else self._open.session.observe(points)
        if there is not None:
            return there
        self.fetch(ensemble)
        return look_here(self, ensemble, points)

    def fetch(self, ensemble: Ensemble) -> None:
        """See `run.Mover`."""
        if self._open is not None and self._open.ensemble is ensemble:
            self._open.session.fetch()

    def evaluate(self, x: NDArray[np.floating], theta: NDArray[np.floating]) -> NDArray[np.floating]:
        """See `run.Mover`."""
        phase = self.plan.phases[0]
        return phase.backend.evaluate(
            phase.step.network, x, theta, self.plan.problem.n_outputs, threads=self.plan.threads
        )
