"""Name -> backend; what each can do here; which one "auto" takes, and why.

A backend is a module with `name`, `unavailable()`, `refuses(step, dtype)`, `advance(...)` and
`evaluate(...)`, as `reference.train` defines them. `only_by_name()` may say why "auto" never takes one that can
run, `outrun(...)` which other one was measured to be faster at some sizes, `expected` be true of one that any
machine could have, and `open(...)` may keep the state where it is trained (`cuda`; `session` gives the others one
that does nothing but train). Modules are imported when asked for: none loads Numba or looks for a device at import
of this package.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .contract.equation import Equation
from .contract.network import Network
from .contract.step import BackendError, Ensemble, Sizes, Step

#: says at level INFO, which the command line shows, what "auto" would have taken and could not
LOG = logging.getLogger("simdrop.backends")

#: what an argument `backend` may be
BackendName = Literal["auto", "cuda", "native", "numba", "numpy"]

#: backend name -> module; the order is the order of preference of "auto"
MODULES = {"cuda": "cuda.train.backend", "native": "native", "numba": "cpu.train.backend", "numpy": "reference.train"}
#: the same for the paths of stochastic equations
FOLLOWING = {
    "cuda": "cuda.follow.backend",
    "native": "native.follow",
    "numba": "cpu.follow.backend",
    "numpy": "reference.follow",
}


class Backend(Protocol):
    """What a backend module offers; `reference.train` documents each function."""

    name: str

    def unavailable(self) -> str | None:
        """Why it cannot run on this machine, or None."""

    def refuses(self, step: Step, dtype: np.dtype) -> str | None:
        """Why it does not run `step`, or None."""

    def advance(
        self,
        step: Step,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        ensemble: Ensemble,
        *,
        seed: int,
        first_step: int,
        steps: int,
        threads: int = 1,
    ) -> None:
        """Train all members in place."""

    def evaluate(
        self, network: Network, x: NDArray[np.floating], theta: NDArray[np.floating], outputs: int, *, threads: int = 1
    ) -> NDArray[np.floating]:
        """Outputs of the whole networks."""
        ...


class Session(Protocol):
    """The training of one ensemble from its first step on, by any backend: the one way that `simdrop.simulate` trains.

    The state may lie elsewhere than in the ensemble's arrays, on devices, from when the session is made until `fetch`.
    """

    def advance(self, *, first_step: int, steps: int) -> None:
        """Train all members; may return before the work is done, see `wait`."""

    def wait(self) -> None:
        """Return when all steps that were begun are done."""

    def observe(self, points: NDArray[np.floating] | None) -> Iterator[tuple[int, Any]] | None:
        """The members as they lie on a device; None where they are read from the ensemble's arrays, after `fetch`.

        They come in parts, each with the number of its first member and as `cuda.train.observe.Seen`; `points` (k, D)
        are those at which outputs are wanted. The ensemble's `diverged` is current then.
        """

    def fetch(self) -> None:
        """Make the ensemble's arrays current. Only `diverged` may be changed there while the session lasts."""


@dataclass(frozen=True, kw_only=True)
class HostSession:
    """A session of a backend that trains in the ensemble's own arrays: these are current whenever `advance` returns."""

    backend: Backend
    step: Step
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    ensemble: Ensemble
    seed: int
    threads: int

    def advance(self, *, first_step: int, steps: int) -> None:
        """See `Session`."""
        self.backend.advance(
            self.step, self.x, self.y, self.ensemble, seed=self.seed, first_step=first_step, steps=steps,
            threads=self.threads,
        )  # fmt: skip

    def wait(self) -> None:
        """Nothing to wait for."""

    def observe(self, points: NDArray[np.floating] | None) -> None:
        """The members are in the ensemble's arrays."""

    def fetch(self) -> None:
        """Nothing to fetch."""


