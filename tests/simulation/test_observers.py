"""simulate(): test sets, functions of the user's at record times, ends that the user decides, risks left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop.errors import DivergenceWarning, InvalidInput
from simdrop_kernels import registry

DRAWN = np.random.default_rng(0)
X, Y = DRAWN.standard_normal((12, 2)), DRAWN.standard_normal((12, 2))
PROBLEM = simdrop.Problem(X[:6], Y[:6], width=5, keep_prob=0.7)
TEST = X[6:], Y[6:]


def _run(**changes: Any) -> xr.Dataset:
    options: dict[str, Any] = {"lr": 0.05, "steps": 20, "members": 7, "record": 5, "backend": "numpy", "threads": 1}
    return simdrop.simulate(PROBLEM, PROBLEM.init(seed=1), **(options | changes))


def _large(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
    """How many output weights (B,) are above 1/2."""
    return (np.abs(problem.split(theta)[0]) > 0.5).sum(axis=(1, 2))


def _bias(problem: simdrop.Problem, theta: np.ndarray) -> xr.DataArray:
    return xr.DataArray(problem.split(theta)[1][..., -1], dims=("b", "neuron"), coords={"neuron": np.arange(10, 15)})


@pytest.mark.parametrize("backend", [name for name in ("numpy", "native") if not registry.load(name).unavailable()])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_are_those_of_the_trajectories(backend: str, dtype: str) -> None:
    observe = {"large": _large, "bias": _bias, "some": lambda problem, theta: theta[:, :3]}
    data = _run(keep_theta=True, test=TEST, observe=observe, dtype=dtype, block_size=3, backend=backend)
    theta = data["theta"].values.astype(np.float64)
    risk = np.square(PROBLEM.predict(theta, TEST[0]) - TEST[1]).sum(axis=(-1, -2)) / (2 * len(TEST[0]))
    close: dict[str, Any] = {"rtol": 1e-12 if dtype == "float64" else 1e-5}
    np.testing.assert_allclose(data["test_risk"], risk, **close)
    np.testing.assert_allclose(data["test_risk_mean"], risk.mean(axis=1), **close)
    np.testing.assert_allclose(data["test_risk_std"][1:], risk[1:].std(axis=1, ddof=1), **close)
    np.testing.assert_allclose(data["test_risk_quantile"].sel(quantile=0.5), np.median(risk, axis=1), **close)
    np.testing.assert_array_equal(data["some"], data["theta"].values[..., :3])
    np.testing.assert_array_equal(data["bias"], data["theta"].values[..., 10:].reshape(5, 7, 5, 3)[..., -1])
    np.testing.assert_array_equal(data["large"], (np.abs(theta[..., :10]) > 0.5).sum(axis=-1))
    assert data["bias"].dims == ("time", "member", "neuron")
    assert data["neuron"].values.tolist() == [*range(10, 15)]
    assert data["some"].dims == ("time", "member", "some_dim_1")
    assert data["some"].dtype == dtype
    assert data["large"].dtype.kind == "i"


def test_what_is_watched_changes_nothing() -> None:
    def spoil(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
        theta[:] = np.nan
        return theta[:, 0]

    plain, watched = _run(), _run(test=TEST, observe={"spoil": spoil, "large": _large}, stop=lambda now: False)
    xr.testing.assert_identical(plain.drop_attrs(), watched[list(plain.data_vars)].drop_attrs())
    assert np.isfinite(_run(observe={"spoil": spoil, "large": _large})["large"].values).all()


def test_results_without_members_keep_their_means_and_quantiles() -> None:
    with_risks, without = _run(test=TEST), _run(test=TEST, keep_risk=False)
    xr.testing.assert_identical(with_risks.drop_vars(["risk", "test_risk"]).drop_attrs(), without.drop_attrs())


def test_members_that_diverged_are_not_shown_to_functions() -> None:
    shown = []

    def see(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
        shown.append(len(theta))
        assert np.isfinite(theta).all()
        return np.ones(len(theta), dtype=np.int8)

    with pytest.warns(DivergenceWarning):
        data = _run(lr=np.array([0.05] * 6 + [1e30]), observe={"ones": see})
    assert shown == [2, 7, 6, 6, 6, 6]
    assert data["ones"].dtype == np.float64
    assert np.isnan(data["ones"].values[1:, 6]).all()
    assert (data["ones"].values[:, :6] == 1).all()


def test_stop_ends_the_run_and_keeps_what_was_recorded() -> None:
    seen: list[xr.Dataset] = []

    def stop(now: xr.Dataset) -> Any:
        seen.append(now)
        return now["step"] >= 10

    whole = _run(test=TEST, observe={"large": _large}, grid=TEST[0], groups=2, covariance=[0, 1])
    data = _run(test=TEST, observe={"large": _large}, grid=TEST[0], groups=2, covariance=[0, 1], stop=stop)
    assert data["step"].values.tolist() == [0, 5, 10]
    assert (data.attrs["stopped_at"], data.attrs["interrupted"]) == (10, 0)
    xr.testing.assert_identical(data.drop_attrs(), whole.isel(time=slice(3)).drop_attrs())
    for number, now in enumerate(seen):
        xr.testing.assert_identical(now.drop_attrs(), whole.isel(time=number).drop_attrs())
    assert _run(stop=lambda now: False)["step"].values.tolist() == [0, 5, 10, 15, 20]


def test_stop_looks_at_all_members_at_one_time() -> None:
    with pytest.raises(InvalidInput, match=r"stop looks at all 7 members at one time.*block_size=3"):
        _run(stop=lambda now: True, block_size=3)
    with pytest.raises(InvalidInput, match=r"stop looks at all 7 members at one time.*memory=600"):
        _run(stop=lambda now: True, memory=600)


@pytest.mark.parametrize(
    ("argument", "name"), [("observe", "observe"), ("stop", "stop must return True or False, got 'yes'")]
)
def test_an_error_in_a_function_keeps_what_was_recorded(argument: str, name: str) -> None:
    calls = []

    def fail(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 4:
            if argument == "stop":
                return "yes"
            raise ZeroDivisionError("mine")
        return False if argument == "stop" else np.zeros(len(given[1]))

    given: Any = fail if argument == "stop" else {"mine": fail}
    with pytest.raises(InvalidInput if argument == "stop" else ZeroDivisionError) as caught:
        _run(**{argument: given})
    partial = caught.value.partial
    recorded = 4 if argument == "stop" else 2
    np.testing.assert_array_equal(np.isfinite(partial["risk_mean"].values[:recorded]), True)
    assert partial.attrs["interrupted"] == 1
    assert argument == "observe" or name in str(caught.value)


def test_a_function_that_changes_its_shape_on_the_way_is_told() -> None:
    def grow(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
        return np.zeros((len(theta), len(theta)))

    with pytest.raises(InvalidInput, match=r"observe\['grow'\] returned shape \(7, 7\).*before the run \(7, 2\)"):
        _run(observe={"grow": grow})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observe": _large}, "observe must be a dict from names to functions"),
        ({"observe": {"risk": _large}}, "have a 'risk' already"),
        ({"observe": {"two words": _large}}, "names must be texts such as"),
        ({"observe": {"one": 3}}, r"observe\['one'\] must be a function, got 3"),
        ({"observe": {"one": lambda p, t: 1.0}}, "a row for each of the 2 members"),
        ({"observe": {"one": lambda p, t: t.T}}, "a row for each of the 2 members"),
        ({"observe": {"one": lambda p, t: ["a"] * len(t)}}, "must return numbers or booleans"),
        ({"observe": {"one": lambda p, t: xr.DataArray(t, dims=("b", "time"))}}, "results have a 'time' already"),
        ({"observe": {"one": lambda p, t: xr.DataArray(t[:, 1:], dims=("b", "param"))}}, "length 24, and 25 in parame"),
        ({"test": X}, r"test must be a pair \(x, y\)"),
        ({"test": (X, Y[1:])}, r"test y must have 12 rows, as x, and 2 columns"),
        ({"test": (X[:, :1], Y)}, "test x: points must have 2 columns like the data, got 1"),
        ({"test": (X, Y * np.nan)}, "test y has 24 non-finite values"),
        ({"stop": 3}, "stop must be a function or None, got 3"),
        ({"keep_risk": 0}, "keep_risk must be True or False, got 0"),
    ],
)
def test_bad_input_is_refused_before_the_run(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        _run(**changes)


def test_an_error_before_the_run_says_which_function() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _run(observe={"mine": lambda problem, theta: 1 // 0})
    assert caught.value.__notes__ == ["observe['mine'] was called before the run, with parameters of shape (2, 25)"]


def test_a_checkpoint_holds_what_was_watched(tmp_path: Any) -> None:
    options: dict[str, Any] = {"test": TEST, "observe": {"large": _large, "bias": _bias}, "block_size": 3}
    path = tmp_path / "run.checkpoint"

    def halfway(stage: str, done: int, total: int) -> None:
        if done > total // 2:
            raise ZeroDivisionError

    held: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 0}
    with pytest.raises(ZeroDivisionError):
        _run(progress=halfway, **held, **options)
    with pytest.raises(InvalidInput, match="recorded was"):
        _run(resume=True, **held, **(options | {"test": (X[7:], Y[7:])}))
    xr.testing.assert_identical(_run(resume=True, **held, **options).drop_attrs(), _run(**options).drop_attrs())


def test_names_that_results_with_classes_have_are_refused() -> None:
    for name in ("accuracy_mean", "accuracy_quantile", "test_accuracy_std"):
        with pytest.raises(InvalidInput, match=name):
            _run(observe={name: _large})


def test_functions_are_tried_on_parameters_that_no_other_has_changed() -> None:
    seen = []

    def spoil(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
        theta[:] = np.nan
        return theta[:, 0]

    def look(problem: simdrop.Problem, theta: np.ndarray) -> np.ndarray:
        seen.append(theta.copy())
        return theta[:, 0]

    _run(observe={"spoil": spoil, "look": look})
    assert np.isfinite(np.concatenate(seen)).all()


def _named(dims: tuple[str, ...], labels: dict[str, Any], *shape: int) -> Any:
    return lambda problem, theta: xr.DataArray(np.zeros((len(theta), *shape)), dims=("b", *dims), coords=labels)


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_dimensions_with_other_labels_or_twice_are_refused() -> None:
    one = _named(("z",), {"z": [1, 2, 3]}, 3)
    assert _run(observe={"one": one, "two": one})["z"].values.tolist() == [1, 2, 3]
    with pytest.raises(InvalidInput, match="other labels"):
        _run(observe={"one": one, "two": _named(("z",), {"z": [1, 2, 4]}, 3)})
    with pytest.raises(InvalidInput, match="other labels"):
        _run(observe={"one": _named(("param",), {"param": np.arange(25) + 1}, 25)})
    with pytest.raises(InvalidInput, match="different names"):
        _run(observe={"one": _named(("z", "z"), {}, 3, 3)})


def test_samples_of_a_test_set_with_other_labels_are_refused() -> None:
    x, y = (xr.DataArray(part, dims=("row", "column"), coords={"row": np.arange(6)}) for part in TEST)
    with pytest.raises(InvalidInput, match="different labels"):
        _run(test=(x, y.isel(row=slice(None, None, -1))))
