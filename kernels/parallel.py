"""Backend "numba": compiled for this processor, parallel over members.

Two kernels share the scalar formulas: `thin` for one-dimensional problems, `wide` for all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import rng
from .spec import Ensemble, Step

Array = NDArray[np.floating]

name = "numba"


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"Numba cannot be imported ({error})"
    return None


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    return None


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1; see `reference.advance`."""
    from . import formulas, thin

    real = ensemble.theta.dtype.type
    minibatch = step.batch_size is not None
    train = thin.build(step.activation, step.mask, step.objective, step.optimizer, minibatch, real)
    keep_prob = ensemble.keep_prob
    members = (
        ensemble.lr.astype(real),
        rng.keep_threshold(keep_prob),
        (1 / keep_prob).astype(real),
        ((1 - keep_prob) / keep_prob).astype(real),
        ensemble.member,
    )
    constants = formulas.optimizer_constants(step, first_step, steps, real)
    run = (
        np.array(rng.split_seed(seed)),
        first_step,
        constants,
        step.output_scale,
        step.batch_size or len(x),
        step.replace,
    )
    with thread_count(threads):
        train(ensemble.theta, ensemble.moments, ensemble.diverged, members, (x, y[:, 0]), run)


class thread_count:
    """Context: Numba runs on at most `threads` threads."""

    def __init__(self, threads: int) -> None:
        import numba

        self._threads = max(1, min(threads, numba.config.NUMBA_NUM_THREADS))

    def __enter__(self) -> None:
        import numba

        self._before = numba.get_num_threads()
        numba.set_num_threads(self._threads)

    def __exit__(self, *exc: object) -> None:
        import numba

        numba.set_num_threads(self._before)
