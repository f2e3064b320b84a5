"""What the commands share: exit statuses, one line for an error, warnings as lines."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from ..errors import DivergenceWarning
from ..output.progress import Bars
from ..settings.fields import as_toml

if TYPE_CHECKING:
    from ..output.folder import Folder

FAILED, BAD_INPUT = 1, 2
#: to which the number of a signal is added
SIGNALLED = 128


def fail(message: str, status: int, *, debug: bool = False) -> int:
    """Show `message` in one line on stderr, with `debug` below the traceback; returns `status`."""
    if debug:
        import traceback

        traceback.print_exc()
    say(f"simdrop: error: {' '.join(message.split())}")
    return status


def say(line: str) -> None:
    """Write a line to stderr; where nobody reads it any more, that is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(line, err=True)


def message_of(error: BaseException) -> str:
    """The message of an error, with the notes that were added to it."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


@contextmanager
def keeping(folder: Folder, name: str) -> Iterator[None]:
    """Note with every error whether the results `name` are in the folder all the same."""
    try:
        yield
    except BaseException as error:
        held = name in folder.mark.files
        error.add_note(f"what was recorded is in {folder.path / name}" if held else "nothing was recorded yet")
        raise


@contextmanager
def keeping_partial(kind: type, write: Callable[[Any], None]) -> Iterator[None]:
    """Write what an error carries of this kind."""
    try:
        yield
    except BaseException as error:
        if isinstance(partial := getattr(error, "partial", None), kind):
            write(partial)
        raise


@contextmanager
def with_settings(folder: Folder, settings: Any) -> Iterator[None]:
    """Write settings.toml next to the results, once there are some."""
    try:
        yield
    finally:
        if folder.mark.files:
            text = as_toml(settings)
            folder.write("settings.toml", lambda path: path.write_text(text, encoding="utf-8"))


@contextmanager
def warnings_as_lines(bars: Bars) -> Iterator[None]:
    """Show our own warnings as lines on stderr, and no others."""

    def show(message: Warning | str, *place: Any, **rest: Any) -> None:
        bars.close()
        say(f"simdrop: warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DivergenceWarning)
        warnings.showwarning = show
        yield


class _Notes(logging.Handler):
    """Keeps the texts of records, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts[record.getMessage()] = None


@contextmanager
def notes_as_lines() -> Iterator[None]:
    """Show what backends are missed as lines on stderr, at the end; an error stays the only line."""
    log, notes = logging.getLogger("simdrop.backends"), _Notes()
    level = log.level
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        yield
        for text in notes.texts:
            say(f"simdrop: note: {text}")
    finally:
        log.setLevel(level)
        log.removeHandler(notes)
