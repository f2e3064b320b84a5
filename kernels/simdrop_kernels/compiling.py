"""What Numba compiles and how long it takes, by its own events: loading from its cache on disk raises none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

#: called with what is said while something is compiled, when a compilation begins, and with "" when it has ended
listeners: list[Callable[[str], None]] = []

_log = logging.getLogger("simdrop.compiling")


class _Clock:
    """Counts the seconds of compilations; those within another one count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth, self._started = 0, 0.0

    def start(self, words: str) -> None:
        if self._depth == 0:
            self._started = time.perf_counter()
            _log.info(words)
            _tell(words)
        self._depth += 1

    def end(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started
            _tell("")


def _tell(words: str) -> None:
    for listener in tuple(listeners):
        listener(words)


_clock = _Clock()


def follow(events: Any, kind: str, words: Callable[[Any], str]) -> None:
    """Count the events of a kind that one of Numba's two modules of events tells of: for processors, for CUDA.

    `words` makes of an event's data what is said while it lasts.
    """

    class Listener(events.Listener):
        def on_start(self, event: Any) -> None:
            _clock.start(words(event.data))

        def on_end(self, event: Any) -> None:
            _clock.end()

    events.register(kind, Listener())


def seconds() -> float:
    """Seconds that this process has compiled so far."""
    return _clock.seconds
