"""flow(): what each theory of dropout predicts for the parameters, as a path that SciPy integrates.

kind "gradient"   θ' = -∇R_S                    training without dropout
     "averaged"   θ' = -∇(R_S + R_1)            dropout's mean gradient
     "second-order"      the same with R_1 to second order in the outputs' deviations, for losses with classes
     "modified"   θ' = -∇(R_S + R_1 + R_2)      with the lr/4 E|∇R_drop|² of a finite learning rate (arXiv:2207.05952)
     "mean-covariance"   mean and covariance of the ensemble, to second order in lr (`mean_covariance`)
     "pathwise"          the flow under the masks that one simulated member drew (`pathwise`)
     "pathwise-plain"    the same without its term of order lr
     "manifold"          the slow drift along the zero-loss manifold, in a time of its own (`manifold`)

Time is t = lr · step. Wide networks are stiff: "auto" takes the explicit DOP853, unless its steps would be limited by
the largest eigenvalue of the Hessian more than by accuracy, and then BDF with structured linear algebra (`stiff`).
"""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.losses.table import find as find_loss

from ... import provenance
from ...checks.labels import check_time
from ...checks.numbers import check_count, check_finite, check_flag
from ...checks.sizes import check_memory
from ...checks.words import check_choice
from ...errors import InvalidInput
from ...output.variables import SLOW_TIME, described, with_parameters
from ...problem import Noise, Problem, check_problem
from ...schedule.base import Schedule
from .._input import Array, check_point, check_squared
from ..accuracy import accuracy
from ..losses import loss, risk
from .integration import Method, Path, check_tolerances, workplace
from .rates import Clock, check_rate
from .scheduled import follow
from .table import FlowKind, flows

if TYPE_CHECKING:
    import xarray as xr

#: what predicts an ensemble and is not a flow -> the call that gives it
ELSEWHERE = {f"sme{order}": f"simdrop.sme(..., order={order})" for order in (1, 2)}


