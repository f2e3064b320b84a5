"""Problem: the data, the network and the dropout of one study; validated once, then immutable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.activations import ACTIVATIONS, Activation
from simdrop_kernels.rng import MAX_WIDTH
from simdrop_kernels.spec import MASKS, TRAINS, Mask, Train, join, split

from .errors import InvalidInput, check_choice

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
        x, y = _samples("x", self.x), _samples("y", self.y)
        if len(x) != len(y):
            raise InvalidInput(f"x has {len(x)} samples but y has {len(y)}: they must have as many rows")
        for array in (x, y):
            array.flags.writeable = False
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        width = check_count("width", self.width)
        if width > MAX_WIDTH:
            raise InvalidInput(f"width must be at most {MAX_WIDTH}, got {width}")
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "keep_prob", float(check_keep_prob(self.keep_prob)))
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("mask", self.mask, MASKS)
        check_choice("train", self.train, TRAINS)
        object.__setattr__(self, "bias", bool(self.bias))
        object.__setattr__(self, "output_scale", _output_scale(self.output_scale, width))

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
        return float(self.output_scale)

    @property
    def inputs(self) -> Array:
        """The samples as the neurons see them, shape (n, D)."""
        return self.augment(self.x)

    def augment(self, x: ArrayLike) -> Array:
        """Points x (k,) or (k, d) as the neurons see them, shape (k, D). Raises InvalidInput."""
        x = _samples("x", x)
        if x.shape[1] != self.x.shape[1]:
            raise InvalidInput(f"points must have {self.x.shape[1]} columns like the data, got {x.shape[1]}")
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

    def split(self, theta: NDArray) -> tuple[NDArray, NDArray]:
        """Views of theta (..., P): output weights a (..., c, m), input weights w (..., m, D)."""
        return split(theta, self.n_outputs, self.n_inputs)

    def join(self, a: NDArray, w: NDArray) -> NDArray:
        """The flat theta (..., P) of a (..., c, m) and w (..., m, D): the inverse of `split`."""
        return join(a, w)

    def predict(self, theta: NDArray, x: ArrayLike | None = None) -> NDArray:
        """Outputs f(x), shape (..., k, c), of the whole network theta (..., P), without dropout."""
        a, w = self.split(np.asarray(theta))
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
        if not (np.isfinite(scale) and scale >= 0):
            raise InvalidInput(f"scale must be a finite number, 0 or more, got {scale!r}")
        check_choice("gamma_of", gamma_of, ("variance", "deviation"))
        if gamma is not None:
            scale *= self.width ** (-gamma / 2 if gamma_of == "variance" else -gamma)
        rows = 1 if members is None else check_count("members", members)
        drawn = scale * np.random.default_rng(check_seed(seed)).standard_normal((rows, self.n_params))
        return drawn[0] if members is None else drawn

    def check_theta(self, theta: ArrayLike, name: str = "theta") -> Array:
        """theta as float64 of shape (..., P), finite; raises InvalidInput."""
        theta = check_finite(name, theta)
        if theta.ndim == 0 or theta.shape[-1] != self.n_params:
            raise InvalidInput(
                f"{name} must have {self.n_params} parameters (width {self.width} · ({self.n_outputs} outputs"
                f" + {self.n_inputs} inputs)), got shape {theta.shape}"
            )
        return theta


def check_finite(name: str, value: ArrayLike) -> Array:
    """`value` as a float64 array without NaN or infinity; raises InvalidInput that says where they are."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} must hold numbers: {error}") from None
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidInput(f"{name} has {bad.sum()} non-finite values, the first, {array[where]}, at index {where}")
    return array


def check_count(name: str, value: object, least: int = 1) -> int:
    """`value` as an int of at least `least`; raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_seed(seed: object) -> int:
    """`seed` as an int in [0, 2**64); raises InvalidInput."""
    seed = check_count("seed", seed, least=0)
    if seed >= 1 << 64:
        raise InvalidInput(f"seed must be below 2**64, got {seed}")
    return seed


def check_seeds(seed: ArrayLike) -> NDArray[np.uint64]:
    """`seed` as an array () or, of one for each member, (members,); raises InvalidInput."""
    if np.ndim(seed) == 0:
        return np.array(check_seed(seed), dtype=np.uint64)
    given = np.asarray(seed)
    if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
        raise InvalidInput(f"seed must be a whole number, or one for each member, 0 or more, got {seed!r}")
    seeds = given.astype(np.uint64)
    if ((seeds ^ seeds[:1]) >> np.uint64(32)).any():
        raise InvalidInput("seeds of members must have the same upper 32 bits: be below 2**32, say")
    return seeds


def check_keep_prob(value: ArrayLike) -> Array:
    """`value` (a number or an array) as float64 in (0, 1]; raises InvalidInput."""
    array = check_finite("keep_prob", value)
    if not ((array > 0) & (array <= 1)).all():
        raise InvalidInput(f"keep_prob must lie in (0, 1] (the probability to keep a neuron), got {value!r}")
    return array


def _samples(name: str, value: ArrayLike) -> Array:
    """Data as a finite float64 array of shape (n, columns), n and columns at least 1."""
    array = check_finite(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidInput(f"{name} must have shape (n,) or (n, columns) and not be empty, got {np.shape(value)}")
    return np.ascontiguousarray(array)


def _output_scale(value: float | str, width: int) -> float:
    if isinstance(value, str):
        check_choice("output_scale", value, OUTPUT_SCALES)
        return float(OUTPUT_SCALES[value](width))
    if not (np.isfinite(value) and value > 0):
        raise InvalidInput(
            f"output_scale must be a positive number or one of {', '.join(OUTPUT_SCALES)}, got {value!r}"
        )
    return float(value)
