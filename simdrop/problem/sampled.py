"""Predictions under dropout masks: what repeated forward passes give, and what it is in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels.mathematics import rng

Array = NDArray[np.float64]

#: activations under masks that are held at one time
NUMBERS = 1 << 22


class DropoutPrediction(NamedTuple):
    """Outputs under dropout masks, arrays of shape (..., k, c).

    Parameters
    ----------
    mean, std : ndarray
        Mean and standard deviation over the masks that were drawn, K - 1 in the denominator; std is NaN for one mask.
        The standard error of the mean is std / √K.
    exact_mean, exact_std : ndarray
        Mean s Σ_j a_j h_j and standard deviation, the root of v s² Σ_j a_j² h_j², over all masks.
    """

    mean: Array
    std: Array
    exact_mean: Array
    exact_std: Array


def sampled(
    h: Array, a: Array, scale: float, keep_prob: float, *, masks: int, seed: int, for_samples: bool
) -> DropoutPrediction:
    """Outputs from hidden neurons h (..., k, m) by weights a (..., c, m) under the masks of member 0 at steps 0, 1, ...

    for_samples: whether each of the k points has a mask of its own
    """
    back, width = a.swapaxes(-1, -2), h.shape[-1]
    exact = scale * (h @ back)
    spread = scale * np.sqrt((1 - keep_prob) / keep_prob * (np.square(h) @ np.square(back)))
    mean, m2 = np.zeros_like(exact), np.zeros_like(exact)
    samples = h.shape[-2] if for_samples else None
    some = max(1, NUMBERS // (width * (samples or 1)))
    for first in range(0, masks, some):
        numbers = np.arange(first, min(first + some, masks))
        kept = rng.masks(seed=seed, member=np.int64(0), step=numbers, width=width, keep_prob=keep_prob, samples=samples)
        for number, mask in zip(numbers, kept / keep_prob, strict=True):  # (m,) or (k, m)
            drawn = scale * ((h * mask) @ back)
            off = drawn - mean
            mean += off / (number + 1)
            m2 += off * (drawn - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return DropoutPrediction(mean, np.sqrt(m2 / np.float64(masks - 1)), exact, spread)
