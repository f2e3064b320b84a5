"""The mean-covariance flow: mean m and covariance C of an ensemble, to second order in the learning rate.

    m' = -∇(L + (ε/4)|∇L|²)(m) - ½ ∇ tr(H(m) C)          L = R_S + R_1,  H = ∇²L
    C' = -(H C + C H) + ε Σ(m)                            C(0) = covariance of the initial ensemble

Where dropout's factors do not act in the whole step L is R_S, and Σ is that of the noise that is given.

One step of SGD moves the mean by -ε E∇L(θ) = -ε (∇L(m) + ½ ∇ tr(H C)) + O(ε³) for an ensemble of covariance C = O(ε),
and the covariance by -ε (H C + C H) + ε² Σ. The term (ε/4) ∇|∇L|² is what a flow needs to follow steps of length ε.
The modified flow has (ε/4) ∇E|∇R_drop|² = (ε/4) ∇(|∇L|² + tr Σ) in its place: a drift by the noise that the mean does
not have.

C is of order ε itself. This C has a relative error of O(ε), and m an error of O(ε²). `covariance_order` 2 keeps the
equation of m and follows

    C' = -(H̃ C + C H̃) + ε Σ̃,    H̃ = H + (ε/2) (H² + D³L[∇L]),    Σ̃ = Σ + (ε/2) (H Σ + Σ H + DΣ[∇L]) + ½ D²Σ : C

the flow through (1 - ε H) C (1 - ε H) + ε² E Σ(θ), where E Σ(θ) is the mean over the spread and H is at the mean before
the step; H̃ is the Hessian of L + (ε/4)|∇L|². Where L is quadratic, as with frozen input weights, that is all, and the
relative error is O(ε²). Otherwise a step also adds

    -(ε/2) (D³L : T + transposed) - (ε/2) (C (D²H : C) + transposed)

with the third cumulants T = O(ε²) of the parameters, P³ numbers that the third cumulants of the noise, DΣ and D³L feed.
They are left out: for networks that are not linear in their trained weights the relative error of C remains O(ε),
unless C is as small as without noise. The derivatives of Σ and H along a direction are central differences, those of Σ
exact where it is quadratic in theta.

The closure holds while the spread stays small compared with the scale on which H changes. Along directions of negative
curvature, at large learning rates and for long times, it can become infinite where the ensemble does not: FlowFailed
says when.

C is dense for small P, (P, P); `lowrank` holds it in blocks and a low rank for large P, `lowrank_second` to second
order with frozen input weights, where that is gained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...checks.numbers import check_count
from ...checks.sizes import check_memory
from ...checks.words import check_choice
from ...errors import InvalidInput
from ...problem import Noise, Problem
from .._input import Array, add_decay
from ..curvature import Curvature
from ..neurons import indices
from ..noise.operator import NoiseOperator
from ..noise.step import StepNoise, checked
from .closure import check_covariance, mean_risk, mean_slope, variables
from .integration import METHODS, Path, Slope, integrate
from .rates import Rate, value
from .table import Flow

#: the most parameters for which the covariance is held as a matrix, unless a rank is asked for
DENSE = 600
#: trained output weights up to which the covariance of frozen networks is followed to second order by default
LITTLE = 64
#: step of central differences, in units of the root mean square parameter, and the share of the largest
#: eigenvalue of C below which a direction has no spread
_STEP, _SMALL = 1e-2, 1e-13
#: rank of the part of the covariance beyond its blocks, where none is asked for
RANK = 32
#: dropout in the whole step and nothing else
_DROPOUT = Noise()


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    lr: Rate,
    method: str,
    rtol: float,
    atol: float,
    covariance0: ArrayLike | None = None,
    rank: int | None = None,
    covariance_order: int | None = None,
    noise: Noise | None = None,
    max_evaluations: int | None = None,
) -> Path:
    """The flow at `times`. Raises InvalidInput and FlowFailed."""
    check_choice("method", method, METHODS)
    noise = check_noise(problem, noise, rank)
    order = _check_order(problem, rank, covariance_order)
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
        moving = Moving(problem, noise, lr, order)
        return _follow_dense(moving, theta0, times, start, method=method, **limits)
    if max_evaluations is not None:
        raise InvalidInput("max_evaluations is for mean-covariance flows without a rank")
    if callable(lr):
        raise InvalidInput(
            "the covariance in blocks and a low rank is followed with learning rates that are constant or change at"
            f" some steps only; {problem.n_params} parameters take it, or a rank that is given"
        )
    from . import lowrank

    rank = RANK if rank is None else check_count("rank", rank)
    check_memory(
        {f"rank={rank} for {problem.n_params} parameters": 16.0 * min(rank, problem.n_params) * problem.n_params}
    )
    from .lowrank_second import SecondOrder

    path = lowrank.follow(
        problem, theta0, times, start, lr=lr, rank=rank, method=method, rtol=rtol, atol=atol,
        frozen=SecondOrder if order == 2 else lowrank.Frozen,
    )  # fmt: skip
    path.attrs["covariance_order"] = order
    return path


def check_noise(problem: Problem, noise: Noise | None, rank: int | None = None) -> Noise:
    """`noise` of which the flow has mean, Hessian and covariance, the default where it is None; raises InvalidInput."""
    noise = checked(problem, noise, any_place=True)
    if noise.connect < 1:
        raise InvalidInput("kind 'mean-covariance' needs the Hessian of the mean loss, not known under DropConnect")
    if noise.part == "noise":
        raise InvalidInput("part 'noise' has mean 0: no flow follows it")
    if noise != _DROPOUT and (rank is not None or problem.n_params > DENSE):
        raise InvalidInput(
            "the covariance in blocks and a low rank is followed under dropout alone, in the whole step; other noise"
            f" needs it as a matrix, without a rank and with at most {DENSE} parameters"
        )
    return noise


def _check_order(problem: Problem, rank: int | None, given: int | None) -> int:
    """Order of the covariance; by default 2 where that is exact and takes little. Raises InvalidInput."""
    dense = rank is None and problem.n_params <= DENSE
    if given is None:
        return 2 if dense and problem.train == "output" and problem.width * problem.n_outputs <= LITTLE else 1
    order = check_count("covariance_order", given, most=2)
    if order == 2 and not dense and problem.train != "output":
        raise InvalidInput(
            f"covariance_order=2 needs the covariance as a matrix, without a rank and with at most {DENSE} parameters,"
            " or train='output'"
        )
    return order


@dataclass(frozen=True, slots=True)
class Moving:
    """What moves mean and covariance: L, whose gradient is the mean step's, Σ, ε(t), and the order of C."""

    problem: Problem
    noise: Noise
    lr: Rate
    order: int

    def curvature(self, mean: Array, order: int = 2) -> Curvature:
        """The Hessian of L at the mean (P,), with R_1 where dropout's factors act in the whole step."""
        objective = "risk+r1" if self.noise.place == "both" else "risk"
        return Curvature.at(self.problem, mean, objective=objective, order=order)

    def spread(self, mean: Array) -> Array:
        """Σ (P, P) at the mean (P,)."""
        if self.noise == _DROPOUT:  # the same numbers in less time
            return NoiseOperator.at(self.problem, mean).covariance()
        return StepNoise.at(self.problem, mean, self.noise).covariance()


