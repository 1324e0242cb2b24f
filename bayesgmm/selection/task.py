"""Settings of a model comparison, validated before any work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm._common import Array, PerRow
from bayesgmm.estimators import PRIORS, GaussianMixture
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES, covariance_family
from bayesgmm.priors import Model, Prior
from bayesgmm.selection.criteria import BY_EM, CRITERIA, Criterion, criterion_named
from bayesgmm.selection.selection import Candidate
from bayesgmm.validation import as_rows, as_sample_weight, check_components, check_whole, texts

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture

ALL_FAMILIES = tuple(dict.fromkeys(family.name for family in FAMILIES.values()))
_UNIVARIATE = ("full", "tied")  # one feature: the others are the same models


@dataclass(frozen=True)
class Task:
    """Settings of a selection, checked when they are read."""

    data: ArrayLike
    covariance_types: str | Sequence[str] | None
    asked: int | Iterable[int]
    criteria: tuple[Criterion, ...]
    prior: Prior | str | None
    sample_weight: ArrayLike | None
    em: Mapping[str, Any]
    nuts: Mapping[str, Any]
    seed: int

    @cached_property
    def X(self) -> Array:  # noqa: N802  the field's name for rows
        """The rows as the kernel reads them."""
        return as_rows(self.data)

    @cached_property
    def row_weights(self) -> PerRow | None:
        """Frequency weights, checked."""
        return as_sample_weight(self.sample_weight, len(self.X))

    @property
    def bayesian(self) -> bool:
        """Whether models are fitted by NUTS too."""
        return any(criterion.bayesian for criterion in self.criteria)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Names in scikit-learn's manner, each once."""
        d, given = self.X.shape[1], self.covariance_types
        if given is None:
            given = "full" if self.bayesian else _UNIVARIATE if d == 1 else ALL_FAMILIES
        names = texts(given, "covariance_types")
        if not names:
            raise InputError(expected="at least one of covariance_types", got="none")
        return tuple(dict.fromkeys(covariance_family(name, d).name for name in names))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of components, ascending, each once."""
        given: list[Any] = list(self.asked) if isinstance(self.asked, Iterable) else [self.asked]
        if not given:
            raise InputError(expected="at least one of n_components", got="none")
        n_rows = len(self.X) if self.row_weights is None else round(self.row_weights.sum())
        for k in given:
            check_components(k, n_rows, weighted=self.row_weights is not None)
        return tuple(sorted({int(k) for k in given}))

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The models, in the order of the table."""
        return tuple(Candidate(family, k) for family in self.families for k in self.sizes)

    def prior_of(self, candidate: Candidate) -> Prior | None:
        """The prior in numbers."""
        if self.prior is None or isinstance(self.prior, Prior):
            return self.prior
        if not (isinstance(self.prior, str) and self.prior in PRIORS):
            raise InputError(expected=f"prior, or one of {', '.join(PRIORS)}", got=repr(self.prior))
        return PRIORS[self.prior](self.X, candidate.n_components, candidate.covariance_type, self.row_weights)

    def model_of(self, candidate: Candidate) -> Model:
        """What a candidate stands for, checked."""
        d, prior = self.X.shape[1], self.prior_of(candidate)
        return Model.of(candidate.covariance_type, candidate.n_components, d, prior=prior)

    def by_em(self, candidate: Candidate) -> GaussianMixture:
        """The estimator that fits a model by EM."""
        return GaussianMixture(
            candidate.n_components,
            covariance_type=candidate.covariance_type,
            prior=self.prior_of(candidate),
            random_state=self.seed,
            **self.em,
        )

    def by_nuts(self, candidate: Candidate) -> "BayesianGaussianMixture":
        """The estimator that samples the posterior of a model."""
        from bayesgmm.estimators import BayesianGaussianMixture

        return BayesianGaussianMixture(
            candidate.n_components,
            covariance_type=candidate.covariance_type,
            prior=self.prior_of(candidate),
            random_state=self.seed,
            **self.nuts,
        )

    def check(self) -> None:
        """Check all settings before any work."""
        _check_settings(self.em, GaussianMixture)
        for candidate in self.candidates:
            self.model_of(candidate)
        self.by_em(self.candidates[0])._validate_params()
        if self.bayesian:
            from bayesgmm.estimators import BayesianGaussianMixture

            _check_settings(self.nuts, BayesianGaussianMixture)
            self.by_nuts(self.candidates[0])._validate_params()
        weights = self.row_weights
        if any(c.name == "loo" for c in self.criteria) and weights is not None and (weights % 1.0 != 0).any():
            raise InputError(
                expected="whole numbers in sample_weight with criterion 'loo'",
                got=f"{weights[weights % 1.0 != 0][0]}",
                hint="Leave-one-out leaves out one copy of a row.",
            )


def criteria_asked(given: str | Sequence[str]) -> tuple[Criterion, ...]:
    """Those asked for, in their order, then the others that go by EM."""
    names = texts(given, "criterion")
    if not names:
        raise InputError(expected="at least one criterion", got="none")
    asked = [criterion_named(name) for name in names]
    return tuple(dict.fromkeys([*asked, *(CRITERIA[name] for name in BY_EM)]))


def seed_of(random_state: int | None) -> int:
    """The number that all fits start from."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    check_whole(least=0, most=2**32 - 1, random_state=random_state)
    return int(random_state)


def _check_settings(settings: Mapping[str, Any], estimator: Any) -> None:
    """Parameters of an estimator by name, without those that a comparison sets itself."""
    known = set(estimator._get_param_names()) - {"n_components", "covariance_type", "prior", "random_state"}
    if unknown := sorted(set(settings) - known):
        raise InputError(expected=f"parameters of {estimator.__name__} among {sorted(known)}", got=f"{unknown}")
