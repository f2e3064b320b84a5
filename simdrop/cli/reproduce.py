"""`simdrop reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ..checks.words import check_path
from ..errors import Diverged, InvalidInput
from ..output.progress import Bars
from ..settings.fields import THREADS, in_machine, in_output, in_training
from ..settings.problem import _data
from .common import FAILED, fail, keeping, message_of
from .flags import Command, complete

if TYPE_CHECKING:
    from ..output.folder import Folder


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """Settings of `simdrop reproduce`."""

    full: bool = in_training(False, "the published sizes; tens of minutes for some, see --list")
    seeds: int | None = in_training(
        None,
        "independent initialisations [default: the experiment's own, 3 to 10]",
        bounds={"least": 2, "most": 1_000_000},
    )
    mnist: str | None = _data(None, "folder with MNIST's IDX files [default: the 8x8 digits of scikit-learn]")
    backend: str = in_machine("auto", "kernels to run on; see `simdrop info`")
    threads: int | None = in_machine(None, "processor threads [default: all cores]", bounds=THREADS)
    out: str = in_output("simdrop-reproduce", "folder that gets a folder for each experiment")
    overwrite: bool = in_output(False, "replace earlier results there")


def _experiments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The experiments that begin so, for the shell."""
    from ..reproduce import experiments

    return complete(experiments(), incomplete)


@click.command(cls=Command, settings=ReproduceSettings)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_experiments)
@click.option("--all", "every", is_flag=True, help="all experiments, one after the other")
@click.option("--list", "listed", is_flag=True, help="show the experiments and what they take")
@click.pass_context
def reproduce(context: click.Context, /, names: Sequence[str], every: bool, listed: bool, **given: Any) -> int:
    """Run experiments of the papers by name and set their numbers next to the published ones.

    Each runs by default at a size that takes minutes on two cores, with --full at the published one. Prints a table:
    what was published, what came out here with its standard error over seeds, and whether the stated rule
    holds; writes NAME/summary.json, NAME/results.zarr, NAME/figure.png and .pdf, and NAME/report.html to --out.

    \b
    simdrop reproduce --list
    simdrop reproduce condensation
    simdrop reproduce flatness relu-fit --seeds 10 --out minima

    Exit status: 0 every rule holds but those that are known not to, 1 one does not or a run failed, 2 bad input, 130
    interrupted.
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    from ..reproduce import experiment, experiments
    from ..reproduce.report import listing

    if listed:
        click.echo(listing(experiments().values()))
        return 0
    if every == bool(names):
        raise InvalidInput("name experiments or give --all; `simdrop reproduce --list` shows them")
    chosen = [experiment(name) for name in (experiments() if every else dict.fromkeys(names))]
    from ..output.folder import Folder

    bars = Bars(quiet=given["quiet"])
    plain = _settings(settings, bars)
    out = check_path("out", settings.out)
    with ExitStack() as stack:
        # all are tried before the first begins
        folders = [
            stack.enter_context(Folder(out / one.name, "reproduce", overwrite=settings.overwrite)) for one in chosen
        ]
        stack.enter_context(bars)
        results = [_one(one, plain, folder, given) for one, folder in zip(chosen, folders, strict=True)]
    return 0 if all(results) else FAILED


def _settings(given: ReproduceSettings, progress: Bars) -> Any:
    """The settings of an experiment; raises InvalidInput."""
    from ..reproduce import Settings

    return Settings(
        full=given.full,
        seeds=given.seeds,
        mnist=None if given.mnist is None else check_path("mnist", given.mnist),
        backend=given.backend,  # type: ignore[arg-type]  # which Settings checks
        threads=given.threads,
        progress=progress,
    )


def _one(experiment: Any, settings: Any, folder: Folder, given: Any) -> bool:
    """Run one experiment and leave its folder; whether every rule held. One that fails does not stop the others."""
    from ..reproduce.report import carried_out, write_partial

    settings = replace(settings, done=[])
    try:
        with keeping(folder, "summary.json"):
            try:
                found = carried_out(experiment, settings)
            except BaseException as error:
                write_partial(experiment, error, settings, folder)
                raise
            settings.progress("save", 0, 1)
            found.write(folder)
    except Diverged as error:
        settings.progress.close()
        fail(f"{experiment.name}: {message_of(error)}", FAILED, debug=given["debug"])
        return False
    finally:
        settings.progress.close()
    if not given["quiet"]:
        click.echo(found.table())
        click.echo(f"\nwritten to {folder}: summary.json, results.zarr, figure.png and .pdf, report.html\n")
    return found.outcome.passed
