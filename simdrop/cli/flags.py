"""Commands of click whose flags are made from a settings class of `config`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..errors import RenamedWarning
from ..settings import fields as config
from .common import say

#: flags of files and folders, which the shell completes
PATHS = {"mnist": "dir", "out": "dir", "test": "file"}


def words(flag: str) -> tuple[str, ...]:
    """What Tab offers after a flag whose help has no list of choices; "file" and "dir" stand for those of the shell."""
    if flag in {"backend", "backends"}:
        from simdrop_kernels import registry

        return (*(("auto",) if flag == "backend" else ()), *registry.names())
    if flag == "data":
        from ..data import NAMES

        return (*NAMES, "file")
    if flag == "output_scale":
        from ..problem.problem import OUTPUT_SCALES

        return tuple(OUTPUT_SCALES)
    return (PATHS[flag],) if flag in PATHS else ()


def complete(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The words that begin so, as the shell takes them."""
    return [
        CompletionItem(incomplete, type=word) if word in {"file", "dir"} else CompletionItem(word)
        for word in words
        if word in {"file", "dir"} or word.startswith(incomplete)
    ]


def of_shell(kind: str) -> Callable[..., list[CompletionItem]]:
    """Completion of an argument by the shell's own files or folders."""
    return lambda context, parameter, incomplete: complete([kind], incomplete)


class Flag(click.Option):
    """An option made from a field of a settings class; its help lists names and default when it is shown."""

    def __init__(self, field: Field[Any]) -> None:
        self.field = field
        flag = config.flag_of(field)
        if "bool" in str(field.type):
            super().__init__([f"{flag}/--no-{flag[2:]}", field.name], default=None)
        else:
            super().__init__([flag, field.name], multiple=field.default == (), metavar=_metavar(field), type=str)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What the shell offers when Tab is pressed after the flag: the names it may take, or files."""
        return complete(config.choices_of(self.field) or words(self.field.name), incomplete)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The line of the help, with choices (which may import NumPy) and default."""
        about, default = self.field.metadata["about"], config.default_text(self.field)
        choices = config.choices_of(self.field)
        if choices:
            about += f" ({', '.join(choices)})"
        self.help = about + (f" [default: {default}]" if default else "")
        return super().get_help_record(ctx)


class Command(click.Command):
    """A command with the flags of a settings class, --config, --set, --quiet and --debug; help in sections."""

    def __init__(self, *args: Any, settings: type, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.former = {name: field for field in fields(settings) if (name := field.metadata["formerly"])}
        hidden = [click.Option([f"--{name}"], multiple=field.default == (), hidden=True, type=str)
                  for name, field in self.former.items()]  # fmt: skip
        self.params = [Flag(field) for field in fields(settings)] + hidden + _common() + self.params

    def resolve(self, given: Mapping[str, Any]) -> Any:
        """The settings that the parameters click has `given` stand for; raises InvalidInput. Warns of old names."""
        flags = {name: given[name] for name in (*(field.name for field in fields(self.settings)), *self.former)}
        with warnings.catch_warnings(record=True) as held:
            warnings.simplefilter("always", RenamedWarning)
            found: Any = config.resolve(self.settings, flags, config=given["config"], assignments=given["set"])
        if not given["quiet"]:
            for warning in held:
                say(f"simdrop: warning: {warning.message}")
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section; those that no setting stands behind come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):  # the usage line shows those
                name = parameter.field.metadata["section"] if isinstance(parameter, Flag) else "Options"
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


def _common() -> list[click.Parameter]:
    return [
        click.Option(
            ["--config"],
            metavar="FILE.toml",
            shell_complete=of_shell("file"),
            help="read settings from a file; its keys are named like the flags: keep_prob = 0.5",
        ),
        click.Option(
            ["--set"], multiple=True, metavar="KEY=VALUE", help="set one key as in the file; stronger than the file"
        ),
        click.Option(["--quiet"], is_flag=True, help="print nothing but errors and warnings"),
        click.Option(["--debug"], is_flag=True, help="show the traceback of an error"),
    ]


def _metavar(field: Field[Any]) -> str:
    """INT, NUMBER or TEXT, from the annotation of a field."""
    hint = str(field.type)
    return "INT" if "int" in hint else "NUMBER" if "float" in hint else "TEXT"
