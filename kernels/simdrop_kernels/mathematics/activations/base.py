"""What an activation is: a chain of NumPy arrays for theory and backend "numpy", scalars for the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Scalar = Any
#: makes a function of scalars callable by compiled kernels: a backend's own decorator
Jit = Callable[[Callable[..., Any]], Callable[..., Any]]


class Arithmetic(NamedTuple):
    """Operations for which a processor may have an instruction better than what a compiler finds.

    `divide(p, q)` may err by 2 units in the last place; `clamp(x, limit)` bounds x by ±limit and keeps NaN.
    """

    divide: Callable[[Scalar, Scalar], Scalar]
    clamp: Callable[[Scalar, Scalar], Scalar]


def clamp(x: Scalar, limit: Scalar) -> Scalar:
    """x bounded by ±limit."""
    return limit if x > limit else (-limit if x < -limit else x)  # NaN passes through


class Scalars(NamedTuple):
    """An activation as functions of numbers: h = `value(z)`, σ'(z) = `slope(z, h)`, σ''(z) = `curvature(z, h, σ'(z))`.

    Where `from_value` holds the slope follows from h alone, and z need not be kept.
    """

    value: Callable[[Scalar], Scalar]
    slope: Callable[[Scalar, Scalar], Scalar]
    curvature: Callable[[Scalar, Scalar, Scalar], Scalar]
    from_value: bool = False


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function with its derivatives; each method maps an array to one of its shape and dtype.

    name : what problems and commands call it
    chain : `chain(z)` yields σ(z), σ'(z), σ''(z), σ'''(z), each computed only when it is asked for and from what the
        ones before it have computed. Where a function is not smooth (relu at 0), derivatives are those that hold almost
        everywhere, with 0 at the kink.
    build : `build(jit, real, arithmetic)` makes the scalars for numbers of type `real`; functions that call each other
        go through `jit`, the four that it returns do so afterwards. All constants are of type `real`, so that nothing
        is computed in double precision on the way.
    orders : derivatives that `chain` has
    identity : of a user's functions, what tells them from others under the same name
    """

    name: str
    chain: Callable[[Array], Iterator[Array]]
    build: Callable[[Jit, type, Arithmetic | None], Scalars]
    orders: int = 3
    identity: str = ""

    def derivatives(self, z: Array, order: int) -> tuple[Array, ...]:
        """σ(z) and its derivatives up to `order`, at most `orders`: order + 1 arrays of z's shape."""
        return tuple(islice(self.chain(z), order + 1))

    def value(self, z: Array) -> Array:
        """σ(z)."""
        return next(self.chain(z))

    def first(self, z: Array) -> Array:
        """σ'(z)."""
        return self.derivatives(z, 1)[1]

    def second(self, z: Array) -> Array:
        """σ''(z)."""
        return self.derivatives(z, 2)[2]

    def uncompiled(self) -> str | None:
        """Why Numba does not compile the scalars, in one line, or None."""
        return None

    def scalars(self, jit: Jit, real: type, arithmetic: Arithmetic | None = None) -> Scalars:
        """The scalars as compiled kernels call them."""
        value, slope, curvature, from_value = self.build(jit, real, arithmetic)
        return Scalars(jit(value), jit(slope), jit(curvature), from_value)
