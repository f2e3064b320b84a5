"""sme(): paths of the stochastic modified equations of dropout, an ensemble of them (arXiv:2305.15850).

With L = R_S + R_1, lr = ε and Σ the covariance of a step's gradient under the noise of `simdrop.Noise`

    order 1   dΘ = -∇L dt + √ε Σ^½ dW                    the ensemble's law at time t = ε · step up to an error O(ε)
    order 2   dΘ = -∇(L + (ε/4)|∇L|²) dt + √ε Σ^½ dW     O(ε²)

O(ε²) is that of means. The covariance of the paths is of order ε itself, and both equations have a relative error of
O(ε) in it, the second a larger one: in one dimension, with curvature λ and noise s², training comes to rest at a
variance of ε s²/(2 λ (1 - ε λ/2)), order 1 at ε s²/(2 λ), order 2 at ε s²/(2 λ (1 + ε λ/2)). The second order
in both would take the Σ̃ of `theory.flows.mean_covariance` in the place of Σ.

`simdrop_kernels.contract.equation` draws the noise exactly, without Σ, and says how the schemes approach the equations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from simdrop_kernels.contract.equation import Increments, Scheme

from ..output.progress import Progress
from ..problem import Noise, Problem
from ..schedule.base import Schedule
from ..settings.defaults import BACKEND, MEMORY, QUANTILES, RISK_LIMIT
from .carry_out import Output, carry_out
from .paths import Paths, result
from .paths_plan import PathsPlan
from .run import Run

if TYPE_CHECKING:
    import xarray as xr

    from simdrop_kernels.registry import BackendName


def sme(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float | Mapping[int, float] | Schedule,
    times: ArrayLike,
    order: Literal[1, 2] = 2,
    members: int | None = None,
    seed: int = 0,
    noise: Noise | None = None,
    antithetic: bool = False,
    increments: Increments | None = None,
    scheme: Scheme = "rk4",
    substeps: int | None = None,
    backend: BackendName = BACKEND,
    dtype: Literal["float32", "float64"] = "float64",
    keep_theta: bool | Sequence[int] = False,
    grid: ArrayLike | None = None,
    covariance: bool | Sequence[int] = False,
    quantiles: Sequence[float] = QUANTILES,
    groups: int = 0,
    risk_limit: float | None = RISK_LIMIT,
    threads: int | None = None,
    memory: int = MEMORY,
    block_size: int | None = None,
    progress: Progress | bool | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Follow paths of a stochastic modified equation of dropout and report them at `times`.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,) or (members, P)
        Start at time 0, the same for all paths or one for each.
    lr : float, mapping or Schedule
        Learning rate ε of the run that the equation stands for. One that changes, as in `simulate`, is followed as
        ε(t).
    times : float or array_like, shape (T,)
        Increasing times, 0 or more; compare with a simulation at lr · step.
    order : {2, 1}
        Weak order in lr of the equation. Of covariances, which are of order lr themselves, both have the leading order
        alone, 1 with the smaller error.
    members : int, optional
        Number of paths. It may be left out where theta0 has one row for each.
    seed : int
        Seed of the Brownian motion, below 2**64. Path k draws the numbers of member k.
    noise : Noise, optional
        Further noise of a step, or another law of dropout.
    antithetic : bool
        Drive paths 2k and 2k + 1 by W_k and -W_k. The law of each path stays the same, and in means over pairs all odd
        orders of the noise cancel. Standard errors are then those of `groups`, which hold whole pairs.
    increments : {"normal", "masks"}, optional
        What the noise of a step is made of. "normal", the default without DropConnect, takes normal numbers, m(m + 1)/2
        for a group of samples under one mask. "masks" takes scaled differences of two gradients under masks, with
        exactly the same covariance; means differ by O(lr² h) for steps h of the scheme. They are cheaper for networks
        wider than about 100 and serve every noise. With DropConnect "normal" is refused, "native" does not run,
        and Numba runs order 1 only.
    scheme : {"rk4", "heun", "euler"}
        "rk4" and "heun" treat the noise as small compared with the drift; "euler" is Euler-Maruyama. See
        `simdrop_kernels.contract.equation`.
    substeps : int, optional
        Smallest number of steps of the scheme per lr: steps between two times are equal and at most lr / substeps long.
        By default the curvature of R_S + R_1 at theta0 sets it so that the error of the scheme is small compared with
        that of order 2.
    backend : {"auto", "cuda", "native", "numba", "numpy"}
        Kernels that follow the paths.
    dtype, keep_theta, grid, covariance, quantiles, groups, risk_limit
        As in `simdrop.simulate`.
    threads, memory, block_size, progress, out, overwrite
        As in `simdrop.simulate`.

    Returns
    -------
    xarray.Dataset
        Variables and coordinates as those of `simdrop.simulate`; the coordinate step counts steps of the scheme.

    Raises
    ------
    InvalidInput, BackendError, Diverged, KeyboardInterrupt
        As in `simdrop.simulate`.

    Notes
    -----
    With L = R_S + R_1 and Σ the covariance of the gradient of a step (arXiv:2305.15850; equation :eq:`sme` of the
    derivations on the site),

        order 1   dΘ = -∇L dt + √ε Σ^½ dW
        order 2   dΘ = -∇(L + (ε/4)|∇L|²) dt + √ε Σ^½ dW

    Order 2 is that of means of functions of a network. The covariance over networks, itself O(ε), has a relative error
    of O(ε) under both, and a larger one under order 2, whose drift contracts more: along a direction of curvature λ and
    noise s² SGD rests at the variance ε s² / (2λ (1 - ελ/2)), order 1 at ε s² / 2λ, order 2 at ε s² / (2λ (1 + ελ/2)).

    A step costs O(n m D) operations for each evaluation of the drift. Its noise costs, with increments "normal",
    O(n c m²) operations and m(m + 1)/2 normal numbers under step masks, O(n m) of both under sample masks with one
    output; with "masks" O(n m) for each of 2 k masks. Memory is that of `simdrop.simulate`. Where "native" does not
    run, Numba compiles a kernel on first use, for half a minute or more.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> paths = simdrop.sme(problem, problem.init(seed=0), lr=0.1, times=[0, 1], members=8, backend="numpy")
    >>> paths.theta_mean.shape, paths.time.values.tolist()
    ((2, 15), [0.0, 1.0])
    """
    output = Output.check(out=out, overwrite=overwrite, progress=progress)
    plan = PathsPlan.check(
        problem, theta0, lr=lr, times=times, order=order, members=members, seed=seed, noise=noise,
        antithetic=antithetic, increments=increments, scheme=scheme, substeps=substeps, backend=backend, dtype=dtype,
        keep_theta=keep_theta, grid=grid, covariance=covariance, quantiles=quantiles, groups=groups,
        risk_limit=risk_limit, threads=threads, memory=memory, block_size=block_size,
    )  # fmt: skip
    return follow(plan, output)


def follow(plan: PathsPlan, output: Output) -> xr.Dataset:
    """Carry out a plan; returns and raises as `sme`."""
    run = Run(Paths(plan), plan.wanted, members=plan.members, params=plan.problem.n_params, block=plan.block)
    return carry_out(run, output, "sme", describe=lambda interrupted: result(plan, run, interrupted=interrupted))
