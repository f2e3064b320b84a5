"""simulate(): what is recorded, what it may depend on, what is refused, how it ends."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop.errors import Diverged, DivergenceWarning, InvalidInput
from simdrop.output.storage import load, save
from simdrop.simulation.recording import record_steps
from simdrop_kernels import BackendError
from simdrop_kernels.contract.step import Ensemble, Step
from simdrop_kernels.reference import train as reference

X = np.linspace(-1, 1, 4)
NOISE = simdrop.Noise(label=0.1, connect=0.9)
PROBLEM = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7)
THETA0 = PROBLEM.init(seed=3)


def _run(**changes: Any) -> xr.Dataset:
    settings: dict[str, Any] = {"lr": 0.05, "steps": 40, "members": 70, "record": 5, "backend": "numpy"} | changes
    return simdrop.simulate(settings.pop("problem", PROBLEM), settings.pop("theta0", THETA0), **settings)


def test_records_what_single_steps_of_the_kernel_give() -> None:
    data = _run(record=[0, 3, 17, 40], keep_theta=True, members=6, seed=11)
    ensemble = Ensemble.start(np.tile(THETA0, (6, 1)), lr=0.05, keep_prob=0.7)
    step = Step()
    for number in range(40):
        if number in data.step:
            kept = data.theta[int(np.flatnonzero(data.step == number)[0])]
            assert np.array_equal(kept, ensemble.theta)
        reference.advance(step, PROBLEM.inputs, PROBLEM.y, ensemble, seed=11, first_step=number, steps=1)
    assert np.array_equal(data.theta[-1], ensemble.theta)
    np.testing.assert_allclose(data.time, 0.05 * np.array([0, 3, 17, 40]))


def test_streamed_statistics_are_those_of_the_trajectories() -> None:
    grid = np.linspace(-2, 2, 7)
    data = _run(keep_theta=True, covariance=True, grid=grid, groups=4)
    theta = data.theta.values
    values = PROBLEM.predict(theta, grid)
    risk = ((PROBLEM.predict(theta) - PROBLEM.y) ** 2).sum(axis=(-1, -2)) / 8
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(data.risk, risk, **close)
    np.testing.assert_allclose(data.risk_mean, risk.mean(1), **close)
    np.testing.assert_allclose(data.risk_quantile, np.quantile(risk, data["quantile"], axis=1).T, **close)
    np.testing.assert_allclose(data.theta_mean, theta.mean(1), **close)
    np.testing.assert_allclose(data.theta_std, theta.std(1, ddof=1), **close)
    np.testing.assert_allclose(data.theta_cov[-1], np.cov(theta[-1].T), **close)
    np.testing.assert_allclose(data.f_mean, values.mean(1), **close)
    np.testing.assert_allclose(data.f_std, values.std(1, ddof=1), **close)
    spans = np.arange(5) * 70 // 4
    for group in range(4):
        members = slice(spans[group], spans[group + 1])
        np.testing.assert_allclose(data.group_theta_mean[:, group], theta[:, members].mean(1), **close)
        np.testing.assert_allclose(data.group_f_mean[:, group], values[:, members].mean(1), **close)
        np.testing.assert_allclose(data.group_risk_mean[:, group], risk[:, members].mean(1), **close)


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_blocks_threads_and_memory_change_no_number(backend: str) -> None:
    wanted: dict[str, Any] = {"covariance": [1, 2], "grid": X, "groups": 3, "keep_theta": [3, 50], "backend": backend}
    whole = _run(**wanted, threads=1)
    for limits in ({"block_size": 13}, {"block_size": 1}, {"memory": 10 * 15 * 8}, {"threads": 2}):
        other = _run(**wanted, **limits)
        for name in whole:
            assert np.array_equal(whole[name], other[name], equal_nan=True), (limits, name)
    assert not np.array_equal(whole.theta, _run(**wanted, seed=1).theta)


def test_members_have_their_own_lr_keep_prob_and_start() -> None:
    lr, keep_prob, theta0 = np.array([0.01, 0.05]), np.array([0.5, 0.9]), PROBLEM.init(seed=5, members=2)
    both = _run(lr=lr, keep_prob=keep_prob, theta0=theta0, members=None, keep_theta=True)
    assert "time" not in both.coords
    assert list(both.step) == list(record_steps(40, 5))
    one = _run(lr=0.01, keep_prob=0.5, theta0=theta0[0], members=1, keep_theta=True)
    assert np.array_equal(both.theta[:, 0], one.theta[:, 0])


def test_deterministic_objectives_follow_their_gradients() -> None:
    """One step of each objective is -lr times the gradient by central differences of the loss."""
    from simdrop.theory import r1, r2, risk

    losses = {
        "risk": lambda t: risk(PROBLEM, t),
        "risk+r1": lambda t: risk(PROBLEM, t) + r1(PROBLEM, t),
        "risk+r1+r2": lambda t: risk(PROBLEM, t) + r1(PROBLEM, t) + r2(PROBLEM, t, lr=0.05),
    }
    for objective, loss in losses.items():
        data = _run(objective=objective, steps=1, members=1, keep_theta=True, record=2, backend="auto")
        moved = (data.theta[1, 0] - data.theta[0, 0]).values / -0.05
        h = 1e-5
        shifts = h * np.eye(THETA0.size)
        slopes = [float(loss(THETA0 + s) - loss(THETA0 - s)) / (2 * h) for s in shifts]
        np.testing.assert_allclose(moved, slopes, rtol=1e-7, atol=1e-9)


def test_keep_prob_one_is_gradient_descent_bit_for_bit() -> None:
    kept, plain = (_run(**c, backend="auto", keep_theta=True) for c in ({"keep_prob": 1.0}, {"objective": "risk"}))
    assert np.array_equal(kept.theta, plain.theta)


def test_float32_is_asked_for_and_then_kept() -> None:
    data = _run(dtype="float32", keep_theta=True)
    assert data.theta.dtype == np.float32
    assert data.attrs["dtype"] == "float32"
    assert data.theta_mean.dtype == np.float64
    assert abs(data.theta - _run(keep_theta=True).theta).max() < 1e-5


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_reads_back_equal(tmp_path: Path, suffix: str) -> None:
    data = _run(covariance=[0, 3], grid=X, groups=3, keep_theta=[1])
    path = save(data, tmp_path / f"results{suffix}")
    assert load(path).identical(data)
    assert load(save(data.isel(time=[0]), path)).sizes["time"] == 1, "the older result must be replaced"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_provenance_tells_what_was_run() -> None:
    attrs = _run(seed=2**64 - 1).attrs
    assert attrs["seed"] == str(2**64 - 1)
    assert attrs["backend"] == "numpy"
    assert attrs["lr"] == 0.05
    assert attrs["updates"] == 40 * 70
    assert {"simdrop_version", "numpy_version", "created", "data_sha256", "theta0_sha256", "threads"} <= set(attrs)


def test_progress_counts_updates() -> None:
    seen: list[tuple[str, int, int]] = []
    _run(progress=lambda *told: seen.append(told), block_size=50)
    assert seen[-1] == ("simulate", 2800, 2800)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_record_steps() -> None:
    assert list(record_steps(10, 3)) == [0, 5, 10]
    assert list(record_steps(1000, 5, "log")) == [0, 1, 10, 100, 1000]
    assert list(record_steps(10, [7, 2, 7])) == [0, 2, 7, 10]


BAD = [
    ({"lr": 0.0}, "lr must be positive, got 0.0"),
    ({"lr": [0.1, -0.1], "members": 2}, "lr must be positive"),
    ({"lr": np.nan}, "lr must be a finite number, got nan"),
    ({"lr": [0.1, 0.1]}, r"lr must be the same for all or given for 70 members, got \(2,\)"),
    ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
    ({"steps": 2.5}, "steps must be a whole number"),
    ({"members": 0}, "members must be a whole number of at least 1, got 0"),
    ({"members": None}, "members is missing"),
    ({"keep_prob": 0.0}, r"keep_prob must lie in \(0, 1\].*got 0.0"),
    ({"keep_prob": 1.1}, r"keep_prob must lie in \(0, 1\]"),
    ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ({"objective": "droput"}, "unknown objective 'droput': did you mean 'dropout'"),
    ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'"),
    ({"optimizer_options": {"beta1": 0.5}}, "unknown optimizer option 'beta1': sgd takes none"),
    ({"optimizer": "adam", "optimizer_options": {"beta1": 1.5}}, "beta1 must lie in"),
    ({"backend": "nunpy"}, "unknown backend 'nunpy': did you mean 'numpy'"),
    ({"dtype": "float16"}, "unknown dtype 'float16'"),
    ({"theta0": np.zeros(14)}, "theta0 must have 15 parameters"),
    ({"theta0": np.zeros((3, 15))}, "theta0 must be the same for all or given for 70 members"),
    ({"theta0": np.full(15, np.inf)}, "theta0 has 15 non-finite values"),
    ({"batch_size": 5}, "batch_size must be at most the 4 samples, got 5"),
    ({"batch_size": 2, "objective": "risk+r1+r2"}, "needs batch_size=None"),
    ({"record": [3, 41]}, "record must be"),
    ({"record": 1}, "record must be a whole number of at least 2"),
    ({"spacing": "logs"}, "unknown spacing 'logs': did you mean 'log'"),
    ({"keep_theta": [70]}, "keep_theta must be True, False or whole numbers from 0 to 69"),
    ({"covariance": [-1]}, "covariance must be True, False or whole numbers from 0 to 14"),
    ({"grid": np.zeros((2, 3))}, "points must have 1 column like the data, got 3"),
    ({"quantiles": [1.5]}, "quantiles must lie in"),
    ({"groups": 1}, "groups must be 0 or between 2"),
    ({"memory": 10}, "memory must hold the 120 bytes of one member"),
    ({"block_size": 0}, "block_size must be a whole number of at least 1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_is_refused_before_any_work(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        _run(out=tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_backend_that_cannot_says_why() -> None:
    with pytest.raises(BackendError, match="'numba' cannot run this: the gradient of R_2 is not compiled"):
        _run(objective="risk+r1+r2", backend="numba")
    assert "not 'numba': the gradient of R_2" in _run(objective="risk+r1+r2", backend="auto").attrs["backend_reason"]


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_diverging_members_are_named_and_leave_the_means(backend: str) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, activation="quadratic")
    lr = np.where(np.arange(20) % 5 == 3, 30.0, 1e-3)
    with pytest.warns(DivergenceWarning, match=r"4 of 20 members diverged.*: 3 \(step \d+\), 8"):
        data = _run(problem=problem, lr=lr, members=20, keep_theta=True, backend=backend, record=11)
    lost = data.diverged.values >= 0
    assert list(np.flatnonzero(lost)) == [3, 8, 13, 18]
    assert data.alive.values[0] == 20
    assert data.alive.values[-1] == 16
    assert np.isnan(data.risk.values[-1, lost]).all()
    assert np.isnan(data.theta.values[-1, lost]).all()
    np.testing.assert_allclose(data.theta_mean[-1], data.theta.values[-1, ~lost].mean(0), rtol=1e-12)


def test_if_all_diverge_what_was_recorded_stays(tmp_path: Path) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, activation="quadratic")
    with pytest.raises(Diverged, match="all members diverged; a smaller lr may help"):
        _run(problem=problem, lr=30.0, members=4, out=tmp_path)
    kept = load(tmp_path / "results.zarr")
    assert np.isfinite(kept.risk[0]).all()
    assert (kept.diverged >= 0).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"theta0": 1e200}, "theta0 itself has parameters or a risk too large for float64"),
        ({"theta0": 1e30, "dtype": "float32"}, "theta0 itself has parameters or a risk too large for float32"),
        ({"optimizer": "adam", "optimizer_options": {"epsilon": 0}}, "epsilon=0 divides 0 by 0"),
    ],
)
def test_if_all_diverge_the_cause_is_told_where_no_lr_would_help(given: dict[str, Any], told: str) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.5)
    start = given.pop("theta0", 1) * problem.init()
    with pytest.raises(Diverged, match=f"all members diverged; {told}") as caught:
        simdrop.simulate(problem, start, lr=1e-6, steps=20, members=4, backend="numpy", record=2, **given)
    assert "smaller lr" not in str(caught.value)


def test_an_interrupt_leaves_what_was_recorded_on_disk(tmp_path: Path) -> None:
    """A run of hours receives SIGINT once it moves; its records are readable and equal those of a shorter run."""
    script = textwrap.dedent(f"""
        import numpy as np, simdrop
        x = np.linspace(-1, 1, 4)
        problem = simdrop.Problem(x, np.sin(3 * x), width=5, keep_prob=0.7)
        told = []
        def progress(stage, done, total):
            if not told: told.append(print("moving", flush=True))
        simdrop.simulate(problem, problem.init(seed=3), lr=0.05, steps=10**9, members=70,
                         record=[40, 10**8], backend="numpy", out={str(tmp_path)!r}, progress=progress)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"moving\n"
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert b"KeyboardInterrupt" in errors
    data = load(tmp_path / "results.zarr")
    assert data.attrs["interrupted"] == 1
    assert np.array_equal(data.theta_mean[1], _run().theta_mean[-1])
    assert np.isnan(data.theta_mean[-1]).all()


