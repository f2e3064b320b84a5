"""Flows under further noise and with the mask in other places, against enumeration and against ensembles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import noise_enumeration

import simdrop
from simdrop import Noise, theory

Array = NDArray[np.float64]
PLACES = ("forward", "update", "independent")
#: time over which a direction is taken, by three points: its error is AHEAD² times a third derivative of some hundreds
AHEAD, CLOSE = 1e-4, 1e-5


def _problem(**settings: Any) -> simdrop.Problem:
    found: simdrop.Problem = noise_enumeration.problem(**{"width": 2, "outputs": 2, "samples": 2} | settings)
    return found


def _mean(problem: simdrop.Problem, theta: Array, noise: Noise) -> Array:
    """E G with weight decay, by enumeration."""
    found: Array = noise_enumeration.moments(problem, theta, noise)[1] + problem.weight_decay * theta
    return found


def _square(problem: simdrop.Problem, theta: Array, noise: Noise) -> float:
    """E|G|², by enumeration."""
    mean, spread = _mean(problem, theta, noise), noise_enumeration.moments(problem, theta, noise)[2]
    return float(mean @ mean + np.trace(spread))


def _differences(function: Any, theta: Array, step: float = 1e-4) -> Array:
    """The gradient (P,) of a function of theta, by central differences."""
    axes = step * np.eye(theta.size)
    return np.array([(function(theta + axis) - function(theta - axis)) / (2 * step) for axis in axes])


def _direction(problem: simdrop.Problem, theta: Array, variable: str = "theta", **options: Any) -> Array:
    """The derivative at time 0 of a variable of a flow, by three points."""
    found = simdrop.flow(problem, theta, times=[0, AHEAD, 2 * AHEAD], rtol=1e-12, atol=1e-14, **options)
    start, first, second = found[variable].values
    derivative: Array = (4 * first - second - 3 * start) / (2 * AHEAD)
    return derivative


NOISES = [
    *(({"place": place}, {"mask": mask}) for place in PLACES for mask in ("step", "sample")),
    ({"place": "independent", "masks": 2}, {"outputs": 1}),
    ({"place": "update", "batch_size": 1, "label": 0.4}, {"mask": "sample"}),
    ({"law": "gaussian"}, {"outputs": 1}),
    ({"law": "gaussian", "batch_size": 1}, {"mask": "sample"}),
    ({"batch_size": 2, "replace": True, "masks": 2}, {"outputs": 1}),
    ({"batch_size": 1, "label": 0.4, "parameter": 0.3}, {}),
    ({"part": "drift"}, {}),
]


@pytest.mark.parametrize(("knobs", "settings"), NOISES, ids=str)
def test_the_modified_flow_descends_the_second_moment_by_enumeration(knobs: Any, settings: Any) -> None:
    problem, noise, lr = _problem(**settings), Noise(**knobs), 0.7
    theta = problem.init(seed=1)
    whole = noise if noise.part == "both" else replace(noise, part="both")
    by_square = _differences(lambda at: _square(problem, at, whole), theta)
    if noise.part == "drift":
        by_square = _differences(lambda at: float(np.square(_mean(problem, at, whole)).sum()), theta)
    expected = -_mean(problem, theta, whole) - lr / 4 * by_square
    found = _direction(problem, theta, kind="modified", lr=lr, noise=noise)
    np.testing.assert_allclose(found, expected, rtol=CLOSE, atol=CLOSE)
    flow = simdrop.flow(problem, theta, lr=lr, times=0.0, kind="modified", noise=noise)
    mean = float(np.square(_mean(problem, theta, whole)).sum())
    square = mean if noise.part == "drift" else _square(problem, theta, noise)
    np.testing.assert_allclose(flow["r2"].values, lr / 4 * square, rtol=1e-12)


@pytest.mark.parametrize("train", ["both", "output", "input"])
@pytest.mark.parametrize("place", ["both", *PLACES])
def test_gradients_of_all_losses_in_a_place(place: Any, train: str) -> None:
    problem = replace(_problem(mask="sample", train=train, width=3, samples=3), weight_decay=0.2)
    noise, theta = Noise(place=place, batch_size=2, label=0.3, masks=2), problem.init(seed=2)
    for objective in ("r1", "r2", "risk+r1", "risk+r1+r2"):
        known: dict[str, Any] = {"objective": objective, "lr": 0.6, "noise": noise}
        expected = problem.freeze(_differences(lambda at, known=known: theory.loss(problem, at, **known), theta))
        np.testing.assert_allclose(theory.gradient(problem, theta, **known), expected, atol=1e-7)


@pytest.mark.parametrize("place", PLACES)
def test_mean_and_covariance_start_as_enumeration_says(place: Any) -> None:
    problem, noise, lr = _problem(), Noise(place=place), 0.3
    theta = problem.init(seed=3)
    mean, covariance = _mean(problem, theta, noise), noise_enumeration.moments(problem, theta, noise)[2]
    bent = _differences(lambda at: float(np.square(_mean(problem, at, noise)).sum()), theta)
    known: dict[str, Any] = {"kind": "mean-covariance", "lr": lr, "noise": noise}
    np.testing.assert_allclose(_direction(problem, theta, **known), -mean - lr / 4 * bent, rtol=CLOSE, atol=CLOSE)
    grown = _direction(problem, theta, "theta_cov", **known)
    np.testing.assert_allclose(grown, lr * covariance, rtol=CLOSE, atol=CLOSE)
    elsewhere = _direction(problem, theta, "theta_cov", kind="mean-covariance", lr=lr)
    assert np.abs(elsewhere - lr * covariance).max() > 1000 * CLOSE * np.abs(lr * covariance).max()


@pytest.mark.parametrize("place", ["both", *PLACES])
def test_a_mean_over_dropconnect_is_followed(place: Any) -> None:
    if place != "both":
        assert _line(lambda: Noise(place=place, connect=0.5)).startswith("connect < 1 needs place 'both'")
        return
    problem, noise = _problem(outputs=1), Noise(connect=0.6)
    theta = problem.init(seed=1)
    found = _direction(problem, theta, kind="averaged", lr=0.1, noise=noise)
    np.testing.assert_allclose(found, -_mean(problem, theta, noise), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_averaged_flows_of_a_mask_on_the_update_descend_the_risk(loss: Any) -> None:
    problem = simdrop.Problem([-1.0, 0.2, 1.0], [0.0, 1.0, 0.0], width=14, keep_prob=0.5, loss=loss)
    theta, known = problem.init(seed=0), {"lr": 0.1, "times": [1.0, 3.0]}
    plain = simdrop.flow(problem, theta, kind="gradient", **known)
    for kind in ("averaged", "second-order"):
        found = simdrop.flow(problem, theta, kind=kind, noise=Noise(place="update"), **known)
        assert np.array_equal(found["theta"], plain["theta"])
        assert (found["r1"] == 0).all()


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("forward", "mean-covariance"),
        *(pytest.param(one, "mean-covariance", marks=pytest.mark.slow) for one in PLACES[1:]),
        pytest.param(PLACES[-1], "sme2", marks=pytest.mark.slow),  # minutes
    ],
)
def test_a_comparison_has_one_place_throughout(place: Any, kind: str) -> None:
    x = np.linspace(-1, 1, 4)
    problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    kinds = ["gradient", "modified", *{"mean-covariance": 0, kind: 0}]
    found = simdrop.compare(
        problem, lr=0.1, steps=20, members=4000, record=2, kinds=kinds, noise=Noise(place=place), backend="numpy"
    )
    numbers = found.summary["quantities"]["parameters"]["flows"]
    assert numbers[kind]["final"]["distance"] < 5 * numbers[kind]["final"]["error"] < 0.02
    assert found.runs.attrs["place"] == found.summary["noise"]["place"] == place
    own = found.flows["theta"].sel(kind="mean-covariance").values[-1]
    wrong = simdrop.flow(problem, problem.init(), lr=0.1, times=2.0, kind="mean-covariance")["theta"].values[-1]
    assert np.linalg.norm(wrong - own) > 20 * numbers["mean-covariance"]["final"]["error"]
    assert "R_1 is 0" in found.table()
    assert (found.distances["value"].sel(term="r1") == 0).all()


def _line(call: Any) -> str:
    with pytest.raises(simdrop.errors.InvalidInput) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_what_no_flow_follows_is_refused_in_one_line() -> None:
    problem = simdrop.Problem([0.0, 1.0, 2.0], [0.0, 1.0, 0.5], width=3, keep_prob=0.5)
    theta = problem.init()

    def said(kind: str, noise: Any, problem: simdrop.Problem = problem, **more: Any) -> str:
        at = theta if problem.n_params == theta.size else problem.init()
        in_comparison = _line(lambda: simdrop.compare(
            problem, at, lr=0.1, steps=2, members=4, kinds=[kind], noise=noise, backend="numpy",
        )) if not more and kind != "pathwise" else None  # fmt: skip
        alone = _line(lambda: simdrop.flow(problem, at, lr=0.1, times=1.0, kind=kind, noise=noise, **more))
        assert in_comparison in (None, alone)
        return alone

    assert "correlated" in said("averaged", Noise(order="epochs", batch_size=1))
    assert "under DropConnect" in said("modified", Noise(connect=0.5))
    assert "under DropConnect" in said("mean-covariance", Noise(connect=0.5))
    assert "has mean 0" in said("modified", Noise(part="noise"))
    assert "drifts by R_1" in said("manifold", Noise(place="update"))
    assert "as a matrix" in said("mean-covariance", Noise(place="update"), rank=2)
    assert "not of 'pathwise'" in said("pathwise", Noise(place="update"))
    assert "must be a simdrop.Noise" in said("averaged", "update")
    classes = simdrop.Problem([0.0, 1.0], [0, 1], width=3, keep_prob=0.5, loss="logistic")
    assert "with place is known for loss 'squared'" in said("second-order", Noise(place="forward"), classes)
    wide = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=250, keep_prob=0.5)
    assert "as a matrix" in said("mean-covariance", Noise(place="update"), wide)
