"""benchmark(): the throughput of every backend on this machine, over sizes, and its share of the roofline.

Throughput is in neuron·sample updates per second: members · width · samples · steps / time. The roofline is
the rate at which this processor does fused multiply-adds, measured in the same run; a kernel that spends
k arithmetic vector instructions on an update (counted in its source) could reach 1/k of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simdrop_kernels import Ensemble, Network, Step, registry
from simdrop_kernels.contract.step import BackendError, Sizes

from ... import provenance
from ...checks.numbers import check_count, check_flag, check_number, check_threads
from ...checks.words import check_names
from ...output.progress import Progress, check_progress, telling
from ...simulation.interrupt import raising
from ...simulation.run import with_partial
from ..result import Result
from .table import table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from simdrop_kernels.registry import BackendName

#: bytes of outputs and weights beyond which the NumPy backend, which holds all members at once, is left out
NUMPY_BYTES = 1 << 30
#: timings of a point that end within a life
MOST_REPEATS = 1_000_000
#: an hour: what takes longer was not meant
MOST_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration: SGD on all samples, tanh, with bias."""

    backend: str
    width: int = 128
    samples: int = 32
    inputs: int = 1
    outputs: int = 1
    members: int = 256
    keep_prob: float = 0.9
    mask: str = "step"
    dtype: str = "float32"
    threads: int = 1

    def updates(self, steps: int) -> float:
        """Neuron·sample updates of `steps` steps."""
        return float(self.members) * self.width * self.samples * steps

    @property
    def network(self) -> tuple[int, int]:
        """Samples and width, which small networks vary together."""
        return self.samples, self.width

    def feasible(self) -> bool:
        """Whether the backend holds this in memory: NumPy's intermediate arrays cover all members."""
        return self.backend != "numpy" or 4 * self.members * self.width * self.samples * 8 < NUMPY_BYTES


