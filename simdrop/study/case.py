"""An ensemble at one learning rate, what it is compared with, and by how much they differ."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.contract.equation import Scheme
from simdrop_kernels.registry import BackendName

from .. import theory
from ..checks.numbers import check_count, is_one
from ..checks.sizes import check_memory
from ..errors import Diverged, DivergenceWarning, FlowFailed, InvalidInput
from ..problem import Noise, Problem
from ..schedule.base import Schedule
from ..settings.defaults import RISK_LIMIT
from ..simulation.carry_out import Output
from ..simulation.paths_plan import PathsPlan
from ..simulation.run import lost_steps
from ..simulation.sme import follow
from ..theory.flows.pathwise import members_at_end
from ..theory.flows.rates import Clock
from ..theory.flows.table import FlowKind, flows
from .distances import Array, Estimate, squared_distance

#: what is compared: mean parameters, mean outputs on the grid, mean risk
QUANTITIES = ("parameters", "function", "risk")
#: what is compared besides where it is asked for: the covariance of the parameters, by its Frobenius norm
COVARIANCE = "covariance"
#: added to the seed of the simulation, so that the noise of an equation is not the masks'
OTHER_SEED = 1_000_003
SEEDS = 1 << 64
#: the most that R_S may be beside R_1 for a network to be near zero loss
NEAR = 0.1
#: what a prediction may raise where it says nothing
FAILURES = (FlowFailed, Diverged)
#: grid points taken between the ends of one-dimensional data, and data points taken at most otherwise
GRID_POINTS, GRID_SAMPLES = 97, 200


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem, start, learning rate and time, and how much is sampled of it.

    Attributes
    ----------
    problem : Problem
    theta0 : array, shape (P,)
        Start of all members.
    lr : float
    steps : int
        Training steps; the end is at time lr · steps.
    times : array, shape (T,), optional
        Where predictions are wanted; by default at the end alone.
    points : array, shape (k, d)
        Where functions are compared.
    members, groups, seed, threads, backend, risk_limit
        Of the ensemble, as in `simulate`.
    rtol, atol, max_evaluations
        Of flows, as in `flow`.
    noise : Noise, optional
        Of a step, besides the problem's dropout or with its mask in another place.
    sme_members : int, optional
        Paths of a stochastic equation, rounded to whole pairs in each group; by default as many as the ensemble has
        members.
    substeps, scheme, sme_backend
        Of the stochastic equations, as in `sme`.
    joined : int
        Of the stochastic equations, as in `Equation`.
    covariance : bool
        Whether covariances are compared too.
    """

    problem: Problem
    theta0: Array
    lr: float | Schedule
    steps: int
    points: Array
    members: int
    groups: int
    seed: int
    times: Array | None = None
    threads: int | None = None
    backend: BackendName = "auto"
    rtol: float = 1e-8
    atol: float = 1e-10
    max_evaluations: int | None = None
    noise: Noise | None = None
    sme_members: int | None = None
    substeps: int | None = None
    scheme: Scheme = "rk4"
    sme_backend: BackendName = "auto"
    joined: int = 1
    risk_limit: float | None = RISK_LIMIT
    covariance: bool = False

    @property
    def time(self) -> float:
        """lr · steps, the sum of the learning rates."""
        if isinstance(self.lr, Schedule):
            return float(self.lr.times(np.array([self.steps]))[0])
        return self.lr * self.steps

    @property
    def first_rate(self) -> float:
        """The learning rate of the first step."""
        return float(self.lr.rates(0, 1)[0, 0]) if isinstance(self.lr, Schedule) else self.lr

    @property
    def rates(self) -> float | Array:
        """The learning rate at the times at which predictions are wanted: a number, or (T,) where it changes."""
        if not isinstance(self.lr, Schedule):
            return self.lr
        times = np.asarray(self.where, dtype=np.float64)
        return Clock.of(self.lr, float(times[-1])).at(times)

    @property
    def where(self) -> ArrayLike:
        """The times (T,) at which predictions are wanted."""
        return [self.time] if self.times is None else self.times

    @property
    def paths(self) -> int:
        """Paths of a stochastic equation: whole antithetic pairs, as many in each group."""
        return 2 * self.groups * max((self.sme_members or self.members) // (2 * self.groups), 1)


@dataclass(frozen=True)
class Means:
    """Means over groups of members at one time, or a prediction without spread as one group.

    Attributes
    ----------
    counts : array, shape (G,)
        Members of each group that are finite.
    values : dict
        Quantity -> array of shape (G, K), in units in which the 2-norm is the distance.
    """

    counts: Array
    values: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a theory predicts of an ensemble's means at T times, by G groups of paths; G = 1 where it is not sampled.

    Attributes
    ----------
    counts : array, shape (T, G)
        Paths of each group.
    theta : array, shape (T, G, P)
        Mean parameters.
    f : array, shape (T, G, k, c)
        Mean outputs on the grid.
    risk : array, shape (T, G)
        Mean risk R_S.
    covariance : array, shape (T, G, P, P), optional
        Covariance of the parameters.
    terms : dict
        "r1" and "r2" (T,) at the mean parameters, where they are known already.
    attrs : dict
        How it was computed.
    """

    counts: Array
    theta: Array
    f: Array
    risk: Array
    covariance: Array | None = None
    terms: dict[str, Array] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether it is an ensemble itself, with a sampling error of its own."""
        return self.counts.shape[1] > 1

    def rows(self, quantity: str) -> Array:
        """A quantity as rows (T, G, K), in units in which the 2-norm is the distance."""
        found = {"parameters": self.theta, "function": self.f, "risk": self.risk[..., None]}[quantity]
        return rms(found) if quantity == "function" else found

    def mean(self, name: str) -> Array:
        """`theta` (T, P), `f` (T, k, c) or `risk` (T,): the mean over all paths."""
        values: Array = getattr(self, name)
        if not self.sampled:
            return values[:, 0]
        weights = self.counts / self.counts.sum(axis=1, keepdims=True)
        found: Array = np.einsum("tg,tg...->t...", weights, values)
        return found

    def noise(self, quantity: str) -> Array:
        """(T,): the root mean square distance of its mean from that of infinitely many paths, 0 for a flow.

        Estimated from the scatter of the groups, as antithetic paths are not independent.
        """
        rows = self.rows(quantity)
        groups = rows.shape[1]
        if groups == 1:
            return np.zeros(len(rows))
        around = np.square(rows - rows.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
        found: Array = np.sqrt(around / (groups * (groups - 1)))
        return found

    def at_end(self) -> Means:
        """The means at the last time."""
        values = {quantity: self.rows(quantity)[-1] for quantity in QUANTITIES}
        if self.covariance is not None:
            values[COVARIANCE] = self.covariance[-1].reshape(len(self.covariance[-1]), -1)
        return Means(self.counts[-1], values)


def rms(f: Array) -> Array:
    """Outputs (..., k, c) as rows (..., k c), in units in which the 2-norm is the root mean square."""
    flat = f.reshape(*f.shape[:-2], -1)
    return flat / np.sqrt(flat.shape[-1])


def along_flow(kind: FlowKind, case: Case) -> Predicted:
    """A flow that stands for the mean itself. Raises FlowFailed."""
    found = _flow(kind, case)
    return _without_spread(found, case.problem.predict(found["theta"].values, case.points), found["risk"].values)


def along_manifold(case: Case) -> Predicted:
    """The slow flow along the zero-loss manifold, at the times of training. Raises FlowFailed."""
    if why := far_from_zero_loss(case.problem, case.theta0):
        raise FlowFailed(why)
    slow = case.problem.variance * np.atleast_1d(np.asarray(case.where, dtype=np.float64))
    found = theory.flow(
        case.problem, case.theta0, lr=case.lr, times=slow, kind="manifold", noise=case.noise, rtol=case.rtol,
        atol=case.atol, max_evaluations=case.max_evaluations,
    )  # fmt: skip
    f = case.problem.predict(found["theta"].values, case.points)
    return _without_spread(found, f, found["risk_mean"].values)


def far_from_zero_loss(problem: Problem, theta0: Array) -> str | None:
    """Why the slow flow along the zero-loss manifold does not describe training from theta0 (P,), or None."""
    if not problem.variance:
        return "keep_prob is 1, so that dropout moves nothing"
    risk, r1 = float(theory.risk(problem, theta0)), float(theory.r1(problem, theta0))
    if risk <= NEAR * r1:
        return None
    return (
        f"R_S must be near zero at theta0, at most {NEAR:g} of R_1, and is {risk:.3g} where R_1 is {r1:.3g}; start at"
        " theory.limit_point(problem, theta0), where it is 0"
    )


def along_moments(kind: FlowKind, case: Case) -> Predicted:
    """A flow of mean and covariance: functions and risk to second order in the spread. Raises FlowFailed."""
    found = _flow(kind, case)
    theta, blocks = found["theta"].values, found["neuron_covariance"].values
    f = [theory.mean_output(case.problem, *at, case.points) for at in zip(theta, blocks, strict=True)]
    covariance = found["theta_cov"].values[:, None] if case.covariance and "theta_cov" in found else None
    return replace(_without_spread(found, np.array(f), found["risk_mean"].values), covariance=covariance)


def _flow(kind: FlowKind, case: Case) -> Any:
    limits: dict[str, Any] = {}
    if "max_evaluations" in flows()[kind].options:
        limits["max_evaluations"] = case.max_evaluations
    if case.noise is not None:
        limits["noise"] = case.noise
    return theory.flow(
        case.problem, case.theta0, lr=case.lr, times=case.where, kind=kind, rtol=case.rtol, atol=case.atol, **limits
    )


def _without_spread(found: Any, f: Array, risk: Array) -> Predicted:
    """A flow, with its own outputs on the grid (T, k, c) and risk (T,)."""
    theta, names = found["theta"].values, ("method", "rtol", "atol", "nfev", "seconds")
    return Predicted(
        counts=np.ones((len(theta), 1)),
        theta=theta[:, None],
        f=f[:, None],
        risk=risk[:, None],
        terms={name: found[name].values for name in ("r1", "r2")},
        attrs={name: found.attrs[name] for name in names},
    )


def along_paths(order: int, case: Case) -> Predicted:
    """Antithetic paths of a stochastic modified equation, as many pairs in each group. Raises Diverged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # an error below
        plan = PathsPlan.check(
            case.problem, case.theta0, lr=case.lr, times=case.where, order=order, members=case.paths, antithetic=True,
            seed=(case.seed + OTHER_SEED) % SEEDS, groups=case.groups, grid=case.points, quantiles=(),
            threads=case.threads, noise=case.noise, substeps=case.substeps, scheme=case.scheme,
            backend=case.sme_backend, risk_limit=case.risk_limit, covariance=case.covariance, joined=case.joined,
        )  # fmt: skip
        runs = follow(plan, Output())
    lost = int((lost_steps(runs) >= 0).sum())
    if lost:
        raise Diverged(f"{lost} of {case.paths} paths diverged")
    names = ("scheme", "substeps", "members", "seed", "backend")
    return Predicted(
        counts=runs["group_alive"].values.astype(np.float64),
        theta=runs["group_theta_mean"].values,
        f=runs["group_f_mean"].values,
        risk=runs["group_risk_mean"].values,
        covariance=_of_pairs(runs) if case.covariance else None,
        attrs={name: runs.attrs[name] for name in names if name in runs.attrs},
    )


def _of_pairs(runs: Any) -> Array:
    """Covariances (T, G, P, P) of groups of antithetic paths, whose sample means have next to no error of their own."""
    count = runs["group_alive"].values[..., None, None]
    found: Array = runs["group_theta_cov"].values * (1 - 1 / count)
    return found


def members_along(corrected: bool, case: Case, members: int) -> Array:
    """The parameters (members, P) to which the flows under the masks of the first members lead. Raises FlowFailed."""
    return members_at_end(
        case.problem, case.theta0, lr=case.lr, steps=case.steps, seed=case.seed, members=members, corrected=corrected,
        rtol=case.rtol, atol=case.atol,
    )  # fmt: skip


def averaged_already(problem: Problem, theta0: Array) -> str | None:
    """Why the second-order flow is not another prediction than the averaged one, or None."""
    return "for loss 'squared' it is the averaged flow" if problem.loss == "squared" else None


def still(case: Case) -> Means:
    """The prediction that nothing moves: distances from it are the unit in which others are large or small."""
    f, risk = case.problem.predict(case.theta0, case.points), theory.risk(case.problem, case.theta0)
    values = {"parameters": case.theta0[None], "function": rms(f[None]), "risk": np.array([[risk]])}
    return Means(np.ones(1), values)


def group_means(runs: Any, time: int, groups: slice) -> Means:
    """The means of groups of a simulation at record number `time`; raises Diverged if fewer than three are left."""
    counts = runs["group_alive"].values[time, groups].astype(np.float64)
    if (counts > 0).sum() < 3:
        raise Diverged("fewer than three groups of members stayed finite")
    values = {
        "parameters": runs["group_theta_mean"].values[time, groups],
        "function": rms(runs["group_f_mean"].values[time, groups]),
        "risk": runs["group_risk_mean"].values[time, groups, None],
    }
    if "group_theta_cov" in runs:
        spreads = runs["group_theta_cov"].values[time, groups]
        values[COVARIANCE] = spreads.reshape(len(spreads), -1)
    return Means(counts, values)


def distance(simulated: Means, prediction: Means, quantity: str) -> Estimate:
    """The unbiased squared distance of the ensemble's mean from a prediction, which may be sampled itself."""
    found = distances(
        simulated.counts[None], simulated.values[quantity][None],
        prediction.counts[None], prediction.values[quantity][None],
    )  # fmt: skip
    return Estimate(found.value[0], found.replicates[:, 0])


def distances(counts: Array, means: Array, predicted_counts: Array, predicted: Array) -> Estimate:
    """The same at T times, of group means (T, G, K) from a prediction (T, 1, K), or (T, G, K) in groups of its own.

    Groups of both are then paired, so that the standard error holds the sampling of both.
    """
    if predicted.shape[1] == 1:
        return squared_distance(means, counts, predicted[:, 0])
    zeros = np.zeros((len(means), means.shape[2]))
    return squared_distance(means - predicted, np.minimum(counts, predicted_counts), zeros)


def grid_points(problem: Problem, grid: int | ArrayLike | None) -> Array:
    """The points (k, d) that `grid` stands for; raises InvalidInput."""
    x, samples = problem.x, problem.n_samples
    one_dimensional = x.shape[1] == 1
    if grid is None and not one_dimensional:
        return x[np.unique(np.linspace(0, samples - 1, min(samples, GRID_SAMPLES)).astype(int))]
    if grid is None or is_one("grid", grid):
        count = GRID_POINTS if grid is None else check_count("grid", grid, least=2)
        check_memory({f"grid={count} points": 32.0 * count})
        if not one_dimensional:
            raise InvalidInput(f"grid can be a number of points for 1-D data only; these have {x.shape[1]} columns")
        return np.linspace(x.min(), x.max(), count)[:, None]
    return problem.augment(grid, "grid")[:, : x.shape[1]]
