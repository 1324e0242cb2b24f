"""Sections of a report that compare EM with the posterior, and check the model against its data."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bayesgmm._common import decimals_of, shown
from bayesgmm.comparison import compare, comparison_panels
from bayesgmm.model_checks import ModelCheck, check_panels
from bayesgmm.report.figures import Picture, svg_of
from bayesgmm.report.page import Section, Table

_MOST_DRAWN = 12  # parameters whose names are large enough to read
_HEADINGS = ("parameter", "EM", "se", "posterior mean", "sd", "difference in sd", "why it is flagged")


def comparison_section(em: Any, bayes: Any, *, seed: int, identified: bool) -> Section:
    """Where EM and the posterior agree, and where not; flagged parameters only if components are identified."""
    found = compare(em, bayes, bootstrap=0, random_state=seed, progress=False)
    flagged = found.flagged if identified else found.flagged.iloc[:0]
    return Section(
        title="Comparison",
        sentences=found.findings[:2],
        picture=_side_by_side(
            comparison_panels(found, flagged.head(_MOST_DRAWN)),
            "EM's parameters that differ, partition, memberships and predictions beside the posterior's",
        ),
        tables=(Table("Flagged parameters", _HEADINGS, _compared(flagged), flagged),) if len(flagged) else (),
        notes=found.findings[2:],
    )


def _side_by_side(figures: Sequence[Figure], alt: str) -> Picture:
    return Picture("".join(map(svg_of, figures)), alt)


def _compared(flagged: pd.DataFrame) -> list[list[str]]:
    """Estimates with the digits that their standard deviation supports."""
    rows = []
    for name, row in flagged.iterrows():
        digits = decimals_of(row["bayes_sd"], mean=row["bayes"])
        values = [shown(row[column], digits) for column in ("em", "em_se", "bayes", "bayes_sd")]
        rows.append([str(name), *values, shown(row["difference"], "+.1f"), str(row["why"])])
    return rows


def checks_section(found: ModelCheck) -> Section:
    """Whether the model predicts data like these, and whether they are a Gaussian mixture."""
    departures = ("departure", *map(str, found.gaussianity.columns))
    quantities = ("quantity", *map(str, found.table.columns))
    return Section(
        title="Checks",
        sentences=found.findings[:2],
        picture=_side_by_side(
            check_panels(found), "Data beside predicted data, leave-one-out predictive distribution, departures"
        ),
        tables=(
            Table(
                "Departures from a Gaussian mixture, beside refitted replicates",
                departures,
                _cells(found.gaussianity, found.gaussianity["upper"] - found.gaussianity["median"]),
                found.gaussianity,
            ),
            Table(
                "Test quantities, beside predicted data",
                quantities,
                _cells(found.table, _width(found.table)),
                found.table,
            ),
        ),
        notes=found.findings[2:],
    )


def _width(table: pd.DataFrame) -> pd.Series:
    """Widths of the intervals, which say how many digits mean anything."""
    lower, upper = (next(name for name in table.columns if str(name).endswith(end)) for end in ("_lb", "_ub"))
    return table[upper] - table[lower]


def _cells(table: pd.DataFrame, width: pd.Series) -> list[list[str]]:
    """Rows of a DataFrame as text, each named by its index in one cell, with digits for a quarter of their widths."""
    rows = []
    for (name, row), wide in zip(table.iterrows(), width, strict=True):
        digits = decimals_of(wide / 4.0)
        rows.append([_name(name), *(shown(v, "p" if str(c).startswith("p") else digits) for c, v in row.items())])
    return rows


def _name(index: Any) -> str:
    parts = [str(part) for part in index if str(part)] if isinstance(index, tuple) else [str(index)]
    return " of ".join(parts)
