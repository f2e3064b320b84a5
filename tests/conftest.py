"""What all tests share: the backends, tolerances, floating-point errors that raise."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simdrop_kernels import registry
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

#: relative agreement that two evaluation orders of one formula can show after some tens of steps
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


@pytest.fixture(params=registry.names())
def backend(request: pytest.FixtureRequest) -> registry.Backend:
    """Every backend in turn; skipped with its own reason where it cannot run."""
    module = registry.load(request.param)
    if reason := module.unavailable():
        pytest.skip(f"{request.param}: {reason}")
    return module


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes go by the argument's name: gzip and ZIP write the time, and every process of xdist must find the same."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With -n every process begins with neighbouring tests, which share kernels, and ends with some of another's."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture
def quick_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of the C extension take half the time, for tests that do not ask how fast it is."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or sys.platform == "win32":
        return
    script = tmp_path / "cc"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(compiler)} "$@" -O0\n')  # the last -O counts
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))


@pytest.fixture(autouse=True)
def _strict_numpy() -> Iterator[None]:
    """NumPy's floating-point errors raise, underflow apart: exp(-z²) underflows rightly."""
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.fixture(autouse=True)
def _activations() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(ACTIVATIONS)
    yield
    ACTIVATIONS.clear()
    ACTIVATIONS.update(before)
