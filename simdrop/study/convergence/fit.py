"""The slope of errors over learning rates, with its interval, and the test of a claimed order.

The test. If a theory has order q, the distance of its prediction is D = ε^q g(ε) with g smooth: D = A ε^q + B ε^(q+1) +
... A theory that is wrong, or has a lower order, leaves a constant δ or a lower power, which a slope cannot exclude.
Each D_k is measured with an independent error, about normal, of a standard deviation s_k estimated from ν + 1 groups
of members. Four rungs (three, where the ladder has no more) determine δ beside three powers (two),

    δ = Σ_k w_k D_k,   Σ_k w_k = 1,   Σ_k w_k ε_k^p = 0 for p = q, q + 1, q + 2

(Richardson's extrapolation to ε = 0), of standard error σ = (Σ_k w_k² s_k²)^½. The weights depend on the learning rates
alone, so that δ / σ is Student's t of ν or more degrees of freedom. What powers beyond these add to δ is taken to be at
most β: of four rungs twice the larger of the changes of δ with the last two powers and rungs, of three the one change.
This is an assumption, that g is smooth on these rungs, and the test says no more than that. (Once and a quarter of
these changes, which bound it for g = 1/(1 + ρ ε) with |ρ ε| < 1, were too little for the flows of `simdrop order` at
learning rates of 0.2 to 0.025: g turns there, and one change was small by chance.) β also holds Σ_k |w_k| times what
the scheme of a stochastic equation adds that is not smooth in ε (`scheme.uneven`); σ is that of sampling. Three rungs
know one change alone, and what is not smooth on them looks like a constant: there a δ that is not 0 is not resolved.

    no             |δ| > t σ + β of four rungs,  t for a probability of `FALSE_ALARM`: a theory of the claimed order,
                   whose g is smooth on these rungs, gets "no" with this probability at most. Both signs count: a
                   constant shortens a distance where it points the other way.
    yes            otherwise, where |δ| = `SIZE` D is refused, D the distance of the finest rung used: for both signs
                   `SIZE` D ± δ > t' σ' + β, σ' the standard error of the left side and t' for a probability of
                   `MISSED`. A theory with a constant of `SIZE` D or more gets "yes" with about this probability.
    not resolved   otherwise.

Which rungs: "no" takes the finest four neighbours with (t + t') σ <= `SIZE` D, "yes" the finest four or three,
whichever begin at the finer learning rate; where there are none, the finest of all are shown. This asks for precise
distances and not for a value of δ: rungs kept because their D comes out large beside its error, by chance, would bend
the curve upwards at its end and feign a constant. Where finer rungs are left out the curve through the chosen ones, δ
with it, must meet them within t of their errors: otherwise it is not smooth, or not a constant that it has, and the
claim is not resolved.

The constant that is found is what it adds to the distance. One at a right angle to the theory's own error, and as long
as that at the finest rung, counts with 0.6 (q = 2) to 0.7 (q = 1) of its length; an error of order 1 beside a claimed 2
counts as a constant of 0.53 D (ladders of ratio 2). A claim of order 0 says nothing that could be tested.

Measured on 144,000 synthetic ladders that the rule was not made by: of orders 1 and 2; of 3, 4 and 6 rungs; g of five
families (short and long power series, poles, exponentials, curves that turn within the ladder); vectors of 15 numbers
in 40 groups, with errors of 0.3, 2 and 10 % at the finest rung, through the estimator of `distances`. Of theories of
the claimed order 1 in 18,000 got "no", 89, 87 and 35 % "yes" at these errors. A constant of `SIZE` D at the finest rung
used, or more, got "yes" in 0.1 % of 49,703 ladders, in the worst of 90 settings, three rungs of an exponential, in 9 %.
There three rungs know too little: with g = exp(ρ ε), q = 1 and ρ ε = -1.6 or -2 at the coarsest of them the terms that
are left out add 1.4 and 2.2 times β to δ, which hides a constant of the other sign. A constant at a random angle to the
other error got "yes" in 23 % at `SIZE` D (62 % at worst) and in 3.6 % at `RIGHT` D (12 % at worst).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..distances import Array

#: standard errors by which a distance must be resolved to count for the slope
RESOLVED = 3.0
#: finest rungs through which the line goes
WINDOW = 3
#: how far below its order a slope's interval may reach, and how wide it may be
MARGIN, WIDEST = 0.4, 1.0
Z95 = 1.959963984540054
#: most rungs of the test, and powers of lr beside the constant
RUNGS = 4
#: what four rungs may leave out, in units of the largest change with a power and rung
SAFETY = 2.0
#: the probability with which a theory of the claimed order gets "no", at most
FALSE_ALARM = 0.01
#: the probability with which a theory whose constant is this large beside the finest distance gets "yes", at most
MISSED, SIZE = 0.05, 0.5
#: what that probability was in the worst of the settings that the rule was tried on
WORST = 0.09
#: `MISSED` for a constant at a right angle to the theory's other error
RIGHT = 0.8


@dataclass(frozen=True)
class Slope:
    """A fitted slope with its standard error, and the learning rates that it comes from."""

    value: float
    error: float
    lrs: tuple[float, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """Where the slope lies with 95 % confidence."""
        return self.value - Z95 * self.error, self.value + Z95 * self.error

    @property
    def order(self) -> int | None:
        """The order that the interval supports, or None."""
        low, high = self.interval
        if high - low > WIDEST:
            return None
        order = math.floor(low + MARGIN)
        return order if high >= order or order < 1 else order - 1


@dataclass(frozen=True)
class Floor:
    """What is left of a distance as lr → 0, δ: the symbols of the module.

    Attributes
    ----------
    value, error, remainder : float
        δ, σ and β.
    most : float
        |δ| is below this, with a probability of 1 - `MISSED`: |δ| + t' σ + β.
    found, small : bool
        Whether δ is not 0, and whether it is below `SIZE` D. Of three rungs a δ may be neither.
    lrs : tuple of float
        The rungs used.
    contradicted : bool
        Whether finer rungs lie off the curve through these.
    wanted : float
        How many times as small errors of sampling would have to be for some rungs to be precise enough, 1 or less where
        they are; infinite where no precision would do.
    """

    value: float
    error: float
    remainder: float
    most: float
    found: bool
    small: bool
    lrs: tuple[float, ...]
    contradicted: bool = False
    wanted: float = 1.0


#: how the table, its legend and summary.json judge
RULE = (
    f"slopes: through the finest {WINDOW} rungs where the distance is at least {RESOLVED:g} standard errors. Order q:"
    f" the floor δ of D = A lr^q + B lr^(q+1) + C lr^(q+2) + δ through {RUNGS} rungs (without C through {WINDOW}), the"
    f" finest that are precise enough. no: δ is not 0 (a theory of order q gets this with probability {FALSE_ALARM:g}"
    f" at most, from three rungs never); yes: otherwise, if a δ of {SIZE:g} D at the finest of these rungs is refused"
    f" too (a theory with such a constant gets this with a probability of about {MISSED:g}, of the curves that"
    f" were tried at most {WORST:g}, from three rungs of an exponential; about as often as {MISSED:g} one with a"
    f" constant at a right angle to its other error from {RIGHT:g} D on); not resolved: otherwise. Errors of schemes"
    " that fall as lr^3 are a part of the fit, others count against yes and no."
    f" below: of |floor|, with probability {1 - MISSED:g}; down to lr: the finest of these rungs"
)


def consistent(floor: Floor | None, order: int) -> str:
    """Whether distances are consistent with a claimed order: "yes", "no" or "not resolved"; order 0: "no claim"."""
    if order == 0:
        return "no claim"
    if floor is None or floor.contradicted:
        return "not resolved"
    if floor.found:
        return "no" if len(floor.lrs) == RUNGS else "not resolved"
    return "yes" if floor.small else "not resolved"


def missing(floor: Floor | None, order: int, sampled: str) -> str:
    """What would decide a claim that is not resolved, in words, empty where it is; sampled: what more of it takes."""
    if consistent(floor, order) != "not resolved":
        return ""
    if floor is None:
        return f"fewer than {WINDOW} learning rates have a value"
    if math.isinf(floor.wanted):
        return "finer learning rates, as no precision would show a constant at these"
    if floor.wanted > 1:
        return f"about {floor.wanted**2:.2g} times as many {sampled}, or finer learning rates"
    return f"finer learning rates or more {sampled}, as the curve bends by more than is known of it"


def local_slopes(lrs: Array, distance: Array) -> list[float | None]:
    """Slopes between neighbouring learning rates, the largest first; None where a distance is unknown or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(np.log(distance)) / np.diff(np.log(lrs))
    return [float(one) if np.isfinite(one) else None for one in slopes]


