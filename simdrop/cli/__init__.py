"""The command line of simdrop: one file for each command. Heavy modules load inside the commands that need them.

Exit status: 0 all went well; 1 the run failed, or some of its members diverged; 2 bad input; 130 interrupted;
143 and 129 terminated by SIGTERM and SIGHUP. Whatever ends a run, what was recorded is kept.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import NoReturn

import click

from ..errors import Diverged, FlowFailed, InvalidInput, Terminated
from ..simulation.interrupt import raising
from ..version import __version__
from .bench import bench
from .common import BAD_INPUT, FAILED, SIGNALLED, fail, message_of, notes_as_lines
from .compare import compare
from .info import info
from .order import order
from .report import report
from .reproduce import reproduce
from .sweep import show, sweep


def main() -> NoReturn:
    """The console script."""
    _open_streams()
    sys.exit(run(sys.argv[1:]))


def _open_streams() -> None:
    """Open closed standard streams on nothing: files opened later would take their numbers, and get what is printed.

    Python has None in their place, which NumPy 2.0 and Click 8.1 write to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments` and return the exit status; errors go to stderr in one line."""
    debug = "--debug" in arguments
    quiet = "--quiet" in arguments or arguments[:1] == ["info"]  # which tells in full what the notes would
    try:
        with raising(), nullcontext() if quiet else notes_as_lines():
            return cli.main(args=list(arguments), prog_name="simdrop", standalone_mode=False) or 0
    except click.ClickException as error:
        return fail(error.format_message(), BAD_INPUT)
    except Unhandled as unhandled:
        return _failed(unhandled.error, debug)
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, debug)


def _failed(error: BaseException, debug: bool) -> int:
    """Tell an error, and return the exit status that stands for it."""
    if isinstance(error, InvalidInput):
        return fail(message_of(error), BAD_INPUT, debug=debug)
    if isinstance(error, KeyboardInterrupt):
        if not isinstance(error, Terminated):
            error.args = ("interrupted",)
        return fail(message_of(error), SIGNALLED + getattr(error, "number", signal.SIGINT), debug=debug)
    if isinstance(error, BrokenPipeError):
        # whoever read our output has left: nobody to tell, now or when the interpreter flushes
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, MemoryError):
        return fail(
            f"this machine's memory does not suffice: {message_of(error) or 'no more can be had'}", FAILED, debug=debug
        )
    known = isinstance(error, (Diverged, FlowFailed, OSError)) or type(error).__name__ == "BackendError"
    text = message_of(error) if known else f"{type(error).__name__}: {message_of(error)} (--debug shows where)"
    return fail(text, FAILED, debug=debug)


class Unhandled(Exception):
    """Carries an error past Click, which takes the end of a file for Ctrl-C and exits silently for a closed pipe."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Group(click.Group):
    """Commands whose errors come to `run` as they are."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; raises Unhandled."""
        try:
            return super().invoke(ctx)
        except (EOFError, KeyboardInterrupt, OSError) as error:
            raise Unhandled(error) from error


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="simdrop")
@click.pass_context
def cli(context: click.Context) -> None:
    """Simulate networks trained with dropout, and hold the theory of dropout against them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (compare, order, reproduce, sweep, show, report, bench, info):
    cli.add_command(command)
