"""summary.json: the version of its format, and the file of the schema that it follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .storage import write_json

#: raised when a field is renamed, removed or changes its meaning; fields that are added do not raise it
FORMAT = 1
#: JSON Schema (draft 2020-12) of what every study writes
SCHEMA = Path(__file__).with_name("summary.schema.json")


def write_summary(study: str, values: dict[str, Any], path: Path) -> None:
    """Write the summary of a study as JSON, with the version of the format and the study's name first."""
    write_json({"format": FORMAT, "study": study} | values, path)
