"""Reading CSV files: what is meant is read, whatever wrote it; what is wrong is named to the line and column."""

from pathlib import Path

import numpy as np
import pytest

from fgrad import errors, table

GOOD = "a,b,y\n1,2,red\n3,4.5,blue\n5,-6e-1,red\n"


def read(tmp_path: Path, content: str | bytes, target: str = "y", task: table.Task = "auto") -> table.Table:
    file = tmp_path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return table.read(file, target, task)


def column(values: str) -> str:
    """A file with one feature and these targets."""
    return "x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values.split()))


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.rstrip(),
        GOOD + "\n\r\n   \n",
        GOOD.replace("\n3", "\n\n3"),
        GOOD.replace("red", '"red"').replace("a,b", '"a", "b"').replace("4.5", '" 4.5"'),
        GOOD.replace(",", " , "),
    ],
)
def test_what_wrote_the_file_makes_no_difference(tmp_path: Path, content: str | bytes) -> None:
    read_back = read(tmp_path, content)
    assert (read_back.features, read_back.target, read_back.classes) == (("a", "b"), "y", ("blue", "red"))
    np.testing.assert_array_equal(read_back.x, [[1, 2], [3, 4.5], [5, -0.6]])
    np.testing.assert_array_equal(read_back.y, [1, 0, 1])


def test_the_target_may_stand_anywhere(tmp_path: Path) -> None:
    read_back = read(tmp_path, "y,a\n0.5,1\n1.5,2\n")
    assert read_back.features == ("a",)
    assert (read_back.x.tolist(), read_back.y.tolist(), read_back.classes) == ([[1], [2]], [0.5, 1.5], ())


def test_quoted_cells_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    read_back = read(tmp_path, 'x,y\n1,"a,b"\n2,"c\nd"\n')
    assert read_back.classes == ("a,b", "c\nd")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ("0 1 0 1", "auto", ("0", "1")),
        ("10 9 10 9", "auto", ("9", "10")),
        ("1 1.0 01 2", "auto", ("1", "2")),
        ("0 1 2 3", "auto", ()),  # as many values as rows: a quantity
        ("0.5 1 0.5 1", "auto", ()),
        ("0.5 1 0.5 1", "classification", ("0.5", "1")),
        ("0 1 0 1", "regression", ()),
        ("b a b a", "auto", ("a", "b")),
        ("1 2 other 1", "classification", ("1", "2", "other")),
        (" ".join(str(i % 20) for i in range(60)), "auto", tuple(str(i) for i in range(20))),
        (" ".join(str(i % 21) for i in range(60)), "auto", ()),
    ],
)
def test_what_the_target_is(tmp_path: Path, values: str, task: table.Task, classes: tuple[str, ...]) -> None:
    assert read(tmp_path, column(values), task=task).classes == classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file is empty"),
        ("\n\n  \n", ": the file is empty"),
        (b"\xef\xbb\xbf", ": the file is empty"),
        ("a,y\n", ": there is no row below the header"),
        ("a,,y\n1,2,3\n", ":1: column 2 has no name"),
        ("a,a,y\n1,2,3\n", ':1: column "a": the name appears twice'),
        ("a,b\n1,2\n", ':1: there is no column "y"; there are "a", "b"'),
        ("y\n1\n2\n", ':1: there is no column beside the target "y"'),
        ("a,y\n1,2\n1\n", ":3: 1 cells, but the header has 2"),
        ("a,y\n1,2,3\n", ":2: 3 cells, but the header has 2"),
        ("a,y\n1,2\n\n\nabc,2\n", ":5: column \"a\": 'abc' is not a number"),
        ('a,y\n1,"x\ny"\nabc,2\n', ":4: column \"a\": 'abc' is not a number"),
        ("a,y\n1,2\n,2\n", ':3: column "a": the cell is empty'),
        ("a,y\nnan,2\n", ":2: column \"a\": 'nan' is not a finite number"),
        ("a,y\n1,2\n-inf,2\n", ":3: column \"a\": '-inf' is not a finite number"),
        ("a,y\n1,2\n1e999,2\n", ":3: column \"a\": '1e999' is not a finite number"),
        ("a,y\n1_000,2\n", ":2: column \"a\": '1_000' is not a number"),
        ("a,y\n1,2\n2,\n", ':3: column "y": the cell is empty'),
        ("a,y\n1,red\n2,\n", ':3: column "y": the cell is empty'),
        ("a,y\n1,red\n2,nan\n", ":3: column \"y\": 'nan' is not a finite number"),
        ("a,y\n1,2\n2,red\n", ":3: column \"y\": 'red' is not a number, but other rows hold some (if it is a class"),
        ("a,y\n1,0.5\n2,inf\n", ":3: column \"y\": 'inf' is not a finite number"),
        ("a,y\n1,1\n2,1.0\n", ': column "y": every row holds 1.0: nothing to learn'),
        ("a,y\n1,r\n2,r\n", ": column \"y\": every row holds 'r': nothing to learn"),
        ('a,y\n1,2\n1,"2\n3,4\n', ":3: unexpected end of data"),
        ('a,y\n1,"2"3\n', ":2: ',' expected after '\"'"),
        ("a,y\n1,2\nä,2\n".encode("latin-1"), ":3: byte 0xe4 is not UTF-8"),
        ("a,y\n1,2\n".encode("utf-16"), ":1: byte 0xff is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(errors.DataError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'data.csv'}{message}")


