"""The sum over pairs of neurons in R_2, in its two forms: by samples and by neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop_kernels.mathematics.network import expected, pair_sums


def problem(samples: Any, outputs: Any, mask: Any = "step") -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((samples, 2)), rng.standard_normal((samples, outputs))
    return simdrop.Problem(x, y, width=4, keep_prob=0.7, activation="gelu", output_scale=0.8, mask=mask)


def moment_and_gradient(problem: Any, theta: Any) -> Any:
    """E|∇R_drop|² (2,) and the gradient (2, P) of R_2 for two networks at once."""
    keep_prob = np.array([0.7, 0.4])
    common = {"activation": problem.activation, "keep_prob": keep_prob, "output_scale": problem.scale}
    common |= {"mask": problem.mask}
    moment = expected.second_moment(problem.inputs, problem.y, theta, **common)
    return moment, expected.gradient("r2", problem.inputs, problem.y, theta, lr=[0.1, 0.3], **common)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("mask", ["step", "sample"])
def test_both_forms_agree(monkeypatch: pytest.MonkeyPatch, outputs: Any, mask: Any) -> None:
    large = problem(20, outputs, mask)
    theta = large.init(members=2)
    found = []
    monkeypatch.setattr(pair_sums, "CHUNK", 2 * 20 * 4)  # two of the three columns, then one
    for form in (True, False):
        monkeypatch.setattr(pair_sums, "cheaper", lambda net, form=form: form)
        found.append(moment_and_gradient(large, theta))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_the_cheaper_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 D m = 24 against n c (c + 1)."""
    seen = []
    monkeypatch.setattr(pair_sums, "square_by_pairs", lambda net, weight: seen.append(net.h.shape) or 0.0)
    for samples, outputs, calls in ((11, 1, 0), (13, 1, 1), (1, 3, 1), (3, 3, 2)):
        one = problem(samples, outputs)
        expected.second_moment(
            one.inputs, one.y, one.init(), activation="gelu", keep_prob=0.7, output_scale=1.0, mask="step"
        )
        assert len(seen) == calls
