"""How far two right backends may differ under Adam: what rounding of a gradient becomes after division by its size.

The first step moves a parameter by lr g / (|g| + ε). Where a gradient nearly vanishes that turns its rounding δ into
lr δ ε / (|g| + ε)², up to lr δ / ε = 10⁸ lr δ. Gradients of input weights vanish so for saturated neurons: σ' = 1 - σ²
of tanh has an absolute error of some 2⁻⁵³ however small it is, and g = x Σ_o e_o a_o σ' inherits it times
|x| Σ_o |e_o a_o|. With 64 inputs and weights of size 1 most neurons are saturated.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import simdrop
from simdrop_kernels import registry

LR, EPSILON, UNIT = 0.05, 1e-8, 2.0**-53
#: units in the last place of 1 by which 1 - σ² may err: tanh is right to 6, squared 12, and some for the sums
SLOPE_ERROR = 16


def _case(seed: int, width: int) -> tuple[simdrop.Problem, NDArray]:
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((1, 64)), random.standard_normal((1, 3))
    problem = simdrop.Problem(x, y, width=width, keep_prob=0.7)
    return problem, problem.init(seed=seed, members=8)


def _after_one_step(problem: simdrop.Problem, theta0: NDArray, backend: str, lr: float = LR) -> NDArray:
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=1, record=2, keep_theta=True, optimizer="adam", backend=backend
    )
    return runs.theta.values[-1]


def _bounds(problem: simdrop.Problem, theta0: NDArray) -> NDArray:
    """The largest difference (M, m, D) of input weights after one step that rounding explains."""
    a, w = problem.split(theta0)  # (M, c, m), (M, m, D)
    kept = [
        simdrop.masks(seed=0, member=k, step=0, width=problem.width, keep_prob=problem.keep_prob)
        for k in range(len(theta0))
    ]
    factor = np.array(kept) / problem.keep_prob  # (M, m)
    x = problem.inputs[0]
    z = w @ x
    h = np.tanh(z) * factor
    e = np.einsum("koj,kj->ko", a, h) - problem.y[0]
    pulls = np.einsum("ko,koj->kj", e, a) * factor  # Σ_o e_o a_o with the dropout factor
    sizes = np.einsum("ko,koj->kj", np.abs(e), np.abs(a)) * factor
    gradient = np.abs(pulls / np.cosh(z) ** 2)[..., None] * np.abs(x)
    # σ' in its own right, and the sums over outputs and neurons, whose errors σ' makes small
    sums = (problem.width + 64) * UNIT * (sizes + np.abs(a).sum(1) * np.abs(a * h[:, None]).sum((1, 2))[:, None])
    error = (SLOPE_ERROR * UNIT * sizes + sums / np.cosh(z) ** 2)[..., None] * np.abs(x)
    least = np.maximum(gradient - error, 0)
    return LR * 2 * error * EPSILON / (least + EPSILON) ** 2 + 8 * UNIT * (LR + np.abs(w))


@pytest.mark.parametrize(("seed", "width"), [(292, 29), (23, 27), (243, 12)])
@pytest.mark.parametrize("backend", ["native", pytest.param("numba", marks=pytest.mark.slow)])
def test_adam_differs_by_no_more_than_its_gradients_rounding(backend: str, seed: int, width: int) -> None:
    if reason := registry.load(backend).unavailable():
        pytest.skip(f"{backend}: {reason}")
    problem, theta0 = _case(seed, width)
    ours, theirs = (_after_one_step(problem, theta0, name) for name in (backend, "numpy"))
    off = problem.split(np.abs(ours - theirs))[1]
    bounds = _bounds(problem, theta0)
    assert (off <= bounds).all(), f"{(off / bounds).max():.3g} times what rounding explains"
    wrong = _after_one_step(problem, theta0, backend, lr=LR * (1 + 1e-6))
    assert (problem.split(np.abs(wrong - theirs))[1] > bounds).mean() > 0.3, "a rate off by 10⁻⁶ shows"


def test_some_weights_differ_by_much_more_than_an_ulp() -> None:
    """What the bound explains is there: without the division by |g| + ε nothing differs by 10⁻⁹."""
    if reason := registry.load("native").unavailable():
        pytest.skip(f"native: {reason}")
    found = []
    for seed, width in ((292, 29), (23, 27), (243, 12)):
        problem, theta0 = _case(seed, width)
        found.append(
            np.abs(_after_one_step(problem, theta0, "native") - _after_one_step(problem, theta0, "numpy")).max()
        )
        plain = [
            simdrop.simulate(problem, theta0, lr=LR, steps=1, record=2, keep_theta=True, backend=name).theta.values[-1]
            for name in ("native", "numpy")
        ]
        assert np.abs(plain[0] - plain[1]).max() < 1e-12
    assert max(found) > 1e-9
