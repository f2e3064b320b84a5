"""What Python hands to the compiled kernels of training, by name: to Numba, named tuples are as good as plain ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contract.step import Ensemble, Step
from ...mathematics import rng
from ...mathematics.optimizers import table as optimizers
from ..compile import leaf


class Chances(NamedTuple):
    """What the dropout masks of members are drawn by: (M,) each, or one number each for a single member."""

    threshold: Any  # a neuron is kept where the word that is drawn for it is at most this
    factor: Any  # 1/p, of the kept neurons
    variance: Any  # v = (1 - p)/p of the dropout factor
    deviation: Any  # √v, in double precision

    @classmethod
    def of(cls, keep_prob: NDArray[np.float64], real: Any) -> Chances:
        """For keep_prob (M,), in precision `real`."""
        variance = (1 - keep_prob) / keep_prob
        factor = (1 / keep_prob).astype(real)
        return cls(rng.keep_threshold(keep_prob), factor, variance.astype(real), np.sqrt(variance))


@leaf
def chances_of(members, k):
    """Those of member k alone, from `Members` or from the `Chances` of all."""
    return Chances(members.threshold[k], members.factor[k], members.variance[k], members.deviation[k])


class Members(NamedTuple):
    """What differs between members, (M,) each. Flat: parallel loops take no tuple within a tuple."""

    lr: Any  # (M, 1), or (M, steps) where they change
    threshold: Any  # this and the next three as in `Chances`
    factor: Any
    variance: Any
    deviation: Any
    number: Any  # that the masks are drawn by

    @classmethod
    def of(cls, ensemble: Ensemble, real: Any, *, scheduled: bool = False) -> Members:
        """Those of an ensemble, in precision `real`."""
        lr = ensemble.rates if scheduled else ensemble.lr[:, None]
        return cls(lr.astype(real), *Chances.of(ensemble.keep_prob, real), ensemble.member)


class Run(NamedTuple):
    """What all members share."""

    key: Any  # (2,) of the generator
    first_step: int
    constants: Any  # (steps, CONSTANTS) of the optimizer
    scale: Any  # of the outputs
    batch_size: int
    replace: bool
    epochs: bool  # whether minibatches go through epochs
    decay: Any  # λ of weight decay

    @classmethod
    def of(cls, step: Step, samples: int, real: Any, *, seed: int, first_step: int, steps: int) -> Run:
        """Steps first_step, ..., first_step + steps - 1 on `samples` samples, in precision `real`."""
        return cls(
            key=np.array(rng.split_seed(seed)),
            first_step=first_step,
            constants=optimizers.constants(step.optimizer, first_step, steps, real),
            scale=real(step.network.output_scale),
            batch_size=step.noise.batch_size or samples,
            replace=step.noise.replace,
            epochs=step.noise.order == "epochs",
            decay=real(step.network.weight_decay),
        )


def decays(step: Step) -> str:
    """How kernels are compiled for weight decay: none, "coupled" to the gradient, or "decoupled" from it."""
    if not step.network.weight_decay:
        return ""
    return "coupled" if step.decay else "decoupled"


@leaf
def lr_of(rates, t):
    """The learning rate of step t, where there is one for all steps or one for each."""
    return rates[t if rates.size > 1 else 0]
