"""Settings of a model comparison, validated before any work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bayesgmm.data import MARGINALIZE, Data, IncompleteData, SourceData, allowed_components
from bayesgmm.estimators import PRIORS, GaussianMixture
from bayesgmm.exceptions import InputError
from bayesgmm.io import fingerprint_of_arrays, open_source
from bayesgmm.mixture import FAMILIES, component_of, covariance_family
from bayesgmm.priors import Model, Prior
from bayesgmm.selection.criteria import BY_EM, CRITERIA, Criterion, criterion_named
from bayesgmm.selection.selection import AnyCandidate, Candidate, ComponentCandidate
from bayesgmm.validation import as_rows, as_sample_weight, check_components, check_whole, is_elsewhere, texts

if TYPE_CHECKING:
    from bayesgmm.estimators import BayesianGaussianMixture

ALL_FAMILIES = tuple(dict.fromkeys(family.name for family in FAMILIES.values()))
_UNIVARIATE = ("full", "tied")  # one feature: the others are the same models


@dataclass(frozen=True)
class Task:
    """Settings of a selection, checked when they are read."""

    data: ArrayLike
    covariance_types: str | Sequence[str] | None
    component: str | Sequence[str] | None
    asked: int | Iterable[int]
    criteria: tuple[Criterion, ...]
    prior: Prior | str | None
    sample_weight: ArrayLike | None
    em: Mapping[str, Any]
    nuts: Mapping[str, Any]
    seed: int
    labels: ArrayLike | None = None

    @cached_property
    def rows(self) -> Any:
        """What estimators are given: the data as they came, or a source that is opened once."""
        if not is_elsewhere(self.data):
            return self.data
        if self.bayesian or self.sample_weight is not None:
            raise InputError(
                expected="criteria by EM, and no sample_weight, for rows that are not in memory",
                got="others" if self.bayesian else "sample_weight",
                hint="Take a sample: bayesgmm.open_source(...).sample(100_000).",
            )
        return open_source(self.data)

    @cached_property
    def checked(self) -> Data:
        """Checked rows with their weights; of a source, read once, the sample is that of an estimator with the seed."""
        if is_elsewhere(self.data):
            return SourceData.read_once(self.rows, rng=np.random.default_rng(self.seed).spawn(1)[0])
        rows = as_rows(self.data, gaps=self.has_gaps)
        weights = as_sample_weight(self.sample_weight, len(rows))
        return IncompleteData(rows, weights) if np.isnan(rows).any() else Data(rows, weights)

    @property
    def has_gaps(self) -> bool:
        """Whether values may be missing."""
        return self.em.get("missing") == MARGINALIZE

    @property
    def bayesian(self) -> bool:
        """Whether models are fitted by NUTS too."""
        return any(criterion.bayesian for criterion in self.criteria)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Names in scikit-learn's manner, each once."""
        d, given = self.checked.shape[1], self.covariance_types
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
        for k in given:
            check_components(k, round(self.checked.total), weighted=self.checked.row_weights is not None)
        return tuple(sorted({int(k) for k in given}))

    @cached_property
    def candidates(self) -> tuple[AnyCandidate, ...]:
        """The models, in the order of the table."""
        if self.component is None:
            return tuple(Candidate(family, k) for family in self.families for k in self.sizes)
        names = dict.fromkeys(texts(self.component, "component"))
        if not names:
            raise InputError(expected="at least one component", got="none")
        families = self.families
        return tuple(ComponentCandidate(family, name, k) for family in families for name in names for k in self.sizes)

    def prior_of(self, candidate: AnyCandidate) -> Prior | None:
        """The prior in numbers."""
        if self.prior is None or isinstance(self.prior, Prior):
            return self.prior
        if not (isinstance(self.prior, str) and self.prior in PRIORS):
            raise InputError(expected=f"prior, or one of {', '.join(PRIORS)}", got=repr(self.prior))
        some = self.checked.sample
        return PRIORS[self.prior](some, candidate.n_components, candidate.covariance_type, some.row_weights)

    def model_of(self, candidate: AnyCandidate) -> Model:
        """What a candidate stands for, checked."""
        d, prior = self.checked.shape[1], self.prior_of(candidate)
        named = {name: self.em[name] for name in ("component", "dof") if name in self.em} | candidate.settings
        component = component_of(**{"component": "gaussian", **named})
        return Model.of(candidate.covariance_type, candidate.n_components, d, prior=prior, component=component)

    def by_em(self, candidate: AnyCandidate) -> GaussianMixture:
        """The estimator that fits a model by EM."""
        return GaussianMixture(
            candidate.n_components,
            covariance_type=candidate.covariance_type,
            prior=self.prior_of(candidate),
            random_state=self.seed,
            **{**self.em, **candidate.settings},
        )

    def by_nuts(self, candidate: AnyCandidate) -> "BayesianGaussianMixture":
        """The estimator that samples the posterior of a model."""
        from bayesgmm.estimators import BayesianGaussianMixture

        return BayesianGaussianMixture(
            candidate.n_components,
            covariance_type=candidate.covariance_type,
            prior=self.prior_of(candidate),
            random_state=self.seed,
            **self.nuts,
        )

    @property
    def work(self) -> dict[str, Any]:
        """What the comparison is about, for its checkpoint; those of its fits know their settings."""
        parts = () if self.labels is None else (np.asarray(self.labels),)
        X = self.rows.fingerprint if is_elsewhere(self.data) else fingerprint_of_arrays(self.checked.entries, *parts)
        names = {"models": [str(each) for each in self.candidates], "criteria": [each.name for each in self.criteria]}
        return {"call": "select_components", "X": X, **names}

    def check(self) -> None:
        """Check all settings before any work."""
        check_settings(self.em, GaussianMixture)
        if self.bayesian and self.em["noise"] is not False:
            raise InputError(
                expected="criteria by EM for models with noise",
                got=", ".join(each.name for each in self.criteria if each.bayesian),
                hint="bic, aic or icl compare them.",
            )
        for candidate in self.candidates:
            model = self.model_of(candidate)
            if self.has_gaps:
                model.family.having("missing values")
            if self.labels is not None:
                allowed_components(self.labels, self.checked.shape[0], candidate.n_components)
            if self.bayesian:
                model.family.for_posterior()
                model.component.check_gaussian("criteria by NUTS", hint="Compare by 'bic', 'aic' or 'icl'.")
        self.by_em(self.candidates[0])._validate_params()
        if self.bayesian:
            from bayesgmm.estimators import BayesianGaussianMixture

            check_settings(self.nuts, BayesianGaussianMixture)
            self.by_nuts(self.candidates[0])._validate_params()
        weights = self.checked.row_weights
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


def check_settings(settings: Mapping[str, Any], estimator: Any) -> None:
    """Parameters of an estimator by name, without those that a comparison sets itself."""
    known = set(estimator._get_param_names()) - {"n_components", "covariance_type", "prior", "random_state"}
    if unknown := sorted(set(settings) - known):
        raise InputError(expected=f"parameters of {estimator.__name__} among {sorted(known)}", got=f"{unknown}")
