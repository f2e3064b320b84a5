"""Parts that are found by what they declare, so that a new one is a new file and no line elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def declared(package: str, name: str) -> list[Any]:
    """The variable `name` of each module of a package, in the order of the modules' names; imports all of them.

    Parameters
    ----------
    package : dotted name of the package
    name : of the variable; modules without it are left out
    """
    names = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    modules = [importlib.import_module(f"{package}.{module}") for module in names]
    return [getattr(module, name) for module in modules if hasattr(module, name)]
