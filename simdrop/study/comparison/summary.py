"""A comparison in short: the numbers that its table and summary.json show, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import provenance
from ...output.numbers import plus_minus
from ...problem import Noise, Problem
from ...simulation.run import lost_steps
from ..distances import Array, Estimate, root, share_removed, time_weights
from ..predictions import PREDICTIONS

if TYPE_CHECKING:
    import xarray as xr

QUANTITY_NAMES = {"parameters": "the mean parameters", "function": "the mean function", "risk": "the mean risk"}


def summarize(
    problem: Problem,
    runs: xr.Dataset,
    flows: xr.Dataset,
    distances: xr.Dataset,
    squared: dict[tuple[str, str], Estimate],
    *,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Settings, numbers with standard errors, verdict, divergence, work, timings, machine: plain values."""
    times, lost = runs["time"].values, lost_steps(runs)
    last = np.zeros(len(times))
    last[-1] = 1
    spans = {"final": last, "rms": time_weights(times)}
    noise = distances["noise"]
    quantities = {
        str(quantity): {
            "noise": {span: float(np.sqrt(noise.sel(quantity=quantity).values ** 2 @ w)) for span, w in spans.items()},
            "flows": {
                str(kind): _numbers(squared, str(quantity), str(kind), spans, lost.max() >= 0)
                for kind in flows["kind"].values
            },
        }
        for quantity in distances["quantity"].values
    }
    _add_own_noise(quantities, distances, spans)
    about: dict[str, Any] = {
        "command": "compare",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "problem": provenance.of_problem(problem) | {"n_inputs": problem.x.shape[1], "n_params": problem.n_params},
        "simulation": {
            name: runs.attrs[name]
            for name in ("lr", "steps", "members", "seed", "dtype", "backend", "backend_reason", "threads")
        },
        "noise": {name: runs.attrs[name] for name in provenance.of_noise(Noise(), problem)},
        "time": {"final": float(times[-1]), "recorded": len(times)},
        "groups": runs.sizes["group"],
        "grid_points": runs.sizes["point"],
        "quantities": quantities,
        "sizes": _final_sizes(distances),
        "diverged": {
            "members": int((lost >= 0).sum()),
            "steps": {str(member): int(lost[member]) for member in np.flatnonzero(lost >= 0)},
            "blown_up": int(((runs["blown_up"].values >= 0) & (runs["diverged"].values < 0)).sum()),
            "risk_limit": runs.attrs["risk_limit"],
        },
        "work": {
            "updates": int(runs.attrs["updates"]),
            "kernel_seconds": float(runs.attrs["kernel_seconds"]),
            "flow_evaluations": {
                str(kind): int(flows.attrs[f"{kind} nfev"])
                for kind in flows["kind"].values
                if f"{kind} nfev" in flows.attrs
            },
        },
        "seconds": seconds,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
    }
    if "test_risk_mean" in runs:
        about["test"] = _at_end(runs)
    about["verdict"] = _verdict(about, squared, spans)
    return about


def _at_end(runs: xr.Dataset) -> dict[str, dict[str, float]]:
    """Means over members at the end, with standard errors, on the data and on the test set."""
    names = [name for name in ("risk", "test_risk", "accuracy", "test_accuracy") if f"{name}_mean" in runs]
    root_of_members = np.sqrt(float(runs["alive"].values[-1]))
    return {
        name: {
            "mean": float(runs[f"{name}_mean"].values[-1]),
            "error": float(runs[f"{name}_std"].values[-1] / root_of_members),
        }
        for name in names
    }


def _add_own_noise(quantities: dict[str, Any], distances: xr.Dataset, spans: dict[str, Array]) -> None:
    """Add the sampling noise of predictions that are sampled themselves to their numbers."""
    for kind in distances["kind"].values if "own_noise" in distances else ():
        if PREDICTIONS[str(kind)].equation is None:
            continue
        for quantity, numbers in quantities.items():
            own = distances["own_noise"].sel(quantity=quantity, kind=kind).values
            for span, weights in spans.items():
                numbers["flows"][str(kind)][span]["own_noise"] = float(np.sqrt(own**2 @ weights))


