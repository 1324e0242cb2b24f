"""Sensitivity of label-invariant quantities to the prior and to the likelihood, by power scaling."""

import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm.data import Data
from bayesgmm.diagnostics.label_invariants import invariants
from bayesgmm.diagnostics.verdict import EMPTY_COUNT
from bayesgmm.exceptions import InputError
from bayesgmm.posterior import CLUSTER, NO_NAMES, SAMPLE_DIMS, Names, Posterior, mixture_posterior
from bayesgmm.prediction import to_arviz
from bayesgmm.priors import Prior

_SCALED = ("log_prior", "log_likelihood")
_OF_DRAWS = ("weight", "noise_weight", "entropy")
_PAIRS, _SHOWN, _SURE = 400, 8, 0.05  # pairs looked at, shown, and probability at which a pair is as good as decided


def power_scaling_sensitivity(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    prior: Prior | None = None,
    names: Names = NO_NAMES,
) -> pd.DataFrame:
    r"""How much prior and likelihood decide: the change of the posterior when either is raised to a power near one.

    .. math:: p_\alpha(\theta \mid X) \propto p(\theta)^\alpha\, p(X \mid \theta), \quad
        p(\theta)\, p(X \mid \theta)^\alpha

    ArviZ's ``psense_summary`` on quantities that do not depend on labels; of labelled parameters it would also measure
    how labels move. The draws are importance-weighted, not drawn again.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with it.
    prior : Prior, optional
        The prior of the model, if the posterior was not fitted by this package.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    DataFrame
        Columns ``prior`` and ``likelihood``, the sensitivities (distances of cumulative distributions per doubling of
        the power), and ``diagnosis``: above 0.05 for the prior, its choice matters; below 0.05 for the likelihood,
        the data say little. Rows are the ``weight`` of each rank, the largest first; ``occupied``, the number of
        components that have rows (log 2 expected rows or more); ``entropy`` of the memberships; the ``noise_weight``,
        where there is noise; and ``co_clustering`` of up to eight pairs of rows that are together with a probability
        between .05 and .95 (of 400 pairs looked at):
        of pairs that are as good as decided, tiny probabilities change by large factors, which matters to nobody. See
        `bayesgmm.diagnostics.invariants`. What is the same in all draws is left out.

    Raises
    ------
    InputError
        There are no rows or no prior, or one component only, or rows have weights.

    References
    ----------
    Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34, 57.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, power_scaling_sensitivity
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> table = power_scaling_sensitivity(fit)
    >>> bool(table.loc["weight[0]", "prior"] < 0.05 < table.loc["weight[0]", "likelihood"])
    True
    """
    import arviz_stats as azs

    tree = mixture_posterior(posterior, X, names=names)
    if tree["posterior"].sizes[CLUSTER] < 2:
        raise InputError(expected="a mixture of two components or more", got="one")
    scaled = to_arviz(tree, groups=_SCALED, prior=prior)
    found = invariants(tree, n_pairs=_PAIRS)
    quantities = found[[name for name in _OF_DRAWS if name in found]].assign(
        occupied=(found["count"] >= EMPTY_COUNT).sum("rank").astype(float)
    )
    if "co_clustering" in found:
        together = found["co_clustering"].mean(SAMPLE_DIMS)
        open_pairs = (together > _SURE) & (together < 1.0 - _SURE)
        quantities["co_clustering"] = found["co_clustering"].sel(pair=open_pairs).isel(pair=slice(_SHOWN))
    varying = [
        name for name, values in quantities.items() if values.size and float(values.std(SAMPLE_DIMS).max()) > 0.0
    ]
    scaled["posterior"] = xr.DataTree(quantities[varying])
    summary: pd.DataFrame = azs.psense_summary(scaled, round_to=6)
    return summary
