"""The space of what `simdrop.sme` takes, in the terms of `space`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from conformance import pairwise
from conformance.pairwise import Configuration
from conformance.space import FORMS

import simdrop
from simdrop.checks.numbers import MIN_KEEP_PROB
from simdrop_kernels.contract.network import MASKS, TRAINS
from simdrop_kernels.contract.noise import PARTS, PLACES
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

MEMBERS = 6  # three groups of pairs

#: times in units of lr
TIMES: dict[str, Any] = {
    "start": lambda lr: [0.0, lr, 2.5 * lr],
    "one": lambda lr: 3 * lr,
    "apart": lambda lr: np.array([0.25, 4]) * lr,
    "xarray": lambda lr: xr.DataArray(np.array([1.0, 2]) * lr, dims="time"),
}

RECORDINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "theta": {"keep_theta": True, "quantiles": (0.0, 0.5)},
    "grid": {"keep_theta": [5, 0], "grid": True, "groups": 3},
    "covariance": {"keep_theta": True, "covariance": True, "quantiles": ()},
    "some": {"covariance": [0, 1], "grid": True, "groups": 3},
}

BLOCKS: dict[str, dict[str, Any]] = {"default": {}, "pairs": {"block_size": 2, "threads": 3}, "one": {"threads": 1}}

#: how a start may be had: for all paths, or for each of them
STARTS: dict[str, Any] = {
    "shared": np.array,
    "shared list": np.ndarray.tolist,
    "shared xarray": lambda theta0: xr.DataArray(theta0, dims="param"),
    "members": np.array,
    "members fortran": np.asfortranarray,
    "members read-only": FORMS["read-only"],
}

#: what Numba compiles anew for each: activation, dtype and increments
COMPILED = tuple(
    (activation, dtype, increments)
    for activation in ACTIVATIONS
    for dtype in ("float64", "float32")
    for increments in ("normal", "masks")
)

AXES: dict[str, Sequence[Any]] = {
    "compiled": COMPILED,
    "form": tuple(FORMS),
    "inputs": (1, 2, 5),
    "outputs": (1, 2, 3),
    "samples": (1, 2, 7),
    "width": (1, 2, 3, 16, 40),
    "keep_prob": (0.9, 0.5, 1.0, MIN_KEEP_PROB),
    "order": (2, 1),
    "scheme": ("rk4", "heun", "euler"),
    "mask": MASKS,
    "train": TRAINS,
    "bias": (True, False),
    "output_scale": (1.0, "1/sqrt(m)", "1/m"),
    "law": ("bernoulli", "gaussian"),
    "masks": (1, 3),
    "batch": ("whole", "one", "half", "twice"),
    "label": (0.0, 0.3),
    "parameter": (0.0, 0.2),
    "part": PARTS,
    "connect": (1.0, 0.7),
    "place": PLACES,
    "weight_decay": (0.0, 0.3),
    "antithetic": (False, True),
    "start": tuple(STARTS),
    "substeps": (1, None, 3),
    "times": tuple(TIMES),
    "recording": tuple(RECORDINGS),
    "blocks": tuple(BLOCKS),
    "seed": (0, 2**40 + 17),
}

#: samples of a minibatch, for n samples; None for all
_BATCHES: dict[str, Any] = {"one": lambda n: 1, "half": lambda n: (n + 1) // 2, "twice": lambda n: 2 * n}

#: backend -> the levels that it takes, on the axes on which it does not take all. Numba compiles some tens of seconds
#: for each level of "compiled": these have every kind of activation (smooth, by the error function, with a kink)
TAKEN: dict[str, dict[str, Sequence[Any]]] = {
    "numpy": {},
    "native": {"connect": (1.0,), "place": ("both",), "weight_decay": (0.0,)},
    "numba": {
        "compiled": (
            ("tanh", "float64", "normal"),
            ("tanh", "float64", "masks"),
            ("gelu", "float32", "normal"),
            ("relu", "float32", "masks"),
        ),
    },
    "cuda": {
        "compiled": tuple(levels for levels in COMPILED if levels[2] == "normal"),
        "law": ("bernoulli",), "batch": ("whole",), "label": (0.0,), "parameter": (0.0,), "connect": (1.0,),
        "place": ("both",), "weight_decay": (0.0,),
    },
}  # fmt: skip


def allowed(chosen: Configuration) -> bool:
    """Whether `sme` allows these levels beside each other; axes may be missing."""
    connected, placed = chosen.get("connect", 1) < 1, chosen.get("place", "both") != "both"
    if connected and placed:
        return False
    return not (connected or placed) or "compiled" not in chosen or chosen["compiled"][2] == "masks"


def compiled(chosen: Configuration) -> bool:
    """Whether there are compiled kernels for these levels, of those in TAKEN; axes may be missing."""
    if chosen.get("connect", 1) < 1 and chosen.get("order") == 2:
        return False
    shared = chosen.get("mask") == "step" and chosen.get("batch", "whole") != "whole"
    return allowed(chosen) and not (shared and "compiled" in chosen and chosen["compiled"][2] == "normal")


@functools.cache
def covering(backend: str) -> list[Configuration]:
    """Configurations that a backend takes, among which every allowed pair of levels occurs."""
    return pairwise.covering(AXES | TAKEN[backend], allowed if backend in ("numpy", "native") else compiled)


def call(chosen: Configuration) -> tuple[simdrop.Problem, dict[str, Any]]:
    """The problem of a configuration, and the arguments of `sme` after it but for the backend."""
    drawing, form = np.random.default_rng(pairwise.number(chosen)), FORMS[chosen["form"]]
    activation, dtype, increments = chosen["compiled"]
    n, d, c = chosen["samples"], chosen["inputs"], chosen["outputs"]
    x, y = (drawing.integers(-2, 3, (n, k)).astype(float) for k in (d, c))
    problem = simdrop.Problem(
        form(x), form(y), width=chosen["width"], bias=chosen["bias"], keep_prob=chosen["keep_prob"],
        activation=activation, mask=chosen["mask"], output_scale=chosen["output_scale"], train=chosen["train"],
        weight_decay=chosen["weight_decay"],
    )  # fmt: skip
    members = MEMBERS if chosen["start"].startswith("members") else None
    theta0 = problem.init(seed=1, scale=1 / np.sqrt(d + c * problem.width), members=members)
    # below the inverse of the sharpest curvature, under a mask that keeps, so that rounding does not grow
    inputs = np.square(problem.inputs).sum(axis=1).mean()
    lr = float(0.02 * problem.keep_prob**2 / (problem.scale**2 * (1 + inputs)))
    recording = dict(RECORDINGS[chosen["recording"]])
    if recording.get("grid"):
        recording["grid"] = form(x[: min(n, 3)])
    noise = simdrop.Noise(
        law=chosen["law"], masks=chosen["masks"], label=chosen["label"], parameter=chosen["parameter"],
        part=chosen["part"], connect=chosen["connect"], place=chosen["place"], replace=chosen["batch"] == "twice",
        batch_size=_BATCHES.get(chosen["batch"], lambda n: None)(n),
    )  # fmt: skip
    return problem, {
        "theta0": STARTS[chosen["start"]](theta0),
        "lr": lr,
        "times": TIMES[chosen["times"]](lr),
        "members": MEMBERS,
        "noise": noise,
        "increments": increments,
        "dtype": dtype,
        **{name: chosen[name] for name in ("order", "scheme", "antithetic", "substeps", "seed")},
        **recording,
        **BLOCKS[chosen["blocks"]],
    }
