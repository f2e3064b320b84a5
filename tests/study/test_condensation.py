"""Condensation on parameters with a known answer: planted clusters, covers counted by hand, invariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simdrop
from simdrop.errors import InvalidInput
from simdrop.study.landscape import condensation

X = np.linspace(-12, 12, 15)
PLANTED = np.array([[1.0, -6.0], [1.0, 6.0], [-1.0, 6.0]])


def problem(width: Any = 30, **changes: Any) -> Any:
    return simdrop.Problem(X, np.sin(X), width=width, **changes)


def planted(centers: Any = PLANTED, each: Any = 10, jitter: Any = 0.01, outputs: Any = 1, seed: Any = 0) -> Any:
    """theta of `each` neurons within `jitter` radians of each center (2,), lengths and outgoing weights random."""
    random = np.random.default_rng(seed)
    angle = np.arctan2(centers[:, 1], centers[:, 0]).repeat(each)
    angle = angle + random.uniform(-jitter, jitter, angle.size)
    length = random.uniform(0.5, 2, angle.size)
    w = length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    a = random.choice([-1, 1], (outputs, angle.size)) * random.uniform(0.5, 2, (outputs, angle.size))
    return np.concatenate([a.ravel(), w.ravel()]), angle


def test_orientations_and_amplitudes_are_those_that_were_planted() -> None:
    theta, angle = planted()
    here = problem()
    np.testing.assert_allclose(condensation.orientations(here, theta), angle, rtol=1e-12)
    a, w = theta[:30], theta[30:].reshape(30, 2)
    size = np.abs(a) * np.hypot(*w.T)
    np.testing.assert_allclose(condensation.amplitudes(here, theta, relative=False), size, rtol=1e-12)
    assert condensation.amplitudes(here, theta).max() == 1
    np.testing.assert_array_equal(
        condensation.orientations(here, [theta, theta])[1], condensation.orientations(here, theta)
    )


def test_an_angle_of_pi_is_minus_pi() -> None:
    theta = np.concatenate([np.ones(2), [-1.0, 0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(condensation.orientations(problem(2), theta), [-np.pi, 0])


def test_clusters_find_what_was_planted() -> None:
    theta, angle = planted()
    theta[29] = 1e-3  # an outgoing weight: this neuron falls below the threshold
    found = condensation.clusters(problem(), theta)
    assert sorted(found.count) == [9, 10, 10]
    assert found.label[29] == -1
    for k in range(3):
        rows = found.label == k
        assert len(set(np.flatnonzero(rows) // 10)) == 1
        center = np.arctan2(found.center[k, 1], found.center[k, 0])
        assert abs(center - angle[rows].mean()) < 0.01
        assert found.spread[k] < 0.01
    assert found.weight.sum() == pytest.approx(1)
    assert (np.diff(found.weight) <= 0).all()
    assert found.holding(0.95) == 3
    assert found.holding(found.weight[0] - 1e-9) == 1


def test_directions_up_to_their_sign() -> None:
    """(1, -6) and (-1, 6) are one line."""
    theta, _ = planted()
    found = condensation.clusters(problem(), theta, signed=False)
    assert sorted(found.count) == [10, 20]
    assert found.spread.max() < 0.01
    angles = condensation.distances(problem(), theta, PLANTED[:1], threshold=0)
    np.testing.assert_array_less(angles[:10], 0.011)
    np.testing.assert_array_less(angles[20:], 0.011)
    np.testing.assert_allclose(angles[10:20], 2 * np.arctan2(1, 6), atol=0.011)
    np.testing.assert_array_less(
        3.1, condensation.distances(problem(), theta, PLANTED[:1], threshold=0, signed=True)[20:]
    )


def test_no_cluster_is_wider_than_its_diameter() -> None:
    """A chain of near neighbours all the way round is no cluster."""
    angle = np.linspace(-np.pi, np.pi, 200, endpoint=False)
    theta = np.concatenate([np.ones(200), np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel()])
    found = condensation.clusters(problem(200), theta, diameter=0.2)
    assert len(found) >= 2 * np.pi / 0.2
    for k in range(len(found)):
        members = np.exp(1j * angle[found.label == k])
        assert np.abs(np.angle(members[:, None] / members)).max() <= 0.2 + 1e-9


def test_similarity_orders_neurons_into_blocks() -> None:
    random = np.random.default_rng(3)
    theta, _ = planted(PLANTED[:2])
    shuffled = random.permutation(20)
    here = problem(20)
    theta = here.join(theta[:20][None, shuffled], theta[20:].reshape(20, 2)[shuffled])
    found = condensation.similarity(here, theta)
    block = shuffled[found.neurons] // 10
    assert (np.diff(block) != 0).sum() == 1
    ways = condensation.directions(here, theta)[found.neurons]
    np.testing.assert_allclose(found.matrix, ways @ ways.T, atol=1e-12)


def test_the_effective_ratio_counts_a_greedy_cover() -> None:
    theta, _ = planted()
    assert condensation.effective_ratio(problem(), theta) == pytest.approx(3 / 30)
    # at 0, 15, 30, 45, 60 degrees a cosine of 0.95 reaches 18: the rule takes 15 (covers 0, 15, 30), then 45 (45, 60)
    angle = np.radians([0, 15, 30, 45, 60])
    theta = np.concatenate([np.ones(5), np.stack([np.cos(angle), np.sin(angle)], axis=1).ravel()])
    assert condensation.effective_ratio(problem(5), theta) == pytest.approx(2 / 5)
    theta[-2:] = 0  # the last neuron has no orientation and counts for itself: 15, 45, and it
    assert condensation.effective_ratio(problem(5), theta) == pytest.approx(3 / 5)


def test_shares_of_small_and_of_dead_neurons() -> None:
    here = problem(4, activation="relu")
    # relu(x - 13) is 0 on the data, relu(x + 13) is not, relu(0) is, relu(x) is not
    w = np.array([[1.0, -13.0], [1.0, 13.0], [0.0, 0.0], [1.0, 0.0]])
    theta = np.concatenate([[1.0, 1.0, 1.0, 0.01], w.ravel()])
    assert condensation.dead_share(here, theta) == 0.5
    assert condensation.small_share(here, theta) == 0.5  # amplitudes 13, 13, 0, 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_nothing_depends_on_the_order_of_neurons_or_on_scale(seed: Any, factor: Any) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal((6, 3))
    here = simdrop.Problem(x, x[:, :2], width=8)
    theta = here.init(seed=seed)
    a, w = here.split(theta)
    order = random.permutation(8)
    other = here.join((a * factor)[:, order], (w / factor)[order])
    for measure in (condensation.effective_ratio, condensation.small_share):
        assert measure(here, theta) == measure(here, other)
    one, two = condensation.clusters(here, theta), condensation.clusters(here, other)
    np.testing.assert_allclose(one.weight, two.weight, rtol=1e-9)
    np.testing.assert_array_equal(one.count, two.count)


def test_along_a_run() -> None:
    here = problem(6, keep_prob=0.8)
    runs = simdrop.simulate(here, here.init(members=3), lr=0.01, steps=20, record=3, keep_theta=True)
    found = condensation.along(here, runs, teacher=PLANTED)
    assert dict(found.sizes) == {"time": 3, "member": 3}
    theta = runs["theta"].values[1, 2]
    assert found["effective_ratio"].values[1, 2] == condensation.effective_ratio(here, theta)
    assert found["holding"].values[1, 2] == condensation.clusters(here, theta, signed=False).holding()
    lost = runs.copy(deep=True)
    lost["theta"][2, 1] = np.nan
    again = condensation.along(here, lost, teacher=PLANTED)
    assert np.isnan(again["holding"].values[2, 1])
    np.testing.assert_array_equal(again["near"].values[:, 0], found["near"].values[:, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: condensation.clusters(p, np.full(p.n_params, np.nan)), "non-finite"),
        (lambda p: condensation.clusters(p, np.ones(5)), "18 parameters"),
        (lambda p: condensation.clusters(p, np.zeros(p.n_params)), "0 neurons"),
        (lambda p: condensation.similarity(p, np.eye(p.n_params)[0]), "two are needed"),
        (lambda p: condensation.clusters(p, p.init(), diameter=0), "diameter"),
        (lambda p: condensation.clusters(p, p.init(), threshold=2), "threshold"),
        (lambda p: condensation.effective_ratio(p, p.init(), cosine=1.5), "cosine"),
        (lambda p: condensation.distances(p, p.init(), [[0, 0]]), "not all 0"),
        (lambda p: condensation.distances(p, p.init(), [[1, 0, 0]]), "vectors of 2"),
        (lambda p: condensation.along(p, simdrop.simulate(p, p.init(), lr=0.1, steps=1, members=2)), "keep_theta"),
        (lambda p: condensation.clusters(p, p.init()).holding(0), "share"),
    ],
)
def test_refused(call: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(problem(6))


def test_one_neuron_and_no_angle() -> None:
    with pytest.raises(InvalidInput, match="two are needed"):
        condensation.clusters(problem(1), np.ones(3))
    with pytest.raises(InvalidInput, match="d = 1"):
        condensation.orientations(problem(3, bias=False), np.ones(6))
