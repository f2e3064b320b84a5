"""Sweeps with a test set, with arrays as data, of one point; R_1, accuracy and functions of the user under keep."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import simdrop
from simdrop import scale
from simdrop.errors import InvalidInput
from simdrop.scale.launch import launches

DRAWN = np.random.default_rng(0)
X, Y = DRAWN.standard_normal((12, 2)), DRAWN.standard_normal(12)
DATA, TEST = (X[:7], Y[:7]), (X[7:], Y[7:])
SIMULATE = {"steps": 20, "members": 12, "record": 3, "backend": "numpy", "lr": 0.05}


def largest(problem: simdrop.Problem, theta: NDArray[np.floating]) -> NDArray[np.floating]:
    """The largest parameter of every member."""
    return np.abs(theta).max(axis=1)


def several(problem: simdrop.Problem, theta: NDArray[np.floating]) -> NDArray[np.floating]:
    return theta[:, :2]


def _tables(simulate: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    return {"problem": {"data": DATA, "width": 4}, "simulate": SIMULATE | (simulate or {})} | others


def _alone(keep_prob: float, **options: Any) -> Any:
    problem = simdrop.Problem(*DATA, width=4, keep_prob=keep_prob)
    given = {name: value for name, value in SIMULATE.items() if name != "keep"}
    return problem, simdrop.simulate(problem, problem.init(seed=0), keep_theta=True, **(given | options))


def test_what_is_kept_is_what_a_point_has_alone(tmp_path: Path) -> None:
    keep = ["r1", "norm", f"{__name__}:largest"]
    design = scale.design(_tables({"keep": keep, "test": TEST}, sweep={"keep_prob": [0.6, 0.9], "init_seed": [0, 1]}))
    found = scale.sweep(design, tmp_path)
    for k, keep_prob in enumerate((0.6, 0.9)):
        problem, alone = _alone(keep_prob, test=TEST, norms=True)
        theta = alone["theta"].values
        risk = np.square(problem.predict(theta, TEST[0])[..., 0] - TEST[1]).mean(axis=-1) / 2
        for name, values in {
            "r1": simdrop.theory.r1(problem, theta),
            "largest": np.abs(theta).max(axis=-1),
            "norm": np.linalg.norm(theta, axis=-1),
            "test_risk": risk,
        }.items():
            here = found.sel(keep_prob=keep_prob, init_seed=0)
            np.testing.assert_allclose(here[f"{name}_mean"], values.mean(axis=1), rtol=1e-12, err_msg=name)
            error = values.std(axis=1, ddof=1) / np.sqrt(12)
            np.testing.assert_allclose(here[f"{name}_error"][1:], error[1:], rtol=1e-9, err_msg=f"{name} {k}")
    assert len(launches(design)) == 2  # functions see one keep_prob; the starts may differ
    assert {"r1_mean", "largest_error", "test_risk_mean"} <= set(scale.table(found).columns)
    again = scale.sweep(design, tmp_path, resume=True)
    np.testing.assert_array_equal(again["test_risk_mean"], found["test_risk_mean"])
    tables = _tables({"keep": keep, "test": DATA}, sweep={"keep_prob": [0.6, 0.9], "init_seed": [0, 1]})
    with pytest.raises(InvalidInput, match="belongs to another run: test "):
        scale.sweep(scale.design(tables), tmp_path, resume=True)


def test_a_sweep_of_one_point(tmp_path: Path) -> None:
    design = scale.design(_tables())
    assert (design.dims, design.shape) == (("point",), (1,))
    found = scale.sweep(design, tmp_path)
    _, alone = _alone(simdrop.Problem(*DATA, width=4).keep_prob)
    np.testing.assert_allclose(found["risk_mean"][0], alone["risk_mean"], rtol=1e-13)
    assert len(scale.table(found)) == 3


def test_arrays_are_data_like_a_file_with_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=X[:7], y=Y[:7])
    np.savez(tmp_path / "test.npz", x=X[7:], y=Y[7:])
    standardized = {"width": 4, "standardize": True, "standardize_targets": True}
    found = [
        scale.sweep(
            scale.design({
                "problem": standardized | {"data": data}, "simulate": SIMULATE | {"test": test},
                "sweep": {"init_seed": [0, 1]},
            }),
            tmp_path / name,
        )
        for name, data, test in (
            ("arrays", DATA, TEST), ("files", str(tmp_path / "train.npz"), str(tmp_path / "test.npz")),
        )
    ]  # fmt: skip
    for name in ("risk_mean", "test_risk_mean"):
        np.testing.assert_array_equal(found[0][name], found[1][name])
    x = (X - X[:7].mean(axis=0)) / X[:7].std(axis=0)
    y = (Y - Y[:7].mean()) / Y[:7].std()
    problem = simdrop.Problem(x[:7], y[:7], width=4)
    alone = simdrop.simulate(problem, problem.init(seed=0), test=(x[7:], y[7:]), **SIMULATE)
    np.testing.assert_allclose(found[0]["test_risk_mean"][0], alone["test_risk_mean"], rtol=1e-12)
    swept = scale.design({"problem": {"width": 4}, "simulate": SIMULATE, "sweep": {"data": [DATA, TEST]}})
    point = pickle.loads(pickle.dumps(swept.points[1]))
    assert point == swept.points[1]
    np.testing.assert_array_equal(point.data.y[:, 0], Y[7:])
    assert scale.sweep(swept, tmp_path / "swept")["risk_mean"].shape == (2, 3)


def test_accuracy_of_classes(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    tables = _tables({"keep": ["accuracy"], "test": (X[7:], labels[7:])})
    tables["problem"] |= {"data": (X[:7], labels[:7]), "loss": "softmax"}
    found = scale.sweep(scale.design(tables), tmp_path)
    problem = simdrop.Problem(X[:7], labels[:7], width=4, loss="softmax")
    alone = simdrop.simulate(problem, problem.init(seed=0), test=(X[7:], labels[7:]), **SIMULATE)
    for name in ("accuracy_mean", "test_accuracy_mean"):
        np.testing.assert_allclose(found[name][0], alone[name], rtol=1e-13)


@pytest.mark.parametrize(
    ("simulate", "words"),
    [
        ({"keep": ["r2"]}, "unknown name in keep 'r2'"),
        ({"keep": ["no.such.module:f"]}, "keep: 'no.such.module:f' cannot be imported"),
        ({"keep": ["math:pi"]}, "keep: 'math:pi' is no function"),
        ({"keep": ["norm", "norm"]}, "two results that are called 'norm'"),
        ({"keep": ["accuracy"]}, "accuracy needs a loss with classes, got loss 'squared'"),
        ({"test": (X, Y, Y)}, r"\[simulate\] test must be a name or a pair \(x, y\) of arrays"),
        ({"test": 3}, r"\[simulate\] test must be a name or a pair \(x, y\)"),
    ],
)
def test_what_cannot_be_kept_is_refused(simulate: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        scale.design(_tables(simulate))


def test_what_shows_at_the_first_call_is_refused_before_any_launch(tmp_path: Path) -> None:
    for simulate, words in [
        ({"keep": [f"{__name__}:several"]}, "must return one number for each member, got shape"),
        ({"test": (X[:, :1], Y)}, "test x: points must have 2 columns like the data, got 1"),
        ({"test": str(tmp_path / "none.npz")}, "test: "),
    ]:
        with pytest.raises(InvalidInput, match=words):
            scale.sweep(scale.design(_tables(simulate)), tmp_path / "out")
