"""Progress on stderr: bars with rate and remaining time for work that takes more than a second."""

from __future__ import annotations

import shutil
import sys
import threading
from contextlib import suppress
from typing import Any

#: stage -> what it is called, and the unit of its bar; "" for stages whose progress is not known
STAGES = {
    "simulate": ("simulating", " member-steps"),
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


class Bars:
    """A bar for each stage in turn, to be called with (stage, done, total); silent unless stderr is a terminal.

    Within its context what is compiled meanwhile takes the bar's place on the line.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.shown = not quiet and sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
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
            from tqdm import tqdm

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
