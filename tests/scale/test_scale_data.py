"""A sweep reads its data once, and what its file leaves out means what it means in Python."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import scale
from simdrop.cli.compare import CompareSettings
from simdrop.scale.point import Point

OPENED: list[str] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        OPENED.append(Path(arguments[0]).name)


@pytest.fixture(scope="module")
def _listening() -> None:
    sys.addaudithook(_listen)  # it stays for the life of the process


@pytest.fixture
def opened(_listening: None) -> list[str]:
    """Names of the files that are opened, as the interpreter tells."""
    OPENED.clear()
    return OPENED


def _design(path: Path, **sweep: Any) -> scale.Design:
    tables = {"problem": {"data": str(path), "width": 3}, "simulate": {"steps": 4, "members": 4, "backend": "numpy"}}
    return scale.design(tables | {"sweep": sweep})


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_the_file_is_opened_once_for_many_launches(ending: str, tmp_path: Path, opened: list[str]) -> None:
    path, x = tmp_path / f"own.{ending}", np.linspace(-1, 1, 5)
    if ending == "npz":
        np.savez(path, x=x, y=np.sin(3 * x))
    else:
        path.write_text("x,y\n" + "".join(f"{a},{np.sin(3 * a)}\n" for a in x))
    extra = {} if ending == "npz" else {"target": "y"}
    tables = {"problem": {"data": str(path), **extra}, "simulate": {"steps": 4, "members": 4, "backend": "numpy"}}
    design = scale.design(tables | {"sweep": {"width": [2, 3, 4, 5, 6]}})
    opened.clear()
    found = scale.sweep(design, tmp_path / "out")
    assert np.isfinite(found["risk_mean"].values).all()
    assert opened.count(path.name) == 1


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path, x = tmp_path / "own.npz", np.linspace(-1, 1, 5)
    first = []
    for factor in (1, 2):
        np.savez(path, x=x, y=factor * np.sin(3 * x), padding=np.zeros(factor))
        found = scale.sweep(_design(path, lr=[0.1, 0.2]), tmp_path / str(factor))
        first.append(found["risk_mean"].values[0, 0])
    assert first[0] != first[1]


def test_what_a_sweep_leaves_out_is_what_simulate_takes(tmp_path: Path) -> None:
    """To the bit: dtype, record times, seed and limits are those of Python."""
    tables = {"problem": {"data": "sin", "width": 3}, "simulate": {"steps": 60, "members": 4, "backend": "numpy"}}
    found = scale.sweep(scale.design(tables | {"sweep": {"lr": [0.05, 0.1]}}), tmp_path)
    data = simdrop.data.load("sin")
    problem = simdrop.Problem(data.x, data.y, width=3, keep_prob=Point().keep_prob, output_scale=Point().output_scale)
    alone = simdrop.simulate(problem, problem.init(seed=0), lr=0.1, steps=60, members=4, backend="numpy")
    np.testing.assert_array_equal(found["step"].values[1], alone["step"].values)
    np.testing.assert_array_equal(found["risk_mean"].values[1], alone["risk"].values.mean(axis=1))


@pytest.mark.parametrize("name", ["dtype", "record", "spacing", "risk_limit", "backend", "memory", "seed"])
def test_a_default_is_the_same_in_python_on_the_command_line_and_in_a_sweep(name: str) -> None:
    unit = {"memory": 1 << 20}.get(name, 1)  # MiB on the command line
    defaults = [inspect.signature(door).parameters[name].default for door in (simdrop.simulate, simdrop.compare)]
    if name in ("dtype", "seed"):  # None where a run goes on; what it stands for elsewhere is told by the result
        problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=3)
        runs = simdrop.simulate(problem, problem.init(seed=0), lr=0.1, steps=2, members=4, backend="numpy")
        defaults[0] = type(defaults[1])(runs.attrs[name])
    for settings in (CompareSettings, Point):
        defaults += [field.default * unit for field in fields(settings) if field.name == name]
    assert len(defaults) >= 3
    assert len(set(defaults)) == 1
