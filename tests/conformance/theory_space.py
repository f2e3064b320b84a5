"""The space of problems and points that `simdrop.theory` takes, small enough for a sum over all masks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from conformance import pairwise
from conformance.pairwise import Configuration
from conformance.space import FORMS

import simdrop
from simdrop.checks.numbers import MIN_KEEP_PROB
from simdrop_kernels.contract.network import MASKS, TRAINS
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

#: name -> leading axes of theta, and the form in which users may have it
THETAS: dict[str, tuple[tuple[int, ...], Any]] = {
    "array": ((), np.array),
    "list": ((), np.ndarray.tolist),
    "read-only": ((), FORMS["read-only"]),
    "strided": ((), lambda theta: np.repeat(theta, 3)[::3]),
    "xarray": ((), lambda theta: xr.DataArray(theta, dims="param")),
    "float32": ((), lambda theta: theta.astype(np.float32)),
    "integer": ((), lambda theta: theta.astype(np.int64)),
    "members": ((3,), np.array),
    "members list": ((1,), np.ndarray.tolist),
    "fortran": ((2, 2), np.asfortranarray),
    "runs": ((2, 3), lambda theta: xr.DataArray(theta, dims=("time", "member", "param"))),
}

AXES: dict[str, Sequence[Any]] = {
    "activation": tuple(ACTIVATIONS),
    "form": tuple(FORMS),
    "theta": tuple(THETAS),
    "mask": MASKS,
    "keep_prob": (0.9, 0.3, 1.0, MIN_KEEP_PROB),
    "given": ("problem", "argument"),
    "inputs": (1, 2, 5),
    "outputs": (1, 2, 3),
    "samples": (1, 2, 3),
    "width": (1, 2, 3, 4, 8),
    "bias": (True, False),
    "train": TRAINS,
    "output_scale": (1.0, "1/sqrt(m)", "1/m", 0.3),
    "lr": (0.1, 1e-6),
}

#: noise -> fields of `simdrop.Noise`
NOISES: dict[str, dict[str, Any]] = {
    "masks": {"masks": 2},
    "gaussian": {"law": "gaussian"},
    "batch": {"batch_size": 1},
    "replaced": {"batch_size": 2, "replace": True},
    "label": {"label": 0.3, "masks": 2},
    "parameter": {"parameter": 0.2, "batch_size": 1},
    "connect": {"connect": 0.6, "batch_size": 1},
}

#: for sums over all noise of a step: smaller sizes, for its draws are more than the masks
NOISE_AXES = AXES | {
    "noise": tuple(NOISES),
    "form": ("array", "list"),
    "theta": ("array", "members"),
    "inputs": (1,),
    "outputs": (1, 2),
    "samples": (1, 2),
    "width": (1, 2),
    "output_scale": (1.0, 0.3),
    "keep_prob": (0.9, 0.3, 1.0),
}


def allowed(chosen: Configuration) -> bool:
    """Whether all masks are few enough to sum over, and the noise fits; axes may be missing."""
    if chosen.get("noise") == "replaced" and chosen.get("samples") == 1:
        return False
    samples = chosen.get("samples", 1) if chosen.get("mask", "step") == "sample" else 1
    return bool(samples * chosen.get("width", 1) <= 9)


@functools.cache
def covering(*, noise: bool = False) -> list[Configuration]:
    """Configurations among which every allowed pair of levels occurs; with other noise than dropout's."""
    return pairwise.covering(NOISE_AXES if noise else AXES, allowed)


class Point(NamedTuple):
    """What a function of theory is called with, and plainly.

    problem, theta, options: as a user has them; plain, rows (K, P): the problem with the keep probability that is meant
    and all theta, as arrays; lead: the leading axes of theta.
    """

    problem: simdrop.Problem
    theta: Any
    options: dict[str, Any]
    plain: simdrop.Problem
    rows: np.ndarray
    lead: tuple[int, ...]


def call(chosen: Configuration) -> Point:
    """The problem and the point of a configuration."""
    drawing, form = np.random.default_rng(pairwise.number(chosen)), FORMS[chosen["form"]]
    n, d, c = chosen["samples"], chosen["inputs"], chosen["outputs"]
    if chosen["form"] == "integer":
        x, y = drawing.integers(-2, 3, (n, d)).astype(float), drawing.integers(-2, 3, (n, c)).astype(float)
    else:  # numbers that float32 holds
        x, y = (drawing.standard_normal((n, k)).astype(np.float32).astype(float) for k in (d, c))
    known: dict[str, Any] = {name: chosen[name] for name in ("width", "activation", "mask", "bias", "train")}
    plain = simdrop.Problem(x, y, keep_prob=chosen["keep_prob"], output_scale=chosen["output_scale"], **known)
    problem, options = replace(plain, x=form(x), y=form(y)), {}
    if chosen["given"] == "argument":
        problem, options = replace(problem, keep_prob=0.77), {"keep_prob": chosen["keep_prob"]}
    lead, like = THETAS[chosen["theta"]]
    theta = drawing.standard_normal((*lead, plain.n_params)).astype(np.float32).astype(float)
    if chosen["theta"] == "integer":
        theta = drawing.choice([-2.0, -1.0, 1.0, 2.0], theta.shape)
    return Point(problem, like(theta), options, plain, theta.reshape(-1, plain.n_params), lead)
