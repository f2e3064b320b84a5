"""BLAS's product that adds to what is there, in compiled code, against NumPy's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from simdrop_kernels.cpu.blas import gemm


@numba.njit
def _product(out, alpha, left, turned, right, right_turned, beta):  # type: ignore[no-untyped-def]
    gemm(out, alpha, left, turned, right, right_turned, beta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_product_is_that_of_numpy_on_parts_of_arrays_whose_rows_lie_apart(dtype: type) -> None:
    random = np.random.default_rng(5)
    for rows, columns, length in ((3, 5, 4), (1, 7, 2), (6, 1, 1), (40, 33, 70)):
        for turned in (False, True):
            for right_turned in (False, True):
                left: np.ndarray = random.standard_normal((length, rows) if turned else (rows, length)).astype(dtype)
                right: np.ndarray = random.standard_normal(
                    (columns, length) if right_turned else (length, columns)
                ).astype(dtype)
                whole: np.ndarray = random.standard_normal((rows + 2, columns + 3)).astype(dtype)
                before = whole.copy()
                inside = (slice(1, rows + 1), slice(2, columns + 2))
                padded = np.pad(right, ((0, 1), (0, 2)))[: right.shape[0], : right.shape[1]]  # rows lie apart
                _product(whole[inside], dtype(-0.5), left, turned, padded, right_turned, dtype(1))
                wanted = (left.T if turned else left).astype(float) @ (right.T if right_turned else right)
                terms = np.abs(before[inside]).max() + np.abs(left).max() * np.abs(right).max() * length
                atol = (length + 2) * np.finfo(dtype).eps * terms  # of sums in any order
                np.testing.assert_allclose(whole[inside], before[inside] - wanted / 2, rtol=0, atol=atol)
                changed = whole != before
                changed[inside] = False
                assert not changed.any(), "what is around the product was written to"


def test_without_beta_what_was_there_is_not_read_and_zeros_change_no_bit() -> None:
    left, right = np.ones((4, 3)), np.ones((3, 6))
    out = np.full((4, 6), np.nan)
    _product(out, 2.0, left, False, right, False, 0.0)
    assert (out == 6).all()
    out = np.array([[-0.0, 1e-310, 1.0]])
    _product(out, -0.1, np.zeros((2, 1)), True, np.array([[1.0, -2.0, 3.0], [-1.0, 4.0, 0.0]]), False, 1.0)
    assert np.signbit(out[0, 0])
    assert out[0].tolist() == [0.0, 1e-310, 1.0]


CLOSURE = """
import numba, numpy as np
from simdrop_kernels.cpu.blas import gemm
from simdrop_kernels.cpu.compile import inner

def build():
    @inner
    def part(out, left):
        gemm(out, 1.0, left, True, left, False, 0.0)

    @numba.njit(cache=True)
    def whole(out, left):
        part(out, left)

    return whole

whole, out = build(), np.empty((2, 2))
whole(out, np.ones((3, 2)))
assert (out == 3).all()
print(sum(whole.stats.cache_hits.values()))
"""


def test_kernels_that_multiply_so_are_found_in_the_cache_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    script = tmp_path / "closure.py"
    script.write_text(CLOSURE)
    hits = [subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout for _ in "12"]
    assert [int(count) for count in hits] == [0, 1]
