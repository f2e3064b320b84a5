"""`simdrop compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..config import CompareSettings, problem_of, risk_limit_of, start_of
from ..flags import Command
from ..progress import Bars
from .common import FAILED, keeping, warnings_as_lines, with_settings

if TYPE_CHECKING:
    from ..problem import Problem
    from ..study.comparison import Plan

#: products of samples, parameters and steps that the default number of members may take
DEFAULT_WORK = 200_000_000_000


@click.command(cls=Command, settings=CompareSettings)
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
    2 bad input, 130 interrupted, 143 terminated (what was recorded is then in results.zarr).
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    problem, data = problem_of(settings)
    plan = _plan(problem, settings)
    from ..output.folder import FILES, Folder
    from ..report import table, write_comparison

    names = ("settings.toml", *FILES["compare"])
    folder = Folder(settings.out, "compare", names, overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "results.zarr"), with_settings(folder, settings):
        with warnings_as_lines(bars):
            comparison = plan.run(out=folder, progress=bars)
        comparison.summary["data"] = {"name": data.name, "inputs": data.inputs, "targets": data.targets}
        comparison.summary["data"]["notes"] = data.notes
        bars("save", 0, 1)
        write_comparison(comparison, folder)
    if not given["quiet"]:
        click.echo("\n".join([*(f"data: {note}" for note in data.notes), table(comparison.summary), ""]))
        click.echo(f"written to {folder}: summary.json, figure.png, results.zarr, flows.zarr, distances.zarr")
    return FAILED if comparison.summary["diverged"]["members"] else 0


def _members(problem: Problem, steps: int) -> int:
    """1000, or fewer, but at least 50, so that a run stays a matter of minutes."""
    step = problem.n_samples * problem.width * (problem.n_inputs + problem.n_outputs)
    return min(1000, max(50, DEFAULT_WORK // (step * max(steps, 1))))


def _plan(problem: Problem, settings: CompareSettings) -> Plan:
    from ..study.comparison import KINDS, Plan

    return Plan.check(
        problem,
        start_of(problem, settings),
        lr=settings.lr,
        steps=settings.steps,
        members=settings.members if settings.members is not None else _members(problem, settings.steps),
        seed=settings.seed,
        kinds=settings.kinds or tuple(KINDS),
        record=settings.record,
        spacing=settings.spacing,
        grid=settings.grid,
        groups=settings.groups,
        risk_limit=risk_limit_of(settings.risk_limit),
        backend=settings.backend,
        dtype=settings.dtype,
        threads=settings.threads,
        memory=settings.memory << 20,
    )
