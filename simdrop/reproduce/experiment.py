"""What an experiment is: settings in, an outcome with data and rows of numbers out, and a figure of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ..problem import Problem

#: called with (what is being done, units done, units in all)
Progress = Callable[[str, int, int], None]
Verdict = Literal["pass", "FAIL", "no claim"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an experiment is run, the same settings for all of them.

    full: the published sizes in place of those that take minutes; seeds: number of independent initialisations (and of
    mask sequences), None for the experiment's own; mnist: folder with MNIST's IDX files, None for the digits of
    scikit-learn; backend, threads: as for `simdrop.simulate`; done: what was measured so far, by name, for an
    experiment that is stopped.
    """

    full: bool = False
    seeds: int | None = None
    mnist: Path | None = None
    backend: str = "auto"
    threads: int | None = None
    progress: Progress = field(default=lambda what, done, total: None, repr=False)
    done: list[tuple[str, xr.Dataset]] = field(default_factory=list, repr=False)

    def train(self, what: str, problem: Problem, theta0: ArrayLike, **options: Any) -> xr.Dataset:
        """What `simdrop.simulate` records, which is kept in `done`; also of a run that is stopped."""
        from ..simulation.simulate import simulate

        given: dict[str, Any] = {"quantiles": (), "backend": self.backend, "threads": self.threads}
        given["progress"] = lambda done, total: self.progress(what, done, total)
        with self.keeping(what):
            runs = simulate(problem, theta0, **(given | options))
        self.done.append((what, runs))
        return runs

    @contextmanager
    def keeping(self, what: str) -> Iterator[None]:
        """Keep in `done` what an error carries as `partial`."""
        try:
            yield
        except BaseException as error:
            partial = getattr(error, "partial", None)
            found = getattr(partial, "errors", partial)  # an Order's, a HeatMap's
            if found is not None:
                self.done.append((f"{what}, not to its end", found))
            raise


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of an experiment beside the published one, and the rule it is judged by.

    quantity: what is measured; ours: the mean over seeds, error: its standard error over seeds (NaN for one seed, 0 for
    a number without spread); published: as the paper states it, "" where it does not; rule: what must hold, in
    words, "" where nothing is claimed; holds: whether it does, None where nothing is claimed.
    """

    quantity: str
    ours: float
    error: float = float("nan")
    published: str = ""
    rule: str = ""
    holds: bool | None = None
    unit: str = ""

    @classmethod
    def over_seeds(cls, quantity: str, values: ArrayLike, **rest: Any) -> Row:
        """A row of the mean and the standard error of `values` (S,), one of each seed."""
        values = np.asarray(values, dtype=np.float64)
        error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else float("nan")
        return cls(quantity=quantity, ours=float(values.mean()), error=float(error), **rest)

    @property
    def verdict(self) -> Verdict:
        """Whether the rule holds."""
        return "no claim" if self.holds is None else "pass" if self.holds else "FAIL"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an experiment found.

    rows: its numbers; data: all that the figure shows and more, with the settings in `attrs`; notes: sentences on the
    choices made (mask mode, optimizer, data) and, plainly, on contradictions to the paper.
    """

    rows: Sequence[Row]
    data: xr.Dataset
    notes: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether no rule fails."""
        return all(row.holds is not False for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment by name. Each module of this package that holds one calls it `EXPERIMENT`.

    source: paper and figure; shows: one line; minutes, full_minutes: what the two sizes take on two cores;
    run: does it; draw: the figure of what `run` found.
    """

    name: str
    source: str
    shows: str
    minutes: float
    full_minutes: float
    run: Callable[[Settings], Outcome]
    draw: Callable[[Outcome], Figure]
