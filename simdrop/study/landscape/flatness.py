"""Flatness of a minimum: the loss along random directions, planes and lines between minima, and its curvature.

Every function takes any parameters theta (P,) of any problem, minima or not, and an objective: "risk" (R_S) or
"risk+r1" (R_S + R_1). Parameters that are not trained stay where they are. For relu the Hessian is that almost
everywhere, from which the kinks are missing.

Filter normalisation: Li, Xu, Taylor, Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*,
arXiv:1712.09913, section 4. Rise of the loss in a ball: Foret, Kleiner, Mobahi & Neyshabur, *Sharpness-Aware
Minimization*, arXiv:2010.01412, eq. 1; in a ball scaled by the parameters: Kwon, Kim, Park & Choi, *ASAM*,
arXiv:2102.11600, eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ... import theory
from ...checks.numbers import check_count, check_flag, check_number, check_seed
from ...checks.sizes import check_memory
from ...checks.words import check_choice
from ...errors import InvalidInput
from ...output.variables import described
from ...problem import Problem
from ...theory._input import Array, check_point
from ...theory.curvature import OBJECTIVES
from ...theory.labels import PARAM, labelled
from .points import check_axis, check_directions, check_points
from .trajectory import MOST, WORDS, trajectory

if TYPE_CHECKING:
    import xarray as xr

Normalise = Literal["filter", "layer", "none"]
Ball = Literal["l2", "adaptive"]
#: where the loss is taken by default: along a direction, along each of a plane's two, on the line between two minima
LINE, PLANE, BETWEEN = np.linspace(-1, 1, 41), np.linspace(-1, 1, 21), np.linspace(-0.5, 1.5, 81)
#: numbers of the arrays over (point, sample, neuron), or (point, parameter), that are worked on at once
_ROWS = 1 << 21
#: up to this P all eigenvalues cost less than a few by Lanczos
DENSE = 300
#: random directions at most
MOST_DIRECTIONS = 10**6
#: points at which the loss is taken, and steps of an ascent, beyond which nobody waits
MOST_ITERATIONS = 10**6


@labelled("random_directions", "direction", PARAM, words="random direction", values=True)
def random_directions(
    problem: Problem, theta: ArrayLike, *, count: int = 10, seed: int = 0, normalise: Normalise = "filter"
) -> Array:
    """Draw independent normal directions in units of theta.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    count : int
        How many.
    seed : int
        Of what is drawn.
    normalise : {"filter", "layer", "none"}
        "filter" gives the incoming weights of every unit (w_j with its bias for a hidden neuron, the row a_o for an
        output) the norm that they have in theta; "layer" does so for a and for w as a whole; "none" leaves N(0, 1).

    Returns
    -------
    array, shape (count, P)
        Zero for parameters that are not trained.

    Raises
    ------
    InvalidInput
        theta is zero, which only "none" can do with, or an argument is wrong.
    """
    theta = check_point(problem, theta)
    check_choice("normalise", normalise, ("filter", "layer", "none"))
    count = check_count("count", count, most=MOST_DIRECTIONS)
    check_memory({f"count={count} directions of {problem.n_params} parameters": 24.0 * count * problem.n_params})
    drawn = problem.freeze(np.random.default_rng(check_seed(seed)).standard_normal((count, problem.n_params)))
    if normalise == "none":
        return drawn
    if not theta.any():
        raise InvalidInput("theta is zero: directions in its units do not exist; normalise='none' needs none")
    axes = -1 if normalise == "filter" else (-2, -1)
    parts = []
    for part, weights in zip(problem.split(drawn), problem.split(theta), strict=True):
        norm = np.sqrt(np.square(part).sum(axis=axes, keepdims=True))
        wanted = np.sqrt(np.square(weights).sum(axis=axes, keepdims=True))
        parts.append(part * wanted / np.where(norm > 0, norm, 1))
    return problem.join(*parts)


def lines(
    problem: Problem,
    theta: ArrayLike,
    directions: ArrayLike | None = None,
    *,
    alphas: ArrayLike = LINE,
    objective: str = "risk",
    count: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """The loss along lines through theta.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    directions : array_like, shape (K, P), optional
        By default `count` filter-normalised random ones.
    alphas : array_like, shape (A,)
        Where on a line, in units of its direction.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    count : int
        Number of random directions.
    seed : int
        Of what is drawn.

    Returns
    -------
    xarray.Dataset
        loss (direction, alpha), and over the directions its mean, std and standard error `error` (alpha).

    Raises
    ------
    InvalidInput
        An argument is wrong.
    """
    theta, alphas = check_point(problem, theta), check_axis("alphas", alphas)
    if directions is None:
        directions = random_directions(problem, theta, count=count, seed=seed)
    ways = check_directions(problem, directions)
    check_points(problem, len(ways) * len(alphas), along=len(alphas))
    loss = np.array([_losses(problem, theta + alphas[:, None] * way, objective) for way in ways])
    spread = loss.std(axis=0, ddof=1) if len(ways) > 1 else np.full(len(alphas), np.nan)
    variables = {
        "loss": (("direction", "alpha"), loss),
        "mean": ("alpha", loss.mean(axis=0)),
        "std": ("alpha", spread),
        "error": ("alpha", spread / np.sqrt(len(ways))),
    }
    return _in_words(problem, variables, {"alpha": alphas}, {"objective": objective})


def plane(
    problem: Problem,
    theta: ArrayLike,
    directions: ArrayLike | None = None,
    *,
    alphas: ArrayLike = PLANE,
    betas: ArrayLike | None = None,
    objective: str = "risk",
    seed: int = 0,
) -> xr.Dataset:
    """The loss on a plane through theta.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    directions : array_like, shape (2, P), optional
        By default two filter-normalised random ones.
    alphas, betas : array_like, shape (A,) and (B,)
        Where along the first and the second direction; betas are alphas by default.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    seed : int
        Of what is drawn.

    Returns
    -------
    xarray.Dataset
        loss (alpha, beta) at theta + α d_1 + β d_2.

    Raises
    ------
    InvalidInput
        The directions span no plane, or an argument is wrong.
    """
    theta, alphas = check_point(problem, theta), check_axis("alphas", alphas)
    betas = alphas if betas is None else check_axis("betas", betas)
    if directions is None:
        directions = random_directions(problem, theta, count=2, seed=seed)
    ways = check_directions(problem, directions)
    if len(ways) != 2:
        raise InvalidInput(f"directions of a plane must be two, got {len(ways)}")
    cosine = abs(ways[0] @ ways[1]) / np.sqrt((ways[0] @ ways[0]) * (ways[1] @ ways[1]))
    if cosine > 1 - 1e-12:
        raise InvalidInput("directions span no plane: one is a multiple of the other")
    check_points(problem, len(alphas) * len(betas), along=len(betas))
    rows = (theta + alpha * ways[0] + betas[:, None] * ways[1] for alpha in alphas)
    loss = np.array([_losses(problem, row, objective) for row in rows])
    coords = {"alpha": alphas, "beta": betas}
    return _in_words(problem, {"loss": (("alpha", "beta"), loss)}, coords, {"objective": objective})


def interpolate(
    problem: Problem,
    first: ArrayLike,
    second: ArrayLike,
    *,
    alphas: ArrayLike = BETWEEN,
    objective: str = "risk",
) -> xr.Dataset:
    """The loss on the line through two networks.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    first, second : array_like, shape (P,)
        Parameters of the networks, at 0 and at 1 of the line.
    alphas : array_like, shape (A,)
        Where on the line.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.

    Returns
    -------
    xarray.Dataset
        loss (alpha) at (1 - α) first + α second. `attrs["barrier"]`: how far the loss rises, at those of `alphas` in
        [0, 1], above the straight line between the losses of the two, 0 where it does not (Frankle, Dziugaite, Roy &
        Carbin, arXiv:1912.05671).

    Raises
    ------
    InvalidInput
        An argument is wrong.
    """
    one, two = check_point(problem, first, "first"), check_point(problem, second, "second")
    alphas = check_axis("alphas", alphas)
    check_points(problem, len(alphas), along=len(alphas))
    loss = _losses(problem, one + alphas[:, None] * (two - one), objective)
    ends = _losses(problem, np.array([one, two]), objective)
    rise = loss - (1 - alphas) * ends[0] - alphas * ends[1]
    between = rise[(alphas >= 0) & (alphas <= 1)]
    attrs = {"objective": objective, "barrier": float(np.max(between, initial=0.0))}
    return _in_words(problem, {"loss": ("alpha", loss)}, {"alpha": alphas}, attrs)


@labelled("top_eigenvalue", "eigenvalue", words=WORDS["top_eigenvalue"], values=True)
def top_eigenvalues(
    problem: Problem,
    theta: ArrayLike,
    *,
    count: int = 1,
    objective: str = "risk",
    end: Literal["largest", "smallest"] = "largest",
    method: Literal["auto", "lanczos", "dense"] = "auto",
) -> Array:
    """The outermost eigenvalues of the Hessian.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    count : int
        How many.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    end : {"largest", "smallest"}
        Of the spectrum.
    method : {"auto", "lanczos", "dense"}
        "lanczos" is SciPy's `eigsh` on Hessian-vector products, to a relative 1e-9, "dense" all eigenvalues of the
        matrix; "auto" takes the latter up to P = 300.

    Returns
    -------
    array, shape (count,)
        From the end of the spectrum inwards.

    Raises
    ------
    InvalidInput
        An argument is wrong.
    scipy.sparse.linalg.ArpackNoConvergence
        Lanczos did not converge.
    """
    theta = check_point(problem, theta)
    check_choice("end", end, ("largest", "smallest"))
    check_choice("method", method, ("auto", "lanczos", "dense"))
    count, params = check_count("count", count), problem.n_params
    if count > params:
        raise InvalidInput(f"count must be at most the {params} parameters, got {count}")
    if method == "dense" or count == params or (method == "auto" and params <= DENSE):
        if params > MOST:
            raise InvalidInput(f"all eigenvalues need a matrix of {params} x {params}: at most {MOST} parameters")
        found = np.linalg.eigvalsh(theory.hessian(problem, theta, objective=objective))
        return np.array(found[::-1][:count] if end == "largest" else found[:count], dtype=np.float64)
    values, _ = _lanczos(theory.hessian_operator(problem, theta, objective=objective), params, count, end)
    return np.sort(values)[::-1] if end == "largest" else np.sort(values)


@dataclass(frozen=True)
class Sharpness:
    """The highest loss found near a theta.

    Attributes
    ----------
    rise : float
        Above the loss at theta.
    move : array, shape (P,)
        From theta to where it is.
    """

    rise: float
    move: Array


def sharpness(
    problem: Problem,
    theta: ArrayLike,
    *,
    radius: float,
    objective: str = "risk",
    ball: Ball = "l2",
    starts: int = 8,
    iterations: int = 60,
    seed: int = 0,
) -> Sharpness:
    """How far the loss rises within a ball around theta.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    radius : float
        Of the ball.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    ball : {"l2", "adaptive"}
        |δ| <= radius, or |δ / |theta|| <= radius.
    starts : int
        Random starts of the search, besides both ends of the sharpest axis.
    iterations : int
        Steps of the search.
    seed : int
        Of what is drawn.

    Returns
    -------
    Sharpness
        The best point that was visited: a lower bound of the maximum of L(theta + δ) - L(theta).

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    The search is u <- radius g/|g|, g the gradient by u at δ = T u, T = 1 or |theta|. On a convex loss it never falls,
    and on a quadratic one it is the power iteration, with radius² λ_max / 2 as its end at a minimum.
    """
    theta = check_point(problem, theta)
    check_choice("ball", ball, ("l2", "adaptive"))
    size = check_number("radius", radius)
    if size <= 0:
        raise InvalidInput(f"radius must be a positive number, got {radius!r}")
    starts = check_count("starts", starts, least=0, most=MOST_DIRECTIONS)
    iterations = check_count("iterations", iterations, most=MOST_ITERATIONS)
    check_memory({f"starts={starts} points of {problem.n_params} parameters": 40.0 * starts * problem.n_params})
    if ball == "adaptive" and not theta.any():
        raise InvalidInput("theta is zero: a ball in its units is a point; ball 'l2' needs none")
    unit = problem.freeze(np.abs(theta) if ball == "adaptive" else np.ones_like(theta))
    base = _losses(problem, theta[None], objective)[0]
    u = size * _starts(problem, theta, unit, objective, starts, seed)
    best, move = 0.0, np.zeros_like(theta)

    def gradient(points: Array) -> Array:
        return theory.gradient(problem, points, objective=objective)

    for left in range(iterations, -1, -1):
        rise = _losses(problem, theta + unit * u, objective) - base
        top = int(np.argmax(rise))
        if rise[top] > best:
            best, move = float(rise[top]), unit * u[top]
        if left:
            slope = unit * _by_rows(problem, theta + unit * u, gradient)
            norm = np.linalg.norm(slope, axis=1, keepdims=True)
            u = np.where(norm > 0, size * slope / np.where(norm > 0, norm, 1), u)
    return Sharpness(best, move)


def along(problem: Problem, theta: ArrayLike | xr.Dataset, *, objective: str = "risk", top: bool = True) -> xr.Dataset:
    """Measure the curvature along a run.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : xarray.Dataset or array_like, shape (..., P)
        What `simulate(..., keep_theta=...)` returned, or parameters.
    objective : {"risk", "risk+r1"}
        Loss whose landscape is looked at.
    top : bool
        Whether the largest eigenvalue is measured too, which costs some tens of Hessian-vector products; the exact
        trace costs as much as a loss.

    Returns
    -------
    xarray.Dataset
        Over the leading axes of theta: trace and, with `top`, top_eigenvalue; NaN where a member has diverged.

    Raises
    ------
    InvalidInput
        An argument is wrong.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_flag("top", top)
    dims, coords, values = trajectory(problem, theta)
    flat = values.reshape(-1, problem.n_params)
    alive = np.isfinite(flat).all(axis=1)
    trace, largest = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    trace[alive] = theory.hessian_trace(problem, flat[alive], objective=objective)
    found = {"trace": (dims, trace.reshape(values.shape[:-1]))}
    if top:
        for k in np.flatnonzero(alive):
            largest[k] = top_eigenvalues(problem, flat[k], objective=objective)[0]
        found["top_eigenvalue"] = (dims, largest.reshape(values.shape[:-1]))
    return _in_words(problem, found, coords, {"objective": objective})


