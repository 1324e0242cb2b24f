"""CSV files of every habit become the same table; output appears whole or not at all."""

import errno
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesgmm.exceptions import InputError
from bayesgmm.io.files import read_csv, read_file, staged_output

TEXT = "length,width\n1,0.5\n2,0.7\n"
EXPECTED = pd.DataFrame({"length": [1.0, 2.0], "width": [0.5, 0.7]})


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace(",", " , "),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        TEXT + "\n\n",
        '"length","width"\n"1","0.5"\n"2","0.7"\n',
    ],
    ids=["comma", "semicolon", "tab", "spaces", "windows", "byte order mark", "blank lines", "quotes"],
)
def test_every_habit_gives_the_same_table(tmp_path, content) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    pd.testing.assert_frame_equal(read_csv(path), EXPECTED)


def test_compressed_files_are_read(tmp_path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    pd.testing.assert_frame_equal(read_csv(path), EXPECTED)


@pytest.mark.parametrize("name", ["t.parquet", "t.PQ", "table"])
def test_parquet_files_are_known_by_ending_or_content(tmp_path, name) -> None:
    path = tmp_path / name
    pd.DataFrame({"length": [1, 2], "kind": ["a", "b"], "width": [0.5, 0.7]}).to_parquet(path)
    pd.testing.assert_frame_equal(read_file(path, columns=["length,width"]), EXPECTED)
    with pytest.raises(InputError, match=r"'kind' \(text such as 'a'\), not numeric"):
        read_file(path)
    with pytest.raises(InputError, match="columns among 'length', 'kind' and 'width'; got 'height'"):
        read_file(path, columns=["height"])


def test_files_that_are_no_parquet_files_say_so(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text(TEXT)
    with pytest.raises(InputError, match="Expected a Parquet file"):
        read_file(path)
    pd.DataFrame({"a": [1.0, None]}).to_parquet(path)
    with pytest.raises(InputError, match="1 missing in 'a'"):
        read_file(path)
    with pytest.raises(InputError, match="Expected a CSV or Parquet file; got no file"):
        read_file(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="got a folder"):
        read_file(tmp_path)


def test_other_files_are_read_as_csv(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    pd.testing.assert_frame_equal(read_file(path), EXPECTED)


def test_columns_with_commas_between_or_within(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,"b,c",d\n1,2,x\n3,4,y\n')
    assert list(read_csv(path, columns=["a", "b,c"])) == ["a", "b,c"]
    path.write_text("a,b,c\n1,2,x\n3,4,y\n")
    assert list(read_csv(path, columns=["b, a"])) == ["b", "a"]


def test_files_without_names_must_be_declared(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("3.6,79,3.6\n1.8,54,1.8\n")
    with pytest.raises(InputError, match=r"numbers only \(3.6, 79, 3.6\)\. Use --no-header"):
        read_csv(path)
    frame = read_csv(path, header=False)
    assert list(frame) == ["x0", "x1", "x2"]
    assert len(frame) == 2
    assert list(read_csv(path, columns=["79"], header=True)) == ["79"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the empty file"),
        (b"\n\n", "the empty file"),
        (b"a,b\n", "at least one row"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read as one"),
        (b"a,b\n1,2,3\n4,5\n1,2,3,4\n", "cannot be read as one"),
        (b"a,b\n1,x\n", r"'b' \(text such as 'x'\), not numeric"),
        (b"a,b\n1,\n2,3\n,\n", "1 missing in 'b'|1 missing in 'a' and 2 missing in 'b'"),
        (b"a,b\n1,NA\n2,inf\n", "1 missing in 'b' and 1 infinite in 'b'"),
        (b"Once upon a time\nthere was no table\n", "not numeric. No column is numeric"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, content, expected) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        read_csv(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_told_apart(tmp_path) -> None:
    with pytest.raises(InputError, match="no file at"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match="a folder at"):
        read_csv(tmp_path)


def test_a_broken_archive_is_one_line(tmp_path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 100)[:-20])
    with pytest.raises(InputError, match="cannot be read as one"):
        read_csv(path)


def test_large_mixed_columns_raise_no_warning(tmp_path) -> None:
    path = tmp_path / "t.csv"
    numbers = np.arange(300_000).astype(str)
    numbers[-1] = "<5"
    path.write_text("a\n" + "\n".join(numbers))
    with pytest.raises(InputError, match="got 'a'"):
        read_csv(path)


# ---- rows that do not fit the names, columns that have none, numbers of other habits


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("price,b\n1,234.5,2\n1,345.5,3\n", "3 in '1,234.5,2'"),
        ("price,b\n1,234.5,\n1,345.5,\n", "3 in '1,234.5,'"),
        ("price,b\n234.5,2\n1,345.5,3\n", "line 3, saw 3"),
        ("price\n1,234.5\n2,345.5\n", "2 in '1,234.5'"),
        ("a,b\n1,5,2,5\n3,5,4,5\n", "4 in '1,5,2,5'"),
        ('"a","b"\n"1",1,2\n"2",3,4\n', "3 in '1,1,2'"),
        ("a,b\n1,2,\n3,4,\n", "3 in '1,2,'"),
        ("a,b,\n1,2\n3,4\n", "2 in '1,2'"),
        ("a,b,c\n1,2,3\n4,5\n", "2 in '4,5'"),
        ("# made by hand\na,b\n1,2\n", "2 in 'a,b'"),
        ("a,b\n1,2\n# a note\n3,4\n", "1 in '# a note'"),
        ("a,b\n1,2\n\0\0\0", "1 in "),
    ],
    ids=[
        "thousands", "and a missing value", "in some rows", "in one column", "decimal commas", "R's row names",
        "rows that end in a comma", "names that do", "short row", "comment first", "comment later", "NUL",
    ],
)  # fmt: skip
def test_rows_longer_or_shorter_than_the_names_are_refused(tmp_path, content, got) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"[eE]xpected") as caught:
        read_csv(path)
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_short_row_is_refused_though_its_end_is_not_used(tmp_path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,c\n1,2,3\n4,5\n"))
    with pytest.raises(InputError, match="2 in '4,5'"):
        read_csv(path, columns=["a"])
    path.write_bytes(gzip.compress(b"a,b,c\n1,2,3\n4,5,\n"))
    assert read_csv(path, columns=["a"])["a"].to_list() == [1.0, 4.0]


def test_rows_without_names_have_the_length_of_the_first(tmp_path) -> None:
    path = tmp_path / "t.csv"
    for rows in ("1,2\n3,4,5\n", "1,2,3\n4,5\n"):
        path.write_text(rows)
        with pytest.raises(InputError, match=r"[eE]xpected"):
            read_csv(path, header=False)


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        (",a\n0,1.5\n1,2.5\n", r"column 1 \(row names: 0, 1, ...\)"),
        ('"","a"\n"1",1.5\n"2",2.5\n', r"column 1 \(row names: 1, 2, ...\)"),
        ('"","a"\n"Mazda",1.5\n"Fiat",2.5\n', r"column 1 \(row names: Mazda, Fiat, ...\)"),
        (",Unnamed: 0,a\n0,7,1.5\n1,3,2.5\n", "column 1 .*; column 2 "),
        (";a;\n5;1.5;\n9;2.5;\n", r"column 1 .*; column 3 \(empty\)"),
    ],
    ids=["pandas", "R", "text", "pandas twice", "semicolons"],
)
def test_row_names_are_left_out_and_a_warning_says_so(tmp_path, content, left_out) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.warns(UserWarning, match=left_out):
        frame = read_csv(path)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1.5, 2.5]}))
    pd.testing.assert_frame_equal(read_csv(path, columns=["a"]), frame)


