"""A run that stops half-way and goes on has the bits of one that does not, over the space of what `simulate` takes."""

from __future__ import annotations

from typing import Any

import pytest
import xarray as xr
from conformance import space
from conformance.pairwise import Configuration

import simdrop
from simdrop_kernels import registry

HALF = space.STEPS // 2
#: what is recorded is the same for all here
RECORDED = {name for options in space.RECORDINGS.values() for name in options}


def _differs(chosen: Configuration, backend: str) -> str | None:
    """What differs, with the configuration, or None; compared to the bit."""
    problem, options = space.call(chosen)
    given: dict[str, Any] = {name: value for name, value in options.items() if name not in RECORDED}
    kept: dict[str, Any] = {"keep_theta": True, "backend": backend, "record": 2}
    theta0 = given.pop("theta0")
    whole = simdrop.simulate(problem, theta0, **given, **kept)
    half = simdrop.simulate(problem, theta0, **(given | {"steps": HALF}), **kept, keep_state=True)
    again = given["lr"] if chosen["lr"] == "pieces" else None  # schedules with arrays are given again
    more = simdrop.simulate(problem, half, lr=again, steps=space.STEPS - HALF, **(kept | {"record": 1}))
    try:
        xr.testing.assert_identical(more.drop_attrs(), whole.isel(time=slice(1, None)).drop_attrs())
    except AssertionError as error:
        return f"{chosen}: {error}"
    return None


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_going_on_gives_the_bits_of_one_run(backend: str) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(f"{backend}: {reason}")
    # objectives change at step 2, which must have been
    wrong = [found for chosen in space.covering(backend)[::6] if (found := _differs(chosen, backend))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam"])
def test_numba_goes_on_too(optimizer: str) -> None:
    chosen = {name: levels[0] for name, levels in space.AXES.items()} | {"samples": 7, "optimizer": optimizer}
    assert _differs(chosen, "numba") is None
