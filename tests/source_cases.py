"""The same rows in every kind of source, cut into small blocks."""

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from bayesgmm import Mixture

NAMES = ["a", "b", "c"]
MIXTURE = Mixture(
    [0.3, 0.7], [[-2.0, 0.0, 1.0], [2.0, 1.0, 0.0]], [np.diag([1.0, 0.5, 2.0]), np.eye(3) + 0.3 * np.ones((3, 3))]
)


def rows(n=1_003, seed=0):
    """Rows that every kind of file holds exactly: multiples of 1/64, which are floats in single precision too."""
    return np.round(MIXTURE.sample(n, rng=np.random.default_rng(seed))[0] * 64.0) / 64.0


@dataclass
class MadeBlock:
    """A block as a user writes it."""

    part: np.ndarray
    first_row: int
    name: str = "made"

    @property
    def n_rows(self):
        return len(self.part)

    def read(self):
        middle = max(1, len(self.part) // 3)
        yield self.part[:middle].tolist()
        yield self.part[middle:]


class MadeSource:
    """A source as a user writes it."""

    n_features, feature_names, fingerprint = 3, None, "made"

    def __init__(self, X):
        self.blocks = [MadeBlock(X[i : i + 170], i) for i in range(0, len(X), 170)]


def _frame(X):
    return pd.DataFrame(X, columns=NAMES)


def _npy(X, folder):
    np.save(folder / "rows.npy", X)
    return str(folder / "rows.npy")


def _parquet(X, folder, name="rows.parquet", **options):
    path = folder / name
    pq.write_table(pa.table(dict(zip(NAMES, X.T.copy(), strict=True))), path, **{"row_group_size": 170, **options})
    return str(path)


def _ragged(X, folder):
    path = folder / "rows.parquet"
    with pq.ParquetWriter(path, pa.schema([(name, pa.float64()) for name in NAMES])) as writer:
        for start, stop in ((0, 1), (1, 400), (400, 403), (403, 403), (403, len(X))):
            writer.write_table(pa.table(dict(zip(NAMES, X[start:stop].T.copy(), strict=True))))
    return str(path)


def _csv(X, folder, name="rows.csv", end="\n"):
    text = _frame(X).to_csv(index=False, lineterminator=end)
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


def _with_index(X, folder):
    frame = _frame(X).assign(id=[f"r{i}" for i in range(len(X))]).set_index("id")
    frame.to_parquet(folder / "rows.parquet", row_group_size=170)
    return str(folder / "rows.parquet")


def _parts(X, folder):
    for i, part in enumerate(np.array_split(X, 4)):
        _parquet(part, folder, f"part-{i}.parquet")
    return str(folder / "part-*.parquet")


def _mixed(X, folder):
    first, second, third = np.array_split(X, 3)
    _frame(second[:, ::-1]).set_axis(NAMES[::-1], axis=1).to_parquet(folder / "two.parquet", row_group_size=100)
    return [_csv(first, folder, "one.csv"), folder / "two.parquet", _csv(third, folder, "three.tsv")]


def _zarr(X, folder):
    array = zarr.create_array(str(folder / "rows.zarr"), shape=X.shape, dtype=X.dtype, chunks=(150, 2))
    array[:] = X
    return array


def _unknown_lengths(X, folder):
    marked = da.from_array(np.column_stack([X, np.zeros(len(X))]), chunks=(150, 4))
    return marked[marked[:, 3] == 0.0][:, :3]


KINDS = {
    ".npy": _npy,
    ".npy, Fortran order": lambda X, folder: _npy(np.asfortranarray(X), folder),
    ".npy, big-endian": lambda X, folder: _npy(X.astype(">f8"), folder),
    ".npy, single precision": lambda X, folder: _npy(X.astype(np.float32), folder),
    ".npy, integers": lambda X, folder: _npy((X * 64).astype(np.int64), folder),
    "Parquet": _parquet,
    "Parquet, single precision": lambda X, folder: _parquet(X.astype(np.float32), folder),
    "Parquet, integers": lambda X, folder: _parquet((X * 64).astype(np.int32), folder),
    "Parquet, ragged groups": _ragged,
    "Parquet, pandas's index": _with_index,
    "Parquet, a glob": _parts,
    "CSV": _csv,
    "CSV, Windows": lambda X, folder: _csv(X, folder, end="\r\n"),
    "mixed files": _mixed,
    "Zarr array": _zarr,
    "Zarr folder": lambda X, folder: str(_zarr(X, folder).store_path).removeprefix("file://"),
    "Dask array": lambda X, folder: da.from_array(X, chunks=(150, 2)),
    "Dask array, unknown lengths": _unknown_lengths,
    "Dask dataframe": lambda X, folder: dd.from_pandas(_frame(X), npartitions=6),
    "made by a user": lambda X, folder: MadeSource(X),
}


def scale(kind):
    """What rows of a kind are multiplied by."""
    return 64.0 if "integers" in kind else 1.0


def cut_small(monkeypatch):
    """Small sizes everywhere, so that a thousand rows are many blocks and only a sample fits into memory."""
    monkeypatch.setattr("bayesgmm.data.sources.ROWS_IN_MEMORY", 300)
    monkeypatch.setattr("bayesgmm.data.sources.ROWS_PER_BLOCK", 40)
    monkeypatch.setattr("bayesgmm.io.csv_blocks._BYTES", 2_000)
    monkeypatch.setattr("bayesgmm.io.array_files._ROWS_TRANSPOSED", 17)


def write(kind, folder, X=None):
    """The rows as a source of a kind."""
    return KINDS[kind](rows() if X is None else X, Path(folder))
