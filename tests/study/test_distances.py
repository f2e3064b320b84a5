"""simdrop.study.distances: unbiased squared distances and their jackknife errors, against ensembles of known law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simdrop.study.distances import Estimate, root, share_removed, squared_distance, time_weights

REPEATS, GROUPS, SIZE, DIM = 2000, 20, 5, 30


def draws(offset: Any, seed: Any = 0, counts: Any = None) -> Any:
    """Group means (REPEATS as time, G, K) of unit normals whose mean is `offset` away from 0 in every coordinate."""
    counts = np.full((REPEATS, GROUPS), SIZE) if counts is None else counts
    noise = np.random.default_rng(seed).standard_normal((REPEATS, GROUPS, DIM))
    return offset + noise / np.sqrt(np.maximum(counts, 1))[..., None], counts


@pytest.mark.parametrize("offset", [0.0, 0.05, 0.5])
def test_squared_distance_has_no_bias(offset: Any) -> None:
    means, counts = draws(offset)
    found = squared_distance(means, counts, np.zeros((REPEATS, DIM))).value
    # Two-sided 4 standard errors: false alarm once in 16000.
    assert abs(found.mean() - DIM * offset**2) < 4 * found.std() / np.sqrt(REPEATS)
    naive = np.square(means.mean(axis=1)).sum(axis=1)
    bias = DIM / (GROUPS * SIZE)
    assert naive.mean() - DIM * offset**2 == pytest.approx(bias, rel=0.1)  # what was to be removed


def test_unequal_and_empty_groups_have_no_bias() -> None:
    counts = np.tile(np.arange(GROUPS), (REPEATS, 1))  # one group lost all members
    means, counts = draws(0.2, counts=counts)
    means[:, 0] = np.nan
    found = squared_distance(means, counts, np.zeros((REPEATS, DIM)))
    assert abs(found.value.mean() - DIM * 0.04) < 4 * found.value.std() / np.sqrt(REPEATS)
    np.testing.assert_array_equal(found.replicates[0], found.value)


@pytest.mark.parametrize(("offset", "low", "high"), [(0.5, 0.95, 1.05), (0.05, 0.95, 1.45), (0.0, 1.2, 1.5)])
def test_jackknife_error_is_the_spread_over_repeats(offset: Any, low: Any, high: Any) -> None:
    """Right where the distance is resolved, up to √2 too large at distance 0, as documented; never too small."""
    means, counts = draws(offset, seed=1)
    found = squared_distance(means, counts, np.zeros((REPEATS, DIM)))
    claimed = np.sqrt(np.mean(found.error**2))
    assert low < claimed / found.value.std() < high


def test_replicates_are_the_statistic_without_one_group() -> None:
    means, counts = draws(0.3)
    prediction = np.random.default_rng(5).standard_normal((REPEATS, DIM))
    counts = counts + np.arange(GROUPS)
    whole = squared_distance(means[:3], counts[:3], prediction[:3])
    for group in (0, 7, GROUPS - 1):
        left = np.delete(np.arange(GROUPS), group)
        expected = squared_distance(means[:3, left], counts[:3, left], prediction[:3]).value
        np.testing.assert_allclose(whole.replicates[group], expected, rtol=1e-12)


def test_two_groups_are_too_few() -> None:
    means, counts = draws(0.3)
    assert np.isnan(squared_distance(means[:1, :2], counts[:1, :2], np.zeros((1, DIM))).value).all()


def test_error_of_a_mean_is_its_standard_error() -> None:
    """For a mean, the jackknife's error is the textbook one, to rounding."""
    sample = np.random.default_rng(2).standard_normal(50)
    left_out = (sample.sum() - sample) / 49
    estimate = Estimate(sample.mean(), left_out)
    assert estimate.error == pytest.approx(sample.std(ddof=1) / np.sqrt(50), rel=1e-12)


def test_root_carries_errors() -> None:
    value, error = root(np.array([4.0, 0.0, -1.0, -9.0]), np.array([0.04, 1.0, 4.0, 1.0]))
    np.testing.assert_allclose(value, [2, 0, 0, 0])
    np.testing.assert_allclose(error, [0.01, 0.5, 1, 0.5], rtol=1e-4)


def test_share_removed_and_its_error() -> None:
    """Plain 1 away in each coordinate, the other flow 0.1: it removes 90 %; errors agree with the spread."""
    means, counts = draws(1.0, seed=3, counts=np.full((REPEATS, GROUPS), 20 * SIZE))
    plain, other = (squared_distance(means, counts, np.full((REPEATS, DIM), c)) for c in (0.0, 0.9))
    share, error = share_removed(other, plain)
    assert share.mean() == pytest.approx(0.9, abs=0.002)
    assert np.sqrt(np.mean(error**2)) / share.std() == pytest.approx(1, abs=0.1)


def test_share_is_unknown_where_plain_gradient_flow_is_not_wrong() -> None:
    means, counts = draws(0.0, seed=4)
    plain, other = (squared_distance(means, counts, np.full((REPEATS, DIM), c)) for c in (0.0, 0.05))
    assert np.isnan(share_removed(other, plain)[0]).mean() > 0.9


def test_time_weights_are_the_trapezoidal_rule() -> None:
    times = np.array([0.0, 1.0, 3.0, 7.0])
    np.testing.assert_allclose(time_weights(times) @ times**2, np.trapezoid(times**2, times) / 7)
    assert time_weights(np.array([2.0])) == 1
