"""`BayesianGaussianMixture`: the posterior of a Gaussian mixture as a scikit-learn estimator."""

import json
import os
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

import bayesgmm.bayes.posterior as tree_of
from bayesgmm.algorithms.distinct import distinct_rows
from bayesgmm.algorithms.em import EMSettings
from bayesgmm.algorithms.initialise import Initialisation
from bayesgmm.algorithms.multistart import KINDS, MIXED, Starts, best_of_starts
from bayesgmm.bayes.adapter import row_weights_of
from bayesgmm.bayes.convergence import warn_if_unconverged
from bayesgmm.bayes.engines import ENGINES
from bayesgmm.bayes.fitted import fitted_tree
from bayesgmm.bayes.pooling import combine_modes
from bayesgmm.bayes.predict import (
    DrawSet,
    draw_set,
    log_predictive_density,
    mean_memberships,
    membership_intervals,
    predictive_sample,
)
from bayesgmm.bayes.problem import Problem, weights_refused
from bayesgmm.bayes.relabel import INSTEAD, component_record
from bayesgmm.bayes.sampling_records import SamplerSettings
from bayesgmm.bayes.scouts import explore
from bayesgmm.ground.mixture import Mixture
from bayesgmm.ground.priors import Prior
from bayesgmm.surface.gaussian_mixture import if_usable, precisions_of, progress_of_starts
from bayesgmm.words.arrays import Array, IntArray, PerRow, Responsibilities, Rows
from bayesgmm.words.checks import as_row_weights, as_rows, check_components
from bayesgmm.words.errors import InputError, NotIdentifiedError

if TYPE_CHECKING:
    import pymc as pm

DEFAULT_TUNE = 400


