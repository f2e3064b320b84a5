"""simdrop.study.comparison.figure: every panel says what it shows; nothing global is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import simdrop
from simdrop import data
from simdrop.output import style
from simdrop.study.predictions import OF_MEANS, PREDICTIONS

QUICK = {"lr": 0.1, "steps": 20, "members": 12, "backend": "numpy", "record": 6}


def one_dimensional(**changes: Any) -> Any:
    found = data.load("sin")
    return simdrop.compare(simdrop.Problem(found.x, found.y, width=4, keep_prob=0.7), **QUICK | changes)


@pytest.fixture(scope="module")
def comparison() -> Any:
    return one_dimensional()


def test_every_panel_is_labelled(comparison: Any) -> None:
    before = dict(mpl.rcParams)
    figure = comparison.figure()
    assert {name: value for name, value in mpl.rcParams.items() if before[name] != value and name != "backend"} == {}
    assert len(figure.axes) == 6
    for axis in figure.axes:
        assert axis.get_xlabel()
        assert axis.get_title(loc="left")
        assert axis.get_ylabel() or len(axis.get_yticklabels()) == 3  # the bars name their rows
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[:3] == ["mean of the networks", "90 % of the networks", "below sampling noise"]
    assert len(shown) == 6
    assert "12 networks of 4 tanh neurons" in figure.get_suptitle()


def test_predictions_differ_in_colour_line_and_marker() -> None:
    looks = [one.look for one in PREDICTIONS.values()]
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(looks)
    assert len({str(PREDICTIONS[name].look.line) for name in OF_MEANS}) == len(OF_MEANS)


def test_curves_are_the_distances(comparison: Any) -> None:
    lines = comparison.figure().axes[1].get_lines()
    expected = comparison.distances["distance"].sel(quantity="parameters", kind="gradient").values[1:]
    np.testing.assert_array_equal(lines[0].get_ydata(), expected)


def test_logarithmic_record_times_get_a_logarithmic_axis() -> None:
    figure = one_dimensional(spacing="log", steps=1000, record=10).figure()
    assert figure.axes[1].get_xscale() == "log"


def test_many_inputs_are_shown_by_their_outputs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((6, 2))
    found = simdrop.compare(simdrop.Problem(x, x, width=4), **QUICK)
    figure = found.figure()
    assert "one dot per data point" in figure.axes[0].get_title(loc="left")
    style.save(figure, tmp_path / "f.pdf")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")


def test_pyplot_is_not_loaded() -> None:
    code = f"""
import sys, simdrop
problem = simdrop.Problem([0.0, 1.0], [0.0, 1.0], width=2)
simdrop.compare(problem, **{QUICK}).figure()
print("matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
