"""What the commands share: exit statuses, one line for an error, the problem that settings describe."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..config import ProblemSettings
from ..errors import DivergenceWarning
from ..progress import Bars

if TYPE_CHECKING:
    from ..data import Data
    from ..problem import Problem

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


def problem_of(settings: ProblemSettings) -> tuple[Problem, Data]:
    """The problem of `settings`, with its data."""
    from ..data import load
    from ..problem import Problem

    data = load(
        settings.data,
        target=settings.target,
        inputs=settings.inputs,
        samples=settings.samples,
        standardize=settings.standardize,
        standardize_targets=settings.standardize_targets,
    )
    problem = Problem(
        data.x,
        data.y,
        width=settings.width,
        keep_prob=settings.keep_prob,
        activation=settings.activation,
        mask=settings.mask,  # type: ignore[arg-type]  # Problem checks it
        bias=settings.bias,
        output_scale=settings.output_scale,
    )
    return problem, data
