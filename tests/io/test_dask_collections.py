import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from source_cases import NAMES, cut_small, rows

from bayesgmm import GaussianMixture, open_source
from bayesgmm.data import SourceData
from bayesgmm.exceptions import InputError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    cut_small(monkeypatch)


def everything(source):
    return SourceData(source).picked(np.arange(source.n_rows))


def test_chunks_along_features_are_put_together():
    source = open_source(da.from_array(rows(), chunks=(150, 1)))
    np.testing.assert_array_equal(everything(source), rows())
    assert [block.n_rows for block in source.blocks] == [150] * 6 + [103]
    assert [block.first_row for block in source.blocks] == [0, 150, 300, 450, 600, 750, 900]


def test_unknown_lengths_are_computed_once():
    calls = []

    def part(block):
        calls.append(len(block))
        return block[block[:, 0] > 0.0]

    x = da.from_array(rows(), chunks=(150, 3)).map_blocks(part, chunks=((np.nan,) * 7, (3,)), meta=np.empty((0, 0)))
    source = open_source(x)
    assert len(calls) == 7
    assert np.isnan(x.shape[0])
    np.testing.assert_array_equal(everything(source), rows()[rows()[:, 0] > 0.0])


def test_partitions_without_rows_and_missing_values():
    frame = dd.from_pandas(pd.DataFrame(rows(), columns=NAMES), npartitions=6)
    some = frame.map_partitions(lambda part: part[part.index >= 700])
    np.testing.assert_array_equal(everything(open_source(some)), rows()[700:])
    gaps = pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": [1, 2, 3]})
    with pytest.raises(InputError, match="nan in 'a' in row 1 of the Dask collection"):
        everything(open_source(dd.from_pandas(gaps, npartitions=1)))
    masked = da.ma.masked_greater(da.from_array(rows(), chunks=(150, 3)), 3.0)
    with pytest.raises(InputError, match=r"the Dask collection without missing values; got .* masked"):
        everything(open_source(masked))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (da.ones(5), r"X\[:, None\]"),
        (da.ones((5, 2), dtype=bool), "type bool"),
        (da.ones((5, 0)), r"shape \(5, 0\)"),
        (da.ones((0, 2)), "at least one row of a Dask collection"),
        (dask.delayed(np.ones)((5, 2)), "got Delayed"),
        (db.from_sequence([1, 2]), "got Bag"),
        (dd.from_pandas(pd.Series([1.0]), npartitions=1), r"got Series.*to_frame"),
        (
            dd.from_pandas(pd.DataFrame({"a": [1.0], "site": ["n"], "flag": [True]}), npartitions=1),
            "'site' and 'flag', not numeric.*Choose among the numeric ones: 'a'",
        ),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(X, message):
    with pytest.raises(InputError, match=message):
        open_source(X)
    with pytest.raises(InputError, match=message):
        GaussianMixture(1).fit(X)
