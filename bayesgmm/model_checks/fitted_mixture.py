"""A fitted mixture under check: draws of a posterior or EM's solution, its rows, and how to refit it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import IntArray, Rows
from bayesgmm.cross_validation import relative_efficiency
from bayesgmm.data import Data, refuse_labelled
from bayesgmm.em import EMSettings
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.noise import noise_of, run_em_from
from bayesgmm.posterior import (
    FEATURE,
    NO_NAMES,
    Names,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
    start_mixture,
)
from bayesgmm.prediction import log_densities
from bayesgmm.priors import Model, Prior
from bayesgmm.validation import as_sample_weight, copies_of_rows, default_names

MOST_DRAWS = 500  # of a posterior, evenly spaced: a check asks for tail probabilities, not for three digits
_SMALLEST_WEIGHT = 1e-12
_OF_STUDENT_T = "Of Student-t components, fit.mixture_.robust_weights(X) are small for outliers."
_SIMULATED = "Checks simulate as many rows as there are."


@dataclass(frozen=True)
class FittedMixture:
    """A fitted mixture under check.

    Attributes
    ----------
    draws : Draws
        At most `MOST_DRAWS` draws of the posterior, or the one mixture that EM found.
    data : Data
    copies : (copy,) array of int
        The row of each copy: rows as often as their weights say.
    features : list of str
    best : Mixture
        The optimum that EM reaches with the prior.
    model : Model
        Of the fit, for refits.
    r_eff : float
        Effective draws per draw.
    bayesian : bool
        Whether there is a posterior.
    """

    draws: Draws
    data: Data
    copies: IntArray
    features: list[str]
    best: Mixture
    model: Model
    r_eff: float
    bayesian: bool

    @property
    def counted_rows(self) -> Rows:
        """Every row as often as its weight says."""
        return self.data.take(self.copies).rows

    def refit(self, X: Rows, start: Mixture) -> Mixture:
        """The optimum that EM reaches for other rows, started at a mixture; the box of noise stays."""
        settings = EMSettings(1e-8, 500, reg_covar=None if self.model.prior is None else 0.0)
        return run_em_from(Data(X), start, prior=self.model.prior, settings=settings).mixture

    def mixture(self, s: int) -> Mixture:
        """One of the draws."""
        return mixture_of(self.draws, s)


def fitted_mixture_of(
    fit: Any, X: ArrayLike | None = None, *, sample_weight: ArrayLike | None = None, names: Names = NO_NAMES
) -> FittedMixture:
    """A fit by EM, or a posterior from this package, PyMC, NumPyro or Stan, as a `FittedMixture`.

    Raises
    ------
    InputError
        If the rows are needed and not there, or weights are not whole numbers.
    """
    if not hasattr(fit, "posterior_") and hasattr(fit, "mixture_"):
        return _of_em(fit, X, sample_weight)
    tree = mixture_posterior(fit, X, names=names)
    refuse_labelled(tree, "a check of the model, which refits it")
    model_of(tree).component.check_gaussian("checks and outlier scores")
    data = data_of(tree, all_for="a check of the model", some_do=True)
    n_rows, given = data.shape[0], as_sample_weight(sample_weight, data.shape[0])
    every = draws_of(tree)
    subset = every.thinned(MOST_DRAWS)
    fitted = FittedMixture(
        draws=subset,
        data=data,
        copies=copies_of_rows(n_rows, data.row_weights if given is None else given, why=_SIMULATED),
        features=[str(name) for name in tree["posterior"][FEATURE].to_numpy()],
        best=_start(tree, subset, data),
        model=model_of(tree, None if "prior" in tree.attrs else Prior.weakly_informative(data.rows)),
        r_eff=min(1.0, relative_efficiency(tree) * len(every) / len(subset)),
        bayesian=True,
    )
    return replace(fitted, best=fitted.refit(fitted.counted_rows, fitted.best))


def mixture_of(draws: Draws, s: int) -> Mixture:
    """A draw as a mixture; weights that vanished are kept just above zero."""
    weights = np.maximum(draws.weights[[s]], _SMALLEST_WEIGHT)
    own = Draws(weights / weights.sum(), draws.means[[s]], draws.compact[[s]], family=draws.family)
    if draws.noise is not None and draws.noise_weight is not None:
        own = own.with_noise(draws.noise, draws.noise_weight[[s]])
    return own.mixture(0)


def _of_em(fit: Any, X: ArrayLike | None, sample_weight: ArrayLike | None) -> FittedMixture:
    refuse_labelled(fit, "a check of the model, which refits it")
    mixture: Mixture = fit.mixture_
    mixture.component.check_gaussian("checks and outlier scores", hint=_OF_STUDENT_T)
    if X is None:
        raise InputError(expected="the rows X", got="a fit by EM, which does not keep them", hint="Pass X.")
    features = [str(name) for name in getattr(fit, "feature_names_in_", default_names(mixture.n_features))]
    data = Data.of(X, n_features=mixture.n_features, features=features)
    n_rows, weights = data.shape[0], as_sample_weight(sample_weight, data.shape[0])
    return FittedMixture(
        draws=_one_draw(mixture),
        data=data,
        copies=copies_of_rows(n_rows, weights, why=_SIMULATED),
        features=features,
        best=mixture,
        model=Model.of_mixture(mixture, getattr(fit, "prior_", None)),
        r_eff=1.0,
        bayesian=False,
    )


def _one_draw(mixture: Mixture) -> Draws:
    """A mixture, with its noise, as a set of draws."""
    (noise, weight), draws = noise_of(mixture), Draws.of_mixture(mixture.components)
    return draws if noise is None else draws.with_noise(noise, np.array([weight]))


def _start(tree: xr.DataTree, draws: Draws, data: Data) -> Mixture:
    """EM's solution if it is kept with the posterior, or else the draw of highest likelihood."""
    if "constant_data" in tree.children and "em_weights" in tree["constant_data"]:
        return start_mixture(tree)
    return mixture_of(draws, int(log_densities(draws, data).sum(axis=1).argmax()))
