"""Gradients of the losses that add to R_drop or R_S, or take from them, what dropout is said to add.

With g = ∇R_drop on the step's own masks, R̃_2 = (lr/4) |g|² has the gradient (lr/2) H g, H the Hessian of R_drop on the
same masks: under given masks R_drop is the R_S of a network whose activations carry the dropout factors, and H g one of
its Hessian's products (`network.forward.ForwardPass`). Where only part of the weights is trained, |g|² is that of the
trained ones, and with weight decay g is that of R_drop + (λ/2) |θ|². The losses: Zhang & Xu, arXiv:2207.05952, section
5; their names in `contract.objectives`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contract.layout import trained
from ...contract.step import Ensemble, Step
from . import expected
from .forward import ForwardPass

Array = NDArray[np.floating]

#: objective -> what it begins with, and the sign of R̃_2 in it
LOSSES = {"L2": ("risk", 1), "L3": ("dropout", -1), "L4": ("dropout", 0), "dropout+r2": ("dropout", 1)}


def gradient(step: Step, x: Array, y: Array, ensemble: Ensemble, factor: Array) -> Array:
    """The gradient (M, P) of one of LOSSES under dropout factors (M, 1 or B, m); x (B, D) or (M, B, D), y likewise.

    Of all weights: those that are not trained are left to the caller.
    """
    theta, network, (base, sign) = ensemble.theta, step.network, LOSSES[step.objective]
    real: Any = theta.dtype.type
    known: dict[str, Any] = {"activation": network.activation, "output_scale": network.output_scale}
    masked = ForwardPass.at(x, y, theta, network.activation, network.output_scale, 2 if sign else 1, factor)
    one = masked.mean_gradient(masked.e, 0.0)
    total = one
    if base == "risk":
        total = expected.gradient("risk", x, y, theta, keep_prob=1.0, mask=network.mask, lr=0.0, **known)
    if step.objective == "L4":
        keep_prob = ensemble.keep_prob
        total = total - expected.gradient("r1", x, y, theta, keep_prob=keep_prob, mask=network.mask, lr=0.0, **known)
    if sign:
        weight = np.full(len(theta), step.penalty) if step.objective == "dropout+r2" else ensemble.lr
        decay = real(step.decay)  # its part of the gradient is λ θ, of the Hessian λ
        whole = trained(network, x, y, one + decay * theta if step.decay else one)
        product = masked.mean_gradient_along(whole, 0.0)
        if step.decay:
            product = product + decay * whole
        total = total + (sign * weight / 2).astype(real)[:, None] * product
    return total
