"""Targets of losses with classes: what is taken, what is refused, what comes of the outputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import simdrop

X = np.linspace(-1, 1, 6)
LABELS = np.array([0, 2, 1, 1, 0, 2])


def _problem(y: Any, loss: str = "softmax", **options: Any) -> simdrop.Problem:
    return simdrop.Problem(X[: len(y)], y, width=4, loss=loss, **options)


@pytest.mark.parametrize("loss", ["softmax", "squared-softmax"])
def test_numbers_of_classes_become_rows(loss: str) -> None:
    for y in (
        LABELS,
        LABELS.tolist(),
        LABELS.astype(np.uint8),
        LABELS.astype(float),
        LABELS[:, None],
        np.eye(3)[LABELS],
    ):
        problem = _problem(y, loss)
        np.testing.assert_array_equal(problem.y, np.eye(3)[LABELS])
    again = dataclasses.replace(problem, width=7)
    assert (again.n_outputs, again.loss, again.n_params) == (3, loss, 7 * (3 + 2))


def test_one_class_alone_is_allowed_where_the_number_of_outputs_is_known() -> None:
    assert _problem([1, 1]).n_outputs == 2
    assert _problem(np.array([[0.0, 1.0, 0.0]])).n_outputs == 3
    assert _problem([0, 0, 0], "logistic").n_outputs == 1


@pytest.mark.parametrize(
    ("y", "loss", "words"),
    [
        ([0.0, 0.5, 1.0], "logistic", r"y must be 0 or 1 for loss 'logistic', got 0.5 at sample 1"),
        ([-1.0, 1.0], "logistic", r"got -1 at sample 0; \(y \+ 1\) / 2 turns -1 and 1 into 0 and 1"),
        ([[0.0, 1.0], [1.0, 0.0]], "logistic", "y must have one column for loss 'logistic', got 2; loss='softmax'"),
        ([True, False], "logistic", r"y must hold numbers, got booleans.*astype\(float\)"),
        ([0.0, 1.5], "softmax", "y must be numbers of classes, 0, 1, ..., for loss 'softmax', got 1.5 at sample 1"),
        ([0, -1], "softmax", "got -1 at sample 1"),
        ([0, 0], "softmax", "class 0 alone, and loss 'softmax' needs two classes at least"),
        (["a", "b"], "softmax", "y must hold numbers"),
        ([[0.5, 0.5], [1.0, 0.0]], "softmax", "y must have one 1 in each row"),
        ([[1.0, 1.0], [1.0, 0.0]], "squared-softmax", "got row 0: "),
        ([[0.0, 0.0], [1.0, 0.0]], "softmax", "got row 0: "),
        ([0, 10**12], "softmax", "classes"),
        ([0, 1], "hinge", "unknown loss 'hinge': known are squared, logistic"),
    ],
)  # fmt: skip
def test_other_targets_are_refused_in_one_line(y: Any, loss: str, words: str) -> None:
    with pytest.raises(simdrop.errors.InvalidInput, match=words) as error:
        _problem(y, loss)
    assert "\n" not in str(error.value)


def test_predict_gives_logits_and_probabilities_their_softmax() -> None:
    problem = _problem(LABELS, output_scale=0.5)
    theta = problem.init(seed=1, members=2)
    e = np.exp(problem.predict(theta, [0.3, 0.4]))
    np.testing.assert_allclose(problem.probabilities(theta, [0.3, 0.4]), e / e.sum(axis=-1, keepdims=True), rtol=1e-14)
    one = _problem([0, 1], "logistic")
    f = one.predict(one.init(seed=0))
    np.testing.assert_allclose(one.probabilities(one.init(seed=0)), 1 / (1 + np.exp(-f)), rtol=1e-14)
    with pytest.raises(simdrop.errors.InvalidInput, match="loss 'squared' has no classes"):
        _problem([0.0, 1.0], "squared").probabilities(np.zeros(12))


def test_texts_are_refused_with_how_classes_are_numbered() -> None:
    with pytest.raises(simdrop.errors.InvalidInput, match="numbers classes"):
        _problem(["a", "b", "a"])
