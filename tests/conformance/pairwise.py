"""Samples of a space of settings in which every allowed pair of levels of two axes occurs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: one level of every axis
Configuration = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]
#: whether levels may stand beside each other; axes may be missing
Allowed = Callable[[Configuration], bool]


def covering(axes: Axes, allowed: Allowed) -> list[Configuration]:
    """Configurations among which every allowed pair of levels occurs.

    Greedy: of some configurations with a pair that is missing, the one with most such pairs. (The covering arrays of
    allpairspy lose pairs where levels exclude each other.)
    """
    drawing, chosen = np.random.default_rng(0), []
    missing = {
        pair
        for one, other in itertools.combinations(axes, 2)
        for pair in itertools.product(_places(axes, one), _places(axes, other))
        if allowed({name: axes[name][k] for name, k in pair})
    }
    while missing:
        pair = min(missing)
        candidates = [drawn(axes, allowed, drawing, dict(pair)) for _ in range(30)]
        best = max((set(itertools.combinations(one.items(), 2)) & missing for one in candidates), key=len)
        chosen.append(next(one for one in candidates if best <= set(itertools.combinations(one.items(), 2))))
        missing -= best
    return [{name: axes[name][k] for name, k in one.items()} for one in chosen]


def drawn(axes: Axes, allowed: Allowed, drawing: np.random.Generator, fixed: dict[str, int]) -> dict[str, int]:
    """The numbers of levels, one on every axis, allowed beside each other; those that are not fixed are drawn."""
    found, levels = dict(fixed), {name: axes[name][k] for name, k in fixed.items()}
    for name in [name for name in axes if name not in fixed]:
        for k in drawing.permutation(len(axes[name])):
            levels[name] = axes[name][k]
            if allowed(levels):
                found[name] = int(k)
                break
    return {name: found[name] for name in axes}


def _places(axes: Axes, name: str) -> list[tuple[str, int]]:
    return [(name, k) for k in range(len(axes[name]))]


def number(chosen: Configuration) -> int:
    """A seed that goes with a configuration."""
    return sum(map(ord, repr(sorted(chosen.items(), key=str))))
