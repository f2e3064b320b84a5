"""Noise and curvature: how the covariance Σ of the gradients lies to the Hessian H, and whether chance explains it.

Alignment Tr(HΣ) / (|H|_F |Σ|_F) and the relation between variance and flatness of single directions: Zhang, Li, Luo &
Xu, arXiv:2305.15850, section 5, and Zhang, Zhou & Xu, arXiv:2111.01022. Flatness of a direction as the width of the
interval in which the loss stays below a multiple of its value: Feng & Tu, *The inverse variance-flatness relation in
stochastic gradient descent is critical for finding flat minima*, PNAS 118 (2021).

The null model. Give H and Σ the spectra they have and independent random axes: Σ -> QΣQᵀ with Q from Haar's measure on
the orthogonal matrices. With eigenvalues λ_i, σ_j the alignment is Σ_ij λ_i σ_j Q_ij² / (|H| |Σ|), and

    mean      Tr H Tr Σ / (P |H| |Σ|)
    variance  2 |H_0|² |Σ_0|² / ((P - 1)(P + 2) |H|² |Σ|²),     H_0 = H - (Tr H / P) 1, Σ_0 likewise

so that the distance of the measured alignment from chance in standard deviations needs no sampling at all. All of it is
over the trained parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ... import theory
from ...checks.numbers import check_count, check_finite, check_number, check_seed
from ...checks.words import check_choice, shown
from ...errors import InvalidInput
from ...output.variables import described
from ...problem import Noise, Problem, check_problem
from ...theory._input import Array, check_point
from ...theory.curvature import OBJECTIVES
from ...theory.noise.step import checked
from ..case import SEEDS
from .exponents import Exponent, exponent
from .trajectory import MOST, WORDS, trajectory

if TYPE_CHECKING:
    import xarray as xr

    from simdrop_kernels.registry import BackendName

__all__ = [
    "Alignment",
    "Exponent",
    "align",
    "along",
    "by_direction",
    "exponent",
    "measure",
    "null_sample",
    "null_variances",
    "sampled_covariance",
    "trajectory_covariance",
]

#: eigenvalues below this share of the largest are 0
_ZERO = 1e-15
#: residuals below this share of the targets are rounding
_EPSILON = 1e-14
#: how far along a direction a width is looked for, in units of |theta|
_REACH = 100.0


@dataclass(frozen=True)
class Alignment:
    """How far noise and curvature lie along the same directions, and what chance would give.

    Attributes
    ----------
    value : float
        Tr(HΣ) / (|H| |Σ|), with Frobenius norms.
    null_mean, null_std : float
        Mean and standard deviation of the null model.
    p_value : float
        (1 + number of draws of the null model >= value) / (1 + draws); NaN without draws.
    """

    value: float
    null_mean: float
    null_std: float
    p_value: float = float("nan")

    @property
    def score(self) -> float:
        """Standard deviations of the null model by which the value lies above its mean."""
        return (self.value - self.null_mean) / self.null_std if self.null_std > 0 else float("nan")


def align(h: ArrayLike, covariance: ArrayLike, *, draws: int = 0, seed: int = 0) -> Alignment:
    """Measure how far two symmetric matrices lie along the same directions.

    Parameters
    ----------
    h, covariance : array_like, shape (P, P)
        Hessian and covariance, or other symmetric matrices that are not zero.
    draws : int
        Draws of the null model for a p-value; 0 for none.
    seed : int
        Of what is drawn.

    Returns
    -------
    Alignment
        The value, and mean and standard deviation of the null model, which need no draws.

    Raises
    ------
    InvalidInput
        The matrices are not symmetric, zero, or of different shapes.
    """
    h, s = _matrix("h", h), _matrix("covariance", covariance)
    if h.shape != s.shape:
        raise InvalidInput(f"h and covariance must have one shape, got {h.shape} and {s.shape}")
    size, unit = len(h), np.linalg.norm(h) * np.linalg.norm(s)
    value, mean = float((h * s).sum() / unit), float(np.trace(h) * np.trace(s) / size / unit)
    free = [max(float(np.square(m).sum() - np.trace(m) ** 2 / size), 0.0) for m in (h, s)]
    spread = float(np.sqrt(2 * free[0] * free[1] / max((size - 1) * (size + 2), 1)) / unit)
    draws, seed = check_count("draws", draws, least=0), check_seed(seed)
    if not draws:
        return Alignment(value, mean, spread)
    null = null_sample(np.linalg.eigvalsh(h), np.linalg.eigvalsh(s), draws=draws, seed=seed)
    # Equal spectra can meet the value to rounding: such draws count as at least as large.
    return Alignment(value, mean, spread, float((1 + (null >= value - 1e-12).sum()) / (1 + draws)))


def null_sample(h: ArrayLike, covariance: ArrayLike, *, draws: int, seed: int = 0) -> Array:
    """Draw alignments of matrices with given eigenvalues and random axes.

    Parameters
    ----------
    h, covariance : array_like, shape (P,)
        Eigenvalues, not all 0.
    draws : int
        How many.
    seed : int
        Of what is drawn.

    Returns
    -------
    array, shape (draws,)
        Alignments.

    Raises
    ------
    InvalidInput
        The eigenvalues are not equally many, or all 0.

    Notes
    -----
    The axes are the Q of the QR factors of a normal matrix, Haar's up to signs, which squares do not see; of the matrix
    of lower rank only those axes are drawn that count.
    """
    one, two = check_finite("h", h), check_finite("covariance", covariance)
    if one.ndim != 1 or one.shape != two.shape or not (one.any() and two.any()):
        raise InvalidInput(f"h and covariance must be equally many eigenvalues, not all 0: {one.shape}, {two.shape}")
    few, all_ = sorted((one, two), key=lambda v: int((np.abs(v) > _ZERO * np.abs(v).max()).sum()))
    unit = np.linalg.norm(few) * np.linalg.norm(all_)
    return null_variances(few, draws=draws, seed=seed) @ all_ / unit


def null_variances(covariance: ArrayLike, *, draws: int, seed: int = 0) -> Array:
    """Draw variances along given directions of matrices with given eigenvalues and random axes.

    Parameters
    ----------
    covariance : array_like, shape (P,)
        Eigenvalues, not all 0.
    draws : int
        How many.
    seed : int
        Of what is drawn.

    Returns
    -------
    array, shape (draws, P)
        Variances along P orthogonal directions.

    Raises
    ------
    InvalidInput
        The eigenvalues are no list, or all 0.
    """
    values = check_finite("covariance", covariance)
    if values.ndim != 1 or not values.any():
        raise InvalidInput(f"covariance must be a list of eigenvalues, not all 0, got shape {values.shape}")
    count, random = check_count("draws", draws), np.random.default_rng(check_seed(seed))
    counted = values[np.abs(values) > _ZERO * np.abs(values).max()]
    found = np.empty((count, len(values)))
    for k in range(count):
        axes = np.linalg.qr(random.standard_normal((len(values), len(counted))))[0]
        found[k] = np.square(axes) @ counted
    return found


def measure(
    problem: Problem,
    theta: ArrayLike,
    *,
    objective: str = "risk",
    noise: Noise | None = None,
    draws: int = 0,
    seed: int = 0,
) -> Alignment:
    """Measure how far the noise of a step lies along the directions of large curvature.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    noise : Noise, optional
        Further noise of a step, or another law of dropout.
    draws : int
        Draws of the null model for a p-value; 0 for none.
    seed : int
        Of what is drawn.

    Returns
    -------
    Alignment
        Of the Hessian and the exact covariance of the gradient of a step, over the trained parameters.

    Raises
    ------
    InvalidInput
        An argument is wrong, or there are too many parameters for dense matrices.
    """
    theta = _dense(problem, theta)
    h, s = theory.hessian(problem, theta, objective=objective), theory.noise_covariance(problem, theta, noise=noise)
    return align(_trained(problem, h), _trained(problem, s), draws=draws, seed=seed)


def along(
    problem: Problem,
    theta: ArrayLike | xr.Dataset,
    *,
    objective: str = "risk",
    noise: Noise | None = None,
    draws: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Measure how far the noise of a step lies along the directions of large curvature, along a run.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : xarray.Dataset or array_like, shape (..., P)
        What `simulate(..., keep_theta=...)` returned, or parameters.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    noise, draws, seed
        As in `measure`.

    Returns
    -------
    xarray.Dataset
        Over the leading axes of theta: alignment, null_mean, null_std, score and, with draws, p_value; NaN where a
        member has diverged.

    Raises
    ------
    InvalidInput
        An argument is wrong, or there are too many parameters for dense matrices.
    """
    import xarray as xr

    check_choice("objective", objective, OBJECTIVES)
    draws, seed, noise = check_count("draws", draws, least=0), check_seed(seed), checked(problem, noise)
    dims, coords, values = trajectory(problem, theta)
    flat = values.reshape(-1, problem.n_params)
    names = ("alignment", "null_mean", "null_std", "score", "p_value")
    found = np.full((len(names), len(flat)), np.nan)
    for k in np.flatnonzero(np.isfinite(flat).all(axis=1)):
        one = measure(problem, flat[k], objective=objective, noise=noise, draws=draws, seed=(seed + int(k)) % SEEDS)
        found[:, k] = one.value, one.null_mean, one.null_std, one.score, one.p_value
    variables = {name: (dims, row.reshape(values.shape[:-1])) for name, row in zip(names, found, strict=True)}
    return described(xr.Dataset(variables, coords, {"objective": objective, "draws": draws}), WORDS)


