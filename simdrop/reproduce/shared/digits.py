"""Classifying handwritten digits: what the experiments on 784-1000-10 networks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...problem import Problem
from ...study.landscape import flatness
from ..experiment import Settings
from .dropout_pair import finite

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]

#: full -> (samples to train on, neurons)
Sizes = dict[bool, tuple[int, int]]
#: training on losses that hold R_1, as (until time lr · step, lr in units of 1/λ): see `schedule`
STAGES = ((6.0, 1.0), (30.0, 2.0), (40.0, 4.0), (41.0, 0.4))
#: training on losses without it: they stay as curved as they begin, and larger steps lose a network now and then; R_S
#: has reached its minimum long before
STEADY = ((20.0, 1.0),)


class Digits(NamedTuple):
    """A problem of classification, images to test on and their labels, and where they come from."""

    problem: Problem
    x: Array
    labels: NDArray[np.int64]
    about: str

    def accuracy(self, theta: Array) -> Array:
        """The share (...) of test images that the whole network theta (..., P) names rightly."""
        flat = theta.reshape(-1, theta.shape[-1])
        found = [(self.problem.predict(one, self.x).argmax(axis=-1) == self.labels).mean() for one in flat]
        return np.array(found).reshape(theta.shape[:-1])


def digits(settings: Settings, sizes: Sizes) -> Digits:
    """MNIST where its files are given, else scikit-learn's 8x8 digits; raises InvalidInput.

    A tanh network with sample masks, one output for each digit, mean square error, the papers' initial weights.
    """
    samples, width = sizes[settings.full]
    if settings.mnist is None:
        from ...data import load

        found = load("digits")
        x, labels = found.x, found.y.argmax(axis=1)
        train, test = slice(samples), slice(samples, None)
        about, images, test_labels = "scikit-learn's 8x8 digits", x[test], labels[test]
        x, labels = x[train], labels[train]
    else:
        from ...data.mnist import read

        x, labels = read(settings.mnist, "train")
        x, labels = x[:samples], labels[:samples]
        (images, test_labels), about = read(settings.mnist, "t10k"), "MNIST"
    problem = Problem(x, np.eye(10)[labels], width=width, mask="sample", activation="tanh", keep_prob=0.5)
    text = f"{about}, first {samples} images; {problem.x.shape[1]}-{width}-10 tanh network, mean square error"
    return Digits(problem, images, test_labels, text)


def starts(here: Digits, seeds: int) -> Array:
    """Initial weights N(0, m^-0.2), a variance: theta (seeds, P)."""
    return here.problem.init(seed=0, gamma=0.2, members=seeds)


def schedule(here: Digits, theta0: Array, stages: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """`lr` and `steps` for stages (until time lr · step, lr in units of 1/λ), λ the largest curvature of R_S at theta0.

    Gradient descent is stable below 2/λ. Where R_1 is in the loss, λ falls by a factor of ten in training.
    """
    curvature = max(float(flatness.top_eigenvalues(here.problem, one)[0]) for one in theta0)
    lr, steps, time = {}, 0, 0.0
    for until, units in stages:
        lr[steps] = units / curvature
        steps += round((until - time) * curvature / units)
        time = until
    return {"lr": lr, "steps": steps}


def train(here: Digits, theta0: Array, keep_probs: ArrayLike, settings: Settings, *, what: str, **known: Any) -> Array:
    """Gradient descent in float32 from each start with each keep probability: theta (seeds, keep_probs, P)."""
    arms = np.atleast_1d(np.asarray(keep_probs, dtype=np.float64))
    runs = settings.train(
        f"train: {what}", here.problem, np.repeat(theta0, len(arms), axis=0), keep_prob=np.tile(arms, len(theta0)),
        keep_theta=True, dtype="float32", record=2, **known,
    )  # fmt: skip
    theta = finite(runs["theta"].values[-1], what)
    return np.asarray(theta.reshape(len(theta0), len(arms), here.problem.n_params))


def mean_risk(here: Digits, theta: Array, arms: Sequence[float]) -> tuple[Array, Array]:
    """R_S and R_1 (seeds, arms) of theta (seeds, arms, P), each at its own keep probability."""
    r1 = [theory.r1(replace(here.problem, keep_prob=p), theta[:, k]) for k, p in enumerate(arms)]
    return theory.risk(here.problem, theta), np.stack(r1, axis=1)


def measured(here: Digits, ends: dict[str, Array], arms: Sequence[float]) -> xr.Dataset:
    """R_S, R_1 and accuracy of networks (seeds, arms, P) by what they were trained on."""
    import xarray as xr

    axes = ("objective", "seed", "keep_prob")
    risks, r1s = zip(*(mean_risk(here, theta, arms) for theta in ends.values()), strict=True)
    accuracy = np.array([here.accuracy(theta) for theta in ends.values()])
    variables = {"risk": np.array(risks), "r1": np.array(r1s), "accuracy": accuracy}
    coords = {"objective": list(ends), "keep_prob": list(arms)}
    return xr.Dataset({name: (axes, values) for name, values in variables.items()}, coords)
