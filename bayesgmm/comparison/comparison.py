"""`Comparison`: result of comparing two fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bayesgmm._common import folded, frame_table, listing, paragraph
from bayesgmm.comparison.agreement import Partitions, Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Comparison of two fits; printing it shows where they agree, where they do not, and why.

    Columns of tables are called by the fits: ``em`` and ``bayes``, or ``em_1`` and ``em_2`` (``bayes_1``,
    ``bayes_2``) for two of a kind.

    Attributes
    ----------
    names : tuple of str
        Names of the two fits in the tables.
    parameters : pandas.DataFrame
        One row per parameter of a matched component, numbered as in the first fit. For EM the estimate
        (``em``), standard error (``em_se``) and interval (``em_lb``, ``em_ub``) from the observed information, and from
        the bootstrap ``em_boot_se``, ``em_boot_lb``, ``em_boot_ub``; for a posterior mean, ``_sd`` and interval. Then
        ``difference`` of the estimates and of the ends of the intervals (``difference_lb``, ``difference_ub``),
        first minus second, in posterior sd, or in the second fit's standard errors; ``flag`` if one of the three
        exceeds a half; ``why``, names of reasons in `bayesgmm.comparison.messages.REASONS`.
    components : pandas.DataFrame
        Matched components: their numbers in both fits, their ``divergence`` (see
        `bayesgmm.mixture.align_to`), expected rows, overlap with other components, ``reasons`` for which their
        estimates are unreliable, and the number of flagged parameters.
    unmatched : mapping
        From the name of a fit to its unmatched components, if K differs.
    partitions : Partitions
        Labels, contingency table, ARI and VI.
    predictive : pandas.DataFrame
        For each fit: log predictive density of held-out rows (``elpd``, with ``se``), the same in sample
        (``in_sample``), the optimism of the latter (``p``), and the method. NaN if it cannot be computed.
    pointwise : pandas.DataFrame
        Log predictive density of each copy of a held-out row.
    elpd_difference, elpd_difference_se : float
        Second minus first, with the paired standard error; NaN if one is missing.
    calibration : pandas.DataFrame
        Memberships of matched components, binned by the first fit's: weight of the bin, and mean membership under both
        fits, which are equal if the first is calibrated against the second. If components are
        not identified, or K differs, co-clustering probabilities instead.
    reliability : Reliability, optional
        Memberships against known classes, if given.
    ci_prob : float
    findings : tuple of str
        Findings as sentences, see `bayesgmm.comparison.messages`.
    """

    __module__ = "bayesgmm.comparison"

    names: tuple[str, str]
    parameters: pd.DataFrame
    components: pd.DataFrame
    unmatched: Mapping[str, tuple[int, ...]]
    partitions: Partitions
    predictive: pd.DataFrame
    pointwise: pd.DataFrame
    elpd_difference: float
    elpd_difference_se: float
    calibration: pd.DataFrame
    reliability: Reliability | None
    ci_prob: float
    findings: tuple[str, ...]

    @property
    def flagged(self) -> pd.DataFrame:
        """The rows of ``parameters`` where the fits disagree, the largest difference first."""
        found = self.parameters[self.parameters["flag"]]
        largest = found[["difference", "difference_lb", "difference_ub"]].abs().max(axis=1)
        return found.loc[largest.sort_values(ascending=False).index]

    def plot(self) -> "Figure":
        """Plot parameters of both fits on one scale, and their partitions, memberships and predictions.

        Parameters are shown as differences from the second fit's estimate, in its sd: if both agree, points are at
        zero and intervals coincide. Of many parameters, those with the largest differences are shown.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot; ``figure.savefig(path)`` writes it.
        """
        from bayesgmm.comparison.plots import draw_comparison

        return draw_comparison(self)

    def __str__(self) -> str:
        return "\n".join(self.findings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = {"Parameters": self.parameters, "Components": self.components, "Rows left out": self.predictive}
        tables |= {"Partitions": self.partitions.cross_table, "Memberships": self.calibration}
        unfolded = "".join(folded(title, frame_table(table)) for title, table in tables.items() if len(table))
        return paragraph(f"{self.names[0]} beside {self.names[1]}") + listing(self.findings) + unfolded
