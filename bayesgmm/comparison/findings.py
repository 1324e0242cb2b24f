"""A comparison in plain words."""

from collections.abc import Iterable, Sequence
from math import isnan

import pandas as pd

from bayesgmm.comparison.agreement import Partitions, Reliability, comparable
from bayesgmm.comparison.disagreement import REASONS
from bayesgmm.comparison.fits import Sides
from bayesgmm.comparison.held_out import HeldOut
from bayesgmm.diagnostics import Diagnosis

_MOST_NAMED = 4
_FAR = 2.0  # divergence of matched components, of means two standard deviations apart
_STANDARD_ERRORS = 2.0
_SURE = 0.02  # difference of mean confidence worth a word


def about_modes(sides: Sides, verdicts: Sequence[Diagnosis | None]) -> list[str]:
    """What must be said before any number: posteriors that are not settled, optima found once."""
    found = []
    for side, verdict in zip(sides, verdicts, strict=True):
        if verdict is not None and verdict.verdict not in ("converged", "converged, labels switched"):
            found.append(f"The verdict on {side.label} is {verdict.verdict!r}: see `diagnose` first.")
        if not side.identified:
            found.append(
                f"The components of {side.label} cannot be told apart: compare partitions, densities and predictions, "
                "and no single parameter."
            )
        if side.n_optima > 1 and side.n_best_reached == 1 and side.n_starts > 1:
            found.append(f"Only one of {side.n_starts} starts of {side.label} reached its best optimum: try more.")
    return found


def about_parameters(table: pd.DataFrame, sides: Sides) -> list[str]:
    """How many agree, which do not, and why that matters."""
    if table.empty:
        return []
    unit = "posterior sd" if sides.second.bayesian else f"standard errors of {sides.second.label}"
    flagged = table[table["flag"]]
    n, known = len(table), table["difference"].notna().any()
    if not known:
        return ["Without standard errors parameters cannot be compared; ask for the bootstrap."]
    if flagged.empty:
        return [f"All {n} parameters and both ends of their intervals agree within half a unit ({unit})."]
    size = flagged[["difference", "difference_lb", "difference_ub"]].abs().max(axis=1).sort_values(ascending=False)
    told = listed(f"{label} ({_largest(flagged.loc[label])})" for label in size.index)
    agree = f"{n - len(flagged)} of {n} parameters agree"
    first = f"{agree}; {len(flagged)} differ by more than half a unit ({unit}): {told}."
    return [first, *_reasons(flagged)]


def _largest(row: pd.Series) -> str:
    """The largest of three differences, and what it is of."""
    of = {"difference": "estimate", "difference_lb": "lower end", "difference_ub": "upper end"}
    name = max(of, key=lambda key: abs(row[key]) if row[key] == row[key] else -1.0)
    return f"{of[name]} {row[name]:+.1f}"


def _reasons(flagged: pd.DataFrame) -> list[str]:
    """One sentence a reason, with the components or parameters it holds for."""
    found = []
    for name, text in REASONS.items():
        rows = [label for label, why in flagged["why"].items() if name in str(why).split(", ")]
        if rows:
            found.append(f"{name.capitalize()} ({len(rows)} of the {len(flagged)}): {text}.")
    return found


def about_components(components: pd.DataFrame, unmatched: dict[str, tuple[int, ...]], sides: Sides) -> list[str]:
    """Components without a partner, and partners only for want of a better one."""
    found = []
    for side in sides:
        own = unmatched[side.name]
        if own:
            plural = "Components" if len(own) > 1 else "Component"
            verb = "have" if len(own) > 1 else "has"
            found.append(f"{plural} {', '.join(map(str, own))} of {side.label} {verb} no partner in the other fit.")
    a, b = (side.name for side in sides)
    for _, row in components[components["divergence"] > _FAR].iterrows():
        found.append(
            f"Component {row[a]} of {sides.first.label} and {row[b]} of {sides.second.label} are matched for want of "
            f"better ones: they are far apart (divergence {row['divergence']:.1f})."
        )
    return found


def about_partitions(partitions: Partitions, total: float) -> list[str]:
    """How many rows change, in numbers that do not depend on labels."""
    measures = f"adjusted Rand index {partitions.ari:.3f}, variation of information {partitions.vi:.3f} bits"
    if partitions.ari == 1.0 and not partitions.changed_weight:
        return [f"Both put the rows into the same clusters ({measures})."]
    share = partitions.changed_weight / total
    return [f"{partitions.changed_weight:g} of {total:g} rows ({share:.1%}) are in another cluster ({measures})."]


def about_prediction(sides: Sides, found: Sequence[HeldOut | None], difference: tuple[float, float]) -> list[str]:
    """Which one predicts rows left out better, and how that was found."""
    notes = [note for each in found if each is not None for note in each.notes]
    for side, each in zip(sides, found, strict=True):
        if each is None:
            notes.append(
                f"No predictive density of {side.label}: leave-one-out needs weights that are whole numbers, and draws "
                "of the posterior."
            )
    if isnan(difference[0]):
        return notes
    how = "; ".join(f"{s.label}: {each.method}" for s, each in zip(sides, found, strict=True) if each is not None)
    gap, se = difference
    better = sides.second if gap > 0 else sides.first
    alike = not abs(gap) > _STANDARD_ERRORS * se
    verdict = (
        "Rows left out are predicted alike" if alike else f"{_capital(better.label)} predicts rows left out better"
    )
    said = f"{verdict}: the log predictive density of {better.label} is {abs(gap):.2f} higher"
    fewer = [each for each in found if each is not None and "fold" in each.method]
    apart = " Refits without a fold have fewer rows, which counts against them a little." if len(fewer) == 1 else ""
    return [f"{said} (se {se:.2f}; {how}).{apart}", *notes]


def about_memberships(
    confidence: tuple[float, float], calibration: pd.DataFrame, sides: Sides, *, reliability: Reliability | None
) -> list[str]:
    """Which fit is surer of its memberships, and which is right."""
    a, b = confidence
    if not comparable(sides):
        found = [_about_pairs(calibration, sides)]
    elif abs(a - b) < _SURE:
        mean = f"the most probable component of a row has {a:.3f} and {b:.3f} on average"
        found = [f"Memberships are equally sure: {mean}."]
    else:
        surer, other = (sides.first, sides.second) if a > b else (sides.second, sides.first)
        found = [
            f"{_capital(surer.label)} is surer of its memberships than {other.label}: the most probable component of a "
            f"row has {max(a, b):.3f} on average, against {min(a, b):.3f}"
            + (", for it takes its parameters as known." if other.bayesian and not surer.bayesian else ".")
        ]
    if reliability is not None:
        told = [
            f"{side.label} {row['confidence']:.3f} sure and {row['accuracy']:.3f} right (Brier {row['brier']:.3f})"
            for side, (_, row) in zip(sides, reliability.scores.iterrows(), strict=True)
        ]
        found.append(f"Against the known classes: {'; '.join(told)}.")
    return found


def _about_pairs(calibration: pd.DataFrame, sides: Sides) -> str:
    """How sure the first fit is of pairs of rows, and what the second says of the same pairs."""
    a, b = sides.first.name, sides.second.name
    n, p, q = (calibration[name].to_numpy() for name in ("n", a, b))
    apart = float(n @ abs(p - q)) / float(n.sum())
    return (
        "Memberships have no common labels; of two rows, the probability of being in one cluster differs by "
        f"{apart:.3f} in the mean over bins."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(texts: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    items = list(texts)
    more = len(items) - _MOST_NAMED
    return ", ".join(items[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