#: samples and widths of small networks, at which theory is validated
SMALL = ((4, 5), (4, 16), (8, 8), (8, 32), (15, 50), (32, 8))
#: axis -> its values, in the quick and in the full mode; the rest as in Point
QUICK: dict[str, Sequence[Any]] = {"network": SMALL, "width": (32, 128, 1000), "keep_prob": (0.5, 0.9)}
FULL: dict[str, Sequence[Any]] = {
    "network": SMALL,
    "width": (16, 32, 64, 128, 256, 1000, 4096),
    "samples": (8, 32, 128, 1024),
    "inputs": (1, 8, 64, 784),
    "members": (1, 16, 256, 10_000, 1_000_000),
    "keep_prob": (0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
    "mask": ("step", "sample"),
    "dtype": ("float32", "float64"),
}


def points(backends: Sequence[str], *, full: bool, threads: int) -> dict[str, list[Point]]:
    """The points of every axis; in the full mode every axis but mask and dtype is walked for both masks."""
    axes = dict(FULL if full else QUICK)
    axes["threads"] = sorted({1, threads, *(2**k for k in range(10) if 2**k < threads)})
    found: dict[str, list[Point]] = {}
    for axis, values in axes.items():
        masks = ("step", "sample") if full and axis not in ("mask", "dtype") else ("step",)
        found[axis] = [
            _sized(_at(Point(backend=backend, threads=threads, mask=mask), axis, value), axis)
            for backend in backends
            for mask in masks
            for value in values
        ]
    return found


def _at(point: Point, axis: str, value: Any) -> Point:
    """`point` with another value on an axis."""
    known = zip(("samples", "width"), value, strict=True) if axis == "network" else [(axis, value)]
    return replace(point, **dict(known))


def _sized(point: Point, axis: str) -> Point:
    """Fewer members where one member is large, so that a step stays short; 10⁶ members are of width 32."""
    if axis == "members":
        return replace(point, width=32 if point.members > 10_000 else point.width)
    if axis == "inputs" and point.inputs > 1:
        return replace(point, outputs=10, members=max(1, 256 // point.inputs))
    return replace(point, members=int(min(256, max(1, 256 * 128 * 32 // (point.width * point.samples)))))


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """What benchmark() found.

    Attributes
    ----------
    summary : dict
        Rows, roofline, machine and settings as plain values.
    """

    study = "bench"

    summary: dict[str, Any]

    def table(self) -> str:
        """The rows as text, one line for each point and backend."""
        return table(self.summary)

    def figure(self) -> Figure:
        """One panel for each axis: medians, with bars from the least to the largest rate."""
        from . import figure

        return figure.benchmark(self.summary)

    def datasets(self) -> dict[str, xr.Dataset]:
        """None: all numbers are in the summary."""
        return {}


class Stopwatch:
    """One point, ready to be timed: `rate()` runs it once and returns updates per second."""

    def __init__(self, point: Point, seconds: float) -> None:
        self.point = point
        self.backend = registry.load(point.backend)
        self.step = Step(network=Network(mask=point.mask))  # type: ignore[arg-type]
        self.x, self.y, self.ensemble = _arrays(point)
        self.steps = 1
        self.rate()  # compiles
        while True:
            rate = self.rate()
            wanted = int(seconds * rate / point.updates(1))
            if wanted <= 2 * self.steps:
                break
            self.steps = min(wanted, 8 * self.steps)

    def rate(self) -> float:
        """Updates per second of one run."""
        started = time.perf_counter()
        self.backend.advance(
            self.step, self.x, self.y, self.ensemble, seed=0, first_step=0, steps=self.steps, threads=self.point.threads
        )
        return self.point.updates(self.steps) / (time.perf_counter() - started)


def _arrays(point: Point) -> tuple[np.ndarray, np.ndarray, Ensemble]:
    random = np.random.default_rng(0)
    if point.inputs == 1:
        x = np.linspace(-1, 1, point.samples)[:, None]
    else:
        x = random.standard_normal((point.samples, point.inputs))
    y = np.sin(3 * x[:, :1]) * np.ones(point.outputs)
    x = np.concatenate([x, np.ones((point.samples, 1))], axis=1)
    size = point.width * (point.inputs + 1 + point.outputs)
    start = (random.standard_normal(size) / np.sqrt(point.width)).astype(point.dtype)
    ensemble = Ensemble.start(
        np.broadcast_to(start, (point.members, size)),
        lr=0.1 / (point.width + point.inputs),
        keep_prob=point.keep_prob,
    )
    return x.astype(point.dtype), y.astype(point.dtype), ensemble


def check_backends(names: Sequence[str]) -> list[str]:
    """The backends to measure, all that run here for none; raises InvalidInput, BackendError."""
    names = check_names("backends", names, registry.names())
    for name in names:
        if reason := registry.load(name).unavailable():
            raise BackendError(f"backend {name!r} cannot run: {reason}")
    return list(names) or [name for name in registry.names() if registry.load(name).unavailable() is None]


@raising()
def benchmark(
    *,
    backends: Sequence[BackendName] | Sequence[str] | None = None,
    full: bool = False,
    threads: int | None = None,
    repeats: int = 5,
    seconds: float | None = None,
    progress: Progress | bool | None = None,
) -> Benchmark:
    """Measure the throughput of backends over members, steps, samples, width and threads.

    Parameters
    ----------
    backends : sequence of str, optional
        Backends to measure; by default all that run here.
    full : bool
        Whether to measure at more and larger sizes.
    threads : int, optional
        Processor threads; all cores by default.
    repeats : int
        Measurements of each point. Those of one axis are interleaved, so that a slow moment of the machine meets all.
    seconds : float, optional
        Shortest time of one measurement, at most an hour; by default 0.05, or 0.1 with `full`.
    progress : bool or callable, optional
        True for bars on stderr, or a function called as progress(stage, done, total).

    Returns
    -------
    Benchmark
        A row has the point, the axis it belongs to, the median, least and largest rate in updates per second, and the
        share of the roofline where the operations of its kernel are counted.

    Raises
    ------
    InvalidInput, BackendError
        An argument is wrong, or a named backend cannot run here.
    KeyboardInterrupt
        As in `simdrop.simulate`. Whatever stops the measurement has the rows that were done as `partial`.
    """
    from simdrop_kernels.cpu.roofline import peak_multiply_adds

    threads = provenance.cores() if threads is None else check_threads(threads)
    named = check_backends(() if backends is None else backends)
    full, repeats = check_flag("full", full), check_count("repeats", repeats, most=MOST_REPEATS)
    seconds = (0.1 if full else 0.05) if seconds is None else seconds
    seconds = check_number("seconds", seconds, above=0, most=MOST_SECONDS)
    progress = check_progress(progress)
    axes = points(named, full=full, threads=threads)
    total = sum(len(group) for group in axes.values())
    roofs: dict[tuple[str, int], float] = {}
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []

    def so_far(interrupted: bool) -> Benchmark:
        peaks = [{"dtype": dtype, "threads": count, "multiply_adds": peak} for (dtype, count), peak in roofs.items()]
        return Benchmark(
            {
                "rows": rows,
                "left_out": skipped,
                "roofline": sorted(peaks, key=lambda peak: (peak["dtype"], peak["threads"])),
                "settings": {"full": full, "repeats": repeats, "seconds": seconds, "backends": list(named)},
                "machine": provenance.machine() | provenance.versions(),
                "interrupted": interrupted,
            }
        )

    with telling(progress) as tell:
        try:
            for axis, group in axes.items():
                runnable = [point for point in group if point.feasible()]
                skipped += [
                    asdict(point) | {"network": point.network, "axis": axis} for point in group if not point.feasible()
                ]
                for one in {(point.dtype, point.threads) for point in runnable} - set(roofs):
                    roofs[one] = peak_multiply_adds(np.dtype(one[0]), one[1])
                for point, rates in _timed(runnable, repeats, seconds):
                    rows.append(_row(axis, point, rates, roofs[point.dtype, point.threads]))
                    tell("measure", len(rows) + len(skipped), total)
        except BaseException as error:
            if rows:
                with_partial(error, so_far(interrupted=True))
            raise
    return so_far(interrupted=False)


def _timed(group: list[Point], repeats: int, seconds: float) -> Iterator[tuple[Point, list[float]]]:
    """Every point with its rates: those of one size are timed in turn, backend by backend."""
    sizes: dict[Point, list[Point]] = {}
    for point in group:
        sizes.setdefault(replace(point, backend="", threads=0), []).append(point)
    for same in sizes.values():
        watches = [Stopwatch(point, seconds) for point in same]
        rates = [[watch.rate() for watch in watches] for _ in range(repeats)]
        yield from zip(same, map(list, zip(*rates, strict=True)), strict=True)


def _row(axis: str, point: Point, rates: list[float], roof: float) -> dict[str, Any]:
    backend, dtype, inputs = registry.load(point.backend), np.dtype(point.dtype), point.inputs + 1
    count, by_members = (getattr(backend, name, None) for name in ("operations", "operations_by_members"))
    network = Network(mask=point.mask)  # type: ignore[arg-type]
    operations = count and count(network, dtype, inputs, point.outputs)
    median = statistics.median(rates)
    # Under step masks only the kept neurons have to be computed, but for members side by side all are.
    share = point.keep_prob if point.mask == "step" else 1.0
    if by_members and (of_all := by_members(network, dtype, Sizes(point.samples, point.width, inputs, point.outputs))):
        operations, share = of_all, 1.0
    return asdict(point) | {
        "network": f"{point.samples}, {point.width}",
        "axis": axis,
        "updates_per_second": median,
        "least": min(rates),
        "largest": max(rates),
        "operations": operations,
        "roofline_share": median * share * operations / roof if operations else None,
    }
