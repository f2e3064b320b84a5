"""What a kernel of stochastic equations is asked to do: an `Equation`, and how its normal numbers are counted.

With L = R_S + R_1, learning rate ε and Σ = Cov ∇R_drop the equations are (arXiv:2305.15850)

    order 1    dΘ = -∇L dt + √ε Σ^½ dW
    order 2    dΘ = -∇(L + (ε/4) |∇L|²) dt + √ε Σ^½ dW,          ∇(|∇L|²/4) = ½ H ∇L,  H the Hessian of L

The noise Σ^½ dW needs no root of Σ. The gradient under one mask is a sum of uncorrelated products of the dropout
factors (`network.expected`): η_k, and η_k η_l for k < l; with Gaussian factors η_k² - v as well. Independent
normal numbers of the same variances, √v ξ_k, v ξ_kl and √2 v ξ'_k, in the place of the products give a Gaussian vector
of covariance Σ. For a group of samples under one mask it is

    N_j = (1/n) Σ_ρ g_ρj T_ρj          T_ρj = √v Σ_k ξ_k u_ρk + v Σ_{k≠j} ξ_jk u_ρk + O_ρj
    O_ρj = √v ξ_j (e_ρ + (v - 1) u_ρj)   with Bernoulli factors      √v ξ_j e_ρ + √2 v ξ'_j u_ρj   with Gaussian ones

with ρ = (sample, output). In a group of one row ρ the m(m-1)/2 numbers ξ_jk only enter as z_j = Σ_{k≠j} ξ_jk u_k, of
covariance diag(D) + u uᵀ with D_j = |u|² - 2 u_j²: where all D_j ≥ 0, z_j = √D_j ζ_j + u_j ζ_0. At most one D_j is
negative, that of the largest u_j² (`j = q`). The others are drawn so, and z_q from its law given them:

    z_q = u_q (Σ_{j≠q} u_j z_j / D_j) / (1 + r) + √(D_q + u_q² / (1 + r)) ζ_q,      r = Σ_{j≠q} u_j² / D_j

The other noises, k masks a step, noise τ on the targets and τ_P on the gradient, minibatches of B:

    k masks      the T above times 1/√k
    targets      the gradient gains -(τ/n) Σ_ρ ζ_ρ (1 + η_j) g_ρj:   T_ρj gains τ (ζ_ρ + √(v/k) ζ_ρj)
    gradient     N gains τ_P ζ
    minibatch    sample i counts w_i times, with mean 1 and covariance c² (1 [i = l] - 1/n), where c² = n/B with and
                 (n/B) (n - B)/(n - 1) without replacement. Every product of factors becomes one for each sample: ξ of
                 one mask for all turns into ξ + c (ξ_i - mean of all ξ_i), sample masks get √(n/B) ξ_i, the mean
                 gradient brings c (ω_i - mean of all ω_i) (e_ρ + v u_ρj), and noise on the targets gains √(n/B)

All that is drawn with increments "normal". With increments "masks" the noise of a step is (G - G')/√2, where G and G'
are gradients under two independent draws of all noise at the same point: its covariance is Σ, its odd moments are 0,
and its fourth cumulant, half of G's, enters a mean at time t by O(ε² h t) for steps h of the scheme: weakly it stands
for a normal one, as the two-point increments of weak schemes do (Kloeden & Platen, Numerical Solution of Stochastic
Differential Equations, 1992, chapter 14). It costs two gradients in the place of m(m + 1)/2 normal numbers, and holds
for every noise of a step, DropConnect too: `mathematics.network.dropconnect` has its mean gradient
and the derivative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .network import Network
from .noise import Noise
from .step import Step

Scheme = Literal["rk4", "heun", "euler"]
Order = Literal[1, 2]
Increments = Literal["normal", "masks"]
INCREMENTS: tuple[Increments, ...] = ("normal", "masks")

#: what compiled kernels take for `part` and `train`
DRIFT_ALONE, NOISE_ALONE = 1, 2
OUTPUT_ALONE, INPUT_ALONE = 1, 2
PART = {"both": 0, "drift": DRIFT_ALONE, "noise": NOISE_ALONE}
TRAIN = {"both": 0, "output": OUTPUT_ALONE, "input": INPUT_ALONE}

#: what the second word of the counter begins with, above the number of the sample
ROLE_MASK = 0 << 28  # what stands for the products of the dropout factors
ROLE_LABEL = 1 << 28
ROLE_PARAMETER = 2 << 28
ROLE_BATCH = 3 << 28
MAX_SAMPLES = 1 << 28

#: a variance that is a difference counts as 0 up to so many roundings of its terms: in a row of two neurons it is 0
SINGULAR = 8

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
#: at most of the size of the ε² that order 2 itself leaves out already at h = ε (the small noise of Milstein &
#: Tretyakov, SIAM J. Sci. Comput. 18, 1997).
SCHEMES: dict[str, tuple[Stage, ...]] = {
    "rk4": (Stage(0, 1 / 6, False), Stage(0.5, 1 / 3, True), Stage(0.5, 1 / 3, False), Stage(1, 1 / 6, False)),
    "heun": (Stage(0, 0.5, False), Stage(0.5, 0, True), Stage(1, 0.5, False)),
    "euler": (Stage(0, 1, True),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """The equation and its scheme, the same for all paths and steps of a run."""

    network: Network = field(default_factory=Network)
    noise: Noise = field(default_factory=Noise)
    order: Order = 2
    scheme: Scheme = "rk4"
    increments: Increments = "normal"  # what the noise of a step is made of: see above
    antithetic: bool = False  # paths 2k and 2k + 1 are driven by W_k and -W_k
    joined: int = 1  # a step's normal numbers are the sums of those of so many steps, over √joined

    @property
    def training_step(self) -> Step:
        """The training step whose gradient's noise is that of the equation."""
        whole = self.noise if self.noise.part == "both" else replace(self.noise, part="both")
        return Step(network=self.network, noise=whole)

    def drawn_by(self, member: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The numbers (M,) in the generator's counter of the paths `member` (M,)."""
        return member // np.uint64(2) if self.antithetic else member

    def drawn_at(self, step: int) -> range:
        """The steps in the generator's counter whose normal numbers, summed and over √joined, are those of `step`.

        Paths of steps 2 h with joined = 2 are so driven by the Brownian motion of those of steps h with joined = 1.
        """
        return range(step * self.joined, (step + 1) * self.joined)

    def signs(self, member: NDArray[np.uint64]) -> NDArray[np.float64]:
        """What multiplies their noise (M,): 1, or -1 on the second path of a pair."""
        return np.ones(len(member)) - 2.0 * self.antithetic * (member % np.uint64(2)).astype(np.float64)


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
        mask, noise = equation.network.mask, equation.noise
        groups = samples if mask == "sample" else 1
        rows = samples // groups * outputs
        shared = mask == "step" and noise.batch_size is not None  # ξ of all samples at once
        single = rows == 1 and not shared
        numbers = (2 * width + 1 if single else width * (width + 1) // 2) + width * noise.gaussian
        return cls(groups, rows, single, numbers, outputs * (1 + width), 1 + shared * numbers)


class Noises(NamedTuple):
    """What multiplies the normal numbers, for each member (M,); symbols as above.

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
        noise = equation.noise
        v = (1 - keep_prob) / keep_prob
        single, pair = np.sqrt(v / noise.masks), v / math.sqrt(noise.masks)
        own = 0 * v if noise.gaussian else single * (v - 1)
        square = math.sqrt(2) * pair if noise.gaussian else 0 * v
        label = np.full_like(v, noise.label)
        size = noise.batch_size or samples
        left = 1.0 if noise.replace else (samples - size) / max(samples - 1, 1)
        batch = math.sqrt(samples / size * left) if noise.batch_size else 0.0
        return cls(single, pair, single, own, square, label, label * single, v, batch, math.sqrt(samples / size))
