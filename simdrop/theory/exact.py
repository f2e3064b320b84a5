"""Models whose ensembles are known exactly at every step and any learning rate.

`linear_moments`: input weights frozen. Each output is a linear model in its weights a (m,): with features X_ij = s h_ij
of the neurons, K = XᵀX/n, b = Xᵀy/n and D = diag of the factors of the neurons, one mask for all samples gives

    a ← a - ε G,    G = D K D a - D b

Mean and second moment close under this (Clara, Langer & Schmidt-Hieber, arXiv:2306.10529, for Bernoulli factors). With
ā = E a, A = E a aᵀ, and v, κ3, κ4 the cumulants of a factor (its mean is 1), E G = M ā - b with M = K + v diag K, and

    E G Gᵀ = Q(A) - R - Rᵀ + b bᵀ + v diag(b bᵀ),   Q = E[D K D a aᵀ D K D],   R = E[D K D a bᵀ D]

are sums over partitions of the indices of the factors, a cumulant for each block: 15 terms of Q, 5 of R. Sample masks:
G is the mean over i of independent G_i, each of the form above with K_i = X_i X_iᵀ and b_i = y_i X_i; minibatches, k
masks a step and noise on targets and gradients join as in `step_noise`; weight decay λ adds λ a to G.

`Quadratic`: the example of Li, Tai & E (arXiv:1511.06251).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.noise import Law

from ..checks.numbers import MOST_EXACT, check_count, check_finite, check_lr, check_number, check_seed, is_one
from ..checks.words import shown
from ..errors import InvalidInput
from ..problem import Noise, Problem, check_problem
from ._input import Array, check_point
from .noise.step import Weights, checked

#: steps that are walked one by one, at most
MOST_STEPS = 1 << 32


class LinearMoments(NamedTuple):
    """What `linear_moments` returns: each output has a covariance of its own.

    Attributes
    ----------
    steps : ndarray of int, shape (T,)
        Numbers of steps.
    mean : ndarray, shape (T, c, m)
        Mean of the output weights.
    covariance : ndarray, shape (T, c, m, m)
        Covariance of the output weights.
    """

    steps: NDArray[np.int64]
    mean: Array
    covariance: Array


def linear_moments(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float,
    steps: int | ArrayLike,
    noise: Noise | None = None,
    covariance0: ArrayLike | None = None,
) -> LinearMoments:
    """Mean and covariance of SGD with dropout and frozen input weights, exact at every step and any learning rate.

    Parameters
    ----------
    problem : Problem
        One with train="output".
    theta0 : array_like, shape (P,)
        Start.
    lr : float
        Learning rate ε.
    steps : int or array_like of int
        Report steps 0, ..., steps, or those of an increasing list.
    noise : Noise, optional
        Noise of a step; not DropConnect, whose masks make the features random.
    covariance0 : array_like, shape (c, m, m), optional
        Covariance of the output weights at the start, 0 by default.

    Returns
    -------
    LinearMoments
        Named tuple of steps (T,), mean (T, c, m) and covariance (T, c, m, m) of the output weights, each output by
        itself.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    Clara, Langer & Schmidt-Hieber, *Dropout Regularization Versus l2-Penalization in the Linear Model*,
    arXiv:2306.10529; the module's docstring has the recursion, extended to sample masks and the other noises.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5, train="output")
    >>> moments = simdrop.theory.linear_moments(problem, problem.init(seed=0), lr=0.1, steps=2)
    >>> moments.steps.tolist(), moments.mean.shape, moments.covariance.shape
    ([0, 1, 2], (3, 1, 3), (3, 1, 3, 3))
    """
    theta0, lr, noise = check_point(problem, theta0, "theta0"), check_lr(lr), checked(problem, noise)
    models = linear_models(problem, theta0, noise)
    wanted = _check_steps(steps)
    c, m = problem.n_outputs, problem.width
    spread = check_finite("covariance0", np.zeros((c, m, m)) if covariance0 is None else covariance0)
    if spread.shape != (c, m, m):
        raise InvalidInput(f"covariance0 must have shape ({c}, {m}, {m}), got {spread.shape}")
    a, _ = problem.split(theta0)
    means, covariances = [], []
    for o, model in enumerate(models):
        mean, covariance = _walk(model, a[o], spread[o], lr, wanted)
        means.append(mean)
        covariances.append(covariance)
    return LinearMoments(wanted, np.stack(means, axis=1), np.stack(covariances, axis=1))


def linear_models(problem: Problem, theta: Array, noise: Noise) -> list[LinearModel]:
    """The models of the outputs, at the input weights of theta (P,); raises InvalidInput."""
    if check_problem(problem).train != "output":
        raise InvalidInput(f"problem must have train='output' (frozen input weights), got {problem.train!r}")
    if noise.connect < 1:
        raise InvalidInput(f"noise with connect={noise.connect} makes the features random: the model is not linear")
    _, w = problem.split(theta)
    features: Array = problem.scale * problem.sigma.value(problem.inputs @ w.T).astype(np.float64)
    return [LinearModel.of(problem, features, y, noise) for y in problem.y.T]


def _check_steps(steps: int | ArrayLike) -> NDArray[np.int64]:
    """Numbers of steps, increasing; raises InvalidInput."""
    if is_one("steps", steps):
        return np.arange(check_count("steps", steps, least=0, most=MOST_STEPS) + 1, dtype=np.int64)
    wanted = check_finite("steps", steps)
    if wanted.ndim != 1 or (np.abs(wanted) > MOST_EXACT).any() or not wanted.size:
        raise InvalidInput(f"steps must be a number or increasing whole numbers, 0 or more, got {shown(steps)}")
    whole = wanted.astype(np.int64)
    if (whole != wanted).any() or (np.diff(whole, prepend=-1) <= 0).any():
        raise InvalidInput(f"steps must be a number or increasing whole numbers, 0 or more, got {shown(steps)}")
    return whole


def _walk(
    model: LinearModel, mean: Array, covariance: Array, lr: float, wanted: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Means (T, m) and covariances (T, m, m) at the steps `wanted`."""
    means, covariances = [], []
    done = 0
    for target in wanted:
        for _ in range(done, int(target)):
            mean, covariance = model.step(mean, covariance, lr)
        done = int(target)
        means.append(mean)
        covariances.append(covariance)
    return np.array(means), np.array(covariances)