def sampled_covariance(
    problem: Problem,
    theta: ArrayLike,
    *,
    draws: int = 1000,
    seed: int = 0,
    noise: Noise | None = None,
    backend: BackendName = "auto",
    threads: int | None = None,
) -> Array:
    """Estimate the covariance of the gradient of a step by drawing it.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    draws : int
        Gradients: those of the first step of as many members.
    seed : int
        Of what is drawn.
    noise, backend, threads
        As in `simulate`.

    Returns
    -------
    array, shape (P, P)
        The covariance of the draws.

    Raises
    ------
    InvalidInput
        An argument is wrong, or there are too many parameters for dense matrices.
    """
    from ...simulation.simulate import simulate

    theta, draws = _dense(problem, theta), check_count("draws", draws, least=2)
    runs = simulate(
        problem, theta, lr=1.0, steps=1, members=draws, seed=seed, noise=noise, record=2, covariance=True,
        quantiles=(), backend=backend, threads=threads, risk_limit=None,
    )  # fmt: skip
    return np.asarray(runs["theta_cov"].values[-1])


def trajectory_covariance(runs: xr.Dataset, *, of: Literal["increments", "positions"] = "increments") -> Array:
    """Estimate a covariance over time, within each kept member.

    Parameters
    ----------
    runs : xarray.Dataset
        What `simulate(..., keep_theta=...)` returned, recorded at evenly spaced steps.
    of : {"increments", "positions"}
        "increments": of the differences between record points k steps apart, divided by lr² k, an estimate of the Σ of
        one step of SGD where drift and Σ hardly change from the first record point to the last. "positions": of theta
        itself.

    Returns
    -------
    array, shape (P, P)
        The mean over the members that are finite to the end.

    Raises
    ------
    InvalidInput
        The run kept no parameters, has several learning rates, or too few or unevenly spaced record points.
    """
    import xarray as xr

    check_choice("of", of, ("increments", "positions"))
    if not isinstance(runs, xr.Dataset):
        raise InvalidInput(f"runs must be what simulate() returned, got {shown(runs)}")
    if "theta" not in runs or "time" not in runs.coords:
        raise InvalidInput("the run needs parameters (keep_theta) and one learning rate for all members")
    step, time = runs["step"].values, runs["time"].values
    gaps = np.diff(step)
    if len(step) < 3 or not (gaps == gaps[0]).all():
        raise InvalidInput(f"the run must be recorded at three evenly spaced steps or more, got steps {step}")
    theta = runs["theta"].values.astype(np.float64)  # (T, M, P)
    theta = theta[:, np.isfinite(theta).all(axis=(0, 2))]
    if not theta.shape[1]:
        raise InvalidInput("the run has no member that stayed finite")
    lr, unit = (time[1] - time[0]) / gaps[0], 1.0
    if of == "increments":
        theta, unit = np.diff(theta, axis=0), lr**2 * gaps[0]
    rows = (theta - theta.mean(axis=0)).reshape(-1, theta.shape[-1])
    return rows.T @ rows / ((len(theta) - 1) * theta.shape[1] * unit)


