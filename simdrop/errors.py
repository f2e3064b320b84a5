"""The errors that simdrop raises on purpose, and how it words them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InvalidInput(ValueError):
    """An argument is wrong; the message names it, its value and what would be right."""


class Diverged(RuntimeError):
    """Every member of an ensemble became non-finite."""


class FlowFailed(RuntimeError):
    """An integrator could not follow a flow; the message says where it stopped and what to try."""


def check_choice(argument: str, value: object, known: Iterable[str]) -> None:
    """Raise InvalidInput, with the nearest known name, unless `value` is one of `known`."""
    known = tuple(known)
    if value in known:
        return
    near = get_close_matches(str(value), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InvalidInput(f"unknown {argument} {value!r}: {hint}known are {', '.join(known)}")


class DivergenceWarning(RuntimeWarning):
    """Some members of an ensemble became non-finite and left the means."""
