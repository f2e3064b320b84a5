"""Backend "cuda" of the stochastic equations: on NVIDIA devices, or in Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.equation import PART, SCHEMES, TRAIN, Counts, Equation, Noises
from ...contract.layout import width_of
from ...contract.step import Ensemble
from ...mathematics import rng
from ...mathematics.activations.table import find
from .. import devices
from ..train import backend as cuda

Array = NDArray[np.floating]

name = "cuda"
unavailable = cuda.unavailable
only_by_name = cuda.only_by_name

#: blocks per multiprocessor among which paths are shared
BLOCKS = 16
#: numbers of pairs of neurons that a lane draws at a time, about
DRAWN = 8


def refuses(equation: Equation, dtype: np.dtype) -> str | None:
    """Why this backend does not run `equation`, or None."""
    if equation.increments == "masks":
        return "increments 'masks' are not written for it"
    if equation.joined > 1:
        return "the normal numbers of several steps are not joined in it"
    further = [name for name in equation.noise.further if name not in ("masks", "part")]
    if equation.noise.batch_size is not None:
        further.append("batch_size")
    if equation.network.weight_decay:
        further.append("weight_decay")
    if further:
        return f"{', '.join(further)} other than the default is not written for it"
    return find(equation.network.activation).uncompiled()


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
    gone, numbers = [], devices.chosen()
    for device, part in zip(numbers, ensemble.parts(len(numbers)), strict=True):
        if len(part.theta):
            with devices.on(device):
                gone.append((device, part, _launch(equation, x, y, part, seed, first_step, sizes)))
    for device, part, (theta, diverged) in gone:
        with devices.on(device):
            theta.copy_to_host(part.theta.reshape(-1))
            diverged.copy_to_host(part.diverged)


def _launch(
    equation: Equation, x: Array, y: Array, ensemble: Ensemble, seed: int, first_step: int, sizes: NDArray[np.float64]
) -> tuple[Any, Any]:
    """Start the steps of all paths on the current device; its arrays theta and diverged."""
    from numba.cuda import device_array
    from numba.cuda import to_device as to

    from .. import machine
    from ..train.program import processors
    from . import step as team

    real: Any = ensemble.theta.dtype.type
    width = width_of(x, y, ensemble.theta)
    counts = Counts.of(equation, len(x), y.shape[1], width)
    lanes = 4 if machine.SIMULATED else min(256, -(-width // machine.WARP) * machine.WARP)
    distances = min(max(1, DRAWN * lanes // width), max(1, width // 2))
    shape = team.Shape(len(x), y.shape[1], x.shape[1], width, len(x) // counts.groups, int(counts.single))
    at, stages = team.places(shape, distances), SCHEMES[equation.scheme]
    run = team.Run(
        first_step=first_step,
        steps=len(sizes),
        stages=len(stages),
        noise_at=next(k for k, stage in enumerate(stages) if stage.noise),
        order=equation.order,
        train=TRAIN[equation.network.train],
        part=PART[equation.noise.part],
        distances=distances,
    )
    noises = Noises.of(equation, ensemble.keep_prob, len(x))
    rates = np.stack(
        [ensemble.lr, equation.signs(ensemble.member), noises.variance, noises.single, noises.pair, noises.own], axis=1
    )
    scheme = np.array([(stage.ahead, stage.weight) for stage in stages])
    blocks = min(len(ensemble.theta), BLOCKS * processors())
    theta, diverged = to(ensemble.theta.ravel()), to(ensemble.diverged)
    machine.launch(team.build(equation.network.activation, lanes, real), blocks, lanes)(
        theta, diverged, to(rates.ravel()), to(equation.drawn_by(ensemble.member)), to(x.ravel()), to(y.ravel()),
        to(np.array(sizes)), to(scheme.ravel()), device_array(blocks * at.end, real), tuple(at), tuple(shape),
        tuple(run),
        rng.split_seed(seed), real(equation.network.output_scale),
    )  # fmt: skip
    return theta, diverged
