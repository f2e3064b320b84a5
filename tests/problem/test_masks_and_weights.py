"""Doors that take numbers of masks and arrays of weights: what does not fit is refused, in words."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop.errors import InvalidInput

GOOD = {"seed": 3, "member": 5, "step": 7, "width": 6, "keep_prob": 0.5, "samples": 4}
NO_WHOLE = ("a", True, 1.5, float("nan"), -1, 1j, None, object(), np.datetime64("2024-01-01"))


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("seed", "member", "step", "width") for value in NO_WHOLE]
    + [("samples", value) for value in NO_WHOLE if value is not None]
    + [("seed", 1 << 64), ("member", 1 << 32), ("step", 1 << 32), ("member", [0, 1 << 32]), ("step", [0, -1])]
    + [("width", 0), ("samples", 0), ("width", 1 << 31)]
    + [("keep_prob", value) for value in (0, -0.5, 1.5, 10, float("nan"), "a", True, None, 1e-320, [0.5, 2])],
)
def test_a_number_that_is_no_number_of_a_mask_is_refused(name: Any, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name) as caught:
        simdrop.masks(**GOOD | {name: value})
    assert "\n" not in str(caught.value)


def test_axes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(InvalidInput, match="must broadcast"):
        simdrop.masks(**GOOD | {"member": [1, 2, 3], "step": [0, 1]})


def test_every_argument_gives_other_masks_and_arrays_are_their_numbers() -> None:
    one = {name: value for name, value in GOOD.items() if name != "samples"} | {"width": 64}
    masks = {name: simdrop.masks(**one | {name: value}) for name, value in (
        ("seed", (1 << 64) - 1), ("member", (1 << 32) - 1), ("step", (1 << 32) - 1), ("keep_prob", 0.9)
    )}  # fmt: skip
    assert all(not np.array_equal(mask, simdrop.masks(**one)) for mask in masks.values())
    many = simdrop.masks(**one | {"member": [[1], [2]], "step": [0, 4, 9], "keep_prob": [[0.2], [0.7]]})
    assert many.shape == (2, 3, 64)
    for i, member in enumerate((1, 2)):
        for k, step in enumerate((0, 4, 9)):
            alone = simdrop.masks(**one | {"member": member, "step": step, "keep_prob": (0.2, 0.7)[i]})
            assert np.array_equal(many[i, k], alone)
    rows = simdrop.masks(**one | {"keep_prob": [0.2, 0.7], "samples": 3})
    assert rows.shape == (2, 3, 64)
    assert np.array_equal(rows[1], simdrop.masks(**one | {"keep_prob": 0.7, "samples": 3}))


@pytest.fixture
def problem() -> Any:
    return simdrop.Problem(np.ones((5, 3)), np.ones((5, 2)), width=8)


def weights(problem: Any, *lead: Any) -> Any:
    rng = np.random.default_rng(0)
    c, m, inputs = problem.n_outputs, problem.width, problem.n_inputs
    return rng.standard_normal((*lead, c, m)), rng.standard_normal((*lead, m, inputs))


def test_join_and_split_are_inverse_for_arrays_of_every_kind(problem: Any) -> None:
    for lead in ((), (4,), (2, 3)):
        a, w = weights(problem, *lead)
        theta = problem.join(a, w)
        assert theta.shape == (*lead, problem.n_params)
        for given in (theta, xr.DataArray(theta), theta.tolist(), np.asfortranarray(theta)):
            found = problem.split(given)
            assert np.array_equal(found[0], a)
            assert np.array_equal(found[1], w)
        f = problem.predict(theta)
        assert f.shape == (*lead, 5, 2)
        assert np.array_equal(problem.predict(xr.DataArray(theta)), f)


def test_split_gives_views(problem: Any) -> None:
    theta = np.zeros(problem.n_params)
    problem.split(theta)[1][...] = 1
    assert theta.sum() == problem.width * problem.n_inputs


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda a, w: (a.T, w), "a must have shape (..., 2, 8) = (c, m), got (8, 2); these are transposed"),
        (lambda a, w: (a, w.T), "w must have shape (..., 8, 4) = (m, D), got (4, 8); these are transposed"),
        (lambda a, w: (a, w[:, :-1]), "the column of biases is missing"),
        (lambda a, w: (a, w[:, :-1].T), "these are transposed, and the column of biases is missing"),
        (lambda a, w: (a[0], w), "a must have shape (..., 2, 8)"),
        (lambda a, w: (a[None], w), "the same leading axes"),
        (lambda a, w: ("a", w), "a must hold numbers"),
        (lambda a, w: (a, None), "w must hold numbers"),
    ],
)
def test_weights_in_another_layout_are_refused_by_name(problem: Any, turn: Any, words: Any) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        problem.join(*turn(*weights(problem)))


def test_a_column_too_many_and_a_row_as_a_vector_are_told(problem: Any) -> None:
    plain = simdrop.Problem(np.ones((5, 3)), np.ones(5), width=8, bias=False)
    a, w = weights(plain)
    with pytest.raises(InvalidInput, match="no column of biases"):
        plain.join(a, np.column_stack([w, np.ones(8)]))
    with pytest.raises(InvalidInput, match=re.escape("a[None]")):
        plain.join(a[0], w)


@pytest.mark.parametrize("theta", [np.zeros(7), np.zeros((3, 47)), 0.0, None, "a", True, [1, [2]], 1j])
def test_predict_and_split_refuse_what_is_no_theta(problem: Any, theta: Any) -> None:
    for door in (problem.predict, problem.split):
        with pytest.raises(InvalidInput, match="theta") as caught:
            door(theta)
        assert "\n" not in str(caught.value)


def test_predict_refuses_what_is_not_finite(problem: Any) -> None:
    theta = problem.init()
    theta[3] = np.nan
    with pytest.raises(InvalidInput, match="theta has 1 non-finite"):
        problem.predict(theta)


def test_a_tensor_with_gradients_is_told_so(problem: Any) -> None:
    class Tensor:
        """What torch's does when NumPy asks for its numbers."""

        def __array__(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")

    with pytest.raises(InvalidInput, match=r"theta must hold numbers: .*requires grad.*detach"):
        problem.predict(Tensor())
