"""Checks of arguments that the functions of this package share.

A theta may come from a run whose keep_prob is not the problem's, or differs between members: the arrays of a run say so
by a coordinate. Where a formula has the keep probability in it, such a theta is refused unless `keep_prob` is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.labels import check_same
from ..checks.numbers import check_finite, check_keep_prob
from ..checks.sizes import check_memory
from ..checks.words import shown
from ..errors import InvalidInput
from ..problem import Problem, check_problem
from ..provenance import PER_MEMBER

Array = NDArray[np.float64]
#: the learning rate of what has none
_NONE = np.asarray(0.0)
#: where the arrays of a run have the keep probabilities of their members
_COORDINATES = ("keep_prob", "kept_keep_prob")


def network(problem: Problem) -> dict[str, Any]:
    """The keyword arguments by which the closed forms know a problem's network and dropout."""
    return {"activation": problem.activation, "keep_prob": problem.keep_prob, "output_scale": problem.scale}


def add_decay(problem: Problem, gradient: Array, theta: Array) -> Array:
    """A gradient (..., P) with the λ θ of weight decay, of the trained parameters."""
    return gradient + problem.weight_decay * problem.freeze(theta) if problem.weight_decay else gradient


def check_no_decay(problem: Problem, what: str) -> None:
    """Raise InvalidInput where a problem has weight decay, without which `what` is known."""
    if problem.weight_decay:
        raise InvalidInput(f"{what} needs a problem with weight_decay 0, got {problem.weight_decay:g}")


def check_thetas(problem: Problem, theta: ArrayLike, name: str = "theta", *, any_loss: bool = False) -> Array:
    """theta as float64 of shape (..., P), of a problem; raises InvalidInput.

    Also for a problem of another loss than the squared one, unless `any_loss`: what asks must be right for all then.
    """
    check_problem(problem)
    if not any_loss:
        check_squared(problem)
    return problem.check_theta(theta, name)


def check_squared(problem: Problem, what: str = "this") -> None:
    """Raise InvalidInput where a problem has another loss than the squared one, for which `what` is known."""
    if problem.loss != "squared":
        raise InvalidInput(
            f"{what} is known for loss 'squared', whose mean over masks is a polynomial in the dropout factors; the"
            f" problem has loss {problem.loss!r}"
        )


def check_point(problem: Problem, theta: ArrayLike, name: str = "theta", *, any_loss: bool = False) -> Array:
    """One parameter vector, shape (P,); raises InvalidInput, for other losses as `check_thetas`."""
    array = check_thetas(problem, theta, name, any_loss=any_loss)
    if array.ndim != 1:
        raise InvalidInput(f"{name} must be one vector of {problem.n_params} parameters, got shape {array.shape}")
    return array


def check_matrix(problem: Problem) -> None:
    """Raise InvalidInput where this machine cannot hold a matrix (P, P)."""
    check_memory({f"a matrix over {problem.n_params} parameters": 8.0 * problem.n_params**2})


def check_kept_point(problem: Problem, theta: ArrayLike, keep_prob: ArrayLike | None) -> tuple[Problem, Array]:
    """The problem with the keep probability of one theta (P,), and that; raises InvalidInput."""
    point = check_point(problem, theta)
    return with_keep_prob(problem, keep_probs(problem, theta, keep_prob)), point


def with_keep_prob(problem: Problem, keep_prob: ArrayLike) -> Problem:
    """The problem with that number for keep_prob."""
    return problem if keep_prob == problem.keep_prob else replace(problem, keep_prob=float(keep_prob))  # type: ignore[arg-type]


def keep_probs(problem: Problem, theta: ArrayLike, keep_prob: ArrayLike | None, *, needed: bool = True) -> Array:
    """The keep probabilities of theta (..., P), a number or an array that broadcasts against (...).

    Raises InvalidInput, also where one is needed, none given, and theta comes from a run with another one than the
    problem's.
    """
    if keep_prob is None:
        if needed:
            _refuse_others(problem, theta)
        return np.asarray(problem.keep_prob)
    return along("keep_prob", check_keep_prob(keep_prob), keep_prob, theta)


