"""Learning rates that change from step to step: small frozen objects, for every argument `lr` that says so."""

from .base import Schedule
from .composed import of_steps, piecewise, warmup
from .given import parse
from .smooth import cosine, exponential, power

__all__ = ["Schedule", "cosine", "exponential", "of_steps", "parse", "piecewise", "power", "warmup"]
