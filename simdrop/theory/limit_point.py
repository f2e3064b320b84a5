"""limit_point(): where gradient flow on R_S ends, Φ(θ)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..checks.numbers import check_number
from ..errors import FlowFailed, InvalidInput
from ..problem import Problem
from ._input import Array, check_no_decay, check_point
from .flows.descent import descent
from .flows.integration import check_tolerances, choose, integrate, workplace
from .zero_loss import ZeroLoss, to_manifold

#: first stretch of time, in units of the time in which the steepest direction relaxes
_FIRST = 10.0


def limit_point(
    problem: Problem,
    theta0: ArrayLike,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    longest: float = 1e6,
) -> Array:
    """Limit Φ(θ0) of gradient flow on R_S from theta0, where R_S is 0.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout; dropout plays no part.
    theta0 : array_like, shape (P,)
        Start.
    rtol, atol : float
        Tolerances of the integrator, and of the limit.
    longest : float
        Time at which the flow is given up.

    Returns
    -------
    ndarray, shape (P,)
        The limit. R_S is zero there up to rounding.

    Raises
    ------
    InvalidInput
        An argument is wrong.
    FlowFailed
        The flow does not lead to zero loss within `longest`, or the features of the samples are linearly dependent on
        the way.

    Notes
    -----
    Close to zero loss a Gauss-Newton step -Jᵀ(JJᵀ)⁻¹e differs from the rest of the flow by the square of its length.
    The flow is followed until that is below the tolerance.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 3)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=6)
    >>> theta = simdrop.theory.limit_point(problem, problem.init(seed=0))
    >>> bool(simdrop.theory.risk(problem, theta) < 1e-20)
    True
    """
    theta = check_point(problem, theta0, "theta0")
    check_no_decay(problem, "the limit of zero loss, where networks do not stay under decay,")
    check_tolerances(rtol, atol)
    if check_number("longest", longest) <= 0:
        raise InvalidInput(f"longest must be positive, got {longest!r}")
    with workplace(problem):
        if problem.n_samples * problem.n_outputs > np.count_nonzero(problem.freeze(np.ones(problem.n_params))):
            ZeroLoss.at(problem, theta[None])  # says why there is no limit of zero loss
        return _follow(problem, theta, rtol, atol, longest)


def _follow(problem: Problem, theta: Array, rtol: float, atol: float, longest: float) -> Array:
    """`limit_point`, in stretches of time that double."""
    slope = descent(problem, "risk", 0.0)
    time, stretch = 0.0, 0.0
    while (limit := _near(problem, theta, rtol, atol)) is None:
        if time >= longest:
            raise FlowFailed(
                f"gradient flow does not lead to zero loss: R_S is {_risk(problem, theta):.3g} at time {time:.3g}"
            )
        if not stretch:
            stretch = _FIRST / max(float(ZeroLoss.at(problem, theta[None]).size[0, 0]) ** 2 / problem.n_samples, 1e-300)
        stretch = min(stretch, longest)
        _, _, options = choose(problem, theta, "auto", objective="risk", square=0.0, duration=stretch)
        path, _ = integrate(slope, theta, np.array([stretch]), rtol=max(rtol, 1e-13), atol=atol, **options)
        theta, time, stretch = path[-1], time + stretch, 2 * stretch
    return limit


def _near(problem: Problem, theta: Array, rtol: float, atol: float) -> Array | None:
    """The limit of a flow that has come close to it, None of one that has not."""
    try:
        step = ZeroLoss.at(problem, theta[None]).towards()
        next_step = ZeroLoss.at(problem, theta[None] + step).towards()
    except FlowFailed:
        return None
    # what the step misses across the manifold is what it misses along it, about: second order both
    if np.linalg.norm(next_step) > atol + rtol * np.linalg.norm(theta):
        return None
    return np.asarray(to_manifold(problem, theta[None] + step + next_step, steps=2)[0])


def _risk(problem: Problem, theta: Array) -> float:
    e = problem.predict(theta, problem.x) - problem.y
    return float(np.square(e).sum() / (2 * problem.n_samples))
