"""The errors and warnings that simdrop raises on purpose."""

from __future__ import annotations

import signal


class InvalidInput(ValueError):
    """An argument is wrong; the message names it, its value and what would be right, in one line.

    Parameters
    ----------
    message : str
        The message; names and texts of users in it may have line breaks.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C asked the program to end.

    Parameters
    ----------
    number : int
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"terminated by {signal.Signals(self.number).name}"


class Diverged(RuntimeError):
    """Every member of an ensemble diverged: its parameters or risk went beyond a limit. `partial` has the results."""


class FlowFailed(RuntimeError):
    """An integrator could not follow a flow; the message says where it stopped and what to try."""


class DivergenceWarning(RuntimeWarning):
    """Some members of an ensemble diverged and left the means."""


class RenamedWarning(DeprecationWarning):
    """Something was given by a name that it had before; the message has the new one."""
