"""Members whose dropout acts in different places: in one run, each as it would be trained in a run of its place alone.

Kernels take the place out of their loops, so that it belongs to a whole call: members of one place are trained
together, those of the next after them, on one backend that runs all of the places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels import registry
from simdrop_kernels.contract import noise as contract
from simdrop_kernels.contract.noise import PLACES
from simdrop_kernels.contract.step import Ensemble, Sizes, Step

from ..checks.words import check_choice, shown
from ..errors import InvalidInput
from ..problem import Noise

AnyNoise = TypeVar("AnyNoise", bound=contract.Noise)


def check_places(value: Any) -> NDArray[np.str_] | None:
    """`value`, one place or one for each member, as an array of words, () or (members,); raises InvalidInput."""
    if value is None:
        return None
    if isinstance(value, str):
        return np.array(check_choice("place", value, PLACES))
    try:
        words = np.asarray(value)
    except ValueError:  # rows of different lengths
        words = np.empty((0, 0))
    if words.ndim != 1 or not len(words):
        raise InvalidInput(f"place must be one of {', '.join(PLACES)}, or one for each member, got {shown(value)}")
    return np.array([check_choice("place", word, PLACES) for word in words.tolist()])


def noise_of(noise: Noise | None, place: NDArray[np.str_] | None) -> Noise | None:
    """The noise, with dropout in the place that was given for all members; raises InvalidInput."""
    if place is None or not isinstance(noise, (Noise, NoneType)):  # which is refused elsewhere
        return noise
    noise = Noise() if noise is None else noise
    if noise.place != "both" and (place != noise.place).any():
        raise InvalidInput(
            f"place is given twice: {shown(place.tolist())}, and {noise.place!r} in noise; leave one out"
        )
    return noise if place.ndim else in_place(noise, str(place))


def in_place(noise: AnyNoise, place: str) -> AnyNoise:
    """The noise with dropout in this place."""
    return replace(noise, place=place)  # type: ignore[arg-type]  # a word that was checked


def _placed(step: Step, place: str) -> Step:
    return replace(step, noise=in_place(step.noise, place))


def choose(
    backend: str, step: Step, places: NDArray[np.str_] | None, dtype: np.dtype, sizes: Sizes
) -> tuple[registry.Backend, str]:
    """The one backend that runs a step in all places (members,), and why it was taken; see `registry.choose`."""
    if places is None:
        return registry.choose(backend, step, dtype, sizes=sizes)
    steps = [_placed(step, place) for place in distinct(places)]
    found = [registry.choose(backend, one, dtype, sizes=sizes) for one in steps]
    last = max(found, key=lambda one: registry.names().index(one[0].name))  # takes the most of what others refuse
    for one in steps:
        registry.choose(last[0].name, one, dtype)
    return last


def numbered(places: NDArray[np.str_]) -> NDArray[np.int64]:
    """Places as numbers, which checkpoints hold."""
    return np.array([PLACES.index(place) for place in places.tolist()])


def in_words(numbers: NDArray[np.int64]) -> NDArray[np.str_]:
    """The places that `numbered` made numbers of."""
    return np.array(PLACES)[numbers]


def distinct(places: NDArray[np.str_]) -> list[str]:
    """The places that there are, in a fixed order."""
    return [place for place in PLACES if (places == place).any()]


class _Part(NamedTuple):
    """The members of one place: their numbers in the block, as a slice where they follow each other; what trains them.

    ensemble: views of the block's arrays where they follow each other, copies elsewhere
    """

    rows: Any
    ensemble: Ensemble
    session: registry.Session


class ByPlace:
    """A `registry.Session` of a block of members with `places` (B,): one session for each place there is."""

    def __init__(
        self, backend: registry.Backend, step: Step, x: NDArray[np.floating], y: NDArray[np.floating],
        ensemble: Ensemble, places: NDArray[np.str_], *, seed: int, threads: int,
    ) -> None:  # fmt: skip
        self.ensemble = ensemble
        self.parts = []
        for place in distinct(places):
            rows = _rows(places == place)
            part = Ensemble(**{name: array[rows] for name, array in _arrays(ensemble).items()})
            opened = registry.session(backend, _placed(step, place), x, y, part, seed=seed, threads=threads)
            self.parts.append(_Part(rows, part, opened))

    def advance(self, *, first_step: int, steps: int) -> None:
        """Train the members of one place after those of the other; their arrays are current afterwards."""
        for rows, part, session in self.parts:
            part.rates = np.ascontiguousarray(self.ensemble.rates[rows]) if self.ensemble.rates.size else part.rates
            part.diverged[...] = self.ensemble.diverged[rows]
            session.advance(first_step=first_step, steps=steps)
            session.wait()
            session.fetch()
            if not isinstance(rows, slice):
                for name in ("theta", "moments", "diverged"):
                    getattr(self.ensemble, name)[rows] = getattr(part, name)

    def wait(self) -> None:
        """Nothing to wait for."""

    def observe(self, points: NDArray[np.floating] | None) -> None:
        """The members are in the ensemble's arrays."""

    def fetch(self) -> None:
        """Nothing to fetch."""


def _arrays(ensemble: Ensemble) -> Mapping[str, NDArray[Any]]:
    """The arrays of an ensemble that have a row for each member."""
    names = ("theta", "moments", "lr", "keep_prob", "member", "diverged")
    return {name: getattr(ensemble, name) for name in names}


def _rows(chosen: NDArray[np.bool_]) -> slice | NDArray[np.int64]:
    """The numbers of the chosen members, as a slice where they follow each other."""
    numbers = np.flatnonzero(chosen)
    first, last = int(numbers[0]), int(numbers[-1])
    return slice(first, last + 1) if last - first + 1 == len(numbers) else numbers