@dataclass(frozen=True)
class _Ladder:
    """What is known at rungs, the finest first: (rungs,) each; uneven: errors of schemes that are not smooth in lr."""

    lrs: Array
    distance: Array
    error: Array
    uneven: Array
    order: int
    freedom: int

    def part(self, chosen: slice) -> _Ladder:
        """Some neighbours."""
        return replace(
            self, lrs=self.lrs[chosen], distance=self.distance[chosen], error=self.error[chosen],
            uneven=self.uneven[chosen],
        )  # fmt: skip

    def weights(self, *, at: float = 0.0) -> Array:
        """The weights by which the distances make that `at` another lr."""
        return _weights(self.lrs, self.order, at=at)

    def most_uneven(self, weights: Array) -> float:
        """What errors of schemes add to a sum with weights, at most."""
        return float(np.abs(weights) @ self.uneven)

    def above(self, probability: float) -> float:
        """What Student's t exceeds with a probability."""
        return float(stdtrit(self.freedom, 1 - probability))

    @property
    def wanted(self) -> float:
        """How many times as small errors would have to be for a constant of `SIZE` D to be seen."""
        weights = self.weights()
        hidden = (self.above(FALSE_ALARM / 2) + self.above(MISSED)) * _error(weights, self.error)
        left = float(SIZE * self.distance[0]) - self.most_uneven(weights)
        return hidden / left if left > 0 else math.inf


