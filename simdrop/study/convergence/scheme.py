"""What the time steps of a scheme add to the error of a stochastic modified equation.

The paths of an equation are followed once more, independently, with twice as many steps. The scheme "rk4" has the weak
error O(h⁴ + ε h² + ε² h) for steps h, of which that halves the last term and more of the others: the error of the
longer steps is at most twice the difference, of which the unbiased distance and one standard error are taken. This is
done from the largest learning rate down to the first that takes a single step for each of training, and scaled from
there by lr³, as h = ε below. It counts as a standard error of the distance, besides that of sampling.

Flows are followed to a tolerance of 1e-8 a step, far below what sampling resolves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...schedule.base import Schedule
from ...simulation.paths_plan import default_substeps
from ..case import SEEDS, Case, Means, distance
from ..predictions import predict

#: added to the seed of the paths that are compared with
ANOTHER_SEED = 7_000_003


@dataclass
class SchemeErrors:
    """The errors of one equation's scheme along a ladder, from the largest learning rate down.

    Attributes
    ----------
    known : dict
        Quantity -> (lr, error) at the finest learning rate at which it was measured.
    done : bool
        Whether it was measured at one that takes a single step for each of training.
    """

    known: dict[str, tuple[float, float]] = field(default_factory=dict)
    done: bool = False

    def at(self, name: str, case: Case, paths: Means) -> dict[str, float]:
        """For each quantity the error of the scheme of equation `name`, whose means are `paths`. Raises Diverged."""
        lr = largest = case.first_rate
        if isinstance(case.lr, Schedule):
            largest = float(case.lr.rates(0, case.steps).max())
        if not self.done:
            steps = default_substeps(case.problem, case.theta0, largest, case.scheme)
            finer = predict(name, replace(case, substeps=2 * steps, seed=(case.seed + ANOTHER_SEED) % SEEDS))
            for quantity in paths.values:
                square = distance(paths, finer, quantity)
                self.known[quantity] = lr, 2 * float(np.sqrt(np.maximum(square.value, 0) + square.error))
            self.done = steps == 1
        return {quantity: error * (lr / at) ** 3 for quantity, (at, error) in self.known.items()}
