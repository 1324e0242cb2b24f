"""Regression by conditioning: some features predicted from others, with bands over draws."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from bayesgmm._common import Array, IntArray, PerRow, Rows, numbered, quoted, sentence
from bayesgmm.conditionals import Regressions, as_probabilities, mixture_quantiles, others, positions_of
from bayesgmm.data import Data
from bayesgmm.exceptions import ExtrapolationWarning, InputError, warn_user
from bayesgmm.mixture import Draws
from bayesgmm.posterior import FEATURE, NO_NAMES, OBS, Names, draws_of, mixture_posterior
from bayesgmm.prediction.conditioning import Features, given_observed, mixture_of, names_of, tree_names
from bayesgmm.prediction.densities import interval_over_draws, interval_probability, log_predictive_density
from bayesgmm.prediction.tails import reference
from bayesgmm.validation import default_names, read_table

FAR = 1e-4  # of the fitted mixture's own rows have a density as low as that of a row far from the data
_FAR_DRAWS = 500  # that this density is averaged over
_AT_ONCE = 1_000_000  # numbers in one array of a piece of rows: 8 MB
_MOST_NAMED = 5
_WARNING = (
    "Observed values far from the data: {n} of {n_rows} rows ({rows}) have a density below that of all but one in "
    "{rate} rows of the fitted mixture. There predictions follow the component that is widest, and bands "
    "understate what is not known."
)


def predict_features(
    fit: Any,
    X_observed: ArrayLike,
    *,
    target: Features | None = None,
    observed: Features | None = None,
    quantiles: ArrayLike | None = None,
    ci_prob: float | None = None,
    names: Names = NO_NAMES,
) -> xr.Dataset:
    r"""Predict some features of rows from others by conditioning, with bands for the curve and for a new row.

    .. math:: m(x_o, \theta) = E[x_m \mid x_o, \theta]
        = \sum_k w_k(x_o) \left(\mu_{k,m} + \Sigma_{k,mo} \Sigma_{k,oo}^{-1} (x_o - \mu_{k,o})\right), \qquad
        w_k(x_o) \propto w_k N(x_o \mid \mu_{k,o}, \Sigma_{k,oo})

    ``curve`` is the interval of the draws' curves :math:`m(x_o, \theta^s)`: where the regression line lies. ``new_row``
    holds a further row with probability ``ci_prob``: its bounds are quantiles of the mixture of all draws' conditional
    distributions :math:`\frac{1}{S} \sum_s p(x_m \mid x_o, \theta^s)`. Both are pointwise and equal-tailed, and
    invariant under label switching. Values observed are taken as given: they do not change the weights of draws.

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, Mixture, DataTree, Dataset or mapping
        A posterior, a fit by EM or draws from elsewhere. Of EM there is no ``curve``: its solution is plugged in.
    X_observed : (obs, observed feature)
        A dataframe whose columns have names of the fit, in any order, or an array, whose columns are ``observed``.
    target : one or several names or positions, optional
        What to predict; by default all features that are not observed. The others are integrated out.
    observed : one or several names or positions, optional
        The columns of an array, by default all features but the target; of a dataframe the columns to use.
    quantiles : (quantile,), optional
        Probabilities of further quantiles of a new row.
    ci_prob : float, optional
        ArviZ's rcParam ``stats.ci_prob`` (0.89) by default.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    xarray.Dataset
        Over (obs, feature), the features being the targets: ``mean``, and ``sd`` of a new row; ``curve`` and
        ``new_row`` with a dimension ``ci_bound`` (lower, upper); if asked for, ``quantiles`` of a new row, and
        ``quantile_curves``, the interval over draws of the draws' own quantiles, with a dimension ``quantile``. Over
        (obs,): ``log_density`` of the observed values, the support of a prediction; ``tail_probability``, that a row
        of the fitted mixture has a lower one; and ``far``, whether this is below 1e-4.

    Raises
    ------
    InputError
        For unknown features, features that are both observed and predicted, or values that are not finite.

    Warns
    -----
    ExtrapolationWarning
        If rows are ``far``.

    See Also
    --------
    Mixture.condition : the conditional distribution itself.

    References
    ----------
    Ghahramani & Jordan 1994, Advances in Neural Information Processing Systems 6; Mueller, Erkanli & West 1996,
    Biometrika 83.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, predict_features
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> found = predict_features(fit, [[60.0], [85.0]], target="eruptions")
    >>> found["mean"].sel(feature="eruptions").to_numpy().round(1)
    array([2.1, 4.4])
    >>> found["new_row"].sel(feature="eruptions").to_numpy().round(1)
    array([[1.7, 2.5],
           [3.8, 5. ]])
    """
    prob = interval_probability(ci_prob)
    further = np.empty(0) if quantiles is None else as_probabilities(quantiles, name="quantiles")
    draws, features, many = draws_of_fit(fit, names)
    X, chosen, wanted = _observed_and_target(X_observed, features, observed, target)
    regressions = Regressions.of(draws.means, draws.compact, chosen, wanted)
    task = _Task(draws.marginal(chosen), regressions, further, prob, many)
    parts = [task.summary(piece) for piece in X.pieces(task.rows_at_once)]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["tail_probability"] = _tail_probability(task.given, X)
    arrays["far"] = arrays["tail_probability"] < FAR
    _warn_if_far(np.flatnonzero(arrays["far"]), X.shape[0])
    return _dataset(arrays, [features[j] for j in wanted], further)


# ---- what is observed, and what is to be predicted


def draws_of_fit(fit: Any, names: Names) -> tuple[Draws, list[str], bool]:
    """Draws, names of features, and whether there is a posterior."""
    mixture = mixture_of(fit)
    if mixture is not None:
        mixture.component.check_gaussian("features predicted from others")
        return Draws.of_mixture(mixture), names_of(fit, mixture), False
    tree = mixture_posterior(fit, names=names)
    draws = draws_of(tree)
    draws.component.check_gaussian("features predicted from others")
    return draws, tree_names(tree), True


def _observed_and_target(
    X: Any, features: list[str], observed: Features | None, target: Features | None
) -> tuple[Data, list[int], list[int]]:
    """Rows of observed features, their positions, and those of the features to predict."""
    wanted = None if target is None else positions_of(target, features, called="target features")
    rows, chosen = _observed(X, features, observed, wanted)
    wanted = others(chosen, features) if wanted is None else wanted
    both = [features[j] for j in wanted if j in chosen]
    if both:
        raise InputError(
            expected="target features other than the observed ones",
            got=f"{quoted(both)} among both",
            hint="Leave them out of X_observed, or name the columns to use: observed=.",
        )
    return Data(np.asfortranarray(rows, dtype=np.float64)), chosen, wanted


def _observed(
    X: Any, features: list[str], observed: Features | None, wanted: list[int] | None
) -> tuple[Rows, list[int]]:
    """Rows of observed features and their positions: those named, those of a dataframe, or all that are not wanted."""
    chosen = None if observed is None else positions_of(observed, features, called="observed features")
    named = chosen is not None and not isinstance(X, np.ndarray | list | tuple)
    rows, columns = read_table(X, columns=[features[j] for j in chosen or []] if named else None, name="X_observed")
    if chosen is None and columns != default_names(len(columns)):
        chosen = positions_of(columns, features, called="columns of X_observed")
    if chosen is None and wanted is None:
        raise InputError(
            expected="a dataframe, or observed= or target= for the columns of an array", got="an array alone"
        )
    chosen = others(wanted or [], features) if chosen is None else chosen
    if rows.shape[1] != len(chosen):
        raise InputError(
            expected=f"X_observed with the columns {quoted(features[j] for j in chosen)}",
            got=f"{rows.shape[1]} columns",
            hint="observed= says which features the columns of an array are.",
        )
    return rows, chosen


# ---- regression under all draws


class _Task(NamedTuple):
    """What is computed for each piece of rows.

    Attributes
    ----------
    given : Draws
        Of the observed features.
    regressions : Regressions
        With axes (sample, cluster).
    further : (quantile,)
    prob : float
    many : bool
        Whether the draws are a posterior.
    """

    given: Draws
    regressions: Regressions
    further: Array
    prob: float
    many: bool

    @property
    def rows_at_once(self) -> int:
        """Rows whose conditional means under all draws are held at once."""
        return max(1, _AT_ONCE // self.regressions.intercepts.size)

    def summary(self, data: Data) -> dict[str, Array]:
        """Arrays by name, rows along their first axis."""
        log_density, weights = given_observed(self.given, data)
        means, sds = self.regressions.means(data.rows), self.regressions.sds
        curves = np.einsum("nsk,nskj->njs", weights, means)
        mean, n_draws = curves.mean(axis=2), len(self.given)
        spread = np.square(means - mean[:, None, None]) + np.square(sds)
        tail = (1.0 - self.prob) / 2.0
        # One mixture of all draws' components for each row and target: (obs, target, sample and cluster).
        by_target, sds = np.moveaxis(means, 3, 1), np.moveaxis(sds, 2, 0)
        pooled = (
            (weights / n_draws).reshape(len(mean), 1, -1),
            by_target.reshape(*mean.shape, -1),
            sds.reshape(len(sds), -1),
        )
        predicted = mixture_quantiles(np.array([tail, 1.0 - tail, *self.further]), *pooled)
        found = {
            "mean": mean,
            "sd": np.sqrt(np.einsum("nsk,nskj->nj", weights / n_draws, spread)),
            "new_row": predicted[..., :2],
            "log_density": logsumexp(log_density, axis=1) - np.log(n_draws),
        }
        interval = interval_over_draws(self.prob, "eti")
        if self.many:
            found["curve"] = interval(curves)
        if len(self.further):
            found["quantiles"] = predicted[..., 2:]
        if self.many and len(self.further):
            each = mixture_quantiles(self.further, weights[:, None], by_target, sds)
            found["quantile_curves"] = interval(np.swapaxes(each, -1, -2))
        return found


# ---- far from the data


def _tail_probability(draws: Draws, data: Data) -> PerRow:
    """Probability of a lower density than that of observed values, from rows simulated with one seed."""
    some = draws.thinned(_FAR_DRAWS)
    simulated = reference(some, rng=np.random.default_rng(0))
    return simulated.tail_of_average(log_predictive_density(some, data))


def _warn_if_far(far: IntArray, n_rows: int) -> None:
    if len(far):
        named = numbered(far[:_MOST_NAMED].tolist(), "row") + (", ..." if len(far) > _MOST_NAMED else "")
        text = sentence(_WARNING, n=len(far), n_rows=n_rows, rows=named, rate=round(1.0 / FAR))
        warn_user(text, ExtrapolationWarning)


# ---- results with names


def _dataset(arrays: Mapping[str, Array], target: list[str], quantiles: Array) -> xr.Dataset:
    dims = {
        **dict.fromkeys(("mean", "sd"), (OBS, FEATURE)),
        **dict.fromkeys(("curve", "new_row"), (OBS, FEATURE, "ci_bound")),
        "quantiles": (OBS, FEATURE, "quantile"),
        "quantile_curves": (OBS, FEATURE, "quantile", "ci_bound"),
        **dict.fromkeys(("log_density", "tail_probability", "far"), (OBS,)),
    }
    coords: dict[str, Any] = {OBS: np.arange(len(arrays["mean"])), FEATURE: target, "ci_bound": ["lower", "upper"]}
    if len(quantiles):
        coords["quantile"] = quantiles
    return xr.Dataset({name: (own, arrays[name]) for name, own in dims.items() if name in arrays}, coords)
