"""Rows not in memory: opened with the features of the fit, recorded with it, and results written block by block."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import (
    PATIENCE,
    Array,
    IntArray,
    Move,
    PerRow,
    Responsibilities,
    Rows,
    progress_bar,
    quoted,
)
from bayesgmm.data import MARGINALIZE, Block, Data, Source, SourceData, by_handle, threads_for
from bayesgmm.estimators._validation import as_data, family_of
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Measured, Mixture, row_densities, row_memberships
from bayesgmm.validation import as_sample_weight, check_flag, is_elsewhere

type RowsLike = ArrayLike | os.PathLike[str] | Sequence[os.PathLike[str]] | Source
"""Rows in memory, or where they are."""


def opened(estimator: Any, X: Any, *, reset: bool = False) -> Source:
    """Rows not in memory, with the features of the fit: files by the names of their columns."""
    from bayesgmm.io import open_source

    names = None if reset else getattr(estimator, "feature_names_in_", None)
    columns = None if names is None or isinstance(X, Source) else [str(name) for name in names]
    source = open_source(X, columns=columns)
    if reset:
        estimator.n_features_in_ = source.n_features
        estimator.__dict__.pop("feature_names_in_", None)
        if source.feature_names is not None:
            estimator.feature_names_in_ = np.array(source.feature_names, dtype=object)
    elif source.n_features != estimator.n_features_in_:
        raise InputError(expected=f"rows of {estimator.n_features_in_} features", got=f"{source.n_features}")
    elif names is not None and source.feature_names is not None and list(names) != list(source.feature_names):
        expected = f"rows with the columns {quoted(list(names))}, in this order"
        raise InputError(expected=expected, got=quoted(list(source.feature_names)))
    return source


def opened_for_fit(estimator: Any, X: Any, sample_weight: object) -> Source:
    """Rows not in memory of a fit, which are not read yet: neither weighted, nor with missing values."""
    without_weights(sample_weight)
    if estimator.missing == MARGINALIZE:
        raise InputError(
            expected="rows in memory with missing='marginalize'",
            got="others",
            hint="Take a sample: bayesgmm.open_source(...).sample(100_000).",
        )
    return opened(estimator, X, reset=True)


def without_weights(sample_weight: object) -> None:
    """Refuse weights of rows not in memory."""
    if sample_weight is not None:
        raise InputError(
            expected="no sample_weight with rows not in memory, which count once each",
            got=type(sample_weight).__name__,
            hint="Give weights to rows in memory, or write rows repeatedly.",
        )


def not_in_memory(data: Data) -> InputError:
    """Why PyMC's model cannot have rows that are not in memory."""
    return InputError(
        expected='engine="native" for rows that are not in memory',
        got=f"'pymc' and {data.shape[0]:,} rows",
        hint="Its model holds all rows: fit a sample, open_source(...).sample(100_000).",
    )


def read_source(estimator: Any, source: Source, *, rng: np.random.Generator, n_jobs: int | None) -> Data:
    """The first pass over the rows of a source, which checks and samples them; with a bar if it takes long."""
    correlated = family_of(estimator, source.n_features).parametrisation.correlated
    with progress_bar("Reading rows", show=True, percent=True, patience=PATIENCE) as progress:
        return SourceData.read_once(
            source,
            rng=rng.spawn(1)[0],  # not the numbers that the starts draw
            n_jobs=n_jobs,
            products=correlated,
            progress=progress,
        )


