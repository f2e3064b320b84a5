"""What packages say of the project: one version, one list of dependencies, links that lead somewhere, workflows."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

import simdrop

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_there_is_one_version() -> None:
    recipe = read_yaml(ROOT / ".ci" / "conda" / "recipe.yaml")
    citation = read_yaml(ROOT / "CITATION.cff")
    assert {PROJECT["version"], recipe["context"]["version"], str(citation["version"])} == {simdrop.__version__}
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == simdrop.__version__


def test_the_conda_recipe_needs_what_pip_installs() -> None:
    needed = read_yaml(ROOT / ".ci" / "conda" / "recipe.yaml")["requirements"]["run"]
    listed = {line.replace(" ", "").replace("matplotlib-base", "matplotlib") for line in needed}
    assert listed - {"python>=${{python_min}}"} == set(PROJECT["dependencies"])
    assert len(PROJECT["dependencies"]) > 5


def test_workflows_run_every_python_that_is_named() -> None:
    named = {word[-1] for word in (line.split(" :: ") for line in PROJECT["classifiers"]) if word[-1].startswith("3.")}
    jobs = {name: job for path in WORKFLOWS for name, job in read_yaml(path)["jobs"].items()}
    for job in ("fast", "installed"):
        assert set(jobs[job]["strategy"]["matrix"]["python"]) == named
    assert min(named, key=lambda version: int(version[2:])) == PROJECT["requires-python"].removeprefix(">=")


def test_workflows_call_what_is_there() -> None:
    """Paths of the repository in commands exist; every job says where it runs."""
    for path in WORKFLOWS:
        workflow = read_yaml(path)
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert job["runs-on"]
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            for named in re.findall(r"\b(?:tests|docs|bench|examples)/[\w/.-]+", commands):
                assert (ROOT / named).exists(), (path.name, named)


def test_the_page_of_an_index_has_absolute_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """What setup.py makes of README.md: links and pictures by addresses whose paths are files of this version."""
    setuptools = pytest.importorskip("setuptools")
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    links = re.findall(r"\]\(([^)]+)\)", given["long_description"])
    at = rf"/simdrop/simdrop/(?:blob/)?v{re.escape(simdrop.__version__)}/"
    paths = [match[1] for link in links if (match := re.fullmatch(rf"https://[\w.]+{at}(.+)", link))]
    pictures = [path for path in paths if path.endswith(".png")]
    assert pictures
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in links if not link.startswith("https://")] == []
    assert given["long_description"].count("raw.githubusercontent.com") == len(pictures)
