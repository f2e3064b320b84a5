"""A flow under a learning rate that changes: piece by piece between its kinks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import InvalidInput
from ...problem import Problem
from ...schedule.base import Schedule
from .._input import Array
from .integration import Path
from .rates import Clock
from .table import flows


def follow(kind: str, problem: Problem, theta0: Array, times: Array, lr: float | Schedule, **options: Any) -> Path:
    """A flow by its name at `times` (T,). Raises InvalidInput and FlowFailed."""
    one = flows()[kind]
    if isinstance(lr, float) or one.lr == "steps":
        return one.follow(problem, theta0, times, lr=lr, **options)
    clock = Clock.of(lr, times[-1])
    if one.lr == "none":
        return one.follow(problem, theta0, times, lr=float(clock.rates[0]), **options)
    refuse_other_rates([kind], lr)
    return _by_pieces(kind, problem, theta0, times, clock, options)


def refuse_other_rates(kinds: Iterable[str], lr: Schedule) -> None:
    """Raise InvalidInput where one of `kinds` is a flow that cannot follow a learning rate that changes."""
    for kind in kinds:
        if kind in flows() and flows()[kind].lr == "constant":
            raise InvalidInput(f"kind {kind!r} is written for a learning rate that is the same at all steps, got {lr}")


def _by_pieces(kind: str, problem: Problem, theta0: Array, times: Array, clock: Clock, options: dict[str, Any]) -> Path:
    """Each piece from where the one before it ended, with its covariance where the flow has one."""
    parts: list[Path] = []
    places: list[int] = []
    for number, piece in enumerate(pieces := clock.pieces(float(times[-1]))):
        last = number == len(pieces) - 1
        inside = times[(times >= piece.begin) & (times < piece.end)]
        inside = times[times >= piece.begin] if last else inside
        local = np.unique(np.append(inside, piece.end)) - piece.begin
        found = flows()[kind].follow(problem, theta0, local, lr=piece.rate, **options)
        theta0 = found.theta[-1]
        if "theta_cov" in found.variables:
            options = options | {"covariance0": found.variables["theta_cov"][1][-1]}
        elif "neuron_covariance" in found.variables:
            raise InvalidInput(
                "a covariance in blocks and a low rank is not handed on from one learning rate to the next: leave out"
                f" rank, or give lr as one number; the problem has {problem.n_params} parameters"
            )
        parts.append(_rows(found, len(inside)))
        places.append(len(inside))
    work = {name: sum(part.attrs[name] for part in parts) for name in ("nfev", "njev")}
    variables = {
        name: (held[0], np.concatenate([part.variables[name][1] for part in parts]), *held[2:])
        for name, held in _as_tuples(parts[-1]).items()
    }
    return Path(np.concatenate([part.theta for part in parts]), parts[-1].attrs | work, variables)


def _as_tuples(path: Path) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(held) for name, held in path.variables.items()}


def _rows(path: Path, count: int) -> Path:
    """The first times of a path; a piece's own end may not be asked for."""
    cut = {name: (held[0], held[1][:count], *held[2:]) for name, held in _as_tuples(path).items()}
    return Path(path.theta[:count], path.attrs, cut)
