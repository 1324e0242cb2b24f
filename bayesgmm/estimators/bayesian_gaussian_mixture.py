"""`BayesianGaussianMixture`: the posterior of a Gaussian mixture as a scikit-learn estimator."""

import math
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from bayesgmm._common import PATIENCE, IntArray, progress_bar
from bayesgmm.data import MISSING, Data, SourceData, threads_for, warn_of_labels
from bayesgmm.diagnostics import Diagnosis, diagnose, warn_if_unconverged
from bayesgmm.em import EFFORTS, KINDS, MIXED, EMSettings, Initialisation, Starts
from bayesgmm.estimators._display import progress_of_starts
from bayesgmm.estimators._posterior_display import PosteriorInHtmlMixin
from bayesgmm.estimators._posterior_methods import PosteriorMixin, PosteriorRowsMixin, known_labels
from bayesgmm.estimators._prior_parameters import (
    PRIOR_TYPES,
    check_prior_type,
    idle_floor,
    in_units_of_rows,
    prior_given,
)
from bayesgmm.estimators._saved import KeptOf, fit_record, keeping
from bayesgmm.estimators._sources import RowsLike
from bayesgmm.estimators._validation import (
    SEEDS,
    Number,
    ValidatedMixin,
    check_component,
    check_noise,
    whole,
)
from bayesgmm.evidence import combine_modes
from bayesgmm.exceptions import InputError, SamplingError
from bayesgmm.inference import (
    INFERENCES,
    TOO_SHORT,
    Exploration,
    Problem,
    Sampled,
    SamplerSettings,
    check_gibbs,
    explore,
    explore_optima,
    fitted_tree,
    populated_first,
    sample_enough,
    sample_native,
    sampler_of,
)
from bayesgmm.io import CheckpointPath, once
from bayesgmm.mixture import Mixture, component_of, covariance_family
from bayesgmm.noise import NoisyMixture, starts_with
from bayesgmm.posterior import with_hyperparameters
from bayesgmm.priors import Model, Prior
from bayesgmm.validation import check_components

DEFAULT_DRAWS, MOST_DRAWS = 1_000, 4_000
DEFAULT_TUNE, DEFAULT_ACCEPT, SPARSE_ACCEPT, CAREFUL_ACCEPT = 400, 0.8, 0.95, 0.95
# Of so many rows the posterior is close to normal and a gradient takes long: 3 leapfrog steps a draw in place of 7
# leave fewer effective draws of means, and as many of their squares, at less than half the cost.
MANY_ROWS, MANY_TUNE, MANY_ACCEPT, MANY_DEPTH = 250_000, 200, 0.65, 2


