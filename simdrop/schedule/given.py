"""What users give as `lr`: a number, an array over members, a mapping, a schedule, or a text that stands for one."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..checks.numbers import check_finite
from ..checks.words import check_choice, repeated, shown
from ..errors import InvalidInput
from .base import Array, Schedule
from .composed import as_schedule, piecewise


@cache
def kinds() -> dict[str, Any]:
    """What a text may call, by name: the schedules of this package, which imports all of them."""
    return {kind.__name__: kind for kind in Schedule.__subclasses__() if kind.__module__.startswith(f"{__package__}.")}


def check_rates(value: Any, name: str = "lr") -> Array | Schedule:
    """`value` as positive numbers () or (members,), or as a schedule; raises InvalidInput."""
    if isinstance(value, (Schedule, Mapping)) or callable(value):
        found = as_schedule(name, value)
        return constant(found) if isinstance(found, piecewise) and len(found.firsts) == 1 else found
    if isinstance(value, str):
        raise InvalidInput(f"{name} must be a number or a schedule, got text: simdrop.schedule.parse({shown(value)})")
    array = check_finite(name, value)
    if not (array > 0).all():
        raise InvalidInput(f"{name} must be positive, got {shown(array if array.ndim else array.item())}")
    return array


def constant(schedule: piecewise) -> Array:
    """The learning rates of a schedule of one piece, which are the same at every step."""
    return check_finite("lr", schedule.values[0])


def parse(text: str, name: str = "lr") -> float | Schedule:
    """The learning rate that a text stands for, as commands, TOML files and attributes of results have it.

    Parameters
    ----------
    text : str
        A number, a mapping such as "{0: 0.1, 2000: 0.01}", or a call such as "cosine(0.1, steps=2000)" or
        "warmup(cosine(0.1, steps=2000), steps=100)".
    name : str
        What error messages call it.

    Returns
    -------
    float or Schedule
        The learning rate.

    Raises
    ------
    InvalidInput
        The text stands for none.

    Examples
    --------
    >>> simdrop.schedule.parse("cosine(0.1, steps=2000)") == simdrop.schedule.cosine(0.1, steps=2000)
    True
    """
    if not isinstance(text, str):
        raise InvalidInput(f"{name} must be a text here, got {shown(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _refuse_repeated(tree, name)
        found = _value(tree)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{name} must be a number, {{step: number, ...}} or one of {', '.join(kinds())}(...), got {shown(text)}"
        ) from None
    checked = check_rates(found, name)
    if isinstance(checked, Schedule):
        return checked
    if checked.ndim:
        raise InvalidInput(f"{name} must be one number, got {shown(text)}")
    return float(checked)


def _refuse_repeated(tree: ast.expr, name: str) -> None:
    """Raise InvalidInput where a mapping has a step, or a call an argument, twice: Python takes the last one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            given = [ast.unparse(key) if key else "**" for key in node.keys]
        elif isinstance(node, ast.Call):
            given = [str(keyword.arg) for keyword in node.keywords]
        else:
            continue
        twice = repeated(given)
        if twice is not None:
            raise InvalidInput(f"{name} has {twice} twice: {shown(ast.unparse(node))}")


def _value(node: ast.expr) -> Any:
    """What a node of the grammar of `parse` stands for; raises ValueError for one outside of it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        kind = kinds()[check_choice("schedule", node.func.id, kinds())]
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("**")
        args, options = list(map(_value, node.args)), {str(k.arg): _value(k.value) for k in node.keywords}
        try:
            inspect.signature(kind).bind(*args, **options)
        except TypeError as error:
            raise InvalidInput(f"lr: {node.func.id}(...): {error}") from None
        return kind(*args, **options)
    return ast.literal_eval(node)


def text_of(schedule: Schedule, name: str) -> str:
    """A schedule as the text that `parse` reads; raises InvalidInput for one that no text stands for."""
    try:
        parse(str(schedule), name)
    except InvalidInput:
        raise InvalidInput(f"{name} must be a schedule without arrays here, got {schedule}") from None
    return str(schedule)


def refuse_changing(name: str, values: Any, why: str) -> None:
    """Raise InvalidInput where one of `values` is no number but changes with the step, which cannot be, for `why`."""
    for value in values if isinstance(values, (list, tuple)) else [values]:
        if isinstance(value, (Schedule, Mapping)):
            raise InvalidInput(f"{name} must be numbers: {why}, got {shown(value)}")
