"""`simdrop compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..output.progress import Bars
from ..settings import defaults
from ..settings.fields import (
    ABOUT_LR,
    ABOUT_PLACE,
    ABOUT_RISK_LIMIT,
    ABOUT_TEST,
    MEMBERS,
    POINTS,
    RISK_LIMIT,
    SEED,
    STEPS,
    THREADS,
    as_toml,
    in_comparison,
    in_example,
    in_machine,
    in_output,
    in_training,
    lr_of,
    risk_limit_of,
)
from ..settings.problem import ProblemSettings, problem_of, start_of, test_of
from .common import FAILED, keeping, warnings_as_lines, with_settings
from .flags import Command

if TYPE_CHECKING:
    from ..problem import Problem
    from ..study.comparison.compare import Plan

#: products of samples, parameters and steps that the default number of members may take
DEFAULT_WORK = 200_000_000_000


@dataclass(frozen=True, kw_only=True)
class CompareSettings(ProblemSettings):
    """Settings of `simdrop compare`."""

    keep_prob: float = in_example(ProblemSettings, "keep_prob", 0.5)
    output_scale: float | str = in_example(ProblemSettings, "output_scale", "1/sqrt(m)")
    start: str = in_training(
        "initial",
        "train from the initial parameters, or from the limit-point of gradient flow without dropout from them, where"
        " R_S is 0, as --kinds manifold needs",
        choices=":initial,limit-point",
    )
    lr: float | str = in_training(0.01, ABOUT_LR, bounds={"above": 0})
    steps: int = in_training(5000, "training steps of each member; time is lr x step", bounds=STEPS)
    members: int | None = in_training(
        None,
        "networks in the ensemble: same start, different masks [default: 1000, on large data fewer, but at least 50]",
        bounds=MEMBERS,
    )
    seed: int = in_training(0, "seed of the masks", bounds=SEED)
    test: str | None = in_training(None, ABOUT_TEST)
    place: str = in_training("both", ABOUT_PLACE, choices="simdrop_kernels.contract.noise:PLACES")
    kinds: tuple[str, ...] = in_comparison(
        (),
        "prediction to hold against the ensemble; repeat for several [default: gradient, averaged and modified; with"
        " another loss than the squared one gradient, second-order and, of few neurons and samples, averaged]",
        choices="simdrop.study.predictions:OF_MEANS",
    )
    sme_members: int | None = in_comparison(
        None, "paths of a stochastic modified equation [default: members]", bounds={"least": 2, "most": 1 << 32}
    )
    record: int = in_comparison(defaults.RECORD, "number of record times", bounds=POINTS)
    spacing: str = in_comparison(defaults.SPACING, "record times evenly or logarithmically spaced", choices=":even,log")
    grid: int | None = in_comparison(
        None,
        "points at which functions are compared [default: 97 over the range of 1-D data, else up to 200 data points]",
        bounds=POINTS,
    )
    risk_limit: float | str = in_comparison(defaults.RISK_LIMIT, ABOUT_RISK_LIMIT, bounds=RISK_LIMIT)
    groups: int | None = in_comparison(
        None, "groups of members for standard errors [default: 20, or members if fewer]", bounds={"least": 3}
    )
    backend: str = in_machine(defaults.BACKEND, "kernels to run on; see `simdrop info`")
    dtype: str = in_machine(defaults.DTYPE, "floating-point type of the simulation", choices=":float64,float32")
    threads: int | None = in_machine(None, "processor threads [default: all cores]", bounds=THREADS)
    memory: int = in_machine(
        defaults.MEMORY >> 20, "MiB for the networks trained at one time", bounds={"least": 1, "most": 1 << 30}
    )
    out: str = in_output("simdrop-compare", "folder for results, summary and figure")
    overwrite: bool = in_output(False, "replace an earlier result in that folder")


@click.command(cls=Command, settings=CompareSettings)
@click.pass_context
def compare(context: click.Context, /, **given: Any) -> int:
    """Train an ensemble of networks with dropout and measure how well theory predicts it.

    Without --data: the papers' one-dimensional problem, 15 points of tanh(x-6) + tanh(x+6), 1000 networks of 50 tanh
    neurons with keep_prob 0.5 and outputs divided by sqrt(m). They start from the same parameters and differ in their
    dropout masks alone. Their mean is held against gradient flow on the risk R_S, on R_S + R_1 (which adds the mean
    effect of dropout) and on R_S + R_1 + R_2 (which adds that of a finite learning rate), or against what --kinds
    names. Prints a table, and writes summary.json, the results (Zarr), figure.png and .pdf, and report.html to --out.

    \b
    simdrop compare
    simdrop compare --keep-prob 0.5 --lr 0.002 --out half
    simdrop compare --width 10 --kinds averaged --kinds mean-covariance --kinds sme2
    simdrop compare --keep-prob 0.95 --start limit-point --kinds averaged --kinds manifold
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

    names = ("settings.toml", *FILES["compare"])
    folder = Folder(settings.out, "compare", names, overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "results.zarr"), with_settings(folder, settings):
        with warnings_as_lines(bars):
            comparison = plan.run(out=folder, progress=bars)
        comparison.summary["data"] = {"name": data.name, "inputs": data.inputs, "targets": data.targets}
        comparison.summary["data"]["notes"] = data.notes
        bars("save", 0, 1)
        comparison.write(folder, settings=as_toml(settings))
    if not given["quiet"]:
        click.echo("\n".join([*(f"data: {note}" for note in data.notes), comparison.table(), ""]))
        click.echo(
            f"written to {folder}: summary.json, figure.png and .pdf, report.html, results.zarr, flows.zarr,"
            " distances.zarr"
        )
    return FAILED if comparison.summary["diverged"]["members"] else 0


def _members(problem: Problem, steps: int) -> int:
    """1000, or fewer, but at least 50, so that a run stays a matter of minutes."""
    step = problem.n_samples * problem.width * (problem.n_inputs + problem.n_outputs)
    return min(1000, max(50, DEFAULT_WORK // (step * max(steps, 1))))


def _plan(problem: Problem, settings: CompareSettings) -> Plan:
    from ..problem import Noise
    from ..study.comparison.compare import Plan
    from ..study.predictions import FLOWS

    theta0 = start_of(problem, settings)
    if settings.start == "limit-point":
        from ..theory import limit_point

        theta0 = limit_point(problem, theta0)
    return Plan.check(
        problem,
        theta0,
        lr=lr_of(settings.lr),
        steps=settings.steps,
        members=settings.members if settings.members is not None else _members(problem, settings.steps),
        seed=settings.seed,
        noise=Noise(place=settings.place) if settings.place != "both" else None,  # type: ignore[arg-type]  # checked
        kinds=settings.kinds or FLOWS,
        sme_members=settings.sme_members,
        record=settings.record,
        spacing=settings.spacing,
        grid=settings.grid,
        groups=settings.groups,
        risk_limit=risk_limit_of(settings.risk_limit),
        test=test_of(settings, settings.test),
        backend=settings.backend,
        dtype=settings.dtype,
        threads=settings.threads,
        memory=settings.memory << 20,
    )
