"""The two fits of a comparison, EM or posterior, and their common rows, checked before any work."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import PerRow, Responsibilities
from bayesgmm.data import MARGINALIZE, N_LABELLED, Data, IncompleteData
from bayesgmm.em import EMSettings
from bayesgmm.exceptions import InputError
from bayesgmm.label_switching import component_record, relabel, relabelling
from bayesgmm.mixture import Draws, Mixture, measure, row_densities, row_memberships
from bayesgmm.posterior import (
    FEATURE,
    NO_NAMES,
    Names,
    data_of,
    draws_of,
    mean_mixture,
    mixture_posterior,
    model_of,
    prior_from_json,
    root_of,
    start_mixture,
)
from bayesgmm.prediction import log_predictive_density, mean_probabilities
from bayesgmm.priors import Prior
from bayesgmm.validation import as_sample_weight, default_names, read_table

_SAME_ROWS = float(np.finfo(np.float32).eps)  # relative: single precision of the same rows passes
_SAME_LIKELIHOOD = 1e-5  # relative, per row


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One of the two fits.

    Attributes
    ----------
    name : str
        What its columns are called: ``em``, ``bayes``, or with a number if both are of one kind.
    mixture : Mixture
        EM's estimate, or the posterior mean.
    settings : EMSettings
        For refits.
    prior : Prior, optional
        Of a fit by maximum a posteriori, or of a posterior.
    tree : DataTree, optional
        The posterior, in common labels; none for EM.
    draws : Draws, optional
        The same.
    start : Mixture, optional
        The maximum a posteriori from which the chains started, in the labels of the draws.
    identified : bool
        Whether the components of a posterior are identified.
    n_optima, n_best_reached, n_starts : int
        Of EM's starts, if they are known.
    features : tuple of str, optional
        Names of the columns, if it was given any.
    """

    name: str
    mixture: Mixture
    settings: EMSettings
    prior: Prior | None = None
    tree: xr.DataTree | None = None
    draws: Draws | None = None
    start: Mixture | None = None
    identified: bool = True
    n_optima: int = 1
    n_best_reached: int = 1
    n_starts: int = 1
    features: tuple[str, ...] | None = None

    @property
    def bayesian(self) -> bool:
        """Whether it is a posterior."""
        return self.draws is not None

    @property
    def label(self) -> str:
        """Its name in sentences."""
        kind = "the posterior" if self.bayesian else "EM"
        number = self.name.partition("_")[2]
        return f"{kind} {number}" if number else kind

    def memberships(self, data: Data) -> Responsibilities:
        """EM's responsibilities, or posterior means of these probabilities, (obs, cluster), noise in a last column."""
        return row_memberships(data, self.mixture) if self.draws is None else mean_probabilities(self.draws, data)

    def log_density(self, data: Data) -> PerRow:
        """Log plug-in density, or log posterior predictive density, of each row."""
        return row_densities(data, self.mixture) if self.draws is None else log_predictive_density(self.draws, data)


@dataclass(frozen=True)
class FitPair:
    """Two fits and the rows both were fitted to; of EM and a posterior, EM is the first.

    Attributes
    ----------
    first, second : Fit
    data : Data
        Rows without weight are left out.
    features : list of str
    """

    first: Fit
    second: Fit
    data: Data
    features: list[str]

    def __iter__(self) -> Any:
        return iter((self.first, self.second))


def fit_pair(
    em: Any,
    bayes: Any,
    X: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    names: Names = NO_NAMES,
) -> FitPair:
    """Check two fits, and bring them and their rows into one form.

    Raises
    ------
    InputError
        A fit is not fitted, rows are needed and not given, or the fits are of different rows or features.
    """
    fits = sorted((em, bayes), key=_is_bayesian)  # stable: EM before a posterior
    shown = _names_of([_is_bayesian(fit) for fit in fits])
    trees = [_tree_of(fit, X, names) if _is_bayesian(fit) else None for fit in fits]
    data = _common_rows(trees, X, sample_weight, gaps=any(getattr(fit, "missing", "") == MARGINALIZE for fit in fits))
    _check_features(fits, trees, data.shape[1])
    sides = [
        _em_fit(fit, name, data) if tree is None else _bayesian_fit(tree, name, data)
        for fit, tree, name in zip(fits, trees, shown, strict=True)
    ]
    return FitPair(sides[0], sides[1], data, _feature_names(sides, data.shape[1]))


def _is_bayesian(fit: Any) -> bool:
    """Whether a fit is a posterior."""
    if isinstance(root_of(fit), Mapping | xr.Dataset | xr.DataTree):
        return True
    if isinstance(getattr(fit, "mixture_", None), Mixture):
        return False
    raise InputError(
        expected="a fitted GaussianMixture, a fitted BayesianGaussianMixture, or a posterior",
        got=f"{type(fit).__name__} that is not fitted" if hasattr(fit, "fit") else type(fit).__name__,
        hint="Call fit first." if hasattr(fit, "fit") else "",
    )


def _names_of(bayesian: list[bool]) -> list[str]:
    kinds = ["bayes" if each else "em" for each in bayesian]
    return kinds if kinds[0] != kinds[1] else [f"{kinds[0]}_1", f"{kinds[1]}_2"]


def _tree_of(fit: Any, X: ArrayLike | None, names: Names) -> xr.DataTree:
    own = mixture_posterior(fit, names=names)
    return own if "observed_data" in own.children else mixture_posterior(fit, X, names=names)


