"""simdrop.study.comparison.table: summary.json, and numbers with their uncertainty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simdrop
from simdrop.output.numbers import plus_minus
from simdrop.output.storage import write_json


def test_json_takes_numpy_and_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    values = {"a": np.float64(1.5), "b": np.arange(2), "c": [np.nan, np.inf, np.int64(3)], 4: {"d": np.bool_(True)}}
    write_json(values, tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert found == {"a": 1.5, "b": [0, 1], "c": [None, None, 3], "4": {"d": True}}


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.33142, 0.0121, "3.331 ± 0.012"),
        (0.0, 0.0013, "0.0000 ± 0.0013"),
        (93.84, 0.5, "93.84 ± 0.50"),
        (1234.5, 30.0, "1234 ± 30"),
        (2.0, 0.0, "2 ± 0"),
        (1.234e-7, 5.6e-9, "(1.234 ± 0.056)e-7"),
        (np.nan, 1.0, "-"),
        (1.0, np.nan, "-"),
    ],
)
def test_plus_minus_shows_two_figures_of_the_error(value: Any, error: Any, text: Any) -> None:
    assert plus_minus(value, error) == text


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    problem = simdrop.Problem([0.5], [0.5], width=1, keep_prob=0.8)
    table = simdrop.compare(problem, lr=0.1, steps=1, members=4, kinds=[], grid=[0.5], backend="numpy").table()
    assert table.startswith("4 networks of 1 tanh neuron with dropout")
    assert "1 step of learning rate 0.1 on 1 sample, against one prediction of their mean\n" in table
    assert "over 1 point." in table


def test_rooms_of_studies_are_attributes_before_anything_else_loads_them() -> None:
    code = "import simdrop; simdrop.study.comparison.Comparison, simdrop.study.predictions.PREDICTIONS"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
