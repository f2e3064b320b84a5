"""NPZ and IDX files that are damaged, or are something else than their name says: one line each."""

from __future__ import annotations

import gzip
import struct
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simdrop import cli, data
from simdrop.data import mnist
from simdrop.errors import InvalidInput


def _zip(**files: Any) -> Any:
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return held.getvalue()


def _npy(array: Any) -> Any:
    held = BytesIO()
    np.save(held, array)
    return held.getvalue()


def _announced(shape: Any) -> Any:
    """The beginning of an array of that shape, without its numbers."""
    held = BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return held.getvalue()


def _npz(**arrays: Any) -> Any:
    held = BytesIO()
    np.savez_compressed(held, **arrays)
    return held.getvalue()


WHOLE = _npz(x=np.arange(1000.0), y=np.arange(1000.0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty, no NPZ file"),
        (b"text", "it is of another kind, no NPZ file"),
        (_npy(np.ones(3)), "it holds a single array, no NPZ file"),
        (_zip(), "has no array x and no array y; it holds nothing"),
        (_zip(x="a", y="b"), "array x must be an array as numpy.savez writes it"),
        (_zip(x_npy="", y_npy=""), "array x must be an array|cannot read"),
        (_zip(x_npy=_announced((10**15,)), y_npy=_npy(np.ones(3))), "cannot read .*Unable to allocate"),
        (WHOLE[:-300], "it is damaged or cut off"),
        (WHOLE[:100] + bytes(40) + WHOLE[140:], "cannot read .*"),
        (_npz(x=[True, False], y=[1, 2]), r"got bool \(2,\); save x.astype\(float\)"),
        (_npz(x=[1j, 2], y=[1, 2]), "must hold numbers of shape"),
        (
            _npz(x=np.array([1, None]), y=[1, 2]),
            r"array x holds Python objects, kept by pickle: save x.astype\(float\)",
        ),
        (_npz(x=np.zeros(2, dtype=[("a", int)]), y=[1, 2]), "must hold numbers of shape"),
        (_npz(x=5.0, y=[1.0]), r"must hold numbers of shape .* got float64 \(\)"),
        (_npz(x=[2**60], y=[1.0]), r"whole numbers beyond 2\*\*53"),
    ],
)
def test_npz_files_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: Any
) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidInput, match=message):
            data.load(path)
    assert cli.run(["compare", "--data", str(path), "--out", str(tmp_path / "out")]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("simdrop: error: ")
    assert error.count("\n") == 1
    assert "allow_pickle" not in error
    assert not (tmp_path / "out").exists()


def _idx(code: Any, axes: Any, shape: Any, content: Any = None) -> Any:
    size = int(np.prod(shape)) if content is None else 0
    return bytes([0, 0, code, axes]) + struct.pack(f">{len(shape)}I", *shape) + (content or bytes(size))


IMAGES, LABELS = _idx(8, 3, (2, 28, 28)), _idx(8, 1, (2,))
PACKED = gzip.compress(IMAGES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (b"", "is not an IDX file of bytes with 3 axes"),
        (IMAGES[:-3], r"announces \(2, 28, 28\) bytes but holds 1565"),
        (PACKED[:-4], "compressed data are damaged or cut off"),
        (PACKED[:20] + bytes(10) + PACKED[30:], "compressed data are damaged or cut off"),
        (_idx(13, 3, (2, 28, 28)), "is not an IDX file of bytes"),
        (_idx(8, 3, (2**31, 2**31, 4), b"ab"), "announces .* but holds 2"),
        (_idx(8, 3, (0, 28, 28)), "has no images of train"),
        (_idx(8, 3, (3, 28, 28)), "3 images of train but 2 labels"),
    ],
)
def test_idx_files_that_cannot_be_read(tmp_path: Path, images: Any, message: Any) -> None:
    packed = ".gz" if images.startswith(b"\x1f\x8b") else ""
    (tmp_path / f"train-images-idx3-ubyte{packed}").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(LABELS)
    with pytest.raises(InvalidInput, match=message):
        mnist.read(tmp_path, "train")
