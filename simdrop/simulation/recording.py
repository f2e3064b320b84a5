"""What a simulation keeps: streamed moments over members, risks, chosen trajectories, as an xarray.Dataset."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simdrop_kernels.contract.step import for_kernels
from simdrop_kernels.mathematics.losses.table import find as find_loss

from ..checks.labels import check_rows
from ..checks.numbers import check_count, check_finite, check_flag, check_number, check_whole, is_one
from ..checks.sizes import check_memory
from ..checks.words import check_choice, counted, shown
from ..errors import InvalidInput
from ..problem import Problem
from ..problem.targets import check_targets
from ..settings.defaults import RISK_LIMIT
from .observers import Observations, Observer
from .seen import Alive, Seen, What

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.floating]

#: quantiles of the risk beyond which sorting takes longer than training
MOST_QUANTILES = 10_000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to record, at which steps.

    steps (T,) increasing; trajectories: member numbers whose theta is kept; points (k, D): the grid as the
    neurons see it, or None; covariance: parameter numbers; quantiles of the risk; groups: number of
    consecutive, equally large groups of members whose means are kept (0: none); norms: whether the 2-norm
    of every member's theta is; risk_limit as in `simdrop.simulate`, infinite for none; test: samples x (k, D)
    and y (k, c) whose risk is recorded too, or None; observers: functions of the user's; keep_risk: whether
    the risks of members are kept next to their means; classes: whether the loss has some, so that there is accuracy.
    """

    steps: NDArray[np.int64]
    trajectories: NDArray[np.int64]
    points: NDArray[np.float64] | None
    covariance: NDArray[np.int64]
    quantiles: tuple[float, ...]
    groups: int
    norms: bool = False
    risk_limit: float = math.inf
    test: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    observers: tuple[Observer, ...] = ()
    keep_risk: bool = True
    classes: bool = False

    @property
    def risk_limit_told(self) -> float | str:
        """As attributes of results hold it: JSON has no infinity."""
        return self.risk_limit if math.isfinite(self.risk_limit) else "none"

    def grid_of(self, problem: Problem) -> NDArray[np.float64] | None:
        """The grid (k, d) as users give it, or None."""
        return None if self.points is None else self.points[:, : problem.x.shape[1]]

    @classmethod
    def check(
        cls,
        problem: Problem,
        *,
        members: int,
        steps: NDArray[np.int64],
        keep_theta: bool | Sequence[int],
        grid: ArrayLike | None,
        covariance: bool | Sequence[int],
        quantiles: Sequence[float],
        groups: int,
        norms: bool = False,
        risk_limit: float | None = RISK_LIMIT,
        test: object = None,
        observers: tuple[Observer, ...] = (),
        keep_risk: bool = True,
        dtype: np.dtype,
    ) -> Wanted:
        """Validate what a run of `members` members in `dtype` is asked to record at `steps`; raises InvalidInput."""
        levels = check_finite("quantiles", quantiles)
        if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
            raise InvalidInput(f"quantiles must lie in [0, 1], a list of numbers, got {shown(quantiles)}")
        if levels.size > MOST_QUANTILES:
            raise InvalidInput(f"quantiles must be at most {MOST_QUANTILES} levels, got {levels.size}")
        groups = check_count("groups", groups, least=0)
        if groups == 1 or groups > members:
            raise InvalidInput(f"groups must be 0 or between 2 and the {counted(members, 'member')}, got {groups}")
        points = None if grid is None else problem.augment(grid, "grid")
        values = 0 if points is None else len(points) * problem.n_outputs
        parts = _parts(
            problem, len(steps), members, values, groups, keep_theta=keep_theta, covariance=covariance,
            norms=check_flag("norms", norms), itemsize=dtype.itemsize,
        )  # fmt: skip
        tested = check_test(problem, test)
        if tested is not None:
            parts[f"the test risks of members={members} at {len(steps)} record times"] = (
                float(dtype.itemsize) * len(steps) * members
            )
        if classes := find_loss(problem.loss).probabilities is not None:
            sets = 1 + (tested is not None)
            parts[f"the accuracies of members={members} at {len(steps)} record times"] = (
                8.0 * sets * len(steps) * members
            )
        for one in observers:
            each = float(one.dtype.itemsize) * math.prod(one.shape)
            parts[f"observe[{one.name!r}] of members={members} at {len(steps)} record times"] = (
                each * len(steps) * members
            )
        check_memory(parts)
        return cls(
            steps=steps,
            trajectories=_numbers("keep_theta", keep_theta, members),
            points=points,
            covariance=_numbers("covariance", covariance, problem.n_params),
            quantiles=tuple(levels.tolist()),
            groups=groups,
            norms=norms,
            risk_limit=check_risk_limit(risk_limit),
            test=tested,
            observers=observers,
            keep_risk=check_flag("keep_risk", keep_risk),
            classes=classes,
        )


