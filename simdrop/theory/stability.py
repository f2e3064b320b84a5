"""Where the spread of an ensemble comes to rest, and the learning rate from which on it never does.

Frozen input weights. A step takes the second moment A = E a aᵀ of the weights of an output to an affine function of A
and the mean (`exact`). Its fixed point is the stationary state. The linear part, of deviations δ from the mean, is

    T(S) = E (1 - ε K_η) S (1 - ε K_η) = S - ε (M S + S M) + ε² B(S),    B(S) = E K_η S K_η

with K_η = D K D the Hessian of R_drop under a mask and M its mean. T maps covariances to covariances, so that its
spectral radius is an eigenvalue; it passes 1 where (M S + S M) = ε B(S), first at

    lr* = 1 / (spectral radius of S ↦ L⁻¹ B(S)),    L(S) = M S + S M

B and L⁻¹ map covariances to covariances as well, so that powers of their product, applied to any positive one, find it.

All weights trained. Close to a minimum θ* of R_S + R_1 a step multiplies deviations by 1 - ε H_η, with H_η the Hessian
of R_drop at θ* under the mask, and the same holds with H_η for K_η: exact for the linearised training, a prediction for
the network. Directions of no curvature are left out. B is a mean over all masks, or over drawn ones where they are too
many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics import rng
from simdrop_kernels.mathematics.network.forward import ForwardPass

from ..checks.numbers import check_count, check_lr, check_number, check_seed
from ..checks.sizes import check_memory
from ..errors import InvalidInput
from ..problem import Noise, Problem, check_problem
from ._input import Array, check_no_decay, check_point
from .curvature import hessian
from .exact import LinearModel, linear_models
from .losses import gradient
from .noise.step import checked

#: relative accuracy of thresholds and fixed points, and iterations after which they are given up
_ACCURACY, _MOST = 1e-12, 100_000
#: curvatures up to this share of the largest are 0
_USED = 1e-13
#: a minimum: |∇(R_S + R_1)| at most this times the largest eigenvalue of its Hessian and the norm of theta
_AT_REST = 1e-4


class Stationary(NamedTuple):
    """What `stationary_moments` returns.

    Attributes
    ----------
    mean : ndarray, shape (c, m)
        Mean of the output weights.
    covariance : ndarray, shape (c, m, m)
        Covariance of the weights of each output.
    """

    mean: Array
    covariance: Array


def stationary_moments(problem: Problem, theta: ArrayLike, *, lr: float, noise: Noise | None = None) -> Stationary:
    """Mean and covariance at which the ensembles of `linear_moments` come to rest.

    Parameters
    ----------
    problem : Problem
        One with train="output".
    theta : array_like, shape (P,)
        Parameters, of which the input weights matter.
    lr : float
        Learning rate ε, below `stability_threshold`.
    noise : Noise, optional
        Noise of a step, as in `linear_moments`.

    Returns
    -------
    Stationary
        Named tuple of mean (c, m) and covariance (c, m, m): a step of `linear_moments` leaves them as they are.

    Raises
    ------
    InvalidInput
        An argument is wrong, or there is no stationary state at this learning rate.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5, train="output")
    >>> rest = simdrop.theory.stationary_moments(problem, problem.init(seed=0), lr=0.1)
    >>> rest.mean.shape, rest.covariance.shape
    ((1, 3), (1, 3, 3))
    """
    point, lr, noise = check_point(problem, theta), check_lr(lr), checked(problem, noise)
    check_no_decay(problem, "the stationary state")
    models = linear_models(problem, point, _both(noise))
    limit = min(_threshold(model.mean_curvature(), model.square) for model in models)
    if lr >= limit:
        raise InvalidInput(f"lr={lr:g} has no stationary state: the covariance grows from lr {limit:.6g} on")
    means, covariances = [], []
    for model in models:
        curvature = model.mean_curvature()
        rates = np.linalg.eigvalsh(curvature)
        if rates[0] <= _USED * rates[-1]:
            raise InvalidInput(
                "there is no stationary state of its own: along some direction of the output weights, as of a neuron"
                " that is 0 on all data, or of more neurons than samples at keep_prob 1, they stay where they start"
            )
        mean = np.asarray(np.linalg.solve(curvature, model.pull()), dtype=np.float64)
        means.append(mean)
        covariances.append(_at_rest(model, mean, lr))
    return Stationary(np.array(means), np.array(covariances))


def stability_threshold(
    problem: Problem, theta: ArrayLike, *, noise: Noise | None = None, flat: float = 0.01, masks: int = 4096,
    seed: int = 0,
) -> float:  # fmt: skip
    """Learning rate lr* from which on the second moment of an ensemble grows without bound.

    Parameters
    ----------
    problem : Problem
        With train="output" the threshold is exact. Otherwise it is that of training linearised at theta.
    theta : array_like, shape (P,)
        Parameters: any with train="output", else a minimum of R_S + R_1.
    noise : Noise, optional
        Noise of a step, with train="output" alone.
    flat : float
        Where not only the output weights are trained: directions whose curvature is at most this share of the largest
        are held fixed. R_S + R_1 is nearly flat along some at most minima, and networks drift along them slowly.
    masks, seed : int
        Where all weights are trained and there are more than this many masks: this many are drawn, from that seed.

    Returns
    -------
    float
        lr*; infinite where no gradient depends on the weights.

    Raises
    ------
    InvalidInput
        An argument is wrong, or theta is no minimum.

    Notes
    -----
    The mean alone stays bounded up to 2 / λ_max of the Hessian of R_S + R_1, which is larger. Close above lr* single
    networks may still come to rest: few networks then make the second moment.

    Examples
    --------
    >>> problem = simdrop.Problem([1.0], [1.0], width=1, keep_prob=0.5, activation="linear", bias=False, train="output")
    >>> simdrop.theory.stability_threshold(problem, [1.0, 2.0])  # 2 p² / h² for one neuron of output h
    0.125
    """
    point, noise = check_point(check_problem(problem), theta), checked(problem, noise)
    check_no_decay(problem, "the stability threshold")
    masks, seed, flat = check_count("masks", masks), check_seed(seed), check_number("flat", flat, least=0)
    if problem.train == "output":
        models = linear_models(problem, point, _both(noise))
        return float(min(_threshold(model.mean_curvature(), model.square) for model in models))
    if noise != Noise():
        raise InvalidInput("noise is for problems with train='output': the linearised network has dropout alone")
    return _of_network(problem, point, flat, masks, seed)


def _of_network(problem: Problem, point: Array, flat: float, masks: int, seed: int) -> float:
    """`stability_threshold` of training linearised at a minimum (P,) of R_S + R_1."""
    mean = hessian(problem, point)
    rates, axes = np.linalg.eigh(mean)
    slope = float(np.linalg.norm(gradient(problem, point, objective="risk+r1")))
    if rates[0] < -flat * rates[-1] or slope > _AT_REST * rates[-1] * np.linalg.norm(point):
        raise InvalidInput(
            "theta must be a minimum of R_S + R_1, such as the end of a long flow(kind='averaged'): the least"
            f" eigenvalue of its Hessian is {rates[0]:.3g}, the norm of its gradient {slope:.3g}"
        )
    steep = axes[:, rates > flat * rates[-1]]
    hessians, weights = _under_masks(problem, point, steep, masks, seed)

    def square(spread: Array) -> Array:
        return np.asarray(np.einsum("k,kab,bc,kcd->ad", weights, hessians, spread, hessians, optimize=True))

    return _threshold(steep.T @ mean @ steep, square)


def _both(noise: Noise) -> Noise:
    """`noise` of both drift and deviation; raises InvalidInput."""
    if noise.part != "both":
        raise InvalidInput(f"noise must have part 'both' here, got {noise.part!r}")
    return noise


def _threshold(mean: Array, square: Callable[[Array], Array]) -> float:
    """lr* for M (k, k) and B, by powers of L⁻¹ B."""
    rates, axes = np.linalg.eigh(mean)
    if not rates[-1] > 0:
        return float("inf")
    used = rates > _USED * rates[-1]
    rates, axes = rates[used], axes[:, used]
    spread, size = np.eye(len(rates)), 0.0
    for _ in range(_MOST):
        spread = axes.T @ square(axes @ spread @ axes.T) @ axes / (rates[:, None] + rates)
        before, size = size, float(np.trace(spread))
        if size == 0:  # no mask keeps a neuron
            return float("inf")
        spread /= size
        if abs(size - before) <= _ACCURACY * size:
            break
    return 1 / size


def _at_rest(model: LinearModel, mean: Array, lr: float) -> Array:
    """The covariance that a step of the model leaves as it is: a linear equation in it, solved by GMRES."""
    from scipy.sparse.linalg import LinearOperator, gmres

    m = mean.size
    fixed = model.step(mean, np.zeros((m, m)), lr)[1]

    def left(flat: Array) -> Array:
        spread = flat.reshape(m, m)
        spread = (spread + spread.T) / 2
        return np.asarray(flat - (model.step(mean, spread, lr)[1] - fixed).ravel())

    size = np.abs(fixed).max() or 1.0
    operator = LinearOperator((m * m, m * m), matvec=left, dtype=np.float64)
    found, failed = gmres(operator, fixed.ravel() / size, rtol=_ACCURACY, atol=0.0, restart=min(m * m, 200), maxiter=50)
    if failed:
        raise InvalidInput(f"lr={lr:g} is so close to the stability threshold that the covariance was not found")
    spread = size * found.reshape(m, m)
    return np.asarray((spread + spread.T) / 2)


def _under_masks(problem: Problem, point: Array, axes: Array, masks: int, seed: int) -> tuple[Array, Array]:
    """Hessians (K, k, k) of R_drop under masks along `axes` (P, k), and the weights (K,) by which they make means."""
    p, m, n = problem.keep_prob, problem.width, problem.n_samples
    numbers = m if problem.mask == "step" else m * n
    if p == 1:
        kept, weights = np.ones((1, 1, m), dtype=bool), np.ones(1)
    elif numbers < 31 and 1 << numbers <= masks:
        bits = (np.arange(1 << numbers)[:, None] >> np.arange(numbers)) & 1
        weights = np.prod(np.where(bits, p, 1 - p), axis=1)
        kept = bits.reshape(len(bits), -1, m) > 0
    else:
        samples = None if problem.mask == "step" else n
        drawn = rng.masks(
            seed=seed, member=np.int64(0), step=np.arange(masks), width=m, keep_prob=np.float64(p), samples=samples
        )
        kept, weights = drawn.reshape(masks, -1, m), np.full(masks, 1 / masks)
    check_memory({f"Hessians under {len(kept)} masks": 16.0 * len(kept) * axes.shape[1] ** 2})
    found = []
    for one in kept:
        factor = np.broadcast_to(one / p, (n, m))
        net = ForwardPass.at(problem.inputs, problem.y, point, problem.activation, problem.scale, 2, factor)
        found.append(problem.freeze(net.mean_gradient_along(problem.freeze(axes.T), 0.0)) @ axes)
    return np.array(found), weights
