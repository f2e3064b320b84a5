"""The C glue of backend "native": what it refuses, and that it keeps nothing."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from simdrop_kernels import native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

CONFIG = (0, 0, 0, 0, 0, 0, 0, False, 1.0, 0.9, 0.9, 0.999, 1e-8, 7, False, 0.0, False)
NAMES = ("x", "y", "theta", "moments", "lr", "keep_prob", "member", "diverged")


def arrays(**changed: Any) -> Any:
    """Sound arguments of `advance` in order, two members of five neurons, with some replaced."""
    sound = {
        "x": np.ones((3, 2)),
        "y": np.ones((3, 1)),
        "theta": np.full((2, 15), 0.1),
        "moments": np.zeros((2, 0, 15)),
        "lr": np.full((2, 1), 0.1),
        "keep_prob": np.full(2, 0.5),
        "member": np.arange(2, dtype=np.uint64),
        "diverged": np.full(2, -1, dtype=np.int64),
    }
    return list((sound | changed).values())


def advance(values: Any, config: Any = CONFIG, first_step: Any = 0, steps: Any = 2, layout: Any = 0) -> None:
    native._native.advance(native.instruction_set(), config, *values, first_step, steps, layout)


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": np.ones((3, 2), np.float32)}, TypeError, "x: dtype must be float64"),
        ({"theta": np.ones((2, 15), np.int64)}, TypeError, "theta: dtype must be float32 or float64"),
        ({"theta": np.ones((2, 15), np.float32)}, TypeError, "x: dtype must be float32"),
        ({"theta": np.ones((2, 15), ">f8")}, TypeError, "theta: dtype must be"),
        ({"lr": np.ones((2, 1), np.float32)}, TypeError, "lr: dtype must be float64"),
        ({"member": np.arange(2)}, TypeError, "member: dtype must be uint64"),
        ({"diverged": np.full(2, -1, np.int32)}, TypeError, "diverged: dtype must be int64"),
        ({"y": [1.0]}, TypeError, "y: an array is needed"),
        ({"x": np.ones(3)}, ValueError, "x: 2 dimensions are needed, not 1"),
        ({"y": np.ones((4, 1))}, ValueError, "y: axis 0 has length 4, not 3"),
        ({"theta": np.ones((2, 16))}, ValueError, "theta: axis 1 has length 16, not 15"),
        ({"theta": np.ones((2, 0))}, ValueError, "width: out of range"),
        ({"x": np.ones((0, 2)), "y": np.ones((0, 1))}, ValueError, "number of samples: out of range"),
        ({"moments": np.zeros((2, 1, 15))}, ValueError, "moments: axis 1 has length 1, not 0"),
        ({"lr": np.ones((3, 1))}, ValueError, "lr: axis 0 has length 3, not 2"),
        ({"lr": np.ones((2, 3))}, ValueError, "lr: axis 1 has length 3, not 2"),
        ({"diverged": np.full(1, -1)}, ValueError, "diverged: axis 0 has length 1, not 2"),
        ({"theta": np.ones((2, 30))[:, ::2]}, ValueError, "theta: must be C-contiguous"),
        ({"x": np.ones((2, 3)).T}, ValueError, "x: must be C-contiguous"),
        ({"theta": read_only(np.ones((2, 15)))}, ValueError, "theta: is read-only"),
        ({"diverged": read_only(np.full(2, -1))}, ValueError, "diverged: is read-only"),
        ({"lr": np.frombuffer(b"\0" * 17, np.uint8)[1:].view(np.float64)[:, None]}, ValueError, "lr: must be aligned"),
    ],
)
def test_unsound_arrays_are_refused_by_name(changed: Any, error: Any, message: Any) -> None:
    before = {name: value.copy() for name, value in changed.items() if isinstance(value, np.ndarray)}
    with pytest.raises(error, match=message):
        advance(arrays(**changed))
    for name, value in before.items():
        np.testing.assert_array_equal(changed[name], value)


@pytest.mark.parametrize(
    ("position", "value", "name"),
    [
        (0, 9, "activation"),
        (1, -1, "mask"),
        (2, 3, "objective"),
        (3, 7, "optimizer"),
        (4, 9, "loss"),
        (5, 4, "place"),
        (6, 4, "batch"),
        (6, -2, "batch"),
    ],
)
def test_unsound_numbers_are_refused_by_name(position: Any, value: Any, name: Any) -> None:
    config = (*CONFIG[:position], value, *CONFIG[position + 1 :])
    with pytest.raises(ValueError, match=f"{name}.*out of range"):
        advance(arrays(), config)


def test_steps_and_instruction_sets_are_checked() -> None:
    for first_step, steps in ((2**32 - 1, 2), (2**63 - 1, 1), (1, 2**63 - 1)):  # the sums of two overflow
        with pytest.raises(ValueError, match="number of steps: out of range"):
            advance(arrays(), first_step=first_step, steps=steps)
    for layout in (-1, 2):
        with pytest.raises(ValueError, match="layout: out of range"):
            advance(arrays(), layout=layout)
    with pytest.raises(ValueError, match="layout: out of range"):  # a place: not written for members in lanes
        advance(arrays(), (*CONFIG[:5], 1, *CONFIG[6:]), layout=1)
    with pytest.raises(ValueError, match="unknown instruction set sse9"):
        native._native.advance("sse9", CONFIG, *arrays(), 0, 1, 0)
    with pytest.raises(ValueError, match="out: shape must be"):
        native._native.evaluate(
            native.instruction_set(), 0, 1.0, np.ones((3, 2)), np.ones((2, 15)), np.empty((2, 4, 1))
        )


@pytest.mark.parametrize("layout", [0, 1])
def test_no_step_needs_no_learning_rate(layout: int) -> None:
    sound = arrays(lr=np.empty((2, 0)))
    advance(sound, steps=0, layout=layout)
    np.testing.assert_array_equal(sound[2], arrays()[2])


@pytest.mark.parametrize("layout", [0, 1])
def test_sizes_whose_product_is_beyond_all_memory_are_refused(layout: int) -> None:
    """Bytes of a workspace that overflow would leave one that is too small."""
    params, batch = 3 * 2**30, 2**30
    empty = {name: array[:0] for name, array in zip(NAMES[5:], arrays()[5:], strict=True)}
    huge = arrays(theta=np.empty((0, params)), moments=np.empty((0, 0, params)), lr=np.empty((0, 1)), **empty)
    with pytest.raises(ValueError, match="product of sizes: out of range"):
        advance(huge, (*CONFIG[:6], batch, True, *CONFIG[8:]), layout=layout)


def resident_pages() -> Any:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_calls_leak_nothing() -> None:
    sound, broken = arrays(), arrays(diverged=np.zeros(3, np.int64))
    out = np.empty((2, 3, 1))

    def rounds(count: Any) -> None:
        for _ in range(count):
            advance(sound, steps=1)
            advance(sound, steps=1, layout=1)
            native._native.evaluate(native.instruction_set(), 0, 1.0, sound[0], sound[2], out)
            with pytest.raises(ValueError, match="diverged"):
                advance(broken)

    rounds(200)
    references = [sys.getrefcount(value) for value in sound + broken]
    pages = resident_pages()
    rounds(10_000)
    assert [sys.getrefcount(value) for value in sound + broken] == references
    assert resident_pages() - pages < 100  # a call that kept its workspace would keep thousands
