"""The page on clusters: a sweep in parts, one for each task of an array of jobs, as its Python stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from output.small import study

from simdrop import scale

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def test_the_parts_of_an_array_of_jobs_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Job arrays")[1].split("\n## ")[0]
    task, join = re.findall(r"^```python\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    study(tmp_path)
    for number in "01":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        exec(task, {"__name__": "__main__"})
    names: dict[str, Any] = {}
    exec(join, names)
    whole = scale.sweep(scale.read("study.toml"), "whole")
    xr.testing.assert_equal(names["whole"], whole)
