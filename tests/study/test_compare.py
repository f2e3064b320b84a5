"""compare(): the whole chain from simulation to verdict, on problems whose answer is known exactly."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import simdrop
from simdrop import data
from simdrop.errors import Diverged, DivergenceWarning, InvalidInput
from simdrop.study import compare
from simdrop.study.case import Predicted
from simdrop.study.comparison import table as report
from simdrop.study.comparison.measure import squared_distances
from simdrop_kernels.reference import train as reference

SMALL = {"backend": "numpy", "record": 5}


def tiny(keep_prob: Any = 0.6, **changes: Any) -> Any:
    x = np.linspace(-1, 1, 3)
    return simdrop.Problem(x, np.sin(3 * x), **({"width": 2, "keep_prob": keep_prob} | changes))


def exact_prediction(problem: Any, theta0: Any, *, lr: Any, steps: Any, grid: Any) -> Any:
    """E theta, E f and E R_S at every step, by training once for each sequence of masks."""
    m, p = problem.width, problem.keep_prob
    masks = np.array(list(itertools.product([0, 1], repeat=m * steps))).reshape(-1, steps, m)
    chance = np.prod(np.where(masks, p, 1 - p), axis=(1, 2))
    paths = np.tile(theta0, (len(masks), 1))
    found: dict[str, list[Any]] = {"theta": [], "f": [], "risk": []}
    for step in range(steps + 1):
        f, at_data = problem.predict(paths, grid), problem.predict(paths)
        risk = np.square(at_data - problem.y).sum(axis=(1, 2)) / (2 * problem.n_samples)
        for name, values in (("theta", paths), ("f", f), ("risk", risk)):
            found[name].append(np.tensordot(chance, values, axes=1))
        if step < steps:
            factor = masks[:, step, None, :] / p
            gradient = reference.dropout_gradient(problem.network, problem.inputs, problem.y, paths, factor)
            paths = paths - lr * gradient
    means = {name: np.array(values)[:, None] for name, values in found.items()}
    return {"exact": Predicted(counts=np.ones((steps + 1, 1)), **means)}


def z_scores(problem: Any, prediction: Any, runs: Any) -> Any:
    """D² of each quantity in its standard errors, at every time after the first."""
    found = squared_distances(runs, prediction)
    return np.array([e.value[1:] / e.error[1:] for e in found.values()])


@pytest.fixture(scope="module")
def enumerated() -> Any:
    problem, steps, lr = tiny(), 4, 0.3
    theta0 = problem.init(seed=1)
    grid = np.linspace(-1, 1, 7)
    runs = simdrop.simulate(
        problem, theta0, lr=lr, steps=steps, members=20_000, record=5, grid=grid, groups=20, backend="numpy"
    )
    return problem, theta0, lr, steps, grid, runs


def test_the_exact_mean_is_at_no_distance(enumerated: Any) -> None:
    """Masks of all 2^8 sequences: the ensemble's distances from their exact mean are noise.

    D² over its overestimated error stays below 4 in all of 12 cases; each fails once in more than 1000 trials.
    """
    problem, theta0, lr, steps, grid, runs = enumerated
    exact = exact_prediction(problem, theta0, lr=lr, steps=steps, grid=grid)
    assert (z_scores(problem, exact, runs) < 4).all()


def test_a_slightly_wrong_theory_is_at_a_distance(enumerated: Any) -> None:
    """Negative control: the exact mean at keep_prob 0.5 in place of 0.6 fails the same test in every quantity."""
    problem, theta0, lr, steps, grid, runs = enumerated
    wrong = exact_prediction(tiny(0.5), theta0, lr=lr, steps=steps, grid=grid)
    assert (z_scores(problem, wrong, runs).max(axis=1) > 4).all()


@pytest.fixture(scope="module")
def small() -> Any:
    """The problem on which orders are measured: 4 points of sin 3x, 5 neurons, keep_prob 0.7, to t = 1."""
    found = data.load("sin")
    problem = simdrop.Problem(found.x, found.y, width=5, keep_prob=0.7)
    theta0 = np.random.default_rng(3).standard_normal(problem.n_params)
    return problem, theta0


def test_distances_are_those_of_four_million_members(small: Any) -> None:
    """At lr = 0.1, 4·10⁶ members lie 0.9733, 0.2890 and 0.1976 from the three flows (± 2e-4); 20000 must agree."""
    problem, theta0 = small
    found = compare(problem, theta0, lr=0.1, steps=10, members=20_000, seed=5, **SMALL)
    for kind, expected in (("gradient", 0.9733), ("averaged", 0.2890), ("modified", 0.1976)):
        numbers = found.summary["quantities"]["parameters"]["flows"][kind]["final"]
        assert abs(numbers["distance"] - expected) < 4 * numbers["error"] + 2e-4
        assert numbers["error"] < 0.003
    assert found.summary["quantities"]["parameters"]["flows"]["averaged"]["final"]["share_removed"] > 0.6
    assert "closer to the mean parameters" in found.summary["verdict"][-1]


def test_without_dropout_only_the_learning_rate_is_left(small: Any) -> None:
    """keep_prob = 1: no noise; gradient = averaged, at a distance of order lr; the modified flow one of order lr²."""
    problem, theta0 = small
    problem = simdrop.Problem(problem.x, problem.y, width=5, keep_prob=1.0)
    distances = []
    for steps in (50, 100):
        found = compare(problem, theta0, lr=1 / steps, steps=steps, members=4, **SMALL)
        numbers = found.summary["quantities"]["parameters"]
        assert numbers["noise"]["final"] == 0
        flows = {kind: flow["final"] for kind, flow in numbers["flows"].items()}
        assert all(flow["error"] < 1e-9 for flow in flows.values())
        assert flows["averaged"]["share_removed"] == pytest.approx(0, abs=1e-5)
        distances.append([flows[kind]["distance"] for kind in ("gradient", "averaged", "modified")])
    orders = np.log2(np.array(distances[0]) / distances[1])
    assert orders[:2] == pytest.approx([1, 1], abs=0.1)
    assert orders[2] == pytest.approx(2, abs=0.15)
    report.table(found.summary)
    found.figure()  # nothing in it needs noise


def test_noise_is_what_sampling_alone_gives(small: Any) -> None:
    """The spread of the mean parameters over 40 ensembles of 50 networks is the stated noise (± 4 errors)."""
    problem, theta0 = small
    settings = {"lr": 0.1, "steps": 5, "members": 50, "kinds": ["gradient"], **SMALL}
    found = [compare(problem, theta0, seed=seed, **settings) for seed in range(40)]
    ends = np.array([one.runs["theta_mean"].values[-1] for one in found])
    stated = np.array([one.summary["quantities"]["parameters"]["noise"]["final"] for one in found])
    squares = np.square(ends - ends.mean(axis=0)).sum(axis=1) * 40 / 39
    assert abs(squares.mean() - np.mean(stated**2)) < 4 * squares.std() / np.sqrt(40)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    """Real shapes: the grid is the data, everything is written and reads back, the figure is drawn."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 3))
    problem = simdrop.Problem(x, np.stack([x[:, 0], np.tanh(x[:, 1])], axis=1), width=4, keep_prob=0.8, mask="sample")
    seen = []
    found = compare(
        problem, lr=0.05, steps=20, members=40, progress=lambda *told: seen.append(told), out=tmp_path, **SMALL
    )
    assert found.runs.sizes["point"] == 8
    assert found.flows["f"].dims == ("kind", "time", "point", "output")
    found.save(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["quantities"] == found.summary["quantities"]
    for name in ("results", "flows", "distances"):
        from simdrop.output.storage import load

        expected = {"results": found.runs, "flows": found.flows, "distances": found.distances}[name]
        xr.testing.assert_identical(load(tmp_path / f"{name}.zarr"), expected)
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    assert ("simulate", 800, 800) in seen
    assert [told[0] for told in seen if told[1] == 0] == ["simulate", "flows", "distances"]


def test_only_the_flows_asked_for(small: Any) -> None:
    problem, theta0 = small
    found = compare(problem, theta0, lr=0.1, steps=5, members=10, kinds=["modified"], **SMALL)
    assert list(found.flows["kind"].values) == ["gradient", "modified"]
    assert "against two predictions" in found.table()


def test_sizes_follow_the_definitions(small: Any) -> None:
    """R_2 and its gradient are proportional to lr; the gradient of R_S falls to the flow's own slope."""
    problem, theta0 = small
    slow, fast = (compare(problem, theta0, lr=lr, steps=2, members=10, **SMALL).distances for lr in (0.01, 0.02))
    start = {"path": "gradient", "time": 0.0}
    for name in ("value", "gradient_norm"):
        ratio = fast[name].sel(start) / slow[name].sel(start)
        np.testing.assert_allclose(ratio, [1, 1, 2], rtol=1e-12)


@pytest.mark.filterwarnings("ignore::simdrop.errors.DivergenceWarning")
def test_divergence_is_part_of_the_verdict() -> None:
    problem = tiny(0.5, activation="quadratic")
    settings = {"lr": 0.2, "steps": 60, "members": 40, "seed": 3, **SMALL}
    found = compare(problem, np.ones(6), **settings)
    lost = found.runs["diverged"].values
    assert 0 < (lost >= 0).sum() < 40
    assert found.summary["diverged"]["members"] == (lost >= 0).sum()
    assert found.summary["diverged"]["steps"] == {str(k): lost[k] for k in np.flatnonzero(lost >= 0)}
    assert "diverged and left the means" in found.summary["verdict"][-1]
    with pytest.warns(DivergenceWarning):
        compare(problem, np.ones(6), **settings)


def test_all_diverged_is_an_error(tmp_path: Path) -> None:
    problem = tiny(0.5, activation="quadratic")
    with pytest.raises(Diverged, match="all members diverged"):
        compare(problem, np.ones(6), lr=0.8, steps=60, members=10, out=tmp_path, **SMALL)
    assert (tmp_path / "results.zarr").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, r"lr must be positive, got 0\.0"),
        ({"lr": [0.1, 0.2]}, r"lr must be one number here"),
        ({"lr": np.nan}, r"lr must be a finite number, got nan"),
        ({"steps": 0}, r"steps must be a whole number of at least 1, got 0"),
        ({"members": 3}, r"members must be a whole number of at least 4, got 3"),
        ({"groups": 2}, r"groups must be a whole number of at least 3, got 2"),
        ({"groups": 50}, r"groups must be at most the 10 members, got 50"),
        ({"kinds": ["modifed"]}, r"unknown kind 'modifed': did you mean 'modified'\?"),
        ({"backend": "nunba"}, r"unknown backend 'nunba': did you mean 'numba'\?"),
        ({"dtype": "float16"}, r"unknown dtype 'float16': did you mean"),
        ({"spacing": "lin"}, r"unknown spacing 'lin'"),
        ({"grid": 1}, r"grid must be a whole number of at least 2, got 1"),
        ({"grid": np.ones((3, 2))}, r"points must have 1 column like the data, got 2"),
        ({"theta0": np.ones((10, 15))}, r"theta0 must be one start for all members, shape \(15,\), got \(10, 15\)"),
        ({"theta0": np.ones(14)}, r"theta0 must have 15 parameters"),
        ({"threads": 0}, r"threads must be a whole number of at least 1, got 0"),
        ({"memory": 0}, r"memory must be a whole number of at least 1, got 0"),
        ({"seed": -1}, r"seed must be a whole number of at least 0, got -1"),
    ],
)
def test_refused_before_any_work(small: Any, monkeypatch: pytest.MonkeyPatch, changes: Any, message: Any) -> None:
    problem, theta0 = small
    monkeypatch.setattr("simdrop.study.comparison.compare.train", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(InvalidInput, match=message):
        compare(**({"problem": problem, "theta0": theta0, "lr": 0.1, "steps": 5, "members": 10} | SMALL | changes))


def test_a_number_of_grid_points_needs_one_input() -> None:
    x = np.ones((3, 2))
    problem = simdrop.Problem(x, x[:, 0], width=2)
    with pytest.raises(InvalidInput, match=r"grid can be a number of points for 1-D data only"):
        compare(problem, lr=0.1, steps=5, members=10, grid=20, **SMALL)


def test_interrupt_in_the_simulation_keeps_what_was_recorded(tmp_path: Path, small: Any) -> None:
    """The interrupt arrives through the progress callback; what `simulate` recorded is on disk."""
    import signal

    problem, theta0 = small

    def stop(stage: Any, done: Any, total: Any) -> None:
        if stage == "simulate" and done > 0:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compare(problem, theta0, lr=0.1, steps=4000, members=10, out=tmp_path, progress=stop, **SMALL)
    from simdrop.output.storage import load

    kept = load(tmp_path / "results.zarr")
    assert kept.attrs["interrupted"] == 1
    assert kept["alive"].values[0] == 10
