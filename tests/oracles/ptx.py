"""An interpreter of the PTX that Numba-cuda makes of simdrop's kernels: what the compiler made, run without a device.

Every thread of a block becomes a Python generator that stops where threads meet (bar, shfl). Registers hold
unsigned integers or floats, addresses a buffer's number in their upper half. An fma rounds once. Instructions that
the kernels do not use are refused, and so are races: accesses of two threads to one place, one of them a store, that
no meeting of both orders.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"f32": "<f", "f64": "<d", "u64": "<Q", "s64": "<Q", "b64": "<Q", "u32": "<I", "s32": "<I", "b32": "<I"}
_FORMATS |= {"u8": "<B", "s8": "<b", "b8": "<B"}
_SHARED, _LOCAL = 1, 2
_SITES = itertools.count(1)  # of exchanges
_FIRST = 16  # number of the first array's buffer


def run(ptx: str, arguments: list[Any], blocks: int, lanes: int, shared: int) -> None:
    """Launch the one kernel in `ptx`; arrays among the arguments are changed in place, tuples are flattened."""
    buffers: dict[int, bytearray] = {}
    values: list[Any] = []
    arrays: list[tuple[NDArray, bytearray]] = []
    for argument in _flatten(arguments):
        if isinstance(argument, np.ndarray):
            number = _FIRST + len(arrays)
            buffers[number] = bytearray(argument.tobytes())
            arrays.append((argument, buffers[number]))
            values += [0, 0, argument.size, argument.itemsize, number << 32, *argument.shape, *argument.strides]
        else:
            values.append(float(argument) if isinstance(argument, (float, np.floating)) else int(argument))
    thread = _translate(ptx)
    seen: dict[Any, Any] = {}
    for block in range(blocks):
        buffers[_SHARED] = bytearray(max(shared, 8))
        memories = [_Memory(buffers, seen, (block, lane)) for lane in range(lanes)]
        threads = [thread(values, memory, lane, lanes, block, blocks, shared) for lane, memory in enumerate(memories)]
        _run_block(threads, memories)
        for key in [key for key in seen if key[0] == _SHARED]:
            del seen[key]
    for array, content in arrays:
        array[:] = np.frombuffer(content, array.dtype).reshape(array.shape)


def _flatten(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _flatten(value)
        else:
            yield value


def _run_block(threads: list[Iterator[Any]], memories: list[_Memory]) -> None:
    """Step all threads from meeting to meeting; all must come to the same one, or have ended."""
    waiting: dict[int, Any] = {n: next(thread, None) for n, thread in enumerate(threads)}
    while any(request is not None for request in waiting.values()):
        moved = False
        for start in range(0, len(threads), 32):
            group = list(range(start, min(start + 32, len(threads))))
            if any(waiting[n] is None or waiting[n][0] == "bar" for n in group):
                continue
            moved = True
            assert len({waiting[n][:3] for n in group}) == 1, "lanes of a warp are at different meetings"
            answers = [waiting[start + ((n - start) ^ waiting[n][2])][3] for n in group]
            for n, answer in zip(group, answers, strict=True):
                memories[n].met_warp += 1
                waiting[n] = _send(threads[n], answer)
        if not moved:
            assert all(request is not None for request in waiting.values()), "some threads ended before a barrier"
            joined = any(request[3] for request in waiting.values())
            for n, thread in enumerate(threads):
                memories[n].met_block += 1
                waiting[n] = _send(thread, joined)


def _send(thread: Iterator[Any], answer: int) -> Any:
    try:
        return thread.send(answer)
    except StopIteration:
        return None


class _Memory:
    """Loads and stores of one thread; `seen` is common to all: place -> last store, loads since then."""

    def __init__(self, buffers: dict[int, bytearray], seen: dict[Any, Any], thread: tuple[int, int]) -> None:
        self._buffers, self._seen, self._thread = {**buffers, _LOCAL: bytearray(1 << 16)}, seen, thread
        self.met_block = self.met_warp = 0

    def load(self, kind: str, address: int) -> Any:
        if address >> 32 != _LOCAL:
            store, loads = self._seen.setdefault((address >> 32, address), (None, {}))
            self._check(store, address)
            loads[self._thread] = self._now()
        return struct.unpack_from(_FORMATS[kind], self._buffers[address >> 32], address & 0xFFFFFFFF)[0]

    def store(self, kind: str, address: int, value: Any) -> None:
        if address >> 32 != _LOCAL:
            store, loads = self._seen.get((address >> 32, address), (None, {}))
            for other in (store, *loads.values()):
                self._check(other, address)
            self._seen[address >> 32, address] = self._now(), {}
        struct.pack_into(_FORMATS[kind], self._buffers[address >> 32], address & 0xFFFFFFFF, value)

    def _now(self) -> tuple[tuple[int, int], int, int]:
        return self._thread, self.met_block, self.met_warp

    def _check(self, other: Any, address: int) -> None:
        """That an earlier access was this thread's own, or is ordered before now by a meeting of both."""
        if other is None or other[0] == self._thread:
            return
        (block, lane), met_block, met_warp = other
        same_warp = lane // 32 == self._thread[1] // 32
        ordered = block == self._thread[0] and (met_block < self.met_block or (same_warp and met_warp < self.met_warp))
        assert ordered, f"race of threads {other[0]} and {self._thread} at {address:#x}"


