"""Rows of a `BayesianGaussianMixture`; prediction, summary, model and saving of a fitted one."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import Array, IntArray, PerRow, Responsibilities, Rows
from bayesgmm.data import (
    N_LABELLED,
    Block,
    Data,
    IncompleteData,
    Source,
    SourceData,
    allowed_components,
    by_handle,
    threads_for,
)
from bayesgmm.diagnostics import Diagnosis, diagnose
from bayesgmm.estimators._attributes import BESIDE, FeaturesMixin, MatchingMixin, parameters_of
from bayesgmm.estimators._prior_parameters import PriorParameters, fitted_prior_parameters
from bayesgmm.estimators._saved import KeptOf, work_of
from bayesgmm.estimators._sources import (
    ByBlock,
    FittedSource,
    RowsLike,
    SourcesMixin,
    not_in_memory,
    opened,
    opened_for_fit,
    read_source,
    without_weights,
)
from bayesgmm.estimators._validation import as_data, check_labels, check_n_samples, validated
from bayesgmm.exceptions import InputError, NotIdentifiedError
from bayesgmm.inference import weights_refused
from bayesgmm.io import Pieces, once, save_tree
from bayesgmm.label_switching import INSTEAD, component_record
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.noise import noise_of, refuse_noise
from bayesgmm.posterior import data_of, draws_of, mean_mixture, prior_from_json, start_mixture
from bayesgmm.prediction import (
    log_predictive_density,
    mean_probabilities,
    membership_intervals,
    most_probable,
    predictive_sample,
    to_arviz,
)
from bayesgmm.priors import Prior
from bayesgmm.validation import as_sample_weight, check_flag, is_elsewhere

if TYPE_CHECKING:
    import pymc as pm


FEW_DRAWS = 200  # that speak of rows not in memory


class PosteriorMixin(SourcesMixin, MatchingMixin, FeaturesMixin):
    """Predictions, summaries and the model of an estimator that holds a posterior."""

    n_components: int
    covariance_type: str
    cores: int | None
    posterior_: xr.DataTree
    prior_: Prior
    em_: Mixture
    _draw_sets: list[Draws]

    def _seed(self) -> int:
        """The number that everything random in a fit comes from."""
        raise NotImplementedError

    def predict_proba(self, X: RowsLike) -> Responsibilities:
        """Posterior mean of each row's membership probabilities, (obs, cluster); with noise, a last column for it.

        Of rows that are not in memory over at most 200 draws, evenly spaced, as all that is said of such rows.
        """
        return self._by_row(mean_probabilities, X)

    def predict(self, X: RowsLike) -> IntArray:
        """Label with the highest mean membership, (obs,); -1 for noise."""
        return self._by_row(_labels, X)

    def membership(
        self, X: ArrayLike | None = None, *, ci_prob: float | None = None, ci_kind: str | None = None
    ) -> xr.Dataset:
        """Mean, standard deviation and interval of membership probabilities, for observed or new rows.

        Parameters
        ----------
        X : (obs, feature), optional
            By default the rows of the fit, with their labels; of other rows none are known.
        ci_prob, ci_kind : optional
            ArviZ's rcParams by default: 89 %, equal-tailed.

        Returns
        -------
        xarray.Dataset
            ``mean``, ``sd`` and ``ci`` over (obs, cluster). With noise, means of a row sum to less than one.
        """
        check_is_fitted(self)
        data = data_of(self.posterior_) if X is None else self._data(X)
        return membership_intervals(self._draws(), data, ci_prob=ci_prob, ci_kind=ci_kind)

    def score_samples(self, X: RowsLike) -> PerRow:
        r"""Log posterior predictive density :math:`\log E[p(x \mid \theta) \mid X]` of each row, (obs,)."""
        return self._by_row(log_predictive_density, X)

    def robust_weights(self, X: ArrayLike | None = None) -> PerRow:
        r"""Weights with which rows enter means and scales, averaged over draws, (obs,): small for outliers.

        Of Student-t components, see `Mixture.robust_weights`; one for every row of Gaussian ones.

        Parameters
        ----------
        X : (obs, feature), optional
            By default the rows of the fit.
        """
        draws = self._draws()
        rows = (data_of(self.posterior_) if X is None else self._data(X)).entries
        return np.mean([draws.mixture(s).robust_weights(rows) for s in range(len(draws))], axis=0)

    def score(self, X: RowsLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log posterior predictive density per row, with ``sample_weight`` (obs,) the weighted mean."""
        if is_elsewhere(X):
            without_weights(sample_weight)
            sums = self._by_row(_total_log_density, X)
            return float(sums.sum()) / self._rows(X)[0].shape[0]
        log_density = self.score_samples(X)
        return float(np.average(log_density, weights=as_sample_weight(sample_weight, len(log_density), relative=True)))

    def sample(self, n_samples: int = 1) -> tuple[Rows, IntArray]:
        """Rows from the posterior predictive distribution, each from another draw, and their labels, -1 for noise."""
        draws = self._draws()
        check_n_samples(n_samples)
        return predictive_sample(draws, n_samples, rng=np.random.default_rng(self._seed()))

    def summary(self, *, force: bool = False) -> pd.DataFrame:
        """Table of all parameters: EM's MAP estimate (``em``), posterior mean, sd, interval, diagnostics.

        ``em`` includes the prior; `GaussianMixture` gives maximum likelihood. See
        `bayesgmm.comparison.estimates_table` for the columns. Whether components are identified is judged on at most
        400 draws; everything in the table is of all draws.

        Parameters
        ----------
        force : bool
            Summarise components even if they are not identified.

        Raises
        ------
        NotIdentifiedError
            The components are not identified, so their means and intervals are meaningless.
        """
        from bayesgmm.comparison import estimates_table

        check_flag(force=force)
        check_is_fitted(self)
        found = component_record(self.posterior_)
        if not (force or found is None or found.identified):
            raise NotIdentifiedError(found.findings, hint=INSTEAD)
        return estimates_table(self.em_, self.posterior_)

    @property
    def labels_(self) -> IntArray:
        """Label with the highest mean membership of each row, (obs,), known ones as they are; -1 for noise."""
        check_is_fitted(self)
        return np.asarray(_labels(self._draws(), data_of(self.posterior_)))

    @property
    def idata(self) -> xr.DataTree:
        """``posterior_``, under the name that many scripts give it."""
        check_is_fitted(self)
        return self.posterior_

    def plot(self, **settings: Any) -> Any:
        """Plot rows and clusters: `bayesgmm.plot_clusters`, which takes ``settings``."""
        from bayesgmm.plots import plot_clusters

        return plot_clusters(self, **settings)

    def diagnose(self) -> Diagnosis:
        """Convergence of the chains: `bayesgmm.diagnose`."""
        return diagnose(self)

    def loo(self, **settings: Any) -> Any:
        """Leave-one-out cross-validation: `bayesgmm.loo`, which takes ``settings``."""
        from bayesgmm.cross_validation import loo

        return loo(self, **settings)

    def to_arviz(self, **settings: Any) -> xr.DataTree:
        """All groups that ArviZ's functions need: `bayesgmm.to_arviz`, which takes ``settings``."""
        check_is_fitted(self)
        return to_arviz(self, **settings)

    @property
    def model(self) -> "pm.Model":
        """The PyMC model of this fit and its rows; not available with row weights."""
        check_is_fitted(self)
        refuse_noise(self, "the PyMC model")
        self.em_.component.check_gaussian("the PyMC model")
        rows = data_of(self.posterior_, all_for="the PyMC model")
        if rows.row_weights is not None:
            raise weights_refused()
        from bayesgmm.pymc_model import build_model

        data = self.posterior_["observed_data"]["y"]
        return build_model(
            data.to_numpy(),
            self.n_components,
            covariance_type=self.covariance_type,
            prior=self.prior_,
            feature_names=[str(name) for name in data["feature"].to_numpy()],
            missing="marginalize",
            labels=rows.allowed,
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fit to a NetCDF file that `bayesgmm.load`, ArviZ and xarray read.

        The file is written atomically. It is assembled in memory, which takes as much memory as its size.

        Parameters
        ----------
        path : str or path
        overwrite : bool
            Replace an existing file. It stays unchanged if writing fails.

        Raises
        ------
        InputError
            If the file exists and ``overwrite`` is false, or its folder does not exist.
        OSError
            If the file cannot be written, for example on a full disk; the fit is unaffected.
        """
        check_is_fitted(self)
        save_tree(self.posterior_, path, overwrite=overwrite)

    def _identified_mixture(self) -> Mixture:
        check_is_fitted(self)
        found = component_record(self.posterior_)
        if not (found is None or found.identified):
            raise NotIdentifiedError(found.findings, hint=INSTEAD)
        return mean_mixture(self.posterior_).components

    def _names(self: Any) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.n_features_in_)] if names is None else [str(name) for name in names]

    def _set_posterior(self: Any, tree: xr.DataTree) -> None:
        self.posterior_ = tree
        self.prior_ = prior_from_json(str(tree.attrs["prior"]))
        self.n_labelled_ = int(tree.attrs.get(N_LABELLED, 0))
        self.em_ = start_mixture(tree)
        mean = mean_mixture(tree)
        self.noise_, self.noise_weight_ = noise_of(mean)
        for name in BESIDE:  # of an earlier fit
            self.__dict__.pop(name, None)
        self.__dict__.update(parameters_of(mean))
        self.converged_, self.n_iter_ = bool(tree.attrs.get("converged", False)), int(tree.attrs.get("em_n_iter", 0))
        self._draw_sets = []  # one, once it is asked for
        if PriorParameters.of(self.get_params(deep=False)).given:
            for name, value in fitted_prior_parameters(self.prior_, self.covariance_type).items():
                setattr(self, name, value)

    def _draws(self) -> Draws:
        check_is_fitted(self)
        if not self._draw_sets:
            self._draw_sets.append(draws_of(self.posterior_))
        return self._draw_sets[0]

    def _data(self, X: ArrayLike) -> Data:
        return as_data(validated(self, X))

    def _rows(self, X: Any) -> tuple[Data, np.dtype]:
        """Rows, wherever they are, and the type of results."""
        return SourceData(opened(self, X)) if is_elsewhere(X) else self._data(X), np.dtype(np.float64)

    def _by_row(self, task: Callable[[Draws, Data], Any], X: RowsLike) -> Any:
        """What a task gives for each row, given draws."""
        draws, (data, _) = self._draws(), self._rows(X)
        if not isinstance(data, SourceData):
            return task(draws, data)
        few = draws.thinned(FEW_DRAWS)
        with threads_for(data, self.cores) as pool:
            return np.concatenate(list(by_handle(partial(_by_blocks, task, few), data, pool)))

    def _by_block(self) -> ByBlock:
        few = self._draws().thinned(FEW_DRAWS)
        tasks = (partial(_of_block, task, few) for task in (mean_probabilities, log_predictive_density))
        memberships, densities = tasks
        return ByBlock(memberships, densities, partial(most_probable, few))

    def _n_threads(self) -> int | None:
        return self.cores


class PosteriorRowsMixin:
    """Rows of a fit, with their weights and labels."""

    n_components: int
    engine: str
    inference: str
    cores: int | None
    source_: FittedSource
    _names: Callable[[], list[str]]
    _seed: Callable[[], int]

    def _read(
        self, X: RowsLike, sample_weight: ArrayLike | None, labels: ArrayLike | None, *, kept_of: KeptOf
    ) -> tuple[Data, Pieces | None, int]:
        """The rows, checked, what a checkpoint has of this fit, and the seed."""
        if labels is not None:
            check_labels(in_memory=not is_elsewhere(X))
        if is_elsewhere(X):
            source = opened_for_fit(self, X, sample_weight)
            pieces = kept_of(lambda: work_of(self, "fit", source))
            seed = once(pieces, "seed", self._seed)
            data = self._first_pass(source, seed)
        else:
            data = self._weighted(validated(self, X, reset=True, min_samples=2), sample_weight, labels)
            self.__dict__.pop("source_", None)
            pieces = kept_of(lambda: work_of(self, "fit", data))
            seed = once(pieces, "seed", self._seed)
        return data, pieces, seed

    def _first_pass(self, source: Source, seed: int) -> Data:
        """Rows not in memory, read once."""
        data = read_source(self, source, rng=np.random.default_rng(seed), n_jobs=self.cores)
        if data.shape[0] < 2:
            raise InputError(expected="at least two rows to fit", got=f"{data.shape[0]}")
        if self.engine == "pymc" and isinstance(data, SourceData):
            raise not_in_memory(data)
        self.source_ = FittedSource.of(source, data)
        return data

    def _weighted(self, checked: Array, sample_weight: ArrayLike | None, labels: ArrayLike | None) -> Data:
        """The rows that count, and their weights; none if all are one."""
        data = as_data(checked, sample_weight, names=self._names())
        data = data if labels is None else self._labelled(data, labels)
        if data.row_weights is None:
            return data
        data = data.take(np.flatnonzero(data.weights))
        if (data.weights == 1.0).all():
            return data.unweighted()
        if self.engine == "pymc":
            raise weights_refused()
        return data

    def _labelled(self, data: Data, labels: ArrayLike) -> Data:
        """The rows in their order with their labels, if any is known."""
        if isinstance(data, IncompleteData):
            raise InputError(expected="complete rows with labels", got="rows with missing values", hint="Impute them.")
        allowed = allowed_components(labels, data.shape[0], self.n_components)
        return data if allowed.all() else replace(data, allowed=allowed)


def known_labels(data: Data) -> IntArray | None:
    """Labels that EM starts at, (obs,); none without labels."""
    return None if data.allowed is None else data.labels


# Tasks that also run in the workers of a cluster.


def _of_block(task: Callable[[Draws, Data], Any], draws: Draws, block: Block) -> Any:
    return task(draws, next(block.pieces(block.n_rows)))


def _by_blocks(task: Callable[[Draws, Data], Any], draws: Draws, blocks: Iterable[Block]) -> Any:
    return np.concatenate([_of_block(task, draws, block) for block in blocks])


def _labels(draws: Draws, data: Data) -> IntArray:
    return most_probable(draws, mean_probabilities(draws, data))


def _total_log_density(draws: Draws, data: Data) -> PerRow:
    return log_predictive_density(draws, data).sum(keepdims=True)
