"""Condensation: how few orientations the input weights of a network have, and which.

A neuron is its incoming vector u_j = (w_j, b_j) and its outgoing weights a_j. Its orientation is u_j / |u_j|, for
d = 1 with bias the angle of (w_j, b_j) in [-π, π); its amplitude is |a_j| |u_j|, in units of the network's largest
unless said otherwise (Zhang & Xu, arXiv:2207.05952, section 4.2). For an odd activation (w, b, a) and (-w, -b, -a) are
one neuron, whose orientation has two values; `signed=False` takes orientations up to their sign.

Functions take parameters theta (..., P), those of a run included, unless they say (P,). A neuron whose u_j is 0 has no
orientation: NaN, and part of no cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checks.numbers import check_finite, check_flag, check_number
from ...checks.words import counted
from ...errors import InvalidInput
from ...output.variables import described
from ...problem import Problem, check_problem
from ...theory._input import Array, check_point, check_thetas
from ...theory.labels import labelled
from .trajectory import WORDS, trajectory

if TYPE_CHECKING:
    import xarray as xr

#: neurons below this share of the largest amplitude take no part in clusters and distances
THRESHOLD = 0.1
#: radians: no two neurons of a cluster are further apart
DIAMETER = 0.2
#: neurons below this share of the largest amplitude are counted as small
SMALL = 0.02
#: cosine from which on a direction stands for another, of the papers' effective ratio
COSINE = 0.95


@labelled("directions", "neuron", "input", words="direction of a neuron's input weights, the bias last", values=True)
def directions(problem: Problem, theta: ArrayLike) -> Array:
    """Directions of the incoming weights of the neurons.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.

    Returns
    -------
    array, shape (..., m, D)
        Unit vectors, the bias last; NaN for weights that are all 0.
    """
    _, w = _weights(problem, theta)
    norm = np.linalg.norm(w, axis=-1, keepdims=True)
    return w / np.where(norm > 0, norm, np.nan)


@labelled("orientation", "neuron", words="orientation of a neuron's input weights", units="rad", values=True)
def orientations(problem: Problem, theta: ArrayLike) -> Array:
    """Orientations of neurons with one input and a bias.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.

    Returns
    -------
    array, shape (..., m)
        Angles of (w_j, b_j) in [-π, π), radians.

    Raises
    ------
    InvalidInput
        A neuron has several inputs or no bias.
    """
    if check_problem(problem).n_inputs != 2 or not problem.bias:
        raise InvalidInput(
            "an orientation is an angle where the data have d = 1 and neurons a bias; else: directions()"
        )
    way = directions(problem, theta)
    angle = np.arctan2(way[..., 1], way[..., 0])
    return np.where(angle == np.pi, -np.pi, angle)


@labelled("amplitude", "neuron", words="amplitude |a_j| |u_j| of a neuron", values=True)
def amplitudes(problem: Problem, theta: ArrayLike, *, relative: bool = True) -> Array:
    """Amplitudes |a_j| |u_j| of the neurons, u_j the incoming weights with the bias.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.
    relative : bool
        In units of the largest of the network; 0 where all are 0.

    Returns
    -------
    array, shape (..., m)
        One of each neuron.
    """
    relative = check_flag("relative", relative)
    a, w = _weights(problem, theta)
    size = np.linalg.norm(a, axis=-2) * np.linalg.norm(w, axis=-1)
    largest = size.max(axis=-1, keepdims=True)
    return size / np.where(largest > 0, largest, 1) if relative else size


@labelled("small_share", words=WORDS["small_share"], values=True)
def small_share(problem: Problem, theta: ArrayLike, *, below: float = SMALL) -> Array:
    """The share of small neurons.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.
    below : float
        Share of the network's largest amplitude below which a neuron is small.

    Returns
    -------
    array, shape (...)
        Between 0 and 1.
    """
    below = check_number("below", below)
    return np.asarray((amplitudes(problem, theta) < below).mean(axis=-1))


@labelled("dead_share", words=WORDS["dead_share"], values=True)
def dead_share(problem: Problem, theta: ArrayLike) -> Array:
    """The share of dead neurons, which are 0 for all samples as those of relu can be: no gradient reaches them.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.

    Returns
    -------
    array, shape (...)
        Between 0 and 1.
    """
    _, w = _weights(problem, theta)
    value = problem.sigma.value(problem.inputs @ w.swapaxes(-1, -2))  # (..., n, m)
    return np.asarray((value == 0).all(axis=-2).mean(axis=-1))


@dataclass(frozen=True)
class Similarity:
    """Cosines between the orientations of neurons, in an order that shows blocks.

    Attributes
    ----------
    matrix : array, shape (K, K)
        matrix[i, k] is the cosine between neurons[i] and neurons[k].
    neurons : array, shape (K,)
        Numbers of the neurons, in the order of the leaves of SciPy's average linkage of their angles, arranged so that
        neighbours are as near as can be.
    """

    matrix: Array
    neurons: NDArray[np.int64]


def similarity(problem: Problem, theta: ArrayLike, *, threshold: float = 0.0) -> Similarity:
    """Cosine similarity of the neurons of one network.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    threshold : float
        Relative amplitude from which on a neuron takes part.

    Returns
    -------
    Similarity
        The cosines, in an order that shows blocks.

    Raises
    ------
    InvalidInput
        Fewer than two neurons reach the threshold.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    ways, neurons = _large(problem, check_point(problem, theta, any_loss=True), threshold)
    tree = linkage(_angles(ways, signed=True), method="average", optimal_ordering=len(neurons) <= 400)
    order = leaves_list(tree)
    matrix = np.clip(ways[order] @ ways[order].T, -1, 1)
    return Similarity(matrix, neurons[order])


