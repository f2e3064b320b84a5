"""What the commands share: exit statuses, one line for an error, warnings as lines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..errors import DivergenceWarning
from ..progress import Bars

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def fail(message: str, status: int, *, debug: bool = False) -> int:
    """Show `message` in one line on stderr, with `debug` below the traceback; returns `status`."""
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(f"simdrop: error: {' '.join(message.split())}", err=True)
    return status


@contextmanager
def warnings_as_lines(bars: Bars) -> Iterator[None]:
    """Show our own warnings as lines on stderr, and no others."""

    def show(message: Warning | str, *place: Any, **rest: Any) -> None:
        bars.close()
        click.echo(f"simdrop: warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DivergenceWarning)
        warnings.showwarning = show
        yield
