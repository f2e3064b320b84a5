"""The build of backend "native": strict warnings, sanitizers, and an install where there is no compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simdrop_kernels import native
from simdrop_kernels.contract.network import Network

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "kernels" / "simdrop_kernels" / "native"
GCC = shutil.which("gcc")
CLANG = shutil.which("clang")

pytestmark = [
    pytest.mark.skipif(GCC is None, reason="needs gcc"),
    pytest.mark.skipif(not (SOURCES / "kernels.c").exists(), reason="needs a clone: the C sources are not installed"),
]

STRICT = ["-std=gnu11", "-O1", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mpopcnt"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"]
X86 = os.uname().machine == "x86_64" if hasattr(os, "uname") else False
INTEL = [*AVX512, "-DSIMDROP_RECIPROCALS"]
FLAGS = {"baseline": [], **({"avx2": AVX2, "avx512": AVX512, "avx512_intel": INTEL} if X86 else {})}


def run(command: Any, **options: Any) -> Any:
    """Run a command; its output where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", FLAGS)
def test_kernels_compile_without_a_warning(name: Any) -> None:
    run([GCC, *STRICT, f"-DSIMDROP_NAME={name}", *FLAGS[name], str(SOURCES / "kernels.c")])


@pytest.mark.skipif(CLANG is None, reason="needs clang")
@pytest.mark.parametrize("source", [*FLAGS, "module"])
def test_clang_compiles_everything_without_a_warning(source: Any) -> None:
    if source == "module":
        python = [f"-I{sysconfig.get_path('include')}", "-DPy_LIMITED_API=0x030B0000"]
        run([CLANG, *STRICT, *python, str(SOURCES / "module.c")])
    else:
        run([CLANG, *STRICT, f"-DSIMDROP_NAME={source}", *FLAGS[source], str(SOURCES / "kernels.c")])


def test_kernels_compile_for_processors_without_vectors_known_to_us() -> None:
    run([GCC, *STRICT, "-DSIMDROP_NAME=baseline", "-U__SSE2__", "-Wno-psabi", str(SOURCES / "kernels.c")])


def test_glue_compiles_without_a_warning() -> None:
    python = [f"-I{sysconfig.get_path('include')}", "-DPy_LIMITED_API=0x030B0000"]
    run([GCC, *STRICT, *python, str(SOURCES / "module.c")])


@pytest.mark.skipif(not X86, reason="counts instructions of x86-64")
@pytest.mark.parametrize("isa", ["avx512", "avx512_intel"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operations_are_those_of_the_compiled_tanh(
    tmp_path: Path, dtype: Any, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arithmetic instructions that the compiler makes of tanh, beside the seven of the rest of an update."""
    monkeypatch.setenv("SIMDROP_ISA", isa)
    lines = ["#include <math.h>", '#include "isa.h"', '#include "task.h"', '#include "coefficients.h"']
    lines += [f"#define REAL_IS_FLOAT {int(dtype == 'float32')}", '#include "lanes.h"', '#include "activation.h"']
    (tmp_path / "tanh.c").write_text("\n".join([*lines, "vec compiled(vec z) { return N(tanh_of)(z); }"]))
    run([GCC, "-std=gnu11", "-O3", *FLAGS[isa], f"-I{SOURCES}", "-S", "tanh.c", "-o", "tanh.s"], cwd=tmp_path)
    arithmetic = re.findall(
        r"^\s+v(?:add|sub|mul|div|min|max|range|reduce|rcp14|fn?m\w+)p[sd]\b", (tmp_path / "tanh.s").read_text(), re.M
    )
    assert native.operations(Network(), np.dtype(dtype), 2, 1) == len(arithmetic) + 7


@pytest.mark.slow
def test_clean_under_sanitizers(tmp_path: Path) -> None:
    """The suite of kernels and glue, run in a process whose extension carries ASan and UBSan.

    For one instruction set, the best one here: the kernels of all are one source, and each takes minutes.
    """
    package = tmp_path / "simdrop_kernels"
    shutil.copytree(SOURCES.parent, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    flags = ["-std=gnu11", "-O1", "-g", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    objects, tried = [], native.instruction_set()
    for name, own in FLAGS.items():
        objects.append(str(tmp_path / f"{name}.o"))
        how = flags if name == tried else ["-std=gnu11", "-O0", "-fPIC"]
        run([GCC, *how, *own, f"-DSIMDROP_NAME={name}", "-c", str(SOURCES / "kernels.c"), "-o", objects[-1]])
    python = [f"-I{sysconfig.get_path('include')}", "-DPy_LIMITED_API=0x030B0000"]
    module = str(package / "_native.abi3.so")
    run([GCC, *flags, *python, "-shared", str(SOURCES / "module.c"), *objects, "-lm", "-o", module])
    libraries = [run([GCC, f"-print-file-name={name}"]).strip() for name in ("libasan.so", "libubsan.so")]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own; the glue has a leak loop
    }
    shown = run([sys.executable, "-c", "import simdrop_kernels; print(simdrop_kernels.__file__)"], env=environment)
    assert str(package) in shown
    suite = [
        str(ROOT / "tests" / "kernels" / f"{name}.py")
        for name in ("test_native", "test_native_members", "test_native_glue")
    ]
    # the memory that ASan keeps for itself grows: the leak loop is for the plain build
    chosen = " and ".join(f"not {name}" for name in ("leak", "interrupts", *FLAGS) if name != tried)
    run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *suite],
        env=environment,
        cwd=tmp_path,
    )


@pytest.mark.slow
def test_installs_without_a_compiler(tmp_path: Path) -> None:
    """A wheel is built, says what is missing, and its registry gives the reason."""
    source = tmp_path / "source"  # without what earlier builds left
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "build", "*.egg-info", ".*", "tests", "bench")
    shutil.copytree(ROOT, source, ignore=ignored)
    left = source / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "simdrop_kernels"
    left.mkdir(parents=True)
    (left / "_native.abi3.so").write_bytes(b"of an earlier build")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-v", "-w", str(tmp_path)]
    told = run([*pip, str(source)], env={**os.environ, "CC": "/nonexistent/cc"})
    assert "simdrop's native backend was not built" in told
    wheel = next(tmp_path.glob("*.whl"))
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    assert not list((tmp_path / "unpacked" / "simdrop_kernels").glob("_native.*"))
    script = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'Editable' not in repr(f)]\n"  # it would find this clone's build
        f"sys.path.insert(0, {str(tmp_path / 'unpacked')!r})\n"
        "from simdrop_kernels import native, __file__\n"
        "print(__file__, native.unavailable())"
    )
    told = run([sys.executable, "-c", script])
    assert "unpacked" in told
    assert "its C extension was not built: install GCC or Clang, then reinstall simdrop" in told


def test_this_build_has_every_instruction_set() -> None:
    if native.unavailable():
        pytest.skip(native.unavailable())
    assert {name for name, _ in native._native.instruction_sets()} == set(FLAGS)
