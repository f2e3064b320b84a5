"""What results say of themselves: words and units of every variable, parameters by kind; names go through theory."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop import theory
from simdrop.output.storage import load, save
from simdrop.study import alignment, condensation, flatness

X = np.linspace(-1, 1, 4)
PROBLEM = simdrop.Problem(X, np.stack([np.sin(3 * X), X], axis=1), width=3, keep_prob=0.7)
START = PROBLEM.init(seed=0)


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return simdrop.simulate(
        PROBLEM, START, lr=0.1, steps=6, members=8, seed=list(range(8)), record=3, backend="numpy", optimizer="adam",
        keep_theta=[1, 5], grid=X, covariance=[0, 6, 11], groups=4, norms=True, keep_state=True,
        test=(X, np.stack([X, X], axis=1)), observe={"width": lambda problem, theta: (theta**2).sum(axis=-1)},
    )  # fmt: skip


def silent(data: xr.Dataset) -> list[str]:
    """The variables that do not say what they are."""
    return [str(name) for name, one in data.variables.items() if not {"long_name", "units"} <= set(one.attrs)]


def test_every_variable_of_a_run_says_what_it_is(runs: xr.Dataset) -> None:
    assert silent(runs) == ["width"]  # the user's own, of which nothing is said
    assert runs["risk"].attrs["units"] == "y^2"
    assert runs["group_risk_mean"].attrs["long_name"].startswith("of a group of members: mean over members")
    classes = simdrop.Problem(X, (X > 0).astype(int), width=3, loss="softmax")
    trained = simdrop.simulate(
        classes, classes.init(seed=0), lr=0.1, steps=2, members=2, backend="numpy", test=(X, (X > 0).astype(int))
    )
    assert silent(trained) == []
    assert (trained["risk"].attrs["units"], trained["accuracy"].attrs["units"]) == ("nat", "1")


def test_every_variable_of_predictions_says_what_it_is() -> None:
    one = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
    start = theory.limit_point(one, one.init(seed=0))
    for kind in ("gradient", "mean-covariance", "pathwise", "manifold"):
        assert silent(simdrop.flow(one, start, lr=0.1, times=[0, 0.2], kind=kind)) == [], kind
    slow = theory.manifold_paths(one, start, lr=0.1, times=[0.02], members=2)
    assert silent(slow) == []
    assert "slow" in slow["time"].attrs["long_name"]
    assert silent(simdrop.sme(one, start, lr=0.1, times=[0.1], members=4, backend="numpy", keep_theta=True)) == []


def test_every_variable_of_studies_says_what_it_is(runs: xr.Dataset) -> None:
    found = simdrop.compare(
        PROBLEM, lr=0.1, steps=4, members=20, record=2, backend="numpy", kinds=["averaged", "sme1"], sme_members=20
    )
    for name, data in found.datasets().items():
        assert silent(data) == [], name
    matrix = theory.noise_covariance(PROBLEM, START)
    for data in (
        condensation.along(PROBLEM, runs, teacher=[[1.0, 0.0]]), flatness.along(PROBLEM, runs),
        flatness.lines(PROBLEM, START, count=2, alphas=[0, 1]), alignment.along(PROBLEM, runs, draws=2),
        alignment.by_direction(PROBLEM, START, matrix),
    ):  # fmt: skip
        assert silent(data) == []


def test_parameters_are_found_by_kind_neuron_input_and_output(runs: xr.Dataset) -> None:
    a, w = PROBLEM.split(runs["theta_mean"].values[-1])
    last = runs["theta_mean"].isel(time=-1)
    for kind, neuron, column, row, expected in (
        ("a", 2, -1, 1, a[1, 2]), ("w", 1, 0, -1, w[1, 0]), ("bias", 1, 1, -1, w[1, 1])
    ):  # fmt: skip
        here = (runs.param_kind == kind) & (runs.param_neuron == neuron)
        here &= (runs.param_input == column) & (runs.param_output == row)
        assert last.sel(param=here).values.tolist() == [expected]
    assert runs["param_kind"].values[runs["param_i"]].tolist() == ["a", "w", "bias"]
    plain = simdrop.Problem(X, X, width=2, bias=False)
    flow = simdrop.flow(plain, plain.init(seed=0), lr=0.1, times=[0.0])
    assert flow["param_kind"].values.tolist() == ["a", "a", "w", "w"]


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_stores_keep_words_and_coordinates(runs: xr.Dataset, suffix: str, tmp_path: object) -> None:
    back = load(save(runs, f"{tmp_path}/runs.{suffix}"))
    assert back["risk"].attrs == runs["risk"].attrs
    assert back["param_kind"].values.tolist() == runs["param_kind"].values.tolist()


#: functions of theta (..., P), further arguments, and the axes of what they return beside theta's
OVER_THETA = [
    (theory.risk, {}, ()), (theory.r1, {}, ()), (theory.r2, {"lr": 0.1}, ()), (theory.modified_loss, {"lr": 0.1}, ()),
    (theory.loss, {"objective": "risk+r1"}, ()), (theory.mean_risk, {}, ()), (theory.second_moment, {}, ()),
    (theory.hessian_trace, {}, ()), (theory.gradient, {"objective": "risk"}, ("param",)),
    (theory.mean_gradient, {}, ("param",)), (condensation.directions, {}, ("neuron", "input")),
    (condensation.orientations, {}, ("neuron",)), (condensation.amplitudes, {}, ("neuron",)),
    (condensation.small_share, {}, ()), (condensation.dead_share, {}, ()), (condensation.effective_ratio, {}, ()),
    (condensation.distances, {"teacher": [[1.0, 0.0]]}, ("neuron",)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "options", "axes"), OVER_THETA, ids=lambda one: getattr(one, "__name__", ""))
def test_arrays_with_names_go_through(
    function: object, options: dict[str, object], axes: tuple[str, ...], runs: xr.Dataset
) -> None:
    theta = runs["theta"]
    named, plain = function(PROBLEM, theta, **options), function(PROBLEM, theta.values, **options)
    assert isinstance(plain, np.ndarray | np.floating)
    np.testing.assert_array_equal(named.values, plain)
    assert named.dims == ("time", "kept", *axes)
    assert named["time"].equals(theta["time"])
    assert ("param_kind" in named.coords) == ("param" in axes)
    assert {"long_name", "units"} <= set(named.attrs)
    assert named.identical(function(problem=PROBLEM, theta=theta, **options))


#: functions of one theta (P,), further arguments, and the axes of what they return
OVER_POINT = [
    (theory.hessian, (), ("param_i", "param_j")), (theory.noise_covariance, (), ("param_i", "param_j")),
    (theory.dropout_gradient, ([True, False, True],), ("param",)), (flatness.top_eigenvalues, (), ("eigenvalue",)),
    (flatness.random_directions, (), ("direction", "param")),
]  # fmt: skip


@pytest.mark.parametrize(("function", "rest", "axes"), OVER_POINT, ids=lambda one: getattr(one, "__name__", ""))
def test_a_point_with_names_goes_through(
    function: object, rest: tuple[object, ...], axes: tuple[str, ...], runs: xr.Dataset
) -> None:
    point = runs["theta_mean"].isel(time=-1)
    named = function(PROBLEM, point, *rest)
    np.testing.assert_array_equal(named.values, function(PROBLEM, point.values, *rest))
    assert named.dims == axes
    assert named["time"] == point["time"]


def test_products_go_by_the_axes_of_their_vectors(runs: xr.Dataset) -> None:
    vectors = runs["theta"]
    for product in (theory.hessian_product, theory.covariance_product):
        named = product(PROBLEM, START, vectors)
        assert named.dims == vectors.dims
        np.testing.assert_array_equal(named.values, product(PROBLEM, START, vectors.values))
        assert isinstance(product(PROBLEM, START, START), np.ndarray)


def test_a_theta_of_another_keep_prob_is_refused_as_before(runs: xr.Dataset) -> None:
    from dataclasses import replace

    other = replace(PROBLEM, keep_prob=0.5)
    with pytest.raises(simdrop.errors.InvalidInput, match="comes from a run with keep_prob"):
        theory.r1(other, runs["theta"])
    with pytest.raises(simdrop.errors.InvalidInput, match="'param' last"):
        condensation.amplitudes(PROBLEM, runs["theta"].transpose("param", ...))
