"""Backend "numba" of the stochastic equations: compiled for this processor, parallel over paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.equation import PART, SCHEMES, TRAIN, Counts, Equation, Noises
from ...contract.layout import width_of
from ...contract.step import Ensemble, Sizes, for_kernels
from ...mathematics import rng
from ...mathematics.activations.table import find
from ...threads import one_thread_each
from ..train import backend as parallel

Array = NDArray[np.floating]

name = "numba"
#: noises besides dropout and minibatches that its kernels have: names of `Noise.further`
NOISES = ("law", "masks", "label", "parameter", "connect", "part", "place")
unavailable = parallel.unavailable

#: neurons times samples up to which, and paths from which, the formulas of "numpy", all paths at once, are faster
_SMALL, _MANY = 20, 1000


def refuses(equation: Equation, dtype: np.dtype) -> str | None:
    """Why this backend does not run `equation`, or None."""
    unknown = [name for name in equation.noise.further if name not in NOISES]
    if unknown:
        return f"{', '.join(unknown)} other than the default is not written for it"
    if equation.joined > 1:
        return "the normal numbers of several steps are not joined in it"
    if equation.increments == "masks":
        if equation.noise.connect < 1 and equation.order == 2:
            return "the drift of order 2 under DropConnect is not written for it"
    elif equation.noise.batch_size is not None and equation.network.mask == "step":
        return "minibatches under one mask for all samples need a mask's normal numbers for each sample"
    return find(equation.network.activation).uncompiled()


def outrun(equation: Equation, dtype: np.dtype, sizes: Sizes) -> tuple[str, str] | None:
    """The backend that was measured to be faster at such sizes, with the reason, or None.

    RK4, float64, one thread of an Intel Xeon with AVX-512 under other load, time of "numpy" over that of "numba"
    with increments "normal" and "masks", order 1, step masks: 0.9 and 0.7 for 5 neurons on 4 samples, 1.65 and 1.3 for
    10 on 8, 3.5 and 2.4 for 32 on 16. With 5 on 4, 1.9 for order 2 ("normal"), 1.5 for sample masks ("normal"), 1.4 for
    both ("masks"). That is for 2000 paths; a step of "numpy" takes a millisecond however few they are.
    """
    few = sizes.members is None or sizes.members < _MANY
    if few or equation.network.mask != "step" or equation.order != 1 or sizes.width * sizes.samples > _SMALL:
        return None
    return "numpy", "'numpy' was measured to be 1.1 to 1.4 times faster for 2000 paths of 5 neurons on 4 samples"


def advance(
    equation: Equation,
    x: Array,
    y: Array,
    ensemble: Ensemble,
    *,
    seed: int,
    first_step: int,
    sizes: NDArray[np.float64],
    threads: int = 1,
) -> None:
    """Take all paths through steps of these sizes, in place; see `reference.train.advance`."""
    from . import mask_noise, workspace
    from . import step as paths

    real: Any = ensemble.theta.dtype.type
    counts = Counts.of(equation, len(x), y.shape[1], width_of(x, y, ensemble.theta))
    stages, by_masks = SCHEMES[equation.scheme], equation.increments == "masks"
    settings_of = workspace.Settings(
        first_step=first_step,
        inputs=x.shape[1],
        groups=1 if by_masks else counts.groups,
        single=counts.single and not by_masks,
        mask=1 if by_masks else counts.mask,
        label=counts.label,
        noise_at=next(k for k, stage in enumerate(stages) if stage.noise),
        gaussian=equation.noise.gaussian,
        order=equation.order,
        train=TRAIN[equation.network.train],
        part=PART[equation.noise.part],
    )
    run = (
        np.array(rng.split_seed(seed)),
        np.array(sizes),
        np.array([stage.ahead for stage in stages], dtype=np.float64),
        np.array([stage.weight for stage in stages], dtype=np.float64),
        real(equation.network.output_scale),
    )
    members = (ensemble.lr, equation.drawn_by(ensemble.member), numbers(equation, ensemble, len(x)).astype(real))
    even, targets = for_kernels(np.pad(x, ((0, 0), (0, x.shape[1] % 2)))), for_kernels(y)
    with one_thread_each(threads):
        paths.build(equation.network.activation, real, equation.increments)(
            ensemble.theta, ensemble.diverged, members, (even, targets), np.array(settings_of, dtype=np.int64), run,
            *(mask_noise.drawing(equation, x, y, ensemble, seed) if by_masks else (0, 0, 0)),
        )  # fmt: skip


def numbers(equation: Equation, ensemble: Ensemble, samples: int) -> NDArray[np.float64]:
    """The fields of `workspace.Numbers` of all paths: (M, 13)."""
    of_noise = Noises.of(equation, ensemble.keep_prob, samples)
    if equation.noise.place != "both":  # there is no R_1 then
        of_noise = of_noise._replace(variance=0 * of_noise.variance)
    fields = (
        *of_noise,
        equation.noise.parameter,
        equation.signs(ensemble.member),
        equation.network.weight_decay,
    )
    return np.stack(np.broadcast_arrays(*fields), axis=1)
