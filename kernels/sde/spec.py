"""What a kernel of stochastic equations is asked to do: an `Equation`, and how its normal numbers are counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .. import registry
from ..spec import Ensemble, Law, Mask, Part, Step, Train

Scheme = Literal["rk4", "heun", "euler"]
Order = Literal[1, 2]
Increments = Literal["normal", "masks"]
INCREMENTS: tuple[Increments, ...] = ("normal", "masks")

#: backend name -> module; the order is the order of preference of "auto"
MODULES = {"cuda": "sde.cuda", "numba": "sde.parallel", "numpy": "sde.reference"}

#: what the second word of the counter begins with, above the number of the sample
ROLE_MASK = 0 << 28  # what stands for the products of the dropout factors
ROLE_LABEL = 1 << 28
ROLE_PARAMETER = 2 << 28
ROLE_BATCH = 3 << 28
MAX_SAMPLES = 1 << 28

#: added (xor) to the seed by whose masks paths are driven, which so are not those of a simulation with the same seed
MASKS_KEY = 0x9E3779B97F4A7C15


class Stage(NamedTuple):
    """One evaluation within a step: at X + `ahead` h k + N, k the last drift before it, N the noise if drawn before.

    Its drift enters the step with `weight` (0: none is computed); `noise`: N is drawn here.
    """

    ahead: float
    weight: float
    noise: bool


#: The new X is X + h Σ weight k + N with N = √(ε h) σ(point of its stage) ξ. "euler" is Euler-Maruyama. In "heun" and
#: "rk4" the moments of a step are those of the equation up to terms ε² h² (curvature of Σ) and, in heun, h³, in rk4,
#: ε h³ and h⁵. Global weak errors: euler O(h), heun O(h² + ε² h), rk4 O(h⁴ + ε h² + ε² h): all but the first stay
#: beside or below the ε² that order 2 itself leaves out already at h = ε (the small noise of Milstein & Tretyakov,
#: SIAM J. Sci. Comput. 18, 1997).
SCHEMES: dict[str, tuple[Stage, ...]] = {
    "rk4": (Stage(0, 1 / 6, False), Stage(0.5, 1 / 3, True), Stage(0.5, 1 / 3, False), Stage(1, 1 / 6, False)),
    "heun": (Stage(0, 0.5, False), Stage(0.5, 0, True), Stage(1, 0.5, False)),
    "euler": (Stage(0, 1, True),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """The equation and its scheme, the same for all paths and steps of a run; fields as those of `spec.Step`."""

    activation: str = "tanh"
    mask: Mask = "step"
    output_scale: float = 1.0
    order: Order = 2
    scheme: Scheme = "rk4"
    law: Law = "bernoulli"
    masks: int = 1
    label_noise: float = 0.0
    parameter_noise: float = 0.0
    batch_size: int | None = None
    replace: bool = False
    part: Part = "both"
    train: Train = "both"
    antithetic: bool = False  # paths 2k and 2k + 1 are driven by W_k and -W_k
    connect: float = 1.0  # with increments "masks" alone
    increments: Increments = "normal"  # what the noise of a step is made of: see the package's text

    @property
    def draw(self) -> Step:
        """The training step whose gradient's noise is that of the equation."""
        names = ("activation", "mask", "output_scale", "law", "masks", "label_noise", "parameter_noise")
        more = ("batch_size", "replace", "connect", "train")
        return Step(**{name: getattr(self, name) for name in (*names, *more)})

    def drawn_by(self, member: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The numbers (M,) in the generator's counter of the paths `member` (M,)."""
        return member // np.uint64(2) if self.antithetic else member

    def signs(self, member: NDArray[np.uint64]) -> NDArray[np.float64]:
        """What multiplies their noise (M,): 1, or -1 on the second path of a pair."""
        return np.ones(len(member)) - 2.0 * self.antithetic * (member % np.uint64(2)).astype(np.float64)

    @property
    def gaussian(self) -> bool:
        """Whether the dropout factors are normal numbers."""
        return self.law == "gaussian"


class Counts(NamedTuple):
    """How the samples are grouped under masks, and how many normal numbers each row of the generator yields.

    Row g of role MASK, one for each group: ξ_kl at d m + k, where l = k + d, less m where that is beyond the width:
    ξ_kk, which is ξ_k, at k, and then the pairs of neurons d = 1, ..., m // 2 apart, m (m + 1) / 2 numbers; in a
    `single` row ρ by itself ξ_k (m), ζ_k (m), ζ_0. Gaussian factors add ξ'_k (m) at the end.
    Row i of role LABEL: ζ_o (c), then ζ_oj (c, m). Row 0 of role PARAMETER: as theta (P).
    Row i of role BATCH: ω_i, and under step masks what a row of role MASK holds.
    """

    groups: int
    rows: int
    single: bool
    mask: int
    label: int
    batch: int

    @classmethod
    def of(cls, equation: Equation, samples: int, outputs: int, width: int) -> Counts:
        """For n, c, m."""
        groups = samples if equation.mask == "sample" else 1
        rows = samples // groups * outputs
        shared = equation.mask == "step" and equation.batch_size is not None  # ξ of all samples at once
        single = rows == 1 and not shared
        mask = (2 * width + 1 if single else width * (width + 1) // 2) + width * equation.gaussian
        return cls(groups, rows, single, mask, outputs * (1 + width), 1 + shared * mask)


class Noises(NamedTuple):
    """What multiplies the normal numbers, for each member (M,); symbols as in the package's text.

    single: ξ_k u_ρk; pair: ξ_jk u_ρk; error: ξ_j e_ρ; own: ξ_j u_ρj; square: ξ'_j u_ρj; label: ζ_ρ; label_factor: ζ_ρj;
    variance: v; batch: c of minibatches; repeat: √(n/B), 1 without them
    """

    single: NDArray[np.float64]
    pair: NDArray[np.float64]
    error: NDArray[np.float64]
    own: NDArray[np.float64]
    square: NDArray[np.float64]
    label: NDArray[np.float64]
    label_factor: NDArray[np.float64]
    variance: NDArray[np.float64]
    batch: float
    repeat: float

    @classmethod
    def of(cls, equation: Equation, keep_prob: NDArray[np.float64], samples: int) -> Noises:
        """For keep_prob (M,) and n."""
        v = (1 - keep_prob) / keep_prob
        single, pair = np.sqrt(v / equation.masks), v / math.sqrt(equation.masks)
        own = 0 * v if equation.gaussian else single * (v - 1)
        square = math.sqrt(2) * pair if equation.gaussian else 0 * v
        label = np.full_like(v, equation.label_noise)
        size = equation.batch_size or samples
        left = 1.0 if equation.replace else (samples - size) / max(samples - 1, 1)
        batch = math.sqrt(samples / size * left) if equation.batch_size else 0.0
        return cls(single, pair, single, own, square, label, label * single, v, batch, math.sqrt(samples / size))


class Backend(Protocol):
    """What a module of paths offers; `reference` documents it."""

    name: str

    def unavailable(self) -> str | None:
        """Why it cannot run on this machine, or None."""

    def refuses(self, equation: Equation, dtype: np.dtype) -> str | None:
        """Why it does not run `equation`, or None."""

    def advance(
        self,
        equation: Equation,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        ensemble: Ensemble,
        *,
        seed: int,
        first_step: int,
        sizes: NDArray[np.float64],
        threads: int = 1,
    ) -> None:
        """Take all paths through steps of these sizes, in place."""


def names() -> tuple[str, ...]:
    """The known backends, in order of preference."""
    return tuple(MODULES)


def choose(name: str, equation: Equation, dtype: np.dtype, sizes: registry.Sizes | None = None) -> tuple[Backend, str]:
    """The backend that runs `equation` in `dtype`, with one sentence that says why; see `registry.choose`."""
    backend, reason = registry.choose(name, equation, dtype, modules=MODULES, sizes=sizes)
    return cast(Backend, backend), reason
