"""simdrop.data: the built-in targets, files of the user's, and what is said about files that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simdrop import data
from simdrop.errors import InvalidInput


def write(path: Any, text: Any) -> Any:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "samples", "ends", "middle"),
    [
        ("condensation", 15, (-12, 12), 0.0),  # odd target, odd grid: 0 in the middle
        ("relu-fit", 6, (-5 / 3, 5 / 3), 0.0),  # both hinges lie beyond ±1/3
        ("sin", 4, (-1, 1), -np.sin(1)),  # the second point is x = -1/3
    ],
)
def test_the_papers_problems(name: Any, samples: Any, ends: Any, middle: Any) -> None:
    found = data.load(name)
    assert found.x.shape == found.y.shape == (samples, 1)
    assert (found.x[0, 0], found.x[-1, 0]) == pytest.approx(ends)
    assert found.y[(samples - 1) // 2, 0] == pytest.approx(middle, abs=1e-15)


def test_condensation_target_saturates_at_two() -> None:
    assert data.load("condensation").y[[0, -1], 0] == pytest.approx([-2, 2], abs=1e-4)


def test_csv_reads_named_columns_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", '\ufeffage; "size";price\n1;2;3\n\n4;5;-6e1\n')
    found = data.load(path, target="price")
    assert found.inputs == ("age", "size")
    np.testing.assert_array_equal(found.x, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(found.y, [[3], [-60]])
    np.testing.assert_array_equal(data.load(path, target=["price", "age"], inputs="size").y, [[3, 1], [-60, 4]])


CSV = "age,city,price\n1,Paris,3\n2,Rome,4\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (CSV, {}, r"target is missing: .* columns are age, city, price"),
        (CSV, {"target": "prise"}, r"unknown target column 'prise': did you mean 'price'\? known are age, city, price"),
        (CSV, {"target": "price", "inputs": "aeg"}, r"unknown inputs column 'aeg': did you mean 'age'\?"),
        (CSV, {"target": "price"}, r"column 'city' holds 'Paris', which is not a finite number in row 1 \(line 2\)"),
        ("a,b\n1,2\n\n3,\n", {"target": "b"}, r"column 'b' is empty in row 2 \(line 4\)"),
        ("a,b\n1,2\n3,nan\n", {"target": "b"}, r"column 'b' holds 'nan', .* in row 2 \(line 3\)"),
        ("a,b\n1,2\n3\n", {"target": "b"}, r"row 2 \(line 3\) has 1 cell but the header 2"),
        ("a,a\n1,2\n", {"target": "a"}, r"more than one column named 'a'"),
        ("a,b\n1,2\n", {"target": ["a", "b"]}, r"no column is left to predict from"),
        ("a,b\n1,2\n", {"target": "b", "inputs": ["a", "b"]}, r"column 'b' is input and target"),
        ("a,b\n", {"target": "b"}, r"has a header line but no rows"),
        ("", {"target": "b"}, r"is empty: a CSV file needs a header line"),
    ],
)
def test_csv_refused(tmp_path: Path, text: Any, arguments: Any, message: Any) -> None:
    path = write(tmp_path / "d.csv", text)
    with pytest.raises(InvalidInput, match=message):
        data.load(path, **arguments)


def test_csv_row_numbers_count_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", 'a,b\n1,2\n"\n1",oops\n')
    with pytest.raises(InvalidInput, match=r"'oops', which is not a finite number in row 2 \(line 4\)"):
        data.load(path, target="b")


def test_npz_reads_x_and_y(tmp_path: Path) -> None:
    x, y = np.arange(6).reshape(3, 2), np.array([1, 0, 1], dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=y, other=1)
    found = data.load(tmp_path / "d.npz")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, [[1], [0], [1]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones(3), "y": np.ones(3)}, r"has no array x; it holds X, y"),
        ({"z": np.ones(3)}, r"has no array x and no array y; it holds z"),
        ({"x": np.ones(3), "y": np.ones(4)}, r"x has 3 samples but y has 4"),
        ({"x": np.array(["a"]), "y": np.ones(1)}, r"array x must hold numbers of shape"),
        ({"x": np.ones((2, 2, 2)), "y": np.ones(2)}, r"array x must hold numbers of shape .* got float64 \(2, 2, 2\)"),
        ({"x": np.array([1, np.nan]), "y": np.ones(2)}, r"array x has 1 non-finite value"),
        ({"x": np.array([{}], dtype=object), "y": np.ones(1)}, r"cannot read .*pickle"),
    ],
)
def test_npz_refused(tmp_path: Path, arrays: Any, message: Any) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InvalidInput, match=message):
        data.load(tmp_path / "d.npz")


def test_files_that_are_not_there_or_not_what_their_name_says(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*none\.csv: No such file"):
        data.load(tmp_path / "none.csv", target="a")
    with pytest.raises(InvalidInput, match=r"cannot read .*none\.npz: No such file"):
        data.load(tmp_path / "none.npz")
    with pytest.raises(InvalidInput, match=r"cannot read .*not\.npz"):
        data.load(write(tmp_path / "not.npz", "text"))
    with pytest.raises(InvalidInput, match=r"must be a \.csv or \.npz file"):
        data.load(write(tmp_path / "table.xls", "text"))
    with pytest.raises(InvalidInput, match=r"must be a \.csv or \.npz file"):
        data.load(tmp_path)
    for wrong in (None, 3, "", np.ones(3)):
        with pytest.raises(InvalidInput, match="data must name a file or folder"):
            data.load(wrong)


def test_names_refused() -> None:
    with pytest.raises(InvalidInput, match=r"unknown data 'diabetis': did you mean 'diabetes'\?"):
        data.load("diabetis")
    with pytest.raises(InvalidInput, match=r"target and inputs choose columns of a CSV file, but data is 'sin'"):
        data.load("sin", target="y")
    with pytest.raises(InvalidInput, match=r"samples must be at most the 4 of sin, got 5"):
        data.load("sin", samples=5)
    with pytest.raises(InvalidInput, match=r"samples must be a whole number of at least 1, got 0"):
        data.load("sin", samples=0)


def test_standardized_inputs_and_targets(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a,same,b\n1,0.1,5\n2,0.1,9\n6,0.1,4\n")
    found = data.load(path, target="b", standardize=True, standardize_targets=True)
    np.testing.assert_allclose(found.x.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(found.x.std(axis=0), [1, 0], atol=1e-15)
    np.testing.assert_allclose([found.y.mean(), found.y.std()], [0, 1], atol=1e-15)
    assert any("constant inputs set to 0: 1" in note for note in found.notes)
    with pytest.raises(InvalidInput, match=r"target column 'same' of d is constant"):
        data.load(path, target="same", standardize_targets=True)


@pytest.mark.parametrize("cells", [("1e308", "-1e308"), ("0", "5e-324")])
def test_numbers_whose_variance_is_beyond_float64_are_not_standardized(tmp_path: Path, cells: Any) -> None:
    path = write(tmp_path / "d.csv", f"a,b\n{cells[0]},1\n{cells[1]},2\n")
    with pytest.raises(InvalidInput, match="column 'a' of d cannot be standardised: the variance of numbers from"):
        data.load(path, target="b", standardize=True)


def test_line_breaks_in_names_leave_messages_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"unknown target column 'y': known are x, y z$"):
        data.load(write(tmp_path / "d.csv", 'x,"y\nz"\n1,2\n'), target="y")


def test_standardized_only_where_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a,b\n1,5\n2,9\n")
    np.testing.assert_array_equal(data.load(path, target="b").x, [[1], [2]])
    np.testing.assert_array_equal(data.load(path, target="b", standardize=True).y, [[5], [9]])


def test_real_data_from_scikit_learn() -> None:
    pytest.importorskip("sklearn", reason="the real data sets come with scikit-learn")
    diabetes = data.load("diabetes")
    assert diabetes.x.shape == (442, 10)
    assert diabetes.y.shape == (442, 1)
    np.testing.assert_allclose([diabetes.x.std(axis=0), diabetes.x.mean(axis=0)], [[1] * 10, [0] * 10], atol=1e-12)
    digits = data.load("digits", samples=1000)
    assert digits.x.shape == (1000, 64)
    assert digits.x.min() == 0
    assert digits.x.max() == 1
    np.testing.assert_array_equal(digits.y.sum(axis=1), 1)
    assert digits.y[0].argmax() == 0  # the first image of the set shows a zero


def test_absent_scikit_learn_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(InvalidInput, match=r"data 'digits' needs scikit-learn: pip install 'simdrop\[data\]'"):
        data.load("digits")
