"""What a kernel is asked to do: a `Step` (which mathematics) on an `Ensemble` (which arrays).

Nothing is validated here: callers (`simdrop.simulate`) have done so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Mask = Literal["step", "sample"]
Objective = Literal["dropout", "risk", "risk+r1", "risk+r1+r2", "L2", "L3", "L4", "dropout+r2"]
Optimizer = Literal["sgd", "momentum", "adam"]
Law = Literal["bernoulli", "gaussian"]
Part = Literal["both", "drift", "noise"]
Train = Literal["both", "output", "input"]

MASKS: tuple[Mask, ...] = ("step", "sample")
OBJECTIVES: tuple[Objective, ...] = ("dropout", "risk", "risk+r1", "risk+r1+r2", "L2", "L3", "L4", "dropout+r2")
#: those that compiled kernels train; the gradients of the others hold products with Hessians
COMPILED: tuple[Objective, ...] = ("dropout", "risk", "risk+r1")
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "momentum", "adam")
LAWS: tuple[Law, ...] = ("bernoulli", "gaussian")
PARTS: tuple[Part, ...] = ("both", "drift", "noise")
TRAINS: tuple[Train, ...] = ("both", "output", "input")

#: dtype -> the largest size of a parameter of a member that has not diverged: squares of larger ones overflow
PARAMETER_LIMIT = {"float32": 2.0**64, "float64": 2.0**512}

#: moment vectors (each of the size of theta) that an optimizer carries from step to step
MOMENTS = {"sgd": 0, "momentum": 1, "adam": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The mathematics of one training step, the same for all members and steps of a run.

    Objectives beside R_drop, R_S, R_S + R_1 and R_S + R_1 + R_2, with R̃_2 = (lr/4) |∇R_drop|² on the step's own masks
    (Zhang & Xu, arXiv:2207.05952, section 5; their L1 is R_S + R_1):

    L2  R_S + R̃_2      L3  R_drop - R̃_2      L4  R_drop - R_1      dropout+r2  R_drop + (penalty/4) |∇R_drop|²

    The update of the optimizers, with gradient g at step t = 0, 1, ...:

    sgd       theta -= lr g
    momentum  u = momentum u + g;  theta -= lr u
    adam      u = beta1 u + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²
              theta -= lr û / (sqrt(v̂) + epsilon),  û = u / (1 - beta1^(t+1)),  v̂ = v / (1 - beta2^(t+1))
    """

    activation: str = "tanh"
    mask: Mask = "step"
    objective: Objective = "dropout"
    optimizer: Optimizer = "sgd"
    output_scale: float = 1.0
    batch_size: int | None = None  # None: all samples at every step
    replace: bool = False  # whether minibatches are drawn with replacement
    penalty: float = 0.0  # λ of objective "dropout+r2"
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    law: Law = "bernoulli"  # of the dropout factors: kept / p, or N(1, (1 - p) / p)
    masks: int = 1  # masks over which the gradient of one step is averaged
    label_noise: float = 0.0  # standard deviation of the noise on every target, anew at every step
    parameter_noise: float = 0.0  # standard deviation of the noise on every component of the gradient
    connect: float = 1.0  # probability to keep an input weight (DropConnect, one mask a step)
    part: Part = "both"  # of the step: all of it, its mean alone, or its deviation from the mean alone
    svag: int = 0  # SVAG's l: a step of lr / l with two masks weighted (1 ± √(2l - 1)) / 2; 0 for none
    train: Train = "both"  # the weights that are trained

    @property
    def extras(self) -> tuple[str, ...]:
        """The fields by which the step goes beyond Bernoulli dropout and minibatches; () for what all backends run."""
        return tuple(name for name, default in _PLAIN.items() if getattr(self, name) != default)

    @property
    def stochastic_mask(self) -> bool:
        """Whether the step draws masks at all."""
        return not self.objective.startswith("risk")


_PLAIN = {
    "law": "bernoulli",
    "masks": 1,
    "label_noise": 0.0,
    "parameter_noise": 0.0,
    "connect": 1.0,
    "part": "both",
    "svag": 0,
    "train": "both",
}


