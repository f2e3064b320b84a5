"""The command line of simdrop: one file for each command. Heavy modules load inside the commands that need them.

Exit status: 0 all went well; 1 the run failed, or some of its members diverged; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from .. import __version__
from ..errors import Diverged, FlowFailed, InvalidInput
from .bench import bench
from .common import BAD_INPUT, FAILED, INTERRUPTED, fail
from .compare import compare
from .info import info
from .order import order
from .reproduce import reproduce
from .sweep import show, sweep


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments` and return the exit status; errors go to stderr in one line."""
    debug = "--debug" in arguments
    try:
        return cli.main(args=list(arguments), prog_name="simdrop", standalone_mode=False) or 0
    except click.ClickException as error:
        return fail(error.format_message(), BAD_INPUT)
    except InvalidInput as error:
        return fail(str(error), BAD_INPUT, debug=debug)
    except (click.Abort, KeyboardInterrupt):
        return fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nobody to tell
        return FAILED
    except Exception as error:
        known = isinstance(error, (Diverged, FlowFailed, OSError)) or type(error).__name__ == "BackendError"
        text = str(error) if known else f"{type(error).__name__}: {error} (--debug shows where)"
        return fail(text, FAILED, debug=debug)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="simdrop")
@click.pass_context
def cli(context: click.Context) -> None:
    """Simulate networks trained with dropout, and hold the theory of dropout against them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (compare, order, reproduce, sweep, show, bench, info):
    cli.add_command(command)
