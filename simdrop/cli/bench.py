"""`simdrop bench`."""

from __future__ import annotations

from typing import Any

import click

from ..config import BenchSettings
from ..flags import Command
from ..progress import Bars
from .common import keeping, keeping_partial


@click.command(cls=Command, settings=BenchSettings)
@click.pass_context
def bench(context: click.Context, /, **given: Any) -> None:
    """Measure the throughput of every backend on this machine, and its share of the roofline.

    Throughput is in neuron-sample updates per second: members x width x samples x steps / time. The roofline is the
    rate of fused multiply-adds that the processor reaches in the same run. Prints the medians with their spread, and
    writes summary.json and figure.png to --out.

    \b
    simdrop bench
    simdrop bench --full --out speed
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    from ..checks import check_count
    from ..study.benchmark import benchmark, check_backends

    backends = check_backends(settings.backends)
    repeats = check_count("repeats", settings.repeats)
    threads = None if settings.threads is None else check_count("threads", settings.threads)
    from ..output.folder import Folder
    from ..report import benchmark_table, write_benchmark

    folder = Folder(settings.out, "bench", overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "summary.json"):
        with keeping_partial(dict, lambda partial: write_benchmark(partial, folder)):
            found = benchmark(
                backends=backends,
                full=settings.full,
                threads=threads,
                repeats=repeats,
                progress=lambda done, total: bars("measure", done, total),
            )
        write_benchmark(found, folder)
    if not given["quiet"]:
        click.echo(benchmark_table(found))
        click.echo(f"\nwritten to {folder}: summary.json, figure.png")
