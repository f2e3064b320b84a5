"""`flow` of every kind over its space: where it starts, where it heads, what it follows, in every form of its input."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from conformance import pairwise
from conformance.pairwise import Configuration
from conformance.space import FORMS
from conformance.theory_space import THETAS
from numpy.typing import NDArray

import simdrop
from simdrop import theory
from simdrop.checks.numbers import MIN_KEEP_PROB
from simdrop.theory.flows.table import flows
from simdrop_kernels.contract.network import MASKS, TRAINS
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS

Array = NDArray[np.float64]

#: the integrators' tolerances here
RTOL, ATOL = 1e-11, 1e-13
#: how far a flow is followed for its direction, in units of the time in which its steepest direction relaxes
AHEAD = 0.01
#: a direction by three points has an error of AHEAD²/3, relatively, and a stiff solver's, 10³ RTOL / AHEAD, at most
DIRECTION = 1e-3
#: of the distance between SGD and the plain flow under its masks, what the corrected one leaves: about lr over the time
#: in which the steepest direction relaxes, which is 0.01 at most here
LEFT = 0.1

TIMES: dict[str, Any] = {
    "list": list,
    "array": np.array,
    "xarray": lambda times: xr.DataArray(times, dims="time"),
    "read-only": FORMS["read-only"],
}

AXES: dict[str, Sequence[Any]] = {
    "activation": tuple(ACTIVATIONS),
    "kind": tuple(kind for kind in flows() if kind != "manifold"),  # whose start is another: tests/theory/test_manifold
    "form": tuple(FORMS),
    "theta": tuple(name for name, (lead, _) in THETAS.items() if not lead),
    "times": tuple(TIMES),
    "method": ("auto", "DOP853", "RK45", "LSODA", "BDF"),
    "mask": MASKS,
    "keep_prob": (0.9, 0.3, 1.0, MIN_KEEP_PROB),
    "inputs": (1, 2, 5),
    "outputs": (1, 2, 3),
    "samples": (1, 2, 7),
    "width": (1, 2, 16),
    "bias": (True, False),
    "train": TRAINS,
    "output_scale": (1.0, "1/sqrt(m)", "1/m"),
    "lr": (0.01, 0.1),  # in units of the time in which the steepest direction relaxes
}


def _allowed(chosen: Configuration) -> bool:
    """Whether `flow` allows these levels beside each other; axes may be missing."""
    return chosen.get("kind") not in ("pathwise", "pathwise-plain") or chosen.get("method", "auto") in (
        "auto",
        "DOP853",
        "RK45",
    )


@functools.cache
def _covering() -> list[Configuration]:
    return pairwise.covering(AXES, _allowed)


class _Case(NamedTuple):
    """A flow: the problem and theta0 as a user has them, and plain; lr and the time of the steepest direction."""

    problem: simdrop.Problem
    given: Any
    plain: simdrop.Problem
    theta0: Array
    lr: float
    relaxes: float
    options: dict[str, Any]

    def follow(self, times: Any, *, plain: bool = False, **more: Any) -> xr.Dataset:
        """The flow at `times`, from the plain arrays or from what the user has."""
        problem, theta0 = (self.plain, self.theta0) if plain else (self.problem, self.given)
        return simdrop.flow(problem, theta0, lr=self.lr, times=times, rtol=RTOL, atol=ATOL, **self.options | more)


def _case(chosen: Configuration) -> _Case:
    drawing, form = np.random.default_rng(pairwise.number(chosen)), FORMS[chosen["form"]]
    n, d, c = chosen["samples"], chosen["inputs"], chosen["outputs"]
    x, y = (drawing.integers(-2, 3, (n, k)).astype(float) for k in (d, c))
    names = ("width", "keep_prob", "activation", "mask", "bias", "train", "output_scale")
    plain = simdrop.Problem(x, y, **{name: chosen[name] for name in names})
    theta0 = drawing.choice([-2.0, -1.0, 1.0, 2.0], plain.n_params)
    if chosen["theta"] != "integer":
        theta0 = (theta0 * drawing.uniform(0.1, 0.5, theta0.shape)).astype(np.float32).astype(float)
    # a bound of the curvature under every mask, so of its mean too
    a, w = plain.split(theta0)
    z = plain.inputs @ w.T
    h, slope, bend = plain.sigma.derivatives(z, 2)
    size = np.square(plain.inputs).sum(axis=1).max()
    features = np.square(h).sum(axis=1).max() + np.square(a).sum() * size * np.square(slope).max()
    residual = np.abs(plain.scale * np.abs(h) @ np.abs(a).T / chosen["keep_prob"] + np.abs(y)).max() * c
    bends = np.abs(slope).max() * np.sqrt(size) + np.abs(a).max() * size * np.abs(bend).max()
    sharpest = (plain.scale / chosen["keep_prob"]) ** 2 * features + plain.scale / chosen[
        "keep_prob"
    ] * residual * bends
    sharpest = max(sharpest, 1.0)  # nothing moves where the inputs are zero
    problem, given = replace(plain, x=form(x), y=form(y)), THETAS[chosen["theta"]][1](theta0)
    options: dict[str, Any] = {"kind": chosen["kind"], "method": chosen["method"]}
    if chosen["kind"] == "mean-covariance" and chosen["method"] == "BDF":
        options["rank"] = 3  # the covariance as a matrix is not for this method
    return _Case(problem, given, plain, theta0, float(chosen["lr"] / sharpest), float(1 / sharpest), options)


def _slope(case: _Case) -> Array:
    """Minus what θ' is at theta0, from the gradients and Hessians of `theory`, which differences and masks confirm."""
    known = (case.plain, case.theta0)
    match case.options["kind"]:
        case "gradient":
            return theory.gradient(*known, objective="risk")
        case "averaged" | "second-order":  # one flow for the squared loss
            return theory.gradient(*known, objective="risk+r1")
        case "modified":
            return theory.gradient(*known, objective="risk+r1+r2", lr=case.lr)
        case "mean-covariance":
            mean = theory.mean_gradient(*known)
            return mean + case.lr / 2 * theory.hessian_product(*known, mean)
        case _:
            step = {"seed": 0, "member": 0, "step": 0, "width": case.plain.width, "keep_prob": case.plain.keep_prob}
            samples = case.plain.n_samples if case.plain.mask == "sample" else None
            return theory.dropout_gradient(*known, simdrop.masks(**step, samples=samples))


