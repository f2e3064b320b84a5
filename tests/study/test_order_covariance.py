"""Covariances in order(): the groups' own, distances that are known exactly, and what the steps of a scheme add."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import simdrop
from simdrop import theory
from simdrop.study import order
from simdrop.study.case import COVARIANCE, Case
from simdrop.study.convergence.fit import consistent, fit_floor
from simdrop.study.convergence.scheme import SchemeErrors, uneven
from simdrop.study.predictions import predict
from simdrop_kernels.native import follow as native

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)


@pytest.mark.parametrize("block", [None, 7])
def test_groups_have_the_covariance_of_their_members(block: int | None) -> None:
    runs = simdrop.simulate(
        PROBLEM, PROBLEM.init(seed=3), lr=0.1, steps=4, members=20, groups=4, covariance=[0, 3, 7], keep_theta=True,
        block_size=block, backend="numpy",
    )  # fmt: skip
    theta = runs.theta.values[-1][:, [0, 3, 7]]
    for group in range(4):
        own = np.cov(theta[5 * group : 5 * group + 5].T)
        np.testing.assert_allclose(runs.group_theta_cov.values[-1, group], own, rtol=1e-12, atol=1e-15)


def test_distances_from_a_covariance_that_is_known_exactly() -> None:
    """Frozen input weights: the flow's C of first order and that of the ensemble, both without sampling."""
    problem, lrs = replace(PROBLEM, train="output"), (0.2, 0.1, 0.05)
    theta0 = problem.init(seed=3)
    found = order(problem, theta0, lrs=lrs, members=20_000, paths=3, kinds=["averaged", "mean-covariance"])
    for lr in lrs:
        exact = theory.linear_moments(problem, theta0, lr=lr, steps=[round(1 / lr)]).covariance[0, 0]
        flow = simdrop.flow(problem, theta0, lr=lr, times=1.0, kind="mean-covariance")
        away = np.linalg.norm(flow.theta_cov.values[0, :5, :5] - exact)
        row = found.errors.sel(kind="mean-covariance", quantity=COVARIANCE, lr=lr)
        assert abs(float(row["distance"]) - away) < 4 * float(row["error"]) + 0.01 * np.linalg.norm(exact)
        assert float(row["error"]) < 0.2 * np.linalg.norm(exact)
    rows = found.summary["kinds"]
    assert rows["averaged"][COVARIANCE]["consistent"] == "no claim"
    assert "covariance of the parameters" in found.table()
    assert len([axis for axis in found.figure().axes if axis.get_title(loc="left")]) == 4


def test_the_error_of_a_scheme_is_bounded_and_scaled() -> None:
    """Euler-Maruyama at a step of lr against rk4: its error is within the bound, which is scaled by lr³ below."""
    case = Case(
        problem=PROBLEM, theta0=PROBLEM.init(seed=3), lr=0.02, steps=50, points=X[:, None], members=100, groups=20,
        seed=0, sme_members=4000, scheme="euler", covariance=True,
    )  # fmt: skip
    euler, fine = predict("sme2", replace(case, substeps=1)), predict("sme2", replace(case, scheme="rk4", seed=5))
    schemes = SchemeErrors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simdrop.study.convergence.scheme.default_substeps", lambda *_: 1)
        _, bound = schemes.follow("sme2", case)
    away = np.linalg.norm(euler.values["parameters"].mean(axis=0) - fine.values["parameters"].mean(axis=0))
    assert 0.005 < away < 1.2 * bound["parameters"].value < 5 * away
    _, later = schemes.follow("sme2", replace(case, lr=0.01, sme_members=40))
    assert later == {name: (pytest.approx(error.value / 8), 1) for name, error in bound.items()}


@pytest.mark.skipif(native.unavailable() is not None, reason="C is not built, and Numba does not join paths")
def test_paths_of_two_schemes_along_one_brownian_motion() -> None:
    """Their difference says more than that of independent paths, which "numba" alone would follow here."""
    case = Case(
        problem=PROBLEM, theta0=PROBLEM.init(seed=3), lr=0.1, steps=10, points=X[:, None], members=100, groups=20,
        seed=0, sme_members=2000, covariance=True,
    )  # fmt: skip
    paths, errors = SchemeErrors().follow("sme2", case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simdrop.study.convergence.scheme._joins", lambda *_: False)
        again, apart = SchemeErrors().follow("sme2", case)
    assert {error.steps for error in errors.values()} == {4}
    assert errors["parameters"].value < apart["parameters"].value / 2
    away = paths.values["parameters"].mean(axis=0) - again.values["parameters"].mean(axis=0)
    assert 0 < np.linalg.norm(away) < 2 * apart["parameters"].value


def test_what_of_a_scheme_is_no_part_of_a_power() -> None:
    """At single steps errors are c lr³; where there are several they are up to as far from it as both are large."""
    lrs = np.array([0.2, 0.1, 0.05, 0.025])
    error = np.array([3e-3, 1e-3, 1e-4, 1.25e-5])
    np.testing.assert_allclose(
        uneven(lrs, error, np.array([8, 4, 1, 1])), [3e-3 + 6.4e-3, 1e-3 + 8e-4, 0, 0], rtol=1e-12
    )
    assert not uneven(lrs, 0 * error, np.zeros(4)).any()
    smooth, off = 2 * lrs**2 + 8 * error.max() * lrs**3, np.array([0, 0.02, 0, 0])
    known = {"order": 2, "freedom": 39}
    assert consistent(fit_floor(lrs, smooth, 0.002 * smooth, **known), 2) == "yes"
    assert consistent(fit_floor(lrs, smooth, 0.002 * smooth, **known, uneven=off), 2) == "not resolved"
