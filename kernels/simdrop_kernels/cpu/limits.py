"""Whether members have diverged, for the compiled kernels: see `contract.step.Ensemble`."""

from __future__ import annotations

from .compile import leaf


@leaf
def within(numbers, limit):
    """Whether no number of an array (k,) is a NaN or larger than `limit`.

    Comparisons alone: `np.isfinite` subtracts, which the compiler may take for 0 where sums may be reordered.
    """
    good = True
    for k in range(numbers.size):
        good &= abs(numbers[k]) <= limit
    return good