class BayesianGaussianMixture(DensityMixin, BaseEstimator):
    r"""Posterior of a Gaussian mixture, sampled by NUTS from starts that EM finds.

    .. math::

        w \sim Dirichlet(\alpha), \quad (\mu_k, \Sigma_k) \sim \text{prior}, \quad
        x_i \sim \sum_k w_k N(\mu_k, \Sigma_k)

    The labels are summed out. Draws are put in the labels of the EM solution by optimal assignment (see
    `bayesgmm.algorithms.align`); the permutations are kept in ``posterior_["sample_stats"]``.

    Parameters
    ----------
    n_components : int
        Number of mixture components K.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, or mclust's VVV, EEE, VVI, VII; ``"tied_diag"`` (EEI)
        and ``"tied_spherical"`` (EII), which scikit-learn does not have; for one feature also mclust's V and E.
    prior : Prior, optional
        By default ``Prior.weakly_informative(X)``.
    draws, tune, chains : int
        Draws kept and draws of warm-up per chain (400 by default), and number of chains.
    cores : int, optional
        Chains that run at the same time; the draws do not depend on it.
    target_accept : float
        Acceptance rate the step size aims at; raise it towards 1 against divergences.
    engine : {"native", "pymc"}
        The compiled log posterior of this package, or the PyMC model `build_model`: the same density.
    inference : {"nuts"}
        How the posterior is explored.
    n_init : int
        EM starts; the best maximum a posteriori gives the coordinates in which the chains move.
    init : {"spread", "modes", "best"}
        Where the chains start. ``"spread"``: short chains first look from the best optimum, from an emptied
        component, from two components in one place and from the next best optimum; where they settle in different
        modes, the chains proper start in each that carries weight, and all at the best optimum otherwise.
        ``"modes"``: at the distinct optima of EM in turn. ``"best"``: all at the best optimum, which proves nothing
        about others.
    tol, max_iter, init_params
        Of those EM starts, as in `GaussianMixture`.
    reg_covar : float
        Smallest eigenvalue of a covariance in EM, lowered to where it cannot get in the way of the prior. The
        posterior needs none: its prior keeps covariances away from zero.
    warm_start : bool
        Start at the last ``em_`` when fitted again, as long as K, family and features are the same.
    verbose, verbose_interval : int
        Show how EM goes, as in `GaussianMixture`.
    random_state : int, RandomState or None
        The same seed gives the same draws.
    progress : bool
        Progress and time left, in a terminal or notebook only.

    Attributes
    ----------
    posterior_ : xarray.DataTree
        Draws and everything about the run; every ArviZ function takes it. Groups ``posterior`` (``weights``,
        ``means``, ``covariances``: full matrices), ``sample_stats``, ``observed_data``, ``constant_data``.
    em_ : Mixture
        The maximum a posteriori estimate at which the chains started.
    prior_ : Prior
        The prior with its numbers.
    weights_, means_, covariances_ : ndarray
        Posterior means, in scikit-learn's shapes; (K, D, D) for ``"tied_diag"`` and ``"tied_spherical"``.
    precisions_, precisions_cholesky_ : ndarray
        Inverses of ``covariances_``, which are not the posterior means of the precisions.
    converged_ : bool
        Whether the verdict on the chains is that they converged, see `bayesgmm.diagnose`.
    n_iter_ : int
        EM steps to the optimum at which the chains' coordinates are laid.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    InputError
        For data or settings that cannot be fitted, before any work.

    Warns
    -----
    SamplingWarning
        If the chains diverged or did not mix, or stay in several modes, see `bayesgmm.diagnose`. Modes are put
        together by their evidences, see `bayesgmm.combine_modes`, never silently.

    See Also
    --------
    GaussianMixture : maximum likelihood or maximum a posteriori by EM.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> model = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    >>> model.means_.round(0)
    array([[ 2., 55.],
           [ 4., 80.]])
    >>> model.posterior_["posterior"]["weights"].sizes["draw"]
    1000
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [str],
        "prior": [Prior, None],
        "draws": [Interval(Integral, 1, None, closed="left")],
        "tune": [Interval(Integral, 1, None, closed="left"), None],
        "chains": [Interval(Integral, 1, None, closed="left")],
        "cores": [Interval(Integral, 1, None, closed="left"), None],
        "target_accept": [Interval(Real, 0.0, 1.0, closed="neither")],
        "engine": [StrOptions({"native", "pymc"})],
        "inference": [StrOptions({"nuts"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"spread", "modes", "best"})],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "init_params": [StrOptions(set(KINDS))],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "progress": ["boolean"],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        prior: Prior | None = None,
        draws: int = 1000,
        tune: int | None = None,
        chains: int = 4,
        cores: int | None = None,
        target_accept: float = 0.8,
        engine: str = "native",
        inference: str = "nuts",
        n_init: int = 10,
        init: str = "spread",
        tol: float = 1e-6,
        reg_covar: float = 1e-6,
        max_iter: int = 1000,
        init_params: str = MIXED,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = True,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.prior = prior
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.cores = cores
        self.target_accept = target_accept
        self.engine = engine
        self.inference = inference
        self.n_init = n_init
        self.init = init
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.init_params = init_params
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.random_state = random_state
        self.progress = progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Find the EM solution, then sample the posterior.

        Ctrl-C during sampling keeps the draws made so far and says so.

        Parameters
        ----------
        X : array_like or DataFrame, (obs, feature)
            Rows.
        y : ignored
        sample_weight : (obs,), optional
            Frequency weights: a weight of two is that row twice. Rows of weight zero are left out, of
            ``posterior_`` too, whose ``constant_data`` keeps the weights of the others as ``row_weights``. They
            count in the likelihood and whatever is summed over rows; a partition has each row once. Not with
            ``engine="pymc"``.

        Returns
        -------
        BayesianGaussianMixture
            Itself.
        """
        rows = as_rows(validate_data(self, X, dtype=np.float64, ensure_min_samples=2))
        rows, weights = self._weighted(rows, sample_weight)
        n_rows = float(len(rows) if weights is None else weights.sum())
        check_components(self.n_components, round(n_rows))
        # The PyMC model counts every row once; for the other engine equal rows are put together, so that weighted and
        # repeated rows give the same draws.
        different, times = (rows, weights) if self.engine == "pymc" else distinct_rows(rows, weights)
        prior = Prior.weakly_informative(different, sample_weight=times) if self.prior is None else self.prior
        seed = self._seed()
        rng = np.random.default_rng(seed)
        em, starts = best_of_starts(
            different,
            self.n_components,
            rng=rng,
            covariance_type=self.covariance_type,
            prior=prior,
            settings=EMSettings(self.tol, self.max_iter, min(self.reg_covar, _idle_floor(prior, n_rows))),
            n_init=self.n_init,
            initialisation=Initialisation(self.init_params),
            start=self._last_solution(),
            row_weights=times,
            callback=progress_of_starts(self.verbose, self.verbose_interval),
        )
        if starts.interrupted:
            raise KeyboardInterrupt("interrupted before the first draw")
        settings = self._settings(rng)
        problem = Problem(different, prior, em.mixture, row_weights=times)
        explored = explore(self.init, problem, starts.optima, settings=settings, rng=rng)
        sampled = ENGINES[self.engine](explored.problem, settings, rng)
        record = {**self._record(seed, starts), "em_n_iter": em.n_iter}
        kept = replace(problem, X=rows, row_weights=weights)
        tree = fitted_tree(sampled, explored, kept, feature_names=self._names(), record=record)
        tree = combine_modes(tree, random_state=seed)
        tree.attrs["converged"] = int(warn_if_unconverged(tree))
        self._set_posterior(tree)
        return self

    def fit_predict(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> IntArray:
        """Fit, then the most probable label of each row."""
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def predict_proba(self, X: ArrayLike) -> Responsibilities:
        """Posterior mean of each row's membership probabilities, (obs, cluster)."""
        return mean_memberships(self._draws(), self._rows(X))

    def predict(self, X: ArrayLike) -> IntArray:
        """Label with the highest mean membership, (obs,)."""
        return self.predict_proba(X).argmax(axis=1)

    def membership(
        self, X: ArrayLike | None = None, *, ci_prob: float | None = None, ci_kind: str | None = None
    ) -> xr.Dataset:
        """Mean, standard deviation and interval of membership probabilities, for old or new rows.

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
        rows = as_rows(self.posterior_["observed_data"]["y"].to_numpy()) if X is None else self._rows(X)
        return membership_intervals(self._draws(), rows, ci_prob=ci_prob, ci_kind=ci_kind)

    def score_samples(self, X: ArrayLike) -> PerRow:
        r"""Log posterior predictive density :math:`\log E[p(x \mid \theta) \mid X]` of each row, (obs,)."""
        return log_predictive_density(self._draws(), self._rows(X))

    def score(self, X: ArrayLike, y: None = None) -> float:
        """Mean log posterior predictive density per row."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> tuple[Rows, IntArray]:
        """Rows from the posterior predictive distribution, each from a draw of its own, and their labels."""
        draws = self._draws()
        return predictive_sample(draws, n_samples, rng=np.random.default_rng(self._seed()))

    def summary(self, *, force: bool = False) -> pd.DataFrame:
        """Every parameter: the maximum a posteriori that EM found (``em``), posterior mean, sd, interval, diagnostics.

        The prior pulls ``em`` a little; `GaussianMixture` gives maximum likelihood. See
        `bayesgmm.surface.tables.estimates_table` for the columns.

        Parameters
        ----------
        force : bool
            Summarise components even if they are not identified.

        Raises
        ------
        NotIdentifiedError
            The components cannot be told apart, so that their means and intervals describe nothing.
        """
        from bayesgmm.surface.tables import estimates_table

        check_is_fitted(self)
        found = component_record(self.posterior_)
        if not (force or found is None or found.identified):
            raise NotIdentifiedError(found.findings, hint=INSTEAD)
        return estimates_table(self.em_, self.posterior_)

    @property
    def model(self) -> "pm.Model":
        """The PyMC model of this fit, on the rows of the fit; there is none for rows with weights."""
        check_is_fitted(self)
        if row_weights_of(self.posterior_) is not None:
            raise weights_refused()
        from bayesgmm.bayes.model import build_model

        data = self.posterior_["observed_data"]["y"]
        return build_model(
            data.to_numpy(),
            self.n_components,
            covariance_type=self.covariance_type,
            prior=self.prior_,
            feature_names=[str(name) for name in data["feature"].to_numpy()],
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fit to a NetCDF file that `bayesgmm.load`, ArviZ and xarray read."""
        check_is_fitted(self)
        tree_of.save_tree(self.posterior_, path, overwrite=overwrite)

    def _weighted(self, rows: Rows, sample_weight: ArrayLike | None) -> tuple[Rows, PerRow | None]:
        """The rows that count, and their weights; none if all are one."""
        weights = as_row_weights(sample_weight, len(rows), name="sample_weight")
        if weights is None:
            return rows, None
        present = weights > 0
        rows, weights = np.asfortranarray(rows[present]), weights[present]
        if (weights == 1.0).all():
            return rows, None
        if self.engine == "pymc":
            raise weights_refused()
        return rows, weights

    def _seed(self) -> int:
        """The number that everything random in a fit comes from."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _last_solution(self) -> Mixture | None:
        last: Mixture | None = getattr(self, "em_", None) if self.warm_start else None
        return if_usable(last, self.n_components, self.n_features_in_, covariance_type=self.covariance_type)

    def _settings(self, rng: np.random.Generator) -> SamplerSettings:
        return SamplerSettings(
            seed=int(rng.integers(2**63)),
            draws=self.draws,
            tune=DEFAULT_TUNE if self.tune is None else self.tune,
            chains=self.chains,
            cores=self.cores,
            target_accept=self.target_accept,
            progress=self.progress,
        )

    def _names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.n_features_in_)] if names is None else [str(name) for name in names]

    def _record(self, seed: int, starts: Starts) -> dict[str, str | int | float]:
        """What a saved fit must know to become this estimator again."""
        settings = {k: v for k, v in self.get_params(deep=False).items() if k != "prior"}
        settings["random_state"] = seed
        named = int(hasattr(self, "feature_names_in_"))
        reached = {"em_starts": starts.n_starts, "em_best_reached": starts.n_best_reached}
        return {
            "settings": json.dumps(settings),
            "seed": seed,
            "engine": self.engine,
            "named_features": named,
            **reached,
        }

    def _set_posterior(self, tree: xr.DataTree) -> None:
        self.posterior_ = tree
        self.prior_ = tree_of.prior_from_json(str(tree.attrs["prior"]))
        self.em_ = tree_of.start_mixture(tree)
        mean = tree_of.mean_mixture(tree)
        self.weights_, self.means_, self.covariances_ = mean.weights, mean.means, mean.covariances
        self.precisions_, self.precisions_cholesky_ = precisions_of(mean)
        self.converged_, self.n_iter_ = bool(tree.attrs.get("converged", False)), int(tree.attrs.get("em_n_iter", 0))
        self._draw_sets: list[DrawSet] = []  # one, once it is asked for

    def _draws(self) -> DrawSet:
        check_is_fitted(self)
        if not self._draw_sets:
            self._draw_sets.append(draw_set(self.posterior_))
        return self._draw_sets[0]

    def _rows(self, X: ArrayLike) -> Array:
        return as_rows(validate_data(self, X, dtype=np.float64, reset=False))


