"""`simdrop bench`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from ..output.progress import Bars
from ..settings.fields import THREADS, in_machine, in_measurement, in_output
from .common import keeping, keeping_partial
from .flags import Command


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of `simdrop bench`."""

    full: bool = in_measurement(False, "all sizes, both masks and precisions; minutes rather than seconds")
    backends: tuple[str, ...] = in_measurement(
        (), "backend to measure; repeat for several [default: all that run here]"
    )
    repeats: int = in_measurement(5, "timings of every point", bounds={"least": 1, "most": 1_000_000})
    threads: int | None = in_machine(None, "processor threads [default: all cores]", bounds=THREADS)
    out: str = in_output("simdrop-bench", "folder for summary and figure")
    overwrite: bool = in_output(False, "replace an earlier result in that folder")


@click.command(cls=Command, settings=BenchSettings)
@click.pass_context
def bench(context: click.Context, /, **given: Any) -> None:
    """Measure the throughput of every backend on this machine, and its share of the roofline.

    Throughput is in neuron-sample updates per second: members x width x samples x steps / time. The roofline is the
    rate of fused multiply-adds that the processor reaches in the same run. Prints the medians with their spread, and
    writes summary.json, figure.png and .pdf, and report.html to --out.

    \b
    simdrop bench
    simdrop bench --full --out speed
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    from ..checks.numbers import check_count
    from ..study.throughput.measure import Benchmark, benchmark, check_backends

    backends = check_backends(settings.backends)
    repeats = check_count("repeats", settings.repeats)
    threads = None if settings.threads is None else check_count("threads", settings.threads)
    from ..output.folder import Folder

    folder = Folder(settings.out, "bench", overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "summary.json"):
        with keeping_partial(Benchmark, lambda partial: partial.write(folder)):
            found = benchmark(
                backends=backends,
                full=settings.full,
                threads=threads,
                repeats=repeats,
                progress=bars,
            )
        found.write(folder)
    if not given["quiet"]:
        click.echo(found.table())
        click.echo(f"\nwritten to {folder}: summary.json, figure.png and .pdf, report.html")