def _common_rows(
    trees: list[xr.DataTree | None], X: ArrayLike | None, sample_weight: ArrayLike | None, *, gaps: bool
) -> Data:
    """The rows that were given and those kept with posteriors, which must be the same; with the labels of these."""
    kept = [data_of(tree) for tree in trees if tree is not None]
    if X is None and (not kept or sample_weight is not None):
        raise InputError(
            expected="the rows X" + (" with sample_weight" if kept else ""),
            got="none",
            hint="A fit by EM does not keep its rows: pass X=, those of both fits.",
        )
    given = kept[0] if X is None else _present(_read(X, gaps=gaps), sample_weight)
    for data in kept:
        _check_same(given, data, weighted=X is None or sample_weight is not None)
    for data in kept[1:]:
        _check_same(kept[0], data, weighted=True)
    return kept[0] if kept else given


def _read(X: ArrayLike, *, gaps: bool) -> Data:
    """Rows, some of which may have missing values if those of a fit may."""
    rows = read_table(X, gaps=gaps).rows
    return IncompleteData(rows) if np.isnan(rows).any() else Data.of(X)


def _present(data: Data, sample_weight: ArrayLike | None) -> Data:
    """Rows of positive weight, and their weights; none if all are one."""
    weights = as_sample_weight(sample_weight, data.shape[0])
    if weights is None or (weights == 1.0).all():
        return data
    return data.with_weights(weights).take(np.flatnonzero(weights))


def _check_same(given: Data, kept: Data, *, weighted: bool) -> None:
    a, b = given.entries, kept.entries
    if a.shape[1] != b.shape[1]:
        raise InputError(expected=f"fits of the same features, {b.shape[1]}", got=f"{a.shape[1]}")
    if a.shape != b.shape or not np.allclose(a, b, rtol=_SAME_ROWS, atol=0.0, equal_nan=True):
        what = f"{len(a)} and {len(b)} rows" if len(a) != len(b) else "rows with other values"
        raise InputError(
            expected="fits of the same rows in the same order",
            got=what,
            hint="Rows of weight zero do not count. Fit both to the same data.",
        )
    if weighted and not np.allclose(given.weights, kept.weights):
        raise InputError(
            expected="fits with the same weights of rows", got="different ones", hint="Pass sample_weight=."
        )


def _check_features(fits: list[Any], trees: list[xr.DataTree | None], n_features: int) -> None:
    for fit, tree in zip(fits, trees, strict=True):
        d = fit.mixture_.n_features if tree is None else tree["posterior"].sizes[FEATURE]
        if d != n_features:
            raise InputError(expected=f"fits of the {n_features} features of the rows", got=f"one of {d}")


def _em_fit(fit: Any, name: str, data: Data) -> Fit:
    _check_labels(getattr(fit, "n_labelled_", 0), data)
    mixture: Mixture = fit.mixture_
    mixture.component.check_gaussian("a comparison")
    _check_likelihood(fit, mixture, data)
    starts, names = getattr(fit, "starts_", None), getattr(fit, "feature_names_in_", None)
    return Fit(
        name=name,
        mixture=mixture,
        settings=EMSettings(fit.tol, fit.max_iter, fit.reg_covar),
        prior=getattr(fit, "prior_", None),
        n_optima=getattr(starts, "n_optima", 1),
        n_best_reached=getattr(starts, "n_best_reached", 1),
        n_starts=getattr(starts, "n_starts", 1),
        features=None if names is None else tuple(map(str, names)),
    )


def _check_labels(n_labelled: int, data: Data) -> None:
    """Both fits have the labels that a posterior keeps, or none has any."""
    known = 0 if data.allowed is None else int((~data.allowed.all(axis=1)).sum())
    if n_labelled != known:
        raise InputError(
            expected="two fits with the same labels",
            got=f"one with {n_labelled} labelled rows beside {known} that are known",
            hint="A posterior keeps its labels, EM does not: of two fits with labels, one has to be a posterior.",
        )


def _check_likelihood(fit: Any, mixture: Mixture, data: Data) -> None:
    """The rows are those of the fit if they have its log-likelihood; parameters that a user set have none."""
    known = getattr(fit, "log_likelihood_", None)
    if known is None:
        return
    found = measure(data, mixture).log_likelihood
    if not abs(found - known) <= _SAME_LIKELIHOOD * (abs(known) + data.total):
        raise InputError(
            expected=f"the rows and weights of EM's fit, with log-likelihood {known:.3f}",
            got=f"rows with {found:.3f}",
            hint="Fit both to the same data with the same weights; pass those as X= and sample_weight=.",
        )


def _bayesian_fit(tree: xr.DataTree, name: str, data: Data) -> Fit:
    model_of(tree).component.check_gaussian("a comparison")
    _check_labels(int(tree.attrs.get(N_LABELLED, 0)), data)
    own = "prior" in tree.attrs
    if not own and tree["posterior"]["weights"].shape[-1] > 1:
        tree = relabel(tree, data, progress=False)
        identified = relabelling(tree).identified
    else:
        record = component_record(tree, data) if own else None
        identified = record is None or record.identified
    started = "constant_data" in tree.children and "em_weights" in tree["constant_data"]
    features = [str(each) for each in tree["posterior"][FEATURE].to_numpy()]
    return Fit(
        name=name,
        mixture=mean_mixture(tree),
        settings=EMSettings(),
        prior=_prior_of(tree),
        tree=tree,
        draws=draws_of(tree),
        start=start_mixture(tree) if started else None,
        identified=identified,
        features=None if features == default_names(data.shape[1]) else tuple(features),
    )


def _prior_of(tree: xr.DataTree) -> Prior | None:
    return prior_from_json(str(tree.attrs["prior"])) if "prior" in tree.attrs else None


def _feature_names(sides: list[Fit], n_features: int) -> list[str]:
    known = [side.features for side in sides if side.features is not None]
    if len(set(known)) > 1:
        raise InputError(expected="fits of the same features", got=f"{list(known[0])} and {list(known[1])}")
    return list(known[0]) if known else default_names(n_features)
