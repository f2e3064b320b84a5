"""Sizes that no machine can do are refused before any work, in one line with the estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop.checks.sizes import check_memory, size
from simdrop.errors import InvalidInput
from simdrop.study.case import grid_points

X = np.linspace(-1, 1, 5)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=10)
WIDE = simdrop.Problem(X, X, width=1_000_000)
NARROW = simdrop.Problem(X, np.sin(3 * X), width=3)
THETA = PROBLEM.init(seed=0)


def _simulate(problem: Any = PROBLEM, **given: Any) -> Any:
    known = {"lr": 0.01, "steps": 10, "members": 4, "record": 3, "backend": "numpy"}
    return simdrop.simulate(problem, problem.init(seed=0), **(known | given))


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: _simulate(members=2**32), r"GiB of memory.* risks of members=4294967296 at 3 record times"),
        (
            lambda: _simulate(members=2**32, keep_theta=True),
            r"TiB of it for keep_theta, the 30 parameters of 4294967296",
        ),
        (lambda: _simulate(record=10**14), r"PiB of it for record=100000000000000"),
        (lambda: _simulate(WIDE, covariance=True), r"TiB of it for covariance of 3000000 parameters"),
        (lambda: simdrop.sme(PROBLEM, THETA, lr=0.01, times=[0, 1], members=2**32), "risks of members=4294967296"),
        (lambda: simdrop.theory.hessian(WIDE, WIDE.init(seed=0)), "TiB of it for a matrix over 3000000 parameters"),
        (lambda: simdrop.theory.noise_covariance(WIDE, WIDE.init(seed=0)), "a matrix over 3000000 parameters"),
        (lambda: simdrop.flow(WIDE, WIDE.init(seed=0), lr=1e-4, times=np.arange(10**6)), "at 1000000 times"),
        (lambda: PROBLEM.init(members=10**12), r"TiB of it for theta, 30 parameters of 1000000000000 members"),
        (
            lambda: simdrop.masks(seed=0, member=0, step=np.arange(1000), width=2**28, keep_prob=0.5),
            "masks",
        ),
        (
            lambda: simdrop.flow(WIDE, WIDE.init(seed=0), lr=1e-4, times=1, kind="mean-covariance", rank=10**6),
            r"TiB of it for rank=1000000 for 3000000 parameters",
        ),
        (lambda: grid_points(PROBLEM, 10**13), "grid=10000000000000 points"),
        (lambda: PROBLEM.predict(THETA, masks=10**9), "masks must be at most 100000000"),
        (lambda: PROBLEM.predict(THETA, np.broadcast_to(0.0, 10**11)), r"TiB of it for x of shape \(10{11},\)"),
        (
            lambda: WIDE.predict(np.zeros(3 * 10**6), np.zeros(10**6)),
            "TiB of it for the hidden neurons at 1000000 points",
        ),
        (lambda: _simulate(quantiles=np.linspace(0, 1, 10**5)), "quantiles must be at most 10000 levels, got 100000"),
        (
            lambda: simdrop.study.flatness.plane(PROBLEM, THETA, alphas=np.linspace(-1, 1, 10**5)),
            "the loss at 10000000000 points is more than",
        ),
        (lambda: simdrop.study.flatness.sharpness(PROBLEM, THETA, radius=0.1, iterations=10**9), "at most 1000000"),
        (
            lambda: simdrop.theory.linear_optimum(simdrop.Problem(X, X, width=10**7, activation="linear")),
            "TiB of it for rotations of 10000000 neurons|PiB of it for rotations of 10000000 neurons",
        ),
        (
            lambda: simdrop.study.heat_map(
                PROBLEM, THETA, lrs=np.linspace(0.01, 0.1, 10**3), keep_probs=np.linspace(0.1, 0.9, 10**3), time=1
            ),
            "lrs and keep_probs make 1000000 cells",
        ),
        (lambda: simdrop.Problem(np.broadcast_to(1.0, 10**13), X, width=3), r"TiB of it for x of shape \(10{13},\)"),
        (
            lambda: simdrop.flow(PROBLEM, THETA, lr=1e-12, times=[1], kind="pathwise"),
            r"lr=1e-12 makes 1e\+12 steps of time 1, more than 1e\+08",
        ),
    ],
)
def test_impossible_sizes_are_refused_at_once(work: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        work()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("open_door", [simdrop.simulate, simdrop.sme])
def test_members_count_by_all_that_is_held_of_each(open_door: Any, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """10^9 members of 9 parameters: risks, a copy of them, numbers, and the steps at which they diverged."""
    monkeypatch.setattr("simdrop.checks.sizes.memory", lambda: 40 << 30)
    when = {"steps": 3, "record": 2} if open_door is simdrop.simulate else {"times": [0, 0.01]}
    with pytest.raises(InvalidInput, match=r"GiB of memory.* risks of members=1000000000 at 2 record times$"):
        open_door(NARROW, NARROW.init(), lr=0.01, members=10**9, dtype=dtype, **when)


def test_what_fits_is_taken_and_what_does_not_names_its_largest_part() -> None:
    check_memory({"a": 40, "b": 60}, have=100)
    with pytest.raises(InvalidInput, match=r"at least 101 bytes .* has 100 bytes: 61 bytes of it for b"):
        check_memory({"a": 40, "b": 61}, have=100)


@pytest.mark.parametrize(("count", "told"), [(1023, "1023 bytes"), (8 * 2**40, "8 TiB"), (2.0**70, "1.049e+06 PiB")])
def test_bytes_as_people_read_them(count: Any, told: Any) -> None:
    assert size(count) == told


def test_memory_that_ends_within_the_work_is_one_line_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What no estimate foresaw: another program took the memory meanwhile."""
    from simdrop import cli
    from simdrop.study.comparison import compare as comparison

    def full(*arguments: Any, **options: Any) -> None:
        np.empty(1 << 60, dtype=np.uint8)

    monkeypatch.setattr(comparison, "train", full)
    assert cli.run(["compare", "--quiet", "--out", str(tmp_path / "out")]) == cli.FAILED
    error = capsys.readouterr().err
    assert error.startswith("simdrop: error: this machine's memory does not suffice: Unable to allocate 1.00 EiB")
    assert error.count("\n") == 1