@pytest.mark.parametrize("content", [",a\n0.5,1\n1.5,2\n", ",a\n5,1\n5,2\n", "a,,b\n1,2,3\n4,5,6\n"])
def test_other_columns_without_a_name_are_refused(tmp_path, content) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="a name for every column"):
        read_csv(path)
    assert list(read_csv(path, columns=["a"])) == ["a"]


def test_a_name_that_pandas_gave_can_be_asked_for(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Unnamed: 0,a\n7,1\n9,2\n")
    assert read_csv(path, columns=["Unnamed: 0"]).iloc[:, 0].to_list() == [7.0, 9.0]


@pytest.mark.parametrize(
    "number", ["1,234.5", "1,234", "3,14", "1.234,5", "1'234", "1 234.5", "-1,234,567.8"], ids=lambda value: value
)
def test_numbers_with_other_separators_are_refused(tmp_path, number) -> None:
    path = tmp_path / "t.csv"
    for separator, value in ((",", f'"{number}"'), (";", number), ("\t", number)):
        path.write_text(f"a{separator}b\n7{separator}{value}\n8{separator}9\n")
        with pytest.raises(
            InputError, match=f"numbers with a decimal point and no other separators; got .{number}. in 'b'"
        ):
            read_csv(path)
        assert read_csv(path, columns=["a"])["a"].to_list() == [7.0, 8.0]


def test_names_that_stand_twice_are_refused_if_used(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b, a\n1,2,3\n4,5,6\n")
    for columns in (None, ["a"]):
        with pytest.raises(InputError, match="distinct"):
            read_csv(path, columns=columns)
    assert read_csv(path, columns=["b"])["b"].to_list() == [2.0, 5.0]


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0b.csv"])
def test_names_that_no_file_can_have(name) -> None:
    with pytest.raises(InputError, match="no file at"):
        read_file(name)


def test_a_line_that_goes_on_and_on_is_no_csv(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x" * 200_000)
    with pytest.raises(InputError, match="field limit"):
        read_csv(path)


# ---- output


def test_files_arrive_together(tmp_path) -> None:
    folder = tmp_path / "deep" / "out"
    with staged_output(folder, ["a", "b"]) as stage:
        (stage / "a").write_text("1")
        (stage / "b").write_text("2")
        assert not (folder / "a").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_existing_files_stay_unless_overwriting_is_asked_for(tmp_path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(InputError, match=r"which holds a\."), staged_output(tmp_path, ["a", "b"]):
        pytest.fail("must not begin")
    with staged_output(tmp_path, ["a", "b"], overwrite=True) as stage:
        (stage / "a").write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_with_other_files_is_fine(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with staged_output(tmp_path, ["a"]) as stage:
        (stage / "a").write_text("1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "notes.txt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, error) -> None:
    (tmp_path / "a").write_text("old")

    def fail(folder):
        with staged_output(folder, ["a"], overwrite=True) as stage:
            (stage / "a").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    with pytest.raises(type(error)):
        fail(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="a folder to write to"), staged_output(tmp_path / "out", ["a"]):
        pytest.fail("must not begin")


# ---- output folders of several processes, live and dead


def test_a_second_writer_is_refused_at_its_start(tmp_path) -> None:
    for overwrite in (False, True):
        with staged_output(tmp_path / "out", ["a"], overwrite=overwrite) as stage:
            (stage / "a").write_text("first")
            with (
                pytest.raises(InputError, match=rf"in which process {os.getpid()} on \S+ is at work"),
                staged_output(tmp_path / "out", ["a"], overwrite=True),
            ):
                pytest.fail("must not begin")
        assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [("a", "first")]


def test_a_new_folder_in_which_others_wrote_meanwhile_stays(tmp_path) -> None:
    def fail() -> None:
        with staged_output(tmp_path / "out", ["a"]):
            (tmp_path / "out" / "notes.txt").write_text("mine")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_what_a_killed_process_left_is_removed_or_finished(tmp_path) -> None:
    (tmp_path / ".lock").write_text("process 1 on host")
    for name in (".unfinished-1", ".unfinished-2", ".finished-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with staged_output(tmp_path, ["b"]) as stage:
        (stage / "b").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": ".finished-3", "b": "new"}


def test_what_it_finished_is_not_replaced(tmp_path) -> None:
    (tmp_path / ".finished-3").mkdir()
    (tmp_path / ".finished-3" / "a").write_text("of an hour's work")
    with pytest.raises(InputError, match="holds a"), staged_output(tmp_path, ["a"]):
        pytest.fail("must not begin")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "of an hour's work")]


def test_an_end_between_two_files_loses_neither_old_nor_new(tmp_path, monkeypatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    replace, moved = Path.replace, []

    def replace_once(self, target):
        if moved:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        moved.append(replace(self, target))

    def write() -> None:
        with staged_output(tmp_path, ["a", "b"], overwrite=True) as stage:
            for name in ("a", "b"):
                (stage / name).write_text("new")

    monkeypatch.setattr(Path, "replace", replace_once)
    with pytest.raises(OSError, match="No space left"):
        write()
    monkeypatch.undo()
    assert sorted(path.read_text() for path in tmp_path.glob("?")) == ["new", "old"]
    with staged_output(tmp_path, ["c"]):
        assert [(tmp_path / name).read_text() for name in ("a", "b")] == ["new", "new"]


def test_files_are_on_disk_before_they_take_their_place(tmp_path, monkeypatch) -> None:
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write() -> None:
        with staged_output(tmp_path / "out", ["a"]) as stage:
            (stage / "a").write_text("1")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file_is_refused_at_the_start(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    for overwrite in (False, True):
        with (
            pytest.raises(InputError, match="in which a is a folder"),
            staged_output(tmp_path, ["a"], overwrite=overwrite),
        ):
            pytest.fail("must not begin")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_folder_can_have(tmp_path, name) -> None:
    with pytest.raises(InputError, match="a folder to write to"), staged_output(tmp_path / name, ["a"]):
        pytest.fail("must not begin")
