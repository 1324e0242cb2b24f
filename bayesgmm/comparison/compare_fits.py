"""`compare`: comparison of EM with a posterior, or of two fits of the same kind."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, Array, Responsibilities, progress_bar, sentence
from bayesgmm.comparison.agreement import calibration_table, checked_classes, partitions_of, reliability_of
from bayesgmm.comparison.comparison import Comparison
from bayesgmm.comparison.comparison_table import parameter_table
from bayesgmm.comparison.disagreement import are_other_optima, conditions_of, diagnosis_of, reasons_of_posterior
from bayesgmm.comparison.estimates import Estimates, Match, estimates_of, matched, refuse_labels
from bayesgmm.comparison.findings import (
    component_findings,
    membership_findings,
    mode_findings,
    parameter_findings,
    partition_findings,
    prediction_findings,
)
from bayesgmm.comparison.fits import Fit, FitPair, fit_pair
from bayesgmm.comparison.held_out import HeldOut, held_out, standard_error_of_sum
from bayesgmm.comparison.messages import Finding, Note
from bayesgmm.exceptions import DegeneracyWarning, DegenerateComponentError, InputError
from bayesgmm.noise import refuse_noise
from bayesgmm.posterior import NO_NAMES, Names
from bayesgmm.prediction import interval_probability
from bayesgmm.standard_errors import Bootstrap
from bayesgmm.standard_errors import bootstrap as bootstrap_of
from bayesgmm.validation import check_flag, check_whole, generator_of

REPLICATES = 199


def compare(
    em: Any,
    bayes: Any,
    X: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    bootstrap: int = REPLICATES,
    folds: int | None = None,
    classes: ArrayLike | None = None,
    ci_prob: float | None = None,
    random_state: int | None = None,
    progress: bool = True,
    names: Names = NO_NAMES,
) -> Comparison:
    r"""Compare EM with the posterior: parameters, partitions, predictions, memberships, and reasons for differences.

    Components are matched by optimal assignment, see `bayesgmm.mixture.align_to`. For each parameter, with
    EM's estimate :math:`\hat\theta` and interval :math:`[\hat l, \hat u]`, posterior mean :math:`\bar\theta`, sd
    :math:`s` and interval :math:`[l, u]`,

    .. math:: d = (\hat\theta - \bar\theta) / s, \quad d_l = (\hat l - l) / s, \quad d_u = (\hat u - u) / s,

    and a flag if one of them exceeds a half in size: an 89 % interval with one end off by that much covers 81 %.
    A flag comes with reasons: several modes or components that are not identified, an estimate at a boundary, a
    small component (fewer than five rows per parameter), a skewed posterior (skewness above a half), the prior (EM
    with it accounts for half of the difference or more), overlap with other components.

    Partitions are by the most probable component of each row. Held-out rows are predicted by

    .. math:: \sum_i \log p(x_i \mid \hat\theta_{-i}) \quad \text{(EM, plug-in)}, \qquad
        \sum_i \log \int p(x_i \mid \theta)\, p(\theta \mid x_{-i})\, d\theta \quad \text{(posterior)}.

    The first uses refits without each row for up to 1,000 distinct rows, and ten-fold cross-validation for more; refits
    start at the fit and follow its optimum. The second uses `bayesgmm.loo`.

    Memberships are calibrated, given the model, if rows with probability p in EM belong to the component with
    frequency p; the reference is the posterior mean, which accounts for parameter uncertainty. With ``classes``
    memberships are scored against these.

    Parameters
    ----------
    em, bayes : fitted estimators
        A `GaussianMixture` and a `BayesianGaussianMixture`, or two of the same kind, with any numbers of components.
        Instead of the latter also your own posterior, see `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows of both fits. By default those stored with a posterior; a fit by EM stores none.
    sample_weight : (obs,), optional
        Frequency weights of both fits, with ``X``.
    bootstrap : int
        Bootstrap replicates of EM, for standard errors and intervals without a normal approximation; 0 for none.
    folds : int, optional
        Number of folds for EM's predictions; with the number of rows or more, rows are left out one by one.
    classes : (obs,), optional
        Known classes of the rows, against which memberships are scored.
    ci_prob : float, optional
        Probability of all intervals; ArviZ's rcParams by default: 89 %.
    random_state : int, optional
        For bootstrap and folds.
    progress : bool
        Show bars in a terminal or notebook.
    names : mapping, optional
        Names of your own posterior's variables.

    Returns
    -------
    Comparison
        Tables, ``findings`` as sentences (printed), and ``plot()``.

    Raises
    ------
    InputError
        Before any work: an estimator is not fitted, fits are of different rows, weights or features, or rows are
        missing.

    See Also
    --------
    bayesgmm.comparison.comparison.Comparison : the record.
    diagnose : convergence diagnostics, which come first.

    References
    ----------
    Louis 1982, J. R. Statist. Soc. B 44; Vehtari, Gelman & Gabry 2017, Statistics and Computing 27; Hubert & Arabie
    1985; Meilă 2007.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, GaussianMixture, compare
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> em = GaussianMixture(2, random_state=0, tol=1e-9).fit(X)
    >>> bayes = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    >>> found = compare(em, bayes, bootstrap=0)
    >>> found.parameters.loc["weights[0]", ["em", "em_se", "bayes", "bayes_sd"]].astype(float).round(2).tolist()
    [0.36, 0.03, 0.36, 0.03]
    >>> found.partitions.ari
    1.0
    """
    probability = interval_probability(ci_prob)
    _check_counts(bootstrap, folds)
    check_flag(progress=progress)
    rng = generator_of(random_state)
    fits = fit_pair(em, bayes, X, sample_weight=sample_weight, names=names)
    classes = _present_classes(classes, fits, sample_weight)
    streams = rng.spawn(5)
    replicates = [_bootstrap(s, fits, bootstrap, streams[i], show=progress) for i, s in enumerate(fits)]
    left_out = [_held_out(s, fits, folds, streams[2 + i], show=progress) for i, s in enumerate(fits)]
    first, second = (
        estimates_of(s, fits, ci_prob=probability, bootstrap=b) for s, (b, _) in zip(fits, replicates, strict=True)
    )
    notes = [*first.notes, *second.notes, *(note for _, note in replicates if note)]
    resp = (fits.first.memberships(fits.data), fits.second.memberships(fits.data))
    of_components = _of_components(fits, resp, (first, second))
    of_rows = _of_rows(fits, resp, classes, seed=int(streams[4].integers(2**31)))
    difference = _difference(left_out)
    predicted = prediction_findings(fits, left_out, difference)
    findings = [*of_components.pop("findings"), *of_rows.pop("findings"), *predicted, *notes]
    return Comparison(
        names=(fits.first.name, fits.second.name),
        predictive=_predictive_table(fits, left_out),
        pointwise=_pointwise(fits, left_out),
        elpd_difference=difference[0],
        elpd_difference_se=difference[1],
        ci_prob=probability,
        findings=tuple(dict.fromkeys(findings)),
        **of_components,
        **of_rows,
    )


def _of_components(
    fits: FitPair, resp: tuple[Responsibilities, Responsibilities], estimates: tuple[Estimates, Estimates]
) -> dict[str, Any]:
    """Tables of components and parameters, and findings."""
    pairs = matched(fits.first.mixture, fits.second.mixture)
    verdicts = [diagnosis_of(fit, fits.data) for fit in fits]
    unsettled = [reason for s, v in zip(fits, verdicts, strict=True) for reason in reasons_of_posterior(s, v)]
    distinct = are_other_optima(fits)
    conditions = conditions_of(fits, resp, pairs, unsettled=unsettled, distinct=distinct)
    table = parameter_table(fits, estimates, pairs, conditions)
    components, unmatched = _component_table(fits, pairs, conditions, table), _unmatched(fits, pairs)
    found = mode_findings(fits, verdicts)
    if all(fit.identified for fit in fits):
        found += [*component_findings(components, unmatched, fits), *parameter_findings(table, fits)]
    return {"parameters": table, "components": components, "unmatched": unmatched, "findings": found}


def _of_rows(
    fits: FitPair, resp: tuple[Responsibilities, Responsibilities], classes: ArrayLike | None, *, seed: int
) -> dict[str, Any]:
    """Partitions and memberships, and findings."""
    pairs, total = matched(fits.first.mixture, fits.second.mixture), fits.data.total
    partitions, calibration = partitions_of(fits, resp, pairs, seed=seed), calibration_table(fits, resp, pairs)
    identified = fits.first.identified and fits.second.identified
    reliability = reliability_of(fits, resp, classes) if classes is not None and identified else None
    a, b = (float(fits.data.weights @ each.max(axis=1)) / total for each in resp)
    found = [
        *partition_findings(partitions, total),
        *membership_findings((a, b), calibration, fits, reliability=reliability),
    ]
    if classes is not None and not identified:
        found.append(Finding.NO_CLASSES.value)
    return {"partitions": partitions, "calibration": calibration, "reliability": reliability, "findings": found}


def _check_counts(bootstrap: int, folds: int | None) -> None:
    check_whole(least=0, bootstrap=bootstrap)
    if bootstrap == 1:
        raise InputError(expected="bootstrap 0, or at least 2", got="1")
    check_whole(least=2, optional=True, folds=folds)


def _present_classes(classes: ArrayLike | None, fits: FitPair, sample_weight: ArrayLike | None) -> ArrayLike | None:
    """Classes of the rows of positive weight."""
    if classes is None:
        return None
    given = np.asarray(classes)
    if sample_weight is not None and len(given) == len(np.asarray(sample_weight)):
        given = given[np.asarray(sample_weight, dtype=np.float64) > 0]
    checked_classes(given, fits.data.shape[0])
    return given


def _bootstrap(
    fit: Fit, fits: FitPair, n: int, rng: np.random.Generator, *, show: bool
) -> tuple[Bootstrap | None, str]:
    """Bootstrap replicates of a fit by EM, or the reason why there are none."""
    if fit.bayesian or not n:
        return None, ""
    try:
        refuse_noise(fit.mixture, "the bootstrap")
        refuse_labels(fits.data, "the bootstrap")
        with progress_bar(f"Bootstrap of {fit.label}", show=show) as callback, _notes(DegeneracyWarning) as notes:
            found = bootstrap_of(
                fits.data,
                fit.mixture,
                rng=rng,
                n_replicates=n,
                prior=fit.prior,
                settings=fit.settings,
                callback=callback,
            )
    except (DegenerateComponentError, InputError) as error:
        return None, sentence(Note.NO_BOOTSTRAP, fit=fit.label, reason=str(error))
    return found, " ".join(sentence(Note.BOOTSTRAP, fit=fit.label, warning=note) for note in notes)


@contextmanager
def _notes(category: type[Warning]) -> Iterator[list[str]]:
    """Collects warnings that become findings; others go on."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for warning in caught:
        if issubclass(warning.category, category):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _held_out(fit: Fit, fits: FitPair, folds: int | None, rng: np.random.Generator, *, show: bool) -> HeldOut | None:
    with progress_bar(f"Rows left out, {fit.label}", show=show, patience=PATIENCE if fit.bayesian else 0.0) as callback:
        return held_out(fit, fits, folds=folds, rng=rng, callback=callback)


def _component_table(fits: FitPair, pairs: list[Match], conditions: list[Any], table: pd.DataFrame) -> pd.DataFrame:
    names, rows = [fit.name for fit in fits], []
    for pair, condition in zip(pairs, conditions, strict=True):
        own = [label for label in table.index if _component_of(label) == pair.first]
        figures: dict[str, Any] = {name: pair.of(i) for i, name in enumerate(names)} | {"divergence": pair.divergence}
        figures |= {f"{name}_rows": condition.rows[i] for i, name in enumerate(names)}
        figures |= {f"{name}_overlap": condition.overlap[i] for i, name in enumerate(names)}
        figures |= {"n_flagged": int(table.loc[own, "flag"].sum()), "reasons": ", ".join(condition.reasons)}
        rows.append(figures)
    return pd.DataFrame(rows)


def _component_of(label: str) -> int | None:
    """The first index of a parameter, if it is that of a component."""
    first = label.partition("[")[2].rstrip("]").split(",")[0]
    return int(first) if first.isdigit() else None


def _unmatched(fits: FitPair, pairs: list[Match]) -> dict[str, tuple[int, ...]]:
    return {
        fit.name: tuple(k for k in range(fit.mixture.n_components) if k not in {pair.of(i) for pair in pairs})
        for i, fit in enumerate(fits)
    }


def _difference(found: list[HeldOut | None]) -> tuple[float, float]:
    """Second minus first, with its standard error."""
    a, b = found
    if a is None or b is None:
        return float("nan"), float("nan")
    apart: Array = b.elpd_i - a.elpd_i
    return float(apart @ a.times), standard_error_of_sum(apart, a.times)


def _predictive_table(fits: FitPair, found: list[HeldOut | None]) -> pd.DataFrame:
    nothing = {"elpd": np.nan, "se": np.nan, "in_sample": np.nan, "p": np.nan, "method": "not computed"}
    rows = {
        fit.name: nothing
        if each is None
        else {"elpd": each.elpd, "se": each.se, "in_sample": each.elpd + each.p, "p": each.p, "method": each.method}
        for fit, each in zip(fits, found, strict=True)
    }
    return pd.DataFrame(rows.values(), index=pd.Index(list(rows), name="fit"))


def _pointwise(fits: FitPair, found: list[HeldOut | None]) -> pd.DataFrame:
    columns = {fit.name: each.elpd_i for fit, each in zip(fits, found, strict=True) if each is not None}
    return pd.DataFrame(columns).rename_axis("copy")
