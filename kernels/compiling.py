"""How long Numba compiled, by its own events: nothing is counted for what is loaded from its cache on disk."""

from __future__ import annotations

import logging
import time
from typing import Any

from numba.core import event

_log = logging.getLogger("simdrop")


class _Watch(event.Listener):
    """Counts the seconds of compilations; those within another one count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth, self._started = 0, 0.0

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            self._started = time.perf_counter()
            _log.info("compiling kernels, once: they are kept on disk for the next time")
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started


_WATCH = _Watch()
event.register("numba:compile", _WATCH)


def seconds() -> float:
    """Seconds that this process has compiled so far."""
    return _WATCH.seconds
