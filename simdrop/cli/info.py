"""`simdrop info`."""

from __future__ import annotations

import click


@click.command()
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
