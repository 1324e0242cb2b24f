import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from source_cases import KINDS, NAMES, MadeSource, cut_small, rows, scale, write

from bayesgmm import open_source
from bayesgmm.data import Source, SourceData
from bayesgmm.exceptions import InputError
from bayesgmm.io import write_parquet


@pytest.fixture(autouse=True)
def small(monkeypatch):
    cut_small(monkeypatch)


def everything(source):
    return SourceData(source).picked(np.arange(source.n_rows))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_rows_that_memory_has(kind, tmp_path):
    source = open_source(write(kind, tmp_path))
    assert isinstance(source, Source)
    np.testing.assert_array_equal(everything(source), rows() * scale(kind))
    assert len(source.blocks) > 3
    assert open_source(source) is source
    assert source.feature_names in (None, NAMES)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"made by a user"}))
def test_columns_are_chosen_and_ordered_by_name(kind, tmp_path):
    X = write(kind, tmp_path)
    names = open_source(X).feature_names or ["x0", "x1", "x2"]
    source = open_source(X, columns=[names[2], names[0]])
    np.testing.assert_array_equal(everything(source), rows()[:, [2, 0]] * scale(kind))
    assert (source.n_features, source.feature_names) == (2, [names[2], names[0]])
    with pytest.raises(InputError, match=r"columns among .*got 'none'"):
        open_source(X, columns=["none"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_can_be_pickled_and_samples_its_rows(kind, tmp_path):
    source = open_source(write(kind, tmp_path))
    again = pickle.loads(pickle.dumps(source))
    one, other = (each.sample(20, random_state=3) for each in (source, again))
    pd.testing.assert_frame_equal(one, other)
    assert list(one.columns) == (source.feature_names or ["x0", "x1", "x2"])
    there = {tuple(row) for row in (rows() * scale(kind)).tolist()}
    assert all(tuple(row) in there for row in one.to_numpy().tolist())
    np.testing.assert_array_equal(source.sample(5_000).to_numpy(), rows() * scale(kind))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"made by a user"}))
def test_fingerprints_follow_the_rows(kind, tmp_path):
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
    X = rows()
    one, same = (open_source(write(kind, tmp_path / name, X)).fingerprint for name in ("one", "same"))
    X[:, 1] += 1.0 / 64.0
    assert one == same != open_source(write(kind, tmp_path / "other", X)).fingerprint


def test_a_missing_value_is_named_by_file_and_row(tmp_path):
    X = rows()
    X[640, 1] = np.nan  # the third of four parts, which begins at row 502
    source = open_source(write("Parquet, a glob", tmp_path, X))
    with pytest.raises(InputError, match=r"nan in 'b' in row 138 of .*part-2\.parquet \(counted from 0\)"):
        everything(source)


@pytest.mark.parametrize("missing", ["", "NA", "nan"])
def test_missing_values_in_csv_files(missing, tmp_path):
    lines = ["a,b", *["1.0,2.0"] * 700, f"3.0,{missing}", "4.0,5.0"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"nan in 'b' in row 700 of .*rows\.csv"):
        everything(open_source(tmp_path / "rows.csv"))


def test_nulls_in_parquet_files(tmp_path):
    table = pa.table({"a": pa.array([1, None, 3], pa.int64()), "b": [1.0, 2.0, 3.0]})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="nan in 'a' in row 1 of"):
        everything(open_source(tmp_path / "rows.parquet"))


def test_a_damaged_row_group_is_told_as_such(tmp_path):
    path = Path(write("Parquet", tmp_path))
    content = bytearray(path.read_bytes())
    content[200:3_000] = bytes(2_800)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Parquet file; got .*rows\.parquet, which cannot be read as one"):
        everything(open_source(path))


