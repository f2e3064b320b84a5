"""Compiling is not the kernel's time: it is told apart, and only where something was compiled."""

from __future__ import annotations

import logging
import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import simdrop
from simdrop.output.storage import load
from simdrop_kernels import compiling
from simdrop_kernels.cpu import compile

#: what the command line shows while the statistics over members compile, which every run needs
SHOWN = "compiling for means over members, once (kept on disk for the next time)"


def test_a_compilation_is_counted_once_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A function that compiles another one: the inner one's time is part of the outer one's."""

    def double(value: Any) -> Any:
        return inner(value) * 2

    inner = numba.njit(lambda value: value + 1)
    outer = numba.njit(double)
    before = compiling.seconds()
    with caplog.at_level(logging.INFO, logger="simdrop"):
        assert outer(1) == 4
    taken = compiling.seconds() - before
    assert taken > 0
    assert [record.message for record in caplog.records] == ["compiling double"]
    outer(2)
    assert compiling.seconds() - before == taken


def test_kernel_seconds_leave_out_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel call of which all but a moment was compilation."""
    from simdrop_kernels.reference import train as reference

    plain = reference.advance

    def advance(*args: Any, **known: Any) -> None:
        numba.njit(lambda value: value + 2)(1)
        plain(*args, **known)

    monkeypatch.setattr(reference, "advance", advance)
    runs = _little_run()
    assert runs.attrs["compile_seconds"] > 0
    assert runs.attrs["compile_seconds"] + runs.attrs["kernel_seconds"] <= runs.attrs["seconds"]
    monkeypatch.undo()
    assert _little_run().attrs["compile_seconds"] == pytest.approx(0, abs=0)


def test_what_is_compiled_to_record_counts_as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs of the networks are computed when the risk is recorded, outside any kernel call."""
    from simdrop_kernels.reference import train as reference

    plain = reference.evaluate
    compiled = []

    def evaluate(*args: Any, **known: Any) -> Any:
        before = compiling.seconds()
        numba.njit(lambda value: value + 3)(1)
        compiled.append(compiling.seconds() - before)
        return plain(*args, **known)

    monkeypatch.setattr(reference, "evaluate", evaluate)
    runs = _little_run()
    assert len(compiled) >= 2
    assert runs.attrs["compile_seconds"] == pytest.approx(sum(compiled), rel=1e-12)
    assert runs.attrs["compile_seconds"] + runs.attrs["kernel_seconds"] <= runs.attrs["seconds"]


def _little_run() -> Any:
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, x, width=3)
    known = {"lr": 0.01, "steps": 1, "members": 2, "record": 2, "backend": "numpy"}
    return simdrop.simulate(problem, problem.init(seed=0), **known)


def test_all_that_is_compiled_is_announced_by_its_purpose() -> None:
    """Numba's decorator stands in one module alone, whose own takes the purpose."""
    from pathlib import Path

    folder = Path(compile.__file__).parent
    found = {path.name for path in folder.rglob("*.py") if re.search(r"numba\.n?jit\(", path.read_text("utf-8"))}
    assert found == {"compile.py"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_progress_line_says_so_while_something_compiles_and_not_when_it_is_loaded(tmp_path: Path) -> None:
    """The real command, twice, with a cache on disk of its own: what the first compiled the second loads."""
    small = ["--backend", "numpy", "--width", "3", "--samples", "4", "--members", "6", "--steps", "3", "--groups", "3"]
    command = [sys.executable, "-m", "simdrop", "compare", *small, "--grid", "5"]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, second = (_in_a_terminal([*command, "--out", tmp_path / name], environment) for name in ("one", "two"))
    assert SHOWN in first
    ended = first.rindex("compiling")
    assert first[ended:].startswith(SHOWN + "\r" + " " * len(SHOWN) + "\r"), "the line is left to the bar"
    assert "compiling" not in second
    assert "simdrop: " not in first + second
    taken = [load(tmp_path / name / "results.zarr").attrs for name in ("one", "two")]
    assert taken[0]["compile_seconds"] > 0
    assert taken[1]["compile_seconds"] == 0


def _in_a_terminal(command: Any, environment: Any) -> Any:
    """What a command shows on stderr where that is a terminal."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    seen = b""
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, env=environment) as running:
        os.close(theirs)
        try:
            while chunk := _read(ours):
                seen += chunk
        finally:
            running.kill()
            os.close(ours)
        running.stdout.read()
    return seen.decode()


def _read(terminal: Any) -> Any:
    try:
        return os.read(terminal, 1000) if select.select([terminal], [], [], 60)[0] else b""
    except OSError:  # nobody writes there any more
        return b""
