"""The command line of simdrop. Heavy modules load inside the commands that need them.

Exit status: 0 all went well; 1 the run failed, or some of its members diverged; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .config import BenchSettings, CompareSettings, OrderSettings, ProblemSettings, as_toml
from .errors import Diverged, DivergenceWarning, FlowFailed, InvalidInput, check_choice
from .flags import Command
from .progress import Bars

if TYPE_CHECKING:
    from .data import Data
    from .problem import Problem
    from .study.comparison import Plan

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
#: products of samples, parameters and steps that the default number of members may take
DEFAULT_WORK = 200_000_000_000


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line `arguments` and return the exit status; errors go to stderr in one line."""
    debug = "--debug" in arguments
    try:
        return cli.main(args=list(arguments), prog_name="simdrop", standalone_mode=False) or 0
    except click.ClickException as error:
        return _fail(error.format_message(), BAD_INPUT)
    except InvalidInput as error:
        return _fail(str(error), BAD_INPUT, debug=debug)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nobody to tell
        return FAILED
    except Exception as error:
        known = isinstance(error, (Diverged, FlowFailed, OSError)) or type(error).__name__ == "BackendError"
        text = str(error) if known else f"{type(error).__name__}: {error} (--debug shows where)"
        return _fail(text, FAILED, debug=debug)


def _fail(message: str, status: int, *, debug: bool = False) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(f"simdrop: error: {' '.join(message.split())}", err=True)
    return status


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="simdrop")
@click.pass_context
def cli(context: click.Context) -> None:
    """Simulate networks trained with dropout, and hold the theory of dropout against them."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(cls=Command, settings=CompareSettings)
@click.pass_context
def compare(context: click.Context, /, **given: Any) -> int:
    """Train an ensemble of networks with dropout and measure how well gradient flows predict it.

    Without arguments: the papers' one-dimensional problem, 15 points of tanh(x-6) + tanh(x+6), 1000 networks of 50
    tanh neurons with keep_prob 0.5. They start from the same parameters and differ in their dropout masks alone. Their
    mean is held against gradient flow on the risk R_S, on R_S + R_1 (which adds the mean effect of dropout) and on
    R_S + R_1 + R_2 (which adds that of a finite learning rate). Prints a table, and writes summary.json, the results
    (Zarr) and figure.png to --out.

    \b
    simdrop compare
    simdrop compare --keep-prob 0.5 --lr 0.002 --out half
    simdrop compare --data table.csv --target price --standardize --standardize-targets
    simdrop compare --config half/settings.toml --set seed=1 --out again

    Flags win over --set, --set over --config. Exit status: 0 all went well, 1 the run failed or networks diverged,
    2 bad input, 130 interrupted (what was recorded is then in results.zarr).
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    problem, data = _problem(settings)
    plan = _plan(problem, settings)
    from .report import prepare_folder, table, write_comparison

    folder = prepare_folder(settings.out, overwrite=settings.overwrite)
    (folder / "settings.toml").write_text(as_toml(settings), encoding="utf-8")
    bars = Bars(quiet=given["quiet"])
    try:
        with _warnings_as_lines(bars):
            comparison = plan.run(out=folder, progress=bars)
            comparison.summary["data"] = {"name": data.name, "inputs": data.inputs, "targets": data.targets}
            comparison.summary["data"]["notes"] = data.notes
            bars("save", 0, 1)
            write_comparison(comparison, folder)
    except KeyboardInterrupt:
        bars.close()
        return _fail(f"interrupted; {_recorded(folder)}", INTERRUPTED)
    except (Diverged, FlowFailed) as error:
        raise type(error)(f"{error}; {_recorded(folder)}") from error
    finally:
        bars.close()
    if not given["quiet"]:
        click.echo("\n".join([*(f"data: {note}" for note in data.notes), table(comparison.summary), ""]))
        click.echo(f"written to {folder}: summary.json, figure.png, results.zarr, flows.zarr, distances.zarr")
    return FAILED if comparison.summary["diverged"]["members"] else 0


def _recorded(folder: Path) -> str:
    results = folder / "results.zarr"
    return f"what was recorded is in {results}" if results.exists() else "nothing was recorded yet"


