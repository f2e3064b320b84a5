"""`simdrop.theory` over its whole space: sums over all masks, differences, and the same numbers in every form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from conformance import theory_space
from conformance.pairwise import Configuration
from conformance.theory_space import Point
from numpy.typing import ArrayLike, NDArray
from oracles import enumeration, noise_enumeration

import simdrop
from simdrop import theory

CHUNKS = 4  # that tests run side by side

#: largest difference, relative to the size of the numbers
TOLERANCE = {
    "masks": 1e-11,  # two orders of a sum over up to 512 masks, of terms of either sign
    "differences": 1e-7,  # of fourth order, steps of 1e-4: rounding 2^-53 · 10^4 and truncation 10^-16, each times 10^4
    "rows": 1e-12,  # a product with many vectors at once may be summed in another order than with one
    "forms": 0.0,  # the same numbers, whatever holds them
}

Array = NDArray[np.float64]
#: kind of tolerance, what is compared, found, expected, the size of the numbers
Check = tuple[str, str, ArrayLike, ArrayLike, float]


def _wrong(checks: Iterator[Check], chosen: Configuration) -> list[str]:
    """Those that differ by more than their tolerance, or are not finite, one line each."""
    wrong = []
    for kind, what, *numbers, size in checks:
        found, expected = map(np.asarray, numbers)
        assert found.shape == expected.shape, (what, found.shape, expected.shape, chosen)
        off = np.abs(found - expected).max(initial=0.0) if np.isfinite(found).all() else np.inf
        if not off <= TOLERANCE[kind] * max(size, np.abs(expected).max(initial=0.0)):
            wrong.append(f"{kind}: {what} is off by {off:.2e} beside {size:.2e} at {chosen}")
    return wrong


def _against_masks(point: Point) -> Iterator[Check]:
    """The means over all masks, at the first theta."""
    plain, theta, lr = point.plain, point.rows[0], 0.3
    loss, mean, _, covariance = enumeration.moments(plain, theta)
    mean, covariance = plain.freeze(mean), plain.freeze(plain.freeze(covariance).T)
    moment = mean @ mean + np.trace(covariance)
    risk = np.square(plain.predict(theta) - plain.y).sum() / (2 * plain.n_samples)
    size, length = max(loss, np.square(plain.y).mean()), float(np.sqrt(moment))
    known = (point.problem, theta)
    options = point.options
    yield "masks", "risk", theory.risk(*known), risk, size
    yield "masks", "r1", theory.r1(*known, **options), loss - risk, size
    yield "masks", "r2", theory.r2(*known, lr=lr, **options), lr / 4 * moment, 0
    yield "masks", "modified_loss", theory.modified_loss(*known, lr=lr, **options), loss + lr / 4 * moment, size
    yield "masks", "mean_gradient", theory.mean_gradient(*known, **options), mean, length
    yield "masks", "second_moment", theory.second_moment(*known, **options), moment, 0
    yield "masks", "noise_covariance", theory.noise_covariance(*known, **options), covariance, moment
    along = np.random.default_rng(1).standard_normal((2, theta.size))
    product = theory.covariance_product(*known, along, **options)
    yield "masks", "covariance_product", product, along @ covariance, moment
    kept = np.random.default_rng(2).random((plain.n_samples, plain.width)) < 0.5
    kept = kept[0] if plain.mask == "step" else kept
    each = np.broadcast_to(kept, (1, plain.n_samples, plain.width))
    expected = plain.freeze(enumeration.per_mask(plain, theta, each)[1][0])
    yield "masks", "dropout_gradient", theory.dropout_gradient(*known, kept, **options), expected, 0
    if plain.train == "output" and not options:
        moments = theory.linear_moments(*known, lr=lr, steps=[1])
        a, _ = plain.split(theta - lr * mean)
        yield "masks", "linear_moments' mean", moments.mean[0], a, np.abs(theta).max() + lr * length
        where, _ = plain.split(np.arange(theta.size))
        blocks = np.stack([covariance[np.ix_(row, row)] for row in where])
        yield "masks", "linear_moments' covariance", moments.covariance[0], lr**2 * blocks, lr**2 * moment


def _against_differences(point: Point, lr: float) -> Iterator[Check]:
    """Gradients and Hessians as derivatives, at the last theta."""
    problem, theta, options = point.problem, point.rows[-1], point.options
    for objective in ("risk", "r1", "r2", "risk+r1", "risk+r1+r2"):
        known = {"objective": objective, "lr": lr, **options}
        by_loss = enumeration.central_difference(lambda t, known=known: theory.loss(problem, t, **known), theta)
        size = float(theory.loss(problem, theta, **known))
        if objective == "r1":
            size += float(theory.risk(problem, theta))  # R_1 is found beside R_S
        gradient = theory.gradient(problem, theta, **known)
        yield "differences", f"gradient of {objective}", gradient, problem.freeze(by_loss), size
    for objective in ("risk", "risk+r1"):
        known = {"objective": objective, **options}
        slope = enumeration.central_difference(lambda t, known=known: theory.gradient(problem, t, **known), theta)
        slope = problem.freeze(problem.freeze(slope).T)
        size = float(np.abs(theory.gradient(problem, theta, **known)).max())
        hessian = theory.hessian(problem, theta, **known)
        yield "differences", f"hessian of {objective}", hessian, slope, size
        top = float(np.abs(hessian).max())
        yield "masks", f"trace of {objective}", theory.hessian_trace(problem, theta, **known), np.trace(hessian), top
        along = np.random.default_rng(3).standard_normal((2, theta.size))
        product = theory.hessian_product(problem, theta, along, **known)
        yield "masks", f"hessian_product of {objective}", product, along @ hessian, top
        operator = theory.hessian_operator(problem, theta, **known)
        yield "forms", f"hessian_operator of {objective}", operator(along), product, 0


def _called(function: Callable[..., Array], problem: simdrop.Problem, theta: Any, more: dict[str, Any]) -> Array:
    return function(problem, theta, **more)


#: functions of theta (..., P) and (P,) that need no more
EVERYWHERE = (theory.r1, theory.mean_gradient, theory.second_moment, theory.hessian_trace)
AT_A_POINT = (theory.hessian, theory.noise_covariance)


def _against_rows(point: Point, lr: float) -> Iterator[Check]:
    """Thetas as a user has them, against each as an array of its own."""
    options, lead = point.options, point.lead
    kind = "rows" if lead else "forms"
    functions = {
        "risk": lambda problem, theta, more: theory.risk(problem, theta),
        "r2": lambda problem, theta, more: theory.r2(problem, theta, lr=lr, **more),
        "gradient": partial(_called, partial(theory.gradient, objective="risk+r1+r2", lr=lr)),
        **{function.__name__: partial(_called, function) for function in (*EVERYWHERE, *(() if lead else AT_A_POINT))},
    }
    for name, function in functions.items():
        rows = np.array([function(point.plain, row, {}) for row in point.rows])
        found = function(point.problem, point.theta, options)
        size = float(np.abs(rows).max())
        if name in ("r1", "hessian_trace"):
            size = max(size, float(theory.risk(point.plain, point.rows).max()))
        yield kind, f"{name} of {lead}", found, rows.reshape((*lead, *rows.shape[1:])), size


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_theory_is_what_the_masks_give(chunk: int) -> None:
    wrong = []
    for chosen in theory_space.covering()[chunk::CHUNKS]:
        point = theory_space.call(chosen)
        wrong += _wrong(_against_masks(point), chosen)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_derivatives_are_those_of_the_losses(chunk: int) -> None:
    wrong = []
    for chosen in theory_space.covering()[chunk::CHUNKS]:
        wrong += _wrong(_against_differences(theory_space.call(chosen), chosen["lr"]), chosen)
    assert not wrong, "\n".join(wrong)


def test_no_form_of_theta_or_the_data_changes_the_numbers() -> None:
    wrong = []
    for chosen in theory_space.covering():
        wrong += _wrong(_against_rows(theory_space.call(chosen), chosen["lr"]), chosen)
    assert not wrong, "\n".join(wrong)


def test_theory_is_what_all_noise_of_a_step_gives() -> None:
    wrong = []
    for chosen in theory_space.covering(noise=True):
        point = theory_space.call(chosen)
        noise = simdrop.Noise(**theory_space.NOISES[chosen["noise"]])
        wrong += _wrong(_against_noise(point, noise), chosen)
    assert not wrong, "\n".join(wrong)


def _against_noise(point: Point, noise: simdrop.Noise) -> Iterator[Check]:
    """The means over all draws of a step's noise, at the first theta."""
    theta, problem = point.rows[0], point.problem
    loss, mean, covariance = noise_enumeration.moments(point.plain, theta, noise)
    moment = mean @ mean + np.trace(covariance)
    known = {"noise": noise, **point.options}
    yield "masks", "loss", theory.loss(problem, theta, objective="risk+r1", **known), loss, 0
    yield "masks", "mean_gradient", theory.mean_gradient(problem, theta, **known), mean, float(np.sqrt(moment))
    gradient = theory.gradient(problem, theta, objective="risk+r1", **known)
    yield "masks", "gradient", gradient, mean, float(np.sqrt(moment))
    yield "masks", "second_moment", theory.second_moment(problem, theta, **known), moment, 0
    yield "masks", "noise_covariance", theory.noise_covariance(problem, theta, **known), covariance, moment
    along = np.random.default_rng(1).standard_normal((2, theta.size))
    yield "masks", "product", theory.covariance_product(problem, theta, along, **known), along @ covariance, moment


def test_the_comparison_sees_what_differs() -> None:
    chosen = {name: levels[0] for name, levels in theory_space.AXES.items()}
    point = theory_space.call(chosen)
    other = point._replace(plain=simdrop.Problem(point.plain.x, point.plain.y, width=1, keep_prob=0.9 + 1e-9))
    assert not _wrong(_against_masks(point), chosen)
    assert _wrong(_against_masks(other), chosen)