@dataclass(frozen=True, slots=True)
class _Factor:
    """The cumulants of a dropout factor of mean 1: variance v, κ3, κ4."""

    v: float
    third: float
    fourth: float

    @classmethod
    def of(cls, keep_prob: float, law: Law) -> _Factor:
        p = keep_prob
        v = (1 - p) / p
        if law == "gaussian":
            return cls(v, 0.0, 0.0)
        # a Bernoulli variable divided by p
        return cls(v, v * (1 - 2 * p) / p, v * (1 - 6 * p * (1 - p)) / p**2)

    def mean(self, k: Array) -> Array:
        """E[D K D]."""
        return np.asarray(k + self.v * np.diag(np.diag(k)))

    def square(self, k: Array, b: Array, mean: Array, second: Array) -> Array:
        """E G Gᵀ (m, m) for K, b and the moments ā and A of a."""
        linear = self._linear(k, b, mean)
        own = np.outer(b, b) + self.v * np.diag(b * b)
        return np.asarray(self._quartic(k, second) - linear - linear.T + own)

    def _linear(self, k: Array, b: Array, mean: Array) -> Array:
        """R: entries Σ_q K_jq ā_q b_l times E s_j s_q s_l."""
        d, ka = np.diag(k), k @ mean
        found = np.outer(ka + self.v * d * mean, b) + self.v * (np.diag(ka * b) + k * (mean * b))
        return np.asarray(found + self.third * np.diag(d * mean * b))

    def _quartic(self, k: Array, second: Array) -> Array:
        """Q: entries Σ_qr K_jq A_qr K_rl times E s_j s_q s_r s_l, partition by partition of (j, q, r, l)."""
        v, d = self.v, np.diag(k)
        ka = k @ second  # (KA)_jl
        kak, own, diagonal = ka @ k, np.diag(ka), np.diag(second)
        one_pair = (
            d[:, None] * ka.T  # jq
            + own[:, None] * k  # jr
            + np.diag(np.diag(kak))  # jl
            + (k * diagonal) @ k  # qr
            + k * own  # ql
            + ka * d  # rl
        )
        two_pairs = d[:, None] * second * d + k * second * k + np.diag((k * k) @ diagonal)  # jq rl, jr ql, jl qr
        triple = (d * diagonal)[:, None] * k + k * (d * diagonal) + 2 * np.diag(d * own)  # jqr, qrl, jql and jrl
        all_four = np.diag(d * d * diagonal)
        return np.asarray(kak + v * one_pair + v * v * two_pairs + self.third * triple + self.fourth * all_four)


