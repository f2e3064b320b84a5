"""What is trained: a two-layer network with dropout, as a step and an equation hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mask = Literal["step", "sample"]
Train = Literal["both", "output", "input"]
LossName = Literal["squared", "logistic", "softmax", "squared-softmax"]

MASKS: tuple[Mask, ...] = ("step", "sample")
TRAINS: tuple[Train, ...] = ("both", "output", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The network f(x) = s Σ_j a_j σ(w_j·x), the same for all members; its sizes are those of the arrays."""

    activation: str = "tanh"  # σ
    mask: Mask = "step"  # one dropout mask for all samples of a step, or one for each sample
    output_scale: float = 1.0  # s
    train: Train = "both"  # the weights that are trained
    loss: LossName = "squared"  # ℓ(f, y) of one sample, see `mathematics.losses`
    weight_decay: float = 0.0  # λ of the (λ/2) |θ|² over the trained weights in every objective
