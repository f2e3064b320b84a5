"""What every theory predicts for one ensemble at one time: mean parameters, mean outputs on a grid, mean risk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.contract.equation import Scheme

from .. import theory
from ..checks.numbers import check_count, is_one
from ..checks.sizes import check_memory
from ..errors import Diverged, DivergenceWarning, FlowFailed, InvalidInput
from ..problem import Noise, Problem
from ..simulation.recording import RISK_LIMIT
from ..simulation.run import lost_steps
from ..simulation.sme import sme
from ..theory.flows.flow import LOSSES
from .distances import Array, Estimate, squared_distance

#: name -> what it is called; order of the tables
THEORIES = {
    "gradient": "gradient flow R_S",
    "averaged": "averaged flow R_S + R_1",
    "modified": "modified flow R_S + R_1 + R_2",
    "mean-covariance": "mean-covariance flow",
    "sme1": "SME, order 1",
    "sme2": "SME, order 2",
    "pathwise-plain": "pathwise flow, plain",
    "pathwise": "pathwise flow, corrected",
}
#: those that follow single members under their own masks
PATHWISE = ("pathwise-plain", "pathwise")
#: theories that are ensembles themselves -> their order
EQUATIONS = {"sme1": 1, "sme2": 2}
QUANTITIES = ("parameters", "function", "risk")
#: added to the seed of the simulation, so that a theory's noise is not the masks'
OTHER_SEED = 1_000_003
SEEDS = 1 << 64


@dataclass(frozen=True)
class Means:
    """Means of G groups of members, or a prediction without spread as one group: counts (G,), values (G, K)."""

    counts: Array
    values: dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem, start, learning rate and time, and how much is sampled of it."""

    problem: Problem
    theta0: Array
    lr: float
    steps: int
    points: Array
    members: int
    groups: int
    seed: int
    threads: int | None = None
    backend: str = "auto"
    rtol: float = 1e-8
    atol: float = 1e-10
    max_evaluations: int | None = None  # of a flow
    noise: Noise | None = None  # of the stochastic equations, beside the problem's dropout
    sme_members: int | None = None  # as many as the ensemble has, or this; both to whole pairs of paths in a group
    substeps: int | None = None
    scheme: Scheme = "rk4"
    sme_backend: str = "auto"
    risk_limit: float | None = RISK_LIMIT

    @property
    def time(self) -> float:
        """lr · steps."""
        return self.lr * self.steps


def predict(name: str, case: Case) -> Means:
    """The prediction of a theory that is not pathwise. Raises FlowFailed, Diverged."""
    if name in EQUATIONS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)  # an error below
            runs = _paths(name, case)
        lost = int((lost_steps(runs) >= 0).sum())
        if lost:
            raise Diverged(f"{lost} of {runs.sizes['member']} paths diverged")
        return group_means(runs, -1, slice(None))
    found = theory.flow(
        case.problem, case.theta0, lr=case.lr, times=[case.time], kind=name, rtol=case.rtol,
        atol=case.atol, max_evaluations=case.max_evaluations,
    )  # fmt: skip
    theta = found["theta"].values[-1]
    if name in LOSSES:
        return _of_network(case, theta)
    f = theory.mean_output(case.problem, theta, found["neuron_covariance"].values[-1], case.points)
    risk = found["risk_mean"].values[-1]
    return Means(np.ones(1), {"parameters": theta[None], "function": rms(f[None]), "risk": np.array([[risk]])})


def _paths(name: str, case: Case) -> Any:
    """Antithetic paths of a stochastic equation, as many pairs in each group."""
    pairs = max((case.sme_members or case.members) // (2 * case.groups), 1)
    return sme(
        case.problem, case.theta0, lr=case.lr, times=[case.time], order=EQUATIONS[name],  # type: ignore[arg-type]
        members=2 * pairs * case.groups, antithetic=True, seed=(case.seed + OTHER_SEED) % SEEDS, groups=case.groups,
        grid=case.points, quantiles=(), threads=case.threads, noise=case.noise, substeps=case.substeps,
        scheme=case.scheme, backend=case.sme_backend, risk_limit=case.risk_limit,
    )  # fmt: skip


def still(case: Case) -> Means:
    """The prediction that nothing moves: distances from it are the unit in which others are large or small."""
    return _of_network(case, case.theta0)


def _of_network(case: Case, theta: Array) -> Means:
    f, risk = case.problem.predict(theta, case.points), theory.risk(case.problem, theta)
    return Means(np.ones(1), {"parameters": theta[None], "function": rms(f[None]), "risk": np.array([[risk]])})


def group_means(runs: Any, time: int, groups: slice) -> Means:
    """The means of groups of a simulation, or of paths, at record number `time`; raises Diverged if none is left."""
    counts = runs["group_alive"].values[time, groups].astype(np.float64)
    if (counts > 0).sum() < 3:
        raise Diverged("fewer than three groups of members stayed finite")
    f = runs["group_f_mean"].values[time, groups]
    values = {
        "parameters": runs["group_theta_mean"].values[time, groups],
        "function": rms(f),
        "risk": runs["group_risk_mean"].values[time, groups, None],
    }
    return Means(counts, values)


def distance(simulated: Means, prediction: Means, quantity: str) -> Estimate:
    """The unbiased squared distance of the ensemble's mean from a prediction, which may be sampled itself."""
    means = simulated.values[quantity] - prediction.values[quantity]  # one prediction, or groups in pairs
    counts = np.minimum(simulated.counts, prediction.counts) if len(prediction.counts) > 1 else simulated.counts
    found = squared_distance(means[None], counts[None], np.zeros((1, means.shape[1])))
    return Estimate(found.value[0], found.replicates[:, 0])


def rms(f: Array) -> Array:
    """Outputs (G, k, c) as rows (G, k c), in units in which the 2-norm is the root mean square."""
    flat = f.reshape(len(f), -1)
    return flat / np.sqrt(flat.shape[1])


#: what a theory may raise where it says nothing
FAILURES = (FlowFailed, Diverged)


#: flow -> the loss it descends, in the papers' symbols
KINDS = {"gradient": "R_S", "averaged": "R_S + R_1", "modified": "R_S + R_1 + R_2"}


#: grid points taken between the ends of one-dimensional data, and data points taken at most otherwise
GRID_POINTS, GRID_SAMPLES = 97, 200


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
