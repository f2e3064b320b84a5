"""Problem: the data, the network and the dropout of one study; validated once, then immutable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.layout import join, split
from simdrop_kernels.contract.step import MASKS, TRAINS, Mask, Train
from simdrop_kernels.mathematics.activations.table import ACTIVATIONS, Activation
from simdrop_kernels.mathematics.rng import MAX_WIDTH

from ..checks.labels import check_parameters_last, check_rows
from ..checks.numbers import (
    as_array,
    check_count,
    check_finite,
    check_flag,
    check_keep_prob,
    check_number,
    check_samples,
    check_seed,
)
from ..checks.sizes import check_memory
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput

Array = NDArray[np.float64]

#: names of output scales that depend on the width m
OUTPUT_SCALES = {"1": lambda m: 1.0, "1/sqrt(m)": lambda m: 1 / math.sqrt(m), "1/m": lambda m: 1 / m}


@dataclass(frozen=True, eq=False)
class Problem:
    """A two-layer network f(x) = s Σ_j a_j σ(w_j·x) on n samples, with dropout on its hidden layer.

    Parameters
    ----------
    x : inputs, shape (n,) or (n, d)
    y : targets, shape (n,) or (n, c)
    width : number m of hidden neurons
    keep_prob : probability p in (0, 1] that a neuron is kept; the complement of `torch.nn.Dropout`'s p
    activation : σ, one of tanh, relu, sigmoid, softplus, gelu, erf, sin, linear, quadratic
    mask : "step", one mask for all samples of a step (the setting of the theory), or "sample", each
        sample its own mask (what the layers of PyTorch and JAX do)
    bias : whether each neuron sees a further constant input 1
    output_scale : s, a positive number or "1", "1/sqrt(m)", "1/m"
    train : "both", "output" (a is trained, w stays as it is: a linear model) or "input" (w is trained); gradients and
        covariances are those of the trained parameters, and zero for the others

    The flat parameter vector theta, shape (P,), is a.ravel() of shape (c, m), then w.ravel() of shape
    (m, D) with D = d + 1 (the bias last in its row) or D = d without bias.

    Raises
    ------
    InvalidInput : an argument is wrong; the message names it, its value and what would be right
    """

    x: Array
    y: Array
    width: int = field(kw_only=True)
    keep_prob: float = field(default=0.9, kw_only=True)
    activation: str = field(default="tanh", kw_only=True)
    mask: Mask = field(default="step", kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    output_scale: float | str = field(default=1.0, kw_only=True)
    train: Train = field(default="both", kw_only=True)

    def __post_init__(self) -> None:
        x, y = check_samples("x", self.x), check_samples("y", self.y)
        if len(x) != len(y):
            raise InvalidInput(f"x has {counted(len(x), 'sample')} but y has {len(y)}: they must have as many rows")
        check_rows("x", self.x, "y", self.y)
        for array in (x, y):
            array.flags.writeable = False
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "width", check_count("width", self.width, most=MAX_WIDTH))
        check_number("keep_prob", self.keep_prob)
        object.__setattr__(self, "keep_prob", float(check_keep_prob(self.keep_prob)))
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("mask", self.mask, MASKS)
        check_choice("train", self.train, TRAINS)
        object.__setattr__(self, "bias", check_flag("bias", self.bias))
        object.__setattr__(self, "output_scale", _output_scale(self.output_scale))

    @property
    def n_samples(self) -> int:
        """n."""
        return len(self.x)

    @property
    def n_outputs(self) -> int:
        """c."""
        return self.y.shape[1]

    @property
    def n_inputs(self) -> int:
        """D: the inputs of a neuron, the constant one of the bias included."""
        return self.x.shape[1] + self.bias

    @property
    def n_params(self) -> int:
        """P = m (c + D)."""
        return self.width * (self.n_outputs + self.n_inputs)

    @property
    def variance(self) -> float:
        """v = (1 - p) / p, the variance of the dropout factor of one neuron."""
        return (1 - self.keep_prob) / self.keep_prob

    @property
    def sigma(self) -> Activation:
        """The activation with its derivatives."""
        return ACTIVATIONS[self.activation]

    @property
    def scale(self) -> float:
        """The output scale s as a number."""
        named = OUTPUT_SCALES.get(self.output_scale) if isinstance(self.output_scale, str) else None
        return float(self.output_scale) if named is None else named(self.width)

    @property
    def inputs(self) -> Array:
        """The samples as the neurons see them, shape (n, D)."""
        return self.augment(self.x)

    def augment(self, x: ArrayLike, name: str = "x") -> Array:
        """Points x (k,) or (k, d) as the neurons see them, shape (k, D). Raises InvalidInput for points `name`."""
        x = check_samples(name, x)
        if x.shape[1] != self.x.shape[1]:
            raise InvalidInput(
                f"{name}: points must have {counted(self.x.shape[1], 'column')} like the data, got {x.shape[1]}"
            )
        if self.bias:
            x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        return np.ascontiguousarray(x)

    @property
    def trained(self) -> slice:
        """Where in theta the trained parameters stand."""
        cut = self.n_outputs * self.width
        return {"both": slice(None), "output": slice(cut), "input": slice(cut, None)}[self.train]

    def freeze(self, vectors: NDArray) -> NDArray:
        """Vectors (..., P) with zeros for the parameters that are not trained; themselves where all are."""
        if self.train == "both":
            return vectors
        kept = np.zeros_like(vectors)
        kept[..., self.trained] = vectors[..., self.trained]
        return kept

    def split(self, theta: ArrayLike) -> tuple[NDArray, NDArray]:
        """Output weights a (..., c, m) and input weights w (..., m, D) of theta (..., P), views of an array's.

        Raises InvalidInput for a theta of another length.
        """
        check_parameters_last("theta", theta)
        theta = as_array("theta", theta)
        self._check_length("theta", theta.shape)
        return split(theta, self.n_outputs, self.n_inputs)

    def join(self, a: ArrayLike, w: ArrayLike) -> NDArray:
        """The flat theta (..., P) of a (..., c, m) and w (..., m, D): the inverse of `split`.

        Raises InvalidInput for other shapes, and names the layout where it is another library's.
        """
        a, w = as_array("a", a), as_array("w", w)
        self._check_layout("a", a.shape, (self.n_outputs, self.width), "(c, m)")
        self._check_layout("w", w.shape, (self.width, self.n_inputs), "(m, D)")
        if a.shape[:-2] != w.shape[:-2]:
            raise InvalidInput(f"a and w must have the same leading axes, got shapes {a.shape} and {w.shape}")
        return join(a, w)

    def predict(self, theta: ArrayLike, x: ArrayLike | None = None) -> NDArray:
        """Outputs f(x), shape (..., k, c), of the whole network theta (..., P), without dropout.

        x (k,) or (k, d): points, by default the samples. Raises InvalidInput for a theta or an x that does not fit.
        """
        a, w = self.split(self.check_theta(theta))
        points = self.inputs if x is None else self.augment(x)
        return self.scale * (self.sigma.value(points @ w.swapaxes(-1, -2)) @ a.swapaxes(-1, -2))

    def init(
        self,
        *,
        seed: int = 0,
        scale: float = 1.0,
        gamma: float | None = None,
        gamma_of: Literal["variance", "deviation"] = "variance",
        members: int | None = None,
    ) -> Array:
        """Independent normal parameters, shape (P,), or (members, P) with a draw for each member.

        The standard deviation is `scale`, or, where `gamma` is given, that of N(0, m^-gamma), with
        m^-gamma read as a variance or as a standard deviation. The first row for any number of
        members is the draw for `members=None`.
        """
        scale = check_number("scale", scale, least=0)
        check_choice("gamma_of", gamma_of, ("variance", "deviation"))
        if gamma is not None:
            gamma = check_number("gamma", gamma)
            try:
                scale *= self.width ** (-gamma / 2 if gamma_of == "variance" else -gamma)
            except OverflowError:
                raise InvalidInput(f"gamma must give a finite standard deviation, m^-gamma, got {gamma:g}") from None
        rows = 1 if members is None else check_count("members", members)
        check_memory({f"theta, {self.n_params} parameters of {rows} members": 8.0 * rows * self.n_params})
        drawn = scale * np.random.default_rng(check_seed(seed)).standard_normal((rows, self.n_params))
        return drawn[0] if members is None else drawn

    def check_theta(self, theta: ArrayLike, name: str = "theta") -> Array:
        """theta as float64 of shape (..., P), finite; raises InvalidInput."""
        check_parameters_last(name, theta)
        theta = check_finite(name, theta)
        self._check_length(name, theta.shape)
        return theta

    def _check_length(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise InvalidInput unless `shape` is (..., P)."""
        if not shape or shape[-1] != self.n_params:
            each = f"{counted(self.n_outputs, 'output')} + {counted(self.n_inputs, 'input')}"
            raise InvalidInput(
                f"{name} must have {self.n_params} parameters (width {self.width} · ({each})), got shape {shape}"
            )

    def _check_layout(self, name: str, got: tuple[int, ...], wanted: tuple[int, int], axes: str) -> None:
        """Raise InvalidInput unless the weights `name` have shape (..., *wanted), told what they may be instead."""
        if got[-2:] == wanted:
            return
        turned, short = wanted[::-1], (wanted[0], wanted[1] - 1)
        hint = ""
        if got[-2:] == turned:
            hint = f"; these are transposed, as the kernels of Keras and JAX are: pass {name}.T"
        elif name == "w" and self.bias and got[-2:] == short:
            hint = "; the column of biases is missing, which comes last: np.column_stack([w, b])"
        elif name == "w" and self.bias and got[-2:] == short[::-1]:
            hint = "; these are transposed, and the column of biases is missing: np.column_stack([w.T, b])"
        elif name == "w" and not self.bias and got[-2:] == (wanted[0], wanted[1] + 1):
            hint = "; this problem has bias=False, so that there is no column of biases"
        elif name == "a" and got == wanted[1:] and wanted[0] == 1:
            hint = "; with one output it is a row: pass a[None]"
        raise InvalidInput(f"{name} must have shape (..., {wanted[0]}, {wanted[1]}) = {axes}, got {got}{hint}")


def check_problem(value: object, name: str = "problem") -> Problem:
    """`value` as a Problem; raises InvalidInput."""
    if not isinstance(value, Problem):
        raise InvalidInput(f"{name} must be a simdrop.Problem, got {shown(value)}")
    return value


def _output_scale(value: object) -> float | str:
    """`value` as a positive number or one of the names of `OUTPUT_SCALES`; raises InvalidInput."""
    if isinstance(value, str):
        return check_choice("output_scale", value, OUTPUT_SCALES)
    if value is None:
        raise InvalidInput(f"output_scale must be a positive number or one of {', '.join(OUTPUT_SCALES)}, got None")
    return check_number("output_scale", value, above=0)
