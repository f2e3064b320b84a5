"""What a kernel is asked to do: a `Step` (which mathematics) on an `Ensemble` (which arrays).

Nothing is validated here: callers (`simdrop.simulate`) have done so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .network import Network
from .noise import Noise
from .objectives import Objective
from .optimizer import SGD, Optimizer

#: dtype -> the largest size of a parameter of a member that has not diverged: squares of larger ones overflow
PARAMETER_LIMIT = {"float32": 2.0**64, "float64": 2.0**512}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The mathematics of one training step, the same for all members and steps of a run."""

    network: Network = field(default_factory=Network)
    noise: Noise = field(default_factory=Noise)
    optimizer: Optimizer = field(default_factory=SGD)
    objective: Objective = "dropout"
    penalty: float = 0.0  # λ of objective "dropout+r2"
    svag: int = 0  # SVAG's l: a step of lr / l with two masks weighted (1 ± √(2l - 1)) / 2; 0 for none
    scheduled: bool = False  # the learning rates change from step to step: `Ensemble.rates` has them

    @property
    def further(self) -> tuple[str, ...]:
        """What not every backend runs of this step, by the names of arguments.

        Noises besides dropout and minibatches, SVAG, frozen weights, weight decay, learning rates that change.
        """
        network = self.network
        others = {
            "svag": self.svag != 0,
            "train": network.train != "both",
            "weight_decay": network.weight_decay != 0,
            "schedule of lr": self.scheduled,
        }
        return (*self.noise.further, *(name for name, there in others.items() if there))

    @property
    def decay(self) -> float:
        """λ of the λ θ that weight decay adds to the gradient; 0 where the optimizer takes it apart from that."""
        return 0.0 if getattr(self.optimizer, "decoupled", False) else self.network.weight_decay

    @property
    def shrink(self) -> float:
        """λ where weight decay multiplies θ by 1 - lr λ before the update, 0 where it does not."""
        return self.network.weight_decay - self.decay


@dataclass(slots=True)
class Ensemble:
    """The members of one block, trained in place. M members, P parameters; arrays are C-contiguous.

    theta      (M, P)     float32 or float64: a of shape (c, m) row by row, then w of shape (m, D) row by row
    moments    (M, k, P)  the optimizer's k = `Optimizer.moments` vectors, in theta's dtype
    lr         (M,)       float64 learning rates
    rates      (M, T)     float64 learning rates of each step of the next call where they change (`Step.scheduled`),
                          in place of lr; T is 0 where they do not
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
    rates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @classmethod
    def start(
        cls,
        theta: NDArray[np.floating],
        *,
        lr: ArrayLike,
        keep_prob: ArrayLike,
        moments: int = 0,
        first_member: int = 0,
        dtype: DTypeLike | None = None,
    ) -> Ensemble:
        """An ensemble before its first step; `theta` (M, P) is copied, `lr` and `keep_prob` broadcast to (M,).

        `moments`: the number of vectors that the optimizer carries.
        """
        theta = np.array(theta, dtype=dtype, order="C")
        members, params = theta.shape
        limit = PARAMETER_LIMIT[theta.dtype.name]
        begun = (theta.max(axis=1) <= limit) & (theta.min(axis=1) >= -limit)  # no array of the size of theta
        return cls(
            theta=theta,
            moments=np.zeros((members, moments, params), dtype=theta.dtype),
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