@pytest.mark.parametrize("kind", [".npy", ".npy, Fortran order", "Parquet", "CSV"])
def test_a_file_that_changes_between_passes_is_an_error(kind, tmp_path):
    path = write(kind, tmp_path)
    source = open_source(path)
    everything(source)
    write(kind, tmp_path, rows(seed=1))
    with pytest.raises(InputError, match="stay as they are while they are read; got a file that has changed"):
        everything(source)
    Path(path).unlink()
    with pytest.raises(InputError, match="no file at"):
        everything(source)


def test_lines_are_found_in_any_csv_file(tmp_path):
    for text in ("a;b\n1;2\n\n3;4\n\n", "a\tb\r\n1\t2\r\n\r\n3\t4", "\ufeffa,b\n1,2\n3,4\n", '"a", "b"\n1, 2\n3, 4\n'):
        (tmp_path / "rows.csv").write_bytes(text.encode())
        source = open_source(tmp_path / "rows.csv")
        assert source.feature_names == ["a", "b"]
        np.testing.assert_array_equal(everything(source), [[1.0, 2.0], [3.0, 4.0]])


def _objects(folder):
    np.save(folder / "rows.npy", np.array([[Path("x"), 1], [2, 3]], dtype=object), allow_pickle=True)


def _cut_off(folder):
    np.save(folder / "rows.npy", rows())
    whole = (folder / "rows.npy").read_bytes()
    (folder / "rows.npy").write_bytes(whole[:-8])


def _text_column(folder):
    pd.DataFrame({"a": [1.0], "site": ["n"], "flag": [True]}).to_parquet(folder / "rows.parquet")


def _no_row(folder):
    pd.DataFrame({"a": np.empty(0)}).to_parquet(folder / "rows.parquet")


def _long_line(folder):
    (folder / "rows.csv").write_text("a,b\n1,2\n" + " " * 5_000 + "1,2\n1,2\n")


def _write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


