"""manifold_paths(): networks that drift and diffuse along the zero-loss manifold, an ensemble of them.

    dΘ = (-P_T ∇ρ + (lr/2v) D²Φ[S]) dτ + √(lr/v) P_T S^½ dW        on Γ, in the slow time of `flows.manifold`

A step of length h takes the drift along Γ by Heun's method and the noise, which is small, as it is at its beginning;
then Gauss-Newton steps take the network back to Γ. They do what the normal part of D²Φ does: for a move δ along Γ,
-J⁺e = -½ J⁺ D²f[δ, δ] + o(|δ|²).
"""

from __future__ import annotations

import time as clock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .. import provenance
from ..checks.numbers import check_count, check_flag, check_lr, check_seed
from ..checks.sizes import check_memory
from ..errors import InvalidInput
from ..output.variables import SLOW_TIME, described, with_parameters
from ..problem import Noise, Problem
from ._input import Array, check_point
from .flows.flow import check_times
from .flows.integration import workplace
from .flows.manifold import slopes, training_time
from .limit_point import limit_point
from .losses import risk
from .noise.step import checked
from .zero_loss import SlowNoise, ZeroLoss, to_manifold

if TYPE_CHECKING:
    import xarray as xr

#: numbers in the arrays over (path, feature, neuron, sample) that are worked on at once
_BLOCK = 1 << 22


def manifold_paths(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float,
    times: ArrayLike,
    members: int,
    steps: int = 100,
    seed: int = 0,
    antithetic: bool = False,
    noise: Noise | None = None,
) -> xr.Dataset:
    """Follow paths of the stochastic equation of dropout along the zero-loss manifold.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,)
        Start; paths begin at its `limit_point`.
    lr : float
        Learning rate ε.
    times : float or array_like, shape (T,)
        Increasing slow times, 0 or more, as of `simdrop.flow` with kind="manifold".
    members : int
        Number of paths.
    steps : int
        Steps of the scheme from time 0 to the last of `times`, at least.
    seed : int
        Of NumPy's default generator.
    antithetic : bool
        Drive paths 2k and 2k + 1 by opposite noise; members must be even.
    noise : Noise, optional
        Further noise of a step, or another law of dropout; not DropConnect.

    Returns
    -------
    xarray.Dataset
        theta (time, member, param) and risk (time, member); training_time (time) is the t = lr · step of each time.

    Raises
    ------
    InvalidInput
        An argument is wrong, or nothing moves networks along the manifold.
    FlowFailed
        Gradient flow from theta0 does not lead to zero loss, or the features of the samples become linearly dependent.

    Notes
    -----
    Means over the paths are those of training up to o(ε) and O(v), v = (1-p)/p. At fixed ε and v → 0 training is a
    jump process instead, whose jumps this equation replaces by normal numbers of the same covariance.

    Examples
    --------
    >>> problem = simdrop.Problem([1.0], [1.0], width=2, keep_prob=0.99, activation="linear", bias=False)
    >>> paths = simdrop.theory.manifold_paths(problem, [0.9, 0.4, 0.9, 0.4], lr=0.1, times=1.0, members=4)
    >>> paths.theta.dims, paths.theta.shape
    (('time', 'member', 'param'), (1, 4, 4))
    """
    import xarray as xr

    theta0, lr, times = check_point(problem, theta0, "theta0"), check_lr(lr), check_times(times)
    members, steps = check_count("members", members), check_count("steps", steps)
    if check_flag("antithetic", antithetic) and members % 2:
        raise InvalidInput(f"members must be even with antithetic=True, got {members}")
    noise, random = checked(problem, noise), np.random.default_rng(check_seed(seed))
    check_memory({f"theta of {members} paths at {times.size} times": 16.0 * members * problem.n_params * times.size})
    scheme = _Scheme(problem, *slopes(problem, noise, lr, corrected=True), random, antithetic)
    started = clock.perf_counter()
    with workplace(problem):
        here = np.repeat(limit_point(problem, theta0)[None], members, axis=0)
        path, longest = np.empty((times.size, *here.shape)), times[-1] / steps
        for k, span in enumerate(np.diff(times, prepend=0.0)):
            count = int(np.ceil(span / longest * (1 - 1e-12))) if span else 0
            for _ in range(count):
                here = scheme.step(here, span / count)
            path[k] = here
    attrs = {"kind": "manifold", "lr": lr, "members": members, "seed": seed, "antithetic": int(antithetic)}
    attrs |= {"steps": steps, "seconds": clock.perf_counter() - started}
    found = xr.Dataset(
        {
            "theta": (("time", "member", "param"), path),
            "risk": (("time", "member"), risk(problem, path)),
            "training_time": ("time", training_time(problem, noise, lr, times)),
        },
        {"time": ("time", times, SLOW_TIME), "lr": lr, "keep_prob": problem.keep_prob},
        attrs | provenance.of_problem(problem) | provenance.versions(),
    )
    return described(with_parameters(found, problem))


class _Scheme:
    """A step of the scheme for paths (M, P), in blocks that fit into the cache of a processor."""

    def __init__(
        self, problem: Problem, steady: float, shaken: float, noise: SlowNoise, random: np.random.Generator,
        antithetic: bool,
    ) -> None:  # fmt: skip
        self.problem, self.steady, self.shaken, self.noise = problem, steady, shaken, noise
        self.random, self.antithetic = random, antithetic
        rows = problem.n_samples * problem.n_outputs
        own = max(problem.n_params, problem.width * problem.n_samples) * rows
        self.block = 2 * max(1, _BLOCK // (2 * own))  # whole pairs

    def step(self, theta: Array, h: float) -> Array:
        """Theta (M, P) after a time h."""
        parts = [self._step(theta[k : k + self.block], h) for k in range(0, len(theta), self.block)]
        return np.concatenate(parts)

    def _step(self, theta: Array, h: float) -> Array:
        here = ZeroLoss.at(self.problem, theta, order=2)
        drift = self._drift(here)
        there = ZeroLoss.at(self.problem, theta + h * drift, order=2)
        shaken = here.draw(self.noise, self.random, pairs=self.antithetic)
        return to_manifold(
            self.problem, theta + h / 2 * (drift + self._drift(there)) + np.sqrt(self.shaken * h) * shaken
        )

    def _drift(self, here: ZeroLoss) -> Array:
        found = self.shaken * here.drift(self.noise)
        return found - self.steady * here.along(here.penalty()) if self.steady else found
