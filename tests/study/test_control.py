"""The control variate of order(): its mean is zero exactly, by enumeration of all masks, and it takes variance away."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import simdrop
from simdrop.study.case import Case, group_means
from simdrop.study.convergence import control_variate
from simdrop_kernels.cpu import mask_counts
from simdrop_kernels.mathematics import rng

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
POINTS = np.linspace(-1, 1, 7)[:, None]


def _case(problem: simdrop.Problem, **changes: Any) -> Case:
    settings: dict[str, Any] = {"lr": 0.025, "steps": 40, "members": 4000, "groups": 100, "seed": 5} | changes
    return Case(problem=problem, theta0=problem.init(seed=3), points=POINTS, **settings)


@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("width", [5, 8])
def test_counts_are_those_of_the_masks(width: int, samples: int | None) -> None:
    masks = rng.masks(
        seed=2**40 + 7, member=np.arange(3, 53)[:, None], step=np.arange(6), width=width, keep_prob=0.4, samples=samples
    ).reshape(50, 6, samples or 1, width)
    wanted = np.einsum("btgj,btgk->tgjk", masks, masks.astype(int))
    found = mask_counts.count_pairs(
        seed=2**40 + 7, first=3, last=53, steps=6, width=width, keep_prob=0.4, samples=samples, threads=2
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("mask", "samples"), [("step", 3), ("sample", 2)])
@pytest.mark.parametrize("train", ["both", "output"])
def test_its_mean_over_all_masks_is_zero(mask: Any, samples: int, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sequence of masks of two steps is a group of one member; weighted by their probabilities they cancel."""
    x = np.linspace(-1, 1, samples)
    problem = simdrop.Problem(x, np.cos(2 * x), width=2, keep_prob=0.6, mask=mask, train=train)
    shape = (2, samples if mask == "sample" else 1, 2)
    sequences = np.array(list(itertools.product([0, 1], repeat=int(np.prod(shape))))).reshape(-1, *shape)
    weights = np.prod(np.where(sequences, 0.6, 0.4), axis=(1, 2, 3))
    assert weights.sum() == pytest.approx(1)

    def counted(*, first: int, **_: Any) -> NDArray:
        return np.einsum("tgj,tgk->tgjk", sequences[first], sequences[first])

    monkeypatch.setattr(control_variate, "count_pairs", counted)
    case = _case(problem, lr=0.3, steps=2, members=len(sequences), groups=len(sequences))
    zeros = {"parameters": np.zeros(problem.n_params), "function": np.zeros(len(POINTS)), "risk": np.zeros(1)}
    found = control_variate.controlled(_still(case, zeros), case).values
    for name, values in found.items():
        assert np.abs(values).max() > 1e-3, name
        assert np.abs(weights @ values).max() < 1e-14, name
    wrong = np.prod(np.where(sequences, 0.61, 0.39), axis=(1, 2, 3))
    assert np.abs(wrong @ found["parameters"]).max() > 1e-4, "another keep_prob must be seen"


def _still(case: Case, values: dict[str, NDArray]) -> Any:
    from simdrop.study.case import Means

    groups = {name: np.tile(value, (case.groups, 1)) for name, value in values.items()}
    return Means(np.full(case.groups, case.members / case.groups), groups)


@pytest.mark.parametrize(("mask", "wanted"), [("step", 8), ("sample", 20)])
def test_it_takes_variance_away(mask: Any, wanted: float) -> None:
    """At lr 0.025 variances fall by 20 and 48; under the masks of another seed they double."""
    problem = replace(PROBLEM, mask=mask)
    case = _case(problem)
    runs = simdrop.simulate(
        problem, case.theta0, lr=case.lr, steps=case.steps, members=case.members, seed=case.seed, groups=case.groups,
        record=[case.steps], grid=POINTS,
    )  # fmt: skip
    plain = group_means(runs, -1, slice(None))

    def variance(of: Any) -> float:
        return float(of.values["parameters"].var(axis=0).sum())

    assert variance(control_variate.controlled(plain, case)) < variance(plain) / wanted
    assert variance(control_variate.controlled(plain, replace(case, seed=6))) > 1.5 * variance(plain)
    assert control_variate.controlled(plain, replace(case, members=4001)) is plain  # one was lost
    assert not control_variate.affordable(replace(PROBLEM, width=1000), 100)