def by_direction(
    problem: Problem,
    theta: ArrayLike,
    covariance: ArrayLike,
    *,
    axes: Literal["hessian", "noise"] = "hessian",
    objective: str = "risk",
    factor: float = math.e,
) -> xr.Dataset:
    """Measure variance of the noise and flatness along single directions.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    covariance : array_like, shape (P, P)
        Of the gradient of a step.
    axes : {"hessian", "noise"}
        Whose eigenvectors v the directions are.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    factor : float
        Times the loss at theta, up to which a width reaches; above 1.

    Returns
    -------
    xarray.Dataset
        Over `direction`, the largest eigenvalue first: variance vᵀΣv, curvature vᵀHv, and width, the length of the
        interval around theta on the line along v on which the loss stays below `factor` times its value at theta; inf
        where that goes on for 100 |theta|, and NaN where the loss at theta is 0 but for rounding. Attributes: the
        exponents of variance over curvature and over width, each with its 95 % interval and number of points.

    Raises
    ------
    InvalidInput
        An argument is wrong, or there are too many parameters for dense matrices.
    """
    import xarray as xr

    theta, s = _dense(problem, theta), _trained(problem, _matrix("covariance", covariance))
    check_choice("axes", axes, ("hessian", "noise"))
    factor = check_number("factor", factor, above=1)
    h = _trained(problem, theory.hessian(problem, theta, objective=objective))
    if s.shape != h.shape:
        raise InvalidInput(f"covariance must be of the {problem.n_params} parameters, got shape {np.shape(covariance)}")
    vectors = np.linalg.eigh(h if axes == "hessian" else s)[1][:, ::-1].T  # (direction, P)
    variance, curvature = ((vectors @ m * vectors).sum(axis=1) for m in (s, h))
    ways = np.zeros((len(vectors), problem.n_params))
    ways[:, problem.trained] = vectors
    width = _widths(problem, theta, ways, objective, factor) + _widths(problem, theta, -ways, objective, factor)
    attrs: dict[str, Any] = {"axes": axes, "objective": objective, "factor": factor}
    for name, values in (("curvature", curvature), ("width", width)):
        fit = exponent(values, variance)
        attrs |= {f"{name}_exponent": fit.value, f"{name}_low": fit.low, f"{name}_high": fit.high}
        attrs[f"{name}_points"] = fit.points
    variables = {"variance": variance, "curvature": curvature, "width": width}
    found = xr.Dataset({name: ("direction", values) for name, values in variables.items()}, attrs=attrs)
    return described(found, WORDS)


