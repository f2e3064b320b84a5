"""Accuracy: the share of samples that a network puts into their classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.losses.table import find

from ..errors import InvalidInput
from ..problem import Problem
from ._input import Array, check_thetas
from .labels import labelled


@labelled("accuracy")
def accuracy(problem: Problem, theta: ArrayLike) -> Array:
    """Share of the samples that a network without dropout puts into their classes.

    Parameters
    ----------
    problem : Problem
        Data and network, with a loss that has classes; `dataclasses.replace(problem, x=..., y=...)` has other data.
    theta : array_like, shape (..., P)
        Parameters.

    Returns
    -------
    ndarray, shape (...)
        The share: of the largest output, or with one output of its sign.

    Raises
    ------
    InvalidInput
        An argument is wrong, or the loss has no classes.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0, 1], width=3, loss="logistic")
    >>> float(simdrop.theory.accuracy(problem, np.zeros(problem.n_params)))
    0.5
    """
    points = check_thetas(problem, theta, any_loss=True)
    known = find(problem.loss)
    if known.targets == "numbers":
        raise InvalidInput(f"accuracy needs a loss with classes, the problem has loss {problem.loss!r}")
    flat = points.reshape(-1, problem.n_params)
    right = [known.right(problem.predict(one, problem.x), problem.y).mean() for one in flat]
    return np.reshape(right, points.shape[:-1])
