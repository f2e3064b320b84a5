"""Instructions of a kernel's loops, counted in the machine code that NVIDIA's linker makes for compute capability 9.0.

An instruction has 16 bytes. The low 12 bits tell what it is, 3 of them where its operands come from; only what is
counted here is told apart. The codes were read off what nvdisasm prints.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_BRANCH = 0x947
_STACK = {0x983, 0x387}  # loads and stores of local memory
_FUSED = {0x23, 0x2B}  # multiply-adds in single and double precision, operands left out


class Loop(NamedTuple):
    """A loop by its first and last instruction; its size, multiply-adds and accesses of the stack."""

    first: int
    last: int
    size: int
    fused: int
    stack: int


def loops(cubin: bytes) -> list[Loop]:
    """The loops of the kernel of a cubin: stretches from the target of a backward branch to the branch."""
    code = _text(cubin)
    words = [struct.unpack_from("<Q", code, place)[0] for place in range(0, len(code), 16)]
    found = []
    for last, word in enumerate(words):
        if word & 0xFFF != _BRANCH:
            continue
        high = word >> 34
        offset = (word >> 16 & 0xFF) | (high - (1 << 30) if high >> 29 else high) << 8  # in quarters of 16 bytes
        first = last + 1 + offset // 4
        if 0 <= first < last:
            body = words[first : last + 1]
            fused = sum(word & 0x1FF in _FUSED for word in body)
            found.append(Loop(first, last, len(body), fused, sum(word & 0xFFF in _STACK for word in body)))
    return found


def around(inner: Loop, among: list[Loop]) -> Loop:
    """The smallest loop around another."""
    outer = [loop for loop in among if loop.first <= inner.first and inner.last < loop.last]
    return min(outer, key=lambda loop: loop.size)


def _text(cubin: bytes) -> bytes:
    """The code of the kernel, beside which functions that it calls are small."""
    start, size, count, names = (struct.unpack_from(kind, cubin, at)[0] for kind, at in
                                 (("<Q", 40), ("<H", 58), ("<H", 60), ("<H", 62)))  # fmt: skip
    sections = [struct.unpack_from("<IIQQQQ", cubin, start + number * size) for number in range(count)]
    table = sections[names][4]
    code = [
        cubin[place : place + length]
        for name, _, _, _, place, length in sections
        if cubin[table + name :].startswith(b".text.")
    ]
    return max(code, key=len)