def _widths(problem: Problem, theta: Array, ways: Array, objective: str, factor: float) -> Array:
    """How far (K,) along each unit vector (K, P) the loss first reaches `factor` times its value at theta."""
    level = factor * theory.loss(problem, theta, objective=objective)
    if level <= factor * (_EPSILON**2) * np.square(problem.y).mean():
        return np.full(len(ways), np.nan)
    reach = _REACH * np.linalg.norm(theta)
    inside, outside = np.zeros(len(ways)), np.full(len(ways), np.inf)
    for step in reach * np.geomspace(1e-9, 1, 120):
        open_ = np.flatnonzero(np.isinf(outside))
        if not open_.size:
            break
        above = theory.loss(problem, theta + step * ways[open_], objective=objective) >= level
        outside[open_[above]], inside[open_[~above]] = step, step
    found = np.flatnonzero(np.isfinite(outside))
    for _ in range(45 if found.size else 0):
        middle = (inside[found] + outside[found]) / 2
        above = theory.loss(problem, theta + middle[:, None] * ways[found], objective=objective) >= level
        outside[found] = np.where(above, middle, outside[found])
        inside[found] = np.where(above, inside[found], middle)
    return outside


def _dense(problem: Problem, theta: ArrayLike) -> Array:
    """One theta (P,) of few enough parameters for dense matrices; raises InvalidInput."""
    if check_problem(problem).n_params > MOST:
        raise InvalidInput(f"matrices of {problem.n_params} x {problem.n_params}: at most {MOST} parameters here")
    return check_point(problem, theta)


def _trained(problem: Problem, matrix: Array) -> Array:
    """The rows and columns of the trained parameters."""
    return matrix[problem.trained, problem.trained]


def _matrix(name: str, values: ArrayLike) -> Array:
    """A symmetric matrix that is not zero; raises InvalidInput."""
    matrix = check_finite(name, values)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InvalidInput(f"{name} must be a square matrix, got shape {matrix.shape}")
    if not matrix.any():
        raise InvalidInput(f"{name} is zero: it has no directions")
    if np.abs(matrix - matrix.T).max() > 1e-8 * np.abs(matrix).max():
        raise InvalidInput(f"{name} must be symmetric")
    return matrix
