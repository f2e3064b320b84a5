"""The contenders: each module offers `prepare(case, members, threads, **options) -> Trainer`.

`members` must be a multiple of what the options ask for (`grain`); nothing here is imported until a
worker process with the right environment asks for it.
"""

from __future__ import annotations

import math
from typing import Any


def grain(options: dict[str, Any]) -> int:
    """The number that `members` must be a multiple of: blocks times devices."""
    return math.lcm(1, int(options.get("block", 1))) * int(options.get("devices", 1))
