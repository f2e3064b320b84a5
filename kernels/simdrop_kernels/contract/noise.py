"""What makes a step random, besides the dropout masks themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Law = Literal["bernoulli", "gaussian"]
Part = Literal["both", "drift", "noise"]
Place = Literal["both", "forward", "update", "independent"]
Order = Literal["independent", "epochs"]

LAWS: tuple[Law, ...] = ("bernoulli", "gaussian")
PARTS: tuple[Part, ...] = ("both", "drift", "noise")
PLACES: tuple[Place, ...] = ("both", "forward", "update", "independent")
ORDERS: tuple[Order, ...] = ("independent", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of one step; `simdrop.Noise` is this with its values checked, and says more about each."""

    law: Law = "bernoulli"  # of the dropout factors: kept / p, or N(1, (1 - p) / p)
    masks: int = 1  # masks over which the gradient of one step is averaged
    batch_size: int | None = None  # samples of a minibatch; None: all samples at every step
    replace: bool = False  # whether minibatches are drawn with replacement
    order: Order = "independent"  # of minibatches: drawn anew at every step, or every sample once in n / B steps
    label: float = 0.0  # standard deviation of the noise on every target, drawn at every step
    parameter: float = 0.0  # standard deviation of the noise on every component of the gradient
    connect: float = 1.0  # probability to keep an input weight (DropConnect, one mask a step)
    part: Part = "both"  # of the step: all of it, its mean alone, or its deviation from the mean alone
    place: Place = "both"  # where dropout's factors act: forward in the residual, in the update, or in both

    @property
    def gaussian(self) -> bool:
        """Whether the dropout factors are normal numbers."""
        return self.law == "gaussian"

    @property
    def isotropic(self) -> float:
        """Standard deviation of the noises that are independent for every component of the gradient, taken together."""
        return self.parameter

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the fields by which this goes beyond Bernoulli dropout with one mask a step, and minibatches."""
        return tuple(name for name, default in _DROPOUT.items() if getattr(self, name) != default)


#: field -> its value in plain dropout, for the fields that not every backend runs with another value
_DROPOUT = {field.name: field.default for field in fields(Noise) if field.name not in ("batch_size", "replace")}
