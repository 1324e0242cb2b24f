"""Leave-one-out cross-validation of a mixture by its marginal likelihood."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from arviz_stats.utils import ELPDDataLOO
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, IntArray, PerRow, Progress, progress_bar
from bayesgmm.cross_validation.moment_matching import match_rows
from bayesgmm.cross_validation.psis import Pointwise, good_k, largest_r_hat, relative_efficiency, smoothed_rows
from bayesgmm.cross_validation.refits import Refits, RefitSettings, problem_of, refit_rows
from bayesgmm.data import Data
from bayesgmm.evidence import is_resampled
from bayesgmm.exceptions import InputError, InterruptedWarning, ParetoWarning, SamplingWarning, warn_user
from bayesgmm.posterior import (
    NO_NAMES,
    OBS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
    root_of,
)
from bayesgmm.prediction import log_densities
from bayesgmm.priors import Prior
from bayesgmm.validation import check_flag, check_number, check_type, check_whole, copies_of_rows

UNMIXED, LARGE_ERROR = 1.1, 0.5  # R-hat of a row's log density, and the standard error of a refit's log density
FEWEST_DRAWS = 25  # a fifth of them form the tail, which needs five


def loo(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    moment_match: bool = False,
    refit: bool = False,
    prior: Prior | None = None,
    r_eff: float | None = None,
    random_state: int | None = None,
    cores: int | None = None,
    names: Names = NO_NAMES,
    progress: bool = True,
    callback: Progress | None = None,
) -> ELPDDataLOO:
    r"""Expected log predictive density by leave-one-out cross-validation.

    .. math:: elpd = \sum_i \log p(x_i \mid x_{-i}), \qquad
        p(x_i \mid x_{-i}) = \frac{\sum_s r_i^s\, p(x_i \mid \theta^s)}{\sum_s r_i^s}, \quad
        r_i^s \propto \frac{1}{p(x_i \mid \theta^s)}

    with the ratios' largest values smoothed by a generalised Pareto distribution (PSIS), whose shape
    :math:`\hat k_i` measures reliability: above :math:`\min(1 - 1/\log_{10} S, 0.7)` leaving the row out changes the
    posterior too much. ``moment_match`` transforms the draws to the moments that they have when weighted for such a
    row; ``refit`` samples the posterior without it, exactly, and takes the ratio of the two posteriors' normalising
    constants, which is :math:`p(x_i \mid x_{-i})`. The prior is fixed, hyperparameters that were scaled by the data
    included.

    The density is the marginal one, :math:`p(x_i \mid \theta) = \sum_k w_k N(x_i \mid \mu_k, \Sigma_k)`, with the
    label of the row marginalized. The conditional density :math:`N(x_i \mid \mu_{z_i}, \Sigma_{z_i})` would predict the
    row with a label that was inferred from it. (``arviz_stats.loo(mixture=True)`` is unrelated to mixture models: it
    means importance sampling from a mixture of leave-one-out posteriors.) All results are invariant under label
    switching.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with it.
    moment_match : bool
        Match moments for rows with a large k. Takes seconds per row.
    refit : bool
        Refit without each row whose k is still large, by the native engine. Each refit takes as long as the fit.
    prior : Prior, optional
        The prior of the model, needed for these two if the posterior was not fitted by this package; its covariances
        are then assumed to be unrestricted.
    r_eff : float, optional
        Relative efficiency, effective draws per draw. By default ArviZ's rule, or, for draws that
        `bayesgmm.combine_modes` resampled, the effective size of the modes' samples.
    random_state : int, optional
        For refits.
    cores : int, optional
        Number of refits that run in parallel; all cores by default. The result does not depend on it.
    names : mapping, optional
        Names of the posterior's variables.
    progress : bool
        Show progress bars for rows and refits in a terminal or notebook.
    callback : callable, optional
        Called instead as ``callback(done, total)`` for rows, then for refits. A true return value stops the refits, as
        Ctrl-C does; those that are done are kept.

    Returns
    -------
    arviz_stats.utils.ELPDDataLOO
        ``elpd`` with its standard error ``se``, the effective number of parameters ``p``, and for each row ``elpd_i``,
        ``p_loo_i`` and ``pareto_k``, for ``arviz_stats.compare`` and ArviZ's plots. k is that of the matched draws for
        matched rows, and 0 for refitted ones; ``influence_pareto_k`` keeps the original values. There are no
        ``log_weights``, which need as much memory as the log-likelihoods of all rows under all draws. A row of weight
        three appears three times, each time with one copy left out.

    Raises
    ------
    InputError
        There are fewer than 25 draws, weights are not integers (there is no copy to leave out), or draws were combined
        by stacking (they are not draws of the posterior).

    Warns
    -----
    ParetoWarning
        Rows still have a k above the limit.
    SamplingWarning
        Chains disagree, for example because they stay in different modes, whose shares are then arbitrary (k does not
        detect this); or refits did not mix, or are imprecise.
    InterruptedWarning
        Refits were interrupted.

    References
    ----------
    Vehtari, Gelman & Gabry 2017, Statistics and Computing 27; Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72);
    Paananen, Piironen, Bürkner & Vehtari 2021, Statistics and Computing 31; Meng & Wong 1996, Statistica Sinica 6.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, loo
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> fits = {k: BayesianGaussianMixture(k, random_state=1, progress=False).fit(X) for k in (1, 2)}
    >>> {k: round(float(loo(fit).elpd)) for k, fit in fits.items()}
    {1: -1294, 2: -1142}
    """
    check_flag(moment_match=moment_match, refit=refit, progress=progress)
    check_number(least=0.0, optional=True, r_eff=r_eff)
    check_whole(optional=True, cores=cores)
    check_type(Prior, optional=True, prior=prior)
    check_whole(least=0, most=2**63 - 1, optional=True, random_state=random_state)
    tree = mixture_posterior(posterior, X, names=names)
    data = data_of(tree, X, all_for="leave-one-out", some_do=True)
    copies = copies_of_rows(data.shape[0], data.row_weights, why="Leave-one-out leaves out one copy of a row.")
    _check_draws(tree)
    sizes = tree["posterior"].sizes
    shape = (sizes["chain"], sizes["draw"])
    limit = good_k(shape[0] * shape[1])
    efficiency = relative_efficiency(tree) if r_eff is None else r_eff
    problem = problem_of(tree, prior, data) if moment_match or refit else None
    _warn_of_chains_apart(tree, data)
    with progress_bar("Rows", show=progress and callback is None, patience=PATIENCE) as move:
        progressed = callback or move
        sampled = found = smoothed_rows(draws_of(tree), data, shape=shape, r_eff=efficiency, callback=progressed)
    if problem is not None and moment_match:
        found = match_rows(tree, problem, found.above(limit), found=found, r_eff=efficiency)
    if problem is not None and refit:
        seed = np.random.SeedSequence(random_state).generate_state(1)[0]
        settings = RefitSettings(r_eff=efficiency, seed=int(seed), cores=cores)
        with progress_bar("Refits", show=progress and callback is None, patience=PATIENCE) as move:
            refits = refit_rows(tree, problem, found.above(limit), settings=settings, callback=callback or move)
        found = _refitted(found, refits)
    _warn_of_large_k(found, limit)
    record: dict[str, Any] = {"n_samples": shape[0] * shape[1], "good_k": limit}
    if problem is not None:
        record["influence_pareto_k"] = _per_copy(sampled.pareto_k[copies], copies, "influence_pareto_k")
    return _result(found, copies, record)


def compute_log_likelihood(posterior: Posterior, X: ArrayLike | None = None, *, names: Names = NO_NAMES) -> xr.DataTree:
    r"""Add a group ``log_likelihood`` to a posterior: :math:`\log p(x_i \mid \theta^s)` as ``y`` (chain, draw, obs).

    It is written in place, as by ``pm.compute_log_likelihood``: into the DataTree given, or the ``posterior_`` of a
    fit, which is then saved with it. It takes 8 bytes for each row and draw, 1.3 GB for 40,000 rows and 4,000 draws;
    `loo` does without it, and `bayesgmm.to_arviz` makes a tree of its own, with all that ArviZ's functions need.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those stored with a fit of this package. Its posterior is copied if others are given.
    names : mapping, optional

    Returns
    -------
    DataTree
        The one that the group was written into: a new one if the posterior is none, or is a fit of this package and X
        are other rows.

    Examples
    --------
    >>> import arviz_stats as azs
    >>> from bayesgmm import BayesianGaussianMixture, compute_log_likelihood
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> compute_log_likelihood(fit) is fit.posterior_
    True
    >>> round(float(azs.loo(fit.posterior_).elpd))
    -1142
    """
    tree, given = mixture_posterior(posterior, X, names=names), root_of(posterior)
    draws, data = tree["posterior"], data_of(tree, X)
    shape = tuple(draws.sizes[dim] for dim in SAMPLE_DIMS)
    values = log_densities(draws_of(tree), data).reshape(*shape, data.shape[0])
    coords = {dim: draws.coords[dim].to_numpy() for dim in SAMPLE_DIMS}
    coords[OBS] = tree["observed_data"].coords[OBS].to_numpy()
    has_place = isinstance(given, xr.DataTree) and "posterior" in given.children
    other_rows = X is not None and has_place and "covariance_type" in given.attrs and not names  # than the fit's own
    target = given if has_place and not other_rows else tree
    target["log_likelihood"] = xr.DataTree(xr.Dataset({"y": ((*SAMPLE_DIMS, OBS), values)}, coords))
    return target


def _check_draws(tree: xr.DataTree) -> None:
    sizes = tree["posterior"].sizes
    if sizes["chain"] * sizes["draw"] < FEWEST_DRAWS:
        raise InputError(expected=f"at least {FEWEST_DRAWS} draws", got=f"{sizes['chain'] * sizes['draw']}")
    if tree.attrs.get("mode_weights") == "stacking":
        raise InputError(
            expected="draws of the posterior",
            got="draws combined by stacking",
            hint='Importance sampling starts from the posterior: use combine_modes(..., weights="evidence").',
        )


def _refitted(found: Pointwise, refits: Refits) -> Pointwise:
    """Pointwise results, with those of the refits inserted."""
    if refits.interrupted:
        missing = f"{len(refits.asked) - len(refits.rows)} of {len(refits.asked)} rows were not refitted."
        warn_user(f"Interrupted: {missing}", InterruptedWarning)
    poor = [r for r in refits.found if not (r.r_hat <= UNMIXED and r.se <= LARGE_ERROR)]
    if poor:
        warn_user(
            f"{len(poor)} of {len(refits.found)} refits are of little use: R-hat of the row's density up to "
            f"{max(r.r_hat for r in poor):.2f}, standard errors of its log predictive density up to "
            f"{max(r.se for r in poor):.2f}. Take more draws in the fit.",
            SamplingWarning,
        )
    elpd = np.array([r.elpd for r in refits.found])
    return found.changed(refits.rows, elpd=elpd, pareto_k=np.zeros(len(elpd)))


def _warn_of_chains_apart(tree: xr.DataTree, data: Data) -> None:
    """Warn of chains that stay in different modes; resampled draws have correct shares and no chains."""
    sizes = tree["posterior"].sizes
    if is_resampled(tree) or sizes["chain"] == 1:
        return
    r_hat = largest_r_hat(draws_of(tree), data, shape=(sizes["chain"], sizes["draw"]))
    if r_hat > UNMIXED:
        warn_user(
            f"The chains disagree about the density at some rows (R-hat up to {r_hat:.2f}), and leave-one-out takes "
            "them for one sample. See diagnose; combine_modes gives each mode its share.",
            SamplingWarning,
        )


def _warn_of_large_k(found: Pointwise, limit: float) -> None:
    n_bad = len(found.above(limit))
    if n_bad:
        warn_user(
            f"{n_bad} of {len(found.elpd)} rows have a Pareto k above {limit:.2f} (the largest is "
            f"{found.pareto_k.max():.2f}): leaving them out changes the posterior so much that importance sampling "
            "cannot be trusted. Pass moment_match=True, or refit=True.",
            ParetoWarning,
        )


def _result(found: Pointwise, copies: IntArray, record: Mapping[str, Any]) -> ELPDDataLOO:
    """The result as ArviZ's ELPDData, one entry for each copy of a row."""
    own = found[copies]
    elpd, se, p, _ = array_stats.loo_summary(own.elpd, own.lpd - own.elpd)
    arrays = {"elpd_i": own.elpd, "pareto_k": own.pareto_k, "p_loo_i": own.lpd - own.elpd}
    return ELPDDataLOO(
        elpd=float(elpd),
        se=float(se),
        p=float(p),
        n_data_points=len(copies),
        scale="log",
        warning=bool((own.pareto_k > record["good_k"]).any()),
        **{name: _per_copy(values, copies, name) for name, values in arrays.items()},
        **record,
    )


def _per_copy(values: PerRow, copies: IntArray, name: str) -> xr.DataArray:
    return xr.DataArray(values, {OBS: copies}, (OBS,), name=name)
