"""What the comparisons share: the cases, the risk that verifies them, the machine, the results' files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One training problem: a two-layer tanh network with bias, dropout on its hidden layer, full-batch SGD.

    All members start from one theta0, so that what differs between them is dropout alone. The output
    weights are N(0, 1/m), the input weights N(0, 1/d): outputs are of order 1 for any width and input.
    """

    width: int
    samples: int = 32
    inputs: int = 1
    outputs: int = 1
    mask: str = "step"
    dtype: str = "float32"
    keep_prob: float = 0.9
    steps: int = 200

    @property
    def name(self) -> str:
        """A short name: what differs between the cases."""
        sizes = f"d={self.inputs} c={self.outputs} n={self.samples} m={self.width}"
        return f"{self.dtype} {self.mask} p={self.keep_prob:g} {sizes}"

    @property
    def lr(self) -> float:
        """A learning rate well inside the stable range: the tangent kernel grows like m + d."""
        return 0.5 / (self.width + self.inputs)

    def updates(self, members: int) -> float:
        """Neuron-sample updates of one run: the unit of throughput."""
        return float(members) * self.width * self.samples * self.steps

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, D) with the bias's column of ones last, and targets (n, c), in the case's dtype."""
        if self.inputs == 1:
            x = np.linspace(-1, 1, self.samples)[:, None]
            y = np.sin(3 * x)
        else:
            rng = np.random.default_rng(1)
            x = rng.standard_normal((self.samples, self.inputs))
            y = np.eye(self.outputs)[rng.integers(0, self.outputs, self.samples)]
        return np.hstack([x, np.ones((self.samples, 1))]).astype(self.dtype), y.astype(self.dtype)

    def theta0(self) -> np.ndarray:
        """The common start (P,): a (c, m) row by row, then w (m, D) row by row with the bias last."""
        rng = np.random.default_rng(2)
        a = rng.standard_normal((self.outputs, self.width)) / np.sqrt(self.width)
        w = rng.standard_normal((self.width, self.inputs + 1))
        w[:, :-1] /= np.sqrt(self.inputs)
        return np.concatenate([a.ravel(), w.ravel()]).astype(self.dtype)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """The common start as output weights a (c, m) and input weights w (m, D)."""
        cut = self.outputs * self.width
        theta = self.theta0()
        return theta[:cut].reshape(self.outputs, self.width), theta[cut:].reshape(self.width, -1)

    def risk(self, theta: np.ndarray) -> np.ndarray:
        """R_S (M,) of the whole networks theta (M, P), in float64, some members at a time."""
        x, y = (v.astype(np.float64) for v in self.data())
        cut, at_once = self.outputs * self.width, max(1, (1 << 20) // (self.width * self.samples))
        risks = np.empty(len(theta))
        for first in range(0, len(theta), at_once):
            some = theta[first : first + at_once].astype(np.float64)
            a = some[:, :cut].reshape(len(some), self.outputs, -1)
            w = some[:, cut:].reshape(len(some), self.width, -1)
            f = np.tanh(x @ w.swapaxes(1, 2)) @ a.swapaxes(1, 2)
            risks[first : first + at_once] = np.square(f - y).sum(axis=(1, 2)) / (2 * self.samples)
        return risks

    def to_json(self) -> dict[str, Any]:
        """The fields, for the results' file and for the workers."""
        return asdict(self)


class Trainer(NamedTuple):
    """What a peer's `prepare` returns.

    run    seed -> state: trains all members from theta0 and waits until they are done; this is what is timed
    theta  state -> (M, P): the trained parameters, for the verification; not timed
    """

    run: Callable[[int], Any]
    theta: Callable[[Any], np.ndarray]


def flat(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Parameters (M, P) of a (M, c, m) and w (M, m, D)."""
    return np.concatenate([a.reshape(len(a), -1), w.reshape(len(w), -1)], axis=1)


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The machine and the versions that a result depends on."""
    info: dict[str, Any] = {"date": date.today().isoformat(), "cores": cores(), "python": platform.python_version()}
    cpuinfo = Path("/proc/cpuinfo")
    fields = (
        dict((part.strip() for part in line.split(":", 1)) for line in cpuinfo.read_text().splitlines() if ":" in line)
        if cpuinfo.exists()
        else {}
    )
    flags = fields.get("flags", "").split()
    info["processor"] = fields.get("model name", platform.processor() or platform.machine())
    info["simd"] = next((isa for isa in ("avx512f", "avx2", "avx") if isa in flags), platform.machine())
    info["load before"] = round(os.getloadavg()[0], 2)
    for package in ("simdrop", "numpy", "numba", "torch", "jax", "jaxlib"):
        try:
            info[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            info[package] = None
    git = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    info["revision"] = git.stdout.strip() or None
    return info


def stem(info: dict[str, Any], what: str) -> Path:
    """The results' file name without suffix: what, when and on which machine."""
    words = "".join(c if c.isalnum() else " " for c in info["processor"]).split()
    tag = "-".join(w.lower() for w in words if w.lower() not in {"processor", "cpu", "core", "r", "tm"})
    return RESULTS / f"{what}-{info['date']}-{tag}-{info['cores']}-cores"


def save(path: Path, result: dict[str, Any], markdown: str) -> None:
    """Write PATH.json and PATH.md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".json").write_text(json.dumps(result, indent=1) + "\n")
    path.with_name(path.name + ".md").write_text(markdown)
    print(f"wrote {path}.json and .md", file=sys.stderr)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, padded so that it reads well as plain text; the first column left, others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)]) + "\n"
