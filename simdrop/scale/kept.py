"""What a sweep keeps of its members besides their risks: a number of each, as mean and standard error over a point."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simdrop_kernels.mathematics.losses.table import find

from ..checks.words import check_choice, repeated
from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..problem import Problem

#: names of `keep`; all but the first are numbers of every member
RECORDINGS = ("theta_mean", "norm", "r1", "accuracy")
#: variables of a sweep that functions cannot be called like
_TAKEN = (
    "risk",
    "test_risk",
    "test_accuracy",
    "theta",
    "distance",
    "diverged",
    "step",
    "time",
    "kind",
    "param",
    "point",
)

Function = Callable[["Problem", NDArray[np.floating]], NDArray[Any]]


def check_keep(keep: Sequence[str], loss: str) -> None:
    """Raise InvalidInput for what is neither a name of RECORDINGS nor a function as module:name."""
    for name in keep:
        if ":" not in name:
            check_choice("name in keep", name, (*RECORDINGS, "a function as module:name"))
        elif not callable(_function(name)):
            raise InvalidInput(f"keep: {name!r} is no function")
    names = [_label(name) for name in keep]
    twice = repeated(names) or next((name for name in names if name in _TAKEN), None)
    if twice is not None:
        raise InvalidInput(f"keep: there are two results that are called {twice!r}")
    if "accuracy" in keep and find(loss).targets == "numbers":
        raise InvalidInput(f"keep: accuracy needs a loss with classes, got loss {loss!r}")


def quantities(keep: Sequence[str], *, tested: bool) -> tuple[str, ...]:
    """The numbers of members of which mean and error are kept, by the names of `simulate`'s variables."""
    found = ["risk", *(_label(name) for name in keep if name != "theta_mean")]
    if tested:
        found += ["test_risk", *(["test_accuracy"] if "accuracy" in keep else [])]
    return tuple(found)


def observed(keep: Sequence[str]) -> dict[str, Function]:
    """The functions of `keep`, as `simulate(observe=...)` takes them; they depend on the problem of a point."""
    return {_label(name): _r1 if name == "r1" else _one(name) for name in keep if ":" in name or name == "r1"}


def _label(name: str) -> str:
    return name.rpartition(":")[2].replace(".", "_")


def _r1(problem: Problem, theta: NDArray[np.floating]) -> NDArray[Any]:
    from ..theory import r1

    return np.asarray(r1(problem, theta))


def _one(name: str) -> Function:
    """The function of a name, which must return one number for each member."""
    function = _function(name)

    def checked(problem: Problem, theta: NDArray[np.floating]) -> NDArray[Any]:
        values = np.asarray(function(problem, theta))
        if values.shape != (len(theta),):
            raise InvalidInput(f"keep: {name!r} must return one number for each member, got shape {values.shape}")
        return values

    return checked


def _function(name: str) -> Any:
    """What module:name stands for; raises InvalidInput."""
    module, _, inner = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in inner.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"keep: {name!r} cannot be imported: {error}") from None
    return found
