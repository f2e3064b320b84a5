"""Compiling is not the kernel's time: it is told apart, and only where something was compiled."""

from __future__ import annotations

import logging

import numba
import numpy as np
import pytest

import simdrop
from simdrop_kernels import compiling


def test_a_compilation_is_counted_once_and_told(caplog):
    """A function that compiles another one: the inner one's time is part of the outer one's."""
    inner = numba.njit(lambda value: value + 1)
    outer = numba.njit(lambda value: inner(value) * 2)
    before = compiling.seconds()
    with caplog.at_level(logging.INFO, logger="simdrop"):
        assert outer(1) == 4
    taken = compiling.seconds() - before
    assert taken > 0
    assert [record.message for record in caplog.records] == [
        "compiling kernels, once: they are kept on disk for the next time"
    ]
    outer(2)
    assert compiling.seconds() - before == taken


def test_kernel_seconds_leave_out_what_was_compiled(monkeypatch):
    """A kernel call of which all but a moment was compilation."""
    from simdrop_kernels import reference

    plain = reference.advance

    def advance(*args, **known):
        numba.njit(lambda value: value + 2)(1)
        plain(*args, **known)

    monkeypatch.setattr(reference, "advance", advance)
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, x, width=3)
    known = {"lr": 0.01, "steps": 1, "members": 2, "record": 2, "backend": "numpy"}
    runs = simdrop.simulate(problem, problem.init(seed=0), **known)
    assert runs.attrs["compile_seconds"] > 0
    assert runs.attrs["compile_seconds"] + runs.attrs["kernel_seconds"] <= runs.attrs["seconds"]
    monkeypatch.undo()
    assert simdrop.simulate(problem, problem.init(seed=0), **known).attrs["compile_seconds"] == pytest.approx(0, abs=0)
