"""Tables as users have them: what pandas, spreadsheets, R and NumPy write, and what is refused with its place."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simdrop import data
from simdrop.data import tables
from simdrop.errors import InvalidInput


def load(tmp_path: Path, content: Any, name: Any = "d.csv", target: Any = "y", **options: Any) -> Any:
    path = Path(tmp_path) / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return data.load(path, target=target, **options)


@pytest.mark.parametrize("again", [False, True])
def test_the_index_of_a_data_frame_is_no_input(tmp_path: Path, again: Any) -> None:
    """As `to_csv` writes it by default, and after a second reading and writing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((200, 3)), columns=["a", "b", "y"])
    path = tmp_path / "d.csv"
    frame.to_csv(path)
    if again:
        pd.read_csv(path, dtype=str).to_csv(path, index=False)
    found = data.load(path, target="y")
    assert found.inputs == ("a", "b")
    np.testing.assert_array_equal(found.x, frame[["a", "b"]])
    np.testing.assert_array_equal(found.y, frame[["y"]])
    assert found.notes == ("column 1 without a name only numbers the rows: left out",)


@pytest.mark.parametrize(
    ("text", "inputs", "notes"),
    [
        (",a,y\n1,5,6\n2,7,8\n", ("a",), 1),  # R counts from 1
        ("a,y,\n5,6,\n7,8,\n", ("a",), 1),  # a separator too many at the end of every line
        ("id,a,y\n0,5,6\n1,7,8\n", ("id", "a"), 0),  # it has a name
    ],
)
def test_columns_without_a_name(tmp_path: Path, text: Any, inputs: Any, notes: Any) -> None:
    found = load(tmp_path, text)
    assert found.inputs == inputs
    np.testing.assert_array_equal(found.x[:, -1], [5, 7])
    assert len(found.notes) == notes


def test_a_column_without_a_name_that_may_be_data_is_refused(tmp_path: Path) -> None:
    text = ",a,y\n3,5,6\n5,7,8\n"
    with pytest.raises(InvalidInput, match=r"column 1 has no name; it begins with 3, 5: name it .* or choose inputs"):
        load(tmp_path, text)
    assert load(tmp_path, text, inputs="a").inputs == ("a",)


def test_a_first_line_of_numbers_is_not_taken_for_names(tmp_path: Path) -> None:
    text = "1,2,3\n4,5,6\n7,8,10\n"
    with pytest.raises(InvalidInput, match=r"begins with numbers, .* \(1, 2, 3\): --no-header \(header=False\)"):
        load(tmp_path, text, target="3")
    rows = load(tmp_path, text, target="3", header=False)
    np.testing.assert_array_equal(rows.x, [[1, 2], [4, 5], [7, 8]])
    np.testing.assert_array_equal(rows.y, [[3], [6], [10]])
    np.testing.assert_array_equal(load(tmp_path, text, target="3", header=True).y, [[6], [10]])
    with pytest.raises(InvalidInput, match="begins with numbers"):
        load(tmp_path, "Rome,1.5,2\nParis,2.5,3\n", target="2")
    assert load(tmp_path, "x,2019,y\n1,2,3\n").inputs == ("x", "2019")  # a year is a name


def test_rows_with_missing_cells(tmp_path: Path) -> None:
    text = "a,b,y\n1,u,2\n,v,3\n4,w,\n5,NA,6\n7,x,nan\n8,y,9\n"
    with pytest.raises(InvalidInput, match=r"column 'a' is empty in row 2 \(line 3\); missing 'drop' leaves such rows"):
        load(tmp_path, text, inputs="a")
    found = load(tmp_path, text, inputs="a", missing="drop")
    np.testing.assert_array_equal(found.x, [[1], [5], [8]])  # column b is not used
    np.testing.assert_array_equal(found.y, [[2], [6], [9]])
    assert found.notes == ("3 of 6 rows with missing cells left out (columns a, y)",)
    with pytest.raises(InvalidInput, match="every row lacks a cell of column 'a' or 'y'"):
        load(tmp_path, "a,y\n,1\n2,\n", missing="drop")
    with pytest.raises(InvalidInput, match=r"column 'y' holds 'inf', which is not a finite number in row 2"):
        load(tmp_path, "a,y\n1,2\n3,inf\n", missing="drop")
    with pytest.raises(InvalidInput, match=r"unknown missing 'dropp': did you mean 'drop'\?"):
        load(tmp_path, text, missing="dropp")