def _numbers(
    squared: dict[tuple[str, str], Estimate], quantity: str, kind: str, spans: dict[str, Array], lost: bool
) -> dict[str, dict[str, float]]:
    """Distance, share removed and their standard errors, at the final time and over the run.

    resolved: whether the square of the distance is above two of its standard errors.
    """
    found = {}
    for span, weights in spans.items():
        own, plain = (squared[quantity, name].average(weights) for name in (kind, "gradient"))
        distance, error = root(own.value, own.error, lost=lost)
        resolved = bool(own.value > 2 * own.error)
        found[span] = {"distance": float(distance), "error": float(error), "resolved": resolved}
        if kind != "gradient":
            share, share_error = share_removed(own, plain)
            found[span] |= {"share_removed": float(share), "share_error": float(share_error)}
    return found


def _final_sizes(distances: xr.Dataset) -> dict[str, dict[str, dict[str, float]]]:
    """Values and norms of gradients of R_S, R_1 and R_2 where each path ends."""
    ends = distances[["value", "gradient_norm"]].isel(time=-1)
    return {
        str(path): {
            str(term): {name: float(ends[name].sel(path=path, term=term)) for name in ("value", "gradient_norm")}
            for term in ends["term"].values
        }
        for path in ends["path"].values
    }


def _verdict(summary: dict[str, Any], squared: dict[tuple[str, str], Estimate], spans: dict[str, Array]) -> list[str]:
    """Sentences that say what the numbers at the final time and over the run mean."""
    sentences = []
    at_end = f"at t = {summary['time']['final']:g}"
    for quantity, name in QUANTITY_NAMES.items():
        numbers = summary["quantities"][quantity]
        plain = numbers["flows"]["gradient"]["final"]
        own = squared[quantity, "gradient"].average(spans["final"])
        if not own.value > 2 * own.error:
            sentences.append(
                f"Plain gradient flow cannot be distinguished from {name} {at_end}: {_why(summary)}, for a test of the"
                " theory."
            )
            continue
        times_noise = plain["distance"] / numbers["noise"]["final"] if numbers["noise"]["final"] > 0 else np.inf
        text = f"Plain gradient flow misses {name} {at_end} by {plus_minus(plain['distance'], plain['error'])}"
        if np.isfinite(times_noise):
            text += f", {times_noise:.3g} times the sampling noise"
        for kind, values in numbers["flows"].items():
            if kind != "gradient":
                found = values["final"]
                share = f"{plus_minus(100 * found['share_removed'], 100 * found['share_error'])} %"
                text += f"; {PREDICTIONS[kind].words} removes {share} of that"
        sentences.append(text + ".")
    sentences += _closer(squared, spans)
    lost = summary["diverged"]
    if lost["members"]:
        blown_up = lost["blown_up"]
        limit = f" ({blown_up} by a risk above {lost['risk_limit']:g} times that at the start)" if blown_up else ""
        sentences.append(
            f"{lost['members']} of {summary['simulation']['members']} networks"
            f"{limit} diverged and left the"
            " means, which are therefore biased towards those that did not."
        )
    return sentences


def _why(summary: dict[str, Any]) -> str:
    """Why a distance may not be resolved."""
    if summary["diverged"]["members"]:
        return "networks diverge, and those close to it spread too far"
    return "the ensemble is too small, or dropout does too little"


def _closer(squared: dict[tuple[str, str], Estimate], spans: dict[str, Array]) -> list[str]:
    """Whether each prediction is closer to the mean parameters over the run than the one before it in the table."""
    kinds = [kind for quantity, kind in squared if quantity == "parameters" and kind != "gradient"]
    return [_step(squared, spans["rms"], *pair) for pair in pairwise(kinds)]


def _step(squared: dict[tuple[str, str], Estimate], weights: Array, before: str, after: str) -> str:
    """A sentence on how much closer one prediction is than another."""
    gain = squared["parameters", before].average(weights).minus(squared["parameters", after].average(weights))
    size, error = float(gain.value), float(gain.error)
    first, second = PREDICTIONS[after].words, PREDICTIONS[before].words
    if first.endswith(" flow"):
        second = second.removesuffix(" flow") + " one" if second.endswith(" flow") else second
    if not abs(size) > 3 * error:
        both = f"{first} and {second} are equally far from the mean parameters"
        return f"Over the run, {both}, within three standard errors."
    how = "closer to" if size > 0 else "farther from"
    certainty = f" ({abs(size) / error:.0f} standard errors)" if abs(size) < 1e4 * error else ""
    return f"Over the run, {first} is {how} the mean parameters than {second}{certainty}."


def distance_text(value: float, error: float) -> str:
    """A distance and its error as `plus_minus` has them, or the bound where its square came out as 0 or less."""
    # the error is then half the root of that of the square
    return f"below {2 * error:.2g}" if value == 0 and error > 0 else plus_minus(value, error)
