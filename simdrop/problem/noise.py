"""Noise: what makes the steps of training random, beside the dropout masks of the problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from simdrop_kernels.contract.step import LAWS, PARTS, Law, Part
from simdrop_kernels.mathematics.network.dropconnect import MAX_INPUTS

from ..checks.numbers import check_count, check_flag, check_number
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput
from .problem import Problem, check_problem


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise of one step, for simulation and for theory alike. The default is dropout as the problem has it.

    masks       k: the gradient of a step is averaged over k masks, which divides dropout's covariance by k and leaves
                the mean alone (Wei, Kakade & Ma, arXiv:2002.12915)
    law         "bernoulli" dropout, factors kept / p, or "gaussian", factors N(1, (1 - p) / p)
    batch_size  samples of a step's minibatch, None for all; `replace` draws them with replacement
    label       standard deviation of independent normal noise on every target, drawn anew at every step
    parameter   standard deviation of independent normal noise on every component of the gradient: a step moves each
                parameter by lr times it
    connect     DropConnect: the probability to keep an input weight (the bias's too); those kept are divided by it;
                one mask for all samples of a step
    part        "both"; "drift" takes the mean of the step alone; "noise" its deviation from the mean alone

    keep_prob = 1 in the problem leaves dropout out, so that the others can be had alone.
    """

    masks: int = 1
    law: Law = "bernoulli"
    batch_size: int | None = None
    replace: bool = False
    label: float = 0.0
    parameter: float = 0.0
    connect: float = 1.0
    part: Part = "both"

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "masks": check_count("masks", self.masks),
            "law": check_choice("law", self.law, LAWS),
            "part": check_choice("part", self.part, PARTS),
            "batch_size": None if self.batch_size is None else check_count("batch_size", self.batch_size),
            "replace": check_flag("replace", self.replace),
            "label": check_number("label", self.label, least=0, what="a standard deviation"),
            "parameter": check_number("parameter", self.parameter, least=0, what="a standard deviation"),
            "connect": check_number("connect", self.connect),
        }
        if not 0 < checked["connect"] <= 1:
            raise InvalidInput(
                f"connect must lie in (0, 1] (the probability to keep an input weight), got {shown(self.connect)}"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def check(self, problem: Problem) -> Noise:
        """This noise for `problem`, its batch_size None where a batch is all samples; raises InvalidInput."""
        check_problem(problem)
        if self.connect < 1 and self.part != "both":
            check_connect(problem, self, f"part {self.part!r} needs the mean over DropConnect's masks")
        batch_size = check_batch(problem, self.batch_size, replace=self.replace)
        return self if batch_size == self.batch_size else replace(self, batch_size=batch_size)

    def fields(self) -> dict[str, Any]:
        """The fields of `simdrop_kernels.contract.step.Step` that say the same."""
        return {
            "masks": self.masks,
            "law": self.law,
            "batch_size": self.batch_size,
            "replace": self.replace,
            "label_noise": self.label,
            "parameter_noise": self.parameter,
            "connect": self.connect,
            "part": self.part,
        }


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


def check_connect(problem: Problem, noise: Noise, why: str) -> None:
    """Raise InvalidInput where the 2^D masks of a neuron's D input weights are too many to sum over."""
    if noise.connect < 1 and problem.n_inputs > MAX_INPUTS:
        raise InvalidInput(
            f"{why}, a sum over the 2^{problem.n_inputs} masks of a neuron's inputs:"
            f" connect < 1 allows it for at most {MAX_INPUTS} inputs, the bias included"
        )
