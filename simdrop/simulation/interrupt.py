"""Signals between kernel calls: a first one asks to stop at the next safe point, a second one stops at once.

Ctrl-C (SIGINT), SIGTERM, which batch systems send, and SIGHUP, of a terminal that closes, are one. A signal that is
ignored (nohup) stays ignored, and one that has a handler of the user's keeps it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import Terminated

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interruptible:
    """Context in which a signal sets `requested` rather than raising; outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.requested = 0  # the signal's number
        self.at_once = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruptible:
        self._previous = _install(SIGNALS, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        _restore(self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self.at_once = True
            raise_stop(number, frame)
        self.requested = number


@contextmanager
def raising() -> Iterator[None]:
    """Context, or decorator, in which SIGTERM and SIGHUP raise as Ctrl-C does, so that what is done can be kept."""
    previous = _install(SIGNALS[1:], raise_stop)
    try:
        yield
    finally:
        _restore(previous)


def raise_stop(number: int, frame: FrameType | None = None) -> None:
    """Raise what a signal means."""
    raise stop(number)


def stop(number: int) -> KeyboardInterrupt:
    """KeyboardInterrupt for Ctrl-C, Terminated for another signal."""
    return KeyboardInterrupt("interrupted") if number == signal.SIGINT else Terminated(number)


def _install(signals: tuple[int, ...], handler: Any) -> dict[int, Any]:
    """Handle those signals that nobody else ignores or handles; returns what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    ours = (signal.SIG_DFL, signal.default_int_handler, raise_stop)
    return {number: signal.signal(number, handler) for number in signals if signal.getsignal(number) in ours}


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
