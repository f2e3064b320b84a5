"""What the recorder asks of the members of a block at a record step, in memory of the host or on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Alive = NDArray[np.bool_]

#: what running moments are kept of: the parameters, or the outputs at the grid
What = Literal["theta", "values"]


class Seen(Protocol):
    """Members of a block at a record step, whether their parameters lie in memory of the host or on a device."""

    @property
    def members(self) -> int:
        """B."""
        ...

    @property
    def risk(self) -> NDArray[np.floating]:
        """R_S (B,) of the whole networks."""
        ...

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Whether the risk (B,) and all parameters are finite."""
        ...

    def norms(self) -> NDArray[np.float64]:
        """2-norms (B,) of the parameters."""
        ...

    def risk_at(self, x: Array, y: Array) -> NDArray[np.floating]:
        """R_S (B,) on other samples x (k, D), y (k, c), in the dtype of the run."""
        ...

    @property
    def accuracy(self) -> NDArray[np.floating]:
        """Share (B,) of the samples that are put into their classes, where the loss has classes."""
        ...

    def accuracy_at(self, x: Array, y: Array) -> NDArray[np.floating]:
        """The same on other samples."""
        ...

    def add(
        self, what: What, rows: slice, alive: Alive, count: NDArray[np.int64], mean: Array,
        m2: Array,
    ) -> None:  # fmt: skip
        """Add the living ones of the members `rows` to running moments, in place: see `cpu.statistics.accumulate`.

        "values" are the outputs at the grid.
        """

    def theta(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
        """Parameters `columns` (k,) of members `rows` (r,): (r, k)."""
        ...


class Scores(NamedTuple):
    """How members do on some samples: R_S (B,), and the share (B,) of right classes, empty where there are none."""

    risk: NDArray[np.floating]
    accuracy: NDArray[np.floating]


@dataclass(frozen=True)
class Here:
    """Members in memory of the host: theta (B, P), their scores, and outputs at the grid (B, k, c) or None.

    scores_of: those of parameters (B, P) on samples x (k, D), y (k, c)
    """

    parameters: Array
    scores: Scores
    values: Array | None
    scores_of: Callable[[Array, Array, Array], Scores]
    _others: dict[int, Scores] = field(default_factory=dict)  # by the identity of the samples

    @property
    def members(self) -> int:
        """B."""
        return len(self.parameters)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """See `Seen`."""
        return np.isfinite(self.risk) & np.isfinite(self.parameters).all(axis=1)

    def norms(self) -> NDArray[np.float64]:
        """See `Seen`."""
        return _norms(self.parameters)

    def risk_at(self, x: Array, y: Array) -> NDArray[np.floating]:
        """See `Seen`."""
        return self._at(x, y).risk

    @property
    def risk(self) -> NDArray[np.floating]:
        """See `Seen`."""
        return self.scores.risk

    @property
    def accuracy(self) -> NDArray[np.floating]:
        """See `Seen`."""
        return self.scores.accuracy

    def accuracy_at(self, x: Array, y: Array) -> NDArray[np.floating]:
        """See `Seen`."""
        return self._at(x, y).accuracy

    def _at(self, x: Array, y: Array) -> Scores:
        if id(x) not in self._others:
            self._others[id(x)] = self.scores_of(self.parameters, x, y)
        return self._others[id(x)]

    def add(
        self, what: What, rows: slice, alive: Alive, count: NDArray[np.int64], mean: Array,
        m2: Array,
    ) -> None:  # fmt: skip
        """See `Seen`."""
        from simdrop_kernels.cpu.statistics import accumulate

        numbers = self.parameters if what == "theta" or self.values is None else self._flat_values
        accumulate(count, mean, m2, numbers[rows], alive[rows])

    @cached_property
    def _flat_values(self) -> Array:
        assert self.values is not None
        return np.ascontiguousarray(self.values).reshape(len(self.values), -1)

    def theta(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
        """See `Seen`."""
        return self.parameters[rows[:, None], columns]


def _norms(theta: Array) -> NDArray[np.float64]:
    """2-norms of rows, added up in double precision."""
    with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
        return np.sqrt(np.square(theta).sum(axis=1, dtype=np.float64))
