"""What this machine offers simdrop: backends, processor, GPU, versions; what `simdrop info` shows."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from simdrop_kernels.contract.step import Sizes

from .. import provenance

#: packages whose versions matter to results or speed
PACKAGES = ("numpy", "scipy", "numba", "xarray", "zarr", "h5netcdf", "scikit-learn", "numba-cuda", "distributed")
#: processor features that decide how wide vector instructions are
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "neon", "sve")
#: (samples, width, inputs, outputs) of the papers' one-dimensional networks and of those on images
THIN, WIDE = (32, 128, 2, 1), (1000, 1000, 785, 10)


def information() -> dict[str, Any]:
    """Everything, as plain values."""
    return {
        "simdrop": version("simdrop"),
        "backends": backends(),
        "auto": {dtype: _auto(dtype) for dtype in ("float64", "float32")},
        "auto_wide": {dtype: _auto(dtype, WIDE) for dtype in ("float64", "float32")},
        "machine": provenance.machine() | {"memory_gib": _memory(), "features": features()},
        "gpus": gpus(),
        "python": provenance.versions()["python_version"],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def backends() -> dict[str, str]:
    """Backend -> "available", or the reason why it is not."""
    from simdrop_kernels import registry

    return {name: registry.load(name).unavailable() or "available" for name in registry.names()}


def features() -> list[str]:
    """Vector instruction sets of the processor, as LLVM detects them."""
    from llvmlite import binding

    found = binding.get_host_cpu_features()
    return [name for name in FEATURES if found.get(name)]


def gpus() -> list[str]:
    """Name and memory of each NVIDIA GPU; empty where there is none or its driver does not answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def text(found: dict[str, Any]) -> str:
    """`information()` for reading."""
    machine = found["machine"]
    lines = [f"simdrop {found['simdrop']}, Python {found['python']}", "", "backends"]
    lines += [f"  {name:<10}{state}" for name, state in found["backends"].items()]
    lines += [f'"auto" for SGD with dropout in {dtype}: {reason}' for dtype, reason in found["auto"].items()]
    lines += [f"  with 784 inputs and 10 outputs: {reason}" for reason in dict.fromkeys(found["auto_wide"].values())]
    lines += ["", "machine", f"  processor  {machine['processor']}"]
    lines.append(f"  cores      {machine['cores']} for this process")
    if machine["memory_gib"] is not None:
        lines.append(f"  memory     {machine['memory_gib']:.1f} GiB")
    lines.append(f"  vectors    {', '.join(machine['features']) or 'none detected'}")
    lines.append(f"  GPU        {'; '.join(found['gpus']) or 'none found'}")
    lines += ["", "packages"]
    lines += [f"  {name:<14}{number or 'not installed'}" for name, number in found["packages"].items()]
    return "\n".join(lines)


def _auto(dtype: str, sizes: tuple[int, int, int, int] = THIN) -> str:
    from simdrop_kernels import BackendError, Step, registry

    try:
        return registry.choose("auto", Step(), np.dtype(dtype), sizes=Sizes(*sizes))[1]
    except BackendError as error:
        return str(error)


def _memory() -> float | None:
    """The memory of this machine in GiB, where the system tells."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
