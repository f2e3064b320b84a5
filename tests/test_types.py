"""A user's script is understood by pyright too; mypy has it among the files that it checks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_pyright_finds_the_mistakes_of_the_script_and_no_others() -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed: pip install pyright, or npm install --global pyright")
    command = [pyright, "--pythonpath", sys.executable, "tests/typed/user_script.py"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
