"""`MixtureClassifier`: discriminant analysis by Gaussian mixtures as a scikit-learn classifier."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from bayesgmm._common import Array, IntArray, Responsibilities
from bayesgmm.data import Allowed
from bayesgmm.estimators import SEEDS, BayesianGaussianMixture, GaussianMixture, ValidatedMixin, validated, whole
from bayesgmm.exceptions import InputError
from bayesgmm.priors import Prior
from bayesgmm.validation import as_sample_weight

_DROP = "Drop such rows, or fit GaussianMixture with labels=, -1 for unknown."
type Fit = GaussianMixture | BayesianGaussianMixture


class MixtureClassifier(ValidatedMixin, ClassifierMixin, BaseEstimator):
    r"""Classes that are Gaussians, or mixtures of several, with probabilities averaged over the posterior if sampled.

    With :math:`S_c` the components of class c,

    .. math::

        p(x, y = c) = \sum_{k \in S_c} w_k N(x \mid \mu_k, \Sigma_k), \quad
        p(y = c \mid x) = \frac{p(x, y = c)}{\sum_b p(x, y = b)}.

    One component a class is mclust's EDDA (Bensmail & Celeux 1996): quadratic discriminant analysis with
    ``covariance_type="full"``, linear with ``"tied"``, and what lies between with the other families. Several are
    mixture discriminant analysis (Hastie & Tibshirani 1996), mclust's MclustDA with one family for all classes: what
    the family shares, as volumes or shapes, all components share. It is one fit of `GaussianMixture` or
    `BayesianGaussianMixture` with labels: a row may come from the components of its class only. Class weights are
    estimated from the shares of the rows.

    Parameters
    ----------
    n_components : int, sequence of int, or mapping
        Components of each class: the same for all, or in the order of sorted classes, or by class.
    covariance_type : str
        As in `GaussianMixture`, which has fourteen families; the posterior of ten of them can be sampled.
    inference : {"em", "nuts", "gibbs"}
        ``"em"`` is a point estimate. With the others class probabilities are means over draws of the posterior, so
        that they are less extreme where classes have few rows.
    prior : Prior, optional
        Without it ``"em"`` is maximum likelihood, and the others take ``Prior.weakly_informative(X)``.
    reg_covar : float, optional
        Smallest eigenvalue of a covariance in EM, as in `GaussianMixture`.
    n_init : int
        Number of EM starts, where classes have several components.
    draws, tune, chains : int, optional
        As in `BayesianGaussianMixture`.
    random_state : int, RandomState or None
        The same seed gives the same result.
    progress : bool
        Show progress of sampling, in a terminal or notebook only.

    Attributes
    ----------
    classes_ : (n_classes,)
        Sorted.
    class_of_component_ : (cluster,)
        Position in ``classes_`` of the class of each component.
    estimator_ : GaussianMixture or BayesianGaussianMixture
        The fit: parameters, criteria as ``bic()``, or the posterior.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    InputError
        For rows, classes or settings that cannot be fitted, before any work.

    See Also
    --------
    GaussianMixture.fit : labels of some rows only.

    References
    ----------
    Bensmail & Celeux (1996), J. Am. Stat. Assoc. 91, 1743-1748; Hastie & Tibshirani (1996), J. R. Statist. Soc. B 58,
    155-176; Fraley & Raftery (2002), J. Am. Stat. Assoc. 97, 611-631.

    Examples
    --------
    Three species of iris, ellipsoids of one shape with volumes and orientations of their own:

    >>> from bayesgmm import MixtureClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MixtureClassifier(covariance_type="VEV").fit(X, y)
    >>> round(1.0 - model.score(X, y), 3)
    0.02
    """

    __module__ = "bayesgmm"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [whole(), "array-like", Mapping],
        "covariance_type": [str],
        "inference": [StrOptions({"em", "nuts", "gibbs"})],
        "prior": [Prior, None],
        "reg_covar": GaussianMixture._parameter_constraints["reg_covar"],
        "n_init": [whole()],
        "draws": [whole(), None],
        "tune": [whole(), None],
        "chains": [whole()],
        "random_state": SEEDS,
        "progress": ["boolean"],
    }

    def __init__(
        self,
        n_components: int | Sequence[int] | Mapping[Any, int] = 1,
        *,
        covariance_type: str = "full",
        inference: str = "em",
        prior: Prior | None = None,
        reg_covar: float | None = None,
        n_init: int = 10,
        draws: int | None = None,
        tune: int | None = None,
        chains: int = 4,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = True,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.inference = inference
        self.prior = prior
        self.reg_covar = reg_covar
        self.n_init = n_init
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.random_state = random_state
        self.progress = progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture of all classes.

        Parameters
        ----------
        X : (obs, feature)
            Complete rows.
        y : (obs,)
            The class of each row.
        sample_weight : (obs,), optional
            Frequency weights, as in `GaussianMixture.fit`.

        Returns
        -------
        MixtureClassifier
            Itself.

        Raises
        ------
        InputError
            If ``y`` is missing, has another length than ``X`` or holds numbers that are no classes.
        """
        n_rows = len(validated(self, X, reset=True, min_samples=2))
        classes, of_row = np.unique(_targets(y), return_inverse=True)
        if len(of_row) != n_rows:
            raise InputError(expected=f"a class for each of {n_rows} rows", got=f"y of {len(of_row)}")
        of_component = np.repeat(np.arange(len(classes)), self._sizes(classes))
        fit = self._mixture(len(of_component))
        fit.fit(X, sample_weight=sample_weight, labels=_allowed(of_row, of_component))
        self.classes_, self.class_of_component_, self.estimator_ = classes, of_component, fit
        return self

    def predict_proba(self, X: ArrayLike) -> Responsibilities:
        """Probability of each class for each row, (obs, class); of a posterior the mean over its draws."""
        check_is_fitted(self)
        of_class = np.equal.outer(self.class_of_component_, np.arange(len(self.classes_)))
        found: Array = self.estimator_.predict_proba(X) @ of_class.astype(np.float64)
        return found

    def predict(self, X: ArrayLike) -> Any:
        """The most probable class of each row, (obs,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of the rows whose most probable class is right, with ``sample_weight`` (obs,) of their weight."""
        predicted, known = self.predict(X), _targets(y)
        if len(known) != len(predicted):
            raise InputError(expected=f"a class for each of {len(predicted)} rows", got=f"y of {len(known)}")
        weights = as_sample_weight(sample_weight, len(known), relative=True)
        return float(np.average(predicted == known, weights=weights))

    def _sizes(self, classes: Any) -> IntArray:
        """Components of each class."""
        n = len(classes)
        given: Any = self.n_components
        if isinstance(given, Integral):
            return np.full(n, given, dtype=np.int64)
        if isinstance(given, Mapping):
            given = [given.get(each) for each in classes.tolist()] if {*given} == {*classes.tolist()} else []
        sizes = list(given)
        if len(sizes) != n or not all(_is_count(size) for size in sizes):
            raise InputError(
                expected=f"n_components a whole number, or one of at least 1 for each of {n} classes",
                got=f"{self.n_components!r:.80}",
            )
        return np.array(sizes, dtype=np.int64)

    def _mixture(self, n_components: int) -> Fit:
        """The estimator of all components, not fitted."""
        common: dict[str, Any] = {
            "covariance_type": self.covariance_type,
            "prior": self.prior,
            "n_init": self.n_init,
            "reg_covar": self.reg_covar,
            "random_state": self.random_state,
        }
        if self.inference == "em":
            return GaussianMixture(n_components, **common)
        sampling: dict[str, Any] = {
            "draws": self.draws,
            "tune": self.tune,
            "chains": self.chains,
            "progress": self.progress,
        }
        return BayesianGaussianMixture(n_components, inference=self.inference, **common, **sampling)


def _targets(y: ArrayLike) -> Any:
    """Classes in one dimension, checked."""
    if y is None:
        sentence = "MixtureClassifier requires y to be passed, but the target y is None."
        raise InputError(expected="the class of each row", got="y=None", sentence=sentence)
    try:
        values = column_or_1d(y, warn=True)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(expected="a class for each row", got="missing or infinite values in y", hint=_DROP)
        check_classification_targets(values)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(expected="classes", got="others", sentence=str(error)) from error
    return values


def _allowed(of_row: IntArray, of_component: IntArray) -> Allowed:
    """The components (obs, cluster) of the class of each row."""
    return np.equal.outer(of_row, of_component)


def _is_count(size: Any) -> bool:
    return isinstance(size, Integral) and not isinstance(size, bool | np.bool_) and int(size) >= 1
