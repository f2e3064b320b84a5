"""masks(): the dropout masks that every backend uses, as a function of numbers alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.mathematics import rng

from ..checks.numbers import check_count, check_keep_prob, check_seed, check_whole
from ..checks.sizes import check_memory
from ..errors import InvalidInput

#: members and steps are numbered by 32 bits
MOST = (1 << 32) - 1


def masks(
    *,
    seed: int,
    member: ArrayLike,
    step: ArrayLike,
    width: int,
    keep_prob: ArrayLike,
    samples: int | None = None,
) -> NDArray[np.bool_]:
    """The masks of dropout that every backend draws: True where a neuron is kept.

    Parameters
    ----------
    seed : of the run, a whole number below 2**64
    member, step : numbers from 0 to 2**32 - 1, or arrays of them that broadcast; a run's first step is 0, and one that
        takes k masks a step has those of step s at k s, ..., k s + k - 1
    width : number of hidden neurons
    keep_prob : probability that a neuron is kept, a number or an array that broadcasts against member and step
    samples : None for one mask for all samples of a step, or the number of samples that have a mask each

    Returns
    -------
    bool array (..., width), or (..., samples, width); the leading axes are those of member, step and keep_prob.

    Raises
    ------
    InvalidInput : an argument is wrong; the message names it

    Examples
    --------
    >>> simdrop.masks(seed=0, member=3, step=[0, 1], width=8, keep_prob=0.5).shape
    (2, 8)
    """
    seed, width = check_seed(seed), check_count("width", width, most=rng.MAX_WIDTH)
    kept, member, step = check_keep_prob(keep_prob), _numbers("member", member), _numbers("step", step)
    if samples is not None:
        samples = check_count("samples", samples, most=MOST)
    try:
        shape = np.broadcast_shapes(member.shape, step.shape, kept.shape)
    except ValueError:
        shapes = f"{member.shape}, {step.shape} and {kept.shape}"
        raise InvalidInput(f"member, step and keep_prob must broadcast, got the shapes {shapes}") from None
    if 0 in shape:
        return np.zeros((*shape, width) if samples is None else (*shape, samples, width), dtype=np.bool_)
    size = math.prod(shape) * (samples or 1) * float(width)
    check_memory({f"the words of {size:.3g} neurons' masks": 16 * size})
    if kept.ndim:
        member, step, kept = np.broadcast_arrays(member, step, kept)
    return rng.masks(seed=seed, member=member, step=step, width=width, keep_prob=kept, samples=samples)


def _numbers(name: str, value: ArrayLike) -> NDArray[np.int64]:
    return check_whole(name, value, most=MOST)
