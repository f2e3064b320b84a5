"""Settings of a command: one dataclass, from which its flags, its TOML keys and its documentation derive.

Precedence, weakest first: the defaults here, the file of --config, each --set key=value, the flags.
"""

from __future__ import annotations

import importlib
import json
import typing
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..checks.words import check_choice
from ..errors import InvalidInput, RenamedWarning
from .values import coerce, known_name, read_toml, value_of, within

Settings = TypeVar("Settings")

#: the text for no risk_limit: TOML has no null
NO_LIMIT = "none"


def setting(
    default: Any,
    about: str,
    *,
    section: str = "Settings",
    choices: str = "",
    bounds: Mapping[str, float] | None = None,
    formerly: str = "",
) -> Any:
    """A field of a settings class: its default, its help, `module:NAME` of the names it may take.

    `bounds` are those of `checks.check_count` or `check_number`: least, most, above, below. `formerly` is a name that
    the field had before, which still works with a RenamedWarning.
    """
    metadata = {"about": about, "section": section, "choices": choices, "bounds": bounds or {}, "formerly": formerly}
    return field(default=default, metadata=metadata)


def replace_default(settings: type, name: str, default: Any) -> Any:
    """The field `name` of another settings class with another default."""
    return field(default=default, metadata=_field_of(settings, name).metadata)


def in_example(settings: type, name: str, value: Any) -> Any:
    """The field `name` of another settings class, with another value where a command is given no data.

    The command then runs an example, which is chosen as a whole; a user's own data have the defaults of `Problem`.
    """
    known = _field_of(settings, name)
    return field(default=known.default, metadata=known.metadata | {"example": value})


def _field_of(settings: type, name: str) -> Field[Any]:
    return next(f for f in fields(settings) if f.name == name)


def documented(settings: type[Settings]) -> type[Settings]:
    """The settings class, its docstring with a section Parameters made from the fields."""
    if settings.__doc__ is not None:  # python -OO
        fields_of = fields(settings)  # type: ignore[arg-type]
        described = (f"{f.name} : {f.type}\n    {f.metadata['about']}" for f in fields_of)
        settings.__doc__ = "\n".join((settings.__doc__, "", "Parameters", "----------", *described, ""))
    return settings


in_training = partial(setting, section="Training")
in_comparison = partial(setting, section="Comparison")
in_measurement = partial(setting, section="Measurement")
in_machine = partial(setting, section="Machine")
in_output = partial(setting, section="Output")

#: bounds of counts: what masks can number, and what a machine may ever hold
SEED = {"least": 0, "most": (1 << 64) - 1}
MEMBERS = {"least": 4, "most": 1 << 32}
STEPS = {"least": 1, "most": 1 << 32}
POINTS = {"least": 2, "most": 1_000_000}
THREADS = {"least": 1, "most": 1 << 16}
RISK_LIMIT = {"least": 1}
ABOUT_LR = "learning rate; {0: 0.1, 2000: 0.01} changes it at step 2000, as cosine(0.1, steps=2000) and others do"
ABOUT_PLACE = "where dropout acts: in the step (both), forward, on the update, or independent in the two passes"
ABOUT_RISK_LIMIT = "times the risk at the start, beyond which a network has blown up and leaves the means; or none"

ABOUT_TEST = "samples of a test set, whose risk is measured too: FILE.csv, FILE.npz or another that --data takes"


def lr_of(value: float | str) -> Any:
    """A setting `lr` as the argument of `simulate`: texts stand for learning rates that change; raises InvalidInput."""
    from ..schedule import parse

    return parse(value) if isinstance(value, str) else value


def risk_limit_of(value: float | str) -> float | None:
    """A setting `risk_limit` as the argument of `simulate`; raises InvalidInput."""
    if isinstance(value, str):
        check_choice("risk_limit", value, (NO_LIMIT, "a number"))
    return None if isinstance(value, str) else value


def resolve(
    cls: type[Settings],
    flags: Mapping[str, Any],
    *,
    config: str | Path | None = None,
    assignments: Iterable[str] = (),
) -> Settings:
    """The settings from defaults, the TOML file `config`, `key=value` texts and flags, later ones winning.

    `flags` holds what was given on the command line, as text, bool or a list of texts; None was not given.
    Without `data` the values of the command's example stand for the defaults of the fields that have some.
    Raises InvalidInput for an unknown key, with the nearest known one, or a value of the wrong type.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    renamed = {f.metadata["formerly"]: f.name for f in known.values() if f.metadata["formerly"]}
    chosen: dict[str, Any] = {}

    def current(key: str) -> str:
        """The key by which a setting is called now."""
        new = renamed.get(key.replace("-", "_"))
        if new is None:
            return key
        warnings.warn(f"{key} is now called {new}", RenamedWarning, stacklevel=3)
        return new

    def take(name: str, value: Any, where: str) -> Any:
        return checked(coerce(value, hints[name], where), known[name], where)

    if config is not None:
        held: dict[str, Any] = {}
        for key, value in read_toml(config, "configuration").items():
            name = known_name(current(key), known, f"configuration key in {config}", held)
            held[name] = take(name, value, f"key {key!r} in {config}")
        chosen |= held
    assigned: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"--set takes key=value, got {text!r}")
        name = known_name(current(key.strip()), known, "configuration key in --set", assigned)
        assigned[name] = take(name, value_of(value.strip(), hints[name]), f"--set {key.strip()}")
    chosen |= assigned
    for key, value in flags.items():
        if value is not None and value != ():
            name = current(key)
            given = value if isinstance(value, (bool, tuple)) else value_of(value, hints[name])
            chosen[name] = take(name, given, flag_of(known[name]))
    examples = {} if "data" in chosen else {f.name: f.metadata["example"] for f in known.values() if _has_example(f)}
    return cls(**examples | chosen)


def checked(value: Any, option: Field[Any], where: str) -> Any:
    """`value` where the bounds and choices of a field allow it; raises InvalidInput."""
    choices = choices_of(option) if isinstance(value, str) and not isinstance(option.default, float) else ()
    if choices:
        check_choice(option.name, value, choices)
    return within(value, option, where)


def as_toml(settings: Any) -> str:
    """The settings as a TOML file that `--config` reads back; what is None is left out."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    # JSON's numbers, texts, booleans and lists of texts are TOML's.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items() if value is not None)


def flag_of(option: Field[Any]) -> str:
    """The command-line flag of a field."""
    return "--" + option.name.replace("_", "-")


def choices_of(option: Field[Any]) -> tuple[str, ...]:
    """The names that a field may take, or () where there is no such list; may import a module."""
    module, _, name = option.metadata["choices"].partition(":")
    if module:
        return tuple(getattr(importlib.import_module(module), name))
    return tuple(name.split(",")) if name else ()


def default_text(option: Field[Any]) -> str:
    """The default of a field as the help shows it; empty where the help says it in words."""
    default = option.default
    if isinstance(default, bool):
        return "yes" if default else "no"
    example = f"; {option.metadata['example']} without --data" if _has_example(option) else ""
    return "" if default is None or default == () or default is MISSING else f"{default}{example}"


def _has_example(option: Field[Any]) -> bool:
    return "example" in option.metadata
