"""Checks of the lines and planes on which a loss is looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...checks.numbers import check_finite
from ...checks.sizes import check_memory
from ...errors import InvalidInput
from ...problem import Problem
from ...theory._input import Array

#: points at which the loss is taken at most
MOST_POINTS = 10**8


def check_axis(name: str, values: ArrayLike) -> Array:
    """Numbers (K,) along a direction; raises InvalidInput."""
    values = check_finite(name, values)
    if values.ndim != 1 or not values.size:
        raise InvalidInput(f"{name} must be a list of numbers, got shape {values.shape}")
    return values


def check_points(problem: Problem, count: int, *, along: int) -> None:
    """Refuse more points than anyone waits for, or than the memory holds: those `along` one direction at a time."""
    if count > MOST_POINTS:
        raise InvalidInput(
            f"the loss at {count} points is more than {MOST_POINTS:g}: take fewer of alphas or directions"
        )
    check_memory({f"the parameters at {along} points": 24.0 * along * problem.n_params})


def check_directions(problem: Problem, directions: ArrayLike) -> Array:
    """Directions (K, P), finite and none of them zero, as the trained parameters see them; raises InvalidInput."""
    ways = np.atleast_2d(problem.freeze(problem.check_theta(directions, "directions")))
    if ways.ndim != 2:
        raise InvalidInput(f"directions must have shape (directions, {problem.n_params}), got {np.shape(directions)}")
    still = ~ways.any(axis=1)
    if still.any():
        raise InvalidInput(f"directions has a zero vector, at index {int(np.flatnonzero(still)[0])}")
    return ways