def load(path: str | os.PathLike[str]) -> BayesianGaussianMixture:
    """Read a fit that `BayesianGaussianMixture.save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    BayesianGaussianMixture
        Fitted, as it was saved.

    Raises
    ------
    InputError
        If the file is missing or holds no saved fit.

    Examples
    --------
    >>> import tempfile, bayesgmm
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = bayesgmm.BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(f"{folder}/geyser.nc")
    ...     again = bayesgmm.load(f"{folder}/geyser.nc")
    >>> bool((again.means_ == fit.means_).all())
    True
    """
    tree = tree_of.load_tree(path)
    if "settings" not in tree.attrs:
        raise InputError(expected="a file that save() wrote", got=f"a posterior without the record of a fit: {path}")
    names = [str(name) for name in tree["observed_data"]["feature"].to_numpy()]
    prior = tree_of.prior_from_json(str(tree.attrs["prior"]))
    settings = json.loads(str(tree.attrs["settings"]))
    estimator = BayesianGaussianMixture(**settings, prior=prior)
    estimator.n_features_in_ = len(names)
    if tree.attrs["named_features"]:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    estimator._set_posterior(tree)
    return estimator


def _idle_floor(prior: Prior, n_rows: float) -> float:
    """An eigenvalue floor for EM that the prior keeps it from reaching, whatever the units of the data."""
    heaviest = float(prior.dof.max()) + prior.n_features + n_rows + 2.0
    return 1e-3 * float(np.linalg.eigvalsh(prior.scale).min()) / heaviest