@dataclass(frozen=True, slots=True)
class FittedSource:
    """What a fit keeps of rows that are not in memory.

    Attributes
    ----------
    paths : tuple of str
        The files, in order; empty for sources that are no files.
    n_rows : int
    fingerprint : str
        See `bayesgmm.Source`.
    sample : (obs, feature)
        At most 100,000 random rows.
    """

    __module__ = "bayesgmm.estimators"

    paths: tuple[str, ...]
    n_rows: int
    fingerprint: str
    sample: Rows

    @classmethod
    def of(cls, source: Source, data: Data) -> "FittedSource":
        """The record of a source and of its first pass."""
        paths = tuple(os.path.abspath(path) for path in getattr(source, "paths", ()))  # noqa: PTH100  links are kept
        return cls(paths, data.shape[0], source.fingerprint, data.sample.rows)

    @property
    def record(self) -> dict[str, Any]:
        """What a file keeps, the sample aside."""
        return {"paths": self.paths, "n_rows": self.n_rows, "fingerprint": self.fingerprint}

    def find(self, estimator: Any) -> Source:
        """The rows of the fit once more.

        Raises
        ------
        InputError
            If files are missing, or their rows are others than in the fit.
        """
        if not self.paths:
            raise InputError(expected="the rows X", got="none, and a fit of rows that were in no file", hint="Pass X.")
        if missing := [path for path in self.paths if not Path(path).exists()]:
            raise InputError(
                expected=f"the {len(self.paths)} file(s) of the fit",
                got=f"no file at {quoted(missing)}",
                hint="Pass X if the rows are elsewhere now.",
            )
        source = opened(estimator, list(self.paths))
        if source.fingerprint != self.fingerprint:
            raise InputError(
                expected=f"the rows of the fit in {quoted(list(self.paths))}",
                got="files that have changed since",
                hint="Pass X if these rows are meant.",
            )
        return source


def row_labels(blocks: Iterable[Block], mixture: Mixture) -> IntArray:
    """The most probable component of each row of some blocks, (obs,)."""
    return np.concatenate([mixture.most_probable(row_memberships([block], mixture)) for block in blocks])


def _largest(resp: Responsibilities) -> IntArray:
    return resp.argmax(axis=1)


class ByBlock(NamedTuple):
    """What a fit says of the rows of a block: memberships (obs, cluster), log densities and then clusters (obs,)."""

    memberships: Callable[[Block], Responsibilities]
    log_densities: Callable[[Block], PerRow]
    most_probable: Callable[[Responsibilities], IntArray] = _largest


class _Fitted(Protocol):
    """What the methods need of the estimator."""

    def _by_block(self) -> ByBlock: ...
    def _rows(self, X: Any) -> tuple[Data, np.dtype]: ...
    def _n_threads(self) -> int | None: ...