@pytest.mark.parametrize(
    ("content", "task", "message"),
    [
        ("a,y\n1,2\n2,red\n", "regression", ":3: column \"y\": 'red' is not a number"),
        ("a,y\n1,2\n2,red\n3,nan\n", "classification", ":4: column \"y\": 'nan' is not a finite number"),
        ("a,y\n1,2\n2,2\n", "regression", ': column "y": every row holds 2.0: nothing to learn'),
    ],
)
def test_the_task_decides_what_is_wrong(tmp_path: Path, content: str, task: table.Task, message: str) -> None:
    with pytest.raises(errors.DataError) as caught:
        read(tmp_path, content, task=task)
    assert str(caught.value) == f"{tmp_path / 'data.csv'}{message}"


def test_a_long_cell_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(errors.DataError) as caught:
        read(tmp_path, f"a,y\n{'z' * 5000},1\n")
    assert len(str(caught.value)) < 200 + len(str(tmp_path))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(errors.DataError, match=r"none\.csv: No such file"):
        table.read(tmp_path / "none.csv", "y")
    with pytest.raises(errors.DataError, match="directory"):
        table.read(tmp_path, "y")


@pytest.mark.parametrize("name", table.DEMOS)
def test_the_data_sets_are_tables(name: str) -> None:
    data = table.DEMOS[name](0)
    assert data.x.shape == (len(data.y), len(data.features))
    assert set(data.y) == set(range(len(data.classes)))


def test_features_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("note,,b,y,a\n,,2,p,1\n\nx,,4,,3\nx,,4,r,3\n")
    rows = table.read_features(file, ["a", "b"], "y")
    assert (rows.x.tolist(), rows.lines, rows.targets) == ([[1, 2], [3, 4], [3, 4]], (2, 4, 5), ("p", "", "r"))
    assert rows.labels("y", ["p", "q"]) == [0, None, -1]
    file.write_text("b,a\n2,1\n")
    rows = table.read_features(file, ["a", "b"], "y")
    assert (rows.x.tolist(), rows.targets, rows.labels("y", ["p", "q"])) == ([[1, 2]], None, [])


def test_a_label_is_told_by_what_it_means(tmp_path: Path) -> None:
    """What `read` takes for one class is one here, however it is written."""
    file = tmp_path / "new.csv"
    file.write_text("a,y\n" + "".join(f"1,{label}\n" for label in ("1", "1.0", "01", "2", "", "3", "x")))
    assert table.read_features(file, ["a"], "y").labels("y", ["1", "2"]) == [0, 0, 0, 1, None, -1, -1]


def test_a_number_to_compare_with_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("a,y\n1,0.5\n1,\n1,x\n")
    with pytest.raises(errors.DataError, match=r"new\.csv:4: column \"y\": 'x' is not a number"):
        table.read_features(file, ["a"], "y").labels("y", [])
