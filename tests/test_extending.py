"""The worked examples of docs/extending.md, run as they stand in a copy of both packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simdrop_kernels import native

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
#: section -> its text
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
#: language, file or "", content of a block
BLOCK = re.compile(r"^```(python|c|diff)\n(?:(?:#|//) file: (\S+)\n)?(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def test_all_that_can_be_added_is_there() -> None:
    wanted = [
        "An activation", "A loss", "An optimizer", "A schedule", "A noise", "A theory", "An experiment", "A backend",
    ]  # fmt: skip
    assert [name for name in SECTIONS if name in wanted] == wanted


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_counts_the_files(section: str) -> None:
    (stated,) = re.findall(rf"^\| \[{section.lower()}\]\(#[a-z-]*\) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    files = {file for _, file, _ in BLOCK.findall(SECTIONS[section]) if file}
    assert sum(map(int, re.findall(r"\d", stated))) == len(files)


def apply(diff: str, text: str) -> str:
    """The text with the lines changed as the diff says; each of its hunks must fit at exactly one place."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"this is {text.count(before)} times in the file:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with simdrop and kernels/simdrop_kernels, without the C extension."""
    left_out = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "papers")
    shutil.copytree(ROOT / "simdrop", tmp_path / "simdrop", ignore=left_out)
    shutil.copytree(ROOT / "kernels" / "simdrop_kernels", tmp_path / "kernels" / "simdrop_kernels", ignore=left_out)
    (tmp_path / "simdrop" / "reproduce" / "papers").mkdir()
    shutil.copy(
        ROOT / "simdrop" / "reproduce" / "papers" / "__init__.py", tmp_path / "simdrop" / "reproduce" / "papers"
    )
    return tmp_path


def write(section: str, copy: Path) -> list[str]:
    """Add and change the files of a section; returns its blocks without a file, those to run."""
    checks = []
    for language, file, content in BLOCK.findall(SECTIONS[section]):
        if not file:
            checks.append(content)
        elif language == "diff":
            (copy / file).write_text(apply(content, (copy / file).read_text(encoding="utf-8")), encoding="utf-8")
        else:
            assert not (copy / file).exists(), f"{file} is there already"
            (copy / file).parent.mkdir(exist_ok=True)
            (copy / file).write_text(content, encoding="utf-8")
    assert checks
    return checks


#: warnings are errors, but for that of Matplotlib before 3.11 on today's pyparsing, as in pyproject.toml
STRICT = r"""import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", ".*deprecated", DeprecationWarning, r"(matplotlib|pyparsing)\b")"""


def run(copy: Path, *command: str) -> None:
    """Run Python in the copy; with its packages and no others."""
    path = os.pathsep.join(map(str, (copy, copy / "kernels", copy / "tools")))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("section", SECTIONS)
def test_runs(section: str, copy: Path) -> None:
    checks = [check for check in write(section, copy) if 'backend="native"' not in check]
    run(copy, "-c", "\n".join([STRICT, *checks]))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compiler")
def test_what_is_written_in_c_runs(copy: Path) -> None:
    if native.unavailable():
        pytest.skip("there is no C extension here, so that there may be no compiler")
    checks = write("An activation", copy)
    assert 'backend="native"' in checks[-1]
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(copy, "-m", "pip", "install", "--quiet", "--target", "tools", "setuptools>=77")
    run(copy, "setup.py", "--quiet", "build_ext", "--inplace")
    run(copy, "-c", "\n".join([STRICT, *checks]))


def test_a_change_that_does_not_fit_is_found() -> None:
    assert apply("-one\n+two\n", "zero\none\n") == "zero\ntwo\n"
    with pytest.raises(AssertionError, match="0 times"):
        apply("-three\n+two\n", "zero\none\n")