@dataclass(slots=True)
class Ensemble:
    """The members of one block, trained in place. M members, P parameters; arrays are C-contiguous.

    theta      (M, P)     float32 or float64: a of shape (c, m) row by row, then w of shape (m, D) row by row
    moments    (M, k, P)  the optimizer's k = MOMENTS[optimizer] vectors, in theta's dtype
    lr         (M,)       float64 learning rates
    keep_prob  (M,)       float64 keep probabilities
    member     (M,)       uint64 numbers that the members' masks are drawn by; their upper 32 bits change the seed
    diverged   (M,)       int64: the first step whose update took a parameter beyond PARAMETER_LIMIT or left a moment of
                          the optimizer that is not finite, -1 while there is none; such a member trains no more

    What diverges is the state alone. A loss or a squared gradient overflows earlier or later by the order in which a
    kernel sums; parameters at the limit are as far from overflow in any order as they are from ordinary sizes, so that
    one step takes them past both.
    """

    theta: NDArray[np.floating]
    moments: NDArray[np.floating]
    lr: NDArray[np.float64]
    keep_prob: NDArray[np.float64]
    member: NDArray[np.uint64]
    diverged: NDArray[np.int64]

    @classmethod
    def start(
        cls,
        theta: NDArray[np.floating],
        *,
        optimizer: str,
        lr: ArrayLike,
        keep_prob: ArrayLike,
        first_member: int = 0,
        dtype: DTypeLike | None = None,
    ) -> Ensemble:
        """An ensemble before its first step; `theta` (M, P) is copied, `lr` and `keep_prob` broadcast to (M,)."""
        theta = np.array(theta, dtype=dtype, order="C")
        members, params = theta.shape
        limit = PARAMETER_LIMIT[theta.dtype.name]
        begun = (theta.max(axis=1) <= limit) & (theta.min(axis=1) >= -limit)  # no array of the size of theta
        return cls(
            theta=theta,
            moments=np.zeros((members, MOMENTS[optimizer], params), dtype=theta.dtype),
            lr=np.array(np.broadcast_to(lr, members), dtype=np.float64),
            keep_prob=np.array(np.broadcast_to(keep_prob, members), dtype=np.float64),
            member=np.arange(first_member, first_member + members, dtype=np.uint64),
            diverged=np.where(begun, -1, 0),
        )

    def parts(self, count: int) -> list[Ensemble]:
        """Views of `count` runs of members, of nearly equal lengths."""
        cuts = [len(self.theta) * k // count for k in range(count + 1)]
        slices = [slice(*pair) for pair in pairwise(cuts)]
        return [Ensemble(*(getattr(self, f.name)[part] for f in fields(self))) for part in slices]


def limits(real: type) -> tuple[Any, Any]:
    """The largest parameter, and the largest moment of an optimizer, of a member that has not diverged."""
    dtype: np.dtype = np.dtype(real)
    return dtype.type(PARAMETER_LIMIT[dtype.name]), np.finfo(dtype).max


def for_kernels(array: NDArray, dtype: DTypeLike | None = None) -> NDArray:
    """`array` as kernels take data: C-contiguous, of `dtype`, writable; itself where it is all that.

    Numba types a read-only array otherwise than a writable one: a kernel would be compiled for each mixture, and not
    at all where one variable stands for either.
    """
    return np.require(array, dtype, ["C_CONTIGUOUS", "WRITEABLE"])


def svag_weights(order: int) -> tuple[float, float]:
    """The weights (1 ± √(2l - 1)) / 2 of SVAG's two draws: their sum is 1, the sum of their squares l."""
    root = float(np.sqrt(2 * order - 1))
    return (1 + root) / 2, (1 - root) / 2


class Sizes(NamedTuple):
    """What a step is asked to train: samples of a step n, neurons m, inputs D (the bias's included), outputs c.

    members: None where nothing goes by their number
    """

    samples: int
    width: int
    inputs: int
    outputs: int
    members: int | None = None


class BackendError(RuntimeError):
    """The backend asked for cannot run here, or not this configuration; the message says why."""
