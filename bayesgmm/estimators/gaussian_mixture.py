"""`GaussianMixture`: EM as a scikit-learn estimator."""

import math
import time
from functools import cache
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from bayesgmm._common import Array, IntArray, Rows
from bayesgmm.data import (
    MISSING,
    Allowed,
    Data,
    Source,
    allowed_components,
    threads_for,
    warn_of_labels,
)
from bayesgmm.em import EFFORTS, KINDS, Effort, EMResult, EMSettings, Initialisation, Starts
from bayesgmm.estimators._attributes import (
    BESIDE,
    BY_HAND,
    Attributes,
    FeaturesMixin,
    MatchingMixin,
    PartsMixin,
    parameters_of,
)
from bayesgmm.estimators._display import EMInHtmlMixin, progress_of_starts, warn_of_fit
from bayesgmm.estimators._prior_parameters import PRIORS, floor_refused, in_units_of_rows
from bayesgmm.estimators._saved import EMFileMixin, KeptOf, keeping, work_of
from bayesgmm.estimators._sources import (
    EMRowsMixin,
    FittedSource,
    RowsLike,
    opened_for_fit,
    read_source,
)
from bayesgmm.estimators._standard_errors import CriteriaMixin, StandardErrorsMixin
from bayesgmm.estimators._validation import (
    N_JOBS,
    SEEDS,
    FamilyName,
    Number,
    ValidatedMixin,
    as_data,
    check_n_samples,
    check_noise,
    family_of,
    validated,
    whole,
)
from bayesgmm.exceptions import InputError
from bayesgmm.io import CheckpointPath, once
from bayesgmm.mixture import Mixture, component_of, measure
from bayesgmm.noise import noise_of, starts_with
from bayesgmm.priors import Model, Prior
from bayesgmm.validation import check_components, default_names, is_elsewhere

_TIGHT, _LONGER = 1e-5, 4.0  # a tolerance from which on starts search so many times as long
_CLOSE_ENOUGH = 1e-6  # per row: EM stops no sooner, however loose a tolerance it is given


