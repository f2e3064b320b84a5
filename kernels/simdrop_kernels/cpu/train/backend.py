"""Backend "numba": compiled for this processor, parallel over members.

Three kernels share the scalar formulas: `fused` for one-dimensional problems, `tiled` for all others, `general` for
steps with more noise than dropout and minibatches, or with frozen weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.network import Network
from ...contract.objectives import COMPILED
from ...contract.step import Ensemble, Step, for_kernels
from ...mathematics.activations.table import find
from ...threads import one_thread_each

Array = NDArray[np.floating]

name = "numba"

#: what kernel `general` has besides dropout and minibatches: names of `Step.further`
FURTHER = ("law", "masks", "label", "parameter", "connect", "part", "place", "svag", "train")
#: what all three have: names of `Step.further`
EVERYWHERE = ("order", "weight_decay", "schedule of lr")
#: inputs of a neuron, the bias included, up to which networks of one output take the thin kernel
THIN_INPUTS = 2


def unavailable() -> str | None:
    """Why this backend cannot run on this machine, or None."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"Numba cannot be imported ({error})"
    return None


def refuses(step: Step, dtype: np.dtype) -> str | None:
    """Why this backend does not run `step`, or None."""
    unknown = [name for name in step.further if name not in (*FURTHER, *EVERYWHERE)]
    if unknown:
        return f"{', '.join(unknown)} other than the default is not written for it"
    if step.objective not in COMPILED:
        return f"the gradient of {'R_2' if step.objective == 'risk+r1+r2' else step.objective} is not compiled"
    return find(step.network.activation).uncompiled()


def advance(
    step: Step, x: Array, y: Array, ensemble: Ensemble, *, seed: int, first_step: int, steps: int, threads: int = 1
) -> None:
    """Train all members in place for steps first_step, ..., first_step + steps - 1; see `reference.train.advance`."""
    from .arguments import Members, Run, decays

    real: Any = ensemble.theta.dtype.type
    x, y = for_kernels(x), for_kernels(y)
    members = Members.of(ensemble, real, scheduled=step.scheduled)
    run = Run.of(step, len(x), real, seed=seed, first_step=first_step, steps=steps)
    if any(name not in EVERYWHERE for name in step.further):
        from . import general

        knobs = general.Knobs.of(step, x, y, ensemble.theta)
        with one_thread_each(threads):
            general.build(step.network.activation, step.network.loss, step.optimizer.name, real, decays(step))(
                ensemble.theta, ensemble.moments, ensemble.diverged, members, (x, y), knobs, run
            )
        return
    train, targets = _kernel(step, x, y, real, over="tiles" if len(ensemble.theta) < threads else "members")
    with one_thread_each(threads):
        train(ensemble.theta, ensemble.moments, ensemble.diverged, members, (x, targets), run)


def _kernel(step: Step, x: Array, y: Array, real: Any, *, over: str) -> tuple[Any, Array]:
    """The compiled kernel for this step and data, with the targets in the shape it takes."""
    from .arguments import decays

    network, decay = step.network, decays(step)
    configuration = (network.activation, network.loss, network.mask, step.objective, step.optimizer.name)
    if x.shape[1] <= THIN_INPUTS and y.shape[1] == 1:
        from . import fused

        return fused.build(*configuration, step.noise.batch_size is not None, real, decay), y[:, 0]
    from . import tiled

    return tiled.build(*configuration, real, over, decay), y


def evaluate(network: Network, x: Array, theta: Array, outputs: int, *, threads: int = 1) -> Array:
    """Outputs (M, n, c) of the whole networks (no dropout) theta (M, P) at x (n, D)."""
    from . import tiled

    real: Any = theta.dtype.type
    out = np.empty((len(theta), len(x), outputs), dtype=real)
    with one_thread_each(threads):
        tiled.build_evaluate(network.activation, real)(for_kernels(theta), for_kernels(x), out)
    out *= real(network.output_scale)
    return out


def operations(network: Network, dtype: np.dtype, inputs: int, outputs: int) -> int | None:
    """Arithmetic vector instructions of a neuron·sample update under a kept mask, counted in `fused`, or None.

    tanh: 2 of the clamp, x², numerator and denominator (4 and 4 in float32; 5, 4, an eighth of x and 12 of
    the doublings in float64), product, quotient. Forward: products with the inputs and with a. Backward: slope,
    its product with e, and sums of e h and e σ' x.
    """
    if network.activation != "tanh" or outputs != 1 or inputs > THIN_INPUTS:
        return None
    tanh = 13 if dtype == np.float32 else 27
    return tanh + inputs + 1 + 3 + inputs + (3 if network.mask == "sample" else 0)
