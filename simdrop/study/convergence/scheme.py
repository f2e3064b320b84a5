"""What the time steps of a scheme add to the error of a stochastic modified equation.

The paths of an equation are followed once more with steps h half as long. The scheme "rk4" has the weak error
O(h⁴ + ε h² + ε² h), of which that halves the last term and more of the others: the error of the longer steps is at most
twice the difference, that of the shorter ones at most the difference, of which the unbiased distance and one standard
error are taken. Both are driven by the same Brownian motion (`Equation.joined`), so that little but the scheme is in
their difference; where the backend does not do that, by two. This is done from the largest learning rate ε down to the
first at which the scheme takes a single step, h = ε, for each of training, and from there scaled by ε³. Where the
scheme takes several, the shorter steps are the prediction. The error counts as a standard error of the distance,
besides that of sampling.

From there down the error is c ε³ and higher powers, as what is followed is the same scheme at h = ε: no constant, but a
part of what `fit` has besides. Of a floor it says nothing there; of the rungs above, where h is not ε, it does
(`uneven`).

Flows are followed to a tolerance of 1e-8 a step, far below what sampling resolves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...schedule.base import Schedule
from ...simulation.paths_plan import backend_name, default_substeps
from ..case import SEEDS, Case, Means, distance
from ..distances import Array
from ..predictions import PREDICTIONS, predict

#: added to the seed of the finer paths where they have another Brownian motion
ANOTHER_SEED = 7_000_003


class SchemeError(NamedTuple):
    """The error of one quantity, and the steps of the scheme, for each of training, that it is that of."""

    value: float
    steps: int


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

    def follow(self, name: str, case: Case) -> tuple[Means, dict[str, SchemeError]]:
        """The means of the paths of equation `name`, and of each quantity the scheme's error. Raises Diverged."""
        lr = largest = case.first_rate
        if self.done:
            scaled = {quantity: error * (lr / at) ** 3 for quantity, (at, error) in self.known.items()}
            return predict(name, replace(case, substeps=1)), {q: SchemeError(e, 1) for q, e in scaled.items()}
        if isinstance(case.lr, Schedule):
            largest = float(case.lr.rates(0, case.steps).max())
        steps = default_substeps(case.problem, case.theta0, largest, case.scheme)
        together = _joins(name, case)
        seed = case.seed if together else (case.seed + ANOTHER_SEED) % SEEDS
        longer = predict(name, replace(case, substeps=steps, joined=1 + together))
        shorter = predict(name, replace(case, substeps=2 * steps, seed=seed))
        self.done = steps == 1
        for quantity in longer.values:
            square = distance(longer, shorter, quantity)
            apart = float(np.sqrt(np.maximum(square.value, 0) + square.error))
            self.known[quantity] = lr, apart * (1 + self.done)
        used = steps if self.done else 2 * steps
        errors = {quantity: SchemeError(error, used) for quantity, (_, error) in self.known.items()}
        return longer if self.done else shorter, errors


def uneven(lrs: Array, error: Array, steps: Array) -> Array:
    """What of a scheme's errors is not c ε³ with the c of the rungs of single steps, at most: 0 at those.

    All (lr,), from the largest down; steps 0 where there is no scheme.
    """
    single = np.flatnonzero((steps == 1) & np.isfinite(error))
    cubic = error[single[0]] * (lrs / lrs[single[0]]) ** 3 if single.size else np.zeros_like(error)
    return np.where(steps > 1, error + cubic, 0.0)


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
