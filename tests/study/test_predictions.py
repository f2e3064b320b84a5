"""The table of predictions: every one of them, by one name, through every study that takes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop import data, scale, theory
from simdrop.cli import run
from simdrop.errors import InvalidInput, RenamedWarning
from simdrop.output.storage import write_json
from simdrop.study import PREDICTIONS, compare, heat_map, order
from simdrop.study.predictions import FLOWS, OF_MEANS, default_kinds
from simdrop.theory.flows.table import flows

SINGLE = tuple(name for name in PREDICTIONS if name not in OF_MEANS)
SMALL: dict[str, Any] = {"lr": 0.1, "steps": 10, "members": 40, "record": 4, "backend": "numpy", "threads": 1}
RUNGS: dict[str, Any] = {"lrs": (0.2, 0.1, 0.05), "members": 12, "paths": 3, "groups": 3, "sme_members": 12}


@pytest.fixture(scope="module")
def problem() -> simdrop.Problem:
    """The problem on which orders are measured: 4 points of sin 3x, 5 neurons, keep_prob 0.7."""
    found = data.load("sin")
    return simdrop.Problem(found.x, found.y, width=5, keep_prob=0.7)


@pytest.mark.parametrize("name", OF_MEANS)
def test_compare_takes_every_prediction_of_means(problem: simdrop.Problem, name: str) -> None:
    one = PREDICTIONS[name]
    if name == "second-order":
        problem = simdrop.Problem(problem.x, (problem.y > 0).astype(float), width=5, keep_prob=0.7, loss="logistic")
    theta0 = theory.limit_point(problem, problem.init(seed=3)) if name == "manifold" else None
    found = compare(problem, theta0, kinds=[name], **SMALL)
    assert list(found.flows["kind"].values) == list(dict.fromkeys(["gradient", name]))
    assert np.isfinite(found.distances["distance"]).all()
    assert any(line.startswith(one.title) for line in found.table().splitlines())
    assert name == "gradient" or one.words in " ".join(found.summary["verdict"])
    assert one.legend in [text.get_text() for text in found.figure().legends[0].get_texts()]
    sampled = one.equation is not None
    assert ("own_noise" in found.distances) == ("own sampling noise" in found.table()) == sampled


@pytest.mark.parametrize("name", SINGLE)
def test_predictions_of_single_members_are_refused_where_means_are_compared(
    problem: simdrop.Problem, name: str
) -> None:
    sweep = {"theory": {"kinds": [name]}, "sweep": {"lr": [0.1]}}
    for study in (
        lambda: compare(problem, kinds=[name], **SMALL),
        lambda: heat_map(problem, kinds=name),
        lambda: scale.design(sweep),
    ):
        with pytest.raises(InvalidInput, match=f"kind '{name}' predicts single members.*use order") as error:
            study()
        assert "\n" not in str(error.value)


def test_distances_from_second_order_predictions_are_those_that_are_known(
    problem: simdrop.Problem, tmp_path: Path
) -> None:
    """4·10⁶ members lie 0.0469 from the mean-covariance flow and 0.027 from SME 2 at lr = 0.1, t = 1."""
    kinds = ["mean-covariance", "sme2"]
    found = compare(
        problem, problem.init(seed=3), **SMALL | {"members": 10_000, "seed": 5}, kinds=kinds, sme_members=8_000
    )
    for kind, known in (("mean-covariance", 0.0469), ("sme2", 0.027)):
        numbers = found.summary["quantities"]["parameters"]["flows"][kind]["final"]
        assert abs(numbers["distance"] - known) < 5 * numbers["error"] + 5e-4, kind
        assert numbers["error"] < 0.006
    plain = found.summary["quantities"]["parameters"]["flows"]["gradient"]["final"]
    assert plain["distance"] > 20 * 0.0469
    assert "the SME of order 2 is closer to the mean parameters than the mean-covariance flow" in found.table()
    found.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} > set(found.files())


def test_own_noise_is_the_scatter_of_an_equations_mean(problem: simdrop.Problem) -> None:
    """Over 30 ensembles of 40 paths, whose mean scatters by the stated own noise (± 4 errors)."""
    theta0 = problem.init(seed=3)
    found = [compare(problem, theta0, kinds=["sme2"], seed=seed, **SMALL | {"record": [10]}) for seed in range(30)]
    ends = np.array([one.flows["theta"].sel(kind="sme2").values[-1] for one in found])
    stated = np.array([one.summary["quantities"]["parameters"]["flows"]["sme2"]["final"]["own_noise"] for one in found])
    squares = np.square(ends - ends.mean(axis=0)).sum(axis=1) * 30 / 29
    error = np.hypot(squares.std(), (stated**2).std()) / np.sqrt(30)
    assert abs(squares.mean() - np.mean(stated**2)) < 4 * error
    assert (stated > 0).all()


def test_the_command_line_and_a_sweep_say_the_same(problem: simdrop.Problem, tmp_path: Path) -> None:
    kinds = ("averaged", "mean-covariance", "sme1")
    found = compare(problem, problem.init(seed=3), kinds=kinds, **SMALL)
    words = ["compare", "--data", "sin", "--width", "5", "--keep-prob", "0.7", "--init-seed", "3"]
    words += ["--output-scale", "1", *(word for kind in kinds for word in ("--kinds", kind))]
    words += [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert run([*words, "--quiet", "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["verdict"] == found.summary["verdict"]
    write_json(found.summary["quantities"], tmp_path / "quantities.json")
    assert told["quantities"] == json.loads((tmp_path / "quantities.json").read_text())
    tables = {
        "problem": {"data": "sin", "width": 5, "init_seed": 3, "output_scale": 1.0},
        "simulate": {name: SMALL[name] for name in ("lr", "steps", "members", "backend")} | {"dtype": "float64"},
        "theory": {"kinds": list(kinds)},
        "sweep": {"keep_prob": [0.7]},
    }
    swept = scale.sweep(scale.design(tables), tmp_path / "sweep", threads=1)
    for kind in kinds:
        own = found.summary["quantities"]["parameters"]["flows"][kind]["final"]["distance"]
        np.testing.assert_allclose(swept["distance"].sel(kind=kind, keep_prob=0.7), own, rtol=1e-9)


def test_the_old_name_of_kinds_works_and_is_told(
    problem: simdrop.Problem, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(RenamedWarning, match="theories is now called kinds"):
        old = order(problem, theories=["averaged"], **RUNGS)
    assert old.errors.equals(order(problem, kinds=["averaged"], **RUNGS).errors)
    with pytest.raises(InvalidInput, match="theories is the old name of kinds"):
        heat_map(problem, kinds=["averaged"], theories=["averaged"])
    assert issubclass(RenamedWarning, DeprecationWarning)
    words = [
        "order",
        "--members",
        "12",
        "--groups",
        "3",
        "--paths",
        "3",
        "--lrs",
        "0.2",
        "--lrs",
        "0.1",
        "--lrs",
        "0.05",
    ]
    for k, given in enumerate((["--theories", "averaged"], ["--set", 'theories=["averaged"]'])):
        assert run([*words, *given, "--out", str(tmp_path / str(k))]) == 0
        printed = capsys.readouterr()
        assert "simdrop: warning: theories is now called kinds" in printed.err
        assert 'kinds = ["averaged"]' in (tmp_path / str(k) / "settings.toml").read_text()


def test_every_flow_of_the_table_is_one_of_flow(problem: simdrop.Problem) -> None:
    assert set(flows()) == {name for name, one in PREDICTIONS.items() if one.equation is None}
    assert set(FLOWS) < set(flows())
    for name, one in PREDICTIONS.items():
        if one.equation is not None:
            with pytest.raises(InvalidInput, match=rf"kind '{name}' .* use simdrop\.sme\(\.\.\., order={one.equation}"):
                simdrop.flow(problem, problem.init(), lr=0.1, times=1.0, kind=name)


def test_plain_pathwise_flows_have_a_name(problem: simdrop.Problem) -> None:
    given: dict[str, Any] = {"lr": 0.1, "times": 1.0, "seed": 3, "member": 2}
    plain = simdrop.flow(problem, problem.init(), kind="pathwise-plain", **given)
    named = simdrop.flow(problem, problem.init(), kind="pathwise", corrected=False, **given)
    assert np.array_equal(plain["theta"], named["theta"])
    with pytest.raises(InvalidInput, match="corrected is an option of kind 'manifold' or 'pathwise'"):
        simdrop.flow(problem, problem.init(), kind="pathwise-plain", corrected=True, **given)


@pytest.mark.parametrize(("width", "samples", "summed"), [(5, 100, True), (10, 1797, False), (13, 2, False)])
def test_sums_over_all_masks_are_taken_by_default_where_they_are_short(width: int, samples: int, summed: bool) -> None:
    x = np.linspace(-1, 1, samples)
    problem = simdrop.Problem(x, np.arange(samples) % 3, width=width, loss="softmax")
    assert ("averaged" in default_kinds(problem)) == summed


@pytest.mark.parametrize("mask", ["step", "sample"])
def test_pathwise_flows_of_many_members_are_those_of_each(
    problem: simdrop.Problem, mask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distances of order() from members and flows, one at a time; members are followed two together here."""
    monkeypatch.setattr("simdrop.theory.flows.pathwise._TOGETHER", 40)
    problem = replace(problem, mask=mask)
    theta0, kinds = problem.init(seed=3), ["pathwise-plain", "pathwise"]
    found = order(problem, theta0, kinds=kinds, seed=7, backend="numpy", **RUNGS | {"paths": 5})
    for number, lr in enumerate(RUNGS["lrs"]):
        steps = round(1 / lr)
        runs = simdrop.simulate(
            problem, theta0, lr=lr, steps=steps, members=5, seed=7 + number, keep_theta=True, backend="numpy"
        )
        for kind in kinds:
            own: dict[str, Any] = {"lr": lr, "times": 1.0, "kind": kind, "seed": 7 + number}
            flow = np.array([theory.flow(problem, theta0, member=k, **own).theta.values[0] for k in range(5)])
            away = np.square(runs.theta.values[-1] - flow).sum(axis=1).mean() ** 0.5
            one = found.errors.distance.sel(kind=kind, quantity="parameters", lr=lr)
            np.testing.assert_allclose(one, away, rtol=1e-6)
