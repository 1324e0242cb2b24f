"""Input validation of both estimators: rows by `bayesgmm.validation`, feature and parameter names by scikit-learn."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _param_validation
from sklearn.utils.validation import validate_data

from bayesgmm._common import Array, quoted
from bayesgmm.data import MARGINALIZE, MISSING, Data, IncompleteData
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES, Component, CovarianceFamily, covariance_family
from bayesgmm.validation import (
    LARGEST_COUNT,
    are_moderate,
    as_rows,
    as_sample_weight,
    check_whole,
    is_elsewhere,
    is_plain,
    named_column,
    read_table,
)


class InvalidParameterError(InputError, _param_validation.InvalidParameterError):
    """A parameter of an estimator out of its domain: ours and scikit-learn's error at once."""

    __module__ = "bayesgmm.estimators"

    def __init__(self, sentence: str) -> None:
        super().__init__(expected="legal parameters", got="others", sentence=sentence)


class Number(_param_validation.Interval):
    """scikit-learn's interval of numbers, without true and false."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is in the interval."""
        return not isinstance(val, bool | np.bool_) and bool(super().is_satisfied_by(val))


class FamilyName(_param_validation.StrOptions):
    """Names of covariance families; those of mixtures of factor analysers are many."""

    def __init__(self) -> None:
        super().__init__({*FAMILIES, "factor"})

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value names a family, or one for each number of factors."""
        if super().is_satisfied_by(val):
            return True
        try:
            covariance_family(val)
        except InputError:
            return False
        return True


def family_of(estimator: Any, n_features: int | None = None) -> CovarianceFamily:
    """The covariance family that an estimator's parameters name."""
    return covariance_family(estimator.covariance_type, n_features, getattr(estimator, "n_factors", None))


def whole(least: int = 1) -> Number:
    """Whole numbers from a least one on, as many as anything below can count."""
    return Number(Integral, least, LARGEST_COUNT, closed="both")


N_JOBS: list[Any] = [whole(), Number(Integral, -LARGEST_COUNT, -1, closed="both"), None]
SEEDS: list[Any] = [Number(Integral, 0, 2**32 - 1, closed="both"), np.random.RandomState, None]


class ValidatedMixin:
    """Parameters checked as scikit-learn does; the error is an `InputError` too. Whether NaN is taken."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = getattr(self, "missing", MISSING[0]) == MARGINALIZE
        return tags

    def _validate_params(self) -> None:
        try:
            super()._validate_params()  # type: ignore[misc]
        except _param_validation.InvalidParameterError as error:
            raise InvalidParameterError(str(error)) from None
        if getattr(self, "missing", MISSING[0]) == MARGINALIZE:
            family_of(self).having("missing values")


def validated(
    estimator: Any,
    X: Any,
    *,
    dtypes: tuple[type, ...] = (np.float64,),
    reset: bool = False,
    min_samples: int = 1,
) -> Array:
    """Rows that passed `read_table`, with features that are those of the fit; a plain array passes at no cost.

    NaN where values are missing, if the estimator takes such rows.
    """
    gaps = getattr(estimator, "missing", MISSING[0]) == MARGINALIZE
    if is_plain(X, dtypes, least_rows=min_samples) and _expected(estimator, X, reset=reset):
        estimator.n_features_in_ = X.shape[1]
        return X
    X = named_column(X)
    rows = read_table(X, least_rows=min_samples, gaps=gaps).rows
    try:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    except ValueError as error:
        raise InputError(expected="the features of the fit", got="others", sentence=str(error)) from error
    return rows if rows.dtype in dtypes else rows.astype(np.float64)


def as_data(checked: Array, sample_weight: ArrayLike | None = None, *, names: Sequence[str] | None = None) -> Data:
    """Validated rows with their weights; with the names of features, for a fit, each of which must be observed."""
    weights = as_sample_weight(sample_weight, len(checked))
    if are_moderate(checked):
        return Data(as_rows(checked), weights)
    data = IncompleteData(checked.astype(np.float64, copy=False), weights)
    unseen = np.isnan(data.entries[data.weights > 0]).all(axis=0)
    if names is not None and unseen.any():
        which = quoted([str(name) for name, lacking in zip(names, unseen, strict=True) if lacking])
        raise InputError(expected="values in each column", got=f"none in {which}", hint="Drop such columns.")
    return data


def check_noise(estimator: Any, X: Any, labels: object = None) -> None:
    """Refuse what does not go with a noise component yet."""
    if estimator.noise is False or estimator.noise is np.False_:
        return
    family_of(estimator).having("a noise component")
    given = {
        "rows that are not in memory": is_elsewhere(X),
        "labels": labels is not None,
        "missing='marginalize'": estimator.missing == MARGINALIZE,
        "Student-t components": getattr(estimator, "component", "gaussian") != "gaussian",
        "engine='pymc'": getattr(estimator, "engine", "native") != "native",
        "inference other than 'nuts'": getattr(estimator, "inference", "nuts") != "nuts",
    }
    if together := [what for what, there in given.items() if there]:
        raise InputError(
            expected=f"no {together[0]} with a noise component",
            got=f"noise={estimator.noise!r}",
            hint="Leave out one of them; of files, bayesgmm.open_source(...).sample(100_000) is in memory.",
        )


def check_component(component: Component, inference: str, engine: str) -> None:
    """Refuse what samples posteriors of Gaussian components only."""
    if (inference, engine) != ("nuts", "native"):
        samples = "the PyMC model" if engine != "native" else f"inference={inference!r}"
        component.check_gaussian(samples, hint='Use inference="nuts" and engine="native".')


def check_labels(*, in_memory: bool) -> None:
    """Refuse labels of rows that are not in memory."""
    if not in_memory:
        raise InputError(
            expected="labels with rows in memory", got="others", hint="Read some: open_source(...).sample(10_000)."
        )


def _expected(estimator: Any, X: Array, *, reset: bool) -> bool:
    """Whether the columns are those of the fit, without names, or there was none that would have to be forgotten."""
    if hasattr(estimator, "feature_names_in_"):
        return False
    return reset or X.shape[1] == getattr(estimator, "n_features_in_", None)


def check_n_samples(n_samples: object) -> None:
    """A number of rows to draw, told in scikit-learn's words."""
    try:
        check_whole(n_samples=n_samples)
    except InputError as error:
        sentence = (
            f"Invalid value for 'n_samples': {n_samples!r}. A sample has at least one row, and a whole number of them."
        )
        raise InputError(expected=error.expected, got=error.got, sentence=sentence) from None
