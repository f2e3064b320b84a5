"""The text of a table, as lines of UTF-8: compression, encoding, separator; and its rows one by one."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ..errors import InvalidInput
from .packed import unpacked

_ZIP = b"PK\x03\x04"
#: byte-order mark -> encoding; that of UTF-32 begins with that of UTF-16
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
#: separators, the one preferred first where several cut all lines into as many cells
_SEPARATORS = ("\t", ";", ",")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: lines by which the separator is found
_LINES = 20


@dataclass(frozen=True)
class Text:
    """The text of a table: UTF-8 without a mark, with line feeds at the ends of lines."""

    path: Path
    content: bytes
    separator: str

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Last line and cells of every line, or of lines joined by quotes, that is not blank; raises InvalidInput."""
        lines = (line.decode() for line in BytesIO(self.content))
        reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=True)
        try:
            for cells in reader:
                if len(cells) > 1 or any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise InvalidInput(f"cannot read {self.path}: {error} in line {reader.line_num}") from None

    def after(self, line: int) -> BytesIO:
        """The lines after number `line`."""
        stream = BytesIO(self.content)
        for _ in range(line):
            stream.readline()
        return stream


def read_text(path: Path) -> Text:
    """The text of the file; raises InvalidInput."""
    content = _utf8(path, unpacked(path)).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    content = _without_comments(content)
    lines = [line for line in content[: 1 << 20].split(b"\n") if line.strip()][:_LINES]
    # what stands in quotes separates nothing
    unquoted = re.sub(rb'"[^"]*"', b"", b"\n".join(lines)).decode(errors="replace")
    separator = _separator(unquoted.split("\n"))
    if separator is None and b'"' not in content and path.name.lower().removesuffix(".gz").endswith(".txt"):
        blanks = re.sub(rb"[ \t]*\n[ \t]*", b"\n", content.strip())
        return Text(path, re.sub(rb"[ \t]+", b"\t", blanks), "\t")
    return Text(path, content, separator or ",")


def _without_comments(content: bytes) -> bytes:
    """The text with lines that begin with # at its start left blank: comments, unless numbers follow.

    Then the last of them names the columns, as numpy.savetxt writes it.
    """
    begin, count, last = 0, 0, b""
    while content.startswith(b"#", begin):
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        last, begin, count = content[begin:end], end + 1, count + 1
    if not count:
        return content
    following = content[begin:].split(b"\n", 1)[0]
    named = any(_NUMBER.fullmatch(cell) for cell in re.split(rb"[,;\s]+", following))
    return b"\n" * (count - 1) + (last.lstrip(b"# \t") if named else b"") + b"\n" + content[begin:]


def _separator(lines: list[str]) -> str | None:
    """The separator that cuts all lines into equally many cells, else the most frequent in the first line, or None."""
    counts = {mark: [line.count(mark) for line in lines] for mark in _SEPARATORS}
    for mark, found in counts.items():
        if len(set(found)) == 1 and found[0]:
            return mark
    most = max(_SEPARATORS[::-1], key=lambda mark: counts[mark][0] if lines else 0)
    return most if lines and counts[most][0] else None


def _utf8(path: Path, content: bytes) -> bytes:
    """The text in UTF-8 without a mark; raises InvalidInput where it has none of the known encodings."""
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    if content.startswith(_ZIP):
        raise InvalidInput(f"cannot read {path}: it is a ZIP archive or a spreadsheet; export the table as CSV")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"line {line}" if encoding.startswith("utf-8") else f"byte {error.start}"
        raise InvalidInput(
            f"cannot read {path}: it is not text in {encoding.removesuffix('-sig').upper()} ({where});"
            " save it as UTF-8 (of Latin-1: iconv -f latin1 -t utf-8)"
        ) from None
    if "\0" in text:
        raise InvalidInput(f"cannot read {path}: it holds zero bytes, and is no text or UTF-16 without its mark")
    return content if encoding == "utf-8" else text.encode()
