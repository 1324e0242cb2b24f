"""`Calibration`: ranks of truths in their posteriors, whether they are uniform, and how they depart from that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from arviz_base import xarray_var_iter
from arviz_base.labels import BaseLabeller

from bayesgmm._common import Array, counted, folded, frame_table, listed, listing, sentence
from bayesgmm.calibration.messages import Departure, Finding
from bayesgmm.calibration.uniformity import AT, band, p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUP, SIMULATION = "prior_sbc", "simulation"  # ArviZ's name of the group
FALSE_ALARM = 1e-3  # probability that any of the quantities of calibrated posteriors is taken for uncalibrated
_RECORD = ("draws", "converged")  # of a simulation, beside its ranks
_FEW = 20  # draws a truth is ranked among


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    """Result of `calibrate`. Printing it shows the findings.

    Attributes
    ----------
    tree : xarray.DataTree
        Group ``prior_sbc``: for every quantity the ranks (simulation, ...) of truths in their posteriors, scaled to
        (0, 1); ``draws`` and ``converged`` (simulation). ArviZ draws them too, with
        ``plot_ecdf_pit(found.tree, sample_dims="simulation")``. Attributes tell what was simulated.
    """

    __module__ = "bayesgmm.calibration"

    tree: xr.DataTree

    @property
    def ranks(self) -> xr.Dataset:
        """The ranks of every quantity (simulation, ...): uniform if posteriors are calibrated."""
        return self.tree[GROUP].to_dataset().drop_vars(_RECORD)

    @property
    def n_simulations(self) -> int:
        """Number of simulations that were done."""
        return int(self.tree[GROUP].sizes[SIMULATION])

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a quantity: ``p_value`` of uniform ranks, their ``mean`` (0.5) and ``spread``, sd times √12 (1)."""
        named = dict(self._columns())
        values = np.array(list(named.values()))
        columns = {
            "p_value": [p_value(own) for own in values],
            "mean": values.mean(axis=1),
            "spread": values.std(axis=1) * np.sqrt(12.0),
        }
        return pd.DataFrame(columns, pd.Index(named, name="quantity"))

    @property
    def limit(self) -> float:
        """The p-value below which a quantity is not calibrated: 1e-3 divided by the number of quantities."""
        return FALSE_ALARM / len(self.table)

    @property
    def calibrated(self) -> bool:
        """Whether no quantity departs from uniform, with a false alarm of 1e-3 for all together (Bonferroni)."""
        return bool(self.table["p_value"].min() >= self.limit)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """The verdict, how quantities depart, and fits that did not converge."""
        table, n = self.table, self.n_simulations
        common = {"n": len(table), "simulations": counted(n, "simulation"), "limit": self.limit}
        bad = table[table["p_value"] < self.limit].sort_values("p_value")
        found = []
        if len(bad) == 0:
            worst = str(table["p_value"].idxmin())
            reach = float(np.subtract(band(n, 1.0 - self.limit)[1] / n, AT).max())
            found.append(sentence(Finding.CALIBRATED, name=worst, p=table["p_value"][worst], reach=reach, **common))
        else:
            which = listed(map(str, bad.index))
            found.append(sentence(Finding.NOT_CALIBRATED, which=which, together=FALSE_ALARM, **common))
            found += [
                sentence(Finding.DEPARTURE, name=name, what=_departure(row["mean"], row["spread"], n), p=row["p_value"])
                for name, row in bad.iterrows()
            ]
        record = self.tree[GROUP]
        for finding, n_bad in (
            (Finding.UNCONVERGED, int((~record["converged"].astype(bool)).sum())),
            (Finding.FEW_DRAWS, int((record["draws"] < _FEW).sum())),
        ):
            if n_bad:
                found.append(sentence(finding, n_bad=n_bad, n=n, least=_FEW))
        return tuple(found)

    def plot(self, quantities: str | Sequence[str] | None = None) -> "Figure":
        """Distribution functions of the ranks minus the uniform one, a panel a variable, with simultaneous bands.

        Dark is the band that 95 % of such curves do not leave, light the one that decides: if posteriors are
        calibrated, all curves of the table stay in it with a probability of 0.999.

        Parameters
        ----------
        quantities : str or sequence of str, optional
            Variables of ``ranks``; by default all.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot; ``figure.savefig(path)`` writes it.

        Raises
        ------
        InputError
            A variable is not known.
        """
        from bayesgmm.calibration.plots import draw_calibration

        return draw_calibration(self.ranks, quantities, limit=self.limit)

    def __str__(self) -> str:
        return "\n".join(self.findings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return listing(self.findings) + folded("Quantities", frame_table(self.table))

    def _columns(self) -> Iterator[tuple[str, Array]]:
        label = BaseLabeller().make_label_flat
        for name, at, index, values in xarray_var_iter(self.ranks, skip_dims={SIMULATION}):
            yield label(name, at, index), np.asarray(values)


def _departure(mean: float, spread: float, n: int) -> Departure:
    """What is most unusual about ranks: their mean or their spread, in standard errors if they were uniform."""
    of_mean = (mean - 0.5) * np.sqrt(12.0 * n)
    of_spread = (spread**2 - 1.0) / 12.0 * np.sqrt(180.0 * n)
    if abs(of_mean) >= abs(of_spread):
        return Departure.LOW if of_mean > 0 else Departure.HIGH
    return Departure.NARROW if of_spread > 0 else Departure.WIDE