@dataclass(frozen=True, slots=True)
class LinearModel:
    """One output's model: features (n, m), targets (n,), its noise."""

    features: Array
    y: Array
    factor: _Factor
    weights: Weights
    label: float
    parameter: float
    drift: float  # what is left of E G: 0 for part "noise"
    spread: float  # and of G - E G: 0 for part "drift"
    masks: int
    decay: float  # λ of weight decay

    @classmethod
    def of(cls, problem: Problem, features: Array, y: Array, noise: Noise) -> LinearModel:
        """The model of features (n, m) and targets y (n,)."""
        return cls(
            features=features,
            y=y,
            factor=_Factor.of(problem.keep_prob, noise.law),
            weights=Weights.of(problem, noise),
            label=noise.label,
            parameter=noise.parameter,
            drift=float(noise.part != "noise"),
            spread=float(noise.part != "drift"),
            masks=noise.masks,
            decay=problem.weight_decay,
        )

    def mean_curvature(self) -> Array:
        """M (m, m): the mean gradient is M ā - b."""
        return self.factor.mean(self.features.T @ self.features / len(self.y))

    def pull(self) -> Array:
        """b (m,)."""
        return np.asarray(self.features.T @ self.y / len(self.y))

    def square(self, spread: Array) -> Array:
        """E K_η S K_η for the Hessian K_η of the loss of a step and a fixed covariance S (m, m)."""
        alone = replace(self, y=np.zeros_like(self.y), label=0.0, parameter=0.0)
        m = self.mean_curvature()
        return np.asarray(m @ spread @ m + alone._noise(np.zeros(len(spread)), spread))

    def step(self, mean: Array, covariance: Array, lr: float) -> tuple[Array, Array]:
        """Mean (m,) and covariance (m, m) after one step: that of the mean step, and of what is random in it."""
        n = len(self.y)
        k, b = self.features.T @ self.features / n, self.features.T @ self.y / n
        move = np.eye(mean.size) - lr * self.drift * (self.factor.mean(k) + self.decay * np.eye(mean.size))
        after = move @ mean + lr * self.drift * b
        noise = self.spread * self._noise(mean, covariance + np.outer(mean, mean))
        spread = move @ covariance @ move.T + lr * lr * noise
        return after, np.asarray((spread + spread.T) / 2)

    def _noise(self, mean: Array, second: Array) -> Array:
        """E Cov(G | a) for the moments ā and A of a."""
        x, y, weights, factor = self.features, self.y, self.weights, self.factor
        n = len(y)
        k, b = x.T @ x / n, x.T @ y / n
        total = np.zeros_like(second)
        if weights.shared:
            total += weights.shared * (factor.square(k, b, mean, second) - self._mean_square(k, b, mean, second))
        if weights.single or weights.means:
            scatter = -self._mean_square(k, b, mean, second)
            for row, target in zip(x, y, strict=True):
                one = np.outer(row, row), target * row, mean, second
                square = self._mean_square(*one)
                scatter += square / n
                total += weights.single / n**2 * (factor.square(*one) - square)
            total += weights.means * scatter
        if self.label:
            moment = x.T @ x + factor.v / self.masks * np.diag(np.square(x).sum(axis=0))
            total += self.label**2 * weights.label * moment
        return np.asarray(total + self.parameter**2 * np.eye(mean.size))

    def _mean_square(self, k: Array, b: Array, mean: Array, second: Array) -> Array:
        """E[μ μᵀ] for μ = E[G | a] = M a - b."""
        m = self.factor.mean(k)
        crossed = np.outer(m @ mean, b)
        return np.asarray(m @ second @ m.T - crossed - crossed.T + np.outer(b, b))


