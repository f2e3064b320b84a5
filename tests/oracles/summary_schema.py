"""Summaries held against the schema that is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from simdrop.output.summary import SCHEMA


def faults(summary: dict[str, Any]) -> list[str]:
    """Where and how a summary departs from the schema, one line each."""
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(summary)]


def read_valid(file: Path, study: str) -> dict[str, Any]:
    """A summary that follows the schema and is of this study."""
    summary = json.loads(file.read_text(encoding="utf-8"))
    found = faults(summary)
    assert not found, found
    assert summary["study"] == study
    return dict(summary)
