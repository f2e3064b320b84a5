"""Backend "native" of the stochastic equations: paths in the lanes of a vector, in C, for several instruction sets."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ..contract.equation import MASKS_KEY, PART, SCHEMES, TRAIN, Equation, Noises
from ..contract.layout import width_of
from ..contract.step import Ensemble, Sizes
from . import _WORK_PER_CALL, WRITTEN, _native, _share, _Stopped, instruction_set, noisy, unavailable, unwritten

__all__ = ["advance", "name", "outrun", "refuses", "unavailable"]

Array = NDArray[np.floating]

name = "native"
expected = True

#: noises besides dropout and minibatches that are written in C: names of `Noise.further`
NOISES = ("law", "masks", "label", "parameter", "part")
#: paths that blocks for threads are multiples of: the most lanes that a vector has
LANES = 16


def refuses(equation: Equation, dtype: np.dtype) -> str | None:
    """Why this backend does not run `equation`, or None."""
    unknown = [name for name in equation.noise.further if name not in NOISES]
    if equation.network.loss != "squared":
        unknown.append("loss")
    if equation.network.weight_decay:
        unknown.append("weight_decay")
    if unknown:
        return f"{', '.join(unknown)} other than the default is not written for it"
    return unwritten({"activation": equation.network.activation, "mask": equation.network.mask}, dtype)


def outrun(equation: Equation, dtype: np.dtype, sizes: Sizes) -> tuple[str, str] | None:
    """The backend that was measured to be faster at such sizes, with the reason, or None."""
    return noisy.outrun(sizes)


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
    """Take all paths through steps of these sizes, in place; see `reference.follow.advance`."""
    network, noise = equation.network, equation.noise
    by_masks = equation.increments == "masks"
    stages = SCHEMES[equation.scheme]
    factors = Noises.of(equation, ensemble.keep_prob, len(x))
    numbers = np.stack(np.broadcast_arrays(*factors[:8], equation.signs(ensemble.member)), axis=1)
    config = (
        WRITTEN["activation"].index(network.activation), WRITTEN["mask"].index(network.mask), equation.order, by_masks,
        TRAIN[network.train], PART[noise.part], noise.gaussian, noise.replace, noise.masks, noise.batch_size or 0,
        network.output_scale, factors.batch, factors.repeat, noise.label, noise.parameter,
        seed ^ MASKS_KEY if by_masks else seed,
    )  # fmt: skip
    scheme = np.array([(stage.ahead, stage.weight, stage.noise) for stage in stages], dtype=np.float64)
    steps, isa, drawn_by = np.array(sizes), instruction_set(), equation.drawn_by(ensemble.member)
    joined = () if equation.joined == 1 else (equation.joined,)
    work = _work(equation, len(x), y.shape[1], x.shape[1], width_of(x, y, ensemble.theta))

    def follow(first: int, last: int, stop: threading.Event) -> None:
        part = slice(first, last)
        at_once = max(1, int(_WORK_PER_CALL / (work * max(last - first, LANES))))
        arrays = (
            ensemble.theta[part],
            ensemble.lr[part],
            ensemble.keep_prob[part],
            drawn_by[part],
            numbers[part],
            ensemble.diverged[part],
        )
        for begin in range(0, len(steps), at_once):
            if stop.is_set():
                raise _Stopped
            some = steps[begin : begin + at_once]
            _native.follow(isa, config, x, y, *arrays, some, scheme, first_step + begin, *joined)

    _share(follow, len(ensemble.theta), work * len(steps), threads, LANES)


def _work(equation: Equation, samples: int, outputs: int, inputs: int, width: int) -> float:
    """Work of one step of one path, in the updates that `_WORK_PER_CALL` counts: slower than training's."""
    noise, stages = equation.noise, len(SCHEMES[equation.scheme])
    passes = stages * (1 + equation.order) * samples * width * (inputs + outputs + 8.0)
    if equation.increments == "masks":
        return passes + 2 * noise.masks * (noise.batch_size or samples) * width * (outputs + 8.0)
    pairs = width * (width + 1) / 2
    grouped = 1 if equation.network.mask == "step" and noise.batch_size is None else samples
    return passes + grouped * pairs * (8.0 + samples / grouped * outputs)
