"""masks(): the dropout masks that every backend uses, as a function of numbers alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.mathematics import rng

from ..checks.numbers import check_count, check_flag, check_keep_prob, check_seed, check_whole
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
    independent: bool = False,
) -> NDArray[np.bool_]:
    """The dropout masks that every backend draws: True where a neuron is kept.

    Parameters
    ----------
    seed : int
        Seed of the run, below 2**64.
    member, step : int or array_like of int
        Numbers below 2**32, or arrays of them that broadcast. The first step of a run is 0. A run that takes k masks a
        step has those of step s at k s, ..., k s + k - 1.
    width : int
        Number m of hidden neurons.
    keep_prob : float or array_like
        Probability to keep a neuron, in (0, 1]; an array broadcasts against member and step.
    samples : int, optional
        Number n of samples that have a mask each; by default one mask serves all samples of a step.
    independent : bool
        True gives the masks of the forward pass under `Noise(place="independent")`, which nothing else uses: its
        update has the masks of dropout, as place "update" has, so that runs can be compared under the same masks.

    Returns
    -------
    ndarray of bool, shape (..., width) or (..., samples, width)
        The leading axes are those of member, step and keep_prob.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    Philox4x32-10 (Salmon et al., SC'11) on counters: bits depend on the arguments alone.

    Examples
    --------
    >>> simdrop.masks(seed=0, member=3, step=[0, 1], width=8, keep_prob=0.5).shape
    (2, 8)
    >>> simdrop.masks(seed=0, member=3, step=0, width=8, keep_prob=0.5, samples=4).shape
    (4, 8)
    """
    independent = check_flag("independent", independent)
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
    return rng.masks(seed=seed, member=member, step=step, width=width, keep_prob=kept, samples=samples, own=independent)


def _numbers(name: str, value: ArrayLike) -> NDArray[np.int64]:
    return check_whole(name, value, most=MOST)
