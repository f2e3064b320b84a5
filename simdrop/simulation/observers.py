"""Functions of the user's that are evaluated along a run, in memory bounded by what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks.words import check_callable, shown
from ..errors import InvalidInput
from .seen import Alive, Seen

if TYPE_CHECKING:
    from ..problem import Problem

#: bytes of parameters that a function is given at one time
SLICE_BYTES = 4 << 20
#: what results have already; a function's values need another name
TAKEN = (
    "time", "member", "param", "step", "quantile", "group", "point", "output", "input", "kept", "param_i", "param_j",
    "grid", "lr", "keep_prob", "seed", "risk", "risk_mean", "risk_std", "risk_quantile", "theta", "theta_mean",
    "theta_std", "theta_cov", "alive", "diverged", "blown_up", "norm", "f_mean", "f_std", "test_risk",
    "test_risk_mean", "test_risk_std", "test_risk_quantile", "moment",
)  # fmt: skip
#: beginnings of names that results have
TAKEN_BEGINNINGS = ("group_", "kept_", "state_", "accuracy", "test_accuracy")


@dataclass(frozen=True)
class Observer:
    """A function of the user's, and what it returns for members: their values have shape (B, *shape).

    dims: of the axes after the first; coords: of these dimensions, where the function returned any
    """

    name: str
    function: Callable[..., Any]
    problem: Problem
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    coords: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __call__(self, theta: NDArray[np.floating]) -> NDArray[Any]:
        """The values for members theta (B, P). Raises InvalidInput for a shape or type other than at the start."""
        values = _values(self.name, _called(self.name, self.function, self.problem, theta), len(theta))
        if values.shape[1:] != self.shape or not np.can_cast(values.dtype, self.dtype, "same_kind"):
            raise InvalidInput(
                f"observe[{self.name!r}] returned shape {values.shape} of {values.dtype} for {len(theta)} members,"
                f" and before the run {(len(theta), *self.shape)} of {self.dtype}"
            )
        return values


def check_observe(
    problem: Problem, observe: Mapping[str, Callable[..., Any]] | None, theta: NDArray[np.floating]
) -> tuple[Observer, ...]:
    """The functions of `observe`, each called with the members theta (B, P) to learn what it returns.

    Raises InvalidInput, and what a function itself raises.
    """
    if observe is None:
        return ()
    if not isinstance(observe, Mapping):
        raise InvalidInput(f"observe must be a dict from names to functions, got {shown(observe)}")
    found: list[Observer] = []
    lengths: dict[str, tuple[int, str]] = {"param": (problem.n_params, "parameters")}
    labels: dict[str, NDArray[Any]] = {"param": np.arange(problem.n_params)}
    for name, function in observe.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidInput(f"observe: names must be texts such as 'sparsity', got {shown(name)}")
        if name in TAKEN or name.startswith(TAKEN_BEGINNINGS):
            raise InvalidInput(f"observe: results have a {name!r} already: choose another name")
        check_callable(f"observe[{name!r}]", function, optional=False)
        one = _probed(problem, name, function, theta)
        for dim, length in zip(one.dims, one.shape, strict=True):
            known, of = lengths.setdefault(dim, (length, f"observe[{name!r}]"))
            if dim in TAKEN and dim != "param":
                raise InvalidInput(f"observe[{name!r}]: results have a {dim!r} already: name the dimension otherwise")
            if known != length:
                raise InvalidInput(f"observe[{name!r}]: dimension {dim!r} has length {length}, and {known} in {of}")
            if dim in one.coords and not np.array_equal(labels.setdefault(dim, one.coords[dim]), one.coords[dim]):
                raise InvalidInput(f"observe[{name!r}]: dimension {dim!r} has other labels than in {of}")
        found.append(one)
    dims = {dim for one in found for dim in one.dims}
    both = sorted(dims & {one.name for one in found})
    if both:
        raise InvalidInput(f"observe: {both[0]!r} is a name of a function and of a dimension")
    return tuple(found)


def _probed(problem: Problem, name: str, function: Callable[..., Any], theta: NDArray[np.floating]) -> Observer:
    """The observer, from what the function returns for members theta (B, P)."""
    returned = _called(name, function, problem, theta.copy(), " before the run,")  # it may change what it is given
    values = _values(name, returned, len(theta))
    dims = [f"{name}_dim_{axis}" for axis in range(1, values.ndim)]
    coords: dict[str, NDArray[Any]] = {}
    if hasattr(returned, "dims") and hasattr(returned, "coords"):  # an xarray.DataArray has names
        dims = [str(dim) for dim in returned.dims[1:]]
        if len(set(dims)) < len(dims):
            raise InvalidInput(f"observe[{name!r}]: dimensions must have different names, got {', '.join(dims)}")
        coords = {str(key): np.array(value) for key, value in returned.coords.items() if tuple(value.dims) == (key,)}
    coords = {key: value for key, value in coords.items() if key in dims}
    return Observer(name, function, problem, tuple(dims), values.shape[1:], values.dtype, coords)


def _called(
    name: str, function: Callable[..., Any], problem: Problem, theta: NDArray[np.floating], when: str = ""
) -> Any:
    """What the function returns; its exceptions tell which function it was."""
    try:
        return function(problem, theta)
    except Exception as error:
        error.add_note(f"observe[{name!r}] was called{when} with parameters of shape {theta.shape}")
        raise


def _values(name: str, returned: Any, members: int) -> NDArray[Any]:
    """What a function returned, as an array (B, ...) of numbers or booleans; raises InvalidInput."""
    try:
        values = np.asarray(returned)
    except Exception as error:
        raise InvalidInput(f"observe[{name!r}] must return an array: {' '.join(str(error).split())}") from None
    if values.dtype.kind not in "fiubc":
        raise InvalidInput(f"observe[{name!r}] must return numbers or booleans, got {shown(returned)}")
    if values.ndim == 0 or len(values) != members:
        raise InvalidInput(
            f"observe[{name!r}] must return a row for each of the {members} members that it is given, got shape"
            f" {values.shape}"
        )
    return values


class Observations:
    """What the observers of a run returned at T times: arrays (T, M, ...) of the types that they return."""

    def __init__(self, observers: tuple[Observer, ...], times: int, members: int) -> None:
        self.observers = observers
        self.values = {one.name: np.zeros((times, members, *one.shape), dtype=one.dtype) for one in observers}
        for values in self.values.values():
            if values.dtype.kind in "fc":
                values[...] = np.nan

    def observe(self, time: int, first: int, seen: Seen, alive: Alive) -> None:
        """Let the observers see the living ones of members first, first + 1, ..., few at a time."""
        if not self.observers:
            return
        params = np.arange(self.observers[0].problem.n_params)
        living = np.flatnonzero(alive)
        some = max(1, SLICE_BYTES // (8 * len(params)))
        for start in range(0, len(living), some):
            rows = living[start : start + some]
            theta = seen.theta(rows, params)
            for one in self.observers:
                given = theta if one is self.observers[-1] else theta.copy()  # it may change what it is given
                self.values[one.name][time, first + rows] = one(given)

    def part(self, times: slice) -> Observations:
        """The same of some record times, as views."""
        found = Observations((), 0, 0)
        found.observers, found.values = self.observers, {name: values[times] for name, values in self.values.items()}
        return found

    def add_to(self, variables: dict[str, Any], coords: dict[str, Any], counted: NDArray[np.bool_]) -> None:
        """Add variables over (time, member, ...); counted (T, M): where there is a value.

        Where one is missing it is NaN, and whole numbers and booleans become float64.
        """
        for one in self.observers:
            values = self.values[one.name]
            if not counted.all() and values.dtype.kind not in "fc":
                values = values.astype(np.float64)
                values[~counted] = np.nan
            variables[one.name] = (("time", "member", *one.dims), values)
            coords |= {name: (name, labels) for name, labels in one.coords.items()}
