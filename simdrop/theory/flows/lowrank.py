"""The mean-covariance flow of wide networks: covariance = blocks of the neurons + low rank.

A low rank alone would hold neither an initial spread that is the same in all directions nor the noise of each neuron of
its own. With H = N + K, N block-diagonal and K = FᵀF/n of rank n c (`curvature`), and Σ = Σ_D + Σ_X, where Σ_D collects
the blocks of `noise` that are not products over all neurons,

    C = D + X:    D' = -(N D + D N) + ε Σ_D                             block-diagonal, exactly
                  X' = -(H X + X H) - (K D + D K) + ε Σ_X               sources of a rank set by the data, not by m

Σ_D: block j is v d_j d_jᵀ + v² (Σ_k β_jk β_jkᵀ - 2 β_jj β_jjᵀ), summed over groups.

One step of length h (Strang splitting, second order in h):

    C for h/2 with H and Σ frozen at m(t);  m for h with C frozen;  C for h/2 with H and Σ frozen at m(t + h)

With H and Σ frozen D has a closed form. X is projected (Galerkin) on a basis B that holds X(t), the range of F and of
D F, images of the source and of H, and has a closed form there, exact for any stiffness; then it is cut back to the
rank. What that loses is reported: `truncation` is the Frobenius norm of all that was cut off or lay outside B, summed
over the steps, relative to that of C. It is a sum of lengths, so that it overstates the error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...checks.words import check_choice
from ...errors import FlowFailed
from ...problem import Problem
from .._input import Array
from ..curvature import Curvature, features
from ..neurons import apply_blocks, by_neuron, by_parameter, indices
from ..noise.operator import NoiseOperator
from .closure import mean_risk, mean_slope, variables
from .integration import METHODS, Outlook, Path, choose, gave_up, integrate

#: how far C may bend within a step: second difference of what the mean sees of it, relative to its size
BEND = 0.02
#: the most directions of F that enter the basis as they are
_FEATURES = 64
#: random vectors that measure how much of the source lies outside the basis
_PROBES = 4
#: largest eigenvalue times length of a step from which the mean is integrated by BDF
_STIFF = 300.0
#: evaluations that take as long as the rest of a step, about, and those that may lie ahead of a spread that grows
#: towards infinity, see `Outlook`
_STEP, _AHEAD = 75, 200_000
#: fraction of the duration below which a step gives up
_SHORTEST = 1e-6


@dataclass(frozen=True, slots=True)
class Covariance:
    """C = blockdiag(blocks) + rowsᵀ diag(weights) rows; blocks (m, b, b), rows (r, P) orthonormal, weights (r,)."""

    problem: Problem
    blocks: Array
    rows: Array
    weights: Array

    def product(self, vectors: Array) -> Array:
        """C times vectors (k, P)."""
        return apply_blocks(self.problem, self.blocks, vectors) + (vectors @ self.rows.T * self.weights) @ self.rows

    def own(self) -> Array:
        """The blocks of C itself, (m, b, b)."""
        rows = by_neuron(self.problem, self.rows)
        own: Array = self.blocks + np.einsum("r,rja,rjb->jab", self.weights, rows, rows, optimize=True)
        return own

    def size(self) -> float:
        """Frobenius norm."""
        crossed = apply_blocks(self.problem, self.blocks, self.rows)
        mixed = 2 * (self.weights * (crossed * self.rows).sum(axis=1)).sum()
        return float(np.sqrt(max(0.0, np.square(self.blocks).sum() + mixed + np.square(self.weights).sum())))


@dataclass(frozen=True, slots=True)
class Frozen:
    """H and Σ at one m: what moves C."""

    problem: Problem
    lr: float
    curvature: Curvature
    noise: NoiseOperator
    own: Array  # N (m, b, b)
    own_noise: Array  # ε Σ_D (m, b, b)

    @classmethod
    def at(cls, problem: Problem, theta: Array, lr: float) -> Frozen:
        """At m = theta (P,)."""
        curvature, noise = Curvature.at(problem, theta), NoiseOperator.at(problem, theta)
        return cls(problem, lr, curvature, noise, curvature.blocks(), lr * own_noise_of(problem, noise))

    def source(self, blocks: Array, vectors: Array) -> Array:
        """-(K D + D K) + ε Σ_X times vectors (k, P), for D = blocks."""
        f, n = self.curvature.features, self.problem.n_samples
        spread = apply_blocks(self.problem, blocks, vectors)
        sunk = spread @ f.T @ f / n + apply_blocks(self.problem, blocks, vectors @ f.T @ f / n)
        return self.lr * self.noise.product(vectors) - apply_blocks(self.problem, self.own_noise, vectors) - sunk

    def evolve(self, start: Covariance, h: float, rank: int, random: np.random.Generator) -> tuple[Covariance, float]:
        """C after a time h, and the Frobenius norm of what was lost."""
        rates, axes = np.linalg.eigh(self.own)
        turned = [_turned(axes, part, back=True) for part in (start.blocks, self.own_noise)]
        halfway, blocks = (_turned(axes, _relaxed(rates, t, *turned)) for t in (h / 2, h))
        basis = self._basis(start, halfway, rank, random)
        rates, turn = np.linalg.eigh(self.along(basis))
        basis = turn.T @ basis
        source = self.source(halfway, basis) @ basis.T
        known = start.rows @ basis.T
        found = _relaxed(rates, h, (known.T * start.weights) @ known, (source + source.T) / 2)
        weights, turn = np.linalg.eigh(found)
        order = np.argsort(-np.abs(weights))
        keep, drop = order[:rank], order[rank:]
        end = Covariance(self.problem, blocks, turn[:, keep].T @ basis, weights[keep])
        return end, float(np.linalg.norm(weights[drop])) + h * self._outside(basis, halfway, random)

    def along(self, basis: Array) -> Array:
        """H in an orthonormal basis (k, P): (k, k)."""
        f, n = basis @ self.curvature.features.T, self.problem.n_samples
        return np.asarray(f @ f.T / n + basis @ apply_blocks(self.problem, self.own, basis).T)

    def _basis(self, start: Covariance, blocks: Array, rank: int, random: np.random.Generator) -> Array:
        """Orthonormal rows (k, P) that X may lie in during the step."""
        params, f = self.problem.n_params, self.curvature.features
        if len(f) > _FEATURES:
            f = np.linalg.eigh(f @ f.T)[1][:, -_FEATURES:].T @ f
        guesses = [
            start.rows,
            f,
            apply_blocks(self.problem, blocks, f),
            self.source(blocks, random.standard_normal((rank, params))),
            apply_blocks(self.problem, self.own, start.rows),
        ]
        rows = np.concatenate(guesses)
        if len(rows) >= params:
            return np.eye(params)
        sizes = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(np.linalg.qr((rows / np.where(sizes > 0, sizes, 1)).T)[0].T)

    def _outside(self, basis: Array, blocks: Array, random: np.random.Generator) -> float:
        """An estimate of the Frobenius norm of the source outside the basis."""
        if len(basis) == self.problem.n_params:
            return 0.0
        seen = self.source(blocks, random.standard_normal((_PROBES, self.problem.n_params)))
        return float(np.linalg.norm(seen - (seen @ basis.T) @ basis) / np.sqrt(_PROBES))


def follow(
    problem: Problem,
    theta0: Array,
    times: Array,
    start: Array,
    *,
    lr: float,
    rank: int,
    method: str,
    rtol: float,
    atol: float,
    frozen: type[Frozen] = Frozen,
) -> Path:
    """The flow at `times` from the covariance `start`: a variance, (P,) variances or (P, P)."""
    check_choice("method", method, METHODS)
    rank = min(rank, problem.n_params)
    spread, cut = initial(problem, start, rank)
    walk = _Walk(
        problem=problem,
        lr=lr,
        rank=rank,
        method=method,
        rtol=rtol,
        atol=atol,
        mean=theta0,
        spread=spread,
        lost=cut,
        duration=times[-1],
        kind=frozen,
    )
    theta, std, risk, blocks, lost = [], [], [], [], []
    for time in times:
        walk.to(time)
        own = walk.spread.own()
        theta.append(walk.mean)
        std.append(by_parameter(problem, np.sqrt(np.maximum(np.einsum("jbb->jb", own), 0))))
        applied = walk.spread.product(Curvature.at(problem, walk.mean).features)
        risk.append(mean_risk(problem, walk.mean, applied, own))
        blocks.append(own)
        lost.append(walk.lost / max(walk.spread.size(), np.finfo(float).tiny))
    attrs = {"method": method, "method_reason": "blocks and low rank, Strang splitting", "rank": rank}
    more = {"truncation": ("time", np.array(lost))}
    found = variables(np.array(std), np.array(risk), np.array(blocks))
    return Path(np.array(theta), attrs | walk.work | {"success": 1}, found | more)


def initial(problem: Problem, start: Array, rank: int) -> tuple[Covariance, float]:
    """A variance, (P,) variances, or a (P, P) covariance cut to blocks and rank; and the norm of what was cut off."""
    params, own = problem.n_params, indices(problem)
    none = np.eye(1, params), np.zeros(1)
    if start.ndim < 2:
        return Covariance(problem, np.eye(own.shape[1]) * np.broadcast_to(start, params)[own][:, None, :], *none), 0.0
    blocks = start[own[:, :, None], own[:, None, :]]
    rest = start.copy()
    rest[own[:, :, None], own[:, None, :]] = 0
    weights, axes = np.linalg.eigh(rest)
    order = np.argsort(-np.abs(weights))
    keep, drop = order[:rank], order[rank:]
    return Covariance(problem, blocks, axes[:, keep].T, weights[keep]), float(np.linalg.norm(weights[drop]))


@dataclass(kw_only=True)
class _Walk:
    """The state of the splitting, and the work it has taken."""

    problem: Problem
    lr: float
    rank: int
    method: str
    rtol: float
    atol: float
    mean: Array
    spread: Covariance
    duration: float
    kind: type[Frozen]
    time: float = 0.0
    lost: float = 0.0
    work: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("nfev", "njev", "steps", "rejected"), 0))

    def __post_init__(self) -> None:
        self.frozen = self.kind.at(self.problem, self.mean, self.lr)
        self.random = np.random.default_rng(0)
        self.length = 1e-3 * self.duration
        # the spread is what becomes infinite; a step is many times as long as an evaluation
        self.outlook = Outlook(0.0, self.duration, self.spread.size(), grown=2.0, ahead=_AHEAD)

    def to(self, time: float) -> None:
        """Go on to a time."""
        while self.time < time:
            rest = time - self.time
            h = rest if self.length > 0.99 * rest else self.length
            before = self.spread.size()
            try:
                bend = self._step(h)
            except np.linalg.LinAlgError as error:  # no eigenvalues: something is not finite
                raise FlowFailed(f"the covariance becomes infinite at {self._now()}") from error
            if bend > BEND:
                self.work["rejected"] += 1
            else:
                self.work["steps"] += 1
                self.time, size = time if h == rest else self.time + h, self.spread.size()
                spent = self.work["nfev"] + _STEP * (self.work["steps"] + self.work["rejected"])
                self.outlook.look(self.time, spent, size, np.log(size / before) / h if before else 0.0)
            if h < rest or bend > BEND:  # a step cut short by a report says nothing about longer ones
                self.length = h * min(3.0, max(0.2, 0.9 * np.sqrt(BEND / max(bend, 1e-12))))
            if not self.length > _SHORTEST * self.duration:
                raise gave_up(self.time, self.duration, "the covariance changes too fast")

    def _now(self) -> str:
        return f"time {self.time:g} of {self.duration:g}"

    def _step(self, h: float) -> float:
        """One step, taken unless C bends too much within it; returns how much it does."""
        half, first = self.frozen.evolve(self.spread, h / 2, self.rank, self.random)
        try:
            mean = self._move(half, h)
        except FlowFailed:  # with C frozen for so long
            return np.inf
        ahead = self.kind.at(self.problem, mean, self.lr)
        end, second = ahead.evolve(half, h / 2, self.rank, self.random)
        f = self.frozen.curvature.features
        seen = [(c.own(), c.product(f)) for c in (self.spread, half, end)]
        if not all(np.isfinite(part).all() for pair in seen for part in pair):
            raise FlowFailed(f"the covariance becomes infinite at {self._now()}")
        bend = max(_ratio(a - 2 * b + c, c) for a, b, c in zip(*seen, strict=True))
        if bend <= BEND:
            self.mean, self.spread, self.frozen = mean, end, ahead
            self.lost += first + second
        return bend

    def _move(self, spread: Covariance, h: float) -> Array:
        """The mean after a time h with C frozen."""
        own, problem = spread.own(), self.problem

        def slope(_: float, mean: Array) -> Array:
            curvature = Curvature.at(problem, mean, order=3)
            return mean_slope(curvature, mean, spread.product(curvature.features), own, self.lr)

        _, _, options = choose(
            problem,
            self.mean,
            self.method,
            objective="risk+r1",
            square=self.lr / 2,
            duration=h,
            stiff_from=_STIFF,
        )
        path, work = integrate(slope, self.mean, np.array([h]), rtol=self.rtol, atol=self.atol, **options)
        for name in ("nfev", "njev"):
            self.work[name] += work[name]
        end: Array = path[-1]
        return end


def own_noise_of(problem: Problem, noise: NoiseOperator) -> Array:
    """Σ_D (m, b, b)."""
    v, n = problem.variance, problem.n_samples
    g = by_neuron(problem, problem.freeze(features(noise.net)))
    g = g.reshape(*noise.u.shape[:2], problem.width, -1)  # (G, k c, m, b)
    gram = noise.u @ noise.u.swapaxes(-1, -2) / n**2
    d, beta = by_neuron(problem, noise.d), by_neuron(problem, noise.beta)  # (G, m, b)
    pairs = np.einsum("gpja,gpq,gqjb->jab", g, gram, g, optimize=True) - 2 * np.einsum("gja,gjb->jab", beta, beta)
    return np.asarray(v * np.einsum("gja,gjb->jab", d, d) + v * v * pairs)


def _relaxed(rates: Array, t: float, start: Array, source: Array) -> Array:
    """S(t) of S' = -(R S + S R) + source, R = diag(rates) (..., b), in closed form."""
    x = (rates[..., :, None] + rates[..., None, :]) * t
    gain = np.where(x == 0, 1.0, -np.expm1(-x) / np.where(x == 0, 1.0, x))
    return np.asarray(np.exp(-x) * start + t * gain * source)


def _turned(axes: Array, matrices: Array, *, back: bool = False) -> Array:
    """V S Vᵀ, or Vᵀ S V, for axes V (..., b, b)."""
    other = axes.swapaxes(-1, -2)
    return np.asarray(other @ matrices @ axes if back else axes @ matrices @ other)


def _ratio(part: Array, whole: Array) -> float:
    size = float(np.linalg.norm(whole))
    return float(np.linalg.norm(part)) / size if size > 0 else 0.0
