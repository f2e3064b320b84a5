"""Values of settings as users write them: TOML files, texts of the command line, and what a field may hold.

Loads NumPy only where a field has bounds: every command imports this.
"""

from __future__ import annotations

import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from ..checks.words import check_choice, check_path, shown
from ..errors import InvalidInput

#: what a value of each type is called in messages
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "text or a list of texts",
}


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`, without ever losing something; raises InvalidInput that begins with `where`."""
    allowed = allowed_types(hint)
    for kind in allowed:
        if kind is tuple and isinstance(value, str):
            return (value,)
        if kind is tuple and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return _finite(value, where)
        # 1e5 is a float in TOML, and means a whole number
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if type(value) is kind:
            return value
        if kind is str and float in allowed and isinstance(value, dict):  # learning rates of steps, as TOML has them
            return "{" + ", ".join(f"{step}: {rate!r}" for step, rate in value.items()) + "}"
    words = " or ".join(_WORDS[kind] for kind in allowed)
    raise InvalidInput(f"{where} must be {words}, got {shown(value)}")


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    raise InvalidInput(f"{where} must be a finite number, got {shown(value)}")


def within(value: Any, field: Field[Any], where: str) -> Any:
    """`value`, of a field's type, where it lies in its bounds; raises InvalidInput that begins with `where`."""
    bounds: Mapping[str, Any] = field.metadata["bounds"]
    if not bounds or value is None or isinstance(value, (str, bool)):
        return value
    from ..checks.numbers import check_count, check_number

    if isinstance(value, int):
        return check_count(where, value, **bounds)
    if bounds == {"above": 0} and value <= 0:
        raise InvalidInput(f"{where} must be positive, got {value!r}")
    return check_number(where, value, **bounds)


def allowed_types(hint: Any) -> tuple[Any, ...]:
    """The plain types that a field takes, None left out."""
    union = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(typing.get_origin(kind) or kind for kind in union if kind is not type(None))


def value_of(text: str, hint: Any) -> Any:
    """The value that `text` from a command line stands for where a `hint` is wanted.

    A text stands for itself, with or without the quotes that TOML wants.
    """
    if allowed_types(hint) == (str,) and not (len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
        if len(table) == 1:  # a line feed in the text may begin another key
            return table["value"]
    except (ValueError, RecursionError):
        pass
    try:
        return float(text)  # what TOML does not know: .5, 1., 01
    except ValueError:
        return text


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file, `what` it is in words: "configuration", say; raises InvalidInput."""
    path = check_path(what, path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {what} {path}: {error.strerror}") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput(f"{what} {path} is UTF-16: TOML files are UTF-8; save it as that")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{what} {path} is not text in UTF-8 (line {line}); save it as that") from None
    except RecursionError:
        raise InvalidInput(f"{what} {path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and whole numbers of thousands of digits
        raise InvalidInput(f"{what} {path} is not valid TOML: {error}") from None


def known_name(key: str, known: Mapping[str, Any], argument: str, taken: Mapping[str, Any]) -> str:
    """The field that a key names, hyphens as underscores; raises InvalidInput for one unknown or `taken` before."""
    name = key.replace("-", "_")
    if name not in known:
        check_choice(argument, key, known)
    if name in taken:
        raise InvalidInput(f"{argument} {key!r}: {name} is given twice")
    return name