@contextmanager
def _warnings_as_lines(bars: Bars) -> Iterator[None]:
    """Show our own warnings as lines on stderr, and no others."""

    def show(message: Warning | str, *place: Any, **rest: Any) -> None:
        bars.close()
        click.echo(f"simdrop: warning: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DivergenceWarning)
        warnings.showwarning = show
        yield


def _problem(settings: ProblemSettings) -> tuple[Problem, Data]:
    from .data import load
    from .problem import Problem

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


def _members(problem: Problem, steps: int) -> int:
    """1000, or fewer, but at least 50, so that a run stays a matter of minutes."""
    step = problem.n_samples * problem.width * (problem.n_inputs + problem.n_outputs)
    return min(1000, max(50, DEFAULT_WORK // (step * max(steps, 1))))


def _plan(problem: Problem, settings: CompareSettings) -> Plan:
    from .study.comparison import KINDS, Plan

    return Plan.check(
        problem,
        problem.init(seed=settings.init_seed, scale=settings.init_scale, gamma=settings.init_gamma),
        lr=settings.lr,
        steps=settings.steps,
        members=settings.members if settings.members is not None else _members(problem, settings.steps),
        seed=settings.seed,
        kinds=settings.kinds or tuple(KINDS),
        record=settings.record,
        spacing=settings.spacing,
        grid=settings.grid,
        groups=settings.groups,
        backend=settings.backend,
        dtype=settings.dtype,
        threads=settings.threads,
        memory=settings.memory << 20,
    )


@cli.command(cls=Command, settings=OrderSettings)
@click.pass_context
def order(context: click.Context, /, **given: Any) -> None:
    """Measure to which order in the learning rate each theory predicts an ensemble.

    Over a ladder of learning rates an ensemble is trained for the same time, and its mean parameters, functions and
    risk are held against every theory. Prints distances with standard errors, slopes with 95 % intervals and the
    order that they support; writes summary.json, errors.zarr and figure.png to --out.

    \b
    simdrop order
    simdrop order --theories averaged --theories mean-covariance --lrs 0.1 --lrs 0.05 --lrs 0.025
    simdrop order --mask sample --heat-map --out sample
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    problem, _ = _problem(settings)
    theta0 = problem.init(seed=settings.init_seed, scale=settings.init_scale, gamma=settings.init_gamma)
    from .report import prepare_folder
    from .report_order import write_order
    from .study.heatmap import heat_map
    from .study.order import LRS, check_ladder
    from .study.order import order as measure
    from .study.theories import THEORIES

    lrs = _learning_rates(settings.lrs) or LRS
    check_ladder(lrs, settings.time)
    for name in settings.theories:
        check_choice("theory", name, THEORIES)
    folder = prepare_folder(settings.out, overwrite=settings.overwrite)
    (folder / "settings.toml").write_text(as_toml(settings), encoding="utf-8")
    common = {"time": settings.time, "grid": settings.grid, "seed": settings.seed}
    common |= {"backend": settings.backend, "threads": settings.threads}
    bars = Bars(quiet=given["quiet"])
    try:
        found = measure(
            problem, theta0, lrs=lrs, members=settings.members,
            sme_members=settings.sme_members, paths=settings.paths, theories=settings.theories or tuple(THEORIES),
            groups=settings.groups, progress=bars, **common,
        )  # fmt: skip
        mapped = heat_map(problem, theta0, progress=bars, **common) if settings.heat_map else None
    finally:
        bars.close()
    write_order(found, folder, mapped)
    if not given["quiet"]:
        click.echo(found.table())
        click.echo(f"\nwritten to {folder}: summary.json, errors.zarr, figure.png")


def _learning_rates(texts: Sequence[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise InvalidInput(f"lrs must be numbers, got {', '.join(texts)}") from None


@cli.command(cls=Command, settings=BenchSettings)
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
    from .problem import check_count
    from .study.benchmark import benchmark, check_backends

    backends = check_backends(settings.backends)
    repeats = check_count("repeats", settings.repeats)
    threads = None if settings.threads is None else check_count("threads", settings.threads)
    from .report import benchmark_table, prepare_folder, write_benchmark

    folder = prepare_folder(settings.out, overwrite=settings.overwrite)
    bars = Bars(quiet=given["quiet"])
    try:
        found = benchmark(
            backends=backends,
            full=settings.full,
            threads=threads,
            repeats=repeats,
            progress=lambda done, total: bars("measure", done, total),
        )
    finally:
        bars.close()
    write_benchmark(found, folder)
    if not given["quiet"]:
        click.echo(benchmark_table(found))
        click.echo(f"\nwritten to {folder}: summary.json, figure.png")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--debug", is_flag=True, help="show the traceback of an error")
def info(as_json: bool, debug: bool) -> None:
    """Show backends, which one "auto" takes and why, processor, GPU and versions."""
    from .machine import information, text

    found = information()
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(text(found))
