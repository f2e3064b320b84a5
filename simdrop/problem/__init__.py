"""The problem of a study: data, network, dropout, and the noise of its steps."""

from .noise import Noise
from .problem import Problem, check_problem

__all__ = ["Noise", "Problem", "check_problem"]
