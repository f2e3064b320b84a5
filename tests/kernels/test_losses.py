"""Every loss of the table: derivatives against finite differences, scalars against arrays, extreme outputs, classes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.enumeration import central_difference

from simdrop_kernels.contract.network import LossName
from simdrop_kernels.mathematics.losses.base import Loss
from simdrop_kernels.mathematics.losses.table import LOSSES

CLASSES = 3


def _samples(loss: Loss, count: int = 6, size: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    drawing = np.random.default_rng(0)
    outputs = 1 if loss.targets == "binary" else CLASSES
    f = size * drawing.standard_normal((count, outputs))
    if loss.targets == "numbers":
        return f, drawing.standard_normal(f.shape)
    if loss.targets == "binary":
        return f, drawing.integers(0, 2, f.shape).astype(float)
    return f, np.eye(CLASSES)[drawing.integers(0, CLASSES, count)]


def test_the_names_are_those_of_the_contract() -> None:
    assert set(LOSSES) == set(LossName.__args__)
    assert next(iter(LOSSES)) == "squared"


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_derivatives_are_those_of_the_value(loss: Loss) -> None:
    for f, y in zip(*_samples(loss), strict=True):
        exact = {"rtol": 1e-8, "atol": 1e-9}
        np.testing.assert_allclose(loss.residual(f, y), central_difference(lambda z, y=y: loss.value(z, y), f), **exact)
        slope = central_difference(lambda z, y=y: loss.residual(z, y), f)
        np.testing.assert_allclose(loss.curvature(f, y), slope, **exact)
        turned = np.random.default_rng(1).standard_normal((f.size, f.size))
        v = turned + turned.T
        bent = central_difference(lambda z, y=y, v=v: (loss.curvature(z, y) * v).sum(axis=(-1, -2)) / 2, f)
        np.testing.assert_allclose(loss.bend(f, y, v), bent, **exact)


@pytest.mark.parametrize("real", [np.float64, np.float32])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_residual_of_one_sample_is_that_of_arrays(loss: Loss, real: type) -> None:
    scalar, (f, y) = loss.build(lambda function: function, real), _samples(loss, 20, 10.0)
    f, y = f.astype(real), y.astype(real)
    for one, target in zip(f, y, strict=True):
        apart, inside = np.empty_like(one), one.copy()
        scalar(one, target, apart)
        scalar(inside, target, inside)
        np.testing.assert_array_equal(apart, inside)
        np.testing.assert_allclose(apart, loss.residual(one, target), rtol=0, atol=4 * np.finfo(real).eps * 10)


@pytest.mark.parametrize("size", [1e3, 1e30])
@pytest.mark.parametrize("loss", [one for one in LOSSES.values() if one.probabilities], ids=lambda one: one.name)
def test_extreme_outputs_overflow_nowhere(loss: Loss, size: float) -> None:
    f, y = _samples(loss)
    f = size * np.sign(f) * (1 + np.arange(f.shape[-1]))
    scalar, e = loss.build(lambda function: function, np.float64), np.empty(f.shape[-1])
    for one, target in zip(f, y, strict=True):  # NumPy's errors are exceptions in tests
        value, residual = loss.value(one, target), loss.residual(one, target)
        scalar(one, target, e)
        assert 0 <= value < np.inf
        assert np.abs(residual).max() <= 1
        np.testing.assert_array_equal(e, residual)
        assert np.isfinite(loss.curvature(one, target)).all()


@pytest.mark.parametrize("loss", [one for one in LOSSES.values() if one.probabilities], ids=lambda one: one.name)
def test_probabilities_and_right_answers(loss: Loss) -> None:
    assert loss.probabilities is not None
    f, y = _samples(loss)
    chosen = loss.probabilities(f)
    if loss.targets == "classes":
        np.testing.assert_allclose(chosen.sum(axis=-1), 1, rtol=1e-15)
        np.testing.assert_array_equal(loss.right(f, y), [a.argmax() == b.argmax() for a, b in zip(f, y, strict=True)])
    else:
        np.testing.assert_array_equal(loss.right(f, y), (chosen[:, 0] > 0.5) == (y[:, 0] == 1))