def fit_floor(
    lrs: Array, distance: Array, error: Array, order: int, *, freedom: int, uneven: Array | None = None
) -> Floor | None:
    """δ beside the powers from `order` on; None with fewer than three rungs, or for order 0.

    freedom : ν, groups from which the errors are estimated, less 1
    uneven : what besides is not smooth in lr, at most: see `scheme.uneven`
    """
    known = np.flatnonzero(np.isfinite(distance) & np.isfinite(error))
    rungs = known[np.argsort(lrs[known])]
    if order == 0 or rungs.size < WINDOW:
        return None
    error = np.maximum(error, 1e-12 * distance)  # rounding
    uneven = np.zeros_like(error) if uneven is None else uneven
    ladder = _Ladder(lrs[rungs], distance[rungs], error[rungs], uneven[rungs], order, freedom)
    windows = [
        slice(first, first + count)
        for first in range(rungs.size - WINDOW + 1)
        for count in (RUNGS, WINDOW)
        if first + count <= rungs.size
    ]
    wanted = [ladder.part(window).wanted for window in windows]
    found = [_floor(ladder, window) for window, more in zip(windows, wanted, strict=True) if more <= 1]
    chosen = found[0] if found else _floor(ladder, slice(0, RUNGS))
    for floor in found:
        if len(floor.lrs) == RUNGS:
            chosen = floor if floor.found and not floor.contradicted else chosen
            break
    return replace(chosen, wanted=min(wanted))


