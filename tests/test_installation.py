"""What is told where parts of an installation are missing; what a source distribution and repeated installs hold."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import steps

import simdrop
from simdrop import cli
from simdrop_kernels import Step, native, registry
from simdrop_kernels.contract.step import Sizes

ROOT = Path(__file__).parents[1]
SMALL = ["--members", "4", "--steps", "4", "--width", "3", "--record", "2"]
PLAN = """
[problem]
data = "sin"
width = 3
[simulate]
steps = 4
members = 4
backend = "numpy"
[sweep]
lr = [0.01, 0.02]
"""
MISSING = "was not built: install GCC or Clang, then reinstall simdrop, with pip's --no-cache-dir"


@pytest.fixture
def _no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no compiler was found on installation, and no GPU."""
    monkeypatch.setattr(native, "_native", None)
    monkeypatch.setattr(native, "_missing", MISSING, raising=False)
    monkeypatch.setattr(registry.load("cuda"), "unavailable", lambda: "no NVIDIA driver was found")


def notes(printed: Any) -> Any:
    return [line for line in printed.splitlines() if line.startswith("simdrop: note: ")]


@pytest.mark.usefixtures("_no_extension")
def test_a_command_says_once_that_the_compiled_backend_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["compare", *SMALL, "--out", str(tmp_path / "out")]) == 0
    told = "simdrop: note: backend 'numba' runs this; 'native' would be faster, but its C extension " + MISSING
    assert notes(capsys.readouterr().err) == [told]


@pytest.mark.usefixtures("_no_extension")
def test_an_error_stays_the_only_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", *SMALL, "--lr", "1e400", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "simdrop: error: --lr must be a finite number, got inf\n"


@pytest.mark.usefixtures("_no_extension")
@pytest.mark.parametrize(
    "flags", [["--quiet"], ["--backend", "numba"], ["--backend", "numpy"]], ids=["quiet", "numba", "numpy"]
)
def test_nothing_is_said_where_nothing_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Any
) -> None:
    assert cli.run(["compare", *SMALL, *flags, "--out", str(tmp_path / "out")]) == 0
    assert notes(capsys.readouterr().err) == []


@pytest.mark.usefixtures("_no_extension")
def test_nothing_is_said_where_the_compiled_backend_would_not_be_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="simdrop.backends")
    registry.choose("auto", steps.make(connect=0.8), np.dtype(np.float64))  # not written in C
    registry.choose("auto", Step(), np.dtype(np.float64), sizes=Sizes(100, 1000, 785, 10))  # BLAS is faster
    assert not caplog.records
    registry.choose("auto", Step(), np.dtype(np.float64), sizes=Sizes(100, 100, 2, 1))
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("_no_extension")
def test_functions_say_it_in_their_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    problem = simdrop.Problem([[0.0], [1.0]], [[0.0], [1.0]], width=3, keep_prob=0.5)
    runs = simdrop.simulate(problem, problem.init(seed=0), lr=0.1, steps=2, members=2)
    assert runs.attrs["backend_reason"].endswith("not 'native': its C extension " + MISSING)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_no_extension")
def test_info_says_what_is_missing_and_adds_no_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info"]) == 0
    printed = capsys.readouterr()
    assert f"native    its C extension {MISSING}" in printed.out
    assert printed.err == ""


def test_an_extension_that_does_not_load_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: Any, *rest: Any) -> Any:
        if name == "simdrop_kernels._native":
            raise ImportError("undefined symbol: PyNothing")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    spec = importlib.util.spec_from_file_location("simdrop_kernels.native", native.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert "does not load here (undefined symbol: PyNothing): reinstall simdrop" in again.unavailable()


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("sklearn", "data", ["compare", *SMALL, "--data", "diabetes"]),
        ("pyarrow", "parquet", ["show", "store", "--export", "all.parquet"]),
        ("h5netcdf", "netcdf", ["show", "store", "--export", "all.nc"]),
        ("distributed", "cluster", ["sweep", "plan.toml", "--out", "store", "--workers", "1"]),
    ],
)
def test_where_an_extra_is_missing_it_is_named(tmp_path: Path, module: Any, extra: Any, command: Any) -> None:
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    if command[0] == "show":
        assert cli.run(["sweep", str(tmp_path / "plan.toml"), "--quiet", "--out", str(tmp_path / "store")]) == 0
    missing = f"import sys; sys.modules[{module!r}] = None; from simdrop.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", missing, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"pip install 'simdrop[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_where_numba_cuda_is_missing_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else find(name))
    assert registry.load("cuda").unavailable() == "numba-cuda is not installed (pip install 'simdrop[cuda]')"


