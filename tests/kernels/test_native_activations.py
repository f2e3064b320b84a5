"""The vectorised activations of backend "native" against mpmath: 4 ulp over the whole range.

A slope that is a difference (1 - h² where h is near 1, Φ(z) + z φ(z) near its zero) is held to 4 ulp of
the largest slope instead: that is what the gradient sees of it.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from oracles.exact_activations import EXACT

from simdrop_kernels import native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

RUNNING = [name for name, here in native._native.instruction_sets() if here] if native._native else []
ULP = 4


def native_activation(name: Any, z: Any) -> Any:
    """Value and slope of the array z by the instruction set in force."""
    z = np.ascontiguousarray(z).reshape(1, -1)
    value, slope = np.empty_like(z), np.empty_like(z)
    native._native.activate(native.instruction_set(), native.WRITTEN["activation"].index(name), z, value, slope)
    return value[0], slope[0]


def grid(dtype: Any, name: Any) -> Any:
    """Both signs of: evenly spaced, all magnitudes down to denormals, and where reductions change."""
    info = np.finfo(dtype)
    steps = [k * np.pi / 2 for k in range(1, 400)] if name == "sin" else [k / 4 for k in range(1, 40)]
    largest = 1e18 if name == "quadratic" else 0.9 * float(info.max)
    positive = np.concatenate(
        [
            np.linspace(0, 12, 900),
            np.linspace(12, 40 if dtype is np.float64 else 16, 150),
            np.geomspace(float(info.smallest_subnormal), 1, 150),
            np.geomspace(1, 800, 100),
            10 ** np.linspace(np.log10(800), np.log10(largest), 60),
            np.array(steps),
            [0.0, float(info.tiny)],
        ]
    ).astype(dtype)
    positive = np.concatenate([positive, np.nextafter(positive, dtype(0)), np.nextafter(positive, dtype(1))])
    return np.unique(np.concatenate([positive, -positive]))


def ulps(found: Any, exact: Any, scale: Any) -> Any:
    """Largest |found - exact| in units of the last place of `scale`, denormals included, and where."""
    info = np.finfo(found.dtype)
    worst, place = 0.0, -1
    for k, (number, truth, size) in enumerate(zip(found, exact, scale, strict=True)):
        exponent = max(int(mpmath.floor(mpmath.log(abs(size), 2))), info.minexp) if size else info.minexp
        error = float(abs(mpmath.mpf(float(number)) - truth) / mpmath.ldexp(1, exponent - info.nmant))
        if not error <= worst:
            worst, place = error, k
    return worst, place


@pytest.fixture(scope="module")
def exact() -> Any:
    """Values and slopes by mpmath on the grid, computed once for all instruction sets."""
    known = {}

    def compute(name: Any, dtype: Any) -> Any:
        if (name, dtype) not in known:
            z = grid(dtype, name)
            value, slope, _ = EXACT[name]
            with mpmath.workdps(60 if name != "sin" else 360):  # sine of the largest double needs its digits of π
                points = [mpmath.mpf(float(v)) for v in z]
                known[name, dtype] = z, [value(p) for p in points], [slope(p) for p in points]
        return known[name, dtype]

    return compute


@pytest.mark.parametrize("isa", RUNNING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", native.WRITTEN["activation"])
def test_within_four_ulp(name: Any, dtype: Any, isa: Any, exact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMDROP_ISA", isa)
    z, values, slopes = exact(name, dtype)
    found, slope = native_activation(name, z)
    worst, place = ulps(found, values, values)
    assert worst <= ULP, f"value at {z[place]!r}: {worst} ulp"
    own = EXACT[name].steep
    worst, place = ulps(slope, slopes, slopes if own else [max(abs(s), mpmath.mpf(1)) for s in slopes])
    assert worst <= ULP, f"slope at {z[place]!r}: {worst} ulp"


@pytest.mark.parametrize("isa", RUNNING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits(dtype: Any, isa: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMDROP_ISA", isa)
    z = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)
    unsigned = isa == "avx512_intel" and dtype is np.float32  # tanh's zeros: what is at -0 is 0, but not -0
    limits = {
        "tanh": [None, None, np.nan, 0.0, None if unsigned else -0.0],  # within 4 ulp, and never beyond 1: below
        "relu": [np.inf, 0, np.nan, 0.0, None],
        "sigmoid": [1, 0, np.nan, 0.5, 0.5],
        "softplus": [np.inf, 0, np.nan, None, None],
        "gelu": [np.inf, -0.0, np.nan, 0.0, -0.0],
        "erf": [1, -1, np.nan, 0.0, -0.0],
        "sin": [np.nan, np.nan, np.nan, 0.0, -0.0],
        "linear": [np.inf, -np.inf, np.nan, 0.0, -0.0],
        "quadratic": [np.inf, np.inf, np.nan, 0.0, 0.0],
    }
    for name, expected in limits.items():
        found, _ = native_activation(name, z)
        for number, truth, at in zip(found, expected, z, strict=True):
            if truth is not None:
                np.testing.assert_equal(number, dtype(truth), err_msg=f"{name} at {at}")
                if truth == 0 and at == 0:
                    assert np.signbit(number) == np.signbit(dtype(truth)), f"{name} at {at}"
    found, slope = native_activation("tanh", z)
    assert 1 - ULP * np.finfo(dtype).epsneg <= found[0] <= 1
    assert found[1] == -found[0]
    assert (slope[:2] >= 0).all()
    assert (found[3:] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("isa", RUNNING)
def test_tanh_at_every_exponent_of_float32(isa: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 61st float32 there is, against float64: 70 million numbers are too many for mpmath."""
    monkeypatch.setenv("SIMDROP_ISA", isa)
    z = np.arange(0, 0x7F800000, 61, dtype=np.uint32).view(np.float32)
    found, _ = native_activation("tanh", z)
    truth = np.tanh(z.astype(np.float64))
    assert (np.abs(found - truth) / np.spacing(truth.astype(np.float32)).astype(np.float64)).max() <= ULP
    assert found.max() <= 1
    negative, _ = native_activation("tanh", -z)
    np.testing.assert_array_equal(negative, -found)
