"""What an experiment is: settings in, an outcome with data and rows of numbers out, and a figure of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels import registry

from ..checks.numbers import check_count, check_flag, check_threads
from ..checks.words import check_choice, check_path, shown
from ..errors import InvalidInput
from ..output.progress import Bars, Progress, check_progress
from .panels import Panel
from .words import Words

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from simdrop_kernels.registry import BackendName

    from ..problem import Problem

Verdict = Literal["pass", "FAIL", "does not reproduce", "no claim"]


def _silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


def _callable(progress: object) -> Progress:
    """What an experiment calls; raises InvalidInput."""
    checked = check_progress(progress)
    if isinstance(checked, bool):
        return Bars(quiet=False, always=True) if checked else _silent
    return checked


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an experiment is run: the same settings for all of them.

    Parameters
    ----------
    full : bool
        The published sizes in place of those that take minutes.
    seeds : int, optional
        Number of independent initialisations, and of mask sequences; None for the experiment's own number.
    mnist : path, optional
        Folder with MNIST's IDX files; None for the digits of scikit-learn.
    backend, threads
        As for `simdrop.simulate`.
    progress : bool or callable
        True for bars on stderr, or a function called as progress(stage, done, total).
    done : list
        What was measured so far, by name: what is left of an experiment that is stopped.

    Raises
    ------
    InvalidInput
        A value cannot be used.
    """

    full: bool = False
    seeds: int | None = None
    mnist: Path | None = None
    backend: BackendName = "auto"
    threads: int | None = None
    progress: Progress = field(default=_silent, repr=False)
    done: list[tuple[str, xr.Dataset]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        check_flag("full", self.full)
        check_choice("backend", self.backend, ("auto", *registry.names()))
        object.__setattr__(self, "progress", _callable(self.progress))
        if self.seeds is not None:
            check_count("seeds", self.seeds)
        if self.threads is not None:
            check_threads(self.threads)
        if self.mnist is not None and not check_path("mnist", self.mnist).is_dir():
            raise InvalidInput(f"mnist must be a folder that holds MNIST's IDX files, got {shown(str(self.mnist))}")

    def train(self, what: str, problem: Problem, theta0: ArrayLike, **options: Any) -> xr.Dataset:
        """Train an ensemble and keep what is recorded in `done`, also of a run that is stopped.

        Parameters
        ----------
        what : str
            What progress and files call it.
        problem : Problem
            Data, network and dropout.
        theta0 : array_like, shape (P,) or (members, P)
            Start.
        **options
            Further arguments of `simdrop.simulate`.

        Returns
        -------
        xarray.Dataset
            What `simdrop.simulate` returns.
        """
        from ..simulation.simulate import simulate

        given: dict[str, Any] = {"quantiles": (), "backend": self.backend, "threads": self.threads}
        given["progress"] = lambda _, done, total: self.progress(what, done, total)
        with self.keeping(what):
            runs = simulate(problem, theta0, **(given | options))
        self.done.append((what, runs))
        return runs

    @contextmanager
    def keeping(self, what: str) -> Iterator[None]:
        """Keep in `done` what an error carries as `partial`.

        Parameters
        ----------
        what : str
            What files call it.

        Yields
        ------
        None
            The body runs here.
        """
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
    """One number of an experiment next to the published one, and the rule it is judged by.

    Attributes
    ----------
    quantity : str
        What is measured.
    ours, error : float
        The mean over seeds and its standard error: NaN for one seed, 0 for a number without spread.
    published : str
        The number as the paper states it; empty where it does not.
    rule : str
        What must hold, in words; empty where nothing is claimed.
    holds : bool or None
        Whether it holds; None where nothing is claimed.
    unit : str
        Of `ours` and `error`.
    reason : str
        Why what the paper shows does not come about here, where that is known.
    """

    quantity: str
    ours: float
    error: float = float("nan")
    published: str = ""
    rule: str = ""
    holds: bool | None = None
    unit: str = ""
    reason: str = ""

    @classmethod
    def over_seeds(cls, quantity: str, values: ArrayLike, **rest: Any) -> Row:
        """A row of the mean of one value for each seed, and its standard error.

        Parameters
        ----------
        quantity : str
            What is measured.
        values : array_like, shape (S,)
            One value for each seed.
        **rest
            Further fields of the row.

        Returns
        -------
        Row
            The row; its error is NaN for one seed.
        """
        values = np.asarray(values, dtype=np.float64)
        error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else float("nan")
        return cls(quantity=quantity, ours=float(values.mean()), error=float(error), **rest)

    @property
    def verdict(self) -> Verdict:
        """Whether the rule holds."""
        if self.holds is None:
            return "no claim"
        return "pass" if self.holds else "does not reproduce" if self.reason else "FAIL"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the function of an experiment returns.

    Attributes
    ----------
    rows : sequence of Row
        The numbers.
    data : xarray.Dataset
        All that the figure shows and more, with the settings in `attrs`.
    notes : sequence of str
        Sentences on the choices made (mask mode, optimizer, data) and on contradictions to the paper.
    """

    rows: Sequence[Row]
    data: xr.Dataset
    notes: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether no rule fails but those of which it is known why."""
        return all(row.verdict != "FAIL" for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment. A module of `papers` that holds one calls it `EXPERIMENT`, by which it is found.

    Attributes
    ----------
    name : str
        As the command line takes it.
    source : str
        Paper and figure.
    place : (int, int)
        Where listings show it: the paper (1 for IRD, 2 for SME, 3 for none of them), and its number there.
    shows : str
        What it shows, in one line.
    minutes, full_minutes : float
        What the small and the published size take on two cores.
    run : callable
        Does it: Settings in, Outcome out.
    draw : callable
        The figure of what `run` found.
    panels : mapping of str to callable
        The parts of the figure by name, each of which draws the data into any axes.
    words : mapping of str
        What variables are, by name; (what it is, its units) where it is no pure number.
    """

    name: str
    source: str
    place: tuple[int, int]
    shows: str
    minutes: float
    full_minutes: float
    run: Callable[[Settings], Outcome]
    draw: Callable[[Outcome], Figure]
    panels: Mapping[str, Panel]
    words: Words = field(default_factory=dict)
