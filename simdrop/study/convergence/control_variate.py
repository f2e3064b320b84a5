"""A control variate for the mean of an ensemble: what the masks of its members do to first order, of mean zero.

Along gradient descent φ on L = R_S + R_1 with the run's steps, members θ = φ + ξ + O(ε) with

    ξ ← ξ - ε (H ξ + G(φ, mask) - ∇L(φ)),   ξ = 0 at the start,   H the Hessian of L at φ

and E ξ = 0 exactly, as the masks of a step know nothing of φ and E G = ∇L. So x - J ξ has the mean of x, J the
derivative at φ of what x is of θ, and a variance that falls by a power of ε. The recursion is linear, and G at a given
point is a sum over factors η and products η η of neurons: the mean of ξ over a group needs only the group's means of
these, which are counts of kept neurons and pairs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from simdrop_kernels.cpu.mask_counts import count_pairs
from simdrop_kernels.mathematics.network.forward import ForwardPass

from ... import provenance, theory
from ...problem import Problem
from ...schedule.base import Schedule
from ...theory.curvature import features
from ..case import Case, Means, rms
from ..distances import Array

#: counts of one group at most: beyond, counting costs more than further members
MOST_COUNTS = 1 << 24


def affordable(problem: Problem, steps: int) -> bool:
    """Whether the counts of a group are few enough."""
    return steps * (problem.n_samples if problem.mask == "sample" else 1) * problem.width**2 <= MOST_COUNTS


def controlled(simulated: Means, case: Case) -> Means:
    """The group means of an ensemble less their control; as they are where members were lost or counts too many.

    Covariances have none, nor have steps with other noise than dropout, of which G is.
    """
    if case.noise is not None or simulated.counts.sum() < case.members or not affordable(case.problem, case.steps):
        return simulated
    known = _first_order(case)
    return Means(simulated.counts, {name: values - known.get(name, 0) for name, values in simulated.values.items()})


def _first_order(case: Case) -> dict[str, Array]:
    """J times the mean of ξ over each group, for every quantity: (groups, K)."""
    problem, lr = case.problem, case.lr
    rates = lr.rates(0, case.steps)[0] if isinstance(lr, Schedule) else np.full(case.steps, lr)
    path = np.empty((case.steps + 1, problem.n_params))
    path[0] = case.theta0
    for step, theta in enumerate(path[:-1]):
        path[step + 1] = theta - rates[step] * theory.mean_gradient(problem, theta)
    noise = _noise(case, path[:-1])
    xi = np.zeros((case.groups, problem.n_params))
    for step, theta in enumerate(path[:-1]):
        xi -= rates[step] * (theory.hessian_product(problem, theta, xi) + noise[:, step])
    points = problem.augment(case.points)
    net = ForwardPass.at(
        points, np.zeros((len(points), problem.n_outputs)), path[-1], problem.activation, problem.scale, 1
    )
    by_f = problem.freeze(features(net)).reshape(1, -1, problem.n_params)
    by_risk = theory.gradient(replace(problem, weight_decay=0.0), path[-1], objective="risk")
    return {"parameters": xi, "function": rms(by_f @ xi[:, :, None]), "risk": (xi @ by_risk)[:, None]}


def _noise(case: Case, path: Array) -> Array:
    """The means over groups of G - ∇L at the points of a path (T, P), one for each step: (groups, T, P)."""
    problem, p = case.problem, case.problem.keep_prob
    net = ForwardPass.at(problem.inputs, problem.y, path, problem.activation, problem.scale, order=1)
    u = net.h[..., None, :] * net.b[..., None, :, :]  # (T, n, c, m)
    bounds = np.arange(case.groups + 1) * case.members // case.groups
    found = np.empty((case.groups, *path.shape))
    for group, (first, last) in enumerate(pairwise(bounds.tolist())):
        both = count_pairs(
            seed=case.seed, first=first, last=last, steps=len(path), width=problem.width, keep_prob=p,
            samples=problem.n_samples if problem.mask == "sample" else None,
            threads=case.threads or provenance.cores(),
        ) / (p * p * (last - first))  # fmt: skip
        eta = p * np.diagonal(both, axis1=-2, axis2=-1)[..., None, :] - 1  # (T, 1 or n, 1, m)
        weights = both - eta.swapaxes(-1, -2) - 1 - problem.variance * np.eye(problem.width)  # η_j η_k - E, plus η_k
        found[group] = problem.freeze(net.pull(eta * net.e[..., None] + u @ weights.swapaxes(-1, -2)))
    return found
