"""What order the stochastic equations and their schemes have, on the problem on which the flows are measured too.

The error is that of the mean parameters at t = 1 against simulated members. Standard errors are those of both means.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import simdrop
from simdrop import study
from simdrop.problem import Problem
from simdrop_kernels.contract.equation import SCHEMES, Stage

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)

#: |Δ| of a mean of 15 parameters exceeds its root mean square by 3.5 with probability below 1e-9 (χ² of 15 degrees)
ALARM = 3.5


def _start() -> NDArray:
    random = np.random.default_rng(3)
    return np.concatenate([random.standard_normal(5), random.standard_normal(10)])


def _mean(data: Any) -> tuple[NDArray, float]:
    """Mean parameters at the end, and the root mean square of their statistical error, by groups."""
    means = data.group_theta_mean.values[-1]
    return means.mean(axis=0), float(np.sqrt(means.var(axis=0, ddof=1).sum() / len(means)))


def _members(lr: float, members: int) -> tuple[NDArray, float]:
    steps = round(1 / lr)
    return _mean(
        simdrop.simulate(PROBLEM, _start(), lr=lr, steps=steps, members=members, seed=77, record=[steps], groups=50)
    )


def _paths(lr: float, members: int, **options: Any) -> tuple[NDArray, float]:
    options = {"seed": 5, "backend": "numba", "groups": 50, "antithetic": True} | options
    return _mean(simdrop.sme(PROBLEM, _start(), lr=lr, times=[1.0], members=members, **options))


def test_schemes_meet_the_exact_moments_of_a_linear_equation() -> None:
    """Input weights frozen: L is quadratic and Σ too, so mean m and covariance C of the paths obey closed equations,

    m' = -K (m - m*)        C' = -K C - C K + ε E Σ,   E Σ = Σ(m) + ½ Σ_kl C_kl ∂_kl Σ,   K = H + (ε/2) H²
    """
    problem = Problem(X, np.sin(3 * X), width=3, keep_prob=0.6, train="output")
    theta0, lr, members, times = problem.init(seed=2), 0.1, 20_000, np.linspace(0, 0.8, 9)
    trained, step = np.arange(3), 1e-3
    hessian = simdrop.theory.hessian(problem, theta0)[:3, :3]
    rate = hessian + lr / 2 * hessian @ hessian
    least = theta0[:3] - np.linalg.solve(hessian, simdrop.theory.mean_gradient(problem, theta0)[:3])

    def noise(a: NDArray) -> NDArray:
        covariance = simdrop.theory.noise_covariance(problem, np.concatenate([a, theta0[3:]]))
        return covariance[:3, :3]

    bends = np.zeros((3, 3, 3, 3))  # ∂_kl Σ, exact: Σ is quadratic
    for k in trained:
        for q in trained:
            e, f = step * np.eye(3)[k], step * np.eye(3)[q]
            bends[k, q] = (noise(e + f) - noise(e - f) - noise(f - e) + noise(-e - f)) / (4 * step * step)

    def slope(state: NDArray) -> NDArray:
        m, c = state[:3], state[3:].reshape(3, 3)
        mean_noise = noise(m) + 0.5 * np.einsum("kq,kqij->ij", c, bends)
        return np.concatenate([-rate @ (m - least), (-rate @ c - c @ rate + lr * mean_noise).ravel()])

    from oracles import enumeration

    exact = enumeration.runge_kutta(slope, np.concatenate([theta0[:3], np.zeros(9)]), times, 50)
    mean, covariance = exact[-1, :3], exact[-1, 3:].reshape(3, 3)

    def far(**options: Any) -> tuple[float, float]:
        data = simdrop.sme(
            problem, theta0, lr=lr, times=[times[-1]], members=members, seed=3, covariance=[0, 1, 2], backend="numba",
            **options,
        )  # fmt: skip
        off = np.abs(data.theta_mean.values[-1, :3] - mean) / np.sqrt(np.diag(covariance) / members)
        spread = np.diag(data.theta_cov.values[-1]) / np.diag(covariance) - 1
        return float(off.max()), float(np.abs(spread).max())

    # 3 means at 5 standard errors (6e-7 each); the variances of nearly normal paths: 5 % is 5 of theirs
    for options in ({"scheme": "rk4", "substeps": 4}, {"scheme": "heun", "substeps": 8}):
        off, spread = far(**options)
        assert off < 5, options
        assert spread < 0.05, options
    off, spread = far(scheme="euler", substeps=1)
    assert max(off / 5, spread / 0.05) > 2, "Euler-Maruyama at one step per lr must fail the same test"


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "order", "wanted"), [(0.2, 1, 0.325), (0.2, 2, 0.212), (0.1, 2, 0.024)])
def test_known_errors_of_both_orders(lr: float, order: Any, wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of an independent program: Heun for the drift, noise at the start of each of 4 substeps."""
    monkeypatch.setitem(SCHEMES, "plain heun", (Stage(0, 0.5, True), Stage(1, 0.5, False)))
    members, error = _members(lr, 500_000)
    paths, error_of_paths = _paths(lr, 20_000, order=order, scheme="plain heun", substeps=4)
    # theirs has a statistical error of its own, and three digits
    allowed = ALARM * np.hypot(error, np.hypot(error_of_paths, 5e-4)) + 5e-4
    assert abs(np.linalg.norm(paths - members) - wanted) < allowed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mask", "finest", "second"),
    [("step", 0.0125, ("mean-covariance", "pathwise")), ("sample", 0.025, ("mean-covariance", "pathwise", "sme2"))],
)
def test_slopes_of_the_mean(mask: Any, finest: float, second: tuple[str, ...]) -> None:
    """95 % intervals of the slopes lie about 1 and below 1.5 for theories of first order, above 1.6 for the others.

    Under step masks SME 2 takes until lr 0.00625 to come to its slope of 2: `simdrop order` goes there.
    """
    found = study.order(
        replace(PROBLEM, mask=mask), _start(), lrs=(4 * finest, 2 * finest, finest), members=100_000,
        sme_members=400_000, paths=8, kinds=("averaged", "modified", "pathwise-plain", *second),
    )  # fmt: skip
    for name, rows in found.summary["kinds"].items():
        low, high = rows["parameters"]["slope_interval_95"]
        if study.PREDICTIONS[name].order == 2:
            assert low > 1.6, (name, low, high)
        else:
            assert 0.7 < low < high < (1.5 if name == "pathwise-plain" else 1.3), (name, low, high)


@pytest.mark.slow
def test_default_steps_are_converged() -> None:
    """Twice as many steps change the mean by less than a tenth of the error that order 2 leaves."""
    members, _ = _members(0.2, 500_000)
    whole, error = _paths(0.2, 20_000)
    half, error_of_half = _paths(0.2, 20_000, substeps=8, seed=6)
    left = np.linalg.norm(half - members)
    assert np.linalg.norm(whole - half) < 0.1 * left + ALARM * np.hypot(error, error_of_half)
