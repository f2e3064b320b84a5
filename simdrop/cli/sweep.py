"""`simdrop sweep` and `simdrop show`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..checks.words import check_path, counted
from ..errors import InvalidInput
from ..output.progress import Bars
from .common import warnings_as_lines
from .export import EXPORTS
from .export import export as export_to
from .flags import of_shell

if TYPE_CHECKING:
    from ..scale import Plan

#: formats of figures
FIGURES = (".png", ".pdf", ".svg", ".jpg", ".webp")


@click.command()
@click.argument("file", metavar="FILE.toml", shell_complete=of_shell("file"))
@click.option(
    "--out",
    metavar="DIR",
    shell_complete=of_shell("dir"),
    help="folder for the results [default: the name of the file]",
)
@click.option("--resume", is_flag=True, help="continue the sweep that is in the folder")
@click.option("--dry-run", is_flag=True, help="show what the sweep takes: points, time, memory, disk")
@click.option("--workers", type=int, default=0, metavar="INT", help="processes of a local Dask cluster [default: none]")
@click.option(
    "--scheduler", metavar="ADDRESS", help="a Dask scheduler to send the launches to, such as tcp://host:8786"
)
@click.option("--threads", type=int, default=None, metavar="INT", help="processor threads of a launch")
@click.option(
    "--checkpoint-seconds",
    type=float,
    default=30.0,
    show_default=True,
    metavar="FLOAT",
    help="time between two checkpoints of a launch",
)
@click.option("--quiet", is_flag=True, help="print nothing but errors and warnings")
@click.option("--debug", is_flag=True, help="show the traceback of an error")
def sweep(
    file: str, out: str | None, resume: bool, dry_run: bool, workers: int, scheduler: str | None, threads: int | None,
    checkpoint_seconds: float, quiet: bool, debug: bool,
) -> None:  # fmt: skip
    """Run a study over grids, lists or random draws of settings, from one file, and survive what happens to it.

    Points that share shapes are trained together. Results appear in DIR/results.zarr as they are done; a sweep that was
    stopped, in any way, goes on with --resume and ends with the same values.

    \b
    simdrop sweep examples/lr-keep-prob.toml --dry-run
    simdrop sweep examples/lr-keep-prob.toml --out map
    simdrop show map --variable distance

    Exit status: 0 all went well, 1 the run failed, 2 bad input, 130 interrupted.
    """
    from .. import scale

    found = scale.read(file)
    if dry_run:
        with Bars(quiet=quiet):
            planned = scale.plan(found, threads=threads)
        click.echo(_plan_text(planned))
        return
    folder = check_path("out", Path(file).stem if out is None else out)
    try:
        with Bars(quiet=quiet) as bars, warnings_as_lines(bars):
            done = scale.sweep(
                found, folder, resume=resume, threads=threads, workers=workers, scheduler=scheduler,
                checkpoint_seconds=checkpoint_seconds,
                progress=bars,
            )  # fmt: skip
    except KeyboardInterrupt as error:
        error.add_note(f"what was done is in {folder}, and --resume goes on with it")
        raise
    if not quiet:
        click.echo(
            f"{counted(len(found.points), 'point')}, {int((done['diverged'] > 0).sum())} of them with members lost"
        )
        click.echo(f"written to {folder}; `simdrop show {folder}` draws it")


def _plan_text(plan: Plan) -> str:
    minutes = f"{plan.seconds / 60:.1f} min" if plan.seconds >= 60 else f"{plan.seconds:.1f} s"
    uncounted = ", stochastic equations not counted" if plan.equations else ""
    launches = f"{plan.launches} launch{'' if plan.launches == 1 else 'es'}"
    return (
        f"{counted(plan.points, 'point')} in {launches}, {plan.updates:.3g} neuron-sample updates\n"
        f"about {minutes} on one worker of this machine{uncounted};"
        f" {plan.memory / 2**20:.1f} MiB of memory for networks; {plan.disk / 2**20:.2f} MiB on disk"
    )


@click.command()
@click.argument("folder", metavar="DIR", shell_complete=of_shell("dir"))
@click.option(
    "--variable",
    default="risk_mean",
    metavar="NAME",
    help="risk_mean, distance, diverged, or NAME_mean of what was kept",
)
@click.option(
    "--figure",
    metavar="FILE.png",
    shell_complete=of_shell("file"),
    help="where the figure goes [default: DIR/figure.png]",
)
@click.option(
    "--export",
    metavar="FILE",
    shell_complete=of_shell("file"),
    help="write all results to FILE.nc (NetCDF), FILE.zarr, FILE.parquet or FILE.csv",
)
@click.option("--overwrite", is_flag=True, help="replace FILE.png and FILE where they are there")
@click.option("--debug", is_flag=True, help="show the traceback of an error")
def show(folder: str, variable: str, figure: str | None, export: str | None, overwrite: bool, debug: bool) -> None:
    """Print the results of a folder, and draw those of a sweep, finished or not; or, with --export, write its numbers.

    DIR is what --out or out= named, of any command or function. What a sweep's --variable and --figure say is drawn
    anew; DIR/figure.png is replaced if simdrop drew it. Other files that are there are replaced with --overwrite alone.
    --export writes all results of a sweep, or of another folder the numbers behind its table, with their attributes.
    """
    from ..output.folder import check_target
    from .folders import Held

    exported = None if export is None else check_target("--export", export, EXPORTS, overwrite=overwrite)
    held = Held.open(folder)
    if held.kind == "sweep":
        _show_sweep(Path(folder), variable, figure, exported, overwrite=overwrite)
        return
    if figure is not None or variable != "risk_mean":
        raise InvalidInput(f"--variable and --figure are for sweeps: the figure of this {held.kind} is in {folder}")
    click.echo(held.table())
    if exported is not None:
        export_to(held.data(), exported)
        click.echo(f"written to {exported}")


def _show_sweep(folder: Path, variable: str, figure: str | None, exported: Path | None, *, overwrite: bool) -> None:
    """Print, draw and export a sweep; raises InvalidInput."""
    from .. import scale
    from ..output import style
    from ..output.folder import check_own, check_target, write_beside
    from ..scale.figure import drawable, picture
    from .folders import ends

    named = None if figure is None else check_target("--figure", figure, FIGURES, overwrite=overwrite)
    found = scale.load(folder)
    drawing = named is not None or (exported is None and drawable(found))
    drawn = picture(found, variable) if drawing else None
    if drawn is not None and named is None:
        check_own(folder, "figure.png")
    fields = [str(name) for name in found["diverged"].dims if name != "point"]
    done = int((found["diverged"] >= 0).sum())
    click.echo(f"{done} of {found['diverged'].size} points done; swept: {', '.join(fields) or 'points'}")
    click.echo(ends(found))
    if exported is not None:
        export_to(found, exported, scale.table)
        click.echo(f"written to {exported}")
    if drawn is None:
        return
    if named is None:
        write_beside(folder, "figure.png", partial(style.save, drawn))
    else:
        style.save(drawn, named)
    click.echo(f"written to {named or folder / 'figure.png'}")
