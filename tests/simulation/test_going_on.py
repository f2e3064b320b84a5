"""simulate(problem, runs): a run goes on from another's end and is, to the bit, the one that never stopped."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop.errors import DivergenceWarning, InvalidInput
from simdrop.output.storage import load, save
from simdrop_kernels import registry

X = np.linspace(-1, 1, 6)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
START = PROBLEM.init(seed=1)
BACKENDS = [name for name in ("numpy", "native") if not registry.load(name).unavailable()]
KNOWN: dict[str, Any] = {
    "lr": 0.05, "members": 7, "seed": 3, "keep_theta": True, "grid": [0.0, 0.5], "covariance": [1, 2], "groups": 3,
    "block_size": 3, "norms": True, "threads": 1,
}  # fmt: skip
#: arguments that a run which goes on takes from the one before
LEFT_OUT = (
    "lr", "members", "seed", "optimizer", "optimizer_options", "dtype", "noise", "batch_size", "replace", "svag",
    "keep_prob", "numbers", "objective", "penalty", "place",
)  # fmt: skip
#: of a user who goes on with more than plain SGD
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"optimizer": "momentum", "optimizer_options": {"momentum": 0.5}, "batch_size": 2, "dtype": "float32"},
    "adam": {"optimizer": "adam", "objective": {0: "risk", 7: "dropout"}},
    "members": {
        "optimizer": "adam", "lr": np.linspace(0.01, 0.05, 7), "keep_prob": np.linspace(0.4, 1, 7),
        "seed": np.arange(7) * 5, "numbers": [9, 3, 4, 1, 0, 7, 2],
    },
    "places": {
        "place": ["both", "update", "both", "forward", "independent", "update", "both"],
        "optimizer": "momentum",
    },
    "schedule": {
        "optimizer": "nesterov", "lr": {0: 0.05, 12: 0.02, 30: 0.01},
        "noise": simdrop.Noise(batch_size=3, order="epochs"),
    },
    "cosine": {"lr": simdrop.schedule.cosine(0.05, steps=60), "optimizer": "adam"},
    "penalty": {"objective": "dropout+r2", "penalty": 0.01, "batch_size": 3, "replace": True},
}  # fmt: skip
NOISY: dict[str, dict[str, Any]] = {
    "noise": {"noise": simdrop.Noise(label=0.1, masks=2, connect=0.8, parameter=0.1)},
    "svag": {"svag": 3, "noise": simdrop.Noise(batch_size=4)},
}


def _run(start: Any = START, **changes: Any) -> xr.Dataset:
    return simdrop.simulate(PROBLEM, start, **({"steps": 20, "record": 5} | KNOWN | changes))


def _more(runs: Any, **changes: Any) -> xr.Dataset:
    """20 steps more, with everything left out that the run before knows."""
    kept = {name: value for name, value in KNOWN.items() if name not in LEFT_OUT}
    given = {name: value for name, value in changes.items() if name not in LEFT_OUT}
    return simdrop.simulate(PROBLEM, runs, **({"steps": 20, "record": 4} | kept | given))


def _joined(runs: xr.Dataset, more: xr.Dataset) -> xr.Dataset:
    both = xr.concat([more, runs], "time", data_vars="minimal", coords="minimal", compat="override")
    return both.sortby("step")


def _same(one: xr.Dataset, two: xr.Dataset) -> None:
    xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*RUNS, *NOISY])
def test_goes_on_to_the_bits_of_one_long_run(backend: str, name: str) -> None:
    if backend == "native" and (name in NOISY or name == "penalty"):
        pytest.skip("not written for native")
    options = (RUNS | NOISY)[name] | {"backend": backend, "keep_state": True}
    long = _run(**options, steps=60, record=13)
    runs = _run(**options)
    more = _more(runs, **options)
    last = _more(more, **options)
    assert more["step"].values.tolist() == [25, 30, 35, 40]
    assert "theta_cov" in more
    joined = _joined(_joined(runs, more), last)
    if "time" in long["lr"].dims:  # where a run ends it is that of its last step
        long = long.assign_coords(lr=long["lr"].where(~long["step"].isin([20, 40]), joined["lr"]))
    _same(joined, long)
    assert {name: last.attrs[name] for name in ("lr", "seed", "optimizer", "steps", "theta0_sha256", "objective")} == {
        name: long.attrs[name] for name in ("lr", "seed", "optimizer", "steps", "theta0_sha256", "objective")
    }
    assert last.attrs["first_step"] == 40
    assert last.attrs["went_on_from"].startswith("step 40 of the run of 20")


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_goes_on_from_a_file(tmp_path: Path, suffix: str) -> None:
    """On the compiled backend, which takes no array whose type has a mark of its byte order, as those of files have."""
    options = RUNS["members"] | {"backend": BACKENDS[-1], "keep_state": True}
    runs = _run(**options)
    path = save(runs, tmp_path / f"runs{suffix}")
    more = _more(runs, **options)
    for source in (path, str(path), load(path)):
        _same(_more(source, **options), more)
    with xr.open_dataset(path) as opened:
        _same(_more(opened, **options), more)


def test_goes_on_from_a_folder_and_from_a_checkpoint(tmp_path: Path) -> None:
    options = RUNS["members"] | {"backend": "numpy", "keep_state": True}
    held: dict[str, Any] = {"checkpoint": tmp_path / "run.checkpoint", "checkpoint_seconds": 1000}
    runs = _run(**options, **held, out=tmp_path / "out")
    more = _more(runs, **options)
    _same(_more(tmp_path / "out", **options), more)
    _same(_more(held["checkpoint"], **options), more)
    _same(_run(**options, **held, resume=True), runs)  # the run is done: nothing is left to do
    _run(**options, checkpoint=tmp_path / "other", out=tmp_path / "out2")
    with pytest.raises(InvalidInput, match=r"steps was 20, is 40; .*done at step 20, from where"):
        _run(**options, **held, resume=True, steps=40)
    with pytest.raises(InvalidInput, match="exists: resume=True continues it, or remove it"):
        _run(**options, **held)


def test_a_run_that_goes_on_resumes_from_its_own_checkpoint(tmp_path: Path) -> None:
    options = RUNS["adam"] | {"backend": "numpy", "keep_state": True}
    runs = _run(**options)

    def halfway(stage: str, done: int, total: int) -> None:
        assert total == 7 * 20
        if done > 80:
            raise ZeroDivisionError

    held: dict[str, Any] = {"checkpoint": tmp_path / "run.checkpoint", "checkpoint_seconds": 0}
    with pytest.raises(ZeroDivisionError) as caught:
        _more(runs, progress=halfway, **held, **options)
    assert "state" not in caught.value.partial.attrs
    with pytest.raises(InvalidInput, match="has no state to go on from: a run with keep_state=True leaves one"):
        _more(held["checkpoint"], **options)
    found = _more(runs, resume=True, **held, **options)
    _same(found, _more(runs, **options))
    assert found.attrs["updates"] == 7 * 20
    other = _run(**options, steps=21)
    with pytest.raises(InvalidInput, match="belongs to another run"):
        _more(other, resume=True, **held, **options)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_another_backend_goes_on_but_for_rounding(name: str) -> None:
    if "native" not in BACKENDS:
        pytest.skip("native is not built")
    options = RUNS[name] | {"keep_state": True}
    runs = _run(**options, backend="native")
    more, long = _more(runs, **options, backend="numpy"), _run(**options, steps=40, record=9, backend="numpy")
    np.testing.assert_allclose(more["theta"].values, long["theta"].values[5:], rtol=1e-10, atol=1e-12)


def test_lost_members_stay_lost() -> None:
    lr = np.array([0.05, 0.05, 1e200, 0.05, 0.05, 50.0, 0.05])
    options: dict[str, Any] = {"lr": lr, "keep_state": True, "backend": "numpy", "risk_limit": 100.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        long, runs = _run(**options, steps=40, record=9), _run(**options)
        more = _more(runs, **options)
    assert (runs["diverged"].values >= 0).any()
    assert (runs["blown_up"].values >= 0).any()
    _same(_joined(runs, more), long)
    with pytest.raises(InvalidInput, match="all members of these runs diverged"):
        _more(runs.isel(member=[2, 5]), **options)


def test_a_stopped_run_goes_on() -> None:
    options = {"keep_state": True, "backend": "numpy", "block_size": None}
    runs = _run(**options, steps=1000, record=np.arange(0, 1001, 5), stop=lambda now: now["step"] == 20)
    assert runs.attrs["stopped_at"] == 20
    _same(_joined(runs, _more(runs, **options)), _run(**options, steps=40, record=9))


def test_some_members_go_on() -> None:
    options = RUNS["members"] | {"keep_state": True, "backend": "numpy", "groups": 0}
    runs = _run(**options)
    some = _more(runs.isel(member=[5, 1]), **options)
    np.testing.assert_array_equal(some["theta"], _more(runs, **options)["theta"].values[:, [5, 1]])


def test_what_may_change_on_the_way() -> None:
    """A smaller learning rate, another objective: the run has the bits of one that changed on the way."""
    options: dict[str, Any] = {"keep_state": True, "backend": "numpy"}
    runs = _run(**options)
    changed = simdrop.simulate(PROBLEM, runs, lr=0.01, objective="risk", steps=20, record=[30, 37], backend="numpy")
    theta = runs["state_theta"].values
    for _ in range(20):
        theta = theta - 0.01 * simdrop.theory.gradient(PROBLEM, theta, objective="risk")
    np.testing.assert_allclose(changed["theta_mean"][-1], theta.mean(axis=0), rtol=1e-12)
    assert changed["step"].values.tolist() == [30, 37, 40]
    np.testing.assert_allclose(changed["time"], 0.05 * 20 + 0.01 * np.array([10, 17, 20]), rtol=1e-14)
    assert "state" not in changed.attrs
    joined = _joined(runs, changed)
    assert joined["lr"].values.tolist() == [0.05] * 5 + [0.01] * 3
    more = simdrop.simulate(PROBLEM, _joined(runs, _more(runs, **options)), steps=1, record=1, backend="numpy")
    assert more["lr"].values.tolist() == 0.05  # it has not changed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "sgd"}, "optimizer: theta0 is the state of a run with optimizer='adam', which goes on with no"),
        ({"optimizer_options": {"beta1": 0.5}}, "beta1: theta0 is the state of a run with beta1=0.9"),
        ({"dtype": "float32"}, "dtype: theta0 is the state of a run with dtype='float64'"),
        ({"seed": 4}, "seed: theta0 is the state of a run with another seed: leave it out"),
        ({"keep_prob": 0.5}, "keep_prob: theta0 is the state of a run with another keep_prob"),
        ({"members": 8}, "members: theta0 is the state of a run with 7 members, got 8"),
        ({"batch_size": 2}, "batch_size: theta0 is the state of a run with batch_size=None"),
        ({"noise": simdrop.Noise(label=0.1)}, "label: theta0 is the state of a run with label=0.0"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"record": [10, 30]}, r"record must be a count or a list of whole steps in 20 ... 40"),
        ({"lr": -1.0}, "lr must be positive"),
    ],
)
def test_what_may_not_change_is_refused(changes: dict[str, Any], words: str) -> None:
    runs = _run(optimizer="adam", keep_state=True, backend="numpy")
    with pytest.raises(InvalidInput, match=words) as caught:
        simdrop.simulate(PROBLEM, runs, **({"steps": 20, "backend": "numpy"} | changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 6}, "width: theta0 is the state of a run with width=5"),
        ({"keep_prob": 0.6}, "keep_prob: theta0 is the state of a run with keep_prob=0.7"),
        ({"y": np.cos(X)}, "x or y: theta0 is the state of a run with another x or y"),
        ({"activation": "relu"}, "activation: theta0 is the state of a run with activation='tanh'"),
    ],
)
def test_another_problem_is_refused(changes: dict[str, Any], words: str) -> None:
    runs = _run(keep_state=True, backend="numpy")
    other = {"x": X, "y": np.sin(3 * X), "width": 5, "keep_prob": 0.7} | changes
    with pytest.raises(InvalidInput, match=words):
        simdrop.simulate(simdrop.Problem(**other), runs, steps=2, backend="numpy")


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    plain = _run(backend="numpy")
    (tmp_path / "text").write_text("no checkpoint")
    stateful = _run(backend="numpy", keep_state=True)
    for source, words in [
        (plain, "theta0 has no state to go on from: make the runs with keep_state=True"),
        (stateful.drop_vars("state_risk_limit"), "theta0: its state cannot be read"),
        (stateful.isel(member=0), "theta0: its state cannot be read"),
        (stateful.assign_attrs(state='{"format": 99}'), "theta0: its state cannot be read|of another version"),
        (tmp_path / "none", "theta0: there is no file or folder"),
        (tmp_path / "text", "is neither results nor a checkpoint"),
        (tmp_path, "no results at"),
        ("", "theta0 must name a file or folder"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            simdrop.simulate(PROBLEM, source, steps=2, backend="numpy")
    with pytest.raises(InvalidInput, match="lr is missing"):
        simdrop.simulate(PROBLEM, START, steps=2, members=2, backend="numpy")


def test_a_state_is_read_by_the_names_of_its_axes_and_other_shapes_are_refused() -> None:
    def on(runs: Any, **options: Any) -> xr.Dataset:
        return simdrop.simulate(PROBLEM, runs, steps=3, record=1, backend="numpy", **options)

    runs = simdrop.simulate(
        PROBLEM, START, lr=0.05, steps=5, members=4, optimizer="adam", keep_state=True, backend="numpy"
    )
    np.testing.assert_array_equal(on(runs)["risk"], on(runs.transpose())["risk"].transpose("time", "member"))
    for bad, said in (
        (runs.isel(param=slice(3)), "3 parameters"),
        (runs.isel(member=1), r"isel\(member=\[0\]\)"),
        (runs.assign_attrs(state="3"), "cannot be read"),
    ):
        with pytest.raises(InvalidInput, match=said):
            on(bad)
    with pytest.raises(InvalidInput, match="members: theta0 is the state of a run with 4 members"):
        on(runs, members=3)