BAD_FILES = {
    "objects": (_objects, r"array \(obs, feature\) of numbers in .*rows\.npy; got shape \(2, 2\) and type object"),
    "cut off": (_cut_off, "all 1,003 rows in .*npy; got fewer"),
    "no array": (_write("rows.npy", b"nothing"), r"a \.npy file; got .*rows\.npy, which cannot be read"),
    "one axis": (lambda f: np.save(f / "rows.npy", np.ones(5)), r"shape \(5,\).*reshape\(-1, 1\)"),
    "no feature": (lambda f: np.save(f / "rows.npy", np.ones((5, 0))), r"shape \(5, 0\)"),
    "flags": (lambda f: np.save(f / "rows.npy", np.ones((5, 2), bool)), "type bool"),
    "complex": (lambda f: np.save(f / "rows.npy", np.ones((5, 2), complex)), "type complex128"),
    "no rows in an array": (lambda f: np.save(f / "rows.npy", np.ones((0, 2))), "at least one row; got none"),
    "no rows in a table": (_no_row, "at least one row; got none"),
    "text column": (_text_column, r"numeric columns in .*parquet; got 'site' and 'flag'.*Choose among.*'a'"),
    "no Parquet": (_write("rows.parquet", b"PAR1 or not"), r"Parquet file; got .*rows\.parquet, which cannot be read"),
    "empty CSV": (_write("rows.csv", b""), "CSV file with data; got the empty file"),
    "only names": (_write("rows.csv", b"a,b\n"), "at least one row; got none"),
    "numbers for names": (_write("rows.csv", b"1,2\n3,4\n"), "column names in the first line"),
    "long line": (_long_line, "lines of less than 2,000 bytes in .*csv; got a longer one"),
    "compressed": (_write("rows.csv.gz", b"\x1f\x8b"), r"files that end in .*got .*rows\.csv\.gz.*Parquet"),
    "another kind": (_write("rows.xlsx", b"PK"), r"files that end in \.npy"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name(name, tmp_path):
    make, message = BAD_FILES[name]
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        open_source(str(tmp_path / "rows.*"))


BAD_TEXT = {
    "text": ("1,north", "numbers with a decimal point"),
    "decimal comma": ('1,"2,5"', "numbers with a decimal point"),
    "a field too many": ("1,2,3", "2 fields in each row"),
    "a field too few": ("1", "2 fields in each row"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_lines_are_refused_by_file_and_rows(name, tmp_path):
    line, message = BAD_TEXT[name]
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,2\n" * 1_000 + line + "\n")
    source = open_source(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=rf"{message}.* of .*rows\.csv; got another in \d+ rows from row \d+"):
        everything(source)


def test_files_must_have_the_columns_of_the_first(tmp_path):
    first = write("Parquet", tmp_path)
    pd.DataFrame(rows()[:, :2], columns=["a", "b"]).to_parquet(tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"columns among 'a' and 'b' in .*two\.parquet.*'c'"):
        open_source([first, tmp_path / "two.parquet"])
    np.save(tmp_path / "rows.npy", rows())
    np.save(tmp_path / "narrow.npy", rows()[:, :2])
    with pytest.raises(InputError, match=r"3 columns without names in .*narrow\.npy.*got 2 columns"):
        open_source([tmp_path / "rows.npy", tmp_path / "narrow.npy"])
    with pytest.raises(InputError, match=r"3 columns without names in .*got the columns 'a', 'b' and 'c'"):
        open_source([tmp_path / "rows.npy", first])
    with pytest.raises(InputError, match="each file once"):
        open_source([first, first])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("nowhere.npy", "no file at nowhere.npy"),
        ("nowhere-*.npy", r"no file at nowhere-\*"),
        ("bad\0name.npy", "no file at"),
        (".", r"a folder at \..*\./\*\.parquet"),
        ("nowhere.zarr", "Zarr array; got nowhere.zarr"),
        (rows(), "path or glob.*got ndarray.*estimators as they are"),
        ([], "path or glob.*got list"),
        (3, "path or glob.*got int"),
    ],
)
def test_what_is_no_source_is_refused(X, message):
    with pytest.raises(InputError, match=message):
        open_source(X)


def test_a_made_source_is_checked():
    source = MadeSource(rows())
    source.feature_names = ["a", "b"]
    with pytest.raises(InputError, match="3 feature_names of a source; got 2"):
        open_source(source)
    with pytest.raises(InputError, match="at least one row of a source"):
        open_source(MadeSource(rows(0)))


def test_blocks_without_rows_are_passed_over():
    source = MadeSource(rows())
    source.blocks.insert(2, type(source.blocks[0])(rows(0), 340))
    np.testing.assert_array_equal(everything(open_source(source)), rows())


def test_columns_of_other_sources_are_not_chosen():
    with pytest.raises(InputError, match="got columns of MadeSource"):
        open_source(MadeSource(rows()), columns=["x0"])


@pytest.mark.parametrize(("shape", "dtype"), [((10,), float), ((10, 2), bool), ((10, 2), complex)])
def test_zarr_arrays_of_other_things_are_refused(shape, dtype):
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=shape, dtype=dtype)
    with pytest.raises(InputError, match=r"Zarr array \(obs, feature\) of numbers"):
        open_source(array)


@pytest.mark.parametrize("n", [0, 1.5, "two"])
def test_a_sample_has_a_whole_number_of_rows(n, tmp_path):
    with pytest.raises(InputError, match="n"):
        open_source(write(".npy", tmp_path)).sample(n)


# ---- writing


def test_columns_are_written_part_by_part_or_not_at_all(tmp_path):
    parts = [{"k": np.arange(3, dtype=np.int32)}, {"k": np.arange(2, dtype=np.int32)}]
    write_parquet(tmp_path / "k.parquet", parts)
    assert pd.read_parquet(tmp_path / "k.parquet")["k"].tolist() == [0, 1, 2, 0, 1]
    before = (tmp_path / "k.parquet").read_bytes()
    with pytest.raises(InputError, match="overwrite=True"):
        write_parquet(tmp_path / "k.parquet", parts)

    def broken():
        yield parts[0]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_parquet(tmp_path / "k.parquet", broken(), overwrite=True)
    assert (tmp_path / "k.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["k.parquet"]
