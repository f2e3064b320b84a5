"""What `order` found, as a dataset and in plain numbers: distances, slopes, floors and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import provenance
from ...output.storage import texts
from ...output.variables import described
from ...problem import Problem
from ..case import COVARIANCE, QUANTITIES
from ..distances import WORDS, Array
from ..predictions import PREDICTIONS
from .fit import RESOLVED, RULE, consistent, fit_floor, fit_slope, local_slopes, missing
from .scheme import uneven

if TYPE_CHECKING:
    import xarray as xr

#: what is measured: means, and the covariance of the parameters
MEASURED = (*QUANTITIES, COVARIANCE)


def distances_of(distances: Array, kinds: Sequence[str], lrs: list[float]) -> xr.Dataset:
    """Distances (kind, quantity, lr, 4), their errors, those of schemes and their steps, as a dataset."""
    import xarray as xr

    value, error, scheme, steps = (distances[..., k] for k in range(4))
    axes = ("kind", "quantity", "lr")
    with np.errstate(invalid="ignore"):
        resolved = value >= RESOLVED * error
    coords = {"kind": texts(kinds), "quantity": texts(MEASURED), "lr": lrs}
    found = {"distance": (axes, value), "error": (axes, error), "scheme_error": (axes, scheme)}
    found["scheme_steps"] = axes, steps
    return described(xr.Dataset(found | {"resolved": (axes, resolved)}, coords), WORDS)


def _freedom(name: str, settings: dict[str, Any]) -> int:
    """Degrees of freedom of the standard errors of a prediction."""
    return int(settings["paths" if PREDICTIONS[name].members is not None else "groups"]) - 1


def _sampled(name: str) -> str:
    """The argument of `order` that says how much is sampled of what makes most of a prediction's errors."""
    one = PREDICTIONS[name]
    return "sme_members" if one.equation else "members" if one.members is None else "paths"


def summary_of(
    problem: Problem, errors: xr.Dataset, settings: dict[str, Any], failures: list[str], seconds: float
) -> dict[str, Any]:
    """The summary: plain numbers and texts."""
    lrs = errors["lr"].values
    found: dict[str, Any] = {}
    for name in map(str, errors["kind"].values):
        rows = {}
        for quantity in MEASURED:
            row = errors.sel(kind=name, quantity=quantity)
            measured = lrs, row["distance"].values, row["error"].values
            claim = PREDICTIONS[name].claim(quantity)
            slope = fit_slope(*measured)
            scheme, own = row["scheme_error"].values, row["scheme_steps"].values
            sampling = np.sqrt(np.maximum(measured[2] ** 2 - scheme**2, 0))
            floor = fit_floor(
                *measured[:2], sampling, claim, freedom=_freedom(name, settings), uneven=uneven(lrs, scheme, own)
            )
            rows[quantity] = {
                "distance": row["distance"].values.tolist(),
                "error": row["error"].values.tolist(),
                "scheme_error": row["scheme_error"].values.tolist(),
                "resolved": row["resolved"].values.tolist(),
                "slope": None if slope is None else slope.value,
                "slope_error": None if slope is None else slope.error,
                "slope_interval_95": None if slope is None else list(slope.interval),
                "slope_from_lrs": None if slope is None else list(slope.lrs),
                "order": "not resolved" if slope is None or slope.order is None else slope.order,
                "local_slopes": local_slopes(*measured[:2]),
                "floor": None if floor is None else floor.value,
                "floor_error": None if floor is None else floor.error,
                "floor_remainder": None if floor is None else floor.remainder,
                "floor_below_95": None if floor is None else floor.most,
                "floor_from_lrs": None if floor is None else list(floor.lrs),
                "consistent": consistent(floor, claim),
                "missing": missing(floor, claim, _sampled(name)),
            }
        found[name] = rows
    return {
        "problem": provenance.of_problem(problem),
        "settings": settings,
        "rule": RULE,
        "kinds": found,
        "claimed_orders": {
            name: {quantity: PREDICTIONS[name].claim(quantity) for quantity in MEASURED} for name in found
        },
        "failures": failures,
        "diverged": {f"{lr:g}": int(count) for lr, count in zip(lrs, errors["diverged"].values, strict=True)},
        "seconds": seconds,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
