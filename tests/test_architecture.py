"""The plan of the code: which part may import which. Every import counts, deferred ones and those for types too."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"simdrop": ROOT / "simdrop", "simdrop_kernels": ROOT / "kernels" / "simdrop_kernels"}

#: from the ground up: a room imports from rooms on floors below its own, and from itself
FLOORS = [
    {"errors", "version"},
    {"checks"},
    {"activations", "schedule"},
    {"problem", "data"},
    {"provenance", "output"},
    {"settings"},
    {"theory"},
    {"simulation"},
    {"study"},
    {"scale", "reproduce"},
    {"plots"},
    {"cli"},
    {"__main__"},
]
KERNEL_FLOORS = [{"compiling", "threads", "contract"}, {"mathematics"}, {"reference", "cpu", "native", "cuda"}]


def modules(package: str) -> dict[str, Path]:
    """All modules of a package by their dotted names."""
    root = PACKAGES[package]
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules("simdrop") | modules("simdrop_kernels")


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports anywhere in its text; of a name in a package, the package."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            named = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        else:
            continue
        found |= {name for name in named if name in MODULES}
    return found - {module}  # of a package that only hands names on, the arrows count as its own


IMPORTS = {module: imports(module) for module in MODULES}


def room(module: str) -> str:
    """The room at the top of its package that a module belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


def test_no_circle() -> None:
    list(TopologicalSorter(IMPORTS).static_order())  # raises CycleError with the modules of a circle


@pytest.mark.parametrize(("package", "floors"), [("simdrop", FLOORS), ("simdrop_kernels", KERNEL_FLOORS)])
def test_imports_go_down(package: str, floors: list[set[str]]) -> None:
    floor = {name: k for k, names in enumerate(floors) for name in names} | {"registry": 1}
    wrong = [
        f"{module} -> {other}"
        for module, others in IMPORTS.items()
        for other in others
        if module.startswith(f"{package}.") and other.startswith(f"{package}.")
        and room(module) != room(other) and floor[room(other)] >= floor[room(module)]
    ]  # fmt: skip
    assert not wrong


def test_the_kernels_know_nothing_of_simdrop() -> None:
    assert not [
        m
        for m, others in IMPORTS.items()
        if room(m) and m.startswith("simdrop_kernels") and any(o.split(".")[0] == "simdrop" for o in others)
    ]


def test_an_arrow_up_would_be_found() -> None:
    assert "simdrop_kernels.contract.step" in IMPORTS["simdrop_kernels.registry"]
    assert "simdrop.errors" in IMPORTS["simdrop.checks.numbers"]


def test_few_rooms_and_short_files() -> None:
    top = {room(m) for m in MODULES if m.startswith("simdrop.")}
    kernels = {room(m) for m in MODULES if m.startswith("simdrop_kernels.")}
    assert (len(top) <= 18, len(kernels) <= 9) == (True, True), (sorted(top), sorted(kernels))
    assert not {m: n for m, path in MODULES.items() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 500}
    long = {
        f"{module}.{node.name}": lines
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (lines := lines_of(node)) > 70
    }
    assert not long


def lines_of(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring: a public one describes each of its arguments."""
    first = function.body[0]
    described = ast.get_docstring(function) is not None
    return (function.end_lineno or 0) - function.lineno + 1 - described * ((first.end_lineno or 0) - first.lineno + 1)


def test_a_long_function_would_be_found() -> None:
    body = "\n".join(["    x = 1"] * 70)
    (plain,) = ast.parse(f"def f():\n{body}").body
    (described,) = ast.parse(f'def f():\n    """One.\n\n    Two.\n    """\n{body}').body
    assert isinstance(plain, ast.FunctionDef)
    assert isinstance(described, ast.FunctionDef)
    assert lines_of(plain) == lines_of(described) == 71
