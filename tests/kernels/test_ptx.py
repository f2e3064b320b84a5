"""The interpreter of PTX is held to what its tests rely on: one rounding of an fma, barriers, races."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import ptx

HEAD = ".visible .entry kernel(\n\t.param .u64 kernel_param_0\n)\n{\n"
DATA = "\tld.param.u64 %rd1, [kernel_param_4];\n\tmov.u32 %r1, %tid.x;\n\tmul.wide.u32 %rd2, %r1, 4;\n"


def _run(body: str, values: np.ndarray, lanes: int = 2) -> np.ndarray:
    ptx.run(HEAD + DATA + body + "\tret;\n}\n", [values], 1, lanes, 8 * lanes)
    return values


def test_fma_rounds_once() -> None:
    body = "\tld.global.f32 %f1, [%rd1];\n\tneg.f32 %f2, %f1;\n"
    body += "\tmul.f32 %f3, %f1, %f1;\n\tfma.rn.f32 %f4, %f1, %f1, %f2;\n\tst.global.f32 [%rd1], %f4;\n"
    x = np.float32(1 + 2**-12)
    exact = float(x) * float(x) - float(x)
    assert _run(body, np.array([x]), lanes=1)[0] == np.float32(exact)
    assert np.float32(exact) != np.float32(x * x) - x


STORE = "\tmov.u64 %rd3, _smem;\n\tadd.s64 %rd4, %rd3, %rd2;\n\tst.shared.u32 [%rd4], %r1;\n"
LOAD = "\txor.b64 %rd5, %rd4, 4;\n\tld.shared.u32 %r2, [%rd5];\n"
KEEP = "\tadd.s64 %rd6, %rd1, %rd2;\n\tst.global.u32 [%rd6], %r2;\n"


def test_lanes_meet_at_barriers() -> None:
    assert list(_run(STORE + "\tbar.sync 0;\n" + LOAD + KEEP, np.zeros(2, np.uint32))) == [1, 0]
    assert list(_run(STORE + "\tbar.warp.sync -1;\n" + LOAD + KEEP, np.zeros(2, np.uint32))) == [1, 0]


def test_races_are_refused() -> None:
    with pytest.raises(AssertionError, match="race"):
        _run(STORE + LOAD + KEEP, np.zeros(2, np.uint32))
    with pytest.raises(AssertionError, match="race"):  # lanes of two warps do not meet at a warp's barrier
        _run("\tmov.u32 %r2, 0;\n\tbar.warp.sync -1;\n\tst.global.u32 [%rd1], %r1;\n", np.zeros(2, np.uint32), 64)
    with pytest.raises(AssertionError, match="ended before a barrier"):
        _run("\tsetp.eq.s32 %p1, %r1, 0;\n\t@%p1 bra $end;\n\tbar.sync 0;\n$end:\n", np.zeros(2, np.uint32))


def test_unknown_instructions_are_refused() -> None:
    with pytest.raises((NotImplementedError, KeyError)):
        _run("\tprmt.b32 %r2, %r1, %r1, 1;\n", np.zeros(2, np.uint32))
