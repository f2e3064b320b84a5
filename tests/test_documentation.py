"""The pages for contributors: what they name is there, and the floors that they draw are those of the imports."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from test_architecture import FLOORS, KERNEL_FLOORS

ROOT = Path(__file__).parents[1]
SITE = tuple(
    f"docs/{name}.md"
    for name in ("index", "quickstart", "backends", "which-theory", "how-to", "derivations", "data-format")
)
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
@pytest.mark.parametrize("page", ["quickstart", "how-to"])
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
    assert len(blocks) > 1


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
