"""Standard errors, bootstrap and information criteria of `GaussianMixture`."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, progress_bar
from bayesgmm.data import Allowed, Data, threads_for
from bayesgmm.em import EMSettings
from bayesgmm.estimators._saved import keeping, work_of
from bayesgmm.estimators._sources import RowsLike
from bayesgmm.estimators._validation import as_data
from bayesgmm.exceptions import InputError
from bayesgmm.io import CheckpointPath, fingerprint_of_arrays, once
from bayesgmm.mixture import Measured, Mixture, measure
from bayesgmm.mixture import aic as aic_of
from bayesgmm.mixture import bic as bic_of
from bayesgmm.mixture import icl as icl_of
from bayesgmm.noise import refuse_noise
from bayesgmm.standard_errors import Bootstrap, StandardErrors
from bayesgmm.standard_errors import bootstrap as bootstrap_of
from bayesgmm.standard_errors import standard_errors as standard_errors_of
from bayesgmm.validation import check_flag


class _FittedByEM(Protocol):
    """What the methods need of the estimator."""

    tol: float
    max_iter: int
    reg_covar: float | None
    n_jobs: int | None

    def _allowed(self, labels: ArrayLike, n_rows: int) -> Allowed: ...
    def _fitted(self) -> Mixture: ...
    def _validated(self, X: ArrayLike) -> Array: ...
    def _weighted(self, X: Any, sample_weight: ArrayLike | None) -> Data: ...
    def _rng(self) -> np.random.Generator: ...
    def _measured(self, X: Any, sample_weight: ArrayLike | None) -> Measured: ...


def with_labels_of_fit(fit: _FittedByEM, data: Data, labels: ArrayLike | None) -> Data:
    """Rows with the labels that they had in a fit."""
    if labels is not None:
        if type(data) is not Data:  # not in memory, or with missing values
            raise InputError(expected="complete rows in memory with labels", got="others")
        return data.labelled(fit._allowed(labels, data.shape[0]))
    if n_labelled := getattr(fit, "n_labelled_", 0):
        raise InputError(expected="the labels= of the fit", got=f"none, and a fit with {n_labelled} labelled rows")
    return data


class StandardErrorsMixin:
    """Standard errors and intervals of an estimator fitted by EM."""

    def standard_errors(
        self: _FittedByEM,
        X: RowsLike,
        sample_weight: ArrayLike | None = None,
        *,
        robust: bool = False,
        labels: ArrayLike | None = None,
    ) -> StandardErrors:
        """Standard errors and intervals from the observed information (Louis 1982), in one pass.

        For parameters (``weights``, ``means``, ``covariances``, ``intervals()``), and by the delta method for
        ``memberships(X)`` and ``log_density(X)``. They are valid for large samples and well-separated components;
        `bootstrap` assumes less and takes longer. Fit with a small ``tol``, such as 1e-9.

        Parameters
        ----------
        X : (obs, feature), or rows not in memory
            The rows of the fit, which the estimator does not store.
        sample_weight : (obs,), optional
            Frequency weights of the fit.
        robust : bool
            The sandwich (White 1982), which remains valid if the components are not normal.
        labels : array-like, optional
            The labels of the fit, if it had some.

        Returns
        -------
        StandardErrors

        Raises
        ------
        InformationError
            If the information is not positive definite: not a maximum, or not a unique one.

        Warns
        -----
        InformationWarning
            If the fit is half a standard error or more away from the maximum.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> fit = GaussianMixture(2, random_state=0, tol=1e-9).fit(X)
        >>> errors = fit.standard_errors(X)
        >>> errors.means.round(2)
        array([[0.03, 0.59],
               [0.03, 0.46]])
        >>> lower, upper = errors.intervals(0.95)
        >>> lower.weights.round(2), upper.weights.round(2)
        (array([0.3 , 0.59]), array([0.41, 0.7 ]))
        >>> memberships = errors.memberships([[3.0, 68.0]])
        >>> memberships.value.round(2), memberships.standard_error.round(2)
        (array([[0.08, 0.92]]), array([[0.1, 0.1]]))
        """
        check_flag(robust=robust)
        refuse_noise(self, "standard errors")
        mixture, data = self._fitted(), with_labels_of_fit(self, self._weighted(X, sample_weight), labels)
        mixture.component.check_gaussian("standard errors")
        prior = getattr(self, "prior_", None)
        return standard_errors_of(data, mixture, prior=prior, robust=robust, n_jobs=self.n_jobs)

    def bootstrap(
        self: _FittedByEM,
        X: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        kind: str = "nonparametric",
        n_replicates: int = 999,
        n_starts: int = 1,
        checkpoint: CheckpointPath = None,
        progress: bool = True,
        labels: ArrayLike | None = None,
    ) -> Bootstrap:
        r"""Bootstrap standard errors and intervals: EM on replicates of the rows, started from this fit.

        Replicates run in ``n_jobs`` threads; Ctrl-C keeps those that are done. They depend on ``random_state``, not
        on ``n_jobs``.

        Parameters
        ----------
        X : (obs, feature)
            The rows of the fit.
        sample_weight : (obs,), optional
            Frequency weights of the fit.
        kind : {"nonparametric", "weighted", "parametric"}
            Rows drawn with replacement; all rows with weights :math:`n \cdot Dir(1, \dots, 1)` (the weighted
            likelihood bootstrap), for small data sets or components; or new rows simulated from the mixture, which
            assumes that the model is right.
        n_replicates : int
        n_starts : int
            Starts on each replicate: the first from this fit, further ones by k-means++.
        checkpoint : path, optional
            A folder that is made if there is none, to which finished replicates are written; after an end of the
            process at any moment the same call repeats none of them, and ends with the same result.
        progress : bool
            Show a bar in a terminal or notebook.
        labels : array-like, optional
            The labels of the fit, if it had some; not for ``kind="parametric"``.

        Returns
        -------
        Bootstrap
            Replicates, ``standard_errors``, ``bias``, ``intervals()``, ``memberships(X)``, ``log_density(X)``.

        Warns
        -----
        DegeneracyWarning
            If more than one replicate in ten ended in a spike and was left out.
        InterruptedWarning
            If it was interrupted.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> from bayesgmm.datasets import load_old_faithful
        >>> X = load_old_faithful()
        >>> fit = GaussianMixture(2, random_state=0).fit(X)
        >>> fit.bootstrap(X, n_replicates=200).standard_errors.means.round(1)
        array([[0. , 0.6],
               [0. , 0.5]])
        """
        check_flag(progress=progress)
        refuse_noise(self, "the bootstrap")
        mixture = self._fitted()
        mixture.component.check_gaussian("the bootstrap")
        data = with_labels_of_fit(self, as_data(self._validated(X), sample_weight), labels)
        settings = {"kind": kind, "n_replicates": n_replicates, "n_starts": n_starts}
        fit = fingerprint_of_arrays(mixture.weights, mixture.means, mixture.covariances)
        with keeping(checkpoint) as kept_of, progress_bar("Bootstrap", show=progress) as callback:
            kept = kept_of(lambda: work_of(self, "bootstrap", data, fit=fit, **settings))
            return bootstrap_of(
                data,
                mixture,
                rng=once(kept, "generator", self._rng).spawn(1)[0],  # not the numbers that the starts of the fit drew
                kind=kind,
                n_replicates=n_replicates,
                prior=getattr(self, "prior_", None),
                settings=EMSettings(self.tol, self.max_iter, self.reg_covar),
                n_starts=n_starts,
                n_jobs=self.n_jobs,
                callback=callback,
                kept=kept,
            )


class CriteriaMixin:
    """Information criteria of an estimator fitted by EM."""

    def aic(self: _FittedByEM, X: RowsLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Akaike's criterion, lower is better; of the rows and weights of the fit by default.

        See `bayesgmm.mixture.aic`. Rows of ``X`` count once each, unless ``sample_weight`` (obs,) is given.
        """
        return aic_of(self._measured(X, sample_weight))

    def bic(self: _FittedByEM, X: RowsLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Schwarz's criterion, lower is better; of the rows and weights of the fit by default.

        See `bayesgmm.mixture.bic`. Rows of ``X`` count once each, unless ``sample_weight`` (obs,) is given.
        """
        return bic_of(self._measured(X, sample_weight))

    def icl(self: _FittedByEM, X: RowsLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Integrated completed likelihood, lower is better; of the rows and weights of the fit by default.

        See `bayesgmm.mixture.icl`: BIC plus a penalty for uncertain assignments. Rows of ``X`` count once each,
        unless ``sample_weight`` (obs,) is given.
        """
        return icl_of(self._measured(X, sample_weight))

    def _measured(self: _FittedByEM, X: RowsLike | None, sample_weight: ArrayLike | None) -> Measured:
        mixture = self._fitted()
        if X is not None:
            data = self._weighted(X, sample_weight)
            with threads_for(data, self.n_jobs) as pool:
                return measure(data, mixture, pool)
        training: Measured | None = getattr(self, "_training", None)
        if training is None or sample_weight is not None:
            given = "sample_weight without X" if training else "no rows, and parameters that were set without a fit"
            raise InputError(expected="the rows X", got=given, hint="Pass X.")
        return training
