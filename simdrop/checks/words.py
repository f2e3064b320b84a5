"""Checks of names, functions and paths, and how messages show values. Loads nothing heavy: every command imports it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import InvalidInput

#: bytes of a name of a file
_LONGEST = 255
#: characters of a value that a message shows
SHOWN = 80


def shown(value: object) -> str:
    """`value` as a message shows it: in one line, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's own class
        text = f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."


def counted(count: int, one: str) -> str:
    """How many there are of what `one` of them is called: 1 step, 2 steps."""
    return f"{count} {one}{'' if count == 1 else 's'}"


def check_choice(argument: str, value: object, known: Iterable[str]) -> str:
    """`value` as one of the names `known`; raises InvalidInput, with the nearest known name."""
    known = tuple(known)
    if isinstance(value, str) and value in known:
        return value
    hint = _nearest(value, known) if isinstance(value, str) else ""
    raise InvalidInput(f"unknown {argument} {shown(value)}: {hint}known are {listed(known)}")


def listed(names: tuple[str, ...], most: int = 40) -> str:
    """Names in a row, and of very many how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _nearest(value: str, known: tuple[str, ...]) -> str:
    """The hint at the known name that `value` may stand for, or ""."""
    lowered = {name.lower(): name for name in known}
    near = get_close_matches(value.lower(), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[near[0]]!r}? " if near else ""


def check_names(argument: str, value: object, known: Iterable[str]) -> tuple[str, ...]:
    """`value`, one name or several different ones, as a tuple of names that are `known`; raises InvalidInput."""
    known = dict.fromkeys(known)  # of a wide table there are very many
    given = (value,) if isinstance(value, str) else value
    try:
        names = tuple(
            name if isinstance(name, str) and name in known else check_choice(argument, name, known)
            for name in given  # type: ignore[attr-defined]
        )
    except TypeError:
        raise InvalidInput(f"{argument} must be one or several of {', '.join(known)}, got {shown(value)}") from None
    twice = repeated(names)
    if twice is not None:
        raise InvalidInput(f"{argument} names {twice!r} twice")
    return names


def repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def check_callable(name: str, value: object, *, optional: bool = True) -> Callable[..., Any] | None:
    """`value` where it can be called, or where it is `optional` None; raises InvalidInput."""
    if callable(value) or (value is None and optional):
        return value
    raise InvalidInput(f"{name} must be a function{' or None' if optional else ''}, got {shown(value)}")


def check_path(name: str, value: object) -> Path:
    """`value` as a path that is not empty, ~ the home folder; raises InvalidInput."""
    try:
        given = os.fsencode(value)  # type: ignore[arg-type]  # anything else is refused here
    except (TypeError, UnicodeEncodeError):
        given = b""
    too_long = any(len(part) > _LONGEST for part in given.split(os.sep.encode()))
    if isinstance(value, bytes) or not given.strip() or b"\0" in given or too_long:
        raise InvalidInput(f"{name} must name a file or folder, got {shown(value)}")
    path = Path(os.path.expanduser(value))  # type: ignore[call-overload]  # as libraries that get it would
    return path.absolute() if str(path).startswith("~") else path  # from "./~": nobody expands it later