def _floor(ladder: _Ladder, chosen: slice) -> Floor:
    """δ from `chosen` rungs, and whether finer ones lie off the curve."""
    part = ladder.part(chosen)
    missed = [_missed(ladder.part(slice(k, k + 1)), part) for k in range(chosen.start)]
    return replace(_extrapolated(part), contradicted=any(one > part.above(FALSE_ALARM / 2) for one in missed))


def _extrapolated(rungs: _Ladder) -> Floor:
    """δ from rungs."""
    lrs, distance, error, weights = rungs.lrs, rungs.distance, rungs.error, rungs.weights()
    value, sigma = float(weights @ distance), _error(weights, error)
    before = [float(_weights(lrs[:count], rungs.order) @ distance[:count]) for count in range(2, len(lrs))]
    changes = np.abs(np.diff([*before, value]))[::-1]
    remainder = float(changes.max()) * (SAFETY if len(lrs) == RUNGS else 1) + rungs.most_uneven(weights)
    one_sided, small = rungs.above(MISSED), True
    for sign in (1, -1):
        off = sign * weights
        off[0] += SIZE
        small = small and bool(off @ distance > one_sided * _error(off, error) + remainder)
    found = abs(value) > rungs.above(FALSE_ALARM / 2) * sigma + remainder
    most = abs(value) + one_sided * sigma + remainder
    return Floor(value, sigma, remainder, most, found, small, tuple(lrs[::-1].tolist()))


def _error(weights: Array, error: Array) -> float:
    """The standard error of a sum with weights."""
    return float(np.linalg.norm(weights * error))


def _missed(finer: _Ladder, chosen: _Ladder) -> float:
    """By how many standard errors the curve through `chosen` rungs misses a finer one."""
    weights = chosen.weights(at=float(finer.lrs[0]))
    away = abs(float(weights @ chosen.distance) - finer.distance[0])
    away = max(away - chosen.most_uneven(weights) - finer.uneven[0], 0.0)
    off = float(np.hypot(_error(weights, chosen.error), finer.error[0]))
    return away / off if off else math.inf if away else 0.0


def _weights(lrs: Array, order: int, *, at: float = 0.0) -> Array:
    """The weights by which distances at rungs make that `at` another lr, of a constant and powers from `order` on."""
    powers = np.array([0, *range(order, order + len(lrs) - 1)])
    found: Array = np.linalg.solve((lrs / lrs[-1]) ** powers[:, None], (at / lrs[-1]) ** powers)
    return found


def fit_slope(lrs: Array, distance: Array, error: Array) -> Slope | None:
    """The slope of log D over log lr through the finest resolved rungs; None with fewer than three."""
    chosen = _finest(lrs, distance, error)
    if chosen is None:
        return None
    x, y = np.log(lrs[chosen]), np.log(distance[chosen])
    weight = np.square(distance[chosen] / np.maximum(error[chosen], 1e-12 * distance[chosen]))
    away = x - weight @ x / weight.sum()
    spread = weight @ away**2
    slope = float(weight @ (away * y) / spread)
    left = y - weight @ y / weight.sum() - slope * away
    birge = np.sqrt(weight @ left**2 / (WINDOW - 2))
    lrs_used = tuple(sorted(lrs[chosen].tolist(), reverse=True))
    return Slope(slope, float(max(1.0, birge) / np.sqrt(spread)), lrs_used)


def _finest(lrs: Array, distance: Array, error: Array) -> NDArray[np.intp] | None:
    """The finest `WINDOW` rungs that are resolved, None with fewer."""
    with np.errstate(invalid="ignore"):
        rungs = np.flatnonzero((distance >= RESOLVED * error) & (distance > 0))
    return rungs[np.argsort(lrs[rungs])[:WINDOW]] if rungs.size >= WINDOW else None
