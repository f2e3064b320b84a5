"""`simdrop report`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .flags import of_shell


@click.command()
@click.argument("folder", metavar="DIR", shell_complete=of_shell("dir"))
@click.option("--out", metavar="FILE.html", help="where the report goes [default: DIR/report.html]")
@click.option("--overwrite", is_flag=True, help="replace FILE.html where it is there")
@click.option("--debug", is_flag=True, help="show the traceback of an error")
def report(folder: str, out: str | None, overwrite: bool, debug: bool) -> None:
    """Write a folder of results as one HTML file that needs nothing else.

    It has what came out, the numbers, the figures, settings, versions, how to repeat and how to cite it. DIR is what
    --out or out= named: of compare, order, reproduce, bench, sweep, simulate or sme. DIR/report.html is replaced if
    simdrop wrote it.

    \b
    simdrop report simdrop-compare
    simdrop report map --out map.html
    """
    from ..output.folder import check_own, check_target, write_beside
    from .folders import Held

    named = None if out is None else check_target("--out", out, (".html",), overwrite=overwrite)
    held = Held.open(folder)
    if named is None:
        check_own(held.path, "report.html")
    text = held.report().page()
    if named is None:
        write_beside(held.path, "report.html", partial(Path.write_text, data=text, encoding="utf-8"))
    else:
        named.parent.mkdir(parents=True, exist_ok=True)
        named.write_text(text, encoding="utf-8")
    click.echo(f"written to {named or held.path / 'report.html'}")
