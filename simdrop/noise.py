"""Noise: what makes the steps of training random, beside the dropout masks of the problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdrop_kernels.spec import LAWS, PARTS, Law, Part

from .errors import InvalidInput, check_choice
from .problem import check_count, check_finite


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise of one step, for simulation and for theory alike. The default is dropout as the problem has it.

    masks       k: the gradient of a step is averaged over k masks, which divides dropout's covariance by k and leaves
                the mean alone (Wei, Kakade & Ma, arXiv:2002.12915)
    law         "bernoulli" dropout, factors kept / p, or "gaussian", factors N(1, (1 - p) / p)
    batch_size  samples of a step's minibatch, None for all; `replace` draws them with replacement
    label       standard deviation of independent normal noise on every target, drawn anew at every step
    parameter   standard deviation of independent normal noise on every component of the gradient: a step moves each
                parameter by lr times it
    connect     DropConnect: the probability to keep an input weight (the bias's too); those kept are divided by it;
                one mask for all samples of a step
    part        "both"; "drift" takes the mean of the step alone; "noise" its deviation from the mean alone

    keep_prob = 1 in the problem leaves dropout out, so that the others can be had alone.
    """

    masks: int = 1
    law: Law = "bernoulli"
    batch_size: int | None = None
    replace: bool = False
    label: float = 0.0
    parameter: float = 0.0
    connect: float = 1.0
    part: Part = "both"

    def __post_init__(self) -> None:
        check_count("masks", self.masks)
        check_choice("law", self.law, LAWS)
        check_choice("part", self.part, PARTS)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        for name in ("label", "parameter"):
            value = check_finite(name, getattr(self, name))
            if value.ndim or value < 0:
                raise InvalidInput(f"{name} must be a standard deviation, 0 or more, got {getattr(self, name)!r}")
        if np.ndim(self.connect) or not 0 < self.connect <= 1:
            raise InvalidInput(
                f"connect must lie in (0, 1] (the probability to keep an input weight), got {self.connect!r}"
            )
