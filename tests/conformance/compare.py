"""Runs configurations on a backend and on "numpy", and says where they differ.

As a program: `python -m conformance.compare --backend native --count 3000` (in tests/), over random configurations.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from conformance import space
from conformance.agreement import beyond, nudged, rounded_otherwise
from conformance.pairwise import Configuration

import simdrop
from simdrop_kernels import BackendError


class Door(NamedTuple):
    """A function that users call, and what makes its problem and its other arguments of a configuration."""

    function: Callable[..., xr.Dataset]
    call: Callable[[Configuration], tuple[simdrop.Problem, dict[str, Any]]]


SIMULATE = Door(simdrop.simulate, space.call)


def run(problem: simdrop.Problem, options: dict[str, Any], backend: str, door: Door = SIMULATE) -> xr.Dataset | str:
    """What the function returns, or the words in which it refuses."""
    options = dict(options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", simdrop.errors.DivergenceWarning)
            return door.function(problem, options.pop("theta0"), backend=backend, **options)
    except (BackendError, simdrop.errors.InvalidInput) as error:
        return f"{type(error).__name__}: {error}"
    except simdrop.errors.Diverged as error:
        return error.partial


def is_refusal(said: str, backend: str) -> bool:
    """Whether these words are a backend's reason not to run something, in one line."""
    return said.startswith(f"BackendError: backend {backend!r} cannot run this: ") and "\n" not in said


def disagreement(chosen: Configuration, backend: str, door: Door = SIMULATE) -> tuple[str | None, str]:
    """What is wrong with a backend at a configuration, or None, and what became of it: "ran", "refused", ..."""
    problem, options = door.call(chosen)
    theirs, ours = run(problem, options, "numpy", door), run(problem, options, backend, door)
    if isinstance(theirs, str):
        return (None if ours == theirs else f"numpy refuses ({theirs}), {backend} does not ({ours})"), "invalid"
    if isinstance(ours, str):
        return (None if is_refusal(ours, backend) else ours), "refused"
    target = float(np.square(problem.y).mean())

    def again(k: int) -> xr.Dataset:
        start = nudged(np.asarray(options["theta0"]), options["dtype"], k)
        with rounded_otherwise(problem.activation, options["dtype"], k):
            return run(problem, options | {"theta0": start}, "numpy", door)  # type: ignore[return-value]  # as before

    off, measured = beyond(ours, theirs, options["dtype"], target, again)
    return (f"{off}" if off else None), "ill-conditioned" if measured else "ran"


def tally(
    configurations: Iterable[Configuration], backend: str, door: Door = SIMULATE
) -> tuple[list[str], dict[str, int]]:
    """All that is wrong, one line each, and how many configurations ended how."""
    wrong, ended = [], dict.fromkeys(("ran", "refused", "invalid", "ill-conditioned"), 0)
    for chosen in configurations:
        problem, how = disagreement(chosen, backend, door)
        ended[how] += 1
        if problem:
            wrong.append(f"{problem} at {chosen}")
    return wrong, ended


def main() -> None:
    """Compare; exit status 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="native")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--covering", action="store_true", help="the covering sample instead")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    configurations = (
        space.covering(chosen.backend) if chosen.covering else space.random(chosen.backend, chosen.count, chosen.seed)
    )
    wrong, ended = tally(configurations, chosen.backend)
    print(*wrong, sep="\n")
    print(f"{chosen.backend}: {ended}, {len(wrong)} wrong, {time.perf_counter() - begun:.0f} s")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
