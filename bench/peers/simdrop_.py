"""simdrop's own backends, through the interface that `simdrop.simulate` uses."""

from __future__ import annotations

import numpy as np
from common import Case, Trainer

from simdrop_kernels import Network, registry
from simdrop_kernels.contract.step import Ensemble, Step


def prepare(case: Case, members: int, threads: int, *, backend: str) -> Trainer:
    """See `common.Trainer`."""
    x, y = case.data()
    step = Step(network=Network(mask=case.mask))
    chosen, _ = registry.choose(backend, step, np.dtype(case.dtype))
    theta0 = np.broadcast_to(case.theta0(), (members, case.theta0().size))

    def run(seed: int) -> Ensemble:
        ensemble = Ensemble.start(theta0, lr=case.lr, keep_prob=case.keep_prob)
        chosen.advance(step, x, y, ensemble, seed=seed, first_step=0, steps=case.steps, threads=threads)
        return ensemble

    return Trainer(run=run, theta=lambda ensemble: ensemble.theta)