class SourcesMixin:
    """Results of an estimator in files, for rows that are too many for memory."""

    def predict_to(
        self: _Fitted,
        path: str | os.PathLike[str],
        X: RowsLike | None = None,
        *,
        proba: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Write the most probable component of each row to a Parquet file, block by block.

        The file has a column ``cluster``, in the order of the rows. After an error, or Ctrl-C, there is no new file.

        Parameters
        ----------
        path : str or path
        X : path, source or array-like, optional
            Rows as in `fit`; by default those of the fit, if they are in files.
        proba : bool
            Also the probability of each component, in columns ``p0``, ``p1``, ...
        overwrite : bool
            Replace a file that exists.

        Raises
        ------
        InputError
            If the file exists and ``overwrite`` is false, or rows are missing, have changed or cannot be used.
        OSError
            If the system cannot write it, on a full disk say.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load_old_faithful().to_parquet(f"{folder}/geyser.parquet")
        ...     fit = GaussianMixture(2, random_state=0).fit(f"{folder}/geyser.parquet")
        ...     fit.predict_to(f"{folder}/clusters.parquet")
        ...     pd.read_parquet(f"{folder}/clusters.parquet")["cluster"].value_counts().tolist()
        [175, 97]
        """
        check_flag(proba=proba)
        of_block = partial(_clusters, self._by_block(), proba)
        _write(self, path, X, of_block, overwrite=overwrite)

    def score_samples_to(
        self: _Fitted, path: str | os.PathLike[str], X: RowsLike | None = None, *, overwrite: bool = False
    ) -> None:
        """Write the log density of each row to a Parquet file with a column ``log_density``; see `predict_to`."""
        of_block = partial(_log_densities, self._by_block().log_densities)
        _write(self, path, X, of_block, overwrite=overwrite)


class EMRowsMixin(SourcesMixin):
    """What a fit by EM says of rows, wherever these are."""

    n_jobs: int | None
    means_: Any
    _validated: Callable[..., Array]
    _fitted: Callable[[], Mixture]
    _measured: Callable[..., Measured]

    def predict_proba(self, X: RowsLike) -> Responsibilities:
        """Probability of each component for each row, (obs, cluster); with noise, a last column for it."""
        return self._by_row(row_memberships, X)

    def predict(self, X: RowsLike) -> IntArray:
        """The most probable component of each row, (obs,); -1 for noise."""
        if is_elsewhere(X):
            return self._by_row(row_labels, X)
        return self._fitted().most_probable(self.predict_proba(X))

    def score_samples(self, X: RowsLike) -> PerRow:
        """Log density of each row, (obs,)."""
        return self._by_row(row_densities, X)

    def score(self, X: RowsLike, y: object = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log density per row, with ``sample_weight`` (obs,) the weighted mean."""
        if is_elsewhere(X):
            measured = self._measured(X, sample_weight)
            return measured.log_likelihood / measured.n_rows
        log_density = self.score_samples(X)
        weights = as_sample_weight(sample_weight, len(log_density), relative=True)
        return float(np.average(log_density, weights=weights))

    def _rows(self, X: Any) -> tuple[Data, np.dtype]:
        """Rows, wherever they are, and the type of results: that of rows and parameters, as in scikit-learn."""
        if is_elsewhere(X):
            return SourceData(opened(self, X)), np.result_type(np.float64, self.means_)
        checked = self._validated(X)
        return as_data(checked), np.result_type(checked, self.means_)

    def _by_row(self, task: Callable[..., Any], X: RowsLike) -> Any:
        """What a task gives for each row."""
        mixture, (data, dtype) = self._fitted(), self._rows(X)
        with threads_for(data, self.n_jobs) as pool:
            parts = list(by_handle(partial(task, mixture=mixture), data, pool))
        found = np.concatenate(parts) if len(parts) > 1 else parts[0]
        with np.errstate(over="ignore"):  # below single precision: -inf
            return found.astype(dtype, copy=False) if found.dtype.kind == "f" else found

    def _weighted(self, X: RowsLike, sample_weight: ArrayLike | None) -> Data:
        """Rows, wherever they are, with their weights."""
        if is_elsewhere(X):
            without_weights(sample_weight)
            return self._rows(X)[0]
        return as_data(self._validated(X), sample_weight)

    def _by_block(self) -> ByBlock:
        mixture = self._fitted()
        memberships, densities = (partial(_of_block, task, mixture) for task in (row_memberships, row_densities))
        return ByBlock(memberships, densities, mixture.most_probable)


def _of_block(task: Callable[..., Any], mixture: Mixture, block: Block) -> Any:
    return task([block], mixture)


def _clusters(fit: ByBlock, proba: bool, block: Block) -> dict[str, Array]:
    resp = fit.memberships(block)
    shares = {f"p{k}": each for k, each in enumerate(np.ascontiguousarray(resp.T))} if proba else {}
    return {"cluster": fit.most_probable(resp).astype(np.int32), **shares}


def _log_densities(log_densities: Callable[[Block], PerRow], block: Block) -> dict[str, Array]:
    return {"log_density": log_densities(block)}


def _columns(of_block: Callable[[Block], dict[str, Array]], blocks: Iterable[Block]) -> dict[str, Array]:
    parts = list(map(of_block, blocks))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write(
    estimator: _Fitted,
    path: str | os.PathLike[str],
    X: RowsLike | None,
    of_block: Callable[[Block], dict[str, Array]],
    *,
    overwrite: bool,
) -> None:
    from bayesgmm.io import check_target, write_parquet

    check_flag(overwrite=overwrite)
    check_target(path, overwrite=overwrite)
    data = estimator._rows(_rows_of_fit(estimator) if X is None else X)[0]
    with (
        progress_bar("Writing rows", show=True, percent=True, patience=PATIENCE) as progress,
        threads_for(data, estimator._n_threads()) as pool,
    ):
        parts = by_handle(partial(_columns, of_block), data, pool)
        write_parquet(path, _shown(parts, len(data.handles), progress), overwrite=overwrite)


def _rows_of_fit(estimator: Any) -> Source:
    record: FittedSource | None = getattr(estimator, "source_", None)
    if record is None:
        raise InputError(expected="the rows X", got="none, and a fit that keeps no rows", hint="Pass X.")
    return record.find(estimator)


def _shown[Part](parts: Iterable[Part], n_parts: int, progress: Move | None) -> Iterator[Part]:
    for n_done, part in enumerate(parts, start=1):
        yield part
        if progress is not None:
            progress(n_done, n_parts)
