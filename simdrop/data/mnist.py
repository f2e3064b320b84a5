"""MNIST's images and labels from the IDX files that a user has."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..checks.words import check_choice, check_path, counted
from ..errors import InvalidInput
from .packed import unpacked

#: what is read -> names under which it is distributed, each with or without .gz
FILES = {
    (part, kind): (f"{part}-{kind}-idx{axes}-ubyte", f"{part}-{kind}.idx{axes}-ubyte")
    for part in ("train", "t10k")
    for kind, axes in (("images", 3), ("labels", 1))
}
_BYTES = 8  # IDX's code of unsigned bytes


def read(folder: str | Path, part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images (n, 784) in [0, 1] and labels (n,) of part "train" or "t10k".

    Raises InvalidInput where a file is missing or is not what its name says.
    """
    folder = check_path("mnist", folder)
    check_choice("part of MNIST", part, ("train", "t10k"))
    images, labels = _idx(_find(folder, part, "images"), 3), _idx(_find(folder, part, "labels"), 1)
    if not len(images):
        raise InvalidInput(f"{folder} has no images of {part}")
    if len(images) != len(labels):
        raise InvalidInput(f"{folder}: {counted(len(images), 'image')} of {part} but {counted(len(labels), 'label')}")
    return images.reshape(len(images), -1) / 255, labels.astype(np.int64)


def _find(folder: Path, part: str, kind: str) -> Path:
    names = FILES[part, kind]
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise InvalidInput(f"{folder} has no {names[0]} or {names[0]}.gz, one of MNIST's four files")


def _idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of bytes in an IDX file with that number of axes."""
    content = unpacked(path)
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes([0, 0, _BYTES, axes]):
        raise InvalidInput(f"{path} is not an IDX file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise InvalidInput(f"{path} announces {shape} bytes but holds {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