class GaussianMixture(
    EMFileMixin,
    EMRowsMixin,
    StandardErrorsMixin,
    CriteriaMixin,
    EMInHtmlMixin,
    MatchingMixin,
    PartsMixin,
    FeaturesMixin,
    ValidatedMixin,
    DensityMixin,
    BaseEstimator,
):
    r"""Gaussian mixture by EM: maximum likelihood, or maximum a posteriori with a prior.

    .. math:: p(x) = \sum_k w_k N(x \mid \mu_k, \Sigma_k)

    Parameters, methods and fitted attributes are scikit-learn's. Four defaults differ, because EM steps are fast:
    ``n_init="auto"`` instead of one start, ``tol=None`` instead of 1e-3, ``max_iter=1000`` instead of 100 and, so that
    fits do not depend on units, ``reg_covar=None`` instead of 1e-6.
    Components are sorted by the mean of the first feature, unless initial parameters are given or the prior is
    not exchangeable.

    Parameters
    ----------
    n_components : int
        Number of mixture components K.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, or mclust's VVV, EEE, VVI, VII; ``"tied_diag"`` (EEI),
        ``"tied_spherical"`` (EII), ``"VEI"`` and ``"EVI"`` (diagonal covariances of one shape or of one volume), and
        ``"VEE"`` and ``"EVV"`` (full ones, likewise), which scikit-learn does not have; for one feature also V and E.
        Ellipsoids are the same but for their orientation in ``"EEV"``, and their volume in ``"VEV"``; they have one
        orientation in ``"VVE"``, and one volume in ``"EVE"``. For these four, fits of raw and of standardized features
        are different models. ``"factor"`` has matrices of low rank plus a diagonal (mixtures of factor analysers), for
        more features than a full matrix has rows for; ``"factor3"`` is short for three factors.
    n_factors : int, optional
        Number of factors of ``covariance_type="factor"``; `select_components` chooses it by BIC.
    component : {"gaussian", "student_t"}
        The distribution of a component. Student-t ones have heavier tails, by degrees of freedom.
    dof : "each", "shared" or float
        Degrees of freedom of Student-t components: estimated for each, between 2 and 200, one for all, or as given.
    tol : float, optional
        EM stops when the remaining increase of the objective, extrapolated from its last three values (Aitken), is at
        most ``tol`` per row; by default 1e-7 per row, and at most 1e-3 in all. scikit-learn uses the last increase
        instead, which says little if EM is slow. However large ``tol`` is, EM goes on to 1e-6 per row while
        ``max_iter`` allows it; a start of a number ends sooner, once the last increase is at most ``tol``, if going on
        takes long (by a model of cost) or ends with a collapsed component. At 1e-5 or less a number of starts search up
        to four times as long.
    reg_covar : float, optional
        Floor of the covariances: by default 1e-11 of each feature's own variance, whatever its unit (of a
        constant feature x, 1e-12 of its square). A number is the smallest eigenvalue instead, in squared units of the
        data. Unlike scikit-learn's, it is not added to the diagonal: it has no effect while covariances are
        larger, and the objective never decreases.
    max_iter : int
        Maximum number of EM steps of a start.
    n_init : int or "auto"
        Number of starts; the best one that is not degenerate is kept, see ``starts_``. ``"auto"`` is a race: starts
        follow each other until five have met the best optimum, or until they have cost as much as a few starts take
        without compiled code (by a model of cost, not a clock). Where a pass over the rows takes long they are compared
        at a looser tolerance, on many rows on a random part of 40,000 or more, and the best of them go on.
    effort : {"standard", "thorough"}
        How long starts search, and a race lasts. ``"thorough"`` asks for ten meetings and may take 20 times as long.
    init_params : str
        Initialization: ``"k-means++"``, ``"kmeans"``, ``"random_from_data"``, ``"random"``, one of the kinds named
        below, or ``"mixed"``, the default, which takes in turn: k-means on at most 5,000 rows (``"short_kmeans"``),
        ``"random_from_data"``, Ward's clustering of a few hundred rows (``"short_hierarchical"``) and the best of five
        short runs from random rows (``"small_em"``). Whatever the kind, a local search that moves components follows on
        at most 5,000 rows or 50 K D, unless parameters or labels are given; see `bayesgmm.em.local_search`. A number of
        starts of six components or more weighs its moves (`bayesgmm.em.split_merge`); if covariances have any
        direction, ``"mixed"`` then is ``"short_kmeans"`` alone. It leaves out ``"small_em"`` where a pass over the rows
        takes long. ``"k-means++"`` and ``"random_from_data"`` pick K rows and assign every row to the nearest,
        ``"hierarchical"`` is Ward's clustering of 1,000 rows. Distances are computed on scaled columns, on whitened
        ones every second time (diagonal covariances: scaled only; spherical: unscaled). Where moves are weighed k-means
        tries both and the columns as they are, which says something if they have one unit, and goes on with the start
        whose likelihood is highest two steps later.
    weights_init, means_init, precisions_init : array-like, optional
        Initial parameters, in scikit-learn's shapes. With ``means_init`` there is one start.
    labels_init : array-like (obs,), optional
        Known components of rows, from 0 to K - 1, and -1 for unknown ones, as in `sklearn.semi_supervised`:
        the first M-step uses the labelled rows only, later steps all rows, and the components keep the given
        numbers. Components without labelled rows start far from the others. Initial parameters override the
        labels.
    random_state : int, RandomState or None
        The same seed gives the same fit, whatever ``n_jobs``.
    warm_start : bool
        Start at the last solution when fitted again, if K, family and features are unchanged.
    verbose : int
        1 prints the starts, 2 also the objective, ``verbose_interval`` or more steps apart.
    verbose_interval : int
    prior : Prior, {"weakly_informative", "fraley_raftery"} or None
        For maximum a posteriori estimation; the named priors are scaled by the data. Of several optima the one with the
        largest posterior mass around it is kept, which in many dimensions is not the highest.
    standardize : bool
        ``prior`` is that of standardized features, as after ``StandardScaler``; rows, parameters and results are
        in the units of ``X`` all the same. Without a prior nothing changes: fits do not depend on units. Not for
        ``"spherical"``, ``"tied_spherical"``, EEV, VEV, EVE and VVE, nor with a ``reg_covar``, which has units.
    missing : {"error", "marginalize"}
        Whether rows with missing values (NaN, pandas' NA) are refused, or count with what was observed of them,
        exactly, if values are missing at random. `impute` completes rows.
    noise : bool or float
        Whether rows may come from no component but uniform noise :math:`w_0 / V` (Banfield & Raftery 1993), for
        outliers. V is the volume of the smaller of the rows' bounding box and the box along their principal axes, or
        the number given; outside that box noise has density zero. Such fits are not equivariant: another scale of
        features may have another box. ``predict`` gives -1 for noise, ``predict_proba`` a last column. With a prior
        :math:`w_0` has a Beta(1, 9) distribution. A number of starts differ in the share of rows that begin as noise.
    n_jobs : int, optional
        Number of threads, as in joblib, for starts and blocks of rows. By default one, or all cores if a step takes
        long; the result is bitwise identical.
    max_seconds : float, optional
        After so many seconds the best mixture so far is kept, with a warning, as after Ctrl-C. Then the result depends
        on the machine.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_ : ndarray
        Parameters in scikit-learn's shapes; (K, D, D) for the families it does not have. They
        are computed in double precision and returned as float32 if the rows are float32 and the values fit. A known
        mixture can be set through them, as in scikit-learn; ``covariances_`` or ``precisions_cholesky_``
        suffices. Covariances of Student-t components are (K, D, D), infinite for at most two degrees of freedom.
    dof_, scales_ : ndarray
        Of Student-t components: degrees of freedom (K,), of which 200 means Gaussian, and scale matrices in the
        family's shape, of which covariances are dof / (dof - 2) times.
    noise_weight_, noise_ : float, bayesgmm.noise.Uniform
        With noise, its share :math:`w_0` of the rows and its box and volume; ``weights_`` and ``noise_weight_`` sum to
        one. Else 0 and None.
    converged_, n_iter_ : bool, int
        Of the best start.
    lower_bound_, lower_bounds_ : float, list of float
        Objective per row, at the end and after each step: the mean log-likelihood, without a prior.
    loadings_, noise_variances_ : (cluster, feature, factor), (cluster, feature)
        Of ``covariance_type="factor"``, see `bayesgmm.Mixture.parts`.
    mixture_ : Mixture
        All parameters in one record, in double precision.
    log_likelihood_ : float
        Total over rows.
    objective_, history_ : float, (step,)
        Log-likelihood, plus the log prior if there is one (EEV, VEV, EVE, VVE: but for a constant): at the end, and
        after each step; it never decreases.
    starts_ : Starts
        The objective of every start, which were run to their end and which raced out, how often the best optimum was
        reached, how likely a further start ends somewhere new, how many degenerated.
    prior_ : Prior or None
        The prior with its hyperparameter values.
    n_labelled_ : int
        Rows of which ``labels`` exclude a component.
    source_ : FittedSource
        Of a fit of rows that are not in memory: where they are, their number and fingerprint, and a sample of them.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    InputError
        For data or settings that cannot be fitted, before any work.
    DegenerateComponentError
        If every start broke down numerically.

    Warns
    -----
    ConvergenceWarning
        If the best start reached ``max_iter``.
    DegeneracyWarning
        If every start ended with a collapsed or emptied component. Without a prior also for constant columns (by name),
        linearly dependent ones, a ``reg_covar`` above the variance of a column, and more free parameters than distinct
        rows.
    InterruptedWarning
        If the fit was interrupted, or ran out of ``max_seconds``; the best mixture so far is kept.

    See Also
    --------
    BayesianGaussianMixture : the posterior instead of its mode.
    bayesgmm.standard_errors.StandardErrors : what `standard_errors` returns.
    bayesgmm.standard_errors.Bootstrap : what `bootstrap` returns.
    bayesgmm.em.Starts : the record `starts_`.

    References
    ----------
    Dempster, Laird & Rubin 1977; Fraley & Raftery 2007 for the prior.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = GaussianMixture(2, random_state=0).fit(load_old_faithful())
    >>> fit.means_.round(1)
    array([[ 2. , 54.5],
           [ 4.3, 80. ]])
    >>> round(fit.log_likelihood_, 2)
    -1130.26
    """

    __module__ = "bayesgmm"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [whole()],
        "covariance_type": [FamilyName()],
        "n_factors": [whole(), None],
        "component": [str],
        "dof": [str, Number(Real, 0.0, None, closed="neither")],
        "tol": [Number(Real, 0.0, None, closed="left"), None],
        "reg_covar": [Number(Real, 0.0, None, closed="left"), None],
        "max_iter": [whole(0)],
        "n_init": [whole(), StrOptions({"auto"})],
        "effort": [StrOptions(set(EFFORTS))],
        "init_params": [StrOptions(set(KINDS))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "labels_init": ["array-like", None],
        "random_state": SEEDS,
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [whole()],
        "prior": [Prior, StrOptions(set(PRIORS)), None],
        "standardize": ["boolean"],
        "missing": [StrOptions(set(MISSING))],
        "noise": ["boolean", Number(Real, 0.0, None, closed="neither")],
        "n_jobs": N_JOBS,
        "max_seconds": [Number(Real, 0.0, None, closed="neither"), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        n_factors: int | None = None,
        component: str = "gaussian",
        dof: str | float = "each",
        tol: float | None = None,
        reg_covar: float | None = None,
        max_iter: int = 1000,
        n_init: int | str = "auto",
        effort: str = "standard",
        init_params: str = "mixed",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        labels_init: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        prior: Prior | str | None = None,
        standardize: bool = False,
        missing: str = "error",
        noise: bool | float = False,
        n_jobs: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_factors = n_factors
        self.component = component
        self.dof = dof
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.effort = effort
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.labels_init = labels_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.prior = prior
        self.standardize = standardize
        self.missing = missing
        self.noise = noise
        self.n_jobs = n_jobs
        self.max_seconds = max_seconds

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: RowsLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        checkpoint: CheckpointPath = None,
    ) -> Self:
        """Fit by EM from several starts.

        Ctrl-C keeps the best mixture so far, with a warning.

        Parameters
        ----------
        X : array-like or dataframe, (obs, feature), or rows not in memory
            A path or glob of .npy, Parquet or CSV files, several of them, a Zarr array, a Dask array or dataframe, or
            another `Source`, see `open_source`. At most 100,000 rows are read into memory; more are read block by
            block, once to check them and once in each step of EM. Then starts are compared on a random sample of
            100,000, which also scales named priors, and the best of them go on with all rows.
        y : ignored
            A warning says so if it looks like labels with -1 for unknown ones.
        sample_weight : (obs,), optional
            Frequency weights: a weight of two counts the row twice, zero excludes it. They enter the number of rows
            in ``bic`` and data-scaled priors. Their sum is at most 2**53.
        labels : array-like, optional
            What is known of the component of each row: (obs,) numbers from 0 to K - 1, and -1 for unknown; or (obs,
            cluster) true where a row may come from a component. They are facts, unlike ``labels_init``: a row has no
            responsibility elsewhere, and its likelihood is that of the components it may come from, weights included
            (Basu, Banerjee & Mooney 2002), so that the share of labelled rows informs weights. Components keep their
            numbers. For complete rows in memory; `report` does not know of labels.
        checkpoint : path, optional
            A folder that is made if there is none. Finished starts, and runs on all rows, are written to it; after an
            end of the process at any moment the same call repeats none of them, and ends with the same fit.

        Returns
        -------
        GaussianMixture
            Itself.

        Raises
        ------
        InputError
            For data, weights or parameters that cannot be used, see `bayesgmm.validation.read_table`. Weights that sum
            to one are rejected: together they would be one observation. For a checkpoint of other rows or settings,
            or a folder that is something else.
        """
        with keeping(checkpoint) as kept_of:
            warn_of_labels(y, self.n_components)
            return self._fit(X, sample_weight, labels, kept_of)

    def _fit(self, X: RowsLike, sample_weight: ArrayLike | None, labels: ArrayLike | None, kept_of: KeptOf) -> Self:
        begun = time.monotonic()
        check_noise(self, X, labels)
        if self.standardize and self.reg_covar:
            raise floor_refused(self.reg_covar)
        if is_elsewhere(X):
            source = self._opened(X, sample_weight, labels)
            kept, dtype = kept_of(lambda: work_of(self, "fit", source)), np.dtype(np.float64)
            data = self._first_pass(source, once(kept, "generator", self._rng))
        else:
            checked = self._validated(X, reset=True)
            names = getattr(self, "feature_names_in_", default_names(checked.shape[1]))
            data, dtype = as_data(checked, sample_weight, names=names), checked.dtype
            data = data if labels is None else data.labelled(self._allowed(labels, len(checked)))
            self.__dict__.pop("source_", None)
            kept = kept_of(lambda: work_of(self, "fit", data))
        check_components(self.n_components, round(data.total), weighted=data.row_weights is not None)
        family = family_of(self, self.n_features_in_).name
        self.prior_ = in_units_of_rows(
            self._prior_of, data.sample, standardize=self.standardize, covariance_type=family
        )
        sizes, component = (int(self.n_components), self.n_features_in_), component_of(self.component, self.dof)
        model = Model.of(family, *sizes, prior=self.prior_, component=component)
        n_init, effort = None if self.n_init == "auto" else int(self.n_init), self._searching()
        with progress_of_starts(
            verbose=self.verbose, interval=self.verbose_interval, n_init=n_init, effort=effort
        ) as callback:
            result, starts = starts_with(self.noise, data)(
                data,
                model,
                rng=once(kept, "generator", self._rng),
                settings=EMSettings(self._tolerance(), self.max_iter, self.reg_covar),
                n_init=n_init,
                effort=effort,
                initialisation=self._initialisation(data),
                start=self._last_solution(model),
                n_jobs=self.n_jobs,
                max_seconds=None if self.max_seconds is None else self.max_seconds - (time.monotonic() - begun),
                callback=callback,
                feature_names=getattr(self, "feature_names_in_", None),
                kept=kept,
            )
        self._set_fit(result, starts, dtype=dtype)
        self.n_labelled_ = 0 if data.allowed is None else int((~data.allowed.all(axis=1)).sum())
        to_come = min(result.gain_to_come, result.last_gain if self._loose() else math.inf)
        self.converged_ = result.converged or to_come <= (self.tol or 0.0) * data.total
        self._training = None
        if data.lost is None:
            with threads_for(data, self.n_jobs) as pool:
                self._training = measure(data, result.mixture, pool)
        warn_of_fit(self, starts, data.lost)
        return self

    def fit_predict(self, X: RowsLike, y: object = None, sample_weight: ArrayLike | None = None) -> IntArray:
        """Fit, and return the most probable component of each row."""
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def sample(self, n_samples: int = 1) -> tuple[Rows, IntArray]:
        """Rows drawn from the mixture, (n_samples, feature), and the components they came from, -1 for noise."""
        mixture = self._fitted()
        check_n_samples(n_samples)
        return mixture.sample(n_samples, rng=self._rng())

    def n_parameters(self) -> int:
        """Free parameters: weights, means, covariances, degrees of freedom that are estimated, and those of noise."""
        return self._fitted().n_parameters

    def _n_parameters(self) -> int:
        """`n_parameters` under scikit-learn's private name, which scripts use."""
        return self.n_parameters()

    @property
    def mixture_(self) -> Mixture:
        """All parameters in one record; reflects weights, means, covariances and precisions set by the user."""
        shown = Attributes.of(self)
        source, record = getattr(self, "_record", (None, None))
        if record is None or not shown.same_as(source):
            component_of(self.component).check_gaussian("parameters set by hand", hint=BY_HAND)
            record = shown.mixture(family_of(self).name, getattr(self, "noise_", None))
            self._record = shown, record
            self.__dict__.pop("_training", None)  # of other parameters
            if record.n_features != getattr(self, "n_features_in_", None):
                self.__dict__.pop("feature_names_in_", None)
                self.n_features_in_ = record.n_features
        return record

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        """scikit-learn's, which reads the signature anew each time: a tenth of a small fit."""
        names: list[str] = super()._get_param_names()
        return names

    def _validated(self, X: Any, *, reset: bool = False) -> Array:
        """Rows as they came, float32 or float64."""
        return validated(self, X, dtypes=(np.float64, np.float32), reset=reset, min_samples=2 if reset else 1)

    def _opened(self, X: Any, sample_weight: object, labels: object) -> Source:
        """Rows not in memory, which are not read yet."""
        for name, given in (("labels_init", self.labels_init), ("labels", labels)):
            if given is not None:
                raise InputError(expected=f"{name} with rows in memory", got="others", hint="Use means_init.")
        return opened_for_fit(self, X, sample_weight)

    def _first_pass(self, source: Source, rng: np.random.Generator) -> Data:
        """Rows not in memory, read once."""
        data = read_source(self, source, rng=rng, n_jobs=self.n_jobs)
        if data.shape[0] < 2:
            raise InputError(expected="at least two rows to fit", got=f"{data.shape[0]}")
        self.source_ = FittedSource.of(source, data)
        return data

    def _n_threads(self) -> int | None:
        return self.n_jobs

    def _fitted(self) -> Mixture:
        return self.mixture_

    def _rng(self) -> np.random.Generator:
        if isinstance(self.random_state, Integral):
            return np.random.default_rng(int(self.random_state))
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))

    def _allowed(self, labels: ArrayLike, n_rows: int) -> Allowed:
        if self.labels_init is not None:
            raise InputError(expected="labels or labels_init", got="both", hint="EM starts at labels, too.")
        return allowed_components(labels, n_rows, self.n_components)

    def _initialisation(self, data: Data) -> Initialisation:
        labels = self.labels_init if data.allowed is None else data.labels
        return Initialisation(self.init_params, self.weights_init, self.means_init, self.precisions_init, labels)

    def _last_solution(self, model: Model) -> Mixture | None:
        last: Mixture | None = getattr(self, "mixture_", None) if self.warm_start else None
        return last if last is not None and model.describes(last) else None

    def _prior_of(self, data: Data) -> Prior | None:
        if isinstance(self.prior, str):
            return PRIORS[self.prior](data, self.n_components, family_of(self).name, data.row_weights)
        return self.prior

    def _set_fit(self, result: EMResult, starts: Starts, *, dtype: np.dtype) -> None:
        mixture, self.starts_ = result.mixture, starts
        self.noise_, self.noise_weight_ = noise_of(mixture)
        shown = parameters_of(mixture)
        sizes = (np.abs(values[np.isfinite(values)]).max(initial=0.0) for values in shown.values())
        if max(sizes) > np.finfo(dtype).max:  # variances are squares
            dtype = np.dtype(np.float64)
        for name in BESIDE:
            self.__dict__.pop(name, None)
        self.__dict__.update((name, values.astype(dtype, copy=False)) for name, values in shown.items())
        self._record = Attributes.of(self), mixture
        self.converged_, self.n_iter_ = result.converged, result.n_iter
        self.log_likelihood_, self.objective_ = result.log_likelihood, result.objective
        self.history_ = result.history
        per_row = result.history / (result.counts.sum() + result.n_noise)
        self.lower_bound_, self.lower_bounds_ = float(per_row[-1]), per_row[1:].tolist()

    def _searching(self) -> Effort:
        """How long starts search: longer where a tight tolerance is asked for, which EM elsewhere would take."""
        effort = EFFORTS[self.effort]
        if self.n_init == "auto" or self.tol is None:
            return effort
        return effort._replace(times=effort.times * (_LONGER if self.tol <= _TIGHT else 1.0), enough=self._loose())

    def _loose(self) -> float:
        """The tolerance that was given, if EM goes on beyond it; zero else."""
        return 0.0 if self.tol is None or self.tol <= _CLOSE_ENOUGH else self.tol

    def _tolerance(self) -> float | None:
        """Of EM's steps, which cost so little that they go on where the user asks for less."""
        return None if self.tol is None else min(self.tol, _CLOSE_ENOUGH)
