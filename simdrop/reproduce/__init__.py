"""The experiments of the papers by name: their numbers next to ours, and their figures.

Zhang & Xu, *Implicit Regularization of Dropout*, arXiv:2207.05952 (IRD); Zhang, Li, Luo & Xu, *Stochastic Modified
Equations and Dynamics of Dropout Algorithm*, arXiv:2305.15850 (SME). Every module of `papers` that declares an
`EXPERIMENT` is one.
"""

from __future__ import annotations

from functools import cache

from simdrop_kernels.mathematics.discovery import declared

from ..checks.words import check_choice
from .experiment import Experiment, Outcome, Row, Settings, Verdict
from .report import Reproduction, carried_out

__all__ = [
    "Experiment", "Outcome", "Reproduction", "Row", "Settings", "Verdict", "experiment", "experiments", "reproduce",
]  # fmt: skip


@cache
def _found() -> tuple[Experiment, ...]:
    return tuple(sorted(declared(f"{__package__}.papers", "EXPERIMENT"), key=lambda one: one.place))


def experiments() -> dict[str, Experiment]:
    """All experiments by name, in the order of the papers.

    Examples
    --------
    >>> list(simdrop.reproduce.experiments())[:3]
    ['relu-fit', 'r1', 'r2']
    """
    return {one.name: one for one in _found()}


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Parameters
    ----------
    name : str
        One of `experiments()`.

    Returns
    -------
    Experiment
        What it is, and the functions that run and draw it.

    Raises
    ------
    InvalidInput
        There is none; the message has the nearest known name.
    """
    known = experiments()
    return known[check_choice("experiment", name, known)]


def reproduce(name: str, settings: Settings | None = None) -> Reproduction:
    """Run an experiment of the papers.

    Parameters
    ----------
    name : str
        One of `experiments()`.
    settings : Settings, optional
        How it is run; by default at a size that takes minutes on two cores.

    Returns
    -------
    Reproduction
        Its rows of numbers next to the published ones, with `.table()`, `.figure()`, `.summary` and `.save()`.

    Raises
    ------
    InvalidInput
        There is no such experiment.
    """
    return carried_out(experiment(name), settings or Settings())
