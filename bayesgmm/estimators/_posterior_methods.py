"""Prediction, summary, model and saving of a fitted `BayesianGaussianMixture`."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import IntArray, PerRow, Responsibilities, Rows
from bayesgmm.data import Data
from bayesgmm.diagnostics import Diagnosis, diagnose
from bayesgmm.estimators._attributes import MatchingMixin
from bayesgmm.estimators._validation import check_n_samples, validated
from bayesgmm.exceptions import NotIdentifiedError
from bayesgmm.inference import weights_refused
from bayesgmm.io import save_tree
from bayesgmm.label_switching import INSTEAD, component_record
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.posterior import data_of, draws_of, mean_mixture
from bayesgmm.prediction import (
    log_predictive_density,
    mean_memberships,
    membership_intervals,
    predictive_sample,
)
from bayesgmm.priors import Prior
from bayesgmm.validation import as_sample_weight, check_flag

if TYPE_CHECKING:
    import pymc as pm


class PosteriorMixin(MatchingMixin):
    """Predictions, summaries and the model of an estimator that holds a posterior."""

    n_components: int
    covariance_type: str
    posterior_: xr.DataTree
    prior_: Prior
    em_: Mixture
    _draw_sets: list[Draws]

    def _seed(self) -> int:
        """The number that everything random in a fit comes from."""
        raise NotImplementedError

    def predict_proba(self, X: ArrayLike) -> Responsibilities:
        """Posterior mean of each row's membership probabilities, (obs, cluster)."""
        return mean_memberships(self._draws(), self._data(X))

    def predict(self, X: ArrayLike) -> IntArray:
        """Label with the highest mean membership, (obs,)."""
        return self.predict_proba(X).argmax(axis=1)

    def membership(
        self, X: ArrayLike | None = None, *, ci_prob: float | None = None, ci_kind: str | None = None
    ) -> xr.Dataset:
        """Mean, standard deviation and interval of membership probabilities, for observed or new rows.

        Parameters
        ----------
        X : (obs, feature), optional
            By default the rows of the fit.
        ci_prob, ci_kind : optional
            ArviZ's rcParams by default: 89 %, equal-tailed.

        Returns
        -------
        xarray.Dataset
            ``mean``, ``sd`` and ``ci`` over (obs, cluster).
        """
        check_is_fitted(self)
        data = data_of(self.posterior_) if X is None else self._data(X)
        return membership_intervals(self._draws(), data, ci_prob=ci_prob, ci_kind=ci_kind)

    def score_samples(self, X: ArrayLike) -> PerRow:
        r"""Log posterior predictive density :math:`\log E[p(x \mid \theta) \mid X]` of each row, (obs,)."""
        return log_predictive_density(self._draws(), self._data(X))

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Mean log posterior predictive density per row, with ``sample_weight`` (obs,) the weighted mean."""
        log_density = self.score_samples(X)
        return float(np.average(log_density, weights=as_sample_weight(sample_weight, len(log_density), relative=True)))

    def sample(self, n_samples: int = 1) -> tuple[Rows, IntArray]:
        """Rows from the posterior predictive distribution, each from a different draw, and their labels."""
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
        """Label with the highest mean membership of each row of the fit, (obs,)."""
        check_is_fitted(self)
        return np.asarray(mean_memberships(self._draws(), data_of(self.posterior_)).argmax(axis=1))

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

    @property
    def model(self) -> "pm.Model":
        """The PyMC model of this fit and its rows; not available with row weights."""
        check_is_fitted(self)
        if data_of(self.posterior_).row_weights is not None:
            raise weights_refused()
        from bayesgmm.pymc_model import build_model

        data = self.posterior_["observed_data"]["y"]
        return build_model(
            data.to_numpy(),
            self.n_components,
            covariance_type=self.covariance_type,
            prior=self.prior_,
            feature_names=[str(name) for name in data["feature"].to_numpy()],
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
        return mean_mixture(self.posterior_)

    def _draws(self) -> Draws:
        check_is_fitted(self)
        if not self._draw_sets:
            self._draw_sets.append(draws_of(self.posterior_))
        return self._draw_sets[0]

    def _data(self, X: ArrayLike) -> Data:
        return Data.of(validated(self, X))
