"""Problem: layout, initialisation, and every refusal with its message."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from simdrop import Problem
from simdrop.errors import InvalidInput

X = np.linspace(-1, 1, 6).reshape(3, 2)
Y = np.arange(6.0).reshape(3, 2)


def test_theta_is_laid_out_as_documented() -> None:
    problem = Problem(X, Y, width=3, output_scale="1/sqrt(m)")
    assert (problem.n_samples, problem.n_inputs, problem.n_outputs, problem.n_params) == (3, 3, 2, 15)
    theta = np.arange(15.0) / 10
    a, w = problem.split(theta)
    assert np.array_equal(a, theta[:6].reshape(2, 3))
    assert np.array_equal(w, theta[6:].reshape(3, 3))
    assert np.array_equal(problem.join(a, w), theta)
    hidden = np.tanh(X @ w[:, :2].T + w[:, 2])  # the bias is last in its row
    np.testing.assert_allclose(problem.predict(theta), hidden @ a.T / np.sqrt(3), rtol=1e-15)


def test_vectors_become_columns_and_no_bias_means_no_constant() -> None:
    problem = Problem(X[:, 0], Y[:, 0], width=4, bias=False)
    assert (problem.n_inputs, problem.n_params) == (1, 8)
    assert np.array_equal(problem.inputs, X[:, :1])


def test_initial_parameters_have_the_asked_spread() -> None:
    """Standard deviations over 10⁵ draws have a relative error of 0.22 %; 1 % is beyond 4 of them."""
    problem = Problem(X, Y, width=100)
    for settings, deviation in (
        ({"scale": 0.5}, 0.5),
        ({"gamma": 0.5}, 100**-0.25),
        ({"gamma": 0.5, "gamma_of": "deviation"}, 0.1),
        ({"gamma": 0.5, "scale": 3.0}, 3 * 100**-0.25),
    ):
        drawn = problem.init(seed=1, members=200, **settings)
        assert drawn.shape == (200, 500)
        assert abs(drawn.std() / deviation - 1) < 0.01
        assert np.array_equal(problem.init(seed=1, **settings), drawn[0])


def test_a_problem_cannot_change() -> None:
    x = X.copy()
    problem = Problem(x, Y, width=3)
    x[0, 0] = 99
    assert problem.x[0, 0] == -1
    with pytest.raises(ValueError, match="read-only"):
        problem.x[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        problem.width = 4


BAD = [
    ({"y": Y[:2]}, "x has 3 samples but y has 2"),
    ({"x": X.reshape(1, 3, 2)}, r"x must have shape \(n,\) or \(n, columns\)"),
    ({"x": X[:0], "y": Y[:0]}, "x must have shape .* and not be empty"),
    ({"x": np.where(X == -1, np.nan, X)}, r"x has 1 non-finite value, the first, nan, at index \(0, 0\)"),
    ({"y": np.where(Y == 5, np.inf, Y)}, r"y has 1 non-finite value, the first, inf, at index \(2, 1\)"),
    ({"x": [["a", "b"]] * 3}, "x must hold numbers"),
    ({"width": 0}, "width must be a whole number of at least 1, got 0"),
    ({"width": 2.0}, "width must be a whole number of at least 1, got 2.0"),
    ({"width": True}, "width must be a whole number"),
    ({"keep_prob": 0}, r"keep_prob must lie in \(0, 1\] \(the probability to keep a neuron\), got 0"),
    ({"keep_prob": 1.5}, r"keep_prob must lie in \(0, 1\]"),
    ({"keep_prob": -0.1}, r"keep_prob must lie in \(0, 1\]"),
    ({"activation": "tahn"}, "unknown activation 'tahn': did you mean 'tanh'"),
    ({"mask": "samples"}, "unknown mask 'samples': did you mean 'sample'"),
    ({"output_scale": "1/m2"}, "unknown output_scale '1/m2': did you mean '1/m'"),
    ({"output_scale": -1.0}, "output_scale must be a number above 0, got -1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"x": X, "y": Y, "width": 3} | changes
    with pytest.raises(InvalidInput, match=message):
        Problem(settings.pop("x"), settings.pop("y"), **settings)


def test_wrong_parameters_and_points_are_refused() -> None:
    problem = Problem(X, Y, width=3)
    with pytest.raises(InvalidInput, match=r"theta must have 15 parameters \(width 3 .*\), got shape \(14,\)"):
        problem.check_theta(np.zeros(14))
    with pytest.raises(InvalidInput, match="points must have 2 columns like the data, got 1"):
        problem.augment(np.zeros(4))
    with pytest.raises(InvalidInput, match="seed must be below"):
        problem.init(seed=2**64)
    with pytest.raises(InvalidInput, match="scale must be a number, 0 or more, got -1"):
        problem.init(scale=-1)
    with pytest.raises(InvalidInput, match="members must be a whole number"):
        problem.init(members=0)