class BayesianGaussianMixture(
    PosteriorMixin, PosteriorRowsMixin, PosteriorInHtmlMixin, ValidatedMixin, DensityMixin, BaseEstimator
):
    r"""Posterior of a Gaussian mixture, by NUTS, Gibbs sampling or Laplace approximation around EM's solution.

    .. math::

        w \sim Dirichlet(\alpha), \quad (\mu_k, \Sigma_k) \sim \text{prior}, \quad
        x_i \sim \sum_k w_k N(\mu_k, \Sigma_k)

    Labels are marginalized. Draws are relabelled to match the EM solution by optimal assignment (see
    `bayesgmm.mixture.alignment`); the permutations are stored in ``posterior_["sample_stats"]``.

    Parameters
    ----------
    n_components : int
        Number of mixture components K.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, or mclust's VVV, EEE, VVI, VII; ``"tied_diag"`` (EEI),
        ``"tied_spherical"`` (EII), ``"VEI"`` and ``"EVI"`` (diagonal covariances of one shape or of one volume), and
        ``"VEE"`` and ``"EVV"`` (full ones, likewise), which scikit-learn does not have; for one feature also V and E.
        `GaussianMixture` has EEV, VEV, EVE, VVE too.
    prior : Prior, optional
        By default ``Prior.weakly_informative(X)``, unless one of the next five parameters is given.
    weight_concentration_prior, mean_precision_prior, mean_prior, degrees_of_freedom_prior, covariance_prior
        scikit-learn's prior parameters, in place of ``prior``, see `PriorParameters`. If one is given, the others
        take scikit-learn's defaults. With ``covariance_type="full"`` the model is then exactly scikit-learn's.
    standardize : bool
        ``prior`` and scikit-learn's prior parameters are those of standardized features, as after ``StandardScaler``;
        rows and results are in the units of ``X`` all the same. Not for ``"spherical"`` and ``"tied_spherical"``.
    missing : {"error", "marginalize"}
        Whether rows with missing values (NaN, pandas' NA) are refused, or count with what was observed of them,
        exactly, if values are missing at random. `impute` completes rows.
    component : {"gaussian", "student_t"}
        The distribution of a component. Student-t ones have heavier tails, by degrees of freedom; the prior is then one
        of scale matrices, and degrees of freedom have a Gamma(2, 0.1) distribution. For ``inference="nuts"`` and
        ``engine="native"``; with ``init="spread"`` all chains start at EM's best optimum, and modes are not weighed.
    dof : "each", "shared" or float
        Degrees of freedom of Student-t components: one for each, one for all, or as given.
    noise : bool or float
        Whether rows may come from uniform noise, as in `GaussianMixture`; its weight has a Beta(1, 9) distribution. For
        ``inference="nuts"`` and ``engine="native"``; all chains start at EM's best optimum, and modes are not weighed.
    weight_concentration_prior_type : {"dirichlet_distribution"}
        scikit-learn's other type, ``"dirichlet_process"``, is a different model and not supported.
    draws : int, optional
        Draws of each chain. By default 1,000, and where figures of convergence are not fine for lack of draws only,
        2,000 or 4,000.
    max_draws : int, optional
        Draws up to which sampling goes on, judged after ``draws`` and each time they have doubled: 4,000 by default, or
        exactly ``draws`` if these are given.
    tune, chains : int
        Draws of warm-up (400 by default) of each chain, and number of chains. With 250,000 rows or more the default
        is 200 draws of warm-up and at most 3 leapfrog steps a draw, which halves the time and leaves fewer effective
        draws of means; a ``target_accept`` of your own has trajectories of full length.
    cores : int, optional
        Chains that run at the same time, or threads that read rows not in memory; the draws do not depend on it.
    target_accept : float, optional
        Target acceptance rate of the step size: 0.8 by default (0.65 with 250,000 rows or more), 0.95 under sparse
        priors (a concentration below one, or one with a prior), where longer steps miss small components. Raise it
        towards 1 to avoid divergences.
    engine : {"native", "pymc"}
        The compiled log posterior of this package, or the PyMC model of `build_model`: the same density. The former
        takes a Metropolis step on the radius of each draw in whitened coordinates after NUTS: log-likelihoods of
        neighbouring draws are then nearly independent.
    inference : {"nuts", "gibbs", "laplace"}
        How the posterior is explored. ``"gibbs"`` is blocked Gibbs sampling, four sweeps a draw, for every prior but
        one on variances and correlations, and every family but VEI, EVI, VEE and EVV: a second method, without
        gradients and tuning, to check the first; faster with many parameters, slower where clusters overlap so much
        that labels take away more than about 70 % of the information on a parameter (`StandardErrors.missing`).
        ``sample_weight`` must be whole numbers. Where random starts find several modes, or components of few rows,
        chains are made by Gibbs sampling with jumps between all places, whichever was asked for (``init="spread"`` and
        ``engine="native"`` only; ``posterior_.attrs["sampler"]`` tells).
        ``"laplace"`` takes seconds whatever the number of rows, where every component has many: draws of the normal
        approximation at each optimum, corrected by Pareto-smoothed importance sampling with the log posterior of all
        rows, or of more than 10,000 by subsamples with control variates, and weighed by evidence.
        Accepted only if k-hat is at most 0.7 and a tenth of at least 4,000 proposals effective, else it is refused.
        Copies of a proposal are neighbours in ``posterior_``, so that effective sample sizes of chains are honest;
        R-hat tells nothing.
    n_init : int or "auto"
        Number of EM starts, as in `GaussianMixture`; the best maximum a posteriori estimate defines the coordinates of
        the sampler, if one of comparable mass has rows in every component that one. Ten by default, not ``"auto"``:
        further optima, met once, tell where other modes may be.
    effort : {"standard", "thorough"}
        How long EM's starts search, as in `GaussianMixture`; ``"thorough"`` also makes three times as many random
        starts of the search for modes, which brings the bound of what they may miss down to a third.
    init : {"spread", "modes", "best"}
        Where the chains start. ``"spread"``: short Gibbs chains from up to 128 random starts look for modes first; if
        there is one, the chains start at the best optimum. With more than 4,000 rows, and for priors that are not
        conjugate given the labels, EM runs from the random starts. After it, and where chains lie apart that cannot
        jump, exploratory chains of NUTS start in the places that are not far below the best, and with a component
        emptied or duplicated; if they become stationary in different modes, the chains start in each of relevant
        weight. ``"modes"``: at the distinct optima of EM in turn. ``"best"``: all at the best optimum, which cannot
        detect other modes.
    tol, max_iter, init_params
        For the EM starts, as in `GaussianMixture`.
    reg_covar : float, optional
        Smallest eigenvalue of a covariance in EM, at most a bound below which it does not interfere with the prior,
        which is the default. The posterior needs no floor: its prior keeps covariances away from zero.
    warm_start : bool
        Start at the last ``em_`` when fitted again, if K, family and features are unchanged.
    verbose, verbose_interval : int
        Print the progress of EM, as in `GaussianMixture`.
    random_state : int, RandomState or None
        The same seed gives the same draws.
    progress : bool
        Show progress and time left, in a terminal or notebook only.
    max_seconds : float, optional
        After so many seconds sampling ends with the draws made so far, as after Ctrl-C. Modes are still combined and
        convergence diagnosed after that. A Laplace approximation has no draws before it is complete: it is an error.

    Attributes
    ----------
    posterior_ : xarray.DataTree
        Draws and the record of the run, for use with ArviZ. Groups ``posterior`` (``weights``,
        ``means``, ``covariances``: full matrices; ``variances`` in their place where matrices are diagonal and would
        take more than 256 MB, see `bayesgmm.posterior.with_covariances`), ``sample_stats``, ``observed_data``,
        ``constant_data``.
    em_ : Mixture
        The maximum a posteriori estimate at which the chains started.
    prior_ : Prior
        The prior with its hyperparameter values.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, covariance_prior_
        The same in scikit-learn's parametrization, if the prior was given by such parameters.
    dof_, scales_ : ndarray
        Of Student-t components: posterior means of degrees of freedom (K,) and of scale matrices, in the family's
        shape. ``covariances_`` (K, D, D) are those of a mixture with these numbers, dof / (dof - 2) times the scales:
        over draws they have no mean, because a draw of at most two degrees of freedom has none. ``posterior_`` has
        ``scales`` and ``dof``; `bayesgmm.posterior.with_covariances` adds the covariances of each draw.
    noise_weight_, noise_ : float, bayesgmm.noise.Uniform
        With noise, the posterior mean of its weight, which is ``noise_weight`` in ``posterior_``, and its box and
        volume; weights and that of noise sum to one. Else 0 and None.
    weights_, means_, covariances_ : ndarray
        Posterior means, in scikit-learn's shapes; (K, D, D) for the families it does not have.
    precisions_, precisions_cholesky_ : ndarray
        Inverses of ``covariances_``, which are not the posterior means of the precisions.
    converged_ : bool
        Whether the chains converged according to `bayesgmm.diagnose`: its verdict is ``"converged"`` or ``"several
        modes, weighed"``. Of a Laplace approximation k-hat and the effective number decide.
    n_iter_ : int
        EM steps to the optimum that defines the coordinates of the sampler.
    n_labelled_ : int
        Rows of which more is known than that they come from some component, see ``labels`` of `fit`.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    source_ : FittedSource
        Of a fit of rows that are not in memory: where they are, and the sample of them that ``posterior_`` keeps.

    Raises
    ------
    InputError
        For data or settings that cannot be fitted, before any work.
    SamplingError
        There are no draws: time ended before the first, or a Laplace approximation was refused; ``em_`` is kept.

    Warns
    -----
    SamplingWarning
        If chains diverged, did not mix, or stayed in several modes, see `bayesgmm.diagnose`: these are combined by
        their evidences, see `bayesgmm.combine_modes`. Or if modes may be missing that hold more than a tenth of the
        posterior, as far as random starts tell (``posterior_.attrs["missing"]``).

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

    __module__ = "bayesgmm"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [whole()],
        "covariance_type": [str],
        "prior": [Prior, None],
        "standardize": ["boolean"],
        "missing": [StrOptions(set(MISSING))],
        "component": [str],
        "dof": [str, Number(Real, 0.0, None, closed="neither")],
        "noise": ["boolean", Number(Real, 0.0, None, closed="neither")],
        "weight_concentration_prior_type": [StrOptions(set(PRIOR_TYPES))],
        "weight_concentration_prior": [None, Number(Real, 0.0, None, closed="neither")],
        "mean_precision_prior": [None, Number(Real, 0.0, None, closed="neither")],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, Number(Real, 0.0, None, closed="neither")],
        "covariance_prior": [None, "array-like", Number(Real, 0.0, None, closed="neither")],
        "draws": [whole(), None],
        "max_draws": [whole(), None],
        "tune": [whole(), None],
        "chains": [whole()],
        "cores": [whole(), None],
        "target_accept": [Number(Real, 0.0, 1.0, closed="neither"), None],
        "engine": [StrOptions({"native", "pymc"})],
        "inference": [StrOptions(set(INFERENCES))],
        "n_init": [whole(), StrOptions({"auto"})],
        "effort": [StrOptions(set(EFFORTS))],
        "init": [StrOptions({"spread", "modes", "best"})],
        "tol": [Number(Real, 0.0, None, closed="left"), None],
        "reg_covar": [Number(Real, 0.0, None, closed="left"), None],
        "max_iter": [whole(0)],
        "init_params": [StrOptions(set(KINDS))],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [whole()],
        "random_state": SEEDS,
        "progress": ["boolean"],
        "max_seconds": [Number(Real, 0.0, None, closed="neither"), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        prior: Prior | None = None,
        standardize: bool = False,
        missing: str = "error",
        component: str = "gaussian",
        dof: str | float = "each",
        noise: bool | float = False,
        weight_concentration_prior_type: str = PRIOR_TYPES[0],
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        draws: int | None = None,
        max_draws: int | None = None,
        tune: int | None = None,
        chains: int = 4,
        cores: int | None = None,
        target_accept: float | None = None,
        engine: str = "native",
        inference: str = "nuts",
        n_init: int | str = 10,
        effort: str = "standard",
        init: str = "spread",
        tol: float | None = None,
        reg_covar: float | None = None,
        max_iter: int = 1000,
        init_params: str = MIXED,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = True,
        max_seconds: float | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.prior = prior
        self.standardize = standardize
        self.missing = missing
        self.component = component
        self.dof = dof
        self.noise = noise
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.draws = draws
        self.max_draws = max_draws
        self.tune = tune
        self.chains = chains
        self.cores = cores
        self.target_accept = target_accept
        self.engine = engine
        self.inference = inference
        self.n_init = n_init
        self.effort = effort
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
        """Find the EM solution, then sample the posterior.

        Ctrl-C during sampling keeps the draws made so far, with a warning.

        Parameters
        ----------
        X : array_like or DataFrame, (obs, feature), or rows not in memory
            A path or glob of .npy, Parquet or CSV files, several of them, a Zarr array, a Dask array or dataframe, or
            another `Source`, see `open_source`. At most 100,000 rows are read into memory; more are read block by
            block, once to check them, in each step of EM and of a trajectory. The prior is scaled, modes are searched
            for and convergence is diagnosed by a random sample of 100,000, which ``posterior_`` keeps in place of the
            rows, with the weights with which they stand for all.
        y : ignored
            A warning says so if it looks like labels with -1 for unknown ones.
        sample_weight : (obs,), optional
            Frequency weights: a weight of two counts the row twice. Rows of weight zero are left out, also from
            ``posterior_``, whose ``constant_data`` stores the weights of the others as ``row_weights``. Weights
            enter the likelihood and all sums over rows; a partition has each row once. Not supported with
            ``engine="pymc"``.
        labels : array-like, optional
            What is known of the component of each row, as in `GaussianMixture.fit`: (obs,) numbers from 0 to K - 1, and
            -1 for unknown; or (obs, cluster) true where a row may come from a component. They are facts in EM, in
            every draw and in all that is said of the rows of the fit; ``posterior_`` keeps them. Components keep their
            numbers, but for those that labels do not tell apart. Chains start at EM's optima: there are no random
            starts and no jumps. For complete rows in memory.
        checkpoint : path, optional
            A folder that is made if there is none. What was found before sampling, and draws as they come, are written
            to it; after an end of the process at any moment the same call goes on from there and ends with the same
            number of draws. Chains of NUTS that had draws go on from the last of them after 100 draws of warm-up, so
            that the draws are others than those of a call that was not ended; those of Gibbs sampling are the same. Not
            supported with ``engine="pymc"``.

        Returns
        -------
        BayesianGaussianMixture
            Itself.

        Raises
        ------
        InputError
            For data or settings that cannot be used; for a checkpoint of other rows or settings, or a folder that is
            something else.
        """
        if checkpoint is not None and self.engine == "pymc":
            raise InputError(expected='engine="native" with a checkpoint', got="'pymc'")
        with keeping(checkpoint) as kept_of, ExitStack() as until_the_end:
            warn_of_labels(y, self.n_components)
            return self._fit(X, (sample_weight, labels), kept_of, until_the_end)

    def _fit(self, X: RowsLike, of_rows: tuple[Any, Any], kept_of: KeptOf, until_the_end: ExitStack) -> Self:
        self._most_draws()  # before any work
        check_noise(self, X, of_rows[1])
        component = component_of(self.component, self.dof)
        check_component(component, self.inference, self.engine)
        covariance_family(self.covariance_type).for_posterior()
        until = math.inf if self.max_seconds is None else time.monotonic() + self.max_seconds
        data, pieces, seed = self._read(X, *of_rows, kept_of=kept_of)
        check_components(self.n_components, round(data.total), weighted=data.row_weights is not None)
        # The PyMC model counts every row once; for the other engine equal rows are put together, so that weighted and
        # repeated rows give the same draws.
        different = data if self.engine == "pymc" else data.distinct().together[0]
        prior, sampler = self._prior(different), sampler_of(self.inference, self.engine)
        if pieces is not None:
            pieces.rows = different
        rng = np.random.default_rng(seed)
        sizes = int(self.n_components), self.n_features_in_
        model = Model.of(self.covariance_type, *sizes, prior=prior, component=component)
        if self.inference == "gibbs":
            check_gibbs(model, different)
        n_init, effort = None if self.n_init == "auto" else int(self.n_init), EFFORTS[self.effort]
        with progress_of_starts(
            verbose=self.verbose, interval=self.verbose_interval, n_init=n_init, effort=effort, show=self.progress
        ) as callback:
            em, starts = starts_with(self.noise, different)(
                different,
                model,
                rng=rng,
                settings=EMSettings(self.tol, self.max_iter, idle_floor(prior, data.total, self.reg_covar)),
                n_init=n_init,
                effort=effort,
                initialisation=Initialisation(self.init_params, labels=known_labels(different)),
                start=self._last_solution(model),
                max_seconds=self.max_seconds,
                callback=callback,
                kept=pieces,
            )
        if time.monotonic() >= until:
            raise SamplingError(TOO_SHORT)
        if starts.interrupted:
            raise KeyboardInterrupt("interrupted before the first draw")
        settings = replace(self._settings(rng, different, model), until=until, kept=pieces)
        model = model.labelled(different.allowed)
        is_noisy = isinstance(em.mixture, NoisyMixture)
        optima = (em.mixture,) if is_noisy else populated_first((em.mixture, *starts.optima[1:]), different, model)
        is_source = isinstance(different, SourceData)
        pool = until_the_end.enter_context(threads_for(different, self.cores)) if is_source else None
        problem = Problem(different, prior, optima[0], pool=pool)
        if (self.inference, self.engine) == ("nuts", "native"):
            problem.warn_if_long(settings)
        explored, rng = once(
            pieces,
            "modes",
            lambda: (self._explored(problem, optima, settings, rng), rng),
            unless=lambda: time.monotonic() >= until,
        )
        explored = replace(explored, problem=replace(explored.problem, pool=pool))
        record = {**self._record(seed, starts), "em_n_iter": em.n_iter}
        kept = replace(explored.problem, data=data)

        def judge(sampled: Sampled) -> tuple[xr.DataTree, Diagnosis]:
            with self._stage("Weighing modes, convergence"):
                tree = fitted_tree(sampled, explored, kept, feature_names=self._names(), record=record)
                are_weighed = explored.jumps is not None or self.inference == "laplace"
                alone = are_weighed or is_source or is_noisy or model.component.has_others
                tree = tree if alone else combine_modes(tree, data, random_state=seed)
                return tree, diagnose(tree, data.sample)

        if not hasattr(self, "posterior_"):  # whatever becomes of sampling; an earlier fit stays whole
            self.em_ = kept.start
        careful = CAREFUL_ACCEPT if self.target_accept is None and self.inference == "nuts" else None
        tree, found = sample_enough(
            explored, sampler, settings, rng, most=self._most_draws(), careful=careful, judge=judge
        )
        tree = with_hyperparameters(tree, rng=rng)
        tree.attrs["converged"] = int(warn_if_unconverged(found))
        self._set_posterior(tree)
        return self

    def _explored(
        self, problem: Problem, optima: tuple[Mixture, ...], settings: SamplerSettings, rng: np.random.Generator
    ) -> Exploration:
        """Where chains are to start, without what cannot be kept."""
        thorough, is_noisy = self.effort == "thorough", isinstance(problem.start, NoisyMixture)
        is_lone = is_noisy or (self.init == "spread" and problem.start.component.has_others)
        with self._stage("Searching for modes"):
            if self.inference == "laplace":
                found = explore_optima(self.init, problem, optima, settings=settings, rng=rng, thorough=thorough)
            else:
                found = explore(
                    "best" if is_lone else self.init,
                    problem,
                    optima,
                    settings=settings,
                    rng=rng,
                    sampler=sample_native if self.inference == "nuts" else sampler_of(self.inference, self.engine),
                    random_starts=self.engine == "native",
                    thorough=thorough,
                )
        return replace(found, problem=replace(found.problem, pool=None))

    def _stage(self, description: str) -> AbstractContextManager[object]:
        """A bar on work that takes long, which does not say how far it is."""
        return progress_bar(description, show=self.progress, patience=PATIENCE)

    def fit_predict(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> IntArray:
        """Fit, and return the most probable label of each row."""
        return self.fit(X, y, sample_weight=sample_weight).predict(X)

    def _prior(self, data: Data) -> Prior:
        """The one of the three ways to give a prior that the user took."""
        check_prior_type(self.weight_concentration_prior_type)
        return in_units_of_rows(
            self._prior_of, data.sample, standardize=self.standardize, covariance_type=self.covariance_type
        )

    def _prior_of(self, data: Data) -> Prior:
        names = self._names() if hasattr(self, "feature_names_in_") else None
        return prior_given(data, self.get_params(deep=False), names=names)

    def _last_solution(self, model: Model) -> Mixture | None:
        last: Mixture | None = getattr(self, "em_", None) if self.warm_start else None
        return last if last is not None and model.describes(last) else None

    def _settings(self, rng: np.random.Generator, data: Data, model: Model) -> SamplerSettings:
        sparse = model.required_prior.sparse
        tune, accept, depth = DEFAULT_TUNE, SPARSE_ACCEPT if sparse else DEFAULT_ACCEPT, SamplerSettings.max_depth
        if data.shape[0] >= MANY_ROWS and not sparse and self.target_accept is None:
            tune, accept, depth = MANY_TUNE, MANY_ACCEPT, MANY_DEPTH
        return SamplerSettings(
            seed=int(rng.integers(2**63)),
            draws=min(DEFAULT_DRAWS, self._most_draws()) if self.draws is None else self.draws,
            tune=tune if self.tune is None else self.tune,
            chains=self.chains,
            cores=self.cores,
            target_accept=self.target_accept or accept,
            max_depth=depth,
            progress=self.progress,
        )

    def _most_draws(self) -> int:
        """Draws a chain up to which sampling goes on."""
        if self.max_draws is not None:
            if self.max_draws < (self.draws or 1):
                raise InputError(expected=f"max_draws of at least draws={self.draws}", got=f"{self.max_draws}")
            return self.max_draws
        return MOST_DRAWS if self.draws is None else self.draws

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _record(self, seed: int, starts: Starts) -> dict[str, str | int | float]:
        """What a saved fit must know to become this estimator again."""
        settings = {**self.get_params(deep=False), "random_state": seed}
        named = hasattr(self, "feature_names_in_")
        source = getattr(self, "source_", None)
        return fit_record(settings, named_features=named, starts=starts, source=source)
