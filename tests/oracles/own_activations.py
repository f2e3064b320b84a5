"""Activations as users write them: functions of one float."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

import simdrop

Function = Callable[[float], float]


def swish() -> tuple[Function, ...]:
    """z s(z), s the sigmoid, with three derivatives."""

    def value(z: float) -> float:
        return z / (1 + math.exp(-z))

    def slope(z: float) -> float:
        s = 1 / (1 + math.exp(-z))
        return s + z * s * (1 - s)

    def curvature(z: float) -> float:
        s = 1 / (1 + math.exp(-z))
        return s * (1 - s) * (2 + z * (1 - 2 * s))

    def third(z: float) -> float:
        s = 1 / (1 + math.exp(-z))
        g = s * (1 - s)
        return g * ((1 - 2 * s) * (3 + z * (1 - 2 * s)) - 2 * z * g)

    return value, slope, curvature, third


def leaky() -> tuple[Function, ...]:
    """A kink, whole numbers, and a number from around the functions."""
    rate = 0.125
    return lambda z: z if z > 0 else rate * z, lambda z: 1 if z > 0 else rate, lambda z: 0


def python_only() -> tuple[Function, ...]:
    """Functions that Numba cannot compile, with an error of arithmetic far out."""

    def power(z: float, times: float) -> float:
        return float(str(times)) * math.exp(z / 2)

    return tuple(lambda z, k=k: power(z, 0.5**k) for k in range(4))


OWN = {"own_swish": swish, "leaky": leaky, "python_only": python_only}


def register(name: str) -> None:
    """Register one of these."""
    value, slope, curvature, *third = OWN[name]()
    simdrop.activations.register(name, value, slope, curvature, third=third[0] if third else None)


def problem(activation: str) -> simdrop.Problem:
    """A small problem with one of these or of the table."""
    x = np.linspace(-1, 1, 4)
    return simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7, activation=activation, output_scale=0.8)


def train(activation: str, backend: str) -> xr.Dataset:
    """Some steps of three members, all parameters recorded."""
    here = problem(activation)
    options: dict[str, Any] = {"lr": 0.1, "steps": 8, "members": 3, "record": 3, "keep_theta": True}
    return simdrop.simulate(here, here.init(seed=1), backend=backend, **options)


def paths(activation: str, backend: str) -> xr.Dataset:
    """Three paths of the stochastic equation of second order, whose drift has σ''."""
    here = problem(activation)
    options: dict[str, Any] = {"lr": 0.1, "times": [0.2, 0.4], "order": 2, "members": 3, "keep_theta": True}
    return simdrop.sme(here, here.init(seed=1), backend=backend, **options)


def after_registering(name: str, job: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a job returns in a process that has the activation."""
    register(name)
    return job(*arguments, **options)
