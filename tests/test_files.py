"""CSV files of every habit become the same table; output appears whole or not at all."""

import gzip

import numpy as np
import pandas as pd
import pytest

from bayesgmm.surface.files import read_csv, read_file, staged_output
from bayesgmm.words.errors import InputError

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
    with pytest.raises(InputError, match="columns among 'length', 'kind', 'width'; got 'height'"):
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
    with pytest.raises(InputError, match=r"numbers only \(3.6, 79, 3.6\)\. Say --no-header"):
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
        (b"a,b\n1,\n2,3\n,\n", "1 missing in 'b'|1 missing in 'a', 2 missing in 'b'"),
        (b"a,b\n1,NA\n2,inf\n", "1 missing in 'b', 1 infinite in 'b'"),
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
