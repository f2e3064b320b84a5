"""The experiments on digits at toy sizes, and MNIST's files."""

from __future__ import annotations

import gzip
import importlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproduce.drawn import drawn

from simdrop import theory
from simdrop.data import mnist
from simdrop.errors import InvalidInput
from simdrop.reproduce import Settings
from simdrop.reproduce.shared import digits

pytest.importorskip("sklearn")


def _write(folder: Any, part: Any, images: Any, labels: Any, *, packed: Any) -> None:
    for kind, array in (("images", images), ("labels", labels)):
        content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        name = mnist.FILES[part, kind][0]
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        _write(tmp_path, part, images, random.integers(0, 10, count, dtype=np.uint8), packed=part == "train")
    return tmp_path


def test_mnist_is_read_as_it_was_written(folder: Any) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    found, labels = mnist.read(folder, "train")
    np.testing.assert_array_equal(np.rint(found * 255), images.reshape(30, 784))
    np.testing.assert_array_equal(labels, random.integers(0, 10, 30, dtype=np.uint8))
    assert mnist.read(folder, "t10k")[0].shape == (20, 784)


@pytest.mark.parametrize("damage", ["missing", "short", "magic", "counts", "gzip"])
def test_files_that_are_not_mnist_are_refused(folder: Any, damage: Any) -> None:
    path = folder / mnist.FILES["t10k", "labels"][0]
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[:-1])
    elif damage == "magic":
        path.write_bytes(b"\0\0\7\1" + content[4:])
    elif damage == "counts":
        path.write_bytes(content[:4] + struct.pack(">I", 19) + content[8:-1])
    else:
        path.with_name(path.name + ".gz").write_bytes(b"no gzip")
        path.unlink()
    with pytest.raises(InvalidInput, match="t10k"):
        mnist.read(folder, "t10k")


def test_experiments_take_mnist_where_it_is_given(folder: Any) -> None:
    here = digits.digits(Settings(mnist=folder), {False: (25, 6)})
    assert here.problem.x.shape == (25, 784)
    assert here.about.startswith("MNIST")
    np.testing.assert_array_equal(here.problem.y.sum(axis=1), 1)
    theta = digits.starts(here, 2)
    right = here.problem.predict(theta[1], here.x).argmax(axis=1) == here.labels
    assert here.accuracy(theta)[1] == right.mean()


def test_a_schedule_is_in_units_of_the_curvature() -> None:
    here = digits.digits(Settings(), {False: (20, 5)})
    theta0 = digits.starts(here, 2)
    top = max(np.linalg.eigvalsh(theory.hessian(here.problem, one, objective="risk")).max() for one in theta0)
    known = digits.schedule(here, theta0, ((1.0, 1.0), (3.0, 2.0)))
    np.testing.assert_allclose(list(known["lr"].values()), [1 / top, 2 / top], rtol=1e-4)
    assert list(known["lr"]) == [0, round(top)]
    assert known["steps"] == round(top) + round(top)


@pytest.mark.parametrize("name", ["r1", "r2", "four-losses", "barriers"])
def test_runs_and_draws_at_a_toy_size(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 24 steps no loss has got ahead of another: rules that claim it must fail."""
    module = importlib.import_module(f"simdrop.reproduce.papers.{name.replace('-', '_')}")
    monkeypatch.setattr(module, "SIZES", {False: (40, 8)})
    if name == "r2":
        monkeypatch.setattr(module, "STEPS", {False: 24})
    else:
        monkeypatch.setattr(module, "schedule", lambda *rest: {"lr": {0: 5e-3, 20: 1e-3}, "steps": 24})
    outcome = drawn(module.EXPERIMENT, Settings(seeds=2, threads=1, backend="numpy"))
    assert not outcome.passed