class Gaussian(NamedTuple):
    """Mean and variance of a number at several times.

    Attributes
    ----------
    mean : ndarray
        Mean, of the shape of the times or steps.
    variance : ndarray
        Variance, likewise.
    """

    mean: Array
    variance: Array


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """SGD on f(x; γ) = (x - γ)² - 1 with γ = ±1 equally likely: mean loss x², gradient noise ±2.

    Parameters
    ----------
    lr : float
        Learning rate ε.
    x0 : float
        Start.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    The example of Li, Tai & E (arXiv:1511.06251). The step is x ← x - 2 ε (x - γ); its stochastic modified
    equations are Ornstein-Uhlenbeck processes,

        order 1   dX = -2 X dt + 2 √ε dW
        order 2   dX = -2 (1 + ε) X dt + 2 √ε dW

    All moments have closed forms: a problem on which weak errors are known to the last digit.

    Examples
    --------
    >>> model = simdrop.theory.Quadratic(lr=0.25)
    >>> model.sgd(steps=[0, 1, 2]).mean.tolist()
    [1.0, 0.5, 0.25]
    """

    lr: float
    x0: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check_lr(self.lr))
        object.__setattr__(self, "x0", check_number("x0", self.x0))

    def sgd(self, steps: ArrayLike) -> Gaussian:
        """Mean (1 - 2ε)^k x0 and variance ε (1 - (1 - 2ε)^2k)/(1 - ε) of SGD after k steps, exactly.

        Parameters
        ----------
        steps : array_like
            Numbers k of steps, 0 or more.

        Returns
        -------
        Gaussian
            Named tuple of mean and variance, of the shape of `steps`. Higher moments are not normal.

        Raises
        ------
        InvalidInput
            An argument is wrong.
        """
        k = _not_negative("steps", steps)
        shrunk = (1 - 2 * self.lr) ** k
        if self.lr == 1:  # x ← -x + 2γ
            return Gaussian(shrunk * self.x0, 4 * k)
        return Gaussian(shrunk * self.x0, self.lr * (1 - shrunk**2) / (1 - self.lr))

    def sme(self, times: ArrayLike, *, order: int) -> Gaussian:
        """Mean and variance of the normal solution of a stochastic modified equation.

        Parameters
        ----------
        times : array_like
            Times, 0 or more.
        order : {1, 2}
            Order of the equation.

        Returns
        -------
        Gaussian
            Named tuple of mean and variance, of the shape of `times`.

        Raises
        ------
        InvalidInput
            An argument is wrong.
        """
        order, t = check_count("order", order, most=2), _not_negative("times", times)
        rate = 2.0 if order == 1 else 2 * (1 + self.lr)
        return Gaussian(np.exp(-rate * t) * self.x0, -2 * self.lr / rate * np.expm1(-2 * rate * t))

    def simulate(self, steps: int, *, members: int, seed: int = 0) -> Array:
        """Iterates of SGD for many members.

        Parameters
        ----------
        steps : int
            Number of steps.
        members : int
            Number of members.
        seed : int
            Seed of NumPy's default generator.

        Returns
        -------
        ndarray, shape (steps + 1, members)
            x after each step, the start first.

        Raises
        ------
        InvalidInput
            An argument is wrong.
        """
        steps, members = check_count("steps", steps, most=MOST_STEPS), check_count("members", members)
        random = np.random.default_rng(check_seed(seed))
        path = np.full((steps + 1, members), self.x0)
        for k in range(steps):
            gamma = 2 * random.integers(0, 2, size=members) - 1
            path[k + 1] = path[k] - 2 * self.lr * (path[k] - gamma)
        return path


def _not_negative(name: str, value: ArrayLike) -> Array:
    array = check_finite(name, value)
    if array.size and array.min() < 0:
        raise InvalidInput(f"{name} must be 0 or more, got {array.min():g}")
    return array