def _follow_dense(moving: Moving, theta0: Array, times: Array, start: Array, *, method: str, **limits: Any) -> Path:
    problem = moving.problem
    params, own = problem.n_params, indices(problem)
    pairs = own[:, :, None], own[:, None, :]
    if start.ndim < 2:
        start = np.diag(np.broadcast_to(start, params))
    state = np.concatenate([theta0, start.ravel()])
    found, work = integrate(
        _dense_slope(moving, pairs), state, times,
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
    attrs["covariance_order"] = moving.order
    more = {"theta_cov": (("time", "param_i", "param_j"), covariance)}
    return Path(theta, attrs | work, variables(std, np.array(risk), blocks) | more)


def _dense_slope(moving: Moving, pairs: tuple[Any, Any]) -> Slope:
    params = moving.problem.n_params

    def slope(time: float, state: Array) -> Array:
        rate = value(moving.lr, time)
        mean, covariance = state[:params], state[params:].reshape(params, params)
        curvature = moving.curvature(mean, order=3)
        sunk, noise = curvature.product(covariance), moving.spread(mean)
        if moving.order == 2:
            noise = noise + _second_order(moving, curvature, covariance, noise, mean, rate)
            sunk = sunk + rate / 2 * (curvature.product(sunk) + _turning(moving, curvature, covariance, mean))
        spread = rate * noise - sunk - sunk.T
        drift = mean_slope(curvature, mean, curvature.features @ covariance, covariance[pairs], rate)
        return np.concatenate([drift, spread.ravel()])

    return slope


def _second_order(
    moving: Moving, curvature: Curvature, covariance: Array, noise: Array, mean: Array, lr: float
) -> Array:
    """Σ̃ - Σ (P, P) at the mean (P,), for H, C and Σ there."""
    at, step = moving.spread, _step(mean)
    heated = curvature.product(noise)
    found = lr / 2 * (heated + heated.T)
    gradient, size = _gradient(curvature, mean)
    if size > 0:
        ahead = step / size * gradient
        found += lr / 2 * size * (at(mean + ahead) - at(mean - ahead)) / (2 * step)
    weights, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    for weight, axis in zip(weights, axes.T, strict=True):
        if abs(weight) > _SMALL * np.abs(weights).max():
            found += weight / 2 * (at(mean + step * axis) - 2 * noise + at(mean - step * axis)) / step**2
    return found


def _turning(moving: Moving, curvature: Curvature, covariance: Array, mean: Array) -> Array | float:
    """D³L[∇L] C (P, P) at the mean (P,); 0 where only output weights are trained, for L is quadratic in them."""
    problem, step = moving.problem, _step(mean)
    gradient, size = _gradient(curvature, mean)
    if problem.train == "output" or size == 0:
        return 0.0
    ahead = step / size * gradient
    before, after = (moving.curvature(point).product(covariance) for point in (mean - ahead, mean + ahead))
    return size / (2 * step) * (after - before)


def _gradient(curvature: Curvature, mean: Array) -> tuple[Array, float]:
    """∇L (P,) at the mean (P,), where the curvature is, and its norm."""
    problem = curvature.problem
    gradient = problem.freeze(curvature.net.mean_gradient(curvature.net.e, curvature.v))
    gradient = add_decay(problem, gradient, mean)
    return gradient, float(np.linalg.norm(gradient))


def _step(mean: Array) -> float:
    """Step of central differences at the mean (P,)."""
    return _STEP * max(float(np.sqrt(np.square(mean).mean())), _STEP)


_OPTIONS = ("covariance0", "rank", "covariance_order", "noise", "max_evaluations")
FLOWS = {"mean-covariance": Flow(follow, _OPTIONS, lr="pieces", check_noise=check_noise)}