def rates(theta: ArrayLike, lr: ArrayLike) -> Array:
    """Learning rates of theta (..., P), a number or an array that broadcasts against (...); raises InvalidInput."""
    array = check_finite("lr", lr)
    if not (array > 0).all():
        raise InvalidInput(f"lr must be positive, got {shown(lr)}")
    return along("lr", array, lr, theta)


def along(name: str, values: Array, given: Any, theta: Any) -> Array:
    """`values`, the numbers that are `given`, as an array that broadcasts against the leading axes of theta (..., P).

    Axes with names are found by them. Raises InvalidInput.
    """
    lead = np.shape(theta)[:-1]
    if values.ndim and hasattr(given, "dims") and hasattr(theta, "dims"):
        axes = theta.dims[:-1]
        unknown = [dim for dim in given.dims if dim not in axes]
        if unknown:
            raise InvalidInput(
                f"{name} has the dimension {unknown[0]!r}, theta has {', '.join(map(str, axes)) or 'none'}"
            )
        check_same({"theta": theta, name: given})
        order = sorted(range(values.ndim), key=lambda k: axes.index(given.dims[k]))
        shape = [given.sizes.get(axis, 1) for axis in axes]
        values = values.transpose(order).reshape(shape)
    try:
        fits = np.broadcast_shapes(values.shape, lead) == lead
    except ValueError:
        fits = False
    if not fits:
        raise InvalidInput(f"{name} must be a number or fit the leading axes {lead} of theta, got shape {values.shape}")
    return values


def _refuse_others(problem: Problem, theta: Any) -> None:
    """Raise InvalidInput where theta, an array of a run, has another keep_prob than the problem."""
    coords, attrs = getattr(theta, "coords", {}), getattr(theta, "attrs", {})
    for name in _COORDINATES:
        if name in coords and (np.asarray(coords[name]) != problem.keep_prob).any():
            held = np.unique(np.asarray(coords[name]))
            of_run = f"{held[0]:g}" if len(held) == 1 else f"{held[0]:g} ... {held[-1]:g}"
            raise InvalidInput(
                f"theta comes from a run with keep_prob {of_run}, the problem has {problem.keep_prob:g}:"
                f" give keep_prob=theta.{name}, or problem.keep_prob where that is meant"
            )
    if attrs.get("keep_prob") == PER_MEMBER:
        raise InvalidInput(
            f"theta is a mean over members with different keep_prob, and the problem has {problem.keep_prob:g}:"
            " give keep_prob"
        )


def each(
    function: Callable[[Problem, Array, float], Array],
    problem: Problem,
    theta: Array,
    *,
    keep_prob: Array,
    lr: Array = _NONE,
) -> Array:
    """function(problem, theta (K, P), lr) of all theta (..., P), each under its own keep_prob and lr."""
    if keep_prob.ndim == lr.ndim == 0:
        return function(with_keep_prob(problem, keep_prob), theta, float(lr))
    lead, flat = theta.shape[:-1], theta.reshape(-1, theta.shape[-1])
    settings = np.stack([np.broadcast_to(values, lead).ravel() for values in (keep_prob, lr)])
    different, which = np.unique(settings, axis=1, return_inverse=True)
    found: Array | None = None
    for number, (p, rate) in enumerate(different.T):
        rows = np.flatnonzero(which.ravel() == number)
        part = np.asarray(function(with_keep_prob(problem, p), flat[rows], float(rate)))
        if found is None:
            found = np.empty((len(flat), *part.shape[1:]))
        found[rows] = part
    if found is None:  # no theta at all
        return function(problem, theta, 1.0)
    return found.reshape(*lead, *found.shape[1:])
