"""The bytes of a file, unpacked where it is compressed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ..errors import InvalidInput

_GZIP = b"\x1f\x8b"


def unpacked(path: Path) -> bytes:
    """The bytes of the file, unpacked where gzip made it; raises InvalidInput."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidInput(f"cannot read {path}: its compressed data are damaged or cut off") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except MemoryError:
        raise InvalidInput(f"cannot read {path}: it is larger than the memory") from None
