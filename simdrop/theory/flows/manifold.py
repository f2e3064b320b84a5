"""The slow flow along the zero-loss manifold Γ, in its own time.

    dropout        τ = v t            dΘ/dτ = -P_T ∇ρ(Θ) + (lr/2v) P_T D²Φ[S]        ρ = R_1 / v,  v = (1-p)/p
    label noise    τ = lr s² t        dΘ/dτ = -(1/4n) P_T ∇ tr H + ...                of standard deviation s, p = 1

It is the limit of training as lr and v (or s) go to 0, with the first correction in lr to the drift; `zero_loss` has
the formulas. Networks stay off Γ by O(v), with the residuals e = -v n (JJᵀ)⁻¹ J ∇ρ, and fluctuate about it and along
it by O(√lr). The fluctuations along Γ move means by O(lr) too: `manifold_paths` has them.

Integration errors would leave Γ: -κ J⁺ e holds the path on it, and Gauss-Newton steps where it is reported.
"""

from __future__ import annotations

import numpy as np

from ...errors import FlowFailed, InvalidInput
from ...problem import Noise, Problem
from .._input import Array, check_no_decay
from ..limit_point import limit_point
from ..noise.step import checked
from ..zero_loss import SlowNoise, ZeroLoss, to_manifold
from .integration import METHODS, Path, integrate
from .table import Flow

#: κ times the duration
_HELD = 20.0


def slow_rate(problem: Problem, noise: Noise, lr: float) -> float:
    """The slow time that passes in a unit of t.

    Raises InvalidInput where nothing moves networks along Γ, or what does is not known here.
    """
    if noise.connect < 1:
        raise InvalidInput("kind 'manifold' does not know DropConnect: noise must have connect=1")
    check_no_decay(problem, "the slow flow along zero loss, where networks do not stay under decay,")
    if noise.place != "both":
        raise InvalidInput(
            f"kind 'manifold' drifts by R_1, which the mean step does not have with place {noise.place!r}: it takes"
            " noise with place 'both'"
        )
    if problem.variance and noise.part != "noise":
        return problem.variance
    if noise.label and noise.part != "drift":
        return lr * noise.label**2
    if problem.variance and noise.part == "noise":
        return problem.variance
    raise InvalidInput(
        "nothing moves networks along the zero-loss manifold: it takes keep_prob below 1, or noise with a label above 0"
    )


def training_time(problem: Problem, noise: Noise, lr: float, times: Array) -> Array:
    """The times t = lr · step at slow times (T,)."""
    return times / slow_rate(problem, noise, lr)


def slopes(problem: Problem, noise: Noise, lr: float, *, corrected: bool) -> tuple[float, float, SlowNoise]:
    """The weights of ∇ρ and of ½ D²Φ in dΘ/dτ, and S. Raises InvalidInput."""
    rate = slow_rate(problem, noise, lr)
    steady = problem.variance / rate if noise.part != "noise" else 0.0
    shaken = lr / rate if corrected and noise.part != "drift" else 0.0
    if not steady and not shaken:
        raise InvalidInput("corrected=False leaves out the term of order lr, which alone moves networks here")
    return steady, shaken, SlowNoise.of(problem, noise)


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    *,
    lr: float,
    method: str,
    rtol: float,
    atol: float,
    corrected: bool = True,
    noise: Noise | None = None,
    max_evaluations: int | None = None,
) -> Path:
    """The flow at slow times (T,) from Φ(theta0). Raises InvalidInput and FlowFailed."""
    if method not in METHODS or method == "BDF":
        raise InvalidInput(f"method must be {', '.join(map(repr, METHODS[:-1]))} for kind 'manifold', got {method!r}")
    noise = checked(problem, noise, any_place=True)
    steady, shaken, strength = slopes(problem, noise, lr, corrected=corrected)
    start = limit_point(problem, theta0, rtol=max(rtol / 10, 1e-13), atol=atol / 10)
    held = _HELD / times[-1] if times[-1] else 0.0

    def slope(_: float, theta: Array) -> Array:
        here = ZeroLoss.at(problem, theta[None], order=2)
        found = held * here.towards()
        if steady:
            found = found - steady * here.along(here.penalty())
        if shaken:
            found = found + shaken * here.drift(strength)
        return np.asarray(found[0])

    chosen = "DOP853" if method == "auto" else method
    try:
        theta, work = integrate(slope, start, times, rtol=rtol, atol=atol, method=chosen, limit=max_evaluations)
        theta = to_manifold(problem, theta)
        return Path(
            theta, {"method": chosen, "method_reason": "explicit"} | work, _around(problem, noise, lr, theta, times)
        )
    except np.linalg.LinAlgError as error:
        raise FlowFailed("the features of the network became infinite") from error


def _around(problem: Problem, noise: Noise, lr: float, theta: Array, times: Array) -> dict[str, object]:
    """Further variables of the result: the training time, and where networks are to be found about Γ."""
    here = ZeroLoss.at(problem, theta)
    v = problem.variance if noise.part != "noise" else 0.0
    residual = v * here.residual()
    kept = np.square(residual).sum(axis=(1, 2)) / (2 * problem.n_samples)
    shaken = lr * here.risk(SlowNoise.of(problem, noise)) if noise.part != "drift" else 0.0
    return {
        "training_time": ("time", training_time(problem, noise, lr, times)),
        "residual": (("time", "sample", "output"), residual),
        "risk_mean": ("time", kept + shaken, {"long_name": "E R_S, to second order in residuals and fluctuations"}),
    }


def check_noise(problem: Problem, noise: Noise) -> None:
    """Raise InvalidInput where steps with that noise have no such flow."""
    slow_rate(problem, checked(problem, noise, any_place=True), 1.0)


FLOWS = {"manifold": Flow(follow, ("corrected", "noise", "max_evaluations"), check_noise=check_noise)}
