"""Philox, masks and minibatches: known answers, laws, and what they may depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simdrop import masks
from simdrop_kernels.mathematics import rng

# Known answers of Random123 (kat_vectors): counter, key, output of philox4x32-10.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter: str, key: str, answer: str) -> None:
    assert list(rng.philox(*_words(counter), *_words(key))) == _words(answer)


def test_philox_of_arrays_equals_philox_of_scalars() -> None:
    counters = np.arange(40, dtype=np.uint64).reshape(4, 10)
    drawn = rng.philox(*counters, *rng.split_seed(123456789012345))
    for k in range(10):
        assert [word[k] for word in drawn] == list(rng.philox(*counters[:, k], *rng.split_seed(123456789012345)))


def test_the_counter_is_laid_out_as_documented() -> None:
    stream, block, sample, step, member = rng.STREAM_SAMPLE_MASK, 2, 5, 7, 11
    counter = [np.uint64(v) for v in (stream << 28 | block, sample, step, member)]
    drawn = rng.philox(*counter, *rng.split_seed(3))
    assert list(rng.words(stream, 12, sample, step, member, 3)[8:]) == list(drawn)


def test_both_halves_of_the_seed_count() -> None:
    one, other = (rng.words(0, 8, 0, 0, 0, seed) for seed in (1, 1 + (1 << 40)))
    assert (one != other).all()


def test_masks_depend_on_their_coordinates_alone() -> None:
    every = masks(seed=4, member=np.arange(6)[:, None], step=np.arange(5), width=9, keep_prob=0.6, samples=3)
    assert every.shape == (6, 5, 3, 9)
    assert (every[4, 2] == masks(seed=4, member=4, step=2, width=9, keep_prob=0.6, samples=3)).all()
    assert (every[4, 2, :, :5] == masks(seed=4, member=4, step=2, width=5, keep_prob=0.6, samples=3)).all()
    assert (every[4, 2, :2] == masks(seed=4, member=4, step=2, width=9, keep_prob=0.6, samples=2)).all()


def test_step_masks_are_not_those_of_the_first_sample() -> None:
    step = masks(seed=0, member=0, step=0, width=64, keep_prob=0.5)
    assert (step != masks(seed=0, member=0, step=0, width=64, keep_prob=0.5, samples=1)[0]).any()


def test_keep_prob_one_keeps_always_and_the_threshold_is_exact() -> None:
    assert rng.keep_threshold(1.0) == 0xFFFFFFFF
    assert rng.keep_threshold(0.5) == 0x7FFFFFFF
    assert rng.keep_threshold(1e-300) == 0
    assert masks(seed=0, member=np.arange(1000), step=0, width=50, keep_prob=1.0).all()


@pytest.mark.parametrize("keep_prob", [0.01, 0.3, 0.9])
def test_masks_are_kept_with_the_right_probability(keep_prob: float) -> None:
    """Binomial test, false alarm 1e-4; a probability wrong by 0.01 must fail it."""
    kept = masks(seed=8, member=np.arange(2000), step=3, width=200, keep_prob=keep_prob)
    right, wrong = (stats.binomtest(int(kept.sum()), kept.size, p).pvalue for p in (keep_prob, keep_prob + 0.01))
    assert right > 1e-4
    assert wrong < 1e-4


@pytest.mark.parametrize("axis", ["member", "step", "neuron", "sample"])
def test_neighbouring_masks_are_uncorrelated(axis: str) -> None:
    """Correlation of 10⁵ pairs, normal to good accuracy: beyond 4 deviations with probability 6e-5."""
    kept = masks(seed=2, member=np.arange(11)[:, None], step=np.arange(11), width=101, keep_prob=0.5, samples=11)
    values = np.where(kept, 1.0, -1.0)
    where = {"member": 0, "step": 1, "sample": 2, "neuron": 3}[axis]
    first = np.take(values, np.arange(values.shape[where] - 1), where)
    second = np.take(values, np.arange(1, values.shape[where]), where)
    assert abs((first * second).mean()) < 4 / np.sqrt(first.size)
    assert abs((first * first).mean()) > 4 / np.sqrt(first.size)  # negative control


@pytest.mark.parametrize("replace", [False, True])
def test_minibatches_are_uniform(replace: bool) -> None:
    """χ² over the samples, false alarm 1e-4; a sample drawn half as often must fail."""
    chosen = rng.batches(seed=5, member=np.arange(4000), step=9, samples=7, batch_size=3, replace=replace)
    counts = np.bincount(chosen.ravel(), minlength=7)
    assert counts.size == 7
    assert stats.chisquare(counts).pvalue > 1e-4
    counts[2] //= 2
    assert stats.chisquare(counts).pvalue < 1e-4
    repeated = (np.sort(chosen, axis=1)[:, 1:] == np.sort(chosen, axis=1)[:, :-1]).any(axis=1)
    assert repeated.any() == replace


def test_minibatches_without_replacement_have_every_order_equally_often() -> None:
    """χ² over the 24 orders of four samples, false alarm 1e-4."""
    chosen = rng.batches(seed=1, member=np.arange(6000), step=0, samples=4, batch_size=4, replace=False)
    orders = np.unique(chosen @ [64, 16, 4, 1], return_counts=True)[1]
    assert orders.size == 24
    assert stats.chisquare(orders).pvalue > 1e-4
