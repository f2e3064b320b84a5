"""The papers' one-dimensional problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .samples import Array, Data


class Target(NamedTuple):
    """A target function of one variable with the points that a paper trains it on."""

    function: Callable[[Array], Array]
    points: Array  # (n,)
    about: str


#: the one-dimensional problems of arXiv:2207.05952 (figures 1 and 4) and the small one on which orders are measured
TARGETS = {
    "condensation": Target(
        lambda x: np.tanh(x - 6) + np.tanh(x + 6),
        np.linspace(-12, 12, 15),
        "tanh(x-6) + tanh(x+6) at 15 points on [-12, 12]",
    ),
    "relu-fit": Target(
        lambda x: (np.maximum(-x - 1 / 3, 0) + np.maximum(x - 1 / 3, 0)) / 2,
        np.linspace(-5 / 3, 5 / 3, 6),
        "relu(-x-1/3)/2 + relu(x-1/3)/2 at 6 points on [-5/3, 5/3]",
    ),
    "sin": Target(lambda x: np.sin(3 * x), np.linspace(-1, 1, 4), "sin(3x) at 4 points on [-1, 1]"),
}


def one_dimensional(name: str) -> Data:
    """The data of a name of `TARGETS`."""
    target = TARGETS[name]
    return Data(name, target.points[:, None], target.function(target.points)[:, None], ("x",), ("y",), (target.about,))