def _off_course(case: _Case) -> float:
    """The largest difference between the direction of a flow at its start and its slope there, beside the slope."""
    plain = {"corrected": False} if case.options["kind"] == "pathwise" else {}
    h = AHEAD * min(case.relaxes, case.lr / AHEAD / 2)  # and within the first step
    theta = case.follow([0.0, h, 2 * h], plain=True, **plain)["theta"].values
    assert np.array_equal(theta[0], case.theta0)
    direction = (4 * theta[1] - theta[2] - 3 * theta[0]) / (2 * h)
    slope = _slope(case)
    rounding = 1e-15 * np.abs(case.theta0).max() / h
    return float((np.abs(direction + slope).max() - rounding) / (np.abs(slope).max() or 1.0))


def test_flows_head_down_the_gradient() -> None:
    off = {repr(chosen): _off_course(_case(chosen)) for chosen in _covering()}
    assert max(off.values()) <= DIRECTION, {chosen: size for chosen, size in off.items() if size > DIRECTION}


def test_no_form_of_the_input_changes_a_bit() -> None:
    for chosen in _covering():
        case = _case(chosen)
        times = np.array([0.0, 1, 2.5]) * case.lr
        ours, plain = case.follow(TIMES[chosen["times"]](times)), case.follow(times, plain=True)
        assert np.array_equal(ours["theta"][0], case.theta0), chosen
        for name in ours.data_vars:
            assert np.isfinite(ours[name]).all(), (name, chosen)
            assert np.array_equal(ours[name], plain[name]), (name, chosen)


def test_pathwise_flows_follow_sgd_under_its_masks() -> None:
    wrong, told = [], 0
    for chosen in _covering():
        if chosen["kind"] != "pathwise":
            continue
        case = _case(chosen)._replace(lr=0.01 * _case(chosen).relaxes)
        steps = 10
        more = {"lr": case.lr, "steps": steps, "members": 3, "seed": 5, "record": [steps], "keep_theta": True}
        sgd = simdrop.simulate(case.plain, case.theta0, backend="numpy", **more)["theta"].values[-1, 2]
        after, off = [steps * case.lr], {}
        for corrected in (True, False):
            theta = case.follow(after, seed=5, member=2, corrected=corrected)["theta"].values[-1]
            off[corrected] = np.abs(theta - sgd).max()
        resolved = off[False] > 1e-10 * np.abs(case.theta0).max()
        told += resolved
        if off[True] > LEFT * off[False] + 1e-11 * np.abs(case.theta0).max():
            wrong.append(f"{off} at {chosen}")
    assert not wrong, "\n".join(wrong)
    assert told >= 5


@pytest.mark.parametrize("kind", [kind for kind in AXES["kind"] if kind != "gradient"])
def test_the_comparison_tells_every_kind_from_plain_gradient_flow(kind: str) -> None:
    chosen: Configuration = {name: levels[0] for name, levels in AXES.items()}
    case = _case(chosen | {"kind": kind, "width": 16, "samples": 7, "keep_prob": 0.3, "lr": 0.1})
    assert _off_course(case) < DIRECTION
    assert _off_course(case._replace(options={"kind": "gradient", "method": "auto"})) < DIRECTION
    other = _slope(case)
    plain = _slope(case._replace(options={"kind": "gradient"}))
    assert np.abs(other - plain).max() > 10 * DIRECTION * np.abs(plain).max()