def _run(*command: Any, cwd: Any) -> Any:
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_source_distribution_holds_all_tests_and_what_they_need(tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns("*.so", "__pycache__", "build", "dist", "*.egg-info", ".*", "simdrop-*")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=left_out)
    _run("-m", "pip", "install", "--quiet", "--target", tmp_path / "tools", "setuptools>=77", cwd=tmp_path)
    build = (
        "import sys; sys.path.insert(0, sys.argv[1]); from setuptools import build_meta; build_meta.build_sdist('..')"
    )
    _run("-c", build, tmp_path / "tools", cwd=source)
    (archive,) = tmp_path.glob("simdrop-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for folder in ("simdrop", "kernels", "tests", "bench", "docs", "examples"):
        wanted = {path.relative_to(source) for path in (source / folder).rglob("*") if path.is_file()}
        assert wanted
        assert wanted <= {path.relative_to(unpacked) for path in (unpacked / folder).rglob("*")}
    collect = ("-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider")
    counts = [_run(*collect, cwd=folder).splitlines()[-1].split(" tests collected")[0] for folder in (source, unpacked)]
    assert counts[0] == counts[1]
    assert int(counts[0]) > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compiler")
def test_an_editable_installation_is_followed_by_python_and_type_checkers(tmp_path: Path) -> None:
    """In a fresh environment both packages are those of the clone, with what is added there later and its types."""
    left_out = shutil.ignore_patterns("*.so", "__pycache__", "build", "dist", "*.egg-info", ".*", "simdrop-*")
    clone = shutil.copytree(ROOT, tmp_path / "clone", ignore=left_out)
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    outside = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}

    def run(*command: Any) -> Any:
        done = subprocess.run(
            [str(part) for part in command], cwd=foreign, env=outside, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", clone)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    # dependencies are those of this environment; its own simdrop comes later on the path than the clone's
    Path(run(python, "-c", where).strip(), "zz_dependencies.pth").write_text(sysconfig.get_path("purelib"))
    files = run(python, "-c", "import simdrop, simdrop_kernels as k; print(simdrop.__file__); print(k.__file__)")
    assert files.split() == [
        str(clone / "simdrop" / "__init__.py"), str(clone / "kernels" / "simdrop_kernels" / "__init__.py"),
    ]  # fmt: skip
    if native.unavailable() is None:  # there is a compiler
        assert run(python, "-c", "from simdrop_kernels import native; print(native.unavailable())").strip() == "None"
    (clone / "kernels" / "simdrop_kernels" / "added.py").write_text("def twice(x: int) -> int:\n    return 2 * x\n")
    (clone / "simdrop" / "added.py").write_text("from simdrop_kernels.added import twice\n\nFOUR = twice(2)\n")
    assert run(python, "-c", "from simdrop.added import FOUR; print(FOUR)").strip() == "4"
    (foreign / "user.py").write_text(
        "from simdrop.added import FOUR\n"
        "from simdrop_kernels.added import twice\n"
        "from simdrop_kernels.contract.step import Ensemble\n"
        "reveal_type(FOUR)\nreveal_type(twice)\nreveal_type(Ensemble.parts)\n"
    )
    checked = run(sys.executable, "-m", "mypy", "--no-incremental", "--python-executable", python, "user.py")
    assert 'Revealed type is "int"' in checked.replace("builtins.", "")
    assert "def (x: int) -> int" in checked.replace("builtins.", "")
    assert "-> list[simdrop_kernels.contract.step.Ensemble]" in checked.replace("builtins.", "")