def session(
    backend: Backend, step: Step, x: NDArray[np.floating], y: NDArray[np.floating], ensemble: Ensemble, *, seed: int,
    threads: int = 1,
) -> Session:  # fmt: skip
    """A session of any backend: what its `open` returns, or a `HostSession` where it has none.

    x (n, D) and y (n, c) have theta's dtype. `seed` is that of the first member, as in the backend's `advance`.
    """
    if hasattr(backend, "open"):
        return cast(Session, backend.open(step, x, y, ensemble, seed=seed))
    return HostSession(backend=backend, step=step, x=x, y=y, ensemble=ensemble, seed=seed, threads=threads)


def names(modules: Mapping[str, str] = MODULES) -> tuple[str, ...]:
    """The known backends, in order of preference."""
    return tuple(modules)


def load(name: str, modules: Mapping[str, str] = MODULES) -> Backend:
    """The backend module of a known name, whether or not it can run here."""
    return cast(Backend, importlib.import_module(f".{modules[name]}", __package__))


def choose(
    name: str, step: Any, dtype: np.dtype, modules: Mapping[str, str] = MODULES, sizes: Sizes | None = None
) -> tuple[Backend, str]:
    """The backend that runs `step` in `dtype`, with one sentence that says why.

    `name` is a backend's or "auto"; `modules` are those to choose from, which take a `step` of their kind. With
    `sizes`, "auto" goes by what was measured at such sizes. Raises BackendError with the reason if a named one cannot.
    """
    if name != "auto":
        backend = load(name, modules)
        reason = backend.unavailable() or backend.refuses(step, dtype)
        if reason:
            raise BackendError(f"backend {name!r} cannot run this: {reason}")
        return backend, f"{name!r} was asked for"
    passed_over: list[str] = []
    missed: list[str] = []
    for candidate in modules:
        backend = load(candidate, modules)
        lacks = backend.unavailable()
        reason = lacks or _unfit(backend, step, dtype, sizes, modules)
        if reason is None:
            for other in missed:
                LOG.info("backend %r runs this; %s", candidate, other)
            why = f"{candidate!r} comes first of those that run here, in the order of measured speed"
            return backend, why + "".join(f"; {other}" for other in passed_over)
        passed_over.append(f"not {candidate!r}: {reason}")
        if lacks and getattr(backend, "expected", False) and not _unfit(backend, step, dtype, sizes, modules):
            missed.append(f"{candidate!r} would be faster, but {lacks}")
    raise BackendError("no backend runs this: " + "; ".join(passed_over))


def _unfit(backend: Any, step: Any, dtype: np.dtype, sizes: Sizes | None, modules: Mapping[str, str]) -> str | None:
    """Why "auto" does not take this backend for `step` even where it can run, or None."""
    by_name = getattr(backend, "only_by_name", lambda: None)
    reason = backend.refuses(step, dtype) or by_name()
    if reason is None and sizes is not None and hasattr(backend, "outrun"):
        reason = _outrun_by(backend.outrun(step, dtype, sizes), step, dtype, modules)
    return reason


def _outrun_by(found: tuple[str, str] | None, step: Any, dtype: np.dtype, modules: Mapping[str, str]) -> str | None:
    """The reason of `outrun`, (faster backend, reason), where that backend runs the step here."""
    if found is None:
        return None
    other = load(found[0], modules)
    return None if other.unavailable() or other.refuses(step, dtype) else found[1]


class Follower(Protocol):
    """What a module of paths offers; `reference.follow` documents it."""

    name: str

    def unavailable(self) -> str | None:
        """Why it cannot run on this machine, or None."""

    def refuses(self, equation: Equation, dtype: np.dtype) -> str | None:
        """Why it does not run `equation`, or None."""

    def advance(
        self,
        equation: Equation,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        ensemble: Ensemble,
        *,
        seed: int,
        first_step: int,
        sizes: NDArray[np.float64],
        threads: int = 1,
    ) -> None:
        """Take all paths through steps of these sizes, in place."""


def choose_follower(name: str, equation: Equation, dtype: np.dtype, sizes: Sizes | None = None) -> tuple[Follower, str]:
    """The backend that follows `equation` in `dtype`, with one sentence that says why; see `choose`."""
    backend, reason = choose(name, equation, dtype, modules=FOLLOWING, sizes=sizes)
    return cast(Follower, backend), reason
