"""Memory of a run, estimated before any work: a run that this machine cannot hold is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import InvalidInput

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
#: files with the memory that a container may use, in versions 2 and 1 of control groups
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int | None:
    """The bytes that this machine, or the container on it, has; None where the system does not tell."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # systems without sysconf, or without these names
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in _LIMITS:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return min(found, default=None)


def check_memory(parts: Mapping[str, float], *, have: int | None = None) -> None:
    """Raise InvalidInput where the parts, what each is of -> bytes, are together more than this machine has.

    `have` is in the place of its memory. The message names the largest part.
    """
    have = memory() if have is None else have
    total = sum(parts.values())
    if have is None or total <= have:
        return
    largest = max(parts, key=lambda name: parts[name])
    raise InvalidInput(
        f"this would take at least {size(total)} of memory, and the machine has {size(have)}: {size(parts[largest])}"
        f" of it for {largest}"
    )


def size(count: float) -> str:
    """Bytes as people read them: 7.4 TiB."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.4g} {_UNITS[power]}"