def _single(value: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float32(value))


def _double(value: float) -> float:
    return value


def _fma(round_: Callable[[float], float], a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c
    try:
        return round_(float(exact)) if round_ is _double else _round_single(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _round_single(exact: Fraction) -> float:
    """To float32 at once: through float64 rounded to odd."""
    near = float(exact)
    if Fraction(near) != exact and not struct.unpack("<Q", struct.pack("<d", near))[0] & 1:
        near = math.nextafter(near, math.inf if exact > near else -math.inf)
    return _single(near)


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _insert(field: int, into: int, position: int, length: int) -> int:
    """bfi."""
    mask = (1 << length) - 1
    return into & ~(mask << position) | (field & mask) << position


def _compare(op: str, a: float, b: float) -> bool:
    """Of floats; the forms that end in u hold for NaN too."""
    if math.isnan(a) or math.isnan(b):
        return op.endswith("u")
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op.removesuffix("u")]


def _bounded(op: str, a: float, b: float) -> float:
    """min.NaN and max.NaN."""
    return a + b if math.isnan(a) or math.isnan(b) else (min if op == "min" else max)(a, b)


def _translate(ptx: str) -> Callable[..., Iterator[Any]]:
    """The kernel's body as a generator function (parameters, memory, lane, lanes, block, blocks, shared)."""
    body = ptx[ptx.index(".visible .entry") :]
    if ".func" in ptx:
        raise NotImplementedError("calls of functions")
    body = body[body.index("\n{\n") :]
    blocks: list[list[str]] = [[]]
    labels: dict[str, int] = {}
    for line in (raw.split("//")[0].strip() for raw in body.splitlines()):
        if label := re.fullmatch(r"(\$\w+):", line):
            blocks.append([])
            labels[label[1]] = len(blocks) - 1
        elif line.endswith(";") and not line.startswith("."):
            blocks[-1].append(line[:-1])
            if re.match(r"(@!?%p\d+ )?\s*(bra|ret)", line):
                blocks.append([])
    lines = ["def thread(params, memory, lane, lanes, block, blocks, shared):"]
    lines += ["    load, store, pc = memory.load, memory.store, 0", "    while True:"]
    _dispatch(lines, blocks, labels, 0, len(blocks), 2)
    lines.append("    yield")
    space = {name: value for name, value in globals().items() if name.startswith("_") or name == "math"}
    exec("\n".join(lines), space)
    return space["thread"]


def _dispatch(
    lines: list[str], blocks: list[list[str]], labels: dict[str, int], first: int, last: int, depth: int
) -> None:
    """A binary search for block pc, as nested ifs."""
    if last - first == 1:
        ended = False
        for text in blocks[first]:
            statements = _statements(text, labels)
            lines.extend("    " * depth + statement for statement in statements)
            ended = statements[-1] in ("return", "continue")
        if not ended:
            lines.append("    " * depth + f"pc = {first + 1}")
        return
    middle = (first + last) // 2
    lines.append("    " * depth + f"if pc < {middle}:")
    _dispatch(lines, blocks, labels, first, middle, depth + 1)
    lines.append("    " * depth + "else:")
    _dispatch(lines, blocks, labels, middle, last, depth + 1)


def _statements(text: str, labels: dict[str, int]) -> list[str]:
    """One instruction as Python."""
    guard, name, rest = re.fullmatch(r"(?:@(!?%p\d+)\s+)?(\S+)\s*(.*)", text).groups()
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", rest)
    condition = "" if guard is None else f"if {'not ' if guard[0] == '!' else ''}{_name(guard.lstrip('!'))}: "
    if name.startswith("bra"):
        go = [f"pc = {labels[operands[0]]}", "continue"]
        return go if guard is None else [condition + "; ".join(go)]
    if name == "ret":
        return [condition + "return"] if guard else ["return"]
    return [condition + statement for statement in _compute(name.split("."), operands)]


def _name(register: str) -> str:
    return "r_" + register.lstrip("%").replace("|", "_")


def _value(operand: str, kind: str = "") -> str:
    """An operand as Python: a register, an immediate, a special register, an address of shared or local memory."""
    special = {"%tid.x": "lane", "%ntid.x": "lanes", "%ctaid.x": "block", "%nctaid.x": "blocks"}
    special["%dynamic_smem_size"] = "shared"
    if operand in special:
        return special[operand]
    if operand.startswith("%"):
        return _name(operand)
    if operand.startswith(("0f", "0F", "0d", "0D")):
        bits = bytes.fromhex(operand[2:])
        return f"float('{struct.unpack('>f' if len(bits) == 4 else '>d', bits)[0]!r}')"
    if re.fullmatch(r"-?\d+", operand):
        return str(int(operand) & (1 << _bits(kind)) - 1) if kind[:1] in "sub" and kind else operand
    if "smem" in operand:
        return str(_SHARED << 32)
    if "local_depot" in operand:
        return str(_LOCAL << 32)
    raise NotImplementedError(operand)


def _bits(kind: str) -> int:
    return 1 if kind == "pred" else int(kind[1:])


def _compute(parts: list[str], operands: list[str]) -> list[str]:
    op, kind = parts[0], parts[-1]
    if op in ("ld", "st"):
        return _access(op, parts[1], kind, operands)
    if op in ("shfl", "bar"):
        return _meet(parts, operands)
    if op == "mov":
        return _move(kind, operands)
    source = kind
    if (op == "cvt" and "to" in parts) or op == "cvta":
        return [f"{_name(operands[0])} = {_value(operands[1], 'u64')}"]
    target, *values = _name(operands[0]), *(_value(operand, source) for operand in operands[1:])
    if kind.startswith("f") and op != "selp":
        return [f"{target} = {_floating(parts, kind, values)}"]
    return [f"{target} = {_integer(parts, kind, values)}"]


def _meet(parts: list[str], operands: list[str]) -> list[str]:
    """Yield which meeting, a number that tells it from others, the lane's distance, the value it brings.

    Of a meeting of the block that joins a value of all lanes, the answer is whether it is true in any.
    """
    if "red" in parts:
        return [f"{_name(operands[0])} = yield 'bar', 0, 0, {_name(operands[2])}"]
    if parts[0] == "bar":
        return ["yield 'warp', 0, 0, 0" if "warp" in parts else "yield 'bar', 0, 0, 0"]
    target = _name(operands[0].split("|")[0])
    return [f"{target} = yield 'shfl', {next(_SITES)}, {_value(operands[2], 'b32')}, {_value(operands[1])}"]


def _access(op: str, space: str, kind: str, operands: list[str]) -> list[str]:
    where, what = (operands[1], operands[0]) if op == "ld" else (operands[0], operands[1])
    inside = where[1:-1]
    if space == "param":
        return [f"{_name(what)} = params[{int(inside.rsplit('_', 1)[1])}]"]
    base, _, offset = inside.partition("+")
    address = f"{_value(base, 'u64')} + {int(offset or 0)}"
    size = struct.calcsize(_FORMATS[kind])
    registers = re.findall(r"[^{},\s]+", what)
    if op == "st":
        return [
            f"store({kind!r}, {address} + {size * n}, {_value(register, kind)})" for n, register in enumerate(registers)
        ]
    return [f"{_name(register)} = load({kind!r}, {address} + {size * n})" for n, register in enumerate(registers)]


def _move(kind: str, operands: list[str]) -> list[str]:
    target, source = operands
    if source.startswith("{"):
        low, high = (_value(part, "b32") for part in re.findall(r"[^{},\s]+", source))
        whole = f"{low} | {high} << 32"
        return [f"{_name(target)} = {f'_float({whole}, 64)' if target.startswith('%fd') else whole}"]
    if target.startswith("{"):
        names = [_name(part) for part in re.findall(r"[^{},\s]+", target)]
        whole = f"_integer_of({_value(source)}, 64)" if source.startswith("%fd") else _value(source)
        return [f"{names[0]} = {whole} & 0xFFFFFFFF", f"{names[1]} = {whole} >> 32"]
    value = _value(source, kind)
    if kind.startswith("b") and source.startswith("%f") and not target.startswith("%f"):
        value = f"_integer_of({value}, {_bits(kind)})"
    if kind.startswith("b") and target.startswith("%f") and not source.startswith("%f"):
        value = f"_float({value}, {_bits(kind)})"
    return [f"{_name(target)} = {value}"]


def _float(bits: int, width: int) -> float:
    return struct.unpack("<f" if width == 32 else "<d", bits.to_bytes(width // 8, "little"))[0]


def _integer_of(value: float, width: int) -> int:
    return int.from_bytes(struct.pack("<f" if width == 32 else "<d", value), "little")


def _coarse(value: float) -> float:
    """A reciprocal as instructions for double precision approximate it: 20 bits."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.floor(mantissa * 2**20) / 2**20, exponent) if math.isfinite(value) else value


def _floating(parts: list[str], kind: str, v: list[str]) -> str:
    op, rounded = parts[0], "_single" if kind == "f32" else "_double"
    if op == "cvt":
        return _conversion(parts, v[0])
    if op == "setp":
        return f"_compare({parts[1]!r}, {v[0]}, {v[1]})"
    if op in ("min", "max") and "NaN" in parts:
        return f"_bounded({op!r}, {v[0]}, {v[1]})"
    if op == "fma":
        return f"_fma({rounded}, {v[0]}, {v[1]}, {v[2]})"
    if op == "rcp" and kind == "f64" and "approx" in parts:
        return f"_coarse(_divide(1.0, {v[0]}))"
    forms = {
        "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "_divide({0}, {1})", "neg": "-{0}",
        "abs": "abs({0})", "sqrt": "math.sqrt({0}) if {0} >= 0 else math.nan", "rcp": "_divide(1.0, {0})",
        "min": "min({0}, {1})", "max": "max({0}, {1})", "copysign": "math.copysign({1}, {0})", "ex2": "2.0 ** {0}",
    }  # fmt: skip
    return f"{rounded}({forms[op].format(*v)})"


def _conversion(parts: list[str], value: str) -> str:
    """Between floats: to the nearest, to whole numbers, or into [0, 1]."""
    if not parts[-2].startswith("f"):
        if parts[1] not in ("rzi", "rni"):
            raise NotImplementedError(".".join(parts))
        whole = "math.trunc" if parts[1] == "rzi" else "round"
        return f"{whole}({value}) & {(1 << _bits(parts[-2])) - 1}"
    form = {"rni": "round({0})", "rzi": "math.trunc({0})", "sat": "min(max({0}, 0.0), 1.0)"}.get(parts[1], "{0}")
    return f"{'_single' if parts[-2] == 'f32' else '_double'}(float({form.format(value)}))"


def _integer(parts: list[str], kind: str, v: list[str]) -> str:
    op, bits = parts[0], _bits(kind)
    if op == "cvt" and parts[-2].startswith("f"):
        signed = f"_signed({v[0]}, {bits})" if kind[0] == "s" else v[0]
        return f"{'_single' if parts[-2] == 'f32' else '_double'}(float({signed}))"
    if op == "selp":
        return f"{v[0]} if {v[2]} else {v[1]}"
    s = [f"_signed({value}, {bits})" for value in v] if kind[0] == "s" else v
    if op == "setp":
        sign = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[parts[1]]
        return f"{s[0]} {sign} {s[1]}"
    if kind == "pred":
        return {"and": "{0} and {1}", "or": "{0} or {1}", "xor": "{0} != {1}", "not": "not {0}"}[op].format(*v)
    op = "mulhi" if op == "mul" and "hi" in parts else op
    wide = 2 * bits if "wide" in parts else _bits(parts[-2]) if op == "cvt" else bits
    forms = {
        "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "and": "{0} & {1}", "or": "{0} | {1}",
        "xor": "{0} ^ {1}", "not": "~{0}", "neg": "-{0}", "shl": "{0} << {1}", "shr": "{0} >> {1}", "cvt": "{0}",
        "min": "min({0}, {1})", "max": "max({0}, {1})", "div": "_quotient({0}, {1})",
        "rem": "{0} - {1} * _quotient({0}, {1})", "mulhi": f"{{0}} * {{1}} >> {bits}",
        "bfi": "_insert({0}, {1}, {2}, {3})",
    }  # fmt: skip
    return f"({forms[op].format(*s)}) & {(1 << wide) - 1}"
