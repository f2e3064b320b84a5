"""Networks trained with dropout, and the same networks trained without it: what several experiments share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import Diverged
from ...problem import Problem
from ..experiment import Row, Settings

Array = NDArray[np.float64]

#: keep probabilities of the two arms, the papers' for one-dimensional data
ARMS = (0.9, 1.0)
NAMES = ("with dropout", "without")
#: Okabe and Ito's colours of the two arms, and lines and markers that tell them apart in grey
COLORS = ("#0072B2", "#D55E00")
LINES, MARKERS = ("-", "--"), ("o", "s")


def train(problem: Problem, settings: Settings, *, what: str, seeds: int, steps: int, **known: Any) -> Array:
    """Train `seeds` initialisations N(0, m^-0.2) in both arms by Adam at lr, in one call: theta (seeds, 2, P).

    The two arms of a seed start from the same parameters. `known` goes to `simdrop.simulate`.
    """
    theta0 = problem.init(seed=0, gamma=0.2, members=seeds)
    options: dict[str, Any] = {"optimizer": "adam", "dtype": "float32", "seed": 0} | known
    runs = settings.train(
        f"train: {what}", problem, np.repeat(theta0, 2, axis=0), steps=steps, keep_prob=np.tile(ARMS, seeds),
        keep_theta=True, record=2, **options,
    )  # fmt: skip
    return finite(runs["theta"].values[-1], what).reshape(seeds, 2, problem.n_params)


def finite(theta: NDArray, what: str) -> Array:
    """theta (..., P) in float64; raises Diverged where a network was lost: its arm would not be the others' equal."""
    if not np.isfinite(theta).all():
        raise Diverged(f"{what}: networks diverged, so that the arms cannot be compared")
    return np.asarray(theta, dtype=np.float64)


def arms(quantity: str, values: ArrayLike, **rest: Any) -> list[Row]:
    """A row for each arm of `values` (seeds, 2), without a rule."""
    return [
        Row.over_seeds(f"{quantity}, {name}", v, **rest) for name, v in zip(NAMES, np.transpose(values), strict=True)
    ]


def ratio(quantity: str, above: ArrayLike, below: ArrayLike, *, published: str = "", bound: float = 1.0) -> Row:
    """A row for the geometric mean over seeds of above / below (seeds,), claimed to be less than `bound`.

    The claim must hold by two standard errors of the mean logarithm, and fails where a number is not positive.
    """
    pair = np.array([above, below], dtype=np.float64)
    logs = np.diff(np.log(np.where(pair > 0, pair, np.nan)), axis=0)[0] * -1
    error = float(logs.std(ddof=1) / np.sqrt(logs.size)) if logs.size > 1 else float("nan")
    mean = float(logs.mean())
    return Row(
        quantity=quantity, ours=float(np.exp(mean)), error=float(np.exp(mean)) * error, published=published,
        rule=f"below {bound:g} by 2 standard errors of its logarithm",
        holds=bool(mean + 2 * error < np.log(bound)),
    )  # fmt: skip


def band(axis: Any, alpha: Array, loss: Array, arm: int) -> None:
    """Median and 10-90 % range over seeds and directions of one arm's loss (seeds, direction, alpha)."""
    flat = loss.reshape(-1, len(alpha))
    low, middle, high = np.quantile(flat, [0.1, 0.5, 0.9], axis=0)
    axis.fill_between(alpha, low, high, color=COLORS[arm], alpha=0.2, lw=0)
    axis.plot(alpha, middle, LINES[arm], color=COLORS[arm], lw=1.6, label=NAMES[arm])
