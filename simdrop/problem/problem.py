"""Problem: the data, the network and the dropout of one study; validated once, then immutable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.network import MASKS, TRAINS, LossName, Mask, Network, Train
from simdrop_kernels.mathematics.activations.base import Activation
from simdrop_kernels.mathematics.losses.table import LOSSES
from simdrop_kernels.mathematics.rng import MAX_WIDTH

from ..activations import ActivationName, check_registered, names
from ..checks.labels import check_rows
from ..checks.numbers import (
    check_count,
    check_flag,
    check_keep_prob,
    check_number,
    check_samples,
    check_seed,
)
from ..checks.sizes import check_memory
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput
from .defaults import KEEP_PROB, OUTPUT_SCALE
from .display import Shown
from .exchange import Exchange
from .layout import Layout
from .sampled import DropoutPrediction, sampled
from .targets import check_targets

Array = NDArray[np.float64]

#: dropout masks of a prediction, whose mean and spread have closed forms
MOST_MASKS = 10**8
#: names of output scales that depend on the width m
OUTPUT_SCALES = {"1": lambda m: 1.0, "1/sqrt(m)": lambda m: 1 / math.sqrt(m), "1/m": lambda m: 1 / m}


@dataclass(frozen=True, eq=False, repr=False)
class Problem(Shown, Layout, Exchange):
    """A two-layer network f(x) = s Σ_j a_j σ(w_j·x) on n samples, with dropout on its hidden layer.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, d)
        Inputs, finite.
    y : array_like, shape (n,) or (n, c)
        Targets, finite.
    width : int
        Number m of hidden neurons.
    keep_prob : float
        Probability p in (0, 1] that a neuron is kept. `torch.nn.Dropout` takes 1 - p.
    activation : str
        Name of σ: "tanh", "relu" or another of `simdrop.activations.names()`, to which
        `simdrop.activations.register` adds your own.
    mask : {"step", "sample"}
        "step" draws one mask for all samples of a step (the setting of the theory), "sample" one for each sample (what
        the layers of PyTorch and JAX do).
    bias : bool
        Whether each neuron sees a further constant input 1.
    output_scale : float or {"1", "1/sqrt(m)", "1/m"}
        s > 0.
    train : {"both", "output", "input"}
        Which weights are trained. With "output" w stays as it is, a linear model; with "input" a does. Gradients
        and covariances are zero for the others.
    loss : {"squared", "logistic", "softmax", "squared-softmax"}
        ℓ(f, y) of one sample: ½ |f - y|²; log(1 + exp f) - y f for one output and targets 0 or 1; log Σ_o exp f_o - f_y
        for c classes; ½ |softmax(f) - y|² for c classes, what the papers' code trains. Classes are given by their
        numbers 0, 1, ..., shape (n,), or by rows with a 1 in the column of their class, shape (n, c); y holds the rows.
    weight_decay : float
        λ of (λ/2) |θ|², over the trained parameters, in every objective and so in gradients, Hessians, R_2, flows and
        stochastic equations. The risk that is reported is R_S without it.

    Raises
    ------
    InvalidInput
        An argument is wrong; the message names it, its value and what would be right.

    Notes
    -----
    The flat parameter vector theta, shape (P,), is a.ravel() of shape (c, m), then w.ravel() of shape (m, D), with
    D = d + 1 (the bias last in its row) or D = d without bias. The risk is R_S = (1/n) Σ_i ℓ(f(x_i), y_i), with the
    squared loss (1/2n) Σ_i |f(x_i) - y_i|². `torch.nn.BCEWithLogitsLoss` and `CrossEntropyLoss` are the risks of
    "logistic" and "softmax", `MSELoss` of softmax outputs is 2/c times that of "squared-softmax". The closed forms of
    the theory hold for the squared loss; functions that have none for another loss say so. A problem cannot be changed;
    `dataclasses.replace` makes another one.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 4)
    >>> problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
    >>> problem.n_params
    15
    >>> a, w = problem.split(problem.init(seed=0))
    >>> a.shape, w.shape
    ((1, 5), (5, 2))
    """

    x: Array
    y: Array
    width: int = field(kw_only=True)
    keep_prob: float = field(default=KEEP_PROB, kw_only=True)
    activation: ActivationName | str = field(default="tanh", kw_only=True)
    mask: Mask = field(default="step", kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    output_scale: float | str = field(default=OUTPUT_SCALE, kw_only=True)
    train: Train = field(default="both", kw_only=True)
    loss: LossName = field(default="squared", kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    if TYPE_CHECKING:  # the fields are arrays, what they are made from need not be

        def __init__(
            self, x: ArrayLike, y: ArrayLike, *, width: int, keep_prob: float = KEEP_PROB,
            activation: ActivationName | str = "tanh", mask: Mask = "step", bias: bool = True,
            output_scale: float | str = OUTPUT_SCALE, train: Train = "both", loss: LossName = "squared",
            weight_decay: float = 0.0,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        x, y = check_samples("x", self.x), check_targets(self.y, self.loss)
        if len(x) != len(y):
            raise InvalidInput(f"x has {counted(len(x), 'sample')} but y has {len(y)}: they must have as many rows")
        check_rows("x", self.x, "y", self.y)
        for name, array in (("x", x), ("y", y)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "width", check_count("width", self.width, most=MAX_WIDTH))
        check_number("keep_prob", self.keep_prob)
        object.__setattr__(self, "keep_prob", float(check_keep_prob(self.keep_prob)))
        check_choice("activation", self.activation, names())
        check_choice("mask", self.mask, MASKS)
        check_choice("train", self.train, TRAINS)
        object.__setattr__(self, "bias", check_flag("bias", self.bias))
        object.__setattr__(self, "output_scale", _output_scale(self.output_scale))
        object.__setattr__(self, "weight_decay", check_number("weight_decay", self.weight_decay, least=0))

    def __setstate__(self, state: dict[str, object]) -> None:
        """Raises InvalidInput in a process that lacks the activation of a problem that came from another."""
        check_registered(str(state["activation"]))
        self.__dict__.update(state)

    @property
    def n_samples(self) -> int:
        """Number n of samples."""
        return len(self.x)

    @property
    def variance(self) -> float:
        """v = (1 - p) / p, the variance of the dropout factor of one neuron."""
        return (1 - self.keep_prob) / self.keep_prob

    @property
    def sigma(self) -> Activation:
        """The activation with its derivatives."""
        return check_registered(self.activation)

    @property
    def scale(self) -> float:
        """The output scale s as a number."""
        named = OUTPUT_SCALES.get(self.output_scale) if isinstance(self.output_scale, str) else None
        return float(self.output_scale) if named is None else named(self.width)

    @property
    def network(self) -> Network:
        """The network with its dropout mask, its loss and weight decay, as kernels take them."""
        return Network(
            activation=self.activation, mask=self.mask, output_scale=self.scale, train=self.train, loss=self.loss,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    @property
    def inputs(self) -> Array:
        """The samples as the neurons see them, shape (n, D)."""
        return self.augment(self.x)

    def augment(self, x: ArrayLike, name: str = "x") -> Array:
        """Add the constant input of the bias to points.

        Parameters
        ----------
        x : array_like, shape (k,) or (k, d)
            Points.
        name : str
            What error messages call them.

        Returns
        -------
        ndarray, shape (k, D)
            The points as the neurons see them.

        Raises
        ------
        InvalidInput
            The points are not finite or have another number of inputs than the data.
        """
        x = check_samples(name, x)
        if x.shape[1] != self.x.shape[1]:
            raise InvalidInput(
                f"{name}: points must have {counted(self.x.shape[1], 'column')} like the data, got {x.shape[1]}"
            )
        if self.bias:
            x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        return np.ascontiguousarray(x)

    @overload
    def predict(
        self, theta: ArrayLike, x: ArrayLike | None = None, *, masks: None = None, seed: None = None
    ) -> NDArray: ...

    @overload
    def predict(
        self, theta: ArrayLike, x: ArrayLike | None = None, *, masks: int, seed: int | None = None
    ) -> DropoutPrediction: ...

    def predict(
        self, theta: ArrayLike, x: ArrayLike | None = None, *, masks: int | None = None, seed: int | None = None
    ) -> NDArray | DropoutPrediction:
        """Outputs of the whole network, or under dropout masks: with classes the logits, see `probabilities`.

        Parameters
        ----------
        theta : array_like, shape (..., P)
            Parameters.
        x : array_like, shape (k,) or (k, d), optional
            Points; the samples by default.
        masks : int, optional
            Number K of dropout masks to draw, at most 10^8; without it nothing is dropped.
        seed : int, optional
            Seed of the masks, 0 by default; they are `simdrop.masks(seed=seed, member=0, step=0 ... K - 1, ...)`.

        Returns
        -------
        ndarray, shape (..., k, c), or DropoutPrediction
            f(x); with `masks` a tuple (mean, std, exact_mean, exact_std) of such arrays: mean and standard deviation
            over the masks, and over all that there are. The exact variance is v s² Σ_j a_j² h_j².

        Raises
        ------
        InvalidInput
            theta or x does not fit the problem.

        Examples
        --------
        >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
        >>> problem.predict(problem.init(seed=0), [0.0, 0.5, 1.0]).shape
        (3, 1)
        >>> sampled = problem.predict(problem.init(seed=0), masks=2000)
        >>> bool((abs(sampled.mean - sampled.exact_mean) < 4 * sampled.exact_std / 2000**0.5).all())
        True
        """
        if seed is not None and masks is None:
            raise InvalidInput(f"seed is that of the masks, and needs a number of masks, got seed={shown(seed)} alone")
        drawn = 0 if seed is None else check_seed(seed)
        theta, points = self.check_theta(theta), self.inputs if x is None else self.augment(x)
        if masks is not None:
            masks = check_count("masks", masks, most=MOST_MASKS)
        hidden = 24.0 * len(points) * self.width * math.prod(theta.shape[:-1])
        check_memory({f"the hidden neurons at {len(points)} points": hidden})
        a, w = self.split(theta)
        h: NDArray = self.sigma.value(points @ w.swapaxes(-1, -2))
        if masks is None:
            return self.scale * (h @ a.swapaxes(-1, -2))
        each = self.mask == "sample"
        return sampled(h, a, self.scale, self.keep_prob, masks=masks, seed=drawn, for_samples=each)

    def probabilities(self, theta: ArrayLike, x: ArrayLike | None = None) -> NDArray:
        """Probabilities of the classes that the whole network gives, without dropout.

        Parameters
        ----------
        theta : array_like, shape (..., P)
            Parameters.
        x : array_like, shape (k,) or (k, d), optional
            Points; the samples by default.

        Returns
        -------
        ndarray, shape (..., k, c)
            softmax(f(x)), or 1 / (1 + exp -f(x)), the probability of class 1, with loss "logistic".

        Raises
        ------
        InvalidInput
            theta or x does not fit the problem, or its loss has no classes.

        Examples
        --------
        >>> problem = simdrop.Problem([0.0, 1.0], [0, 1], width=3, loss="softmax")
        >>> problem.probabilities(problem.init(seed=0)).sum(axis=-1).round(12).tolist()
        [1.0, 1.0]
        """
        turned = LOSSES[self.loss].probabilities
        if turned is None:
            raise InvalidInput(f"loss {self.loss!r} has no classes whose probabilities there could be: use predict")
        return turned(self.predict(theta, x))

    def init(
        self,
        *,
        seed: int = 0,
        scale: float = 1.0,
        gamma: float | None = None,
        gamma_of: Literal["variance", "deviation"] = "variance",
        members: int | None = None,
    ) -> Array:
        """Draw independent normal parameters.

        Parameters
        ----------
        seed : int
            Seed of NumPy's default generator.
        scale : float
            Standard deviation.
        gamma : float, optional
            Multiplies the standard deviation by that of N(0, m^-gamma), the papers' initialisation.
        gamma_of : {"variance", "deviation"}
            Whether m^-gamma is a variance or a standard deviation.
        members : int, optional
            Number of independent draws.

        Returns
        -------
        ndarray, shape (P,) or (members, P)
            theta. The first row for any number of members is the draw without `members`.

        Raises
        ------
        InvalidInput
            An argument is wrong.

        Examples
        --------
        >>> problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
        >>> problem.init(seed=0, gamma=0.5).shape, problem.init(seed=0, members=4).shape
        ((9,), (4, 9))
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
