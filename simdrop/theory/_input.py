"""What the functions of this package check and pass on in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput
from ..problem import Problem

Array = NDArray[np.float64]


def network(problem: Problem) -> dict[str, Any]:
    """The keyword arguments by which the closed forms know a problem's network and dropout."""
    return {"activation": problem.activation, "keep_prob": problem.keep_prob, "output_scale": problem.scale}


def check_point(problem: Problem, theta: ArrayLike, name: str = "theta") -> Array:
    """One parameter vector, shape (P,); raises InvalidInput."""
    array = problem.check_theta(theta, name)
    if array.ndim != 1:
        raise InvalidInput(f"{name} must be one vector of {problem.n_params} parameters, got shape {array.shape}")
    return array
