"""BLAS on one thread: the kernels share members out among threads themselves.

BLAS divides sums differently among its own threads, so that results would depend on their number; and for the small
matrices of one member its threads cost more than they bring.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
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
