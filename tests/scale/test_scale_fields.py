"""Sweeps over noise, optimizers and stochastic equations, and what they keep, against the calls that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import scale
from simdrop.errors import InvalidInput
from simdrop.scale.launch import work
from simdrop.settings.problem import problem_of
from simdrop.simulation.recording import record_steps
from simdrop.study.distances import root, squared_distance
from simdrop_kernels.contract.step import BackendError

TABLES = {
    "problem": {"data": "sin", "width": 4},
    "simulate": {"steps": 30, "members": 24, "record": 4, "dtype": "float64", "lr": 0.05},
    "sweep": {"keep_prob": [0.6, 0.8]},
}


def _design(simulate: Any = None, **changes: Any) -> Any:
    return scale.design(TABLES | {"simulate": TABLES["simulate"] | (simulate or {})} | changes)


def _alone(point: Any, **options: Any) -> Any:
    problem, _ = problem_of(point)
    return simdrop.simulate(
        problem, problem.init(seed=0), lr=point.lr, steps=30, members=24, record=4, backend=point.backend, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("simulate", "noise", "options"),
    [
        ({}, {"masks": 3}, {"noise": simdrop.Noise(masks=3)}),
        ({}, {"law": "gaussian", "part": "noise"}, {"noise": simdrop.Noise(law="gaussian", part="noise")}),
        ({"batch_size": 3, "replace": True}, {"label": 0.1},
         {"noise": simdrop.Noise(batch_size=3, replace=True, label=0.1)}),
        ({}, {"parameter": 0.2, "connect": 0.9}, {"noise": simdrop.Noise(parameter=0.2, connect=0.9)}),
        ({"optimizer": "adam", "beta1": 0.5, "epsilon": 1e-3}, {},
         {"optimizer": "adam", "optimizer_options": {"beta1": 0.5, "epsilon": 1e-3}}),
        ({"optimizer": "momentum", "momentum": 0.3}, {},
         {"optimizer": "momentum", "optimizer_options": {"momentum": 0.3}}),
        ({"svag": 2}, {}, {"svag": 2}),
        ({"objective": "dropout+r2", "penalty": 0.3}, {}, {"objective": "dropout+r2", "penalty": 0.3}),
    ],
)  # fmt: skip
def test_fields_are_the_arguments_that_they_are_named_after(simulate: Any, noise: Any, options: Any) -> None:
    design = _design(simulate | {"keep": ["norm", "theta_mean"], "backend": "numpy"}, noise=noise)
    found = work(design.points, threads=1)
    for k, point in enumerate(design.points):
        alone = _alone(point, norms=True, **options)
        np.testing.assert_allclose(found["risk_mean"][k], alone["risk_mean"], rtol=1e-13)
        np.testing.assert_allclose(found["theta_mean"][k], alone["theta_mean"], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found["norm_mean"][k], alone["norm"].mean("member"), rtol=1e-13)
        error = alone["norm"].std("member", ddof=1) / np.sqrt(24)
        np.testing.assert_allclose(found["norm_error"][k], error, rtol=1e-10, atol=1e-16)
    plain = work(_design().points, threads=1)
    assert not np.allclose(found["risk_mean"][:, -1], plain["risk_mean"][:, -1], rtol=1e-6)  # the field does something


def test_noise_and_options_can_be_swept(tmp_path: Path) -> None:
    swept = {"masks": [1, 2], "beta1": [0.5, 0.9], "label": [0.0, 0.1]}
    found = scale.sweep(_design({"optimizer": "adam", "backend": "numpy"}, sweep=swept), tmp_path, threads=1)
    assert dict(found.sizes) == {"masks": 2, "beta1": 2, "label": 2, "time": 4}
    assert len(np.unique(found["risk_mean"].values[..., -1])) == 8


@pytest.mark.parametrize("members", [24, 23])  # 23: one group, and where it is alone no group at all
def test_mean_parameters_of_networks_of_several_sizes(tmp_path: Path, members: Any) -> None:
    kept = {"keep": ["theta_mean"], "members": members}
    design = _design(kept, problem={"data": "sin"}, sweep={"width": [2, 4]})
    found = scale.sweep(design, tmp_path, threads=1)["theta_mean"]
    assert found.dims == ("width", "time", "param")
    assert found.shape == (2, 4, 12)
    assert np.isnan(found.sel(width=2)[:, 6:]).all()
    problem, _ = problem_of(design.points[0])
    alone = simdrop.simulate(problem, problem.init(seed=0), lr=0.05, steps=30, members=members, record=4)
    np.testing.assert_allclose(found.sel(width=2)[:, :6], alone["theta_mean"], rtol=1e-12)


def test_distances_from_stochastic_equations_are_those_of_their_means() -> None:
    """Against the two ensembles, run by hand; a seed of its own keeps the equation's noise from the masks'."""
    theory = {"kinds": ["averaged", "sme1", "sme2"], "sme_members": 80, "substeps": 2, "scheme": "heun"}
    simulate = {"members": 200, "lr": 0.5}
    (point,) = _design(simulate, theory=theory | {"sme_backend": "numpy"}, sweep={"keep_prob": [0.5]}).points
    found = work([point], threads=1)
    problem, _ = problem_of(point)
    theta0 = problem.init(seed=0)
    runs = simdrop.simulate(problem, theta0, lr=0.5, keep_prob=0.5, steps=30, members=200, groups=20)
    for row, order in enumerate((1, 2), 1):
        paths = simdrop.sme(
            problem, theta0, lr=0.5, times=[15.0], order=order, members=80, antithetic=True, groups=20, substeps=2,
            scheme="heun", backend="numpy", seed=1_000_003,
        )  # fmt: skip
        apart = runs["group_theta_mean"].values[-1:] - paths["group_theta_mean"].values[-1:]
        squared = squared_distance(apart, runs["group_alive"].values[-1:], np.zeros((1, apart.shape[-1])))
        value, error = root(squared.value, squared.error)
        np.testing.assert_allclose([found["distance"][0, row], found["distance_error"][0, row]], [value[0], error[0]])
    assert (found["distance"][0, :2] > 0).all()
    assert (found["distance_error"] > 0).all()


def test_flows_heed_their_settings() -> None:
    """A flow that may not be evaluated counts as failed; loose tolerances show in the distance."""
    theory, simulate = {"kinds": ["gradient"]}, {"lr": 0.5}
    none = work(_design(simulate, theory=theory | {"max_evaluations": 3}).points, threads=1)
    assert np.isnan(none["distance"]).all()
    exact = work(_design(simulate, theory=theory).points, threads=1)
    loose = work(_design(simulate, theory=theory | {"rtol": 1e-1, "atol": 1e-1}).points, threads=1)
    assert (exact["distance"] > 0).all()
    assert (exact["distance"] != loose["distance"]).all()


def test_record_times_and_trained_weights_are_fields() -> None:
    """Logarithmic times are those of simulate(); with frozen input weights the network moves less far."""
    simulate = {"spacing": "log", "keep": ["theta_mean"]}
    found = work(_design(simulate, problem={"data": "sin", "width": 4, "train": "output"}).points, threads=1)
    np.testing.assert_array_equal(found["step"][0], record_steps(30, 4, "log"))
    moved = np.abs(np.diff(found["theta_mean"][0], axis=0)).max(axis=0)
    np.testing.assert_array_equal(moved > 0, np.arange(12) < 4)  # a, then w
    with pytest.raises(InvalidInput, match="unknown spacing"):
        _design({"spacing": "logarithmic"})


def test_svag_is_compared_at_its_own_time() -> None:
    theory = {"kinds": ["gradient"]}
    slow = work(_design({"svag": 2, "steps": 60}, theory=theory, sweep={"keep_prob": [1.0]}).points, threads=1)
    small = work(_design({"lr": 0.025, "steps": 60}, theory=theory, sweep={"keep_prob": [1.0]}).points, threads=1)
    np.testing.assert_allclose(slow["distance"], small["distance"], rtol=1e-9)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"noise": {"label_noise": 0.1}}, "did you mean 'label'"),
        ({"noise": {"law": "gauss"}}, "did you mean 'gaussian'"),
        ({"noise": {"connect": 2.0}}, "connect must lie"),
        ({"simulate": {"keep": ["norms"]}}, "did you mean 'norm'"),
        ({"simulate": {"svag": 7}, "theory": {"kinds": ["gradient"]}}, "multiple of svag"),
        ({"simulate": {"optimizer": "adam"}, "theory": {"kinds": ["sme1"]}}, "are those of objective 'dropout'"),
        ({"theory": {"kinds": ["sme"]}}, "did you mean 'sme"),
        ({"theory": {"kinds": ["sme1"], "scheme": "euller"}}, "did you mean 'euler'"),
    ],
)
def test_settings_that_say_nothing_are_refused(tables: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message):
        _design(tables.pop("simulate", None), **tables)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"simulate": {"momentum": 0.5}}, "sgd takes none"),
        ({"simulate": {"penalty": 0.5}}, "penalty"),
        ({"noise": {"connect": 0.9}, "theory": {"kinds": ["sme2"], "sme_backend": "numba"}}, "sme2|order"),
    ],
)
def test_what_no_launch_can_run_is_refused_before_the_first(tmp_path: Path, tables: Any, message: Any) -> None:
    design = _design(tables.pop("simulate", None), **tables)
    with pytest.raises((InvalidInput, BackendError), match=message):
        scale.sweep(design, tmp_path / "out")
    with pytest.raises((InvalidInput, BackendError), match=message):
        scale.plan(design)
    assert not (tmp_path / "out").exists()
