"""`simdrop order`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from ..checks.words import shown
from ..errors import InvalidInput
from ..output.progress import Bars
from ..settings import defaults
from ..settings.fields import (
    ABOUT_PLACE,
    ABOUT_RISK_LIMIT,
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
    lr_of,
    replace_default,
    risk_limit_of,
)
from ..settings.problem import ProblemSettings, problem_of, start_of
from .common import keeping, keeping_partial, with_settings
from .flags import Command


@dataclass(frozen=True, kw_only=True)
class OrderSettings(ProblemSettings):
    """Settings of `simdrop order`: by default the small problem on which second order can be seen."""

    data: str = replace_default(ProblemSettings, "data", "sin")
    width: int = replace_default(ProblemSettings, "width", 5)
    keep_prob: float = in_example(ProblemSettings, "keep_prob", 0.7)
    init_seed: int = replace_default(ProblemSettings, "init_seed", 3)
    lrs: tuple[str, ...] = in_comparison(
        (), "learning rate of the ladder, at least three [default: 0.2, halved down to 0.00625]"
    )
    time: float | None = in_comparison(
        None, "time lr x step at which means are compared [default: 1]", bounds={"above": 0}
    )
    lr: float | str | None = in_comparison(
        None, "a learning rate that changes, in place of lrs and time: {0: 0.2, 3: 0.05}"
    )
    steps: int | None = in_comparison(None, "steps of lr", bounds=STEPS)
    refine: tuple[str, ...] = in_comparison(
        (), "what lr is divided by, for as many steps in the place of one [default: 1, 2, 4, 8, 16, 32]"
    )
    members: int = in_comparison(400_000, "networks of the ensemble at each learning rate", bounds=MEMBERS)
    sme_members: int = in_comparison(
        80_000, "paths of the stochastic modified equation of order 2 (1: a quarter)", bounds=MEMBERS
    )
    paths: int | None = in_comparison(
        None, "members that pathwise flows follow [default: 200, or all of fewer]", bounds={"least": 3}
    )
    kinds: tuple[str, ...] = in_comparison(
        (),
        "prediction to measure; repeat for several, by default all",
        choices="simdrop.study.predictions:PREDICTIONS",
        formerly="theories",
    )
    heat_map: bool = in_comparison(False, "also map the errors over learning rate and keep_prob")
    grid: int | None = in_comparison(None, "points at which functions are compared", bounds=POINTS)
    place: str = in_comparison("both", ABOUT_PLACE, choices="simdrop_kernels.contract.noise:PLACES")
    groups: int = in_comparison(40, "groups of members for standard errors", bounds={"least": 3})
    risk_limit: float | str = in_comparison(defaults.RISK_LIMIT, ABOUT_RISK_LIMIT, bounds=RISK_LIMIT)
    seed: int = in_comparison(0, "seed of the masks", bounds=SEED)
    backend: str = in_machine(defaults.BACKEND, "kernels to run on; see `simdrop info`")
    threads: int | None = in_machine(None, "processor threads [default: all cores]", bounds=THREADS)
    out: str = in_output("simdrop-order", "folder for results, summary and figures")
    overwrite: bool = in_output(False, "replace an earlier result in that folder")


@click.command(cls=Command, settings=OrderSettings)
@click.pass_context
def order(context: click.Context, /, **given: Any) -> None:
    """Measure to which order in the learning rate each prediction holds for an ensemble.

    Over a ladder of learning rates an ensemble is trained for the same time, and its mean parameters, functions and
    risk are held against every prediction. Prints distances with standard errors, slopes with 95 % intervals and the
    order that they support; writes summary.json, errors.zarr, figure.png and .pdf, and report.html to --out.

    \b
    simdrop order
    simdrop order --kinds averaged --kinds mean-covariance --lrs 0.1 --lrs 0.05 --lrs 0.025
    simdrop order --mask sample --heat-map --out sample
    """
    assert isinstance(context.command, Command)
    settings = context.command.resolve(given)
    problem, data = problem_of(settings)
    theta0 = start_of(problem, settings)
    from ..output.folder import FILES, Folder
    from ..problem import Noise
    from ..study.convergence.heatmap import HeatMap, heat_map
    from ..study.convergence.ladder import Order, check_cases, check_kinds_under
    from ..study.convergence.ladder import order as measure
    from ..study.convergence.rungs import TIME, check_rungs
    from ..study.predictions import OF_MEANS

    noise = Noise(place=settings.place) if settings.place != "both" else None
    kinds = check_kinds_under(settings.kinds, problem, noise) if settings.kinds else None
    common: dict[str, Any] = {"grid": settings.grid, "seed": settings.seed}
    common |= {"backend": settings.backend, "threads": settings.threads}
    common |= {"risk_limit": risk_limit_of(settings.risk_limit)}
    mapped_kinds = kinds and tuple(kind for kind in kinds if kind in OF_MEANS)
    if settings.heat_map and settings.lr is not None:
        raise InvalidInput("heat-map is over learning rates that do not change: leave it or lr out")
    if settings.heat_map and mapped_kinds == ():
        raise InvalidInput(f"heat-map compares means: kinds must have one of {', '.join(OF_MEANS)}")
    if settings.heat_map and noise is not None:
        raise InvalidInput("heat-map is of dropout in the whole step: leave it or place out")
    rungs: dict[str, Any] = {
        "lrs": _numbers("lrs", settings.lrs, float), "time": settings.time, "steps": settings.steps,
        "lr": None if settings.lr is None else lr_of(settings.lr), "refine": _numbers("refine", settings.refine, int),
    }  # fmt: skip
    ladder: dict[str, Any] = {"members": settings.members, "paths": settings.paths, "noise": noise}
    ladder |= {"sme_members": settings.sme_members, "groups": settings.groups}
    check_cases(problem, theta0, rungs=check_rungs(**rungs), **ladder, **common)  # before a folder is made
    mapped = tuple(f"heat-map.{form}" for form in ("json", "zarr", "png", "pdf", "html")) if settings.heat_map else ()
    names = ("settings.toml", *FILES["order"], *mapped)
    folder = Folder(settings.out, "order", names, overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "errors.zarr"), with_settings(folder, settings):
        with keeping_partial(Order, lambda partial: partial.write(folder)):
            found = measure(problem, theta0, kinds=kinds, progress=bars, **rungs, **ladder, **common)
        found.write(folder, settings=as_toml(settings))
        if settings.heat_map:
            with keeping_partial(HeatMap, lambda partial: partial.write(folder)):
                time = TIME if settings.time is None else settings.time
                heat_map(problem, theta0, time=time, kinds=mapped_kinds, progress=bars, **common).write(folder)
    if not given["quiet"]:
        click.echo("\n".join([*(f"data: {note}" for note in data.notes), found.table()]))
        mapped_too = "".join(f", {name}" for name in mapped)
        click.echo(f"\nwritten to {folder}: summary.json, errors.zarr, figure.png and .pdf, report.html{mapped_too}")


def _numbers(name: str, texts: Sequence[str], kind: type) -> list[Any] | None:
    try:
        return [kind(text) for text in texts] or None
    except ValueError:
        raise InvalidInput(f"{name} must be numbers, got {', '.join(map(shown, texts))}") from None