@dataclass(frozen=True)
class Clusters:
    """Orientations on which the neurons of a network stand, the heaviest first.

    Attributes
    ----------
    label : array, shape (m,)
        Number of the cluster of each neuron, -1 below the threshold.
    center : array, shape (K, D)
        Unit vectors: means weighted by amplitude.
    count : array, shape (K,)
        Neurons.
    weight : array, shape (K,)
        Share of the summed amplitude of the neurons above the threshold.
    spread : array, shape (K,)
        Root mean square angle to the center, radians.
    """

    label: NDArray[np.int64]
    center: Array
    count: NDArray[np.int64]
    weight: Array
    spread: Array

    def __len__(self) -> int:
        return len(self.count)

    def holding(self, share: float = 0.95) -> int:
        """How many of the heaviest clusters hold `share` of the summed amplitude."""
        share = check_number("share", share, above=0, below=1)
        return int((np.cumsum(self.weight) < share).sum()) + 1


def clusters(
    problem: Problem,
    theta: ArrayLike,
    *,
    threshold: float = THRESHOLD,
    diameter: float = DIAMETER,
    signed: bool = True,
) -> Clusters:
    """Find the clusters of the neurons of one network.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Parameters of one network.
    threshold : float
        Relative amplitude from which on a neuron takes part.
    diameter : float
        Largest angle between two neurons of a cluster, radians.
    signed : bool
        Whether opposite orientations are different ones.

    Returns
    -------
    Clusters
        The heaviest first.

    Raises
    ------
    InvalidInput
        Fewer than two neurons reach the threshold.

    Notes
    -----
    SciPy's complete linkage of the angles, cut at `diameter`: a chain of neighbours makes no cluster.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if not 0 < check_number("diameter", diameter) < np.pi:
        raise InvalidInput(f"diameter must be an angle in (0, π), got {diameter!r}")
    signed = check_flag("signed", signed)
    theta = check_point(problem, theta, any_loss=True)
    ways, neurons = _large(problem, theta, threshold)
    size = amplitudes(problem, theta)[neurons]
    found = fcluster(linkage(_angles(ways, signed=signed), method="complete"), diameter, criterion="distance")
    groups = sorted((np.flatnonzero(found == k) for k in np.unique(found)), key=lambda rows: -size[rows].sum())
    label = np.full(problem.width, -1)
    center = np.empty((len(groups), problem.n_inputs))
    spread = np.empty(len(groups))
    for k, rows in enumerate(groups):
        label[neurons[rows]] = k
        first = ways[rows[np.argmax(size[rows])]]
        turned = ways[rows] if signed else ways[rows] * np.where(ways[rows] @ first < 0, -1, 1)[:, None]
        center[k] = size[rows] @ turned
        center[k] /= np.linalg.norm(center[k])
        spread[k] = np.sqrt(np.square(np.arccos(np.clip(turned @ center[k], -1, 1))).mean())
    weight = np.array([size[rows].sum() for rows in groups]) / size.sum()
    return Clusters(label, center, np.array([len(rows) for rows in groups]), weight, spread)


@labelled("effective_ratio", words=WORDS["effective_ratio"], values=True)
def effective_ratio(problem: Problem, theta: ArrayLike, *, cosine: float = COSINE) -> Array:
    """The number of directions that stand for all neurons, over the number of neurons.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.
    cosine : float
        From which on a direction stands for a neuron, in [0, 1).

    Returns
    -------
    array, shape (...)
        Between 1/m and 1.

    Raises
    ------
    InvalidInput
        cosine does not lie in [0, 1).

    Notes
    -----
    The least such number is NP-hard to find. The rule: of the neurons' own directions take the one that stands for most
    of those not yet stood for, the first of equals; repeat until none is left. Neurons without orientation count for
    themselves.
    """
    if not 0 <= check_number("cosine", cosine) < 1:
        raise InvalidInput(f"cosine must lie in [0, 1), got {cosine!r}")
    ways = directions(problem, theta)
    flat = ways.reshape(-1, *ways.shape[-2:])
    return np.array([_cover(one, cosine) for one in flat]).reshape(ways.shape[:-2]) / problem.width


def _cover(ways: Array, cosine: float) -> int:
    """The size of the greedy cover of unit vectors (m, D)."""
    known = np.isfinite(ways).all(axis=1)
    near = ways[known] @ ways[known].T > cosine
    np.fill_diagonal(near, True)
    counts, chosen = near.sum(axis=1), 0
    while counts.size and counts.max() > 0:
        covered = near[np.argmax(counts)]
        counts = counts - near[:, covered].sum(axis=1)
        near = near & ~covered
        chosen += 1
    return chosen + int((~known).sum())


@labelled("distance", "neuron", words="angle to the nearest orientation of the teacher", units="rad", values=True)
def distances(
    problem: Problem, theta: ArrayLike, teacher: ArrayLike, *, threshold: float = THRESHOLD, signed: bool = False
) -> Array:
    """The angle of every neuron to the nearest orientation of a teacher.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (..., P)
        Parameters of one or many networks.
    teacher : array_like, shape (K, D)
        Incoming weights, the bias last, of any length but 0.
    threshold : float
        Relative amplitude from which on a neuron takes part.
    signed : bool
        Whether opposite orientations are different ones.

    Returns
    -------
    array, shape (..., m)
        Radians; NaN below the threshold.

    Raises
    ------
    InvalidInput
        The teacher has no vectors of the problem's inputs.
    """
    check_problem(problem)
    threshold, signed = check_number("threshold", threshold), check_flag("signed", signed)
    given = check_finite("teacher", teacher)
    if given.ndim != 2 or given.shape[1] != problem.n_inputs or not given.any(axis=1).all():
        raise InvalidInput(f"teacher must hold vectors of {problem.n_inputs} numbers, not all 0, got {given.shape}")
    cosine = directions(problem, theta) @ (given / np.linalg.norm(given, axis=1, keepdims=True)).T
    best = np.clip((cosine if signed else np.abs(cosine)).max(axis=-1), -1, 1)
    return np.where(amplitudes(problem, theta) >= threshold, np.arccos(best), np.nan)


def along(
    problem: Problem,
    theta: ArrayLike | xr.Dataset,
    *,
    teacher: ArrayLike | None = None,
    within: float = 0.03,
    threshold: float = THRESHOLD,
    signed: bool = False,
) -> xr.Dataset:
    """Measure condensation along a run.

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : xarray.Dataset or array_like, shape (..., P)
        What `simulate(..., keep_theta=...)` returned, or parameters.
    teacher : array_like, shape (K, D), optional
        As in `distances`.
    within : float
        Radians up to which a neuron is near an orientation of the teacher.
    threshold, signed
        As in `clusters`.

    Returns
    -------
    xarray.Dataset
        Over the leading axes of theta: above, the number of neurons at the threshold or above; small_share; dead_share;
        effective_ratio; holding, how many of the heaviest clusters hold 95 % of the amplitude, NaN for fewer than two
        neurons above; and with a teacher near, the share of the neurons above that lie within `within` of one of its
        orientations. NaN where a member has diverged.

    Raises
    ------
    InvalidInput
        An argument is wrong.
    """
    import xarray as xr

    within, threshold = check_number("within", within), check_number("threshold", threshold, least=0, most=1)
    signed = check_flag("signed", signed)
    dims, coords, values = trajectory(problem, theta)
    if teacher is not None and values.size:
        distances(problem, np.zeros(problem.n_params), teacher)  # refuses before any work
    flat = values.reshape(-1, problem.n_params)
    fine = np.isfinite(flat).all(axis=1)
    names = ["above", "small_share", "dead_share", "effective_ratio", "holding"]
    names += ["near"] if teacher is not None else []
    found = np.full((len(names), len(flat)), np.nan)
    for k in np.flatnonzero(fine):
        one = flat[k]
        above = amplitudes(problem, one) >= threshold
        ways = above & np.isfinite(directions(problem, one)).all(axis=-1)
        groups = clusters(problem, one, threshold=threshold, signed=signed) if ways.sum() > 1 else None
        number = np.nan if groups is None else groups.holding()
        parts = [
            above.sum(),
            small_share(problem, one),
            dead_share(problem, one),
            effective_ratio(problem, one),
            number,
        ]
        if teacher is not None:
            angle = distances(problem, one, teacher, threshold=threshold, signed=signed)[above]
            parts.append((angle < within).mean() if angle.size else np.nan)
        found[:, k] = parts
    shape = values.shape[:-1]
    variables = {name: (dims, row.reshape(shape)) for name, row in zip(names, found, strict=True)}
    attrs = {"threshold": threshold, "within": within, "signed": int(signed)}
    return described(xr.Dataset(variables, coords, attrs), WORDS)


def _weights(problem: Problem, theta: ArrayLike) -> tuple[Array, Array]:
    """Output weights a (..., c, m) and input weights w (..., m, D); raises InvalidInput."""
    return check_problem(problem).split(check_thetas(problem, theta, any_loss=True))


def _large(problem: Problem, theta: Array, threshold: float) -> tuple[Array, NDArray[np.int64]]:
    """Directions (K, D) and numbers (K,) of the neurons of one network that reach the threshold; two at least."""
    if not 0 <= check_number("threshold", threshold) <= 1:
        raise InvalidInput(f"threshold must be a share of the largest amplitude, in [0, 1], got {threshold!r}")
    ways = directions(problem, theta)
    neurons = np.flatnonzero((amplitudes(problem, theta) >= threshold) & np.isfinite(ways).all(axis=-1))
    if len(neurons) < 2:
        raise InvalidInput(
            f"{counted(len(neurons), 'neuron')} above the threshold {threshold:g}: two are needed to compare"
        )
    return ways[neurons], neurons


def _angles(ways: Array, *, signed: bool) -> Array:
    """Angles between unit vectors (K, D), in SciPy's condensed order; up to their signs where not `signed`."""
    rows, columns = np.triu_indices(len(ways), 1)
    cosine = (ways @ ways.T)[rows, columns]
    return np.arccos(np.clip(cosine if signed else np.abs(cosine), -1, 1))
