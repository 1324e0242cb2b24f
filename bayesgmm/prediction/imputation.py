"""Imputation: missing values of rows drawn from their conditional distributions, given what was observed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, Rows
from bayesgmm.conditionals import Regressions, mixture_quantiles
from bayesgmm.data import Data, Patterns
from bayesgmm.mixture import Draws
from bayesgmm.posterior import NO_NAMES, Names
from bayesgmm.prediction.conditioning import given_observed
from bayesgmm.prediction.densities import interval_probability
from bayesgmm.prediction.regression import draws_of_fit
from bayesgmm.validation import as_rows, check_whole, generator_of, in_the_form_of

_AT_ONCE = 1_000_000  # numbers in one array of a piece of rows: 8 MB


@dataclass(frozen=True, eq=False)
class Imputation:
    """Rows with their missing values filled in; what was observed is as it was.

    Attributes
    ----------
    mean, lower, upper : (obs, feature), a dataframe or array like the rows
        Expected values, and the bounds of equal-tailed intervals, each for one missing value given what was observed of
        its row.
    draws : (draw, obs, feature)
        Completed data sets, for analyses that are repeated on each: missing values of a row are drawn together.
    """

    __module__ = "bayesgmm.prediction"

    mean: Any
    lower: Any
    upper: Any
    draws: Array


def impute(
    fit: Any,
    X: ArrayLike,
    *,
    n_draws: int = 20,
    ci_prob: float | None = None,
    random_state: int | None = None,
    names: Names = NO_NAMES,
) -> Imputation:
    r"""Fill in missing values of rows from their distributions given what was observed.

    .. math:: p(x_m \mid x_o) = \frac{1}{S} \sum_s \sum_k w_k^s(x_o) N\left(x_m \mid
        \mu_{k,m}^s + \Sigma_{k,mo}^s (\Sigma_{k,oo}^s)^{-1} (x_o - \mu_{k,o}^s),\;
        \Sigma_{k,mm}^s - \Sigma_{k,mo}^s (\Sigma_{k,oo}^s)^{-1} \Sigma_{k,om}^s\right)

    over the draws of a posterior, or with the solution of EM as the only one. It is valid where values are missing at
    random: whether they are may depend on what was observed of the row, but not on the missing values themselves.

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, Mixture, DataTree, Dataset or mapping
        A posterior, a fit by EM or draws from elsewhere.
    X : dataframe or array-like, (obs, feature)
        Rows, of the fit or others, NaN (pandas: also NA) where values are missing.
    n_draws : int
        Completed data sets. Each of a posterior is from one of its draws, evenly spaced, so that they differ by what is
        not known of the parameters, too; those of EM do not, and intervals from them are too narrow.
    ci_prob : float, optional
        Probability of the intervals, by default ArviZ's rcParam ``stats.ci_prob`` (0.89).
    random_state : int, optional
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    bayesgmm.prediction.Imputation

    Raises
    ------
    InputError
        For rows of other features, or of which nothing was observed.

    References
    ----------
    Rubin 1987, Multiple Imputation for Nonresponse in Surveys; Ghahramani & Jordan 1994, Advances in Neural Information
    Processing Systems 6.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import GaussianMixture, impute
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> X.loc[::10, "eruptions"] = np.nan
    >>> fit = GaussianMixture(2, random_state=0, missing="marginalize").fit(X)
    >>> found = impute(fit, X, random_state=1)
    >>> found.mean.head(2).round(2)
       eruptions  waiting
    0       4.25     79.0
    1       1.80     54.0
    >>> found.draws.shape
    (20, 272, 2)
    """
    check_whole(n_draws=n_draws)
    prob, rng = interval_probability(ci_prob), generator_of(random_state)
    draws, features, _ = draws_of_fit(fit, names)
    rows = as_rows(X, n_features=len(features), features=features, gaps=True)
    bounds = np.array([0.5 * (1.0 - prob), 0.5 * (1.0 + prob)])
    some = draws[np.linspace(0, len(draws) - 1, n_draws).round().astype(np.int64)]
    filled = np.stack([rows, rows, rows], axis=0)
    completed = np.repeat(rows[None], n_draws, axis=0)
    for members, observed, missing in Patterns.of(~np.isnan(rows)).lacking:
        summary = _Summary(draws, observed, missing, bounds)
        for start in range(0, len(members), summary.rows_at_once):
            part = members[start : start + summary.rows_at_once]
            filled[np.ix_(np.arange(3), part, missing)] = summary.of_rows(rows[np.ix_(part, observed)])
        completed[np.ix_(np.arange(n_draws), members, missing)] = _drawn(some, rows[members], observed, missing, rng)
    mean, lower, upper = (in_the_form_of(X, values) for values in filled)
    return Imputation(mean, lower, upper, completed)


class _Summary:
    """Means and quantiles of the missing values of rows of one pattern."""

    def __init__(self, draws: Draws, observed: IntArray, missing: IntArray, bounds: Array) -> None:
        self.given, self.bounds = draws.marginal(observed.tolist()), bounds
        self.regressions = Regressions.of(draws.means, draws.compact, observed.tolist(), missing.tolist())

    @property
    def rows_at_once(self) -> int:
        """Rows whose conditional means under all draws are held at once."""
        return max(1, _AT_ONCE // self.regressions.intercepts.size)

    def of_rows(self, rows: Rows) -> Array:
        """Mean, lower and upper bound, (3, obs, missing)."""
        _, weights = given_observed(self.given, Data(np.asfortranarray(rows)))
        means, sds = self.regressions.means(rows), np.moveaxis(self.regressions.sds, -1, 0)
        pooled = (weights / len(self.given)).reshape(len(rows), 1, -1)
        by_target = np.moveaxis(means, 3, 1).reshape(len(rows), means.shape[3], -1)
        quantiles = mixture_quantiles(self.bounds, pooled, by_target, sds.reshape(len(sds), -1))
        return np.stack([(pooled * by_target).sum(axis=-1), quantiles[..., 0], quantiles[..., 1]])


def _drawn(draws: Draws, rows: Rows, observed: IntArray, missing: IntArray, rng: np.random.Generator) -> Array:
    """Missing values (draw, obs, missing) of the rows of one pattern, each draw's from its parameters."""
    own, known = Regressions.of(draws.means, draws.compact, observed.tolist(), missing.tolist()), rows[:, observed]
    _, weights = given_observed(draws.marginal(observed.tolist()), Data(np.asfortranarray(known)))
    chances = weights.cumsum(axis=2)
    labels = (rng.random(chances.shape[:2])[..., None] * chances[..., -1:] > chances).sum(axis=2)  # (obs, draw)
    return np.swapaxes(own.draw(known, labels, rng=rng), 0, 1)
