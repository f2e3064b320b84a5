"""The mean-covariance flow: mean m and covariance C of an ensemble, to second order in the learning rate.

    m' = -∇(L + (ε/4)|∇L|²)(m) - ½ ∇ tr(H(m) C)          L = R_S + R_1,  H = ∇²L
    C' = -(H C + C H) + ε Σ(m)                            C(0) = covariance of the initial ensemble

One step of SGD moves the mean by -ε E∇L(θ) = -ε (∇L(m) + ½ ∇ tr(H C)) + O(ε³) for an ensemble of covariance C = O(ε),
and the covariance by -ε (H C + C H) + ε² Σ. The term (ε/4) ∇|∇L|² is what a flow needs to follow steps of length ε.
The modified flow has (ε/4) ∇E|∇R_drop|² = (ε/4) ∇(|∇L|² + tr Σ) in its place: a drift by the noise that the mean does
not have.

The closure holds while the spread stays small compared with the scale on which H changes. Along directions of negative
curvature, at large learning rates and for long times, it can become infinite where the ensemble does not: FlowFailed
says when.

C is dense for small P, (P, P); `lowrank` holds it in blocks and a low rank for large P.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks.numbers import check_count
from ...checks.sizes import check_memory
from ...checks.words import check_choice
from ...errors import InvalidInput
from ...problem import Problem
from .._input import Array
from ..curvature import Curvature
from ..neurons import indices
from ..noise.operator import NoiseOperator
from .closure import check_covariance, mean_risk, mean_slope, variables
from .integration import METHODS, Path, Slope, integrate
from .table import Flow

#: the most parameters for which the covariance is held as a matrix, unless a rank is asked for
DENSE = 600
#: rank of the part of the covariance beyond its blocks, where none is asked for
RANK = 32


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    lr: float,
    method: str,
    rtol: float,
    atol: float,
    covariance0: ArrayLike | None = None,
    rank: int | None = None,
    max_evaluations: int | None = None,
) -> Path:
    """The flow at `times`. Raises InvalidInput and FlowFailed."""
    check_choice("method", method, METHODS)
    if problem.sigma.orders < 3:
        raise InvalidInput(
            f"the mean follows ∇ tr(H C), which needs the third derivative of activation {problem.activation!r}:"
            " register it with third="
        )
    start = check_covariance(problem, 0.0 if covariance0 is None else covariance0)
    if rank is None and problem.n_params <= DENSE:
        if method == "BDF":
            raise InvalidInput("method 'BDF' is for mean-covariance flows with a rank: give rank, or another method")
        size = 16.0 * len(times) * problem.n_params**2
        check_memory({f"covariances of {problem.n_params} parameters at {len(times)} times": size})
        limits = {"rtol": rtol, "atol": atol, "limit": max_evaluations}
        return _follow_dense(problem, theta0, times, start, lr=lr, method=method, **limits)
    if max_evaluations is not None:
        raise InvalidInput("max_evaluations is for mean-covariance flows without a rank")
    from . import lowrank

    rank = RANK if rank is None else check_count("rank", rank)
    check_memory(
        {f"rank={rank} for {problem.n_params} parameters": 16.0 * min(rank, problem.n_params) * problem.n_params}
    )
    return lowrank.follow(problem, theta0, times, start, lr=lr, rank=rank, method=method, rtol=rtol, atol=atol)


def _follow_dense(
    problem: Problem, theta0: Array, times: Array, start: Array, *, lr: float, method: str, **limits: Any
) -> Path:
    params, own = problem.n_params, indices(problem)
    pairs = own[:, :, None], own[:, None, :]
    if start.ndim < 2:
        start = np.diag(np.broadcast_to(start, params))
    state = np.concatenate([theta0, start.ravel()])
    found, work = integrate(
        _dense_slope(problem, pairs, lr), state, times,
        **limits, method="DOP853" if method == "auto" else method,
    )  # fmt: skip
    theta, covariance = found[:, :params].copy(), found[:, params:].reshape(-1, params, params)
    blocks = covariance[:, *pairs]
    std = np.sqrt(np.maximum(np.einsum("tpp->tp", covariance), 0))
    risk = [
        mean_risk(problem, m, Curvature.at(problem, m).features @ c, b)
        for m, c, b in zip(theta, covariance, blocks, strict=True)
    ]
    attrs = {"method": "DOP853" if method == "auto" else method, "method_reason": "dense covariance", "rank": params}
    more = {"theta_cov": (("time", "param_i", "param_j"), covariance)}
    return Path(theta, attrs | work, variables(std, np.array(risk), blocks) | more)


def _dense_slope(problem: Problem, pairs: tuple[Any, Any], lr: float) -> Slope:
    params = problem.n_params

    def slope(_: float, state: Array) -> Array:
        mean, covariance = state[:params], state[params:].reshape(params, params)
        curvature = Curvature.at(problem, mean, order=3)
        sunk = curvature.product(covariance)
        spread = lr * NoiseOperator.at(problem, mean).covariance() - sunk - sunk.T
        drift = mean_slope(curvature, curvature.features @ covariance, covariance[pairs], lr)
        return np.concatenate([drift, spread.ravel()])

    return slope


FLOWS = {"mean-covariance": Flow(follow, ("covariance0", "rank", "max_evaluations"))}
