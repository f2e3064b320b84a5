"""The errors and warnings that simdrop raises on purpose."""

from __future__ import annotations


class InvalidInput(ValueError):
    """An argument is wrong; the message names it, its value and what would be right."""


class Diverged(RuntimeError):
    """Every member of an ensemble diverged: became non-finite, or its risk rose above a limit."""


class FlowFailed(RuntimeError):
    """An integrator could not follow a flow; the message says where it stopped and what to try."""


class DivergenceWarning(RuntimeWarning):
    """Some members of an ensemble diverged and left the means."""
