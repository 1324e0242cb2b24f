"""Table of parameters of a comparison: estimates, errors, intervals, differences and reasons for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesgmm._common import Array
from bayesgmm.comparison.disagreement import SKEWED, Condition
from bayesgmm.comparison.estimates import Estimates, Full, Match, family_of_both, full_of, with_noise
from bayesgmm.comparison.fits import Fit, FitPair
from bayesgmm.comparison.messages import REASONS
from bayesgmm.comparison.parameter_table import covariance_entries
from bayesgmm.noise import NOISE_WEIGHT, noise_of
from bayesgmm.standard_errors import PerParameter

FLAGGED = 0.5  # posterior sd: an 89 % interval moved by as much covers 4 % less, one shortened by it 8 %


@dataclass(frozen=True)
class Entry:
    """A parameter that both fits have: its name, which array holds it, and where in either fit."""

    label: str
    array: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    pair: int | None  # which matched pair; none for a covariance that all share


def entries_of(fits: FitPair, pairs: Sequence[Match]) -> list[Entry]:
    """Parameters of matched components, numbered as in the first fit."""
    partner = {pair.first: (number, pair.second) for number, pair in enumerate(pairs)}
    found = [Entry(f"weights[{a}]", "weights", (a,), (b,), n) for a, (n, b) in partner.items()]
    if all(noise_of(fit.mixture)[0] is not None for fit in fits):
        found.append(Entry(NOISE_WEIGHT, "noise", (0,), (0,), None))
    for a, (n, b) in partner.items():
        found += [Entry(f"means[{a}, {name}]", "means", (a, j), (b, j), n) for j, name in enumerate(fits.features)]
    family = family_of_both(fits)
    for label, (k, i, j) in covariance_entries(family, fits.first.mixture.n_components, fits.features):
        if k in partner:
            n, b = partner[k]
            found.append(Entry(label, "covariances", (k, i, j), (b, i, j), None if family.shared else n))
    return found


def parameter_table(
    fits: FitPair, estimates: tuple[Estimates, Estimates], pairs: Sequence[Match], conditions: Sequence[Condition]
) -> pd.DataFrame:
    """One row a parameter of a matched component."""
    entries = entries_of(fits, pairs)
    columns: dict[str, Any] = {}
    for position, (fit, own) in enumerate(zip(fits, estimates, strict=True)):
        at = [entry.second if position else entry.first for entry in entries]
        columns |= _columns(fit, own, entries, at)
    table = pd.DataFrame(columns, index=pd.Index([entry.label for entry in entries], name="parameter"))
    first, second = (fit.name for fit in fits)
    sd = _spread_of(table, second).where(lambda s: s > 0)
    for suffix in ("", "_lb", "_ub"):
        table[f"difference{suffix}"] = (table[first + suffix] - table[second + suffix]) / sd
    table["flag"] = (table[["difference", "difference_lb", "difference_ub"]].abs() > FLAGGED).any(axis=1)
    why = [_reasons(e, fits, estimates, conditions) for e in entries]
    table["why"] = [
        ", ".join(reasons or ["unexplained"]) if flag else "" for reasons, flag in zip(why, table["flag"], strict=True)
    ]
    return table


def _spread_of(table: pd.DataFrame, name: str) -> pd.Series:
    return table[f"{name}_sd"] if f"{name}_sd" in table else table[f"{name}_se"]


def _columns(fit: Fit, own: Estimates, entries: Sequence[Entry], at: Sequence[tuple[int, ...]]) -> dict[str, Array]:
    figures = {"": own.value, "_sd" if fit.bayesian else "_se": own.error, "_lb": own.lower, "_ub": own.upper}
    if own.bootstrap is not None:
        figures |= dict(zip(("_boot_se", "_boot_lb", "_boot_ub"), own.bootstrap, strict=True))
    return {fit.name + suffix: _taken(values, entries, at) for suffix, values in figures.items()}


def _taken(values: Full, entries: Sequence[Entry], at: Sequence[tuple[int, ...]]) -> Array:
    return np.array([getattr(values, entry.array)[where] for entry, where in zip(entries, at, strict=True)])


def _reasons(
    entry: Entry, fits: FitPair, estimates: tuple[Estimates, Estimates], conditions: Sequence[Condition]
) -> list[str]:
    concerned = conditions if entry.pair is None else [conditions[entry.pair]]
    found = {reason for condition in concerned for reason in condition.reasons}
    places = (entry.first, entry.second)
    for own, where in zip(estimates, places, strict=True):
        if own.skewness is not None and abs(getattr(own.skewness, entry.array)[where]) > SKEWED:
            found.add("skewed posterior")
    if _moved_by_prior(entry, fits, estimates):
        found.add("prior")
    return [name for name in REASONS if name in found]


def _moved_by_prior(entry: Entry, fits: FitPair, estimates: tuple[Estimates, Estimates]) -> bool:
    """Whether EM with the posterior's prior is half the way, or more, from EM without to the posterior mean."""
    if fits.first.bayesian or fits.second.start is None or not fits.second.identified:
        return False
    start = fits.second.start
    figures = full_of(PerParameter(start.weights, start.means, start.covariances), start)
    with_prior = getattr(with_noise(figures, start), entry.array)[entry.second]
    without = getattr(estimates[0].value, entry.array)[entry.first]
    mean = getattr(estimates[1].value, entry.array)[entry.second]
    sd = getattr(estimates[1].error, entry.array)[entry.second]
    moved, whole = with_prior - without, mean - without
    return bool(abs(whole) > FLAGGED * sd and moved * whole > 0 and abs(moved) >= 0.5 * abs(whole))
