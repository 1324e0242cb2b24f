"""Findings of a comparison, as sentences."""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from bayesgmm._common import listed, numbered, sentence
from bayesgmm.comparison.agreement import Partitions, Reliability, comparable
from bayesgmm.comparison.disagreement import ROWS_PER_PARAMETER
from bayesgmm.comparison.fits import FitPair
from bayesgmm.comparison.held_out import HeldOut
from bayesgmm.comparison.messages import REASONS, Finding, Fragment
from bayesgmm.diagnostics import SUCCESSES, SWITCHED, Diagnosis

_FAR = 2.0  # divergence of matched components, of means two standard deviations apart
_STANDARD_ERRORS = 2.0
_NOTABLE = 0.02  # difference of mean confidence worth a word


def mode_findings(fits: FitPair, verdicts: Sequence[Diagnosis | None]) -> list[str]:
    """What must be known before any number: posteriors that are not stationary, optima found once."""
    found = []
    for fit, verdict in zip(fits, verdicts, strict=True):
        if verdict is not None and verdict.verdict not in (*SUCCESSES, SWITCHED):
            found.append(sentence(Finding.VERDICT, fit=fit.label, verdict=verdict.verdict))
        if not fit.identified:
            found.append(sentence(Finding.NOT_IDENTIFIED, fit=fit.label))
        if fit.n_optima > 1 and fit.n_best_reached == 1 and fit.n_starts > 1:
            found.append(sentence(Finding.BEST_START_ALONE, n_starts=fit.n_starts, fit=fit.label))
    return found


def parameter_findings(table: pd.DataFrame, fits: FitPair) -> list[str]:
    """How many agree, which do not, and why that matters."""
    if table.empty:
        return []
    if not table["difference"].notna().any():
        return [sentence(Finding.NO_STANDARD_ERRORS)]
    unit = "posterior sd" if fits.second.bayesian else f"standard errors of {fits.second.label}"
    flagged = table[table["flag"]]
    if flagged.empty:
        return [sentence(Finding.AGREE, n=len(table), unit=unit)]
    size = flagged[["difference", "difference_lb", "difference_ub"]].abs().max(axis=1).sort_values(ascending=False)
    counts = {"n_agreeing": len(table) - len(flagged), "n": len(table), "n_flagged": len(flagged)}
    differences = listed(_largest(str(label), flagged.loc[label]) for label in size.index)
    return [sentence(Finding.DIFFER, unit=unit, differences=differences, **counts), *_reasons(flagged)]


def _largest(label: str, row: pd.Series) -> str:
    """The largest of three differences, and what it is of."""
    of = {"difference": "estimate", "difference_lb": "lower end", "difference_ub": "upper end"}
    name = max(of, key=lambda key: abs(row[key]) if row[key] == row[key] else -1.0)
    return sentence(Fragment.DIFFERENCE, label=label, of=of[name], value=row[name])


def _reasons(flagged: pd.DataFrame) -> list[str]:
    """One sentence a reason, with the number of parameters it holds for."""
    counts = {name: sum(name in str(why).split(", ") for why in flagged["why"]) for name in REASONS}
    return [
        sentence(
            Finding.REASON,
            name=name,
            n=counts[name],
            n_flagged=len(flagged),
            reason=sentence(reason, rows=ROWS_PER_PARAMETER),
        )
        for name, reason in REASONS.items()
        if counts[name]
    ]


def component_findings(components: pd.DataFrame, unmatched: dict[str, tuple[int, ...]], fits: FitPair) -> list[str]:
    """Components without a partner, and matched components that are far apart."""
    alone = [(fit.label, unmatched[fit.name]) for fit in fits if unmatched[fit.name]]
    found = [sentence(Finding.NO_PARTNER, components=numbered(own, "component"), fit=label) for label, own in alone]
    labels, (a, b) = {"first": fits.first.label, "second": fits.second.label}, (fit.name for fit in fits)
    return found + [
        sentence(Finding.FAR_APART, a=row[a], b=row[b], divergence=row["divergence"], **labels)
        for _, row in components[components["divergence"] > _FAR].iterrows()
    ]


def partition_findings(partitions: Partitions, total: float) -> list[str]:
    """How many rows change, in numbers that do not depend on labels."""
    measures = sentence(Fragment.MEASURES, ari=partitions.ari, vi=partitions.vi)
    changed = partitions.changed_weight
    if partitions.ari == 1.0 and not changed:
        return [sentence(Finding.SAME_PARTITION, measures=measures)]
    return [sentence(Finding.OTHER_PARTITION, changed=changed, total=total, share=changed / total, measures=measures)]


def prediction_findings(fits: FitPair, found: Sequence[HeldOut | None], difference: tuple[float, float]) -> list[str]:
    """Which fit predicts rows left out better, and how that was found."""
    notes = [note for each in found if each is not None for note in each.notes]
    both = list(zip(fits, found, strict=True))
    notes += [sentence(Finding.NO_PREDICTIVE_DENSITY, fit=fit.label) for fit, each in both if each is None]
    gap, se = difference
    if isnan(gap):
        return notes
    methods = {fit.label: each.method for fit, each in both if each is not None}
    finding = Finding.PREDICTED_BETTER if abs(gap) > _STANDARD_ERRORS * se else Finding.PREDICTED_ALIKE
    better = (fits.second if gap > 0 else fits.first).label
    how = "; ".join(f"{fit}: {method}" for fit, method in methods.items())
    fewer_rows = sum("fold" in method for method in methods.values()) == 1
    first = sentence(finding, better=better, difference=abs(gap), se=se, methods=how)
    return [f"{first} {Finding.FEWER_ROWS}" if fewer_rows else first, *notes]


def membership_findings(
    confidence: tuple[float, float], calibration: pd.DataFrame, fits: FitPair, *, reliability: Reliability | None
) -> list[str]:
    """Which fit is more certain of its memberships, and which is right."""
    first = _confidence(confidence, fits) if comparable(fits) else _pairs(calibration, fits)
    if reliability is None:
        return [first]
    scores = zip(fits, reliability.scores.to_dict("records"), strict=True)
    texts = "; ".join(sentence(Fragment.SCORES, fit=fit.label, **row) for fit, row in scores)  # type: ignore[arg-type]
    return [first, sentence(Finding.CLASSES, scores=texts)]


def _confidence(confidence: tuple[float, float], fits: FitPair) -> str:
    a, b = confidence
    if abs(a - b) < _NOTABLE:
        return sentence(Finding.EQUALLY_CERTAIN, a=a, b=b, first=fits.first.label, second=fits.second.label)
    surer, other = (fits.first, fits.second) if a > b else (fits.second, fits.first)
    why = Fragment.PARAMETERS_KNOWN if other.bayesian and not surer.bayesian else ""
    labels = {"surer": surer.label, "other": other.label}
    return sentence(Finding.MORE_CERTAIN, high=max(a, b), low=min(a, b), why=why, **labels)


def _pairs(calibration: pd.DataFrame, fits: FitPair) -> str:
    """How certain the first fit is of pairs of rows, and what the second says of the same pairs."""
    n, p, q = (calibration[name].to_numpy() for name in ("n", fits.first.name, fits.second.name))
    return sentence(Finding.PAIRS, difference=float(n @ abs(p - q)) / float(n.sum()))
