"""An activation made of a user's own functions of one number."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .base import Activation, Arithmetic, Array, Jit, Scalars

Function = Callable[[float], float]


def of_functions(name: str, functions: Sequence[Function], identity: str) -> Registered:
    """The activation with this value, slope, curvature and, where there are four, third derivative.

    `identity` differs where the functions' numbers do.
    """

    def chain(z: Array) -> Iterator[Array]:
        for function in activation.on_arrays:
            with np.errstate(all="ignore"):
                found: Array = np.asarray(function(z)).astype(z.dtype)
            yield found

    def build(jit: Jit, real: type, arithmetic: Arithmetic | None) -> Scalars:
        value, slope, curvature = (jit(_own(function, identity)) for function in functions[:3])
        return Scalars(lambda z: real(value(z)), lambda z, h: real(slope(z)), lambda z, h, h1: real(curvature(z)))

    activation = Registered(
        name, chain, build, orders=len(functions) - 1, identity=identity, functions=tuple(functions)
    )
    return activation


@dataclass(frozen=True, eq=False)
class Registered(Activation):
    """See `of_functions`."""

    functions: tuple[Function, ...] = ()

    def uncompiled(self) -> str | None:
        """Why Numba does not compile the functions, in one line, or None."""
        return self._refusal

    @cached_property
    def _compiled(self) -> list[Any]:
        import numba

        return [numba.njit(error_model="numpy")(_own(function)) for function in self.functions]

    @cached_property
    def _refusal(self) -> str | None:
        try:
            for function in self._compiled:
                function(0.5)
        except Exception as error:  # Numba raises many kinds, and the user's code any
            lines = (line.strip() for line in str(error).splitlines())
            said = next((line for line in lines if line and not line.startswith("Failed in")), type(error).__name__)
            return f"Numba does not compile activation {self.name!r}: {said}"
        return None

    @cached_property
    def on_arrays(self) -> tuple[Callable[[Array], Any], ...]:
        """The functions for arrays: compiled where that is possible, as Python's own are some hundred times slower."""
        if self.uncompiled() is None:
            return tuple(map(_vectorized, self._compiled))
        return tuple(np.frompyfunc(_ieee(function), 1, 1) for function in self.functions)


def _vectorized(function: Any) -> Any:
    """A compiled function of one number for arrays, in double precision; arguments with defaults keep them."""
    import numba

    return numba.vectorize(["float64(float64)"])(lambda z: function(z))  # once, before threads call it


def _ieee(function: Function) -> Function:
    """The function with NaN where Python raises an error of arithmetic, as `math.exp(1000)` does."""

    def of(z: float) -> float:
        try:
            return function(float(z))
        except (ArithmeticError, ValueError):
            return math.nan

    return of


def _own(function: Any, identity: str = "") -> Function:
    """A copy of the function that Numba's cache on disk keeps apart from all others.

    The cache tells kernels apart by what they call. Of a function that can be imported by its name, that is the name
    alone, so that the kernel of an older version would be found. Of a copy it is the code, and `identity` tells of
    constants in other modules.
    """
    function = getattr(function, "py_func", function)  # of one that Numba's jit has decorated
    if not isinstance(function, types.FunctionType):
        given = function
        function = lambda z: given(z)  # noqa: E731
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.identity = identity  # type: ignore[attr-defined]
    return copy
