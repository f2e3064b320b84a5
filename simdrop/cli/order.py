"""`simdrop order`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..config import OrderSettings, problem_of, risk_limit_of, start_of
from ..errors import InvalidInput
from ..flags import Command
from ..progress import Bars
from ..words import check_names, shown
from .common import keeping, keeping_partial, with_settings


@click.command(cls=Command, settings=OrderSettings)
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
    problem, data = problem_of(settings)
    theta0 = start_of(problem, settings)
    from ..output.folder import FILES, Folder
    from ..report_order import write_heat_map, write_order
    from ..study.heatmap import HeatMap, heat_map
    from ..study.order import LRS, Order, check_cases
    from ..study.order import order as measure
    from ..study.theories import THEORIES

    theories = check_names("theory", settings.theories, THEORIES) or tuple(THEORIES)
    common: dict[str, Any] = {"time": settings.time, "grid": settings.grid, "seed": settings.seed}
    common |= {"backend": settings.backend, "threads": settings.threads}
    common |= {"risk_limit": risk_limit_of(settings.risk_limit)}
    ladder = {"lrs": _learning_rates(settings.lrs) or LRS, "members": settings.members, "paths": settings.paths}
    ladder |= {"sme_members": settings.sme_members, "groups": settings.groups}
    check_cases(problem, theta0, **ladder, **common)  # before a folder is made
    names = ("settings.toml", *FILES["order"], *(("heat-map.zarr", "heat-map.png") if settings.heat_map else ()))
    folder = Folder(settings.out, "order", names, overwrite=settings.overwrite)
    with folder, Bars(quiet=given["quiet"]) as bars, keeping(folder, "errors.zarr"), with_settings(folder, settings):
        with keeping_partial(Order, lambda partial: write_order(partial, folder)):
            found = measure(problem, theta0, theories=theories, progress=bars, **ladder, **common)
        write_order(found, folder)
        if settings.heat_map:
            with keeping_partial(HeatMap, lambda partial: write_heat_map(partial, folder)):
                write_heat_map(heat_map(problem, theta0, progress=bars, **common), folder)
    if not given["quiet"]:
        click.echo("\n".join([*(f"data: {note}" for note in data.notes), found.table()]))
        mapped_too = ", heat-map.png, heat-map.zarr" if settings.heat_map else ""
        click.echo(f"\nwritten to {folder}: summary.json, errors.zarr, figure.png{mapped_too}")


def _learning_rates(texts: Sequence[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise InvalidInput(f"lrs must be numbers, got {', '.join(map(shown, texts))}") from None
