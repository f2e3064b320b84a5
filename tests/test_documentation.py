"""The pages for contributors: what they name is there, and the floors that they draw are those of the imports."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from test_architecture import FLOORS, KERNEL_FLOORS

from simdrop.cli import cli
from simdrop.reproduce import experiments

ROOT = Path(__file__).parents[1]
SITE = tuple(
    f"docs/{name}.md"
    for name in (
        "index",
        "quickstart",
        "backends",
        "which-theory",
        "how-to",
        "experiments",
        "derivations",
        "performance",
        "data-format",
        "cluster",
    )
)
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/extending.md",
    "docs/releasing.md",
    "docs/completion.md",
    *SITE,
)


@pytest.mark.parametrize("page", PAGES)
def test_files_links_and_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    missing = [
        name
        for name in re.findall(r"`((?:simdrop|kernels|tests|bench|docs|examples)/[\w./-]*)`", prose)
        if not (ROOT / name).exists()
    ]
    missing += [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not ((ROOT / page).parent / link).exists()]
    for name in re.findall(r"`(simdrop(?:_kernels)?(?:\.\w+)+)(?:\(.*?\))?`", prose):
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            try:
                importlib.import_module(name)
            except ImportError:
                missing.append(name)
    assert not missing


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str) -> None:
    """Every `simdrop ...` of a block has flags and values that the command line takes; none is run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^ *```bash\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE))
    for line in re.findall(r"(?:^|&& |=\S+ )(?:\S*/)?(simdrop .*)$", blocks.replace("\\\n", " "), flags=re.MULTILINE):
        words = shlex.split(re.split(r" &&| \||#", line)[0])[1:]
        command = cli.commands[words[0]]
        command.make_context(words[0], words[1:])


@pytest.mark.slow
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context({"backend": "agg"}):
        runpy.run_path(str(script))
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")


def test_the_site_has_every_tutorial_in_an_order() -> None:
    order = runpy.run_path(str(ROOT / "docs" / "_extensions" / "pictures.py"))["ORDER"]
    assert sorted(order) == [script.stem for script in TUTORIALS]
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in SITE)
    linked = set(re.findall(r"generated/tutorials/(\w+)[>`]", pages))
    assert {"index"} <= linked <= {"index", *order}
    assert len(order) == 7


def test_the_results_of_the_site_are_those_of_experiments_that_are_there() -> None:
    found = sorted((ROOT / "docs" / "experiments").glob("*.json"))
    assert found
    for file in found:
        summary = json.loads(file.read_text(encoding="utf-8"))
        assert experiments()[file.stem].source == summary["source"]
        assert summary["day"] >= "2026-11-26"
        assert file.with_suffix(".png").stat().st_size > 5000
        assert summary["passed"] == ("FAIL" not in {row["verdict"] for row in summary["rows"]})


def test_the_page_of_experiments_has_all_of_them() -> None:
    text = "\n".join(runpy.run_path(str(ROOT / "docs" / "_extensions" / "experiments.py"))["page"]())
    for name in experiments():
        assert f"simdrop reproduce {name}\n" in text
        assert (f"](experiments/{name}.png)" in text) == (ROOT / "docs" / "experiments" / f"{name}.json").exists()


def test_links_of_the_site_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    """What the site is checked by when it is built."""
    broken = runpy.run_path(str(ROOT / "docs" / "_extensions" / "links.py"))["broken"]
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "a b.html").write_text('<h1 id="top">a</h1><a href="../index.html#there">up</a>', "utf-8")
    index = (
        '<p id="there"><a href="#there">{}</a><a href="https://simdrop.org">out</a><a href="api/a%20b.html#{}">a</a>'
    )
    (tmp_path / "index.html").write_text(index.format("x", "top"), encoding="utf-8")
    assert broken(tmp_path) == []
    wrong = index.format('<img src="gone.png">', "bottom") + '<a href="#nowhere">b</a><a href="gone.html">c</a>'
    (tmp_path / "index.html").unlink()
    (tmp_path / "index2.html").write_text(wrong, encoding="utf-8")
    links = ("#nowhere", "api/a%20b.html#bottom", "gone.html", "gone.png")
    assert broken(tmp_path) == ["api/a b.html: ../index.html#there", *(f"index2.html: {link}" for link in links)]


def test_equations_that_docstrings_cite_are_numbered() -> None:
    text = (ROOT / "docs" / "derivations.md").read_text(encoding="utf-8")
    numbered = set(re.findall(r"\$\$ \((\w+)\)$", text, flags=re.MULTILINE))
    modules = [path.read_text(encoding="utf-8") for path in (ROOT / "simdrop").rglob("*.py")]
    cited = {name for module in modules for name in re.findall(r":eq:`(\w+)`", module)}
    assert {"r1", "r2", "second", "moments", "sme", "drift"} <= cited <= numbered


@pytest.mark.slow
def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) > 1
    accuracy = float(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert accuracy > 0.5  # of ten classes


@pytest.mark.slow
@pytest.mark.parametrize("page", ["quickstart", "how-to", "data-format"])
def test_the_python_of_the_site_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simdrop_kernels.mathematics.activations import table

    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    try:
        for block in blocks:
            exec(block, names)
    finally:
        table.ACTIVATIONS.pop("cube", None)  # which a page registers
    assert blocks


def test_every_room_is_explained_on_its_floor() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    ours, kernels = text.split("## The rooms of the kernels")
    floor = {room: k for k, rooms in enumerate(FLOORS) for room in rooms}
    listed = [
        room for row in re.findall(r"^\| (`.*?`) \|", ours, flags=re.MULTILINE) for room in re.findall(r"\w+", row)
    ]
    assert set(listed) == floor.keys() - {"version", "__main__"}
    assert [floor[room] for room in listed] == sorted(floor[room] for room in listed)
    explained = set(re.findall(r"^\| `(\w+)` \|", kernels, flags=re.MULTILINE))
    assert set.union(*KERNEL_FLOORS) - {"compiling", "threads"} <= explained
