"""What mean and covariance of an ensemble determine to second order: mean slope, mean loss, mean output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simdrop_kernels.mathematics.network.forward import ForwardPass

from ...checks.numbers import check_finite
from ...errors import InvalidInput
from ...problem import Problem
from .._input import Array, add_decay, check_point
from ..curvature import Curvature
from ..labels import labelled


def check_covariance(problem: Problem, value: ArrayLike) -> Array:
    """A variance, (P,) variances, or a (P, P) covariance, as given; raises InvalidInput."""
    array, params = check_finite("covariance0", value), problem.n_params
    if array.shape not in ((), (params,), (params, params)):
        raise InvalidInput(
            f"covariance0 must be a variance, {params} variances or a ({params}, {params}) matrix, got {array.shape}"
        )
    lowest = np.linalg.eigvalsh(array).min() if array.ndim == 2 else array.min()
    if array.ndim == 2 and not np.allclose(array, array.T, rtol=1e-10, atol=1e-12 * np.abs(array).max()):
        raise InvalidInput("covariance0 must be symmetric")
    moving = problem.freeze(np.ones(params)) > 0
    if array.any() and (array.ndim == 0 or array[~moving].any()) and not moving.all():
        raise InvalidInput("covariance0 must be zero for the parameters that are not trained: all members share them")
    if lowest < -1e-10 * np.abs(array).max():
        raise InvalidInput(f"covariance0 must not be negative in any direction, got {lowest:.3g}")
    return array


def mean_slope(curvature: Curvature, theta: Array, applied: Array, blocks: Array, lr: float) -> Array:
    """The derivative m' (P,) at m = theta, where the curvature is, for C as `Curvature.trace_gradient` takes it."""
    net = curvature.net
    problem = curvature.problem
    gradient = add_decay(problem, problem.freeze(net.mean_gradient(net.e, curvature.v)), theta)
    return -gradient - lr / 2 * curvature.product(gradient) - curvature.trace_gradient(applied, blocks) / 2


def mean_risk(problem: Problem, theta: Array, applied: Array, blocks: Array) -> float:
    """E R_S to second order in the spread: R_S(m) + ½ tr(∇²R_S C)."""
    curvature = Curvature.at(replace(problem, weight_decay=0.0), theta, objective="risk")
    return float(np.square(curvature.net.e).sum() / (2 * problem.n_samples)) + curvature.trace(applied, blocks) / 2


@labelled("mean_output", "point", "output", words="mean of the outputs")
def mean_output(problem: Problem, theta: ArrayLike, blocks: ArrayLike, x: ArrayLike) -> Array:
    """Mean outputs E f(x) of an ensemble to second order in its spread, f(m) + ½ tr(∇²f C).

    Parameters
    ----------
    problem : Problem
        Data, network and dropout.
    theta : array_like, shape (P,)
        Mean m of the parameters.
    blocks : array_like, shape (m, c + D, c + D)
        Covariance of each neuron's (a_1, ..., a_c, w): `neuron_covariance` of the mean-covariance flow.
    x : array_like, shape (k,) or (k, d)
        Points.

    Returns
    -------
    ndarray, shape (k, c)
        E f(x).

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> flow = simdrop.flow(problem, theta, lr=0.1, times=[1.0], kind="mean-covariance").isel(time=0)
    >>> simdrop.theory.mean_output(problem, flow.theta, flow.neuron_covariance, [0.5]).shape
    (1, 1)
    """
    point, held = check_point(problem, theta), check_finite("blocks", blocks)
    points, c = problem.augment(x), problem.n_outputs
    shape = (problem.width, c + problem.n_inputs, c + problem.n_inputs)
    if held.shape != shape:
        raise InvalidInput(f"blocks must have shape {shape}, got {held.shape}")
    net = ForwardPass.at(points, np.zeros((1, c)), point, problem.activation, problem.scale, order=2)
    mixed = np.einsum("joq,iq->ioj", held[:, :c, c:], points)  # Cov(a_oj, w_j·x_i)
    own = np.einsum("jdq,id,iq->ij", held[:, c:, c:], points, points, optimize=True)  # Var(w_j·x_i)
    bend: Array = net.scale * np.einsum("ij,ioj->io", net.h1, mixed) + (net.h2 * own) @ net.b.T / 2
    return net.e + bend


def variables(std: Array, risk: Array, blocks: Array) -> dict[str, Any]:
    """Extra variables of the result: the spread of the ensemble and its mean risk."""
    return {
        "theta_std": (("time", "param"), std),
        "risk_mean": ("time", risk, {"long_name": "E R_S to second order in the spread"}),
        "neuron_covariance": (("time", "neuron", "own_i", "own_j"), blocks),
    }
