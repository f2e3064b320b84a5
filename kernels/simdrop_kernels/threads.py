"""Threads: BLAS on one, Numba on as many as asked, for the kernels share members out among threads themselves.

BLAS divides sums differently among its own threads, so that results would depend on their number; and for the small
matrices of one member its threads cost more than they bring.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """A context in which the BLAS of NumPy and of compiled code runs on the thread that calls it."""
    limit: AbstractContextManager[Any] = _libraries().limit(limits=1)
    return limit


@cache
def _libraries() -> Any:
    import scipy.linalg.cython_blas  # noqa: F401  # so that it is found, loaded
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread_each(threads: int) -> Iterator[None]:
    """Numba runs on at most `threads` threads, and BLAS on the one that calls it."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    try:
        with one_thread():
            yield
    finally:
        numba.set_num_threads(before)