def test_columns_of_text(tmp_path: Path) -> None:
    text = "city,flag,y\nRome,True,1\nParis,False,2\nRome,False,3\n"
    with pytest.raises(InvalidInput, match=r"'Rome', which is not a finite number in row 1 .*categories 'one-hot'"):
        load(tmp_path, text)
    found = load(tmp_path, text, categories="one-hot")
    assert found.inputs == ("city=Paris", "city=Rome", "flag=False", "flag=True")
    np.testing.assert_array_equal(found.x, [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0]])
    assert "column 'city' as 2 columns of 0 and 1: Paris, Rome" in found.notes
    classes = load(tmp_path, "a,y\n1,cat\n2,dog\n", categories="one-hot")
    assert classes.targets == ("y=cat", "y=dog")
    with pytest.raises(InvalidInput, match=r"column 'a' holds 'x', which is not a finite number in row 2 \(line 3\)$"):
        load(tmp_path, "a,y\n1,1\nx,2\n", categories="one-hot")  # a slip in a column of numbers
    many = "a,y\n" + "".join(f"t{k},1\n" for k in range(1001))
    with pytest.raises(InvalidInput, match="column 'a' has 1001 texts, too many"):
        load(tmp_path, many, categories="one-hot")


def test_decimal_commas(tmp_path: Path) -> None:
    found = load(tmp_path, "a;y\n1,5;2\n-2,25e1;1,234\n")
    np.testing.assert_array_equal(found.x, [[1.5], [-22.5]])
    np.testing.assert_array_equal(found.y, [[2], [1.234]])
    assert found.notes == ("decimal commas: 1,5 read as 1.5",)
    np.testing.assert_array_equal(load(tmp_path, "1,5;2\n3,5;4,5\n", target="2", header=False).x, [[1.5], [3.5]])
    for text, message in [
        ("a;y\n1,234;2\n", r"'1,234' in row 1 \(line 2\): 1\.234 or 1234 may be meant"),
        ("a;y\n1,5;2\n2;1.234\n", r"'1\.234' in row 2 \(line 3\): other numbers of the table have decimal commas"),
        ('a,y\n"1,234",2\n', r"'1,234', which is not a finite number in row 1 \(line 2\)"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            load(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", "a,y\n1,2\n3,4\n"),
        ("d.CSV", "a,y\r\n1,2\r\n3,4\r\n"),
        ("d.csv", "a,y\r1,2\r3,4\r"),
        ("d.csv", "a,y\n1,2\n\n3,4"),
        ("d.csv", "a,y\n1,2\n,\n3,4\n,\n"),  # as spreadsheets fill up
        ("d.csv", '"a", "y"\n"1", "2"\n"3", "4"\n'),
        ("d.tsv", "a\ty\n1\t2\n3\t4\n"),
        ("d.txt", "a  y\n 1  2\n 3  4 \n"),
        ("d.txt", "# a y\n1.0e+00 2.0e+00\n3.0e+00 4.0e+00\n"),  # numpy.savetxt
        ("d.csv", "a|y".replace("|", ";") + "\n1;2\n3;4\n"),
        ("d.csv", "\ufeffa,y\n1,2\n3,4\n"),
        ("d.csv", "a,y\n1,2\n3,4\n".encode("utf-16")),
        ("d.csv", "a,y\n1,2\n3,4\n".encode("utf-32")),
        ("d.csv.gz", gzip.compress(b"a,y\n1,2\n3,4\n")),
        ("d.tsv.gz", gzip.compress(b"a\ty\n1\t2\n3\t4\n")),
    ],
)
def test_files_as_programs_write_them(tmp_path: Path, name: Any, content: Any) -> None:
    found = load(tmp_path, content, name)
    assert (found.name, found.inputs, found.targets) == ("d", ("a",), ("y",))
    np.testing.assert_array_equal(found.x, [[1], [3]])
    np.testing.assert_array_equal(found.y, [[2], [4]])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("é,y\n1,2\n".encode("latin-1"), {}, r"is not text in UTF-8 \(line 1\); save it as UTF-8 \(of Latin-1: iconv"),
        ("a,y\n1,2\n".encode("utf-16-le"), {}, "holds zero bytes, and is no text or UTF-16 without its mark"),
        (b"\xff\xfe\x00", {}, "is not text in UTF-16"),
        (gzip.compress(b"a,y\n1,2\n")[:-6], {}, "its compressed data are damaged or cut off"),
        (b"PK\x03\x04", {}, "is a ZIP archive or a spreadsheet"),
        ("a,y\n1,2\n3,4,5\n", {}, r"row 2 \(line 3\) has 3 cells but the header 2"),
        ("a,y\nr1,1,2\nr2,3,4\n", {}, r"row 1 \(line 2\) has 3 cells but the header 2"),  # names of rows, as R writes
        ("a,b,y\n1,2,3\n4,5\n", {"target": "a", "inputs": "b"}, r"row 2 \(line 3\) has 2 cells but the header 3"),
        ('a,y\n1,"2\n3,4\n', {}, r"a quotation mark in line 2 is never closed"),
        ("a,y\n2020-01-01,2\n", {}, r"'2020-01-01', which is not a finite number in row 1 \(line 2\)$"),
        ("a,y\n9007199254740993,2\n", {}, r"in row 1 \(line 2\): a whole number beyond 2\*\*53"),
        (f"a,y\n1,2\n{10**30},2\n", {}, r"whole numbers beyond 2\*\*53"),
        ("a,y\n1,1e400\n", {}, "'1e400', which is not a finite number"),
        ("a,y\n1_0,2\n", {}, "'1_0', which is not a finite number"),
        ("a,y\n1,2\n", {"target": ["y", "y"]}, "target column names 'y' twice"),
        ("a,y\n1,2\n", {"inputs": ["a", "a"]}, "inputs column names 'a' twice"),
        ("a,y\n1,2\n", {"target": 3}, "target must name one or several columns, got 3"),
        ("a,y\n1,2\n", {"header": "yes"}, "header must be True or False, got 'yes'"),
    ],
)
def test_refused(tmp_path: Path, content: Any, options: Any, message: Any) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        load(tmp_path, content, **options)
    assert "\n" not in str(caught.value)


