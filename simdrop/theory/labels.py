"""Arrays with names in, arrays with names out: what functions of theta return for an `xarray.DataArray`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike

from ..output.variables import about
from ..problem import Problem, check_problem
from ._input import Array

if TYPE_CHECKING:
    import xarray as xr

Rest = ParamSpec("Rest")
#: stands for the dimension of the parameters, as theta has it
PARAM = "param"


class OfTheta(Protocol[Rest]):
    """A function of a problem and theta that returns a DataArray for one."""

    @overload
    def __call__(
        self, problem: Problem, theta: xr.DataArray, *args: Rest.args, **kwargs: Rest.kwargs
    ) -> xr.DataArray: ...
    @overload
    def __call__(self, problem: Problem, theta: ArrayLike, *args: Rest.args, **kwargs: Rest.kwargs) -> Array: ...
    def __call__(self, problem: Problem, theta: Any, *args: Rest.args, **kwargs: Rest.kwargs) -> Any:
        """Values over the leading axes of theta (..., P), as an array or, where theta is one, as a DataArray."""


def labelled(
    name: str, *axes: str, words: str = "", units: str = "1", by: str = "theta", values: bool = False
) -> Callable[[Callable[Concatenate[Problem, ArrayLike, Rest], Array]], OfTheta[Rest]]:
    """Let a function of theta (..., P) return a DataArray for one, over theta's leading axes and `axes`.

    Coordinates of theta along the axes that are left stay.

    name: of what is returned; words, units: what it is, where `output.variables` does not know the name; by: the
    argument whose axes are taken, theta or the vectors (..., P) of a third argument; values: whether the function is
    given theta without its names
    """
    place = {"theta": 1}.get(by, 2)

    def around(function: Callable[Concatenate[Problem, ArrayLike, Rest], Array]) -> OfTheta[Rest]:
        @functools.wraps(function)
        def with_names(*args: Any, **kwargs: Any) -> Any:
            given: Any = args[place] if len(args) > place else kwargs.get(by)
            if not (hasattr(given, "dims") and hasattr(given, "coords")):
                return function(*args, **kwargs)
            problem = check_problem(args[0] if args else kwargs.get("problem"))
            if values and len(args) > place:
                args = (args[0], problem.check_theta(given), *args[place + 1 :])
            elif values:
                kwargs = kwargs | {by: problem.check_theta(given)}
            found = np.asarray(function(*args, **kwargs))
            attrs = {"long_name": words, "units": units} if words else about(name, problem.loss)
            return _named(found, given, name, axes, attrs)

        return with_names

    return around


def _named(values: Array, theta: xr.DataArray, name: str, axes: tuple[str, ...], attrs: dict[str, str]) -> xr.DataArray:
    """The values over theta's leading axes and `axes`."""
    import xarray as xr

    *leading, last = map(str, theta.dims)
    dims = (*leading, *(last if axis == PARAM else axis for axis in axes))
    coords = {key: one for key, one in theta.coords.items() if set(map(str, one.dims)) <= set(dims)}
    return xr.DataArray(values, coords, dims, name, attrs)
