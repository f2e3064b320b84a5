"""Small runs, commands and sweeps for the tests of what is written where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import simdrop
from simdrop import cli

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
THETA0 = PROBLEM.init(seed=3)
COMPARE = ["compare", "--data", "sin", "--members", "12", "--steps", "20", "--width", "5", "--record", "4",
           "--backend", "numpy", "--quiet"]  # fmt: skip
ORDER = ["order", "--members", "400", "--paths", "3", "--kinds", "averaged", "--lrs", "0.2", "--lrs", "0.1",
         "--lrs", "0.05", "--backend", "numpy", "--quiet"]  # fmt: skip
SWEEP = """
[problem]
data = "sin"
width = 4
[simulate]
steps = {steps}
members = 20
backend = "numpy"
[sweep]
lr = [0.01, 0.02]
keep_prob = [0.5, 0.9]
"""


def run(*arguments: Any) -> Any:
    return cli.run([str(argument) for argument in arguments])


def simulate(**changes: Any) -> Any:
    given = {"lr": 0.05, "steps": 200, "members": 6, "record": 5, "backend": "numpy"}
    return simdrop.simulate(PROBLEM, THETA0, **(given | changes))


def sme(**changes: Any) -> Any:
    given = {"lr": 0.05, "times": [0.0, 0.1, 0.2], "members": 6, "backend": "numpy"}
    return simdrop.sme(PROBLEM, THETA0, **(given | changes))


def study(folder: Path, steps: int = 20) -> Path:
    file = folder / "study.toml"
    file.write_text(SWEEP.format(steps=steps))
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