def test_numbers_are_those_that_python_reads(tmp_path: Path) -> None:
    """To the last bit, whatever the version of pandas."""
    rng = np.random.default_rng(1)
    numbers = rng.standard_normal(3000) * 10.0 ** rng.integers(-300, 300, 3000)
    texts = [repr(float(v)) for v in numbers] + [f"{v:.25e}" for v in numbers]
    found = load(tmp_path, "a,y\n" + "".join(f"{text},1\n" for text in texts))
    np.testing.assert_array_equal(found.x[:, 0], [float(text) for text in texts])


def test_a_wide_table_is_read_as_a_narrow_one(tmp_path: Path) -> None:
    """Whole numbers, fractions and an empty cell, in more columns than are looked at one by one."""
    count = tables.WIDE + 200
    x = np.random.default_rng(0).normal(size=(3, count))
    x[:, ::3] = np.rint(1000 * x[:, ::3])
    cells = [[f"{v:.0f}" if k % 3 == 0 else repr(float(v)) for k, v in enumerate(row)] for row in x]
    path, header = tmp_path / "wide.csv", [f"c{k}" for k in range(count)]

    def write(rows: Any) -> None:
        path.write_text("\n".join(",".join(row) for row in (header, *rows)) + "\n")

    write(cells)
    found = data.load(path, target="c1")
    np.testing.assert_array_equal(found.x, np.delete(x, 1, axis=1))
    np.testing.assert_array_equal(found.y[:, 0], x[:, 1])
    assert found.inputs == tuple(name for name in header if name != "c1")
    for cell, told in {
        "inf": "'c699' holds 'inf', which is not",
        "": "'c699' is empty",
        str(2**53 + 2): "beyond 2",
        "a": "'c699' holds 'a'",
    }.items():
        write([cells[0], [*cells[1][:699], cell, *cells[1][700:]], cells[2]])
        with pytest.raises(InvalidInput, match=told):
            data.load(path, target="c1", inputs=["c699", "c3"])
    header[699] = "c3"
    write(cells)
    with pytest.raises(InvalidInput, match="more than one column named 'c3'"):
        data.load(path, target="c1")


@pytest.mark.parametrize(
    "begin",
    ["# c\na,y\n", "# a comment, with words\n# another\na,y\n", "# a,y\n", "#a,y\n", "# written today\n# a,y\n"],
)
def test_lines_of_comment_before_the_names_and_names_as_one(tmp_path: Path, begin: Any) -> None:
    """numpy.savetxt marks its line of names as a comment: what stands before numbers names them."""
    found = load(tmp_path, begin + "1,2\n3,4\n")
    assert (found.inputs, found.x.tolist(), found.y.tolist()) == (("a",), [[1.0], [3.0]], [[2.0], [4.0]])
    line = begin.count("\n") + 2
    with pytest.raises(InvalidInput, match=rf"row 2 \(line {line}\)"):
        load(tmp_path, begin + "1,2\n3,x\n")