def flow(
    problem: Problem,
    theta0: ArrayLike,
    *,
    lr: float | Mapping[int, float] | Schedule,
    times: ArrayLike,
    kind: FlowKind = "gradient",
    method: Method = "auto",
    rtol: float = 1e-8,
    atol: float = 1e-10,
    covariance0: ArrayLike | None = None,
    rank: int | None = None,
    covariance_order: int | None = None,
    seed: int | None = None,
    member: int | None = None,
    corrected: bool | None = None,
    noise: Noise | None = None,
    max_evaluations: int | None = None,
) -> xr.Dataset:
    """Follow a flow that predicts an ensemble with dropout, and report it at `times`.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta0 : array_like, shape (P,)
        Start at time 0.
    lr : float, mapping or Schedule
        Learning rate ε of the dropout run that the flow stands for. R_2 is proportional to it. One that changes, as in
        `simulate`, is followed as ε(t).
    times : float or array_like, shape (T,)
        Increasing times, 0 or more; compare with a simulation at lr · step, the sum of the learning rates. Those of
        "manifold" are slow times τ, see Notes.
    kind : str
        "gradient", "second-order", "averaged", "modified", "mean-covariance", "pathwise", "pathwise-plain" or
        "manifold": which flow; see Notes.
    method : {"auto", "DOP853", "RK45", "LSODA", "BDF"}
        Integrator. "BDF" is for stiff flows, with the exact Jacobian except that of R_2. "auto" takes "DOP853" unless
        curvature limits its steps more than accuracy does.
    rtol, atol : float
        Tolerances of the integrator, for each of its steps.
    covariance0 : float or array_like, shape (P,) or (P, P), optional
        Of "mean-covariance": covariance of the initial ensemble, as one variance, P variances or a matrix; 0 by
        default.
    rank : int, optional
        Of "mean-covariance": rank of the covariance beyond the blocks of single neurons. By default the covariance is a
        full matrix up to 600 parameters, and has rank 32 above.
    covariance_order : {1, 2}, optional
        Of "mean-covariance": order in lr, relative to its size, of the covariance. 2, at a cost of two evaluations of Σ
        for each direction of spread, is exact where networks are linear in their trained weights, for others only
        closer than 1; these need the covariance as a matrix. By default 2 with train="output" and up to 64 output
        weights, else 1.
    seed, member : int, optional
        Of "pathwise" and "pathwise-plain": the simulated member whose masks are replayed, both 0 by default.
    corrected : bool, optional
        Of "pathwise" and "manifold": whether the term of order lr is included, as it is by default; "pathwise-plain"
        is the pathwise flow without it.
    noise : Noise, optional
        Further noise of a step, or dropout of another law or in another place (`simdrop.Noise`), for all but pathwise
        flows: that of the run that the flow stands for. Under DropConnect "gradient" and "averaged" alone are known;
        "manifold" needs place "both", and "mean-covariance" a covariance as a matrix.
    max_evaluations : int, optional
        Largest number of evaluations of the right-hand side; unbounded by default. Not for pathwise flows, nor for
        "mean-covariance" with a rank.

    Returns
    -------
    xarray.Dataset
        theta (time, param), and risk, r1, r2 (time), which are R_S, R_1 and R_2 at theta, NaN where they have no
        closed form for the loss of the problem or the noise; with classes accuracy (time). "mean-covariance" adds
        theta_std (time, param), neuron_covariance (time, neuron, own_i, own_j), risk_mean (time), E R_S to second order
        in the spread, and theta_cov (time, param_i, param_j) where the covariance is a full matrix. "manifold" adds
        training_time (time), the t of each τ, residual (time, sample, output) and risk_mean (time). Coordinates: time,
        lr, over time where it changes, keep_prob, and along param param_kind, param_neuron, param_input and
        param_output as in `simulate`. Attributes: kind, method and why, tolerances, evaluations, seconds, versions.

    Raises
    ------
    InvalidInput
        An argument is wrong.
    FlowFailed
        The integrator gave up, or the flow became infinite. The message says where and what to try.

    Notes
    -----
    With L = R_S + R_1, H its Hessian and Σ the covariance of the gradient of a step:

        "gradient"          θ' = -∇R_S, without dropout
        "averaged"          θ' = -∇L (arXiv:2207.05952, lemma 1)
        "second-order"      θ' = -∇(R_S + (v/2n) Σ_ij u_ijᵀ ℓ'' u_ij), u_ij = a_j σ(w_j·x_i); "averaged" where ℓ'' = 1
        "modified"          θ' = -∇(L + R_2) (arXiv:2207.05952, lemma 2)
        "mean-covariance"   m' = -∇(L + (ε/4)|∇L|²)(m) - ½ ∇ tr(H C),  C' = -(H C + C H) + ε Σ(m)
        "pathwise"          θ' = -∇(R_drop + (ε/4)|∇R_drop|²) under the masks of one simulated member
        "manifold"          dΘ/dτ = -P_T ∇(R_1/v) + (ε/2v) P_T D²Φ[Σ], Θ(0) = `limit_point` of theta0

    The derivations on the site have "averaged" from equation :eq:`r1`, "modified" from :eq:`r2`, "mean-covariance" as
    :eq:`moments` and "manifold" as :eq:`drift`.

    Under further noise L is the loss whose gradient is the mean of a step, R_2 is (ε/4) E|G|² of its gradient G, and Σ
    the covariance of G. Where dropout's factors do not act in the whole step (`place`), L is R_S.

    "manifold" is the limit of ε → 0 and v = (1-p)/p → 0 in the slow time τ = v t, with the first correction in ε to the
    drift (arXiv:2404.12293); P_T projects on the zero-loss manifold. The networks have residuals of O(v), given as
    `residual`, and means move by a further O(ε) from fluctuations along the manifold, which `theory.manifold_paths`
    has. Without dropout, keep_prob = 1, and with noise on the targets of standard deviation s, τ is ε s² t.

    The mean of the ensemble differs from "averaged" and "modified" by O(ε), from "mean-covariance" by O(ε²), and a
    member from its "pathwise" flow by O(ε²), without the correction by O(ε).

    An evaluation costs, for n samples, m neurons, c outputs and D inputs, O(n m (c + D)) for "gradient", "averaged" and
    "pathwise", O(n² c² m) for "modified", P such gradients and P² numbers for "mean-covariance" as a matrix, and `rank`
    of them and P (1 + rank) numbers with a rank.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> flow = simdrop.flow(problem, problem.init(seed=0), lr=0.1, times=[0, 1, 2], kind="modified")
    >>> flow.theta.dims, flow.theta.shape
    (('time', 'param'), (3, 15))
    >>> loss = flow.risk + flow.r1 + flow.r2
    >>> bool(loss[2] < loss[1] < loss[0])
    True
    """
    if isinstance(kind, str) and kind in ELSEWHERE:
        raise InvalidInput(f"kind {kind!r} is an ensemble of paths and no flow: use {ELSEWHERE[kind]}")
    check_choice("kind", kind, flows())
    theta0, rate, times = check_start(problem, theta0, kind), check_rate(lr), check_times(times)
    check_tolerances(rtol, atol)
    check_memory({f"theta, {problem.n_params} parameters at {times.size} times": 16.0 * problem.n_params * times.size})
    given: dict[str, Any] = {
        "covariance0": covariance0,
        "rank": rank,
        "seed": seed,
        "member": member,
        "corrected": corrected,
    }
    given |= {"noise": noise, "covariance_order": covariance_order}
    if corrected is not None:
        check_flag("corrected", corrected)
    given["max_evaluations"] = None if max_evaluations is None else check_count("max_evaluations", max_evaluations)
    options = _options(kind, given) | {"method": method, "rtol": rtol, "atol": atol}
    started = clock.perf_counter()
    with workplace(problem):
        path = follow(kind, problem, theta0, times, rate, **options)
    attrs = {
        "kind": kind,
        "lr": str(rate) if isinstance(rate, Schedule) else rate,
        "rtol": rtol,
        "atol": atol,
        "seconds": clock.perf_counter() - started,
    }
    if noise is not None:
        attrs |= provenance.of_noise(noise, problem)
    return _dataset(problem, times, path, lr=rate, noise=noise, attrs=attrs)


