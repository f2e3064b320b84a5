"""Build of simdrop: two packages, simdrop and the kernels in kernels/simdrop_kernels with their C extension."""

import platform
import re
import shutil
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
packages = find_packages(include=["simdrop", "simdrop.*"])
kernels = find_packages("kernels")

#: instruction set -> the compiler's flags beyond its baseline; feature by feature, for older compilers
X86 = platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 2**32
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mpopcnt"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"]
INTEL = [*AVX512, "-DSIMDROP_RECIPROCALS"]  # reciprocals in place of divisions, which are slower there than elsewhere
INSTRUCTION_SETS = {"baseline": [], **({"avx2": AVX2, "avx512": AVX512, "avx512_intel": INTEL} if X86 else {})}

#: nothing here may change results: no -ffast-math. Clang contracts to fused operations less than GCC unless asked to
FLAGS = ["-std=gnu11", "-O2", "-ftree-vectorize", "-ffp-contract=fast"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
#: the same for clang-cl, which takes cl's options and, behind /clang:, its own
CLANG_CL = ["/std:c11", *(f"/clang:{flag}" for flag in FLAGS[1:6])]

LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")
NATIVE = Path("kernels/simdrop_kernels/native")


class BuildNative(build_ext):
    """Compiles the kernels once per instruction set; where that fails the package installs without them."""

    def build_extension(self, ext):
        """One object per instruction set, then the module; a failure is a warning, not an error."""
        try:
            ext.extra_compile_args = self.flags()
            with ThreadPoolExecutor() as pool:  # compilers side by side: one takes half a minute
                for objects in pool.map(lambda name: self.compiled(ext, name), INSTRUCTION_SETS):
                    ext.extra_objects += objects
            super().build_extension(ext)
        except Exception as error:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # what an earlier build left is not this one
            self.warn(
                f"simdrop's native backend was not built ({error}); the package works without it, on Numba. "
                "With GCC or Clang installed (on Windows clang-cl), reinstall to have it."
            )

    def compiled(self, ext, name):
        """The object files of one instruction set."""
        return self.compiler.compile(
            [f"{NATIVE.as_posix()}/kernels.c"],
            output_dir=f"{self.build_temp}/{name}",
            macros=[("SIMDROP_NAME", name)],
            extra_postargs=[*ext.extra_compile_args, *INSTRUCTION_SETS[name]],
            depends=ext.depends,
        )

    def flags(self):
        """The flags of this compiler for every file; raises where it cannot compile the kernels."""
        if self.compiler.compiler_type == "mingw32" and X86:
            # GCC's bug 54412: vectors of 32 bytes spilled to Windows's stack, which is aligned to 16
            raise RuntimeError("GCC for Windows misaligns the vectors of AVX")
        if self.compiler.compiler_type != "msvc":
            return FLAGS
        if shutil.which("clang-cl") is None:
            raise RuntimeError(
                "Microsoft's cl lacks the vector types that the kernels are written in, as of GCC and Clang"
            )
        if not self.compiler.initialized:
            self.compiler.initialize(self.plat_name)
        self.compiler.cc = shutil.which("clang-cl")  # headers, libraries and linker stay those of Visual Studio
        return CLANG_CL


class BuildEditable(editable_wheel):
    """`pip install -e .` by the two folders on the path: editors and type checkers follow paths, no import hooks."""

    def _select_strategy(self, name, tag, build_lib):
        try:
            from setuptools.command.editable_wheel import _StaticPth
        except ImportError:  # not setuptools' public interface: with its import hook all but editors works too
            return super()._select_strategy(name, tag, build_lib)
        return _StaticPth(self.distribution, name, [ROOT, ROOT / "kernels"])


def readme():
    """README.md for a page outside the repository: links and pictures by their address at this version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = f"{project['urls']['Source']}/blob/v{project['version']}/"
    raw = page.replace("//github.com/", "//raw.githubusercontent.com/").replace("/blob/", "/")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\g<1>{raw}", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\g<1>{page}", text)


native = Extension(
    "simdrop_kernels._native",
    [f"{NATIVE.as_posix()}/module.c"],
    depends=[path.as_posix() for path in sorted([*NATIVE.glob("*.h"), NATIVE / "kernels.c"])],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
    libraries=[] if sys.platform == "win32" else ["m"],
    py_limited_api=LIMITED,
    optional=True,
)

setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    packages=packages + kernels,
    package_dir={"simdrop_kernels": "kernels/simdrop_kernels"},
    package_data={
        "simdrop": ["py.typed"],
        "simdrop.output": ["*.j2", "*.json", "*.mplstyle"],
        "simdrop_kernels": ["py.typed"],
    },
    ext_modules=[native],
    cmdclass={"build_ext": BuildNative, "editable_wheel": BuildEditable},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