def check_risk_limit(value: object) -> float:
    """`risk_limit` as in `simdrop.simulate`, infinite for None; raises InvalidInput."""
    return math.inf if value is None else check_number("risk_limit", value, least=1)


def check_test(problem: Problem, test: object) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Samples (x, y) of a test set, x (k, D) as the neurons see them; raises InvalidInput."""
    if test is None:
        return None
    if not isinstance(test, (tuple, list)) or len(test) != 2:
        raise InvalidInput(f"test must be a pair (x, y) of arrays, got {shown(test)}")
    check_rows("test x", test[0], "test y", test[1])
    points = problem.augment(test[0], "test x")
    targets = check_targets(test[1], problem.loss, problem.n_outputs, "test y")
    if targets.shape != (len(points), problem.n_outputs):
        wanted = f"{counted(len(points), 'row')}, as x, and {counted(problem.n_outputs, 'column')}, as the problem's y"
        raise InvalidInput(f"test y must have {wanted}, got shape {np.shape(test[1])}")
    return points, targets


def _parts(
    problem: Problem, times: int, members: int, values: int, groups: int, *, keep_theta: Any, covariance: Any,
    norms: bool, itemsize: int,
) -> dict[str, float]:  # fmt: skip
    """Bytes of what is recorded at `times`, by what they are for; `values` on the grid, numbers of `itemsize` bytes.

    The mean risks at the end take a copy of the risks in double precision, and which of them count.
    """
    params = problem.n_params
    kept, crossed = (
        limit * bool(given) if isinstance(given, (bool, np.bool_)) else len(_numbers(name, given, limit))
        for name, given, limit in (("keep_theta", keep_theta, members), ("covariance", covariance, params))
    )
    return {
        f"the risks of members={members} at {times} record times": (itemsize + 9.0) * times * members,
        f"the norms of members={members} at {times} record times": float(norms) * itemsize * times * members,
        f"the numbers of members={members} and the steps at which they diverged or blew up": 24.0 * members,
        f"mean and spread of {params} parameters at {times} record times": 32.0 * times * params,
        f"keep_theta, the {params} parameters of {kept} members at {times} record times": float(itemsize)
        * times
        * kept
        * params,
        f"the grid, {values} outputs at {times} record times": 32.0 * times * values,
        f"covariance of {crossed} parameters at {times} record times": 16.0 * times * crossed**2,
        f"groups={groups} of means at {times} record times": 16.0 * times * groups * (params + values),
        f"groups={groups} of covariances at {times} record times": 16.0 * times * groups * crossed**2,
    }


def record_steps(steps: int, record: int | ArrayLike, spacing: str = "even", first: int = 0) -> NDArray[np.int64]:
    """The record steps: `record` of them evenly or log-spaced, or those given; always 0 and `steps`.

    A run that goes on from step `first` > 0 records after it: `record` times without it, which the run before has.
    """
    check_choice("spacing", spacing, ("even", "log"))
    begins = first == 0
    if is_one("record", record):
        count = check_count("record", record, least=2 if begins else 1) + (not begins)
        check_memory({f"record={count}": 16.0 * count})
        if spacing == "even":
            chosen = np.linspace(first, steps, count)
        else:
            chosen = first + np.concatenate([[0], np.geomspace(1, steps - first, max(count - 1, 1))])
    else:
        chosen = check_finite("record", record)
        if chosen.ndim != 1 or not ((chosen >= first) & (chosen <= steps) & (chosen == np.rint(chosen))).all():
            raise InvalidInput(
                f"record must be a count or a list of whole steps in {first} ... {steps}, got {shown(record)}"
            )
    found = np.unique(np.concatenate([[first, steps], np.rint(chosen)]).astype(np.int64))
    return found if begins else found[1:]


def _numbers(name: str, value: bool | Sequence[int], limit: int) -> NDArray[np.int64]:
    """Numbers in [0, limit): all for True, none for False, else those given, sorted, without repetition."""
    if isinstance(value, (bool, np.bool_)):
        return np.arange(limit if value else 0)
    words = f"{name} must be True, False or whole numbers from 0 to {limit - 1}, got {shown(value)}"
    try:
        given = check_whole(name, value, most=limit - 1)
    except InvalidInput:
        raise InvalidInput(words) from None
    if given.ndim != 1:
        raise InvalidInput(words)
    return np.unique(given)


Running = TypeVar("Running", "Moments", "Products")


def _part(running: Running, times: slice) -> Running:
    """Running sums of some times, views."""
    found = copy.copy(running)
    for name, array in vars(running).items():
        setattr(found, name, array[times])
    return found


class Moments:
    """Running mean and, where asked for, variance over members of vectors of K numbers, at T times."""

    def __init__(self, times: int, size: int, *, squares: bool) -> None:
        self.count = np.zeros((times, 1), dtype=np.int64)
        self.mean = np.zeros((times, size))
        self.m2 = np.zeros((times, size if squares else 0))

    def add(self, time: int, seen: Seen, what: What, rows: slice, alive: Alive) -> None:
        """Add the living ones of the members `rows`."""
        seen.add(what, rows, alive, self.count[time], self.mean[time], self.m2[time])

    def part(self, times: slice) -> Moments:
        """The same of some record times, as views."""
        return _part(self, times)

    def means(self) -> Array:
        """Means (T, K), NaN where nothing was counted."""
        return np.where(self.count > 0, self.mean, np.nan)

    def deviations(self) -> Array:
        """Standard deviations (T, K) with M - 1 in the denominator, NaN where fewer than two were counted."""
        return np.sqrt(np.where(self.count > 1, self.m2, np.nan) / np.maximum(self.count - 1, 1))


class Products:
    """Running covariance over members of chosen parameters at T times."""

    def __init__(self, times: int, size: int) -> None:
        self.count = np.zeros((times, 1), dtype=np.int64)
        self.mean = np.zeros((times, size))
        self.sums = np.zeros((times, size, size))

    def add(self, time: int, values: Array, alive: Alive) -> None:
        """Add the rows (B, K) of the living members."""
        from simdrop_kernels.cpu.statistics import accumulate_products

        accumulate_products(self.count[time], self.mean[time], self.sums[time], values, alive)

    def part(self, times: slice) -> Products:
        """The same of some record times, as views."""
        return _part(self, times)

    def covariances(self) -> Array:
        """Covariances (T, K, K) with M - 1 in the denominator, NaN where fewer than two were counted."""
        count = self.count[:, :, None]
        both = (self.sums + self.sums.swapaxes(-1, -2)) / 2
        return np.where(count > 1, both / np.maximum(count - 1, 1), np.nan)


class Recorder:
    """Records blocks of members at the record steps; `dataset` has what was recorded so far."""

    def __init__(self, wanted: Wanted, *, members: int, params: int, outputs: int, dtype: np.dtype) -> None:
        self.wanted = wanted
        self.members = members
        times = len(wanted.steps)
        self.risk = np.full((times, members), np.nan, dtype=dtype)
        self.norm = np.full((times, members if wanted.norms else 0), np.nan, dtype=dtype)
        self.diverged = np.full(members, -1, dtype=np.int64)
        self.blown_up = np.full(members, -1, dtype=np.int64)
        self.theta = Moments(times, params, squares=True)
        grid = 0 if wanted.points is None else len(wanted.points) * outputs
        self.outputs = outputs
        self.values = Moments(times, grid, squares=True)
        self.products = Products(times, len(wanted.covariance))
        self.group_products = [Products(times, len(wanted.covariance)) for _ in range(wanted.groups)]
        self.kept = np.full((times, len(wanted.trajectories), params), np.nan, dtype=dtype)
        self.group_theta = [Moments(times, params, squares=False) for _ in range(wanted.groups)]
        self.group_values = [Moments(times, grid, squares=False) for _ in range(wanted.groups)]
        self._group_start = np.arange(wanted.groups + 1) * members // max(wanted.groups, 1)
        self.test = None if wanted.test is None else tuple(for_kernels(array, dtype) for array in wanted.test)
        self.test_risk = np.full((times, members if self.test else 0), np.nan, dtype=dtype)
        self.accuracy = np.full((times, members if wanted.classes else 0), np.nan)
        self.test_accuracy = np.full((times, members if self.test and wanted.classes else 0), np.nan)
        self.observations = Observations(wanted.observers, times, members)

    def part(self, times: slice) -> Recorder:
        """What was recorded at some times, views of it."""
        found = copy.copy(self)
        found.wanted = replace(self.wanted, steps=self.wanted.steps[times])
        for name in ("risk", "norm", "kept", "test_risk", "accuracy", "test_accuracy"):
            setattr(found, name, getattr(self, name)[times])
        for name in ("theta", "values", "products", "observations"):
            setattr(found, name, getattr(self, name).part(times))
        for name in ("group_theta", "group_values", "group_products"):
            setattr(found, name, [running.part(times) for running in getattr(self, name)])
        return found

    def observe(self, time: int, first: int, seen: Seen, alive: Alive) -> None:
        """Record members first, first + 1, ... at record time number `time`; alive (B,): whether a member counts."""
        last, everyone = first + seen.members, slice(0, seen.members)
        self.risk[time, first:last] = np.where(alive, seen.risk, np.nan)
        if self.wanted.norms:
            self.norm[time, first:last] = np.where(alive, seen.norms(), np.nan)
        if self.test is not None:
            self.test_risk[time, first:last] = np.where(alive, seen.risk_at(*self.test), np.nan)
        if self.wanted.classes:
            self.accuracy[time, first:last] = np.where(alive, seen.accuracy, np.nan)
        if self.wanted.classes and self.test is not None:
            self.test_accuracy[time, first:last] = np.where(alive, seen.accuracy_at(*self.test), np.nan)
        sums: list[tuple[What, Moments, list[Moments]]]
        sums = [("theta", self.theta, self.group_theta), ("values", self.values, self.group_values)]
        for what, running, groups in sums if self.wanted.points is not None else sums[:1]:
            running.add(time, seen, what, everyone, alive)
            for group, rows in self._groups(first, last):
                groups[group].add(time, seen, what, rows, alive)
        if self.wanted.covariance.size:
            crossed = seen.theta(np.arange(seen.members), self.wanted.covariance)
            self.products.add(time, crossed, alive)
            for group, rows in self._groups(first, last):
                self.group_products[group].add(time, crossed[rows], alive[rows])
        kept = np.flatnonzero((self.wanted.trajectories >= first) & (self.wanted.trajectories < last))
        if kept.size:
            rows_kept = self.wanted.trajectories[kept] - first
            theta = seen.theta(rows_kept, np.arange(self.kept.shape[2]))
            self.kept[time, kept] = np.where(alive[rows_kept, None], theta, np.nan)
        self.observations.observe(time, first, seen, alive)

    def _groups(self, first: int, last: int) -> Iterator[tuple[int, slice]]:
        """The groups that have some of the members first ... last - 1, and which of these."""
        for group in range(self.wanted.groups):
            rows = slice(*(np.clip(self._group_start[group : group + 2], first, last) - first).tolist())
            if rows.start < rows.stop:
                yield group, rows

    def state(self) -> dict[str, NDArray[Any]]:
        """All that was recorded, by name: the arrays themselves, to be saved or filled in place."""
        found: dict[str, NDArray[Any]] = {"risk": self.risk, "diverged": self.diverged, "kept": self.kept}
        found |= {"norm": self.norm, "blown_up": self.blown_up}
        if self.test is not None:
            found["test_risk"] = self.test_risk
        if self.wanted.classes:
            found |= {"accuracy": self.accuracy, "test_accuracy": self.test_accuracy}
        found |= {f"observed.{name}": values for name, values in self.observations.values.items()}
        sums: list[tuple[str, Moments | Products]] = [("theta", self.theta), ("values", self.values)]
        sums += [("products", self.products)]
        sums += [(f"group_theta{k}", moments) for k, moments in enumerate(self.group_theta)]
        sums += [(f"group_values{k}", moments) for k, moments in enumerate(self.group_values)]
        if self.wanted.covariance.size:
            sums += [(f"group_products{k}", products) for k, products in enumerate(self.group_products)]
        for name, running in sums:
            found |= {f"{name}.{part}": array for part, array in vars(running).items()}
        return found

    def dataset(self, *, time: Array | None, grid: Array | None, attrs: dict[str, Any]) -> xr.Dataset:
        """The dataset of everything recorded so far; `time` (T,) in units of lr · step, or None."""
        import xarray as xr

        counted = np.isfinite(self.risk)
        variables: dict[str, Any] = self._summary("risk", self.risk)
        if self.test is not None:
            variables |= self._summary("test_risk", self.test_risk)
        if self.wanted.classes:
            variables |= self._summary("accuracy", self.accuracy)
        if self.wanted.classes and self.test is not None:
            variables |= self._summary("test_accuracy", self.test_accuracy)
        variables |= {
            "theta_mean": (("time", "param"), self.theta.means()),
            "theta_std": (("time", "param"), self.theta.deviations()),
            "alive": (("time",), self.theta.count[:, 0]),
            "diverged": (("member",), self.diverged),
            "blown_up": (("member",), self.blown_up),
        }
        coords: dict[str, Any] = {
            "step": ("time", self.wanted.steps),
            "member": np.arange(self.members),
            "param": np.arange(self.theta.mean.shape[1]),
        }
        if time is not None:
            coords["time"] = ("time", time)
        if self.wanted.quantiles:
            coords["quantile"] = np.array(self.wanted.quantiles)
        if self.wanted.norms:
            variables["norm"] = (("time", "member"), self.norm)
        self._add_grid(variables, coords, grid)
        self._add_groups(variables, counted)
        if self.wanted.covariance.size:
            variables["theta_cov"] = (("time", "param_i", "param_j"), self.products.covariances())
            coords |= {"param_i": self.wanted.covariance, "param_j": self.wanted.covariance}
        if self.wanted.trajectories.size:
            everyone = len(self.wanted.trajectories) == self.members
            variables["theta"] = (("time", "member" if everyone else "kept", "param"), self.kept)
            if not everyone:
                coords["kept"] = ("kept", self.wanted.trajectories)
        self.observations.add_to(variables, coords, counted)
        return xr.Dataset(variables, coords, attrs)

    def _summary(self, name: str, values: Array) -> dict[str, Any]:
        """Variables of a number (T, M) of every member: itself where it is kept, mean, deviation and quantiles."""
        counted = np.isfinite(values)
        found: dict[str, Any] = {}
        if self.wanted.keep_risk:
            found[name] = (("time", "member"), values)
        found[f"{name}_mean"] = (("time",), _over_members(np.mean, values, counted, least=1))
        found[f"{name}_std"] = (("time",), _over_members(lambda r: np.std(r, ddof=1), values, counted, least=2))
        if self.wanted.quantiles:
            levels = np.array(self.wanted.quantiles)
            rows = zip(values, counted, strict=True)
            quantiles = [np.quantile(r[c], levels) if c.any() else levels * np.nan for r, c in rows]
            found[f"{name}_quantile"] = (("time", "quantile"), np.array(quantiles))
        return found

    def _add_grid(self, variables: dict[str, Any], coords: dict[str, Any], grid: Array | None) -> None:
        if grid is None:
            return
        shape = (len(self.wanted.steps), len(grid), self.outputs)
        variables["f_mean"] = (("time", "point", "output"), self.values.means().reshape(shape))
        variables["f_std"] = (("time", "point", "output"), self.values.deviations().reshape(shape))
        coords["grid"] = (("point", "input"), grid)

    def _add_groups(self, variables: dict[str, Any], counted: NDArray[np.bool_]) -> None:
        if not self.wanted.groups:
            return
        spans = [slice(a, b) for a, b in zip(self._group_start[:-1], self._group_start[1:], strict=True)]
        risks = [_over_members(np.mean, self.risk[:, s], counted[:, s], least=1) for s in spans]
        theta = np.stack([m.means() for m in self.group_theta], axis=1)
        variables["group_theta_mean"] = (("time", "group", "param"), theta)
        variables["group_risk_mean"] = (("time", "group"), np.stack(risks, axis=1))
        alive = np.concatenate([m.count for m in self.group_theta], axis=1)
        variables["group_alive"] = (("time", "group"), alive)
        if self.wanted.covariance.size:
            spreads = np.stack([one.covariances() for one in self.group_products], axis=1)
            variables["group_theta_cov"] = (("time", "group", "param_i", "param_j"), spreads)
        if self.values.mean.shape[1]:
            values = np.stack([m.means() for m in self.group_values], axis=1)
            shape = (*values.shape[:2], -1, self.outputs)
            variables["group_f_mean"] = (("time", "group", "point", "output"), values.reshape(shape))


def _over_members(reduce: Callable[[Array], Any], risk: Array, counted: NDArray[np.bool_], *, least: int) -> Array:
    """`reduce` over the counted members of every time, in double precision; NaN with fewer than `least`."""
    rows = zip(risk.astype(np.float64), counted, strict=True)
    with np.errstate(over="ignore", invalid="ignore"):  # members on their way to infinity
        return np.array([reduce(r[c]) if c.sum() >= least else np.nan for r, c in rows])
