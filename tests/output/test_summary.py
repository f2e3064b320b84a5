"""The schema of summary.json: it is one, each study has its part, and it refuses what is not one.

What commands write is held against it where they are tested.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from oracles.summary_schema import faults, read_valid

import simdrop
from simdrop.output.folder import FILES
from simdrop.output.summary import FORMAT, SCHEMA
from simdrop.study import heat_map


@pytest.fixture(scope="module", name="compared")
def _compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("compared")
    problem = simdrop.Problem([-1.0, 0.0, 1.0], [0.5, 0.1, -0.4], width=3, keep_prob=0.8)
    simdrop.compare(problem, lr=0.1, steps=4, members=20, groups=4, kinds=["averaged"], backend="numpy").save(out)
    return read_valid(out / "summary.json", "compare")


def test_the_schema_is_one_and_has_every_study() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["format"] == {"const": FORMAT}
    assert set(schema["properties"]["study"]["enum"]) - {"heat-map"} == {
        kind for kind, files in FILES.items() if "summary.json" in files
    }


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("format",), 2, "$.format"),
        (("study",), "comparison", "$.study"),
        (("problem", "keep_prob"), 0.0, "$.problem.keep_prob"),
        (("problem", "data_sha256"), "none", "$.problem.data_sha256"),
        (("quantities", "risk", "flows", "averaged", "final", "resolved"), 1, "$.quantities.risk.flows.averaged"),
        (("quantities", "function", "noise", "rms"), "small", "$.quantities.function.noise.rms"),
        (("diverged", "members"), -1, "$.diverged.members"),
        (("verdict",), "good", "$.verdict"),
    ],
)
def test_it_names_the_field_that_is_wrong(
    compared: dict[str, Any], path: tuple[str, ...], value: object, where: str
) -> None:
    wrong = deepcopy(compared)
    *parents, last = path
    held = wrong
    for name in parents:
        held = held[name]
    held[last] = value
    assert any(fault.startswith(where) for fault in faults(wrong))


def test_a_heat_map_has_its_own_part(tmp_path: Path) -> None:
    problem = simdrop.Problem([-1.0, 0.0, 1.0], [0.5, 0.1, -0.4], width=3, keep_prob=0.8)
    heat_map(
        problem, lrs=[0.2, 0.1], keep_probs=[0.5, 0.9], time=0.4, members=40, kinds=["averaged"], groups=4,
        backend="numpy",
    ).save(tmp_path)  # fmt: skip
    assert read_valid(tmp_path / "heat-map.json", "heat-map")["kinds"]["averaged"]["cells"] == 4


def test_it_names_the_field_that_is_missing(compared: dict[str, Any]) -> None:
    for name in ("format", "versions", "quantities", "machine"):
        short = {key: value for key, value in compared.items() if key != name}
        assert any(repr(name) in fault for fault in faults(short))


def test_fields_that_are_not_known_are_no_fault(compared: dict[str, Any]) -> None:
    assert faults(compared | {"new": 1}) == []
