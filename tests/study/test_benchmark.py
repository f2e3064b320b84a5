"""benchmark() and `simdrop bench`: sizes, counts and reports; speed itself is asserted nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.summary_schema import read_valid

from simdrop.cli import run
from simdrop.study.throughput.measure import FULL, Point, benchmark, points
from simdrop_kernels import Network
from simdrop_kernels.cpu.roofline import peak_multiply_adds
from simdrop_kernels.cpu.train import backend as parallel
from simdrop_kernels.mathematics.activations.tanh import tanh as make_tanh


def test_the_full_mode_covers_every_axis_for_both_masks() -> None:
    axes = points(["numba"], full=True, threads=2)
    for axis, values in FULL.items():
        assert {getattr(point, axis) for point in axes[axis]} == set(values)
        assert {point.mask for point in axes[axis]} >= {"step"} | ({"sample"} if axis != "dtype" else set())
    assert {point.threads for point in axes["threads"]} == {1, 2}


def test_rows_say_what_was_measured() -> None:
    found = benchmark(backends=["numpy"], repeats=3, seconds=0.001, threads=1)
    summary = found.summary
    assert {row["axis"] for row in summary["rows"]} == {"network", "width", "keep_prob", "threads"}
    for row in summary["rows"]:
        assert 0 < row["least"] <= row["updates_per_second"] <= row["largest"]
    assert summary["roofline"][0]["multiply_adds"] > 1e8


def test_numpy_is_left_out_where_it_would_hold_too_much() -> None:
    assert not Point(backend="numpy", members=10**6, width=32).feasible()
    assert Point(backend="native", members=10**6, width=32).feasible()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_are_those_of_the_source(dtype: type) -> None:
    """tanh applied to a number that counts: every product, sum, quotient and comparison."""

    class Counted:
        count = 0

        def _op(self, other: object = None) -> Counted:
            Counted.count += 1
            return Counted()

        __add__ = __radd__ = __mul__ = __rmul__ = __truediv__ = __rsub__ = __neg__ = _op

        def __gt__(self, other: object) -> bool:
            Counted.count += 1
            return False

        __lt__ = __gt__

    Counted.count = 0
    make_tanh(lambda function: function, dtype)(Counted())
    # Counted are products and sums apart: a fused multiply-add is one instruction and two of these.
    terms = (4, 4) if dtype is np.float32 else (5, 4)
    fused = sum(terms) + (3 if dtype is np.float64 else 0)  # p² + q² of the doublings
    tanh = Counted.count - fused
    counted = parallel.operations(Network(), np.dtype(dtype), 2, 1)
    assert counted == tanh + 2 + 1 + 3 + 2


def test_the_peak_grows_with_the_width_of_vectors() -> None:
    """Twice as many numbers of half the size fit a vector: 2 within noise, far from 1."""
    single, double = (peak_multiply_adds(np.dtype(t), 1, seconds=0.1) for t in ("float32", "float64"))
    assert 1.2 < single / double < 3.5


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench"
    assert run(["bench", "--backends", "numpy", "--repeats", "2", "--threads", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "over keep_prob" in printed
    assert read_valid(out / "summary.json", "bench")["settings"]["backends"] == ["numpy"]
    assert (out / "figure.png").stat().st_size > 10_000
    assert run(["bench", "--backends", "numpi", "--out", str(out)]) == 2
    assert "did you mean 'numpy'" in capsys.readouterr().err
    assert run(["bench", "--backends", "numpy", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
