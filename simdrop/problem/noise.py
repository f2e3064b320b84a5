"""Noise: what makes the steps of training random besides the dropout masks of the problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from simdrop_kernels.contract import noise as contract
from simdrop_kernels.contract.noise import LAWS, ORDERS, PARTS, PLACES
from simdrop_kernels.mathematics.network.dropconnect import MAX_INPUTS
from simdrop_kernels.mathematics.rng import MAX_WIDTH

from ..checks.numbers import check_count, check_flag, check_number
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput
from .problem import Problem, check_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(contract.Noise):
    """The noise of one training step, for simulation and theory alike; by default the dropout of the problem.

    Parameters
    ----------
    law : {"bernoulli", "gaussian"}
        Law of the dropout factors: kept / p, or N(1, (1 - p) / p).
    masks : int
        k: the gradient of a step is averaged over k masks, which divides the covariance of dropout by k and leaves the
        mean as it is (Wei, Kakade & Ma, arXiv:2002.12915).
    batch_size : int, optional
        Samples of the minibatch of a step; all samples by default.
    replace : bool
        Whether minibatches are drawn with replacement.
    order : {"independent", "epochs"}
        "independent" draws a minibatch at every step anew. With "epochs" every sample comes once in n / batch_size
        steps, in an order that is drawn anew for each member and epoch; batch_size must divide n. Theory refuses it:
        the noise of the steps of an epoch is correlated.
    label : float
        Standard deviation of independent normal noise on every target, drawn at every step.
    parameter : float
        Standard deviation of independent normal noise on every component of the gradient: a step moves each parameter
        by lr times this noise.
    connect : float
        DropConnect: probability to keep an input weight, the bias included. Kept weights are divided by it; one mask
        serves all samples of a step.
    part : {"both", "drift", "noise"}
        "drift" takes the mean of the step alone, "noise" its deviation from the mean alone.
    place : {"both", "forward", "update", "independent"}
        Where the dropout factors act, see Notes: in the whole step, as dropout does; in the outputs that the residuals
        are made of; on the update of each neuron; or on both, by factors that are independent of each other. One for
        each member is an argument of `simulate`.

    Raises
    ------
    InvalidInput
        An argument is wrong.

    Notes
    -----
    `keep_prob=1` in the problem switches dropout off, so that the other noises can be studied by themselves.

    With g_ij = ∂(a_j σ(w_j·x_i)), dropout factors s_ij of mean 1 in the forward pass and t_ij in the backward pass, and
    the residuals r_i = Σ_k s_ik a_k σ(w_k·x_i) - y_i (for other losses their derivative), the gradient of neuron j is
    G_j = (1/n) Σ_i t_ij r_i g_ij. Dropout has t = s, "forward" t = 1, "update" s = 1 (the random geometry of Chizat,
    Marion & Yesbay, arXiv:2510.07554), and "independent" has in s the masks `simdrop.masks(..., independent=True)`.
    With the squared loss the mean gradient is ∇(R_S + R_1) for "both" and ∇R_S for the others.

    Examples
    --------
    >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3, keep_prob=0.5)
    >>> theta = problem.init(seed=0)
    >>> one = simdrop.theory.noise_covariance(problem, theta)
    >>> two = simdrop.theory.noise_covariance(problem, theta, noise=simdrop.Noise(masks=2))
    >>> bool(np.allclose(one, 2 * two))
    True
    """

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "masks": check_count("masks", self.masks),
            "law": check_choice("law", self.law, LAWS),
            "part": check_choice("part", self.part, PARTS),
            "place": _check_place(self.place),
            "batch_size": None if self.batch_size is None else check_count("batch_size", self.batch_size),
            "replace": check_flag("replace", self.replace),
            "order": check_choice("order", self.order, ORDERS),
            "label": check_number("label", self.label, least=0, what="a standard deviation"),
            "parameter": check_number("parameter", self.parameter, least=0, what="a standard deviation"),
            "connect": check_number("connect", self.connect),
        }
        if not 0 < checked["connect"] <= 1:
            raise InvalidInput(
                f"connect must lie in (0, 1] (the probability to keep an input weight), got {shown(self.connect)}"
            )
        if checked["place"] != "both" and checked["connect"] < 1:
            raise InvalidInput(f"connect < 1 needs place 'both', got {self.place!r}: it drops input weights")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def check(self, problem: Problem) -> Noise:
        """Check that a problem allows this noise.

        Parameters
        ----------
        problem : Problem
            Data, network and dropout.

        Returns
        -------
        Noise
            This noise, with batch_size None where a minibatch has all samples.

        Raises
        ------
        InvalidInput
            The minibatch is larger than the data, or DropConnect has too many inputs for `part`.
        """
        check_problem(problem)
        if self.connect < 1 and self.part != "both":
            check_connect(problem, self, f"part {self.part!r} needs the mean over DropConnect's masks")
        batch_size = check_batch(problem, self.batch_size, replace=self.replace)
        checked = self if batch_size == self.batch_size else replace(self, batch_size=batch_size)
        return checked._check_epochs(problem) if self.order == "epochs" else checked

    def _check_epochs(self, problem: Problem) -> Noise:
        """This noise, whose minibatches go through epochs; raises InvalidInput."""
        if self.replace:
            raise InvalidInput("order='epochs' has every sample once: leave out replace=True")
        if self.batch_size is None:
            raise InvalidInput(
                f"order='epochs' needs a batch_size below the {counted(problem.n_samples, 'sample')}: with all of them"
                " a step is an epoch"
            )
        if problem.n_samples % self.batch_size:
            fits = [b for b in range(1, problem.n_samples + 1) if problem.n_samples % b == 0]
            near = min(fits, key=lambda b: abs(b - self.batch_size))  # type: ignore[operator]
            raise InvalidInput(
                f"order='epochs' needs a batch_size that divides the {counted(problem.n_samples, 'sample')}, so that"
                f" all steps have as many: {near}, say, got {self.batch_size}"
            )
        return self


def _check_place(value: object) -> str:
    if isinstance(value, (list, tuple)) or hasattr(value, "dtype"):
        raise InvalidInput(
            f"place of a noise is one word, got {shown(value)}: one for each member is an argument of simulate"
        )
    return check_choice("place", value, PLACES)


def refuse_epochs(noise: contract.Noise) -> None:
    """Raise InvalidInput where theory cannot have this order of minibatches."""
    if noise.order == "epochs":
        raise InvalidInput(
            "order='epochs' is for simulation: the minibatches of an epoch have no sample twice, so that the noise of"
            " its steps is correlated, and theory takes that of different steps for independent"
        )


def check_batch(problem: Problem, batch_size: int | None, *, replace: bool) -> int | None:
    """`batch_size` as an int that the samples allow, None where a batch is all of them; raises InvalidInput."""
    if batch_size is None:
        if replace:
            raise InvalidInput("replace=True needs a batch_size: without one every step takes all samples")
        return None
    batch_size = check_count("batch_size", batch_size)
    if batch_size > problem.n_samples and not replace:
        raise InvalidInput(f"batch_size must be at most the {counted(problem.n_samples, 'sample')}, got {batch_size}")
    return None if batch_size == problem.n_samples and not replace else batch_size


def check_drawn(noise: contract.Noise) -> None:
    """Raise InvalidInput where a minibatch has more samples than are drawn: they are numbered as neurons are."""
    if noise.batch_size is not None and noise.batch_size > MAX_WIDTH:
        raise InvalidInput(f"batch_size must be at most {MAX_WIDTH} where it is drawn, got {noise.batch_size}")


def check_connect(problem: Problem, noise: Noise, why: str) -> None:
    """Raise InvalidInput where the 2^D masks of a neuron's D input weights are too many to sum over."""
    if noise.connect < 1 and problem.n_inputs > MAX_INPUTS:
        raise InvalidInput(
            f"{why}, a sum over the 2^{problem.n_inputs} masks of a neuron's inputs:"
            f" connect < 1 allows it for at most {MAX_INPUTS} inputs, the bias included"
        )
