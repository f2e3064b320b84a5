"""A user's own activations: `register` puts one into the table from which every part of simdrop takes them."""

from __future__ import annotations

import hashlib
import keyword
import math
from collections.abc import Callable
from typing import Any, Literal

from simdrop_kernels.mathematics.activations import table
from simdrop_kernels.mathematics.activations.base import Activation
from simdrop_kernels.mathematics.activations.functions import of_functions

from .checks.numbers import check_number
from .checks.words import check_callable, shown
from .errors import InvalidInput

Function = Callable[[float], float]

#: those that come with simdrop; `register` adds others
ActivationName = Literal[
    "erf", "gelu", "linear", "quadratic", "relu", "sigmoid", "sin", "softplus", "tanh"
]  # fmt: skip

__all__ = ["ActivationName", "names", "register"]

#: where functions are tried: on [-8, 8], at no round number, so that kinks lie between, and far out
POINTS = (*(16 * ((k * 0.6180339887498949) % 1) - 8 for k in range(1, 65)), -31.7, -17.3, 17.3, 31.7)
#: differences of a function are taken over these distances; the best counts, which passes kinks and steep slopes
DISTANCES = (1e-3, 1e-4, 1e-5)
#: how far a derivative may be from the difference, relative to 1 + |derivative| + |function|
TOLERANCE = 1e-6


def names() -> tuple[str, ...]:
    """The activations that `Problem(activation=...)` takes in this process.

    Returns
    -------
    tuple of str
        The project's own in the order of the alphabet, then those that were registered.

    Examples
    --------
    >>> import simdrop
    >>> simdrop.activations.names()[:3]
    ('erf', 'gelu', 'linear')
    """
    return tuple(table.ACTIVATIONS)


def check_registered(name: str) -> Activation:
    """The activation `name` of a problem that another process made; raises InvalidInput where this one lacks it."""
    if name not in table.ACTIVATIONS:
        raise InvalidInput(
            f"activation {name!r} is not registered in this process: call simdrop.activations.register here too"
        )
    return table.ACTIVATIONS[name]


def register(
    name: str, value: Function, slope: Function, curvature: Function, *, third: Function | None = None
) -> None:
    """Add an activation σ under a name that `Problem(activation=...)` and the command line then take.

    The functions take one float and return one; they may use `math`, conditions and numbers from around them. It runs
    on the backends "numpy", "numba" and "cuda", in theory, flows and stochastic equations. "native", whose activations
    are written in C, refuses it, and "auto" passes on to the next backend. It lasts as long as the process:
    register it in every process that uses it, the workers of a cluster included.

    Parameters
    ----------
    name : str
        Letters, digits and underscores; not the name of another activation. Registering the same functions again does
        nothing, so that a cell of a notebook may run twice.
    value : callable
        σ(z).
    slope : callable
        σ'(z).
    curvature : callable
        σ''(z), for R_2, Hessians and the equation of second order. At a kink any finite value will do.
    third : callable, optional
        σ'''(z), for flows of kind "mean-covariance", which are refused without it.

    Raises
    ------
    InvalidInput
        The name is none or is taken, or a function fails at one of 68 points within 32 of 0: it raises, returns no
        finite number, or is not the slope of the function before it.

    Notes
    -----
    Numba compiles the functions where it can; what it cannot (a call of SciPy, say, or of another function of yours
    that Numba's `njit` has not decorated) runs on backend "numpy" alone, at Python's speed, with NaN where Python
    raises an error of arithmetic. In single precision a function's own constants are still in double precision; its
    value is rounded at the end.

    Examples
    --------
    >>> import simdrop
    >>> simdrop.activations.register(
    ...     "cube", lambda z: z**3 / 3, slope=lambda z: z**2, curvature=lambda z: 2 * z, third=lambda z: 2.0
    ... )
    >>> problem = simdrop.Problem([0.0, 0.5, 1.0], [0.0, 0.1, 0.4], width=3, activation="cube")
    >>> runs = simdrop.simulate(problem, problem.init(seed=0, scale=0.5), lr=0.01, steps=20, members=4, backend="numpy")
    >>> runs.attrs["activation"]
    'cube'
    """
    functions = {"value": value, "slope": slope, "curvature": curvature} | ({} if third is None else {"third": third})
    name = _check_name(name)
    for argument, function in functions.items():
        check_callable(argument, function, optional=False)
    tried = {argument: _try(name, argument, function) for argument, function in functions.items()}
    for (below, base), argument in zip(functions.items(), list(functions)[1:], strict=False):
        for z, derivative in zip(POINTS, tried[argument], strict=True):
            _check_derivative(name, (below, base), (argument, derivative), z)
    text = ",".join(f"{number:.10e}" for numbers in tried.values() for number in numbers)
    identity = hashlib.sha256(text.encode()).hexdigest()
    known = table.ACTIVATIONS.get(name)
    if known is None:
        table.add(of_functions(name, tuple(functions.values()), identity))
    elif known.identity != identity:
        raise InvalidInput(f"activation {name!r} is there already, with other functions: take another name")


def _check_name(name: object) -> str:
    """`name` as the name of a new activation; raises InvalidInput."""
    if not (isinstance(name, str) and name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise InvalidInput(f"name must be letters, digits and underscores, such as 'swish', got {shown(name)}")
    return name


def _try(name: str, argument: str, function: Function) -> list[float]:
    """The function at the sample points; raises InvalidInput where it gives no finite number."""
    return [_number(name, argument, function, z) for z in POINTS]


def _number(name: str, argument: str, function: Function, z: float) -> float:
    where = f"{argument} of activation {name!r} at z = {z:g}"
    try:
        found: Any = function(z)
    except Exception as error:  # the user's own code
        raise InvalidInput(f"{where} raises {type(error).__name__}: {' '.join(str(error).split())}") from error
    return check_number(where, found)


def _check_derivative(name: str, base: tuple[str, Function], derivative: tuple[str, float], z: float) -> None:
    """Raise InvalidInput unless (argument, σ^(k+1)(z)) is the difference quotient of (argument, σ^(k)) at z."""
    (below, function), (argument, found) = base, derivative
    worst, nearest = math.inf, math.nan
    for h in DISTANCES:
        at = {k: _number(name, below, function, z + k * h) for k in (-2, -1, 1, 2)}
        quotient = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h)  # off by h⁴ and the rounding of f / h
        size = 1 + abs(found) + max(map(abs, at.values()))
        if abs(quotient - found) / size < worst:
            worst, nearest = abs(quotient - found) / size, quotient
    if worst > TOLERANCE:
        raise InvalidInput(
            f"{argument} of activation {name!r} is {found:.6g} at z = {z:.6g}, but differences of {below} give"
            f" {nearest:.6g}"
        )
