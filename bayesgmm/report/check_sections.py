"""Sections of a report that compare EM with the posterior, and check the model against its data."""

from typing import Any

import pandas as pd

from bayesgmm._common import shown
from bayesgmm.comparison import compare
from bayesgmm.model_checks import check_model
from bayesgmm.report.page import Section, Table, picture_of

_REPLICATES = 199  # as `check_model` itself: of 39, the smallest of five p-values hardly falls below 5 %
_COMPARED = ("em", "em_se", "bayes", "bayes_sd", "difference", "why")
_HEADINGS = ("parameter", "EM", "se", "posterior mean", "sd", "difference in sd", "why it is flagged")


def comparison_section(em: Any, bayes: Any, *, seed: int, identified: bool) -> Section:
    """Where EM and the posterior agree, and where not; parameters only if components are identified."""
    found = compare(em, bayes, bootstrap=0, random_state=seed, progress=False)
    parameters = found.parameters[list(_COMPARED)]
    return Section(
        title="Comparison",
        sentences=found.findings[:2],
        picture=picture_of(
            found.plot(), "EM's parameters, partition, memberships and predictions beside the posterior's"
        ),
        tables=(Table("EM and the posterior", _HEADINGS, _cells(parameters)),) if identified else (),
        notes=found.findings[2:],
    )


def checks_section(fit: Any, *, seed: int) -> Section:
    """Whether the model predicts data like these, and whether they are a Gaussian mixture."""
    found = check_model(fit, n_replicates=_REPLICATES, random_state=seed, progress=False)
    departures = ("departure", *map(str, found.gaussianity.columns))
    quantities = ("quantity", *map(str, found.table.columns))
    return Section(
        title="Checks",
        sentences=found.findings[:2],
        picture=picture_of(
            found.plot(), "Data beside predicted data, leave-one-out predictive distribution, departures"
        ),
        tables=(
            Table(
                "Departures from a Gaussian mixture, beside refitted replicates", departures, _cells(found.gaussianity)
            ),
            Table("Test quantities, beside predicted data", quantities, _cells(found.table)),
        ),
        notes=found.findings[2:],
    )


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Rows of a DataFrame as text, each named by its index in one cell."""
    return [[_name(name), *map(shown, row)] for name, *row in table.itertuples(index=True, name=None)]


def _name(index: Any) -> str:
    parts = [str(part) for part in index if str(part)] if isinstance(index, tuple) else [str(index)]
    return " of ".join(parts)