def check_start(problem: Problem, theta0: ArrayLike, kind: str) -> Array:
    """The start (P,) of a kind of flow; raises InvalidInput, also where the kind is not known for the loss."""
    if not flows()[kind].any_loss:
        check_squared(check_problem(problem), f"kind {kind!r}")
    return check_point(problem, theta0, "theta0", any_loss=True)


def check_times(times: ArrayLike) -> Array:
    """`times` as increasing numbers, 0 or more, at least one; raises InvalidInput."""
    check_time("times", times)
    array = np.atleast_1d(check_finite("times", times))
    if array.ndim != 1 or array.size == 0:
        raise InvalidInput(f"times must be a number or a list of numbers, got shape {array.shape}")
    if array[0] < 0:
        raise InvalidInput(f"times must be 0 or more (theta0 is at time 0), got {array[0]:g}")
    falls = np.flatnonzero(np.diff(array) <= 0)
    if falls.size:
        k = falls[0]
        raise InvalidInput(f"times must increase, got {array[k]:g} and then {array[k + 1]:g} at index {k + 1}")
    return array


def _dataset(
    problem: Problem,
    times: Array,
    path: Path,
    *,
    lr: float | Schedule,
    noise: Noise | None,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """The result of a flow: theta (time, param), the losses along it, and where it comes from."""
    import xarray as xr

    rates = Clock.of(lr, times[-1]).at(times) if isinstance(lr, Schedule) else lr
    noise = None if attrs["kind"] == "manifold" else noise  # whose R_1 is that of dropout

    def term(name: str) -> Array:
        try:
            return loss(problem, path.theta, objective=name, lr=rates, noise=noise)
        except InvalidInput:  # not known for this loss, or this noise
            return np.full(len(times), np.nan)

    data = {
        "theta": (("time", "param"), path.theta),
        "risk": ("time", risk(problem, path.theta)),
        "r1": ("time", term("r1")),
        "r2": ("time", term("r2")),
    }
    if find_loss(problem.loss).targets != "numbers":
        data["accuracy"] = ("time", accuracy(problem, path.theta))
    attrs = attrs | path.attrs | provenance.of_problem(problem) | provenance.versions()
    over_time: Any = ("time", rates) if isinstance(lr, Schedule) else lr
    found = xr.Dataset(
        data | path.variables, coords={"time": times, "lr": over_time, "keep_prob": problem.keep_prob}, attrs=attrs
    )
    if attrs["kind"] == "manifold":
        found["time"].attrs = dict(SLOW_TIME)
    return described(with_parameters(found, problem))


def _options(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given (not None); raises InvalidInput for an option of another kind of flow."""
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if name not in flows()[kind].options:
            owners = " or ".join(repr(k) for k, one in flows().items() if name in one.options)
            raise InvalidInput(f"{name} is an option of kind {owners}, not of {kind!r}")
    return chosen
