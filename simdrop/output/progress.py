"""How far work has come: one signature for all functions, progress(stage, done, total), and bars on stderr.

A bar has a rate and the remaining time, and appears for work that takes more than a second.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..checks.words import shown
from ..errors import InvalidInput, RenamedWarning

#: called with the name of a stage, the units done and the units in all; the first call of a stage begins it
Progress = Callable[[str, int, int], None]

#: stage -> what it is called, and the unit of its bar; "" for stages whose progress is not known
STAGES = {
    "simulate": ("simulating", " member-steps"),
    "sme": ("following paths", " path-steps"),
    "flows": ("integrating flows", " flows"),
    "measure": ("measuring", " points"),
    "rungs": ("theories at every learning rate", " steps"),
    "cells": ("cells of the heat map", " cells"),
    "launches": ("launches", " launches"),
    "distances": ("measuring distances", ""),
    "save": ("writing results and figure", ""),
}
#: seconds that a stage may take without being shown
PATIENCE = 1.0


def check_progress(value: object) -> Progress | bool:
    """`value` where it is True, False or None (as False), or can be called as progress(stage, done, total).

    A function of (done, total), as some took before, is called without the stage, with a warning. Raises InvalidInput.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if not callable(value):
        raise InvalidInput(f"progress must be True, False or a function, got {shown(value)}")
    if _takes(value, "stage", 0, 1):
        return value
    if _takes(value, 0, 1):
        warnings.warn("progress is now called as progress(stage, done, total)", RenamedWarning, stacklevel=4)
        return lambda stage, done, total: value(done, total)
    raise InvalidInput(f"progress is called as progress(stage, done, total), which {shown(value)} does not take")


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these; True for one that does not tell."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


@contextmanager
def telling(progress: Progress | bool | None) -> Iterator[Progress]:
    """A function to call with (stage, done, total): `progress` itself, bars for True. Raises InvalidInput."""
    checked = check_progress(progress)
    if callable(checked):
        yield checked
    elif checked:
        with Bars(quiet=False, always=True) as bars:
            yield bars
    else:
        yield lambda stage, done, total: None


class Bars:
    """A bar for each stage in turn, to be called with (stage, done, total).

    Silent unless stderr is a terminal, or `always` is set. Within its context what is compiled meanwhile takes the
    bar's place on the line.
    """

    def __init__(self, *, quiet: bool, always: bool = False) -> None:
        there = not quiet and sys.stderr is not None and not sys.stderr.closed
        self.shown = there and (always or sys.stderr.isatty())
        self._bar: Any = None
        self._timer: threading.Timer | None = None
        self._stage = ""
        self._compiling = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done; the first call of a stage begins it."""
        try:
            self._show(stage, done, total)
        except OSError:  # the terminal has gone: no reason to stop
            self.shown = False

    def _show(self, stage: str, done: int, total: int) -> None:
        if not self.shown:
            return
        if stage != self._stage:
            self.close()
            self._begin(stage, total)
        if self._bar is not None:
            self._bar.total = total or self._bar.total
            self._bar.update(done - self._bar.n)
        if total and done == total:
            self.close()

    def close(self) -> None:
        """End the bar of the present stage."""
        if self._timer is not None:
            self._timer.cancel()
        if self._bar is not None:
            self._bar.close()
        self._bar, self._timer, self._stage = None, None, ""

    def compiling(self, words: str) -> None:
        """Show these words in the place of the bar, until called with ""."""
        try:
            self._announce(words)
        except (OSError, ValueError):  # the terminal has gone, or its stream is closed
            self.shown = False

    def _announce(self, words: str) -> None:
        if not self.shown:
            return
        if self._bar is not None and words:
            self._bar.clear()
        width = shutil.get_terminal_size().columns - 1
        line = words[:width] if words else " " * len(self._compiling)
        sys.stderr.write(f"\r{line}" if words else f"\r{line}\r")
        sys.stderr.flush()
        self._compiling = line if words else ""
        if self._bar is not None and not words:
            self._bar.unpause()  # compiling is no part of its rate

    def __enter__(self) -> Bars:
        from simdrop_kernels import compiling

        compiling.listeners.append(self.compiling)
        return self

    def __exit__(self, *error: object) -> None:
        from simdrop_kernels import compiling

        compiling.listeners.remove(self.compiling)
        with suppress(OSError):
            self.close()

    def _begin(self, stage: str, total: int) -> None:
        self._stage = stage
        words, unit = STAGES.get(stage, (stage, " parts"))
        if unit:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=total, desc=words, unit=unit, unit_scale=True, delay=PATIENCE, leave=False, dynamic_ncols=True
            )
        else:
            self._timer = threading.Timer(PATIENCE, self._say, args=[words])
            self._timer.daemon = True
            self._timer.start()

    def _say(self, words: str) -> None:
        """A line of its own for a stage without a bar; what is compiled stays below it."""
        with suppress(OSError, ValueError):
            line, below = f"{words} ...", self._compiling
            print(f"\r{line.ljust(len(below))}" if below else line, file=sys.stderr)
            if below:
                self.compiling(below)