def test_memory_stays_within_the_state_and_a_third(tmp_path: Path) -> None:
    """Peak resident memory of a large ensemble in one block against that of a small one, in fresh processes.

    The first of the small ones compiles, and does not count; the other's peak is one of imports, some of which the
    large run's state reuses. The peak is the kernel's VmHWM: getrusage's outlives exec, so that a process started by
    a large one (pytest with PyTorch loaded) begins with the peak of its parent.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak memory of one process is read from /proc")
    script = textwrap.dedent("""
        import json, sys, numpy as np, simdrop
        x = np.linspace(-1, 1, 4)
        problem = simdrop.Problem(x, np.sin(3 * x), width=32)
        simdrop.simulate(problem, problem.init(), lr=0.01, steps=2, members=int(sys.argv[1]), record=2,
                         dtype="float32", block_size=10**9, memory=1 << 40, quantiles=())
        lines = open("/proc/self/status").read().splitlines()
        print(json.dumps(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))))
    """)
    peaks = [
        json.loads(subprocess.run([sys.executable, "-c", script, str(m)], capture_output=True, check=True).stdout)
        for m in (1000, 1000, 1_001_000)
    ]
    state = 1_000_000 * 96 * 4
    assert 0.8 * state < peaks[2] - peaks[1] < 1.3 * state


def test_runs_outside_the_main_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_run).result().sizes["member"] == 70


def test_the_interrupt_handler_is_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    _run()
    assert signal.getsignal(signal.SIGINT) is before


def test_no_warning_where_all_goes_well() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _run()


SEEDED: list[dict[str, Any]] = [{}, {"noise": NOISE}, {"mask": "sample"}, {"batch_size": 3}]


@pytest.mark.parametrize(
    ("backend", "changes"),
    [
        *itertools.product(("numpy", "native"), SEEDED),
        ("numba", SEEDED[0]),
        *(pytest.param("numba", changes, marks=pytest.mark.slow) for changes in SEEDED[1:]),
    ],
)
def test_members_with_seeds_of_their_own_draw_what_runs_with_these_seeds_draw(backend: Any, changes: Any) -> None:
    """In one ensemble, whatever the order of the seeds; their low halves differ, the high ones need not be 0."""
    high = 5 << 32
    seeds, numbers = np.array([3, 0, 3, (1 << 32) - 1]) + high, np.array([0, 1, 1, 2])
    options = {"steps": 12, "record": 2, "keep_theta": True, "backend": backend} | changes
    mask = {"mask": options.pop("mask")} if "mask" in options else {}
    problem = simdrop.Problem(X, np.sin(3 * X), width=5, keep_prob=0.7, **mask)
    theta0 = problem.init(seed=1)
    try:
        found = simdrop.simulate(problem, theta0, lr=0.1, seed=seeds, numbers=numbers, **options)
    except BackendError as error:
        pytest.skip(str(error))
    for k, (seed, number) in enumerate(zip(seeds, numbers, strict=True)):
        alone = simdrop.simulate(problem, theta0, lr=0.1, seed=int(seed), numbers=[number], members=1, **options)
        np.testing.assert_array_equal(found["theta"][:, k], alone["theta"][:, 0])
    ends = found["theta"].values[-1]
    assert len(np.unique(ends, axis=0)) == 4
    assert found["seed"].dims == ("member",)
    assert found["seed"].values.tolist() == [int(seed) for seed in seeds]


@pytest.mark.parametrize(
    ("seed", "message"),
    [([1, 2], "seed must be the same for all or given for 3 members"), ([0, 1, 1 << 32], "same upper 32 bits"),
     ([0, 1, -1], "0 or more"), ([0.0, 1.0, 2.0], "whole number")],
)  # fmt: skip
def test_seeds_of_members_are_checked(seed: Any, message: Any) -> None:
    problem = simdrop.Problem(X, np.sin(3 * X), width=5)
    with pytest.raises(InvalidInput, match=message):
        simdrop.simulate(problem, problem.init(seed=1), lr=0.1, steps=2, members=3, seed=seed)
