"""Leave-one-out cross-validation of a mixture on its marginal likelihood, labels summed out."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from arviz_stats.utils import ELPDDataLOO
from numpy.typing import ArrayLike

from bayesgmm.bayes.adapter import NO_NAMES, Names, Posterior, mixture_posterior, row_weights_of, rows_of
from bayesgmm.bayes.importance import Pointwise, Progress, good_k, relative_efficiency, smoothed_rows
from bayesgmm.bayes.posterior import OBS, SAMPLE_DIMS
from bayesgmm.bayes.predict import draw_set, log_densities
from bayesgmm.words.arrays import IntArray
from bayesgmm.words.errors import InputError, ParetoWarning

FEWEST_DRAWS = 25  # a fifth of them make the tail, which needs five


def loo(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    r_eff: float | None = None,
    names: Names = NO_NAMES,
    callback: Progress | None = None,
) -> ELPDDataLOO:
    r"""Expected log predictive density by leave-one-out cross-validation.

    .. math:: elpd = \sum_i \log p(x_i \mid x_{-i}), \qquad
        p(x_i \mid x_{-i}) = \frac{\sum_s r_i^s\, p(x_i \mid \theta^s)}{\sum_s r_i^s}, \quad
        r_i^s \propto \frac{1}{p(x_i \mid \theta^s)}

    with the ratios' largest values smoothed by a generalised Pareto distribution (PSIS), whose shape
    :math:`\hat k_i` tells whether to trust the row: above :math:`\min(1 - 1/\log_{10} S, 0.7)` it is warned of.

    The density is the marginal one, :math:`p(x_i \mid \theta) = \sum_k w_k N(x_i \mid \mu_k, \Sigma_k)`, with the
    label of the row summed out. Conditional on its label, :math:`N(x_i \mid \mu_{z_i}, \Sigma_{z_i})`, the row would
    have told its label before it is predicted, and leave-one-out would answer another question. (Nor has
    ``arviz_stats.loo(mixture=True)`` to do with mixture models: it means importance sampling from a mixture of
    leave-one-out posteriors.) Nothing here changes when labels are permuted.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.bayes.adapter.mixture_posterior`.
    X : (obs, feature), optional
        The rows of the fit; by default those kept with it.
    r_eff : float, optional
        Effective draws per draw. By default ArviZ's rule, or, for draws that `bayesgmm.combine_modes` resampled, what
        the modes' samples are worth.
    names : mapping, optional
        What the posterior calls its variables.
    callback : callable, optional
        Is told the number of rows done and the number there are.

    Returns
    -------
    arviz_stats.utils.ELPDDataLOO
        ``elpd`` with its standard error ``se``, the effective number of parameters ``p``, and for each row ``elpd_i``,
        ``p_loo_i`` and ``pareto_k``: what ``arviz_stats.compare`` and ArviZ's plots take. Without ``log_weights``,
        which need as much memory as the log-likelihoods of all rows under all draws. Of a row with a weight of three
        one copy is left out at a time, and it appears three times.

    Raises
    ------
    InputError
        For fewer than 25 draws, weights that are not whole numbers (there is no copy to leave out), or draws that
        were combined by stacking (they are not draws of the posterior).

    Warns
    -----
    ParetoWarning
        If rows have a k above the limit.

    References
    ----------
    Vehtari, Gelman & Gabry 2017, Statistics and Computing 27; Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72).

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, loo
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> fits = {k: BayesianGaussianMixture(k, random_state=1, progress=False).fit(X) for k in (1, 2)}
    >>> {k: round(float(loo(fit).elpd)) for k, fit in fits.items()}
    {1: -1294, 2: -1142}
    """
    tree = mixture_posterior(posterior, X, names=names)
    rows, copies = rows_of(tree), _copies(tree)
    _check_draws(tree)
    sizes = tree["posterior"].sizes
    shape = (sizes["chain"], sizes["draw"])
    efficiency = relative_efficiency(tree) if r_eff is None else r_eff
    found = smoothed_rows(draw_set(tree), rows, shape=shape, r_eff=efficiency, callback=callback)
    limit = good_k(shape[0] * shape[1])
    _warn_of_large_k(found, limit)
    return _result(found, copies, {"n_samples": shape[0] * shape[1], "good_k": limit})


def compute_log_likelihood(posterior: Posterior, X: ArrayLike | None = None, *, names: Names = NO_NAMES) -> xr.DataTree:
    r"""The posterior with a group ``log_likelihood``: :math:`\log p(x_i \mid \theta^s)` as ``y`` (chain, draw, obs).

    For ArviZ's functions that want the whole group; it takes 8 bytes for each row and draw, 1.3 GB for 40,000 rows and
    4,000 draws. `loo` does without it.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.bayes.adapter.mixture_posterior`.
    X : (obs, feature), optional
    names : mapping, optional

    Returns
    -------
    DataTree
        A new one; the arrays of the groups that were there are shared.

    Examples
    --------
    >>> import arviz_stats as azs
    >>> from bayesgmm import BayesianGaussianMixture, compute_log_likelihood
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> round(float(azs.loo(compute_log_likelihood(fit)).elpd))
    -1142
    """
    tree = mixture_posterior(posterior, X, names=names).copy()
    draws, rows = tree["posterior"], rows_of(tree)
    shape = tuple(draws.sizes[dim] for dim in SAMPLE_DIMS)
    values = log_densities(draw_set(tree), rows).reshape(*shape, len(rows))
    coords = {dim: draws.coords[dim].to_numpy() for dim in SAMPLE_DIMS}
    coords[OBS] = tree["observed_data"].coords[OBS].to_numpy()
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"y": ((*SAMPLE_DIMS, OBS), values)}, coords))
    return tree


def _copies(tree: xr.DataTree) -> IntArray:
    """The row of each copy: rows as often as their weights say."""
    n, weights = tree["observed_data"].sizes[OBS], row_weights_of(tree)
    if weights is None:
        return np.arange(n)
    if not (weights == np.round(weights)).all():
        raise InputError(
            expected="weights that are whole numbers",
            got=f"{weights[weights != np.round(weights)][0]}",
            hint="Leave-one-out leaves out one copy of a row.",
        )
    return np.repeat(np.arange(n), weights.astype(np.int64))


def _check_draws(tree: xr.DataTree) -> None:
    sizes = tree["posterior"].sizes
    if sizes["chain"] * sizes["draw"] < FEWEST_DRAWS:
        raise InputError(expected=f"at least {FEWEST_DRAWS} draws", got=f"{sizes['chain'] * sizes['draw']}")
    if tree.attrs.get("mode_weights") == "stacking":
        raise InputError(
            expected="draws of the posterior",
            got="draws combined by stacking",
            hint='Importance sampling starts from the posterior: take combine_modes(..., weights="evidence").',
        )


def _warn_of_large_k(found: Pointwise, limit: float) -> None:
    n_bad = int((found.pareto_k > limit).sum())
    if n_bad:
        warnings.warn(
            f"{n_bad} of {len(found.elpd)} rows have a Pareto k above {limit:.2f} (the largest is "
            f"{found.pareto_k.max():.2f}): leaving them out changes the posterior so much that importance sampling "
            "cannot be trusted.",
            ParetoWarning,
            stacklevel=3,
        )


def _result(found: Pointwise, copies: IntArray, record: Mapping[str, Any]) -> ELPDDataLOO:
    """What ArviZ takes, one entry for each copy of a row."""
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
        **{name: xr.DataArray(values, {OBS: copies}, (OBS,), name=name) for name, values in arrays.items()},
        **record,
    )
