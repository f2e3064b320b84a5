"""What the time steps of a scheme add to the error of a stochastic modified equation.

Where a scheme takes several steps for each of training its paths are followed with twice as many too, and those are the
prediction. The scheme "rk4" has the weak error O(h⁴ + ε h² + ε² h) for steps h, of which that halves the last term and
more of the others: what is left is at most the difference of the two, of which the unbiased distance and one standard
error are taken. Both are driven by the same Brownian motion (`Equation.joined`), so that little but the scheme is in
their difference; where the backend does not do that, by two. This is done from the largest learning rate down to the
first that takes a single step for each of training. With h = ε below, the error there is twice the difference, scaled
by lr³. It counts as a standard error of the distance, besides that of sampling.

Flows are followed to a tolerance of 1e-8 a step, far below what sampling resolves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...schedule.base import Schedule
from ...simulation.paths_plan import backend_name, default_substeps
from ..case import SEEDS, Case, Means, distance
from ..predictions import PREDICTIONS, predict

#: added to the seed of the finer paths where they have another Brownian motion
ANOTHER_SEED = 7_000_003


@dataclass
class SchemeErrors:
    """The errors of one equation's scheme along a ladder, from the largest learning rate down.

    Attributes
    ----------
    known : dict
        Quantity -> (lr, difference) at the finest learning rate at which it was measured.
    done : bool
        Whether it was measured at one that takes a single step for each of training.
    """

    known: dict[str, tuple[float, float]] = field(default_factory=dict)
    done: bool = False

    def follow(self, name: str, case: Case) -> tuple[Means, dict[str, float]]:
        """The means of the paths of equation `name`, and of each quantity the scheme's error. Raises Diverged."""
        lr = largest = case.first_rate
        if self.done:
            return predict(name, case), {
                quantity: 2 * apart * (lr / at) ** 3 for quantity, (at, apart) in self.known.items()
            }
        if isinstance(case.lr, Schedule):
            largest = float(case.lr.rates(0, case.steps).max())
        steps = default_substeps(case.problem, case.theta0, largest, case.scheme)
        together = _joins(name, case)
        seed = case.seed if together else (case.seed + ANOTHER_SEED) % SEEDS
        paths = predict(name, replace(case, substeps=steps, joined=1 + together))
        finer = predict(name, replace(case, substeps=2 * steps, seed=seed))
        for quantity in paths.values:
            square = distance(paths, finer, quantity)
            self.known[quantity] = lr, float(np.sqrt(np.maximum(square.value, 0) + square.error))
        self.done = steps == 1
        return finer, {quantity: apart for quantity, (_, apart) in self.known.items()}


def _joins(name: str, case: Case) -> bool:
    """Whether the backend that follows the paths also follows those of longer steps along the same Brownian motion."""
    order = PREDICTIONS[name].equation
    assert order is not None
    one, two = (
        backend_name(
            case.problem, order=order, noise=case.noise, scheme=case.scheme, antithetic=True, backend="auto",
            members=case.paths, joined=joined,
        )
        for joined in (1, 2)
    )  # fmt: skip
    return case.sme_backend == "auto" and one == two
