"""What a run trains: one objective, or several one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simdrop_kernels import registry
from simdrop_kernels.contract.objectives import OBJECTIVES
from simdrop_kernels.contract.step import Step

from ..checks.numbers import check_finite
from ..checks.words import check_choice
from ..errors import InvalidInput

#: other names of objectives
ALIASES = {"L1": "risk+r1"}


@dataclass(frozen=True)
class Phase:
    """Steps from number `first` on are those of `step`, on `backend`, chosen for `reason`."""

    first: int
    step: Step
    backend: registry.Backend
    reason: str


def check_objective(objective: Any, steps: int) -> dict[int, str]:
    """The first steps of all phases and their objectives, from a name or {0: name, step: name, ...}.

    Raises InvalidInput.
    """
    given = objective if isinstance(objective, Mapping) else {0: objective}
    for first in given:
        if isinstance(first, bool) or not isinstance(first, (int, np.integer)) or not 0 <= first < steps:
            raise InvalidInput(f"objective may change at whole steps from 0 to {steps - 1}, got {first!r}")
    if 0 not in given:
        raise InvalidInput(f"objective must say what step 0 trains: {{0: ...}}, got {dict(given)!r}")
    found = {}
    for first in sorted(given):
        check_choice("objective", given[first], (*OBJECTIVES, *ALIASES))
        found[int(first)] = ALIASES.get(given[first]) or str(given[first])
    return found


def check_penalty(penalty: float | None, objectives: Mapping[int, str]) -> float:
    """λ of objective "dropout+r2", 0 where that is not trained; raises InvalidInput."""
    if "dropout+r2" not in objectives.values():
        if penalty is not None:
            raise InvalidInput("penalty belongs to objective 'dropout+r2'")
        return 0.0
    if penalty is None:
        raise InvalidInput("objective 'dropout+r2' needs a penalty λ, as in R_drop + (λ/4) |∇R_drop|²")
    value = check_finite("penalty", penalty)
    if value.ndim or value < 0:
        raise InvalidInput(f"penalty must be a number, 0 or more, got {penalty!r}")
    return float(value)


def describe(objectives: Mapping[int, str]) -> str:
    """The objectives in words, as the provenance of a run holds them: "risk; dropout from step 2000"."""
    return "; ".join(name if first == 0 else f"{name} from step {first}" for first, name in objectives.items())