def _in_words(problem: Problem, variables: Any, coords: Any, attrs: dict[str, Any]) -> xr.Dataset:
    """A dataset that says what its variables are; of losses in the units of the problem's."""
    import xarray as xr

    return described(xr.Dataset(variables, coords, attrs | {"loss": problem.loss}), WORDS)


def _starts(problem: Problem, theta: Array, unit: Array, objective: str, count: int, seed: int) -> Array:
    """Unit vectors (2 + count, P): both ends of the sharpest axis of T H T, and random ones."""
    product, params = theory.hessian_operator(problem, theta, objective=objective), problem.n_params
    if params <= DENSE:
        matrix = unit * theory.hessian(problem, theta, objective=objective) * unit[:, None]
        axis = np.linalg.eigh(matrix)[1][:, -1]
    else:
        axis = _lanczos(lambda v: unit * product(unit * v), params, 1, "largest", tolerance=1e-4)[1][:, -1]
    drawn = problem.freeze(np.random.default_rng(check_seed(seed)).standard_normal((count, params)))
    rows = problem.freeze(np.concatenate([[axis, -axis], drawn]))
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)


def _lanczos(
    product: Callable[[Array], Array], params: int, count: int, end: str, tolerance: float = 1e-9
) -> tuple[Array, Array]:
    """Eigenvalues (count,) and eigenvectors (P, count) of the symmetric operator at one end of its spectrum."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(params)
    if not np.any(product(start)):  # almost surely no operator but 0 does that
        return np.zeros(count), np.eye(params, count)
    operator = LinearOperator((params, params), matvec=lambda v: product(np.ravel(v)), dtype=np.float64)
    known: dict[str, Any] = {"k": count, "which": "LA" if end == "largest" else "SA", "v0": start, "tol": tolerance}
    basis = min(params, max(2 * count + 1, 20))
    try:
        return eigsh(operator, ncv=basis, **known)
    except ArpackNoConvergence:
        return eigsh(operator, ncv=min(params, 8 * basis), maxiter=100 * params, **known)


def _losses(problem: Problem, points: Array, objective: str) -> Array:
    """The loss (K,) at points (K, P)."""
    return _by_rows(problem, points, lambda some: theory.loss(problem, some, objective=objective))


def _by_rows(problem: Problem, points: Array, function: Callable[[Array], Array]) -> Array:
    """A function of points (K, P), of some at a time."""
    rows = max(1, _ROWS // max(problem.n_samples * problem.width, problem.n_params))
    return np.concatenate([function(points[k : k + rows]) for k in range(0, len(points), rows)])
