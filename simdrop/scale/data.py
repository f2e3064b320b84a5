"""The data of a sweep, which a process reads once however many launches it works on."""

from __future__ import annotations

import os
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Data
from ..problem import Problem
from ..settings.problem import DATA, ProblemSettings, data_of, problem_on
from ..settings.problem import test_of as read_test
from .point import Point

Array = NDArray[np.float64]

#: data sets that a process keeps: launches follow each other in the order of the points
KEPT = 2
_FIELDS = tuple(field.name for field in fields(ProblemSettings) if field.metadata["section"] == DATA)


def problem_of(point: ProblemSettings) -> Problem:
    """The problem of a point. Its data are read where this process has not read them, or the file has changed since."""
    return problem_on(_read(tuple(getattr(point, name) for name in _FIELDS), _stamp(point.data)), point)


def test_of(point: Point) -> tuple[Array, Array] | None:
    """The test set of a point, or None, read as the data are."""
    values = tuple(getattr(point, name) for name in _FIELDS)
    return None if point.test is None else _read_test(values, point.test, _stamp(point.data), _stamp(point.test))


@lru_cache(maxsize=KEPT)
def _read_test(values: tuple[Any, ...], name: str, *stamps: tuple[int, int] | None) -> tuple[Array, Array] | None:
    return read_test(ProblemSettings(**dict(zip(_FIELDS, values, strict=True))), name)


@lru_cache(maxsize=KEPT)
def _read(values: tuple[Any, ...], stamp: tuple[int, int] | None) -> Data:
    """The data of the settings with these values, a file having this stamp."""
    return data_of(ProblemSettings(**dict(zip(_FIELDS, values, strict=True))))


def _stamp(name: str) -> tuple[int, int] | None:
    """Time of change and size of a file; None where there is none of this name, as for built-in data."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size
