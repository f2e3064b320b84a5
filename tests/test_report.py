"""simdrop.report: the output folder, summary.json, and numbers with their uncertainty."""

import json
import os

import numpy as np
import pytest

from simdrop.errors import InvalidInput
from simdrop.report import FILES, RESULTS, prepare_folder, write_json
from simdrop.study.summary import plus_minus


def test_folders_are_made_with_their_parents(tmp_path):
    assert prepare_folder(tmp_path / "a" / "b", overwrite=False) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("name", RESULTS)
def test_a_folder_with_another_result_is_refused(tmp_path, name):
    (tmp_path / name).mkdir() if name.endswith(".zarr") else (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidInput, match=rf"holds another result \({name}\): name another folder or use --overwrite"):
        prepare_folder(tmp_path, overwrite=False)
    assert (tmp_path / name).exists()


def test_overwrite_removes_results_and_nothing_else(tmp_path):
    for name in FILES:
        (tmp_path / name).mkdir() if name.endswith(".zarr") else (tmp_path / name).write_text("{}")
    (tmp_path / "results.zarr" / "chunk").write_text("x")
    (tmp_path / "notes.txt").write_text("mine")
    prepare_folder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_with_other_files_is_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert prepare_folder(tmp_path, overwrite=False) == tmp_path


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"out '.*file' is a file: name a folder"):
        prepare_folder(tmp_path / "file", overwrite=False)
    with pytest.raises(InvalidInput, match=r"out: cannot write to '.*file/below': Not a directory"):
        prepare_folder(tmp_path / "file" / "below", overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidInput, match=r"out: cannot write to '.*': Permission denied"):
        prepare_folder(tmp_path, overwrite=False)


def test_json_takes_numpy_and_has_null_for_what_is_not_finite(tmp_path):
    values = {"a": np.float64(1.5), "b": np.arange(2), "c": [np.nan, np.inf, np.int64(3)], 4: {"d": np.bool_(True)}}
    write_json(values, tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert found == {"a": 1.5, "b": [0, 1], "c": [None, None, 3], "4": {"d": True}}


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.33142, 0.0121, "3.331 ± 0.012"),
        (0.0, 0.0013, "0.0000 ± 0.0013"),
        (93.84, 0.5, "93.84 ± 0.50"),
        (1234.5, 30.0, "1234 ± 30"),
        (2.0, 0.0, "2 ± 0"),
        (1.234e-7, 5.6e-9, "(1.234 ± 0.056)e-7"),
        (np.nan, 1.0, "-"),
        (1.0, np.nan, "-"),
    ],
)
def test_plus_minus_shows_two_figures_of_the_error(value, error, text):
    assert plus_minus(value, error) == text
